//! The graph store in this process: marsdb, one file in one folder.
//!
//! One thread writes ([`writer`](self)), fed by a channel of [`WRITE_QUEUE`] commands; queries run on threads of
//! their own, at most [`EmbeddedConfig::readers`] at a time. Futures here only wait for those threads, so any runtime
//! may poll them. Every batch is one durable transaction: after `apply` answered, a kill loses nothing of it, and
//! before, there is nothing of it.
//!
//! Cost, measured by `benches/embedded.rs`: see the numbers there. redb keeps up to 1 GiB of pages in memory and
//! marsdb offers no other size, so a process whose graph is larger than that holds about as much more than its own.

mod batch;
mod folder;
mod pages;
mod reader;
mod value;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use marsdb::{CancellationToken, Database};
use tapio_core::change::GraphChange;
use tapio_core::ontology::Label;
use tapio_core::ports::{
    BoxFuture, GraphStats, GraphStore, Query, Rows, StoreAbout, StoreError, StoredNode, StoredRelation,
};
use tapio_core::time::Time;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use folder::{FORMAT, GRAPH_FILE, VERSION_FILE};
pub use reader::MAX_INTERMEDIATE_ROWS;
pub use writer::RETAIN_CHUNK;

use crate::gate::{self, Dialect};
use writer::Command;

/// Commands that wait for the writer at most; whoever sends one more waits.
pub const WRITE_QUEUE: usize = 8;

/// How long closing waits for queries that were cancelled with it.
const CLOSING: Duration = Duration::from_secs(5);

/// Settings of the embedded store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// Queries that run at the same time; the next one waits.
    pub readers: usize,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        EmbeddedConfig { readers: 4 }
    }
}

/// The embedded graph store. Dropping it waits for the batch at work, then frees the folder.
pub struct EmbeddedGraph {
    db: Arc<Database>,
    dir: PathBuf,
    readers: Arc<Semaphore>,
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedGraph {
    /// Opens the graph in a folder, or makes one there. The schema is made by [`GraphStore::ensure_schema`].
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process (or another store of this one) has it open,
    /// [`StoreError::Corrupt`] for a damaged file, [`StoreError::NewerVersion`] for one of a newer Tapio or marsdb,
    /// [`StoreError::NotWritable`] for want of space or rights.
    pub fn open(dir: impl AsRef<Path>, config: EmbeddedConfig) -> Result<Self, StoreError> {
        let dir = dir.as_ref().to_path_buf();
        let db = Arc::new(folder::open(&dir)?);
        let (commands, inbox) = mpsc::channel(WRITE_QUEUE);
        let thread = std::thread::Builder::new().name("tapio-graph-write".to_owned()).stack_size(reader::STACK);
        let (its_db, its_dir) = (Arc::clone(&db), dir.clone());
        let writer = thread.spawn(move || writer::run(its_db, its_dir, inbox)).map_err(|e| busy(&dir, &e))?;
        let readers = Arc::new(Semaphore::new(config.readers.max(1)));
        Ok(EmbeddedGraph { db, dir, readers, commands: Some(commands), writer: Some(writer) })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sends a command to the writer and waits for its answer.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let stopped =
            || StoreError::Other { place: folder::place(&self.dir), why: "its writer has stopped, restart".to_owned() };
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or_else(stopped)?;
        commands.send(command(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Runs work on a reading thread, when one is free.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database, &Path) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::Other { place: folder::place(&self.dir), why: "a reader died".to_owned() };
        let permit = Arc::clone(&self.readers).acquire_owned().await.map_err(|_| gone())?;
        let (reply, answer) = oneshot::channel();
        let (db, dir) = (Arc::clone(&self.db), self.dir.clone());
        let thread = std::thread::Builder::new().name("tapio-graph-read".to_owned()).stack_size(reader::STACK);
        let body = move || {
            let done = work(&db, &dir);
            // Freed before the answer: whoever has it may open the folder again at once.
            drop(db);
            drop(permit);
            let _ = reply.send(done);
        };
        thread.spawn(body).map_err(|e| busy(&self.dir, &e))?;
        answer.await.map_err(|_| gone())?
    }
}

fn busy(dir: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Busy { place: folder::place(dir), why: format!("no thread to be had: {error}") }
}

impl GraphStore for EmbeddedGraph {
    fn ensure_schema(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(Command::Schema))
    }

    fn apply(&self, changes: Vec<GraphChange>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(|reply| Command::Apply(changes, reply)))
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Rows, StoreError>> {
        Box::pin(async move {
            let admitted = gate::admit(&query, Dialect::Embedded)?;
            let cancel = CancellationToken::new();
            // If this future is dropped, the thread stops at its next step.
            let _stop = StopOnDrop(cancel.clone());
            self.read(move |db, dir| reader::run(db, dir, &query, &admitted, cancel)).await
        })
    }

    fn retain(&self, before: Time) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut total = 0;
            loop {
                match self.ask(|reply| Command::Retain(before, reply)).await? {
                    0 => return Ok(total),
                    gone => total += gone,
                }
            }
        })
    }

    fn stats(&self) -> BoxFuture<'_, Result<GraphStats, StoreError>> {
        Box::pin(self.ask(Command::Stats))
    }

    fn graph_hash(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        Box::pin(self.ask(Command::Hash))
    }

    fn nodes<'a>(
        &'a self,
        label: Label,
        after: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredNode>, StoreError>> {
        let after = after.to_owned();
        let page = move |db: &Database, dir: &Path| {
            pages::nodes(db, label, &after, most).map_err(|e| folder::store_error(dir, e))
        };
        Box::pin(self.read(page))
    }

    fn relations<'a>(
        &'a self,
        label: Label,
        after: &'a str,
        last: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredRelation>, StoreError>> {
        let (after, last) = (after.to_owned(), last.to_owned());
        let page = move |db: &Database, dir: &Path| {
            pages::relations(db, label, &after, &last).map_err(|e| folder::store_error(dir, e))
        };
        Box::pin(self.read(page))
    }

    fn schema_faults(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(self.ask(Command::SchemaFaults))
    }

    fn about(&self) -> BoxFuture<'_, Result<StoreAbout, StoreError>> {
        let bytes = std::fs::metadata(self.dir.join(GRAPH_FILE)).map(|m| m.len()).ok();
        Box::pin(std::future::ready(Ok(StoreAbout { store: "embedded".to_owned(), format: FORMAT, bytes })))
    }

    fn backup<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<(), StoreError>> {
        let to = to.to_path_buf();
        Box::pin(self.read(move |db, _| folder::backup(db, &to)))
    }
}

struct StopOnDrop(CancellationToken);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Drop for EmbeddedGraph {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(writer) = self.writer.take() {
            // Its panics were answered to whoever asked.
            let _ = writer.join();
        }
        // Queries whose futures were dropped are on their way out; the folder is free when the last one is.
        let since = Instant::now();
        while Arc::strong_count(&self.db) > 1 && since.elapsed() < CLOSING {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
