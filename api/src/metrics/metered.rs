//! A graph whose times and failures are counted.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tapio_core::change::GraphChange;
use tapio_core::ontology::Label;
use tapio_core::ports::{
    BoxFuture, GraphStats, GraphStore, Query, Rows, StoreAbout, StoreError, StoredNode, StoredRelation,
};
use tapio_core::time::Time;

use super::{Errors, Metrics};

/// Any graph, measured.
pub struct Metered {
    graph: Arc<dyn GraphStore>,
    metrics: Metrics,
}

impl Metered {
    /// Measures a graph.
    pub fn new(graph: Arc<dyn GraphStore>, metrics: Metrics) -> Self {
        Metered { graph, metrics }
    }

    fn count<T>(&self, operation: &'static str, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(e) = &done {
            self.metrics.0.graph_errors.get_or_create(&Errors { operation, error: kind(e) }).inc();
        }
        done
    }
}

fn kind(e: &StoreError) -> &'static str {
    match e {
        StoreError::Refused(_) => "refused",
        StoreError::Limit(_) => "limit",
        StoreError::Busy { .. } => "busy",
        StoreError::Unavailable { .. } => "unavailable",
        StoreError::InUse { .. } => "in_use",
        StoreError::NotWritable { .. } => "not_writable",
        StoreError::Corrupt { .. } => "corrupt",
        StoreError::NewerVersion { .. } => "newer_version",
        StoreError::Other { .. } => "other",
    }
}

impl GraphStore for Metered {
    fn ensure_schema(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { self.count("schema", self.graph.ensure_schema().await) })
    }

    fn apply(&self, changes: Vec<GraphChange>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            let (begun, n) = (Instant::now(), changes.len() as u64);
            let done = self.count("write", self.graph.apply(changes).await);
            self.metrics.0.writes.observe(begun.elapsed().as_secs_f64());
            if done.is_ok() {
                self.metrics.0.changes.inc_by(n);
            }
            done
        })
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Rows, StoreError>> {
        Box::pin(async {
            let begun = Instant::now();
            let done = self.count("query", self.graph.query(query).await);
            self.metrics.0.queries.observe(begun.elapsed().as_secs_f64());
            done
        })
    }

    fn retain(&self, before: Time) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.count("retain", self.graph.retain(before).await) })
    }

    fn stats(&self) -> BoxFuture<'_, Result<GraphStats, StoreError>> {
        Box::pin(async { self.count("stats", self.graph.stats().await) })
    }

    fn graph_hash(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        Box::pin(async { self.count("hash", self.graph.graph_hash().await) })
    }

    fn nodes<'a>(
        &'a self,
        label: Label,
        after: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredNode>, StoreError>> {
        Box::pin(async move { self.count("nodes", self.graph.nodes(label, after, most).await) })
    }

    fn relations<'a>(
        &'a self,
        label: Label,
        after: &'a str,
        last: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredRelation>, StoreError>> {
        Box::pin(async move { self.count("relations", self.graph.relations(label, after, last).await) })
    }

    fn schema_faults(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async { self.count("schema", self.graph.schema_faults().await) })
    }

    fn about(&self) -> BoxFuture<'_, Result<StoreAbout, StoreError>> {
        Box::pin(async { self.count("about", self.graph.about().await) })
    }

    fn backup<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.count("backup", self.graph.backup(to).await) })
    }
}
