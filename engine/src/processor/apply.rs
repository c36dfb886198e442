//! Applying one piece of evidence to the state: the world, its history, what waits for its pod, and the graph changes.

use serde::Deserialize;
use tapio_core::answer::Gap;
use tapio_core::event::{Payload, PodBefore, normalise};
use tapio_core::object::{Body, Meta, Object, ObjectRef, Pod, Terminated};
use tapio_core::raw::{RawEvent, source};
use tapio_core::time::{SECOND, Time};
use tapio_core::unified::{EventKind, Resolution, Severity, UnifiedEvent};

use super::{EventProcessor, Known, Parked, Waiting};
use crate::world::alerts::Firing;
use crate::world::changes::differences;
use crate::world::history::{Changed, Exit, LogTail, NodeService, ProbeResult};
use crate::world::{self, Applied};

impl EventProcessor {
    pub(super) fn apply(&mut self, raw: &RawEvent) {
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
                    logs.insert((l.container.to_string(), l.previous), LogTail::new(lines, at));
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
            Payload::Event(e) => {
                self.state.dirty = true;
                if raw.source == source::DUMP
                    && let (Ok(n), Some(last)) = (e.metadata.resource_version.parse(), e.last())
                {
                    self.state.world.revisions.note(n, last);
                }
            }
            Payload::Alert(a) => {
                if let (Some(e), Some(about)) = (events.first(), a.object()) {
                    let alerts = &mut self.state.world.alerts;
                    self.state.dirty |= if a.is_resolved(at) {
                        alerts.resolve(&about, a.identity())
                    } else {
                        alerts.fire(about, a.identity(), Firing::of(&a, e.id, at))
                    };
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
                let mut pod = Pod { status: *status, ..Default::default() };
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
    pub(super) fn unpark(&mut self, now: Time) {
        if self.state.parked.is_empty() || self.waiting.until > now {
            return;
        }
        let mut due = Vec::new();
        self.state.parked.retain(|_, list| {
            due.extend(list.extract_if(.., |p| p.until <= now).map(|p| p.event));
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

    pub(super) fn project(&mut self, key: &ObjectRef, at: Time) {
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
