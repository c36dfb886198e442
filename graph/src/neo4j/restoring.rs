//! Bringing a whole graph into a server: the mark that says so while it is not all there, and emptying.
//!
//! Like the format, the mark is an index without nodes. It names what is being restored, so that the same restore goes
//! on after a kill, and another one is told of it.

use neo4rs::Query;
use tapio_core::ontology::Label;
use tapio_core::ports::StoreError;

use super::fault::Fault;
use super::schema::column;
use super::value::{int_of, text_of};
use super::{Inner, Neo4jGraph};

/// Begin of the mark.
const MARK: &str = "tapio_restoring_";

/// Nodes that one transaction removes.
const CHUNK: usize = 1_000;

impl Neo4jGraph {
    /// What is being restored and is not all there yet.
    ///
    /// # Errors
    /// As those of [`tapio_core::ports::GraphStore::stats`].
    pub async fn restoring(&self) -> Result<Option<String>, StoreError> {
        self.own(|inner| async move { inner.marks().await.map(|all| all.into_iter().next()) }).await
    }

    /// Marks that `what` (letters and digits) is being restored from now on; none: it is all there.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for anything else than letters and digits.
    pub async fn set_restoring(&self, what: Option<&str>) -> Result<(), StoreError> {
        if what.is_some_and(|w| w.is_empty() || w.len() > 64 || !w.chars().all(|c| c.is_ascii_alphanumeric())) {
            return Err(StoreError::Refused("a mark has 1 to 64 letters and digits".to_owned()));
        }
        let what = what.map(str::to_owned);
        self.own(|inner| async move {
            let run = async |text: String| {
                inner.patient(|| column(&inner.writers, Query::new(text.clone()), "", inner.times)).await
            };
            for old in inner.marks().await? {
                if what.as_ref() != Some(&old) {
                    run(format!("DROP INDEX {MARK}{old} IF EXISTS")).await?;
                }
            }
            if let Some(new) = what {
                // The property, too: there cannot be two indexes on the same one.
                run(format!("CREATE INDEX {MARK}{new} IF NOT EXISTS FOR (n:TapioRestoring) ON (n.of_{new})")).await?;
            }
            Ok(())
        })
        .await
    }

    /// Removes every node that has a label and a key of the ontology, with its relations; others stay.
    /// Gives how many went.
    ///
    /// # Errors
    /// As those of [`tapio_core::ports::GraphStore::retain`]. What was removed until then stays removed.
    pub async fn clear(&self) -> Result<u64, StoreError> {
        self.own(|inner| async move {
            let _alone = inner.writing.lock().await;
            let mut total = 0;
            for label in Label::ALL {
                let text = format!(
                    "MATCH (n:{label}) WHERE n.{} IS NOT NULL WITH n LIMIT {CHUNK} DETACH DELETE n RETURN count(*) AS n",
                    label.key_property()
                );
                loop {
                    let run = || column(&inner.writers, Query::new(text.clone()), "n", inner.times);
                    let gone = inner.patient(run).await?.first().and_then(int_of).unwrap_or_default();
                    if gone == 0 {
                        break;
                    }
                    total += gone.unsigned_abs();
                }
            }
            Ok(total)
        })
        .await
    }
}

impl Inner {
    pub(super) async fn marks(&self) -> Result<Vec<String>, Fault> {
        let asked = format!("SHOW INDEXES YIELD name WHERE name STARTS WITH '{MARK}' RETURN name");
        let find = || column(&self.readers, Query::new(asked.clone()), "name", self.times);
        let found = self.patient(find).await?;
        Ok(found.iter().filter_map(|n| text_of(n)?.strip_prefix(MARK).map(str::to_owned)).collect())
    }
}
