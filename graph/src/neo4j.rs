//! The graph store on a Neo4j server, version 5 or newer, over Bolt.
//!
//! A runtime of its own does the talking, so any runtime (or none) may wait for the futures here. One batch at a time
//! is written, cut into transactions that cannot wait for each other ([`shard`](self)), over several connections; what
//! fails for the moment is tried again within [`Neo4jConfig::patience`], and what cannot be helped is said at once, with
//! what to do. While the server is away, queries fail at once instead of waiting for it.
//!
//! Promises that differ from the embedded store's: a batch of more than 200 rows may stand in parts when the process or
//! the server dies halfway (it was not acknowledged, and comes again); steps of a query have no bound of their own;
//! backups are the server's business.
//!
//! Cost, measured by `benches/neo4j.rs`: see the numbers there.

mod address;
mod certificate;
mod columns;
mod fault;
mod fuse;
mod pages;
mod pool;
mod read;
mod restoring;
mod schema;
mod shard;
mod value;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use neo4rs::ConfigBuilder;
use tapio_core::change::GraphChange;
use tapio_core::ontology::Label;
use tapio_core::ports::{
    BoxFuture, GraphStats, GraphStore, Query, Rows, StoreAbout, StoreError, StoredNode, StoredRelation,
};
use tapio_core::time::Time;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub use address::{Address, DEFAULT_PORT};
pub use schema::FORMAT;

use crate::gate::{self, Admitted, Dialect};
use crate::projection::fold;
use crate::statements;
use fault::Fault;
use pool::{Backoff, Breaker, Pool};
use write::Times;

/// Nodes that one transaction of retention removes.
const RETAIN_CHUNK: usize = 1_000;

/// Rows that the driver fetches at once.
const FETCH: usize = 500;

/// How long closing waits for the batch at work.
const CLOSING: Duration = Duration::from_secs(10);

/// A text that no error, log or debug print shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neo4jConfig {
    /// Where the server is.
    pub address: Address,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// Certificates (PEM) of the authorities that may have signed the server's; none: those that this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// Connections that write side by side.
    pub writers: usize,
    /// Queries that run at the same time; the next one waits.
    pub readers: usize,
    /// How long a batch is tried again while the server is busy or away.
    pub patience: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a transaction of ours may take.
    pub transaction_timeout: Duration,
}

impl Neo4jConfig {
    /// The defaults for a server.
    pub fn new(address: Address, user: impl Into<String>, password: Secret) -> Self {
        Neo4jConfig {
            address,
            user: user.into(),
            password,
            ca_file: None,
            writers: 4,
            readers: 4,
            patience: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            transaction_timeout: Duration::from_secs(60),
        }
    }
}

/// The graph store on a Neo4j. Dropping it waits for the batch at work, then closes the connections.
pub struct Neo4jGraph {
    inner: Arc<Inner>,
    handle: Handle,
    /// Only taken by the drop.
    runtime: Option<Runtime>,
}

struct Inner {
    /// The address, as errors name it.
    place: String,
    writers: Pool,
    readers: Pool,
    breaker: Breaker,
    times: Times,
    patience: Duration,
    lanes: usize,
    /// Attempts that were not the first.
    retries: AtomicU64,
    /// One batch, or one count, at a time.
    writing: Mutex<()>,
}

impl Neo4jGraph {
    /// Connects, and looks whether this is a server whose graph we may use. Writes nothing; the schema is made by
    /// [`GraphStore::ensure_schema`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with what to do where the server is away, too old, no Neo4j, does not let us in or
    /// lacks the database; [`StoreError::NewerVersion`] for a graph of a newer Tapio; [`StoreError::Refused`] where the
    /// file of authorities holds no certificate.
    pub fn open(config: &Neo4jConfig) -> Result<Self, StoreError> {
        let place = config.address.to_string();
        let other = |why: String| StoreError::Other { place: place.clone(), why };
        let mut driver = ConfigBuilder::default()
            .uri(config.address.uri())
            .user(&config.user)
            .password(&config.password.0)
            .max_connections(1)
            .fetch_size(FETCH)
            // The driver waits so long for each answer.
            .connection_timeout(config.transaction_timeout.max(config.connect_timeout));
        if let Some(database) = config.address.database() {
            driver = driver.db(database);
        }
        if let Some(file) = config.ca_file.as_deref().filter(|_| config.address.checks_certificate()) {
            certificate::check(file)?;
            driver = driver.with_client_certificate(file);
        }
        let driver = driver.build().map_err(|e| other(e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("tapio-neo4j")
            .enable_all()
            .build()
            .map_err(|e| other(format!("cannot start its runtime: {e}")))?;
        let inner = Arc::new(Inner {
            writers: Pool::new(driver.clone(), config.writers),
            readers: Pool::new(driver, config.readers),
            breaker: Breaker::default(),
            times: Times { connect: config.connect_timeout, transaction: config.transaction_timeout },
            patience: config.patience,
            lanes: config.writers.max(1),
            retries: AtomicU64::new(0),
            writing: Mutex::new(()),
            place,
        });
        let graph = Neo4jGraph { inner: Arc::clone(&inner), handle: runtime.handle().clone(), runtime: Some(runtime) };
        // A channel and not `block_on`, so that it may be called from inside of another runtime.
        let (answer, wait) = std::sync::mpsc::channel();
        graph.handle.spawn(async move {
            let checked = schema::check(&inner.writers, inner.times).await;
            let _ = answer.send(checked.map_err(|f| f.own(&inner.place)));
        });
        wait.recv().map_err(|_| graph.inner.panicked())?.map(|()| graph)
    }

    /// The address, without credentials.
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// How often something was tried again since the store was opened: the server was away, or others held its locks.
    pub fn retries(&self) -> u64 {
        self.inner.retries.load(Ordering::Relaxed)
    }

    /// Runs work of ours to its end, also where nobody waits for it any more.
    fn own<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> BoxFuture<'_, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let work = work(Arc::clone(&self.inner));
        Box::pin(async move {
            match self.handle.spawn(work).await {
                Ok(done) => done.map_err(|fault| fault.own(&self.inner.place)),
                Err(_) => Err(self.inner.panicked()),
            }
        })
    }
}

impl Inner {
    /// What is missing or unusable of the schema, and a restore that is not all there.
    async fn faults(&self) -> Result<Vec<String>, Fault> {
        let mut faults = self.patient(|| schema::faults(&self.readers, self.times)).await?;
        let half = self.marks().await?.into_iter();
        faults.extend(half.map(|of| format!("a restore was interrupted (mark {of}); run the same one again")));
        Ok(faults)
    }

    fn panicked(&self) -> StoreError {
        let why = "the driver panicked, its message is on standard error".to_owned();
        StoreError::Other { place: self.place.clone(), why }
    }

    /// Does something, again and again while that may help and the patience lasts.
    async fn patient<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut backoff = Backoff::new(self.patience);
        loop {
            let done = work().await;
            self.breaker.note(&done);
            match done {
                Err(fault) if fault.passes() => {
                    if !backoff.wait().await {
                        return Err(fault);
                    }
                    self.retries.fetch_add(1, Ordering::Relaxed);
                }
                done => return done,
            }
        }
    }

    async fn apply(self: Arc<Self>, changes: Vec<GraphChange>) -> Result<(), Fault> {
        let _alone = self.writing.lock().await;
        for phase in shard::plan(fold(changes), self.lanes) {
            let writers = self.lanes.min(phase.len());
            let jobs = Arc::new(std::sync::Mutex::new(phase));
            let mut tasks = JoinSet::new();
            for _ in 0..writers {
                let (inner, jobs) = (Arc::clone(&self), Arc::clone(&jobs));
                tasks.spawn(async move { inner.work(&jobs).await });
            }
            // All are waited for, so that nothing is under way when the batch is answered.
            let mut ended = Ok(());
            while let Some(done) = tasks.join_next().await {
                let done = done.unwrap_or_else(|_| Err(Fault::Other("the driver panicked".to_owned())));
                ended = ended.and(done);
            }
            ended?;
        }
        Ok(())
    }

    /// Does what waits, one after the other, until nothing is left or something has failed for good.
    async fn work(&self, jobs: &std::sync::Mutex<Vec<shard::Job>>) -> Result<(), Fault> {
        let waiting = || jobs.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(job) = waiting().pop() else { return Ok(()) };
            let done = self.patient(|| write::job(&self.writers, &job, self.times)).await;
            if done.is_err() {
                waiting().clear();
                return done;
            }
        }
    }

    async fn retain(self: Arc<Self>, before: Time) -> Result<u64, Fault> {
        let until = before.to_string();
        let mut old = vec![(Label::Event, statements::old_events(RETAIN_CHUNK))];
        let objects = Label::ALL.iter().copied().filter(|l| l.key_property() == "uid");
        old.extend(objects.map(|l| (l, statements::old_tombstones(l, &until, RETAIN_CHUNK))));
        old.push((Label::Incident, statements::old_incidents(&until, RETAIN_CHUNK)));
        let mut total = 0;
        for (label, text) in old {
            loop {
                // Batches get in between.
                let _alone = self.writing.lock().await;
                let find = || {
                    // A whole millisecond below the bound: an event within the bound's own millisecond stays.
                    let asked = neo4rs::Query::new(text.clone()).param("before", before.millis());
                    schema::column(&self.writers, asked, "key", self.times)
                };
                let keys = self.patient(find).await?;
                let keys: Vec<String> = keys.iter().filter_map(|k| value::text_of(k).map(str::to_owned)).collect();
                if keys.is_empty() {
                    break;
                }
                self.patient(|| write::delete(&self.writers, label, &keys, self.times)).await?;
                total += keys.len() as u64;
            }
        }
        Ok(total)
    }

    async fn query(self: Arc<Self>, query: Query, admitted: Admitted) -> Result<Rows, Fault> {
        self.breaker.check()?;
        let done = read::query(&self.readers, &query, &admitted, self.times).await;
        self.breaker.note(&done);
        done
    }
}

impl GraphStore for Neo4jGraph {
    fn ensure_schema(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.own(|inner| async move { inner.patient(|| schema::ensure(&inner.writers, inner.times)).await })
    }

    fn apply(&self, changes: Vec<GraphChange>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.own(|inner| inner.apply(changes))
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Rows, StoreError>> {
        Box::pin(async move {
            let admitted = gate::admit(&query, Dialect::Neo4j)?;
            let task = self.handle.spawn(Arc::clone(&self.inner).query(query, admitted));
            // If this future is dropped, the connection is closed, and the server stops.
            let _stop = StopOnDrop(task.abort_handle());
            match task.await {
                Ok(done) => done.map_err(|fault| fault.asked(&self.inner.place)),
                Err(_) => Err(self.inner.panicked()),
            }
        })
    }

    fn retain(&self, before: Time) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.own(|inner| inner.retain(before))
    }

    fn stats(&self) -> BoxFuture<'_, Result<GraphStats, StoreError>> {
        self.own(|inner| async move {
            let _alone = inner.writing.lock().await;
            inner.patient(|| read::stats(&inner.writers, inner.times)).await
        })
    }

    fn graph_hash(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        self.own(|inner| async move {
            // Between two batches the graph stands still.
            let _alone = inner.writing.lock().await;
            inner.patient(|| read::hash(&inner.writers, inner.times)).await
        })
    }

    fn nodes<'a>(
        &'a self,
        label: Label,
        after: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredNode>, StoreError>> {
        let after = after.to_owned();
        self.own(move |inner| async move {
            inner.patient(|| pages::nodes(&inner.readers, label, &after, most, inner.times)).await
        })
    }

    fn relations<'a>(
        &'a self,
        label: Label,
        after: &'a str,
        last: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredRelation>, StoreError>> {
        let (after, last) = (after.to_owned(), last.to_owned());
        self.own(move |inner| async move {
            inner.patient(|| pages::relations(&inner.readers, label, (&after, &last), inner.times)).await
        })
    }

    fn schema_faults(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        self.own(|inner| async move { inner.faults().await })
    }

    fn about(&self) -> BoxFuture<'_, Result<StoreAbout, StoreError>> {
        self.own(|inner| async move { inner.patient(|| schema::about(&inner.readers, inner.times)).await })
    }

    fn backup<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, Result<(), StoreError>> {
        let why = "a Neo4j is copied by its own tools: `neo4j-admin database dump`, or its online backup".to_owned();
        Box::pin(async move { Err(StoreError::Refused(why)) })
    }
}

struct StopOnDrop(tokio::task::AbortHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Neo4jGraph {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // A batch whose asker is gone is at its end soon; what is not by then is closed, and rolled back.
        let (done, wait) = std::sync::mpsc::channel();
        let inner = Arc::clone(&self.inner);
        runtime.spawn(async move {
            drop(inner.writing.lock().await);
            let _ = done.send(());
        });
        let _ = wait.recv_timeout(CLOSING);
        runtime.shutdown_background();
    }
}
