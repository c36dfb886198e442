//! Users' queries: each on a thread of its own, few at a time, within its bounds.
//!
//! marsdb checks its deadline, its cancellation and its counters at every relation it follows and every row it
//! makes, so a query that is over its bounds, or whose asker is gone, really stops. Reads see the last committed
//! batch and never wait for the writer (but for `CALL db.…`, which marsdb runs as a write).

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use marsdb::{CancellationToken, Database, Error, ExecutionOptions, PropertyValue, QueryError, Statement};
use tapio_core::ports::{Limits, Query, Rows, StoreError};

use super::folder::{place, store_error};
use super::value::{cell, param};
use crate::gate::{self, Admitted};

/// Rows that a query may hold between two of its clauses; a row takes some hundred bytes.
pub const MAX_INTERMEDIATE_ROWS: usize = 5_000_000;

/// Stack of a reading thread in bytes: marsdb's parser and planner recurse with the text. It is only reserved.
pub(super) const STACK: usize = 256 * 1024 * 1024;

/// Runs an admitted query to its end.
pub(super) fn run(
    db: &Database,
    dir: &Path,
    query: &Query,
    admitted: &Admitted,
    cancel: CancellationToken,
) -> Result<Rows, StoreError> {
    let work = || {
        let statement = match marsdb::parse(&admitted.text) {
            Ok(statement) => statement,
            // The error of the text as typed, where that has one, names places the user knows.
            Err(e) => return Err(marsdb::parse(&query.text).err().unwrap_or(e).into()),
        };
        if !matches!(
            statement,
            Statement::Match { .. } | Statement::Union { .. } | Statement::Explain(_) | Statement::StandaloneCall(_)
        ) {
            return Err(Error::Query(QueryError::Semantic("queries only read".to_owned())));
        }
        let params: HashMap<String, PropertyValue> =
            gate::remaining_params(&query.params).map(|(k, v)| (k.clone(), param(v))).collect();
        db.execute_prepared_statement(&statement, &params, &options(query.limits, cancel.clone()))
    };
    let found = match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(found) => found.map_err(|e| store_error(dir, e))?,
        Err(_) => {
            let why = "the store panicked on this query, its message is on standard error".to_owned();
            return Err(StoreError::Other { place: place(dir), why });
        }
    };
    let columns = match &admitted.columns {
        Some(names) if names.len() == found.columns.len() => names.clone(),
        _ => found.columns,
    };
    let truncated = found.rows.len() > query.limits.max_rows;
    let rows = found.rows.into_iter().take(query.limits.max_rows);
    Ok(Rows { columns, rows: rows.map(|row| row.into_iter().map(cell).collect()).collect(), truncated })
}

fn options(limits: Limits, cancel: CancellationToken) -> ExecutionOptions {
    let steps = usize::try_from(limits.max_expansions).unwrap_or(usize::MAX);
    ExecutionOptions {
        max_intermediate_rows: Some(steps.min(MAX_INTERMEDIATE_ROWS)),
        max_relationship_expansions: Some(limits.max_expansions),
        timeout: Some(Duration::from_millis(limits.timeout_millis)),
        cancellation_token: Some(cancel),
        ..ExecutionOptions::default()
    }
}
