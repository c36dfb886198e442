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
pub(crate) mod server;
mod source;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tapio_bus::ingest::{Gate, Ingest};
use tapio_collectors::cluster::{ClusterCollector, LogSink, Memory, State};
use tapio_core::ports::{EventLog, LogError, Position};
use tapio_engine::Outcome as EngineOutcome;
use tapio_graph::rules::News;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
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
/// For so long what is in the log is taken in after an end was asked for; the next start goes on with the rest.
const DRAIN: Duration = Duration::from_secs(20);
/// Between two rounds of dropping what is too old.
const RETAIN: Duration = Duration::from_secs(600);

/// What a listener may look at.
pub(crate) struct View<'v, 'a> {
    /// Engine, graph, folder.
    pub(crate) pipeline: &'v Pipeline<'a>,
    /// How the collector stands.
    pub(crate) state: &'v State,
    /// Where agents bring what they saw; none where there are none.
    pub(crate) ingest: Option<&'v Ingest>,
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
    /// Dropped to end everything that appends.
    stop: Option<watch::Sender<()>>,
    collector: JoinHandle<Result<(), LogError>>,
    /// Where agents bring what they saw; none where there are none.
    ingest: Option<Arc<Ingest>>,
    /// Keeps what it knows.
    keeper: Option<JoinHandle<Result<(), LogError>>>,
    retained: Instant,
    // Behind everything that runs on it.
    runtime: Arc<Runtime>,
}

impl<'a> Live<'a> {
    /// Connects, opens the stores, and catches up with what the log has. `folder`: where, from the context's name.
    pub(crate) fn open(
        session: &'a Session,
        cluster: &Cluster,
        name: Option<&str>,
        folder: impl FnOnce(&str) -> Outcome<Folder>,
    ) -> Outcome<Self> {
        let runtime = Arc::new(runtime()?);
        let source = Source::open(session, &runtime, cluster, name)?;
        let folder = folder(source.connection.context())?;
        Self::on(session, runtime, &source, folder, None)
    }

    /// The same on a connection that stands; `gate`: who may bring events beside the collector, if anybody may.
    pub(crate) fn on(
        session: &'a Session,
        runtime: Arc<Runtime>,
        source: &Source,
        folder: Folder,
        gate: Option<Arc<Gate>>,
    ) -> Outcome<Self> {
        let key = folder.redaction_key()?;
        let mut pipeline = Pipeline::open(session, folder, None)?;
        pipeline.begin_live(source.title(), source.identity.clone())?;
        pipeline.tell_recovery();
        let log = pipeline.log() as Arc<dyn EventLog>;
        let memory = block_on(Memory::recover(&*log))??;
        let last = Position(pipeline.last());
        let (grown, appended) = watch::channel(last);
        let connection = Arc::clone(&source.connection);
        let collector = ClusterCollector::new(
            Arc::clone(&connection),
            &source.name,
            source.config.clone(),
            tapio_collectors::redaction::Redaction::with_key(key),
            last,
        )
        .with_memory(memory);
        let state = collector.state();
        let (stop, stopped) = watch::channel(());
        let ended = |mut stopped: watch::Receiver<()>| async move {
            // Nothing is ever sent: it is over when the sender is gone.
            while stopped.changed().await.is_ok() {}
        };
        let ingest = match gate {
            None => None,
            Some(gate) => {
                let clock = Box::new(move || connection.clock_ahead());
                let (brought, seen) = watch::channel(last);
                runtime.spawn(pass_on(seen, grown.clone(), Arc::clone(&state)));
                let opened = Ingest::open(Arc::clone(&log), gate, &source.name, brought, clock);
                Some(Arc::new(block_on(opened)??))
            }
        };
        let keeper = ingest.clone().map(|i| {
            let ended = ended(stopped.clone());
            runtime.spawn(async move { i.keep(ended).await })
        });
        let collector = runtime.spawn(collector.run(LogSink::beside(log, grown), ended(stopped)));
        Ok(Live {
            session,
            pipeline,
            state,
            appended,
            bell: Arc::default(),
            stop: Some(stop),
            collector,
            ingest,
            keeper,
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

    /// Where agents bring what they saw.
    pub(crate) fn ingest(&self) -> Option<Arc<Ingest>> {
        self.ingest.clone()
    }

    /// Works until somebody asks for an end; then the collector ends, what it took in goes through as far as that takes no
    /// longer than [`DRAIN`], and the engine's state is saved.
    pub(crate) fn run(&mut self, stop: &Interrupt, listeners: &mut [&mut dyn Listener]) -> Outcome {
        self.run_until(&|| stop.asked(), &|| {}, listeners)
    }

    /// The same until `over`; `ending` is called once, before anything ends.
    pub(crate) fn run_until(
        &mut self,
        over: &dyn Fn() -> bool,
        ending: &dyn Fn(),
        listeners: &mut [&mut dyn Listener],
    ) -> Outcome {
        let mut until: Option<Instant> = None;
        loop {
            let ended = self.collector.is_finished() && self.keeper.as_ref().is_none_or(JoinHandle::is_finished);
            self.pipeline.grown(self.appended.borrow_and_update().0);
            while self.pipeline.step(&mut |out, news| listeners.iter_mut().try_for_each(|l| l.heard(out, news)))? {
                let view = View { pipeline: &self.pipeline, state: &self.state, ingest: self.ingest.as_deref() };
                listeners.iter_mut().try_for_each(|l| l.between(&view))?;
                // Whoever asks for an end does not wait for all that a long outage has left in the log.
                if self.must_end(&mut until, over, ending) {
                    break;
                }
            }
            self.pipeline.rest()?;
            self.rested(listeners)?;
            if ended {
                break;
            }
            let _ = self.must_end(&mut until, over, ending);
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
        let left = self.pipeline.last().saturating_sub(self.pipeline.taken());
        if left > 0 {
            self.session.note(&format!("{left} events wait in the log for the next start"));
        }
        for part in [Some(&mut self.collector), self.keeper.as_mut()].into_iter().flatten() {
            match self.runtime.block_on(part) {
                Ok(ended) => ended?,
                Err(e) => return Err(Failure::Unreachable(format!("a part ended with a defect of tapio: {e}"))),
            }
        }
        Ok(())
    }

    /// Ends everything that appends as soon as that is asked for; whether what is in the log is left for the next start.
    fn must_end(&mut self, until: &mut Option<Instant>, over: &dyn Fn() -> bool, ending: &dyn Fn()) -> bool {
        // Where one of the two cannot go on, the other ends with it.
        let broken = self.collector.is_finished() || self.keeper.as_ref().is_some_and(JoinHandle::is_finished);
        if self.stop.is_some() && (broken || over()) {
            ending();
            self.stop = None;
            *until = Some(Instant::now() + DRAIN);
        }
        until.is_some_and(|u| Instant::now() >= u)
    }

    fn rested(&mut self, listeners: &mut [&mut dyn Listener]) -> Outcome {
        for text in self.state.take_notes() {
            self.session.note(&text);
        }
        let view = View { pipeline: &self.pipeline, state: &self.state, ingest: self.ingest.as_deref() };
        listeners.iter_mut().try_for_each(|l| l.rested(&view))
    }

    /// Events that the collector brought into the log in this run.
    pub(crate) fn events(&self) -> u64 {
        self.state.counts.events.load(Ordering::Relaxed)
    }
}

/// What agents brought is news for the pipeline, and for the collector, which moves time on; ends with the way in.
async fn pass_on(mut brought: watch::Receiver<Position>, grown: watch::Sender<Position>, state: Arc<State>) {
    while brought.changed().await.is_ok() {
        let at = *brought.borrow_and_update();
        grown.send_if_modified(|p| {
            let more = at > *p;
            *p = at.max(*p);
            more
        });
        state.stir();
    }
}
