//! The gate for users' Cypher: text in, text that a store may run out, or a refusal that says why and where.
//!
//! People type Neo4j-5 Cypher, unchanged on both stores. A tokenizer (not regular expressions, and not a grammar)
//! cuts the text, then rooms of the gate work on the tokens in turn:
//!
//! 1. [`refuse`](self): no writes, no administration, one statement, allow-listed procedures only;
//! 2. `columns`: the names Neo4j would give the result's columns;
//! 3. `clock`: zero-argument `datetime()`, `timestamp()` … become the query's instant;
//! 4. for the embedded store, `dialect`: what marsdb lacks and text can close;
//! 5. for the embedded store, `window`: time windows by index.
//!
//! Invariants: what passes cannot write; rewriting never changes a result, but for the paths cut at
//! [`MAX_HOPS`] and the values of `randomUUID()`. Cost: linear in the text, a few microseconds.

mod clock;
mod columns;
mod dialect;
mod refuse;
pub(crate) mod token;
mod window;

use std::collections::BTreeMap;

use tapio_core::ports::{Cell, Query, StoreError};

use clock::Clock;
use token::{Edits, tokens};

pub use dialect::{MAX_HOPS, MAX_RANGE};
pub use refuse::MAX_TOKENS;

/// Longest query in bytes; parsers recurse, and people do not type more.
pub const MAX_QUERY_BYTES: usize = 64 * 1024;

/// Which store the text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// marsdb, in this process.
    Embedded,
    /// Neo4j 5.
    Neo4j,
}

/// A query that may run.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// The text for the store.
    pub text: String,
    /// Column names as Neo4j gives them, where they are written down; one for each of the result's.
    pub columns: Option<Vec<String>>,
    /// The names that Neo4j will give the same columns of the rewritten text.
    pub sent: Option<Vec<String>>,
}

/// Lets a query through or refuses it.
///
/// # Errors
/// [`StoreError::Refused`] with line and column.
pub fn admit(query: &Query, dialect: Dialect) -> Result<Admitted, StoreError> {
    let text = &query.text;
    if text.len() > MAX_QUERY_BYTES {
        let len = text.len();
        return Err(StoreError::Refused(format!(
            "the query has {len} bytes, at most {MAX_QUERY_BYTES} are read; pass long values as parameters"
        )));
    }
    let typed = tokens(text)?;
    refuse::check(text, &typed)?;
    let columns = columns::columns(text, &typed);
    let clock = Clock { at: query.at, params: &query.params, inline_params: dialect == Dialect::Embedded };
    if dialect == Dialect::Embedded {
        dialect::check_ranges(text, &typed, &clock)?;
    }
    // Each room sees what the one before it wrote: a clock inside `datetime({epochMillis: …})` is pinned, then moved.
    let mut edits = Edits::default();
    clock.pin(&typed, &mut edits);
    let mut text = edits.apply(text);
    if dialect == Dialect::Embedded {
        let mut edits = Edits::default();
        let pinned = tokens(&text)?;
        dialect::close(&text, &pinned, &clock, &mut edits);
        dialect::cut(&pinned, &clock, query.limits.max_rows.saturating_add(1), &mut edits);
        text = edits.apply(&text);
        let mut edits = Edits::default();
        window::narrow(&tokens(&text)?, &clock, &mut edits);
        text = edits.apply(&text);
    }
    let sent = match dialect {
        Dialect::Neo4j => columns::columns(&text, &tokens(&text)?),
        Dialect::Embedded => None,
    };
    Ok(Admitted { text, columns, sent })
}

/// The parameters that are left for the store once times are written out: for the embedded store, all others.
pub fn remaining_params(params: &BTreeMap<String, Cell>) -> impl Iterator<Item = (&String, &Cell)> {
    params.iter().filter(|(_, v)| !matches!(v, Cell::Time(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statements::DESIGN_QUERIES;
    use tapio_core::ports::Limits;
    use tapio_core::time::Time;

    fn query(text: &str) -> Query {
        Query {
            text: text.to_owned(),
            params: BTreeMap::new(),
            at: Time::parse("2024-01-15T10:30:00Z").unwrap(),
            limits: Limits { max_rows: 10, ..Limits::default() },
        }
    }

    #[test]
    fn the_designs_queries_pass_and_keep_their_columns() {
        let columns = |n: usize| admit(&query(DESIGN_QUERIES[n].1), Dialect::Embedded).unwrap().columns.unwrap();
        assert_eq!(columns(0), ["e", "root"]);
        assert_eq!(columns(1), ["cm", "p", "s"]);
        assert_eq!(columns(2), ["p.name", "restart_count"]);
        let root = admit(&query(DESIGN_QUERIES[0].1), Dialect::Embedded).unwrap().text;
        for part in
            ["e.ts_ms >= 1705311000000 AND", "datetime('2024-01-15T09:30:00Z')", "[:TRIGGERED*1..30]", "LIMIT 11"]
        {
            assert!(root.contains(part), "{part}: {root}");
        }
        let nested = admit(&query("RETURN datetime({epochMillis: datetime().epochMillis})"), Dialect::Embedded);
        assert!(!nested.unwrap().text.contains("datetime()"));
        let neo4j = admit(&query(DESIGN_QUERIES[0].1), Dialect::Neo4j).unwrap().text;
        assert!(neo4j.contains("datetime('2024-01-15T09:30:00Z')") && neo4j.contains("[:TRIGGERED*]"), "{neo4j}");
    }

    #[test]
    fn writes_are_refused_and_names_that_look_like_them_are_not() {
        for text in [
            "CREATE (n)",
            "MATCH (n) SET n.x = 1",
            "match (n) detach delete n",
            "MATCH (n) /* x */ remove n.x",
            "MATCH (n) WITH n MERGE (m)",
            "MATCH (n) RETURN n; MATCH (m) RETURN m",
            "CALL { CREATE (n) } RETURN 1",
            "UNWIND [1] AS x FOREACH (y IN [x] | SET n.a = 1)",
            "LOAD CSV FROM 'file:///etc/passwd' AS l RETURN l",
            "MATCH (n) LOAD CSV FROM 'x' AS l RETURN l",
            "CALL dbms.shutdown()",
            "CALL apoc.create.node(['X'], {})",
            "CALL `db`.`create`.`x`()",
            "DROP INDEX x",
            "SHOW USERS",
            "USE other MATCH (n) RETURN n",
            "EXPLAIN CREATE (n)",
            "BEGIN",
            "TERMINATE TRANSACTION 'x'",
            "MATCH (n) CALL { WITH n RETURN 1 AS x } IN TRANSACTIONS RETURN x",
            "MATCH (n) INSERT (m)",
            "RETURN 1.CREATE (n)",
            "MATCH (n) WHERE n.x = 'a\\' RETURN 1",
            "RETURN [x IN [1] | SET n.x = 1]",
            "",
            "// nothing",
            "RETURN (((1)",
            "RETURN 1)",
        ] {
            let got = admit(&query(text), Dialect::Neo4j);
            assert!(matches!(got, Err(StoreError::Refused(_))), "{text}: {got:?}");
        }
        for text in [
            "MATCH (n) RETURN n.set, n.create, {create: 1, delete: 2}",
            "MATCH (n:Set)-[:DELETE|DROP]->(m:Merge&Remove) RETURN n",
            "RETURN 'CREATE (n)' AS x // SET n.x = 1\n/* DELETE n */",
            "MATCH (`set`) RETURN `set`.x AS start, 1 AS load, 2 AS use",
            "CALL db.labels() YIELD label RETURN label",
            "RETURN \"it's; DROP\";",
            "RETURN $create",
        ] {
            admit(&query(text), Dialect::Neo4j).unwrap();
        }
    }

    #[test]
    fn a_refusal_says_what_and_where() {
        let error = admit(&query("MATCH (n)\n  SET n.x = 1"), Dialect::Embedded).unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 3: SET writes"), "{error}");
    }

    #[test]
    fn deep_and_long_queries_are_refused() {
        assert!(admit(&query(&format!("RETURN {}1{}", "(".repeat(65), ")".repeat(65))), Dialect::Embedded).is_err());
        assert!(admit(&query(&"x".repeat(MAX_QUERY_BYTES + 1)), Dialect::Embedded).is_err());
    }

    #[test]
    fn rows_are_bounded_in_the_text() {
        for (text, want) in [
            ("MATCH (n) RETURN n // all", "MATCH (n) RETURN n\nLIMIT 11 // all"),
            ("MATCH (n) RETURN n;", "MATCH (n) RETURN n\nLIMIT 11;"),
            ("MATCH (n) RETURN n LIMIT 5", "MATCH (n) RETURN n LIMIT 5"),
            ("MATCH (n) RETURN n LIMIT 500", "MATCH (n) RETURN n LIMIT 11"),
            ("MATCH (n) WITH n LIMIT 500 RETURN n.limit", "MATCH (n) WITH n LIMIT 500 RETURN n.limit\nLIMIT 11"),
            ("RETURN 1 AS x UNION RETURN 2 AS x", "RETURN 1 AS x UNION RETURN 2 AS x"),
        ] {
            assert_eq!(admit(&query(text), Dialect::Embedded).unwrap().text, want);
        }
    }

    proptest::proptest! {
        /// Whatever is typed: an answer, never a panic; and what passes for the embedded store passes again.
        #[test]
        fn any_text_is_admitted_or_refused(
            text in "(MATCH |WHERE |RETURN |WITH |EXISTS |range|datetime|duration|e\\.timestamp|:Event|[(){}\\[\\]*.,;|'\"`$\\\\<>=+-]|[a-z0-9]|\\PC){0,40}"
        ) {
            for dialect in [Dialect::Embedded, Dialect::Neo4j] {
                if let Ok(admitted) = admit(&query(&text), dialect) {
                    proptest::prop_assert!(admit(&query(&admitted.text), dialect).is_ok(), "{}", admitted.text);
                }
            }
        }
    }
}
