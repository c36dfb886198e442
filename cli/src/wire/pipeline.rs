//! A data folder at work: input → log → engine → graph, and back to where a killed process left off.
//!
//! Order of durable steps: dead letters, append, graph, findings of rules, cursor, checkpoint. So the graph is never
//! behind a checkpoint, and what a crash makes happen twice is idempotent: the engine starts from its checkpoint, takes
//! the same chunks again, and writes the same changes over themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tapio_bus::log::sqlite::SqliteLog;
use tapio_bus::outbox::Sighting;
use tapio_core::answer::Gap;
use tapio_core::change::GraphChange;
use tapio_core::ports::{EventLog, GraphStore, LogError, Position, Record, Retention};
use tapio_core::raw::{DeadLetter, RawEvent};
use tapio_core::time::{MINUTE, Time};
use tapio_engine::{EventProcessor, Outcome as EngineOutcome, checkpoint};
use tapio_graph::neo4j::Address;
use tapio_graph::rules::{News, Runner};

use super::alerts::Owed;
use super::store;
use super::watch;
use super::{CHUNK, Folder, Known, engine, live_engine};
use crate::cmd::Session;
use crate::error::{Failure, Outcome};

/// Our name as a consumer of the log.
const CONSUMER: &str = "engine";
/// Time after which fewer go, too.
const BATCH_AFTER: Duration = Duration::from_millis(100);

/// Time after which the cursor is moved though nothing came of what was read.
const COMMIT_AFTER: Duration = Duration::from_secs(2);

/// Waits for a future of a store; they need no runtime's help, but some form of waiting.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|e| Failure::Unreachable(format!("cannot start the runtime: {e}")))?;
    Ok(runtime.block_on(future))
}

/// The engine with its place in the log.
struct Fold {
    engine: EventProcessor,
    /// All up to and with this position was taken.
    cursor: u64,
    /// Whether the input that ends here was flushed out of the engine's window.
    finished: bool,
}

impl Fold {
    /// The newest checkpoint, or the beginning.
    fn restore(session: &Session, folder: &Folder, log: &SqliteLog, rebuild: bool) -> Outcome<Self> {
        // What retention has dropped is not there to be read.
        let cursor = block_on(log.stats())??.first.0.saturating_sub(1);
        let engine = || if folder.is_live() { live_engine(session) } else { engine(session, true) };
        let new = || Fold { engine: engine(), cursor, finished: false };
        let saved = match block_on(log.load_checkpoint(CONSUMER))? {
            Ok(saved) => saved,
            Err(LogError::Corrupt { why, .. }) => {
                session.note(&format!("{why}; reading the whole event log again"));
                None
            }
            Err(e) => return Err(e.into()),
        };
        let Some((Position(cursor), version, bytes)) = saved else { return Ok(new()) };
        if rebuild {
            session.note("the graph is gone or new; building it from the whole event log");
            return Ok(new());
        }
        let (finished, state) = match bytes.split_first() {
            Some((flag, state)) => (*flag == 1, state),
            None => (false, &[][..]),
        };
        match EventProcessor::restore(version, state) {
            Ok(engine) => Ok(Fold { engine, cursor, finished }),
            Err(e) => {
                session.note(&format!("{e}; reading the whole event log again"));
                Ok(new())
            }
        }
    }

    /// Where the next chunk ends: at a multiple of its size, or with an input; none while it is not all there. And
    /// whether its events are taken one by one: of a living cluster nobody waits for a full chunk, and taken alone they
    /// come to the same whenever they are read.
    fn next_end(&self, folder: &Folder, last: u64) -> Option<(u64, bool)> {
        let chunk = CHUNK as u64;
        let (live, bound) = folder.stretch(self.cursor);
        let bound = bound.unwrap_or(u64::MAX);
        if live {
            let end = bound.min(last).min(self.cursor + chunk);
            return (end > self.cursor).then_some((end, true));
        }
        let aligned = ((self.cursor / chunk + 1) * chunk).min(bound);
        let end = folder.next_end(self.cursor).map_or(aligned, |e| e.min(aligned));
        (end <= last).then_some((end, false))
    }

    /// Whether an input ended just here and still waits in the window.
    fn must_finish(&self, folder: &Folder) -> bool {
        !self.finished && folder.ends_at(self.cursor)
    }

    fn finish(&mut self) -> EngineOutcome {
        self.finished = true;
        self.engine.finish()
    }

    fn take(&mut self, records: impl IntoIterator<Item = RawEvent>, end: u64) -> EngineOutcome {
        self.cursor = end;
        self.finished = false;
        self.engine.process(records)
    }
}

/// Reads the records up to and with `end`, with their positions.
fn records(log: &SqliteLog, cursor: u64, end: u64) -> Outcome<Vec<(u64, RawEvent)>> {
    let mut at = cursor;
    let mut out: Vec<(u64, RawEvent)> = Vec::new();
    while at < end {
        let max = usize::try_from(end - at).unwrap_or(CHUNK);
        let page: Vec<Record> = block_on(log.read(Position(at), max))??;
        let Some(last) = page.last() else { break };
        at = last.position.0;
        // Unreadable records are buried by the log itself, and the page may reach beyond them.
        out.extend(page.into_iter().filter(|r| r.position.0 <= end).map(|r| (r.position.0, r.event)));
    }
    Ok(out)
}

/// A data folder that is written.
pub(crate) struct Pipeline<'a> {
    session: &'a Session,
    folder: Folder,
    // Before the log: a graph must not be ahead of what its log can prove.
    graph: Arc<dyn GraphStore>,
    /// Changes that go into the graph in one step.
    batch: usize,
    log: Arc<SqliteLog>,
    fold: Fold,
    /// Last position of the log.
    last: u64,
    /// What the graph had when this process began: up to here nothing is new.
    told: u64,
    /// Rules of one's own; none where there are none.
    rules: Option<Runner>,
    /// Whether they were asked since their findings were saved.
    asked: bool,
    outbox: Vec<GraphChange>,
    /// Who is told of incidents, where anybody is; and what is owed since the cursor moved.
    alerts: Option<Owed>,
    seen: Vec<Sighting>,
    applied: Instant,
    saved: (Instant, u64),
}

impl<'a> Pipeline<'a> {
    /// Opens the stores and goes back to the newest checkpoint; `graph`: a Neo4j in the place of the folder's own.
    pub(crate) fn open(session: &'a Session, mut folder: Folder, graph: Option<&Address>) -> Outcome<Self> {
        let log = Arc::new(SqliteLog::open(folder.log(), session.config.log)?);
        let (graph, rebuild) = store::to_write(session, &mut folder, graph)?;
        let graph: Arc<dyn GraphStore> = Arc::from(graph);
        let last = block_on(log.stats())??.last.0;
        folder.check_log(last)?;
        let told = block_on(log.committed(CONSUMER))??.0;
        let fold = Fold::restore(session, &folder, &log, rebuild)?;
        let rules = restore_rules(session, &folder)?;
        let cursor = fold.cursor;
        let now = Instant::now();
        Ok(Pipeline {
            session,
            batch: store::batch(&folder),
            folder,
            graph,
            log,
            fold,
            last,
            told,
            rules,
            asked: false,
            outbox: Vec::new(),
            alerts: None,
            seen: Vec::new(),
            applied: now,
            saved: (now, cursor),
        })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &EventProcessor {
        &self.fold.engine
    }

    /// The graph.
    pub(crate) fn graph(&self) -> &dyn GraphStore {
        &*self.graph
    }

    /// Puts something around the graph, for whoever measures it; gives the graph for readers of their own, who must let
    /// go of it before this ends.
    pub(crate) fn wrap_graph(
        &mut self,
        wrap: impl FnOnce(Arc<dyn GraphStore>) -> Arc<dyn GraphStore>,
    ) -> Arc<dyn GraphStore> {
        self.graph = wrap(Arc::clone(&self.graph));
        Arc::clone(&self.graph)
    }

    /// Position up to which the engine has taken the log.
    pub(crate) fn taken(&self) -> u64 {
        self.fold.cursor
    }

    /// Last position of the log.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// The log, for a collector that appends to it beside.
    pub(crate) fn log(&self) -> Arc<SqliteLog> {
        Arc::clone(&self.log)
    }

    /// Somebody else has appended up to here.
    pub(crate) fn grown(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// From now on, what becomes of incidents is owed to sinks of alerts.
    pub(crate) fn tell(&mut self, alerts: Owed) {
        self.alerts = Some(alerts);
    }

    /// Begins with a living cluster, or goes on with it.
    pub(crate) fn begin_live(&mut self, name: String, identity: String) -> Outcome {
        self.folder.begin_live(name, identity, self.last)?;
        // It was made before anybody knew what would come; one collector's stream needs no window.
        if self.fold.engine.stats().raw == 0 {
            self.fold.engine = live_engine(self.session);
        }
        Ok(())
    }

    /// Nothing comes for a moment: what waits for the graph is written.
    pub(crate) fn rest(&mut self) -> Outcome {
        if self.outbox.is_empty() && self.applied.elapsed() < COMMIT_AFTER {
            return Ok(());
        }
        if self.applied.elapsed() >= BATCH_AFTER { self.flush() } else { Ok(()) }
    }

    /// Drops what is older than the settings keep, of log and graph. What the engine has not taken is never dropped.
    pub(crate) fn retain(&mut self) -> Outcome {
        let live = &self.session.config.live;
        let now = self.fold.engine.newest();
        let keep = Retention { max_age_secs: live.keep_hours.saturating_mul(3_600), max_bytes: live.log_max_bytes };
        block_on(self.log.retain(keep, now))??;
        if live.keep_hours > 0 && now > Time::MIN {
            let hours = i64::try_from(live.keep_hours).unwrap_or(i64::MAX);
            block_on(self.graph.retain(now.plus(hours.saturating_mul(-60 * MINUTE))))??;
        }
        Ok(())
    }

    /// Begins with an input: how many of its events are in the log already; none: all.
    pub(crate) fn begin(&mut self, name: String, fingerprint: Option<String>) -> Outcome<Option<u64>> {
        self.folder.begin(name, fingerprint, self.last)
    }

    /// The input begun last is at its end.
    pub(crate) fn end(&mut self) -> Outcome {
        self.folder.end(self.last)
    }

    /// Keeps dead letters, then appends events; durable when it returns.
    pub(crate) fn append(&mut self, letters: Vec<DeadLetter>, events: Vec<RawEvent>) -> Outcome {
        if !letters.is_empty() {
            block_on(self.log.bury(letters))??;
        }
        if !events.is_empty() {
            self.last = block_on(self.log.append(events))??.0;
        }
        Ok(())
    }

    /// Takes every whole chunk that the log has. `each` gets what is new in them; what an earlier process had brought
    /// into the graph already is taken again in silence.
    pub(crate) fn advance(&mut self, each: &mut impl FnMut(&EngineOutcome, &[News]) -> Outcome) -> Outcome {
        while self.step(each)? {}
        Ok(())
    }

    /// Takes the next chunk of them; whether there was one.
    pub(crate) fn step(&mut self, each: &mut impl FnMut(&EngineOutcome, &[News]) -> Outcome) -> Outcome<bool> {
        let often = &self.session.config.replay;
        if self.fold.must_finish(&self.folder) {
            let out = self.fold.finish();
            let fresh = self.fold.cursor > self.told;
            self.keep(out, fresh, each)?;
            if fresh {
                self.ask(true, each)?;
            }
            self.save()?;
        }
        let Some((end, alone)) = self.fold.next_end(&self.folder, self.last) else { return Ok(false) };
        let events = records(&self.log, self.fold.cursor, end)?;
        if alone {
            for (at, event) in events {
                let out = self.fold.take([event], at);
                self.keep(out, at > self.told, each)?;
            }
            self.fold.cursor = end;
        } else {
            let out = self.fold.take(events.into_iter().map(|(_, e)| e), end);
            self.keep(out, end > self.told, each)?;
        }
        let secs = if alone { self.session.config.live.checkpoint_secs } else { often.checkpoint_secs };
        if end - self.saved.1 >= often.checkpoint_events || self.saved.0.elapsed().as_secs() >= secs {
            self.save()?;
        }
        Ok(true)
    }

    /// Asks rules that were never asked, at the graph as it is: those that are new beside it.
    pub(crate) fn ask_new(&mut self, each: &mut impl FnMut(&EngineOutcome, &[News]) -> Outcome) -> Outcome {
        if self.rules.as_ref().is_some_and(Runner::has_unasked) && self.fold.cursor > 0 {
            self.ask(false, each)?;
        }
        Ok(())
    }

    /// Asks the rules as of the newest time; `all`: also those that are not due.
    fn ask(&mut self, all: bool, each: &mut impl FnMut(&EngineOutcome, &[News]) -> Outcome) -> Outcome {
        let Some(runner) = &mut self.rules else { return Ok(()) };
        watch::write(&*self.graph, &mut self.outbox, self.batch)?;
        let news = block_on(runner.look(&*self.graph, self.fold.engine.newest(), all))??;
        self.asked = true;
        each(&EngineOutcome::default(), &news)
    }

    /// The rules of one's own.
    pub(crate) fn rules(&self) -> Option<&Runner> {
        self.rules.as_ref()
    }

    fn keep(
        &mut self,
        mut out: EngineOutcome,
        fresh: bool,
        each: &mut impl FnMut(&EngineOutcome, &[News]) -> Outcome,
    ) -> Outcome {
        let mut news = Vec::new();
        match &mut self.rules {
            // What an earlier process had brought into the graph is ahead of these times.
            Some(runner) if fresh => {
                news = watch::step(runner, &*self.graph, &mut self.outbox, self.batch, &mut out)?;
                self.asked = true;
            }
            _ => self.outbox.append(&mut out.changes),
        }
        if fresh {
            each(&out, &news)?;
            if let Some(alerts) = &self.alerts {
                self.seen.extend(alerts.of(&self.fold.engine, &out));
            }
            let letters = std::mem::take(&mut out.dead);
            if !letters.is_empty() {
                block_on(self.log.bury(letters))??;
            }
        }
        let wait = if self.outbox.is_empty() { COMMIT_AFTER } else { BATCH_AFTER };
        // Nobody waits for an alert longer than for the graph, which has it first.
        if self.outbox.len() >= self.batch || self.applied.elapsed() >= wait || !self.seen.is_empty() {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what waits for the graph, then says so in the log.
    fn flush(&mut self) -> Outcome {
        watch::write(&*self.graph, &mut self.outbox, self.batch)?;
        if let Some(runner) = self.rules.as_ref().filter(|_| self.asked) {
            self.folder.save_rules(&runner.save().map_err(Failure::Unreachable)?)?;
            self.asked = false;
        }
        let cursor = self.fold.cursor;
        match &self.alerts {
            Some(alerts) if !self.seen.is_empty() => {
                let seen = std::mem::take(&mut self.seen);
                block_on(alerts.commit(&self.log, CONSUMER, cursor, seen))??;
            }
            _ if cursor > 0 => block_on(self.log.commit(CONSUMER, Position(cursor)))??,
            _ => {}
        }
        self.applied = Instant::now();
        Ok(())
    }

    /// Saves the engine's state, after everything that it said is in the graph.
    pub(crate) fn save(&mut self) -> Outcome {
        self.flush()?;
        let cursor = self.fold.cursor;
        if cursor == 0 {
            return Ok(());
        }
        let state = self.fold.engine.checkpoint().map_err(|e| Failure::Unreachable(e.to_string()))?;
        let mut bytes = vec![u8::from(self.fold.finished)];
        bytes.extend(state);
        block_on(self.log.save_checkpoint(CONSUMER, Position(cursor), checkpoint::VERSION, bytes))??;
        self.saved = (Instant::now(), cursor);
        if cursor >= self.told {
            self.folder.set_rebuilding(false)?;
        }
        self.folder.set_stream_end(self.fold.engine.newest())
    }

    /// Tells of what an interrupted process left.
    pub(crate) fn tell_recovery(&self) {
        let left = self.last.saturating_sub(self.fold.cursor);
        if left >= CHUNK as u64 && self.fold.cursor > 0 {
            self.session.note(&format!("going on from event {}, {left} behind it are in the log", self.fold.cursor));
        }
    }
}

/// The rules of the settings, with what they had found in this folder.
fn restore_rules(session: &Session, folder: &Folder) -> Outcome<Option<Runner>> {
    let rules = session.rules()?;
    if rules.is_empty() {
        return Ok(None);
    }
    let mut runner = Runner::new(rules);
    if let Some(state) = folder.rules()?
        && !runner.restore(&state)
    {
        session.note("what rules had found cannot be read or is of another version of tapio; they begin anew");
    }
    Ok(Some(runner))
}

/// The engine of a data folder as of the end of its log, and its graph; nothing is written.
pub(crate) fn look(session: &Session, folder: Folder) -> Outcome<Known> {
    let log = SqliteLog::open(folder.log(), session.config.log)?;
    let graph = store::of_folder(session, &folder)?;
    let last = block_on(log.stats())??.last.0;
    folder.check_log(last)?;
    let told = block_on(log.committed(CONSUMER))??.0;
    let mut fold = Fold::restore(session, &folder, &log, false)?;
    while fold.cursor < last || fold.must_finish(&folder) {
        if fold.must_finish(&folder) {
            fold.finish();
            continue;
        }
        let (end, alone) = fold.next_end(&folder, last).unwrap_or((last, false));
        let events = records(&log, fold.cursor, end)?;
        if alone {
            events.into_iter().for_each(|(at, e)| _ = fold.take([e], at));
            fold.cursor = end;
        } else {
            fold.take(events.into_iter().map(|(_, e)| e), end);
        }
    }
    let mut gaps = Vec::new();
    if !fold.finished {
        fold.finish();
    }
    if folder.interrupted().is_some() || told < last {
        let name = folder.interrupted().unwrap_or("the last input");
        gaps.push(Gap {
            source: "replay".to_owned(),
            node: None,
            from: None,
            to: None,
            why: format!("the replay of {name} was interrupted; run it again with the same --data-dir to go on"),
        });
    }
    Ok(Known { engine: fold.engine, graph: Some(graph), gaps })
}

/// How far a data folder's log and graph are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogProgress {
    /// Last position of the log; 0: there is nothing in it.
    pub(crate) last: u64,
    /// Up to which position everything is in the graph.
    pub(crate) committed: u64,
}

/// How far a data folder's log and graph are.
pub(crate) fn progress_of(session: &Session, folder: &Folder) -> Outcome<LogProgress> {
    if !folder.log().exists() {
        return Ok(LogProgress { last: 0, committed: 0 });
    }
    let log = SqliteLog::open(folder.log(), session.config.log)?;
    let (last, committed) = (block_on(log.stats())??.last.0, block_on(log.committed(CONSUMER))??.0);
    Ok(LogProgress { last, committed })
}

/// The newest time in a data folder's stream.
pub(crate) fn newest_of(session: &Session, folder: &Folder) -> Outcome<Option<Time>> {
    if let Some(at) = folder.stream_end() {
        return Ok(Some(at));
    }
    let log = SqliteLog::open(folder.log(), session.config.log)?;
    let last = block_on(log.stats())??.last.0;
    let newest = block_on(log.read(Position(last.saturating_sub(1)), 1))??;
    Ok(newest.first().map(|r| r.event.seen_at()))
}
