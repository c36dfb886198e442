//! `EventProcessor`: the pure fold. Batches of [`RawEvent`]s go in, graph changes and incidents come out.
//!
//! Evidence waits in an ordered buffer until the watermark (the newest time seen less the lateness window) has passed
//! it. So order, duplicates and batch boundaries inside the window cannot change an answer: what is applied is always
//! the same sequence. Once a second of stream time, if anything happened, the state is looked at as a whole.
//!
//! Architecture invariant: no clock, no I/O, no threads, no randomness. Recovery is replay.

mod apply;
mod config;
mod text;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use tapio_core::answer::{Answer, Gap, Incident, PatternFinding};
use tapio_core::change::GraphChange;
use tapio_core::event::{Before, PodBefore};
use tapio_core::id::Id;
use tapio_core::object::ObjectRef;
use tapio_core::raw::{DeadLetter, RawEvent};
use tapio_core::time::{MINUTE, SECOND, Time};
use tapio_core::unified::UnifiedEvent;

use crate::answer;
use crate::diagnosis::explain::{Explanation, explain};
use crate::diagnosis::symptom::symptoms;
use crate::diagnosis::view::View;
use crate::incidents::{Incidents, Transition};
use crate::mechanisms;
use crate::patterns::Patterns;
use crate::project::Projector;
use crate::world::World;

pub use config::{EngineConfig, Stats};
use text::{as_text, parked_as_text};

/// How long evidence that no explanation depends on waits for a look, which then is for the sake of the time alone.
const ROUTINE: i64 = 10 * SECOND;

/// What came of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For the graph store, in order.
    pub changes: Vec<GraphChange>,
    /// Incidents that opened, changed, were resolved or merged, as they are now (merged ones as they were).
    pub incidents: Vec<(Transition, Incident)>,
    /// Pattern findings that are new or changed.
    pub patterns: Vec<PatternFinding>,
    /// Evidence that could not be used.
    pub dead: Vec<DeadLetter>,
    /// Where changes are projected, one a look: with so many of `changes` written, the graph stands as of this time.
    /// Whoever asks the graph questions over the time of the stream asks them here, whatever the batches were.
    pub looks: Vec<(Time, usize)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Parked {
    event: UnifiedEvent,
    until: Time,
}

/// What is known of all parked events together.
struct Waiting {
    count: usize,
    /// Nothing is due before it.
    until: Time,
}

impl Waiting {
    fn of(parked: &BTreeMap<ObjectRef, Vec<Parked>>) -> Self {
        let all = || parked.values().flatten();
        Waiting { count: all().count(), until: all().map(|p| p.until).min().unwrap_or(Time::MAX) }
    }
}

/// Evidence in the order in which it is applied; boxed, since trees move their entries about.
type Buffer = BTreeMap<(Time, Id), Box<RawEvent>>;

/// Everything that a checkpoint holds.
#[derive(Serialize, Deserialize)]
pub(crate) struct State {
    config: EngineConfig,
    cluster: String,
    #[serde(with = "as_text")]
    buffer: Buffer,
    newest: Time,
    clock: Time,
    recent: BTreeMap<(Time, Id), ()>,
    pub(crate) world: World,
    before: HashMap<ObjectRef, PodBefore>,
    #[serde(with = "parked_as_text")]
    parked: BTreeMap<ObjectRef, Vec<Parked>>,
    pub(crate) incidents: Incidents,
    patterns: Patterns,
    projector: Projector,
    gaps: Vec<Gap>,
    /// Whether something arrived since the last look that an explanation can depend on.
    dirty: bool,
    /// Whether anything else arrived since then.
    routine: bool,
    next_look: Option<Time>,
    next_forget: Time,
    first_list: Time,
    stats: Stats,
}

/// The engine of one cluster.
pub struct EventProcessor {
    pub(crate) state: State,
    /// The explanation of the last look; worked out anew after a restart.
    explanation: Explanation,
    waiting: Waiting,
    out: Outcome,
}

struct Known<'a>(&'a HashMap<ObjectRef, PodBefore>);

impl Before for Known<'_> {
    fn pod(&self, _cluster: &str, pod: &ObjectRef) -> Option<&PodBefore> {
        self.0.get(pod)
    }
}

impl EventProcessor {
    /// An engine that knows nothing.
    pub fn new(config: EngineConfig) -> Self {
        let state = State {
            config,
            cluster: String::new(),
            buffer: BTreeMap::new(),
            newest: Time::MIN,
            clock: Time::MIN,
            recent: BTreeMap::new(),
            world: World::default(),
            before: HashMap::new(),
            parked: BTreeMap::new(),
            incidents: Incidents::default(),
            patterns: Patterns::default(),
            projector: Projector::default(),
            gaps: Vec::new(),
            dirty: false,
            routine: false,
            next_look: None,
            next_forget: Time::MIN,
            first_list: Time::MIN,
            stats: Stats::default(),
        };
        Self::around(state)
    }

    fn around(state: State) -> Self {
        let waiting = Waiting::of(&state.parked);
        EventProcessor { state, explanation: Explanation::default(), waiting, out: Outcome::default() }
    }

    pub(crate) fn from_state(mut state: State) -> Self {
        state.world.reindex();
        let mut p = Self::around(state);
        if p.state.clock > Time::MIN {
            p.explanation = diagnose(&View::new(&p.state.world, p.state.clock)).0;
        }
        p
    }

    /// Takes evidence in, and applies what the watermark has passed.
    pub fn process(&mut self, batch: impl IntoIterator<Item = RawEvent>) -> Outcome {
        for raw in batch {
            self.admit(raw);
        }
        let watermark = self.watermark();
        self.drain(watermark);
        std::mem::take(&mut self.out)
    }

    /// The input is at its end: applies what still waits, and looks at the whole once more.
    pub fn finish(&mut self) -> Outcome {
        self.drain(Time::MAX);
        self.unpark(Time::MAX);
        let end = self.state.newest.max(self.state.clock);
        if end > Time::MIN {
            self.state.clock = end;
            self.look(end);
        }
        std::mem::take(&mut self.out)
    }

    /// The time up to which everything was applied.
    pub fn watermark(&self) -> Time {
        if self.state.newest == Time::MIN {
            return Time::MIN;
        }
        let lateness = i64::try_from(self.state.config.lateness_millis).unwrap_or(i64::MAX / 1_000);
        self.state.newest.plus(-lateness.saturating_mul(1_000))
    }

    /// The newest time that was seen.
    pub fn newest(&self) -> Time {
        self.state.newest
    }

    /// Counts.
    pub fn stats(&self) -> Stats {
        let mut s = self.state.stats;
        s.dropped += self.state.incidents.dropped;
        s
    }

    /// Nodes and edges of the live graph, and evidence that waits in the window.
    pub fn size(&self) -> (usize, usize, usize) {
        let (n, e) = self.state.world.size();
        (n, e, self.state.buffer.len())
    }

    /// The live graph.
    pub fn world(&self) -> &World {
        &self.state.world
    }

    /// The answer as of the last look.
    pub fn answer(&self) -> Answer {
        let view = View::new(&self.state.world, self.state.clock);
        let incidents = self.state.incidents.all().cloned().collect();
        answer::answer(&view, &self.explanation, incidents, self.state.gaps.clone())
    }

    /// Incidents so far, oldest first.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.state.incidents.all()
    }

    /// Pattern findings so far, oldest first.
    pub fn patterns(&self) -> Vec<PatternFinding> {
        self.state.patterns.all().cloned().collect()
    }

    /// The explanation of the last look.
    pub fn explanation(&self) -> &Explanation {
        &self.explanation
    }

    fn admit(&mut self, raw: RawEvent) {
        let s = &mut self.state;
        s.stats.raw += 1;
        let at = raw.seen_at();
        if !(Time::MIN..=Time::MAX).contains(&at) || !(Time::MIN..=Time::MAX).contains(&raw.timestamp) {
            let why = format!("time {at} lies outside the years 2000 to 2099; correct the clock of {}", raw.source);
            self.bury(&raw, why);
            return;
        }
        let key = (at, raw.content_id());
        // What was applied lies at or before the clock.
        if at <= s.clock && s.recent.contains_key(&key) {
            s.stats.duplicates += 1;
            return;
        }
        match s.buffer.entry(key) {
            Entry::Occupied(_) => {
                s.stats.duplicates += 1;
                return;
            }
            Entry::Vacant(place) => place.insert(Box::new(raw)),
        };
        s.newest = s.newest.max(at);
        if at < s.clock {
            s.stats.late += 1;
        }
    }

    fn drain(&mut self, watermark: Time) {
        let waits = self.state.buffer.split_off(&(watermark.plus(1), Id::default()));
        for (key, raw) in std::mem::replace(&mut self.state.buffer, waits) {
            self.take(key, &raw);
        }
        while self.state.buffer.len() > self.state.config.max_buffered {
            let Some((key, raw)) = self.state.buffer.pop_first() else { break };
            self.state.stats.dropped += 1;
            self.take(key, &raw);
        }
        if watermark < Time::MAX {
            self.advance(watermark);
        }
        let horizon = (self.state.clock.plus(-MINUTE), Id::default());
        while let Some(oldest) = self.state.recent.first_entry().filter(|e| *e.key() < horizon) {
            oldest.remove();
        }
    }

    fn take(&mut self, key: (Time, Id), raw: &RawEvent) {
        self.advance(key.0);
        self.state.recent.insert(key, ());
        self.apply(raw);
    }

    /// Moves the clock, looking at the whole wherever something is due on the way.
    fn advance(&mut self, to: Time) {
        if self.state.clock == Time::MIN {
            self.state.clock = to;
            self.state.first_list = to;
            self.state.next_forget = to.plus(MINUTE);
            return;
        }
        loop {
            let clock = self.state.clock;
            let second = Time::from_micros((clock.micros().div_euclid(SECOND) + 1) * SECOND);
            let by_news = if self.state.dirty {
                Some(second)
            } else {
                self.state.routine.then(|| Time::from_micros((clock.micros().div_euclid(ROUTINE) + 1) * ROUTINE))
            };
            let due = match (by_news, self.state.next_look) {
                (Some(a), Some(b)) => a.min(b.max(clock)),
                (Some(a), None) => a,
                (None, Some(b)) => b.max(clock),
                (None, None) => break,
            };
            if due > to {
                break;
            }
            self.state.clock = due;
            self.look(due);
        }
        if to > self.state.clock {
            self.state.clock = to;
        }
        self.unpark(self.state.clock);
        if self.state.clock >= self.state.next_forget {
            self.forget();
        }
    }

    fn forget(&mut self) {
        let s = &mut self.state;
        let secs = |n: u64| i64::try_from(n).unwrap_or(i64::MAX / SECOND).saturating_mul(SECOND);
        let before = s.clock.plus(-secs(s.config.tombstone_secs));
        s.world.forget(before);
        s.world.alerts.forget(s.clock);
        s.world.trim_history(s.clock.plus(-secs(s.config.history_secs)));
        let world = &s.world;
        s.before.retain(|k, _| world.entry(k).is_some());
        s.next_forget = s.clock.plus(MINUTE);
    }

    /// Looks at the whole at `now`.
    fn look(&mut self, now: Time) {
        self.state.stats.looks += 1;
        let s = &mut self.state;
        (s.dirty, s.routine) = (false, false);
        let view = View::new(&s.world, now);
        let (explanation, fenced, next) = diagnose(&view);
        s.stats.fenced += fenced;
        let before: BTreeMap<Id, Incident> = s.incidents.all().map(|i| (i.id, i.clone())).collect();
        let changed = s.incidents.update(&view, &s.cluster, &explanation);
        for (id, t) in changed {
            let is = s.incidents.all().find(|i| i.id == id).cloned().or_else(|| before.get(&id).cloned());
            if let Some(incident) = is {
                if s.config.project {
                    s.projector.incident(&view, t, &incident, &mut self.out.changes);
                }
                self.out.incidents.push((t, incident));
            }
        }
        let found = s.patterns.look(&view);
        for f in found {
            if s.config.project {
                s.projector.pattern(&view, &f, &mut self.out.changes);
            }
            self.out.patterns.push(f);
        }
        if s.config.project {
            s.projector.causes(&view, &explanation, &mut self.out.changes);
            self.out.looks.push((now, self.out.changes.len()));
        }
        let due = [next, s.incidents.next_due(&explanation, now), s.patterns.next_due(now)];
        s.next_look = due.into_iter().flatten().min();
        self.explanation = explanation;
    }

    fn bury(&mut self, raw: &RawEvent, reason: String) {
        self.state.stats.dead += 1;
        let origin = raw.metadata.get("file").cloned().unwrap_or_else(|| raw.source.clone());
        let line = raw.metadata.get("line").and_then(|l| l.parse().ok());
        let excerpt: String = raw.data.get().chars().take(400).collect();
        self.out.dead.push(DeadLetter { origin, line, reason: format!("{}: {reason}", raw.kind), excerpt });
    }
}

/// What explains the world as it is seen, how many families of mechanisms had to be fenced, and when the answer may
/// change by time alone.
fn diagnose(view: &View) -> (Explanation, u64, Option<Time>) {
    let all = symptoms(view);
    let (direct, fenced) = mechanisms::find_all(view, &all);
    let later = all.iter().map(|s| s.counts_from).chain(direct.iter().map(|h| h.counts_from));
    let next = later.filter(|t| *t > view.now).min();
    let fenced_too = std::cell::Cell::new(0);
    let explanation = explain(view, &all, direct, |left| {
        let (list, n) = mechanisms::residual_all(view, left);
        fenced_too.set(n);
        list
    });
    (explanation, fenced + fenced_too.get(), next)
}
