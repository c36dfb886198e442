//! A living cluster at work: collector → log → engine → graph, the same path as a replay with another left end.
//!
//! The collector runs on a runtime of its own threads and appends to the log; the pipeline stays on the calling thread,
//! follows the log, and tells its [`Listener`]s what came of it. The log is the only thing between the two: what it
//! has is durable, and the rest is asked for again.
//!
//! Whoever wants to know what happens (a printer, an outbox of alerts, an API) is one more [`Listener`] in
//! [`Live::run`]. A listener sees the engine and the stores through [`View`], and writes to none of them.

mod place;
mod record;
mod source;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tapio_collectors::cluster::{ClusterCollector, LogSink, Memory, State};
use tapio_core::ports::{EventLog, LogError, Position};
use tapio_engine::Outcome as EngineOutcome;
use tapio_graph::rules::News;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use super::alerts::Owed;
use super::{Folder, Interrupt, Pipeline, block_on};
use crate::args::Cluster;
use crate::cmd::Session;
use crate::error::{Failure, Outcome};
pub(crate) use place::default_folder;
pub(crate) use record::{default_recording, record};
pub(crate) use source::{Source, runtime};

/// How long the pipeline waits for news before it looks up.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two rounds of dropping what is too old.
const RETAIN: Duration = Duration::from_secs(600);

/// What a listener may look at.
pub(crate) struct View<'v, 'a> {
    /// Engine, graph, folder.
    pub(crate) pipeline: &'v Pipeline<'a>,
    /// How the collector stands.
    pub(crate) state: &'v State,
}

/// Somebody who wants to know.
pub(crate) trait Listener {
    /// What came of one piece of evidence. After a crash what was told last may be told again.
    fn heard(&mut self, out: &EngineOutcome, news: &[News]) -> Outcome;
    /// Called between two pieces of a longer stretch, for those who have to be quick.
    fn between(&mut self, _view: &View) -> Outcome {
        Ok(())
    }
    /// Nothing more is there for the moment; called several times a second.
    fn rested(&mut self, _view: &View) -> Outcome {
        Ok(())
    }
}

/// A living cluster with its data folder.
pub(crate) struct Live<'a> {
    session: &'a Session,
    pipeline: Pipeline<'a>,
    state: Arc<State>,
    appended: watch::Receiver<Position>,
    /// Rung by whoever wants to be looked at before the next time.
    bell: Arc<Notify>,
    /// Dropped to end the collector.
    stop: Option<oneshot::Sender<()>>,
    collector: JoinHandle<Result<(), LogError>>,
    retained: Instant,
    // Behind everything that runs on it.
    runtime: Runtime,
}

impl<'a> Live<'a> {
    /// Connects, opens the stores, and catches up with what the log has. `folder`: where, from the context's name.
    pub(crate) fn open(
        session: &'a Session,
        cluster: &Cluster,
        name: Option<&str>,
        folder: impl FnOnce(&str) -> Outcome<Folder>,
    ) -> Outcome<Self> {
        let runtime = runtime()?;
        let source = Source::open(session, &runtime, cluster, name)?;
        let folder = folder(source.connection.context())?;
        let key = folder.redaction_key()?;
        let mut pipeline = Pipeline::open(session, folder, None)?;
        pipeline.begin_live(source.title(), source.identity.clone())?;
        pipeline.tell_recovery();
        let log = pipeline.log();
        let memory = block_on(Memory::recover(&*log))??;
        let last = Position(pipeline.last());
        let (sink, appended) = LogSink::new(log as Arc<dyn EventLog>, last);
        let collector = ClusterCollector::new(
            Arc::clone(&source.connection),
            &source.name,
            source.config.clone(),
            tapio_collectors::redaction::Redaction::with_key(key),
            last,
        )
        .with_memory(memory);
        let state = collector.state();
        let (stop, stopped) = oneshot::channel::<()>();
        let collector = runtime.spawn(collector.run(sink, async move {
            // Sent or dropped, it means the same.
            let _ = stopped.await;
        }));
        Ok(Live {
            session,
            pipeline,
            state,
            appended,
            bell: Arc::default(),
            stop: Some(stop),
            collector,
            retained: Instant::now(),
            runtime,
        })
    }

    /// The pipeline.
    pub(crate) fn pipeline(&self) -> &Pipeline<'a> {
        &self.pipeline
    }

    /// From now on, what becomes of incidents is owed to sinks of alerts.
    pub(crate) fn tell(&mut self, alerts: Owed) {
        self.pipeline.tell(alerts);
    }

    /// The same, to put something around its graph.
    pub(crate) fn pipeline_mut(&mut self) -> &mut Pipeline<'a> {
        &mut self.pipeline
    }

    /// Ends the pause in which the pipeline waits for news.
    pub(crate) fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }

    /// How the collector stands.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Works until somebody asks for an end; then the collector ends, everything that it took in goes through, and the
    /// engine's state is saved.
    pub(crate) fn run(&mut self, stop: &Interrupt, listeners: &mut [&mut dyn Listener]) -> Outcome {
        loop {
            let ended = self.collector.is_finished();
            self.pipeline.grown(self.appended.borrow_and_update().0);
            while self.pipeline.step(&mut |out, news| listeners.iter_mut().try_for_each(|l| l.heard(out, news)))? {
                let view = View { pipeline: &self.pipeline, state: &self.state };
                listeners.iter_mut().try_for_each(|l| l.between(&view))?;
            }
            self.pipeline.rest()?;
            self.rested(listeners)?;
            if ended {
                break;
            }
            if stop.asked() {
                self.stop = None;
            }
            if self.retained.elapsed() >= RETAIN {
                self.retained = Instant::now();
                self.pipeline.retain()?;
            }
            let (appended, bell) = (&mut self.appended, &self.bell);
            self.runtime.block_on(async {
                let news = async {
                    tokio::select! {
                        _ = appended.changed() => {}
                        () = bell.notified() => {}
                    }
                };
                // An end of the collector is found by looking up, too.
                let _ = tokio::time::timeout(PATIENCE, news).await;
            });
        }
        self.pipeline.save()?;
        match self.runtime.block_on(&mut self.collector) {
            Ok(ended) => ended.map_err(Failure::from),
            Err(e) => Err(Failure::Unreachable(format!("the collector ended with a defect of tapio: {e}"))),
        }
    }

    fn rested(&mut self, listeners: &mut [&mut dyn Listener]) -> Outcome {
        for text in self.state.take_notes() {
            self.session.note(&text);
        }
        let view = View { pipeline: &self.pipeline, state: &self.state };
        listeners.iter_mut().try_for_each(|l| l.rested(&view))
    }

    /// Events that the collector brought into the log in this run.
    pub(crate) fn events(&self) -> u64 {
        self.state.counts.events.load(Ordering::Relaxed)
    }
}
