//! `EventProcessor`: the pure fold. Batches of [`RawEvent`]s go in, graph changes and incidents come out.
//!
//! Evidence waits in an ordered buffer until the watermark (the newest time seen less the lateness window) has passed
//! it. So order, duplicates and batch boundaries inside the window cannot change an answer: what is applied is always
//! the same sequence. Once a second of stream time, if anything happened, the state is looked at as a whole.
//!
//! Architecture invariant: no clock, no I/O, no threads, no randomness. Recovery is replay.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use tapio_core::answer::{Answer, Gap, Incident, PatternFinding};
use tapio_core::change::GraphChange;
use tapio_core::event::{Before, Payload, PodBefore, normalise};
use tapio_core::id::Id;
use tapio_core::object::{Body, Meta, Object, ObjectRef, Pod, Terminated};
use tapio_core::raw::{DeadLetter, RawEvent, source};
use tapio_core::time::{MINUTE, SECOND, Time};
use tapio_core::unified::{EventKind, Resolution, Severity, UnifiedEvent};

use crate::answer;
use crate::diagnosis::explain::{Explanation, explain};
use crate::diagnosis::symptom::symptoms;
use crate::diagnosis::view::View;
use crate::incidents::{Incidents, Transition};
use crate::mechanisms;
use crate::patterns::Patterns;
use crate::project::Projector;
use crate::world::changes::differences;
use crate::world::history::{Changed, Exit, LogTail, NodeService, ProbeResult};
use crate::world::{self, Applied, World};

/// How long evidence that no explanation depends on waits for a look, which then is for the sake of the time alone.
const ROUTINE: i64 = 10 * SECOND;

/// Settings of the engine. The defaults are right for a cluster of some thousand pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Milliseconds by which evidence may arrive out of order. Larger: answers come later; smaller: sources with slow
    /// paths count as late.
    pub lateness_millis: u64,
    /// Evidence that may wait in the window. Above it the oldest goes on early, which is counted.
    pub max_buffered: usize,
    /// Seconds for which an event waits for its pod to become known.
    pub park_secs: u64,
    /// Events that may wait for their pod.
    pub max_parked: usize,
    /// Seconds for which events and changes of an object are remembered.
    pub history_secs: u64,
    /// Seconds for which a deleted object is remembered.
    pub tombstone_secs: u64,
    /// Objects that may be known at once; above it evidence about new ones goes to the dead letters.
    pub max_objects: usize,
    /// Whether changes for a graph store are handed out.
    pub project: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            lateness_millis: 5_000,
            max_buffered: 500_000,
            park_secs: 60,
            max_parked: 20_000,
            history_secs: 6 * 3_600,
            tombstone_secs: 3_600,
            max_objects: 500_000,
            project: true,
        }
    }
}

/// Counts of what the engine did; each grows only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Evidence taken in.
    pub raw: u64,
    /// Of it, seen twice inside the window.
    pub duplicates: u64,
    /// Of it, of a type that nobody knows.
    pub unknown_types: u64,
    /// Of it, unusable.
    pub dead: u64,
    /// Of it, later than the window.
    pub late: u64,
    /// Events that it meant.
    pub events: u64,
    /// Events that waited for their pod.
    pub parked: u64,
    /// Of them, those whose pod never came.
    pub unresolved: u64,
    /// Versions of objects that were older than the one known.
    pub stale: u64,
    /// Looks at the whole.
    pub looks: u64,
    /// Families of mechanisms that had to be fenced.
    pub fenced: u64,
    /// What was dropped because a bound was reached.
    pub dropped: u64,
}

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

    fn apply(&mut self, raw: &RawEvent) {
        // Here and not on arrival: what names the cluster must come at the same place whatever the batches are.
        if self.state.cluster.is_empty() && !raw.cluster().is_empty() {
            raw.cluster().clone_into(&mut self.state.cluster);
        }
        let normalised = match normalise(raw, &Known(&self.state.before)) {
            Ok(n) => n,
            Err(e) => {
                self.bury(raw, e.to_string());
                return;
            }
        };
        self.state.routine |= raw.kind != "Heartbeat";
        let at = raw.seen_at();
        let mut events = normalised.events;
        match normalised.payload {
            Payload::Object => match Object::parse(raw.data.get()) {
                Ok(object) => {
                    self.object(raw, object, at, &mut events);
                }
                Err(e) => {
                    self.bury(raw, e.to_string());
                    return;
                }
            },
            Payload::PodStatusUpdate(u) => self.pod_status(raw, &u, at),
            Payload::ContainerLog(l) => {
                let key = ObjectRef::new("Pod", &l.namespace, &l.pod);
                let lines: Vec<String> = l.own_lines().map(str::to_owned).collect();
                if !lines.is_empty() {
                    let logs = &mut self.state.world.touch(&key, at).history.logs;
                    let classes = lines.iter().map(|l| crate::diagnosis::logs::class_of(l)).collect();
                    logs.insert((l.container.to_string(), l.previous), LogTail { lines, classes, at });
                    self.state.dirty = true;
                }
            }
            Payload::NodeServiceState(n) => {
                if let (Some(up), Some(e)) = (n.is_up(), events.first()) {
                    let key = ObjectRef::cluster_scoped("Node", &n.node);
                    let service = NodeService { id: e.id, running: up, says: n.says.to_string(), at };
                    let before =
                        self.state.world.touch(&key, at).history.services.insert(n.service.to_string(), service);
                    self.state.dirty |= !(up && before.is_some_and(|b| b.running));
                }
            }
            Payload::ServiceProbe(p) => {
                if let Some(e) = events.first() {
                    let key = ObjectRef::new("Service", &p.namespace, &p.service);
                    let result = ProbeResult {
                        id: e.id,
                        port: p.port,
                        from: (!p.from.is_empty()).then(|| p.from.to_string()),
                        ok: p.ok,
                        outcome: p.outcome.to_string(),
                        says: p.says.to_string(),
                        at,
                    };
                    let probes = &mut self.state.world.touch(&key, at).history.probes;
                    if probes.len() < 256 {
                        let before = probes.insert((p.port, p.from.to_string()), result);
                        self.state.dirty |= !(p.ok && before.is_some_and(|b| b.ok));
                    }
                }
            }
            Payload::SnapshotTaken(_) => {
                self.snapshot(raw);
                self.state.dirty = true;
            }
            Payload::Gap(_) => {
                if let Some(e) = events.first() {
                    let from = e.note("from").and_then(|t| Time::parse(t).ok());
                    let gap = Gap {
                        source: e.note("source").unwrap_or(&raw.source).to_owned(),
                        node: raw.node().map(str::to_owned),
                        from,
                        to: Some(at),
                        why: e.message.clone(),
                    };
                    if self.state.gaps.len() < 200 && !self.state.gaps.contains(&gap) {
                        self.state.gaps.push(gap);
                    }
                }
            }
            // What these say is news if it makes an event that is more than a sample, see `settle`.
            Payload::PodReady(_)
            | Payload::ProbeResult(_)
            | Payload::PodStats(_)
            | Payload::NodeStats(_)
            | Payload::NetworkConnection(_)
            | Payload::ProcessExit(_)
            | Payload::PacketDrop(_)
            | Payload::DnsResult(_)
            | Payload::TcpRetransmit(_)
            | Payload::None => {}
            _ => self.state.dirty = true,
        }
        for e in events {
            self.event(e, raw, at);
        }
    }

    /// Which kinds a dump asked for: an absent object of such a kind does not exist.
    fn snapshot(&mut self, raw: &RawEvent) {
        #[derive(Deserialize)]
        struct Kinds {
            #[serde(default)]
            kinds: Vec<Kind>,
        }
        #[derive(Deserialize)]
        struct Kind {
            #[serde(default)]
            namespace: Option<String>,
            kind: String,
        }
        if let Ok(k) = serde_json::from_str::<Kinds>(raw.data.get()) {
            self.state.world.listed.extend(k.kinds.into_iter().map(|k| (k.namespace.unwrap_or_default(), k.kind)));
        }
    }

    fn object(&mut self, raw: &RawEvent, object: Object, at: Time, events: &mut Vec<UnifiedEvent>) {
        if self.state.world.size().0 >= self.state.config.max_objects && self.state.world.entry(&object.key).is_none() {
            self.state.stats.dropped += 1;
            self.bury(raw, format!("more than {} objects; raise max_objects", self.state.config.max_objects));
            return;
        }
        let key = object.key.clone();
        if raw.kind == "ObjectDeleted" {
            if self.state.world.delete(&object, at) {
                self.state.before.remove(&key);
                let kind = EventKind::ObjectDeleted;
                let e = UnifiedEvent::about(raw, kind, at, key.clone(), &[&object.meta.uid]);
                events.push(e.saying(Default::default(), format!("{key} was deleted")));
                self.state.dirty = true;
                self.project(&key, at);
            }
            return;
        }
        let applied = self.state.world.apply(object, at);
        match &applied {
            Applied::Stale => {
                self.state.stats.stale += 1;
                return;
            }
            Applied::Added if raw.source != source::DUMP => {
                let created = self.state.world.live(&key).and_then(|o| *o.meta.creation_timestamp);
                if created.is_some_and(|c| at.since(c) < 30 * SECOND) {
                    let e = UnifiedEvent::about(raw, EventKind::ObjectAdded, at, key.clone(), &[]);
                    events.push(e.saying(Default::default(), format!("{key} was created")));
                }
            }
            Applied::Modified(old) | Applied::Replaced(old) => {
                let same_thing =
                    matches!(applied, Applied::Modified(_)) || !matches!(old.body, Body::Pod(_) | Body::Job(_));
                if same_thing {
                    self.changes(raw, old, &key, at, events);
                }
            }
            Applied::Added => {}
        }
        self.state.dirty = true;
        if let Some(entry) = self.state.world.entry(&key)
            && let Some(o) = entry.live()
            && let Body::Pod(pod) = &o.body
        {
            let replaced = matches!(applied, Applied::Replaced(_));
            let known = self.state.before.get(&key).filter(|_| !replaced);
            events.extend(tapio_core::event::cluster::pod::changes(raw, &key, &o.meta, known, pod));
            let before = PodBefore::of(&o.meta.uid, &pod.status);
            match self.state.before.get_mut(&key) {
                Some(b) => *b = before,
                None => {
                    self.state.before.insert(key.clone(), before);
                }
            }
            let ends = new_exits(Some(entry), pod);
            self.exits(&key, ends, at);
        }
        self.project(&key, at);
        if let Some(waiting) = self.state.parked.remove(&key) {
            self.waiting.count -= waiting.len();
            for p in waiting {
                self.settle(p.event, Resolution::Exact, at);
            }
        }
    }

    /// One change event a difference.
    fn changes(&mut self, raw: &RawEvent, old: &Object, key: &ObjectRef, at: Time, events: &mut Vec<UnifiedEvent>) {
        let Some(new) = self.state.world.live(key) else { return };
        let found = differences(old, new, at);
        for d in found {
            let c = &d.change;
            let when = c.at.unwrap_or(at);
            let text = format!(
                "{} of {key}: {} -> {}",
                c.field,
                c.before.as_deref().unwrap_or("(absent)"),
                c.after.as_deref().unwrap_or("(absent)")
            );
            let version = self.state.world.live(key).map(|o| o.meta.resource_version.clone()).unwrap_or_default();
            let mut e = UnifiedEvent::about(raw, d.kind, when, key.clone(), &[&c.field, &version])
                .saying(tapio_core::unified::Severity::Info, text)
                .with("field", c.field.clone());
            for (name, value) in [("before", &c.before), ("after", &c.after), ("by", &c.by)] {
                if let Some(v) = value {
                    e = e.with(name, v.clone());
                }
            }
            let changed = Changed { id: e.id, kind: d.kind, change: d.change, at: when };
            self.state.stats.dropped += self.state.world.touch(key, at).history.add_change(changed);
            events.push(e);
        }
    }

    /// Remembers ends of containers, which the status itself forgets after the next run.
    fn exits(&mut self, key: &ObjectRef, found: Vec<(String, Exit)>, at: Time) {
        if !found.is_empty() {
            let h = &mut self.state.world.touch(key, at).history;
            for (name, exit) in found {
                h.add_exit(&name, exit);
            }
        }
    }

    /// The kubelet's word on a pod: its status, laid over what the API said of it.
    fn pod_status(&mut self, raw: &RawEvent, u: &tapio_core::event::kubelet::PodStatusUpdate, at: Time) {
        let key = u.key();
        self.state.before.insert(key.clone(), u.before(raw));
        let changed = match self.state.world.lay_status(&key, u.status(), raw.node(), at) {
            Ok(changed) => {
                let entry = self.state.world.entry(&key);
                let pod = entry.and_then(|e| e.live()).and_then(Object::as_pod);
                let ends = pod.map(|p| new_exits(entry, p)).unwrap_or_default();
                self.exits(&key, ends, at);
                changed
            }
            Err(status) => {
                let uid = raw.metadata.get("pod_uid").cloned().unwrap_or_default();
                let meta = Meta { name: key.name.clone(), namespace: key.ns().to_owned(), uid, ..Default::default() };
                let mut pod = Pod { status, ..Default::default() };
                raw.node().unwrap_or_default().clone_into(&mut pod.spec.node_name);
                let ends = new_exits(None, &pod);
                let object = Object { key: key.clone(), meta, body: Body::Pod(Box::new(pod)) };
                // After a deletion this may be a former pod's last word, which counts for nothing.
                let news = !matches!(self.state.world.apply(object, at), Applied::Stale);
                self.exits(&key, ends, at);
                news
            }
        };
        self.state.dirty |= changed;
        self.project(&key, at);
    }

    fn event(&mut self, e: UnifiedEvent, raw: &RawEvent, at: Time) {
        let park = match e.object() {
            Some(o) if o.kind == "Pod" && raw.source != source::KUBELET && raw.kind != "PodStatusUpdate" => {
                self.state.world.entry(o).is_none_or(|x| x.object.is_none())
            }
            _ => false,
        };
        if e.kind == EventKind::Unknown {
            self.state.stats.unknown_types += 1;
        }
        if park {
            if self.waiting.count >= self.state.config.max_parked {
                self.state.stats.dropped += 1;
                self.settle(e, Resolution::Unknown, at);
                return;
            }
            self.state.stats.parked += 1;
            let until = at.plus(i64::try_from(self.state.config.park_secs).unwrap_or(60) * SECOND);
            if let Some(o) = e.object().cloned() {
                self.waiting.count += 1;
                self.waiting.until = self.waiting.until.min(until);
                self.state.parked.entry(o).or_default().push(Parked { event: e, until });
            }
            return;
        }
        self.settle(e, Resolution::Exact, at);
    }

    /// Events whose pod did not come in time go on without it.
    fn unpark(&mut self, now: Time) {
        if self.state.parked.is_empty() || self.waiting.until > now {
            return;
        }
        let mut due = Vec::new();
        self.state.parked.retain(|_, list| {
            let mut i = 0;
            while i < list.len() {
                if list[i].until <= now { due.push(list.remove(i).event) } else { i += 1 }
            }
            !list.is_empty()
        });
        self.waiting = Waiting::of(&self.state.parked);
        for e in due {
            self.state.stats.unresolved += 1;
            let at = e.timestamp;
            self.settle(e, Resolution::Unknown, at);
        }
    }

    /// Gives an event its context and its place in history and graph.
    fn settle(&mut self, mut e: UnifiedEvent, resolution: Resolution, at: Time) {
        self.state.stats.events += 1;
        self.state.dirty |= e.severity >= Severity::Low;
        if let Some(k8s) = &mut e.k8s {
            k8s.resolution = resolution;
            // uid, labels and owners stay with the object, to which the event leads.
            if resolution == Resolution::Exact && self.state.world.entry(&k8s.object).is_none_or(|x| x.object.is_none())
            {
                k8s.resolution = Resolution::Pending;
            }
        }
        if self.state.config.project {
            self.state.projector.event(&self.state.world, &e, &mut self.out.changes);
        }
        if let Some(key) = e.object() {
            let history = &mut self.state.world.touch(key, at).history;
            let noted = e.note("reason").is_some() && e.annotations.contains_key("type");
            let dropped = if noted { history.add_note(&e) } else { history.add_event(e) };
            self.state.stats.dropped += dropped;
        }
    }

    fn project(&mut self, key: &ObjectRef, at: Time) {
        if self.state.config.project {
            self.state.projector.object(&self.state.world, key, at, &mut self.out.changes);
        }
    }
}

/// The ends of containers that a pod's status tells and its history does not know.
fn new_exits(entry: Option<&world::Entry>, pod: &Pod) -> Vec<(String, Exit)> {
    let mut found: Vec<(String, Exit)> = Vec::new();
    for (c, _) in pod.statuses() {
        let known = entry.and_then(|e| e.history.exits.get(&c.name));
        let mut add = |t: &Terminated, run: i64| {
            // Most updates say again what is known.
            let same = |x: &Exit| {
                x.run == run
                    && x.code == t.exit_code
                    && x.reason == t.reason
                    && x.message == t.message
                    && (x.started, x.finished) == (*t.started_at, *t.finished_at)
            };
            if known.is_some_and(|list| list.iter().any(same)) {
                return;
            }
            let exit = Exit {
                run,
                code: t.exit_code,
                reason: t.reason.clone(),
                message: t.message.clone(),
                started: *t.started_at,
                finished: *t.finished_at,
            };
            found.push((c.name.clone(), exit));
        };
        if let Some(t) = &c.last_state.terminated {
            add(t, c.restart_count - 1);
        }
        if let Some(t) = &c.state.terminated {
            add(t, c.restart_count);
        }
    }
    found
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

/// Evidence in a checkpoint is JSON text: its data is raw JSON, which only JSON can carry.
mod as_text {
    use super::{Buffer, RawEvent};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(v: &Buffer, s: S) -> Result<S::Ok, S::Error> {
        let lines: Vec<String> = v.values().filter_map(|r| serde_json::to_string(r).ok()).collect();
        lines.serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Buffer, D::Error> {
        let mut out = Buffer::new();
        for line in Vec::<String>::deserialize(d)? {
            let raw: RawEvent = serde_json::from_str(&line).map_err(serde::de::Error::custom)?;
            out.insert((raw.seen_at(), raw.content_id()), Box::new(raw));
        }
        Ok(out)
    }
}

/// Waiting events carry raw JSON too.
mod parked_as_text {
    use super::{BTreeMap, ObjectRef, Parked};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(v: &BTreeMap<ObjectRef, Vec<Parked>>, s: S) -> Result<S::Ok, S::Error> {
        let list: Vec<(&ObjectRef, &Vec<Parked>)> = v.iter().collect();
        serde_json::to_string(&list).map_err(serde::ser::Error::custom)?.serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<ObjectRef, Vec<Parked>>, D::Error> {
        let text = String::deserialize(d)?;
        let list: Vec<(ObjectRef, Vec<Parked>)> = serde_json::from_str(&text).map_err(serde::de::Error::custom)?;
        Ok(list.into_iter().collect())
    }
}
