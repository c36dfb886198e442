//! The one thread that writes.
//!
//! marsdb (redb) has a single writer anyway; a thread of its own keeps its parsed statements, and a bounded channel
//! in front of it makes callers wait instead of memory grow. Statistics and the hash run here too: between two
//! batches the graph stands still, so they see one state without holding it in memory. Retention comes in chunks, each
//! a transaction and a command of its own, so that batches get in between.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use marsdb::{Database, Error, PropertyValue, Value};
use tapio_core::change::GraphChange;
use tapio_core::ontology::Label;
use tapio_core::ports::{GraphStats, StoreError};
use tapio_core::time::Time;
use tokio::sync::{mpsc, oneshot};

use super::batch::{Batch, Plans, plain, text, text_of};
use super::folder::{place, store_error};
use super::pages;
use super::value::map;
use crate::hash::GraphHash;
use crate::statements;

/// Nodes that one transaction of retention removes.
pub const RETAIN_CHUNK: usize = 1_000;

/// Nodes that the hash holds in memory at once, with their relations.
const HASH_PAGE: usize = 500;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked.
pub(super) enum Command {
    Schema(Reply<()>),
    Apply(Vec<GraphChange>, Reply<()>),
    /// Removes at most [`RETAIN_CHUNK`] nodes and says how many; 0 when there are no more.
    Retain(Time, Reply<u64>),
    Stats(Reply<GraphStats>),
    Hash(Reply<String>),
    SchemaFaults(Reply<Vec<String>>),
}

/// Runs commands until nobody can send any more.
pub(super) fn run(db: Arc<Database>, dir: PathBuf, mut commands: mpsc::Receiver<Command>) {
    let mut writer = Writer { db, dir, plans: Plans::default() };
    while let Some(command) = commands.blocking_recv() {
        // A caller that is gone wants no answer; what it asked for stands in the graph all the same.
        match command {
            Command::Schema(reply) => drop(reply.send(writer.guarded(Writer::schema))),
            Command::Apply(changes, reply) => drop(reply.send(writer.guarded(|w| w.apply(changes)))),
            Command::Retain(before, reply) => drop(reply.send(writer.guarded(|w| w.retain(before)))),
            Command::Stats(reply) => drop(reply.send(writer.guarded(Writer::stats))),
            Command::Hash(reply) => drop(reply.send(writer.guarded(Writer::hash))),
            Command::SchemaFaults(reply) => drop(reply.send(writer.guarded(Writer::schema_faults))),
        }
    }
}

struct Writer {
    db: Arc<Database>,
    dir: PathBuf,
    plans: Plans,
}

impl Writer {
    /// A panic inside marsdb costs the one command (its transaction rolls back), not the writer.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, StoreError> {
        match std::panic::catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(done) => done.map_err(|e| store_error(&self.dir, e)),
            Err(_) => Err(StoreError::Other {
                place: place(&self.dir),
                why: "the store panicked, its message is on standard error; the batch was rolled back".to_owned(),
            }),
        }
    }

    /// Label and property of every index.
    fn indexes(&self) -> Result<Vec<(String, String)>, Error> {
        let have = self.db.execute("CALL db.indexes()")?;
        let pair = |row: Vec<Value>| {
            let mut row = row.into_iter();
            Some((text_of(row.next()?)?, text_of(row.next()?)?))
        };
        Ok(have.rows.into_iter().filter_map(pair).collect())
    }

    fn schema(&mut self) -> Result<(), Error> {
        let have = self.indexes()?;
        for index in statements::schema() {
            if !have.iter().any(|(label, property)| label == index.label.as_str() && property == index.property) {
                self.db.execute(&statements::marsdb_index(index))?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, changes: Vec<GraphChange>) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::begin(&self.db, &mut self.plans)?;
        batch.apply(changes)?;
        batch.commit()
    }

    fn retain(&mut self, before: Time) -> Result<u64, Error> {
        let mut batch = Batch::begin(&self.db, &mut self.plans)?;
        let bound = PropertyValue::Int(before.millis());
        let mut gone = Vec::new();
        // A whole millisecond below the bound: an event within the bound's own millisecond stays.
        let events = batch.run(statements::old_events(RETAIN_CHUNK), [("before", bound)])?;
        gone.push((Label::Event, events));
        if gone[0].1.rows.is_empty() {
            let before = before.to_string();
            for &label in Label::ALL.iter().filter(|l| l.key_property() == "uid") {
                gone.push((label, batch.run(statements::old_tombstones(label, &before, RETAIN_CHUNK), [])?));
            }
            gone.push((Label::Incident, batch.run(statements::old_incidents(&before, RETAIN_CHUNK), [])?));
        }
        let mut count = 0;
        for (label, found) in gone {
            let keys = found.rows.into_iter().filter_map(|row| text_of(row.into_iter().next()?));
            let rows: Vec<_> = keys.map(|key| map([("key", text(key))])).collect();
            if !rows.is_empty() {
                count += rows.len() as u64;
                batch.run(statements::delete_nodes(label), [("rows", PropertyValue::List(rows))])?;
            }
        }
        if count > 0 {
            batch.commit()?;
        }
        Ok(count)
    }

    fn stats(&mut self) -> Result<GraphStats, Error> {
        let count = |text: &str| -> Result<BTreeMap<String, u64>, Error> {
            let rows = self.db.execute(text)?.rows.into_iter().filter_map(|row| {
                let mut row = row.into_iter();
                let name = text_of(row.next()?)?;
                match plain(row.next()?)? {
                    PropertyValue::Int(n) if n > 0 => Some((name, n.unsigned_abs())),
                    _ => None,
                }
            });
            Ok(rows.collect())
        };
        Ok(GraphStats { nodes: count("CALL db.labels()")?, relations: count("CALL db.relationshipTypes()")? })
    }

    /// Pages through the whole graph.
    fn hash(&mut self) -> Result<String, Error> {
        let mut hash = GraphHash::default();
        for &label in Label::ALL {
            let mut after = String::new();
            loop {
                let page = pages::nodes(&self.db, label, &after, HASH_PAGE)?;
                let Some(last) = page.last().map(|n| n.node.key.clone()) else { break };
                page.iter().for_each(|n| hash.stored_node(n));
                pages::relations(&self.db, label, &after, &last)?.iter().for_each(|r| hash.stored_relation(r));
                if page.len() < HASH_PAGE {
                    break;
                }
                after = last;
            }
        }
        Ok(hash.finish())
    }

    /// Compares what is there with [`statements::schema`].
    fn schema_faults(&mut self) -> Result<Vec<String>, Error> {
        let have = self.indexes()?;
        let missing = statements::schema().into_iter().filter(|index| {
            !have.iter().any(|(label, property)| label == index.label.as_str() && property == index.property)
        });
        Ok(missing.map(|i| format!("no {}", statements::index_in_words(i))).collect())
    }
}
