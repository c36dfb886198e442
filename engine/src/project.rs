//! What the engine knows, as changes for the graph store. Only what differs from what was written last is handed out,
//! and everything is idempotent, so that replaying a stretch of the log does no harm.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use tapio_core::answer::{Incident, PatternFinding};
use tapio_core::change::{GraphChange, NodeRef, Prop, Props};
use tapio_core::id::Id;
use tapio_core::object::{Body, Object, ObjectRef};
use tapio_core::ontology::{Label, Relation};
use tapio_core::time::{MINUTE, Time};
use tapio_core::unified::{Severity, UnifiedEvent};

use crate::diagnosis::explain::Explanation;
use crate::diagnosis::view::View;
use crate::incidents::Transition;
use crate::world::history::Changed;
use crate::world::{Entry, World};

/// Causal edges remembered as written; beyond that they are written again, which changes nothing.
const MAX_WRITTEN: usize = 50_000;
/// Events of one object that a cause is linked to.
const MAX_LINKED: usize = 10;

type EdgeKey = (NodeRef, Relation, NodeRef);

/// Remembers what was written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Projector {
    /// The key under which each object stands in the graph.
    keys: HashMap<ObjectRef, String>,
    /// The relations written per object, with a mark of their properties.
    edges: HashMap<ObjectRef, BTreeSet<(EdgeKey, String)>>,
    written: BTreeSet<(Id, Id)>,
}

/// A key for objects whose uid nobody gave: stable, and recognisable.
pub fn derived_key(o: &ObjectRef) -> String {
    format!("{}/{}/{}", o.kind, o.ns(), o.name)
}

impl Projector {
    fn node_ref(&self, o: &ObjectRef) -> NodeRef {
        let key = self.keys.get(o).cloned().unwrap_or_else(|| derived_key(o));
        NodeRef { label: Label::of_kind(&o.kind), key }
    }

    /// Writes an object's node and relations.
    pub fn object(&mut self, world: &World, key: &ObjectRef, at: Time, out: &mut Vec<GraphChange>) {
        let Some(entry) = world.entry(key) else { return };
        let Some(object) = &entry.object else { return };
        let label = Label::of_kind(&key.kind);
        let uid = if object.meta.uid.is_empty() { derived_key(key) } else { object.meta.uid.clone() };
        let derived = derived_key(key);
        match self.keys.insert(key.clone(), uid.clone()) {
            Some(old) if old != uid && old == derived => {
                out.push(GraphChange::Rekey { from: NodeRef { label, key: old }, to: uid.clone() });
            }
            Some(old) if old != uid => {
                // Another object of the same name: the former one is history.
                out.push(GraphChange::node(label, old, vec![("deleted_at", at.into())]));
                self.edges.remove(key);
            }
            // It was named before it was seen, under its derived key.
            None if uid != derived && entry.first_seen < at => {
                out.push(GraphChange::Rekey { from: NodeRef { label, key: derived }, to: uid.clone() });
            }
            _ => {}
        }
        let also = match label {
            Label::PersistentVolumeClaim => Some("PVC".to_owned()),
            Label::Object => Some(key.kind.clone()),
            _ => None,
        };
        out.push(GraphChange::Node { node: NodeRef { label, key: uid }, also, props: props(world, entry, object) });
        self.relations(world, key, out);
    }

    fn relations(&mut self, world: &World, key: &ObjectRef, out: &mut Vec<GraphChange>) {
        let mut now: BTreeSet<(EdgeKey, String)> = BTreeSet::new();
        let me = self.node_ref(key);
        let text = |p: &std::collections::BTreeMap<String, String>| {
            p.iter().map(|(k, v)| format!("{k}={v};")).collect::<String>()
        };
        for (l, e) in world.links_of(key) {
            let other = self.node_ref(&e.key);
            if !self.keys.contains_key(&e.key) {
                named(&e.key, &other, out);
            }
            now.insert(((me.clone(), l.relation, other), text(&l.props)));
        }
        for (l, e) in world.links_to(key) {
            if matches!(l.relation, Relation::Owns | Relation::Selects | Relation::AppliesTo) {
                let other = self.node_ref(&e.key);
                if !self.keys.contains_key(&e.key) {
                    named(&e.key, &other, out);
                }
                now.insert(((other, l.relation, me.clone()), text(&l.props)));
            }
        }
        let before = self.edges.get(key);
        for (edge, props) in &now {
            if !before.is_some_and(|b| b.contains(&(edge.clone(), props.clone()))) {
                let (from, relation, to) = edge.clone();
                out.push(GraphChange::Edge { from, relation, to, props: link_props(relation, props) });
            }
        }
        for (edge, _) in before.into_iter().flatten() {
            if !now.iter().any(|(e, _)| e == edge) {
                let (from, relation, to) = edge.clone();
                out.push(GraphChange::RemoveEdge { from, relation, to });
            }
        }
        if now.is_empty() {
            self.edges.remove(key);
        } else {
            self.edges.insert(key.clone(), now);
        }
    }

    /// Writes an event and what it is about.
    pub fn event(&mut self, world: &World, e: &UnifiedEvent, out: &mut Vec<GraphChange>) {
        let node = NodeRef { label: Label::Event, key: e.id.to_string() };
        let is_change = e.annotations.contains_key("field");
        let mut props: Props = vec![
            ("type", e.kind.as_str().into()),
            ("severity", e.severity.as_str().into()),
            ("message", e.message.as_str().into()),
            ("timestamp", e.timestamp.into()),
            ("ts_ms", e.timestamp.millis().into()),
            ("source", e.source.as_str().into()),
        ];
        if let Some(c) = e.note("count").and_then(|c| c.parse::<i64>().ok()) {
            props.push(("count", c.into()));
        }
        if let Some(r) = e.note("reason") {
            props.push(("reason", r.into()));
        }
        if let Some(k8s) = &e.k8s {
            if let Some(c) = &k8s.container {
                props.push(("container", c.as_str().into()));
            }
            if k8s.resolution == tapio_core::unified::Resolution::Unknown {
                props.push(("context", "unknown".into()));
            }
        }
        if is_change {
            for name in ["field", "before", "after", "by"] {
                if let Some(v) = e.note(name) {
                    props.push((name, v.into()));
                }
            }
        } else if let Some(d) = &e.data {
            props.push(("data", d.get().into()));
        } else if !e.annotations.is_empty() {
            props.push(("data", serde_json::to_string(&e.annotations).unwrap_or_default().into()));
        }
        out.push(GraphChange::Node { node: node.clone(), also: is_change.then(|| "Change".to_owned()), props });
        if let Some(o) = e.object() {
            let to = self.node_ref(o);
            if !self.keys.contains_key(o) && world.entry(o).is_none_or(|x| x.object.is_none()) {
                named(o, &to, out);
            }
            out.push(GraphChange::Edge { from: node.clone(), relation: Relation::Affects, to, props: Vec::new() });
        }
        if let Some(x) = &e.entity {
            let label = match x.kind.as_str() {
                "Host" => Label::Host,
                "User" => Label::User,
                "Process" => Label::Process,
                "Container" => Label::Container,
                _ => Label::Entity,
            };
            let relation = match label {
                Label::User | Label::Process => Relation::Executed,
                _ => Relation::Generated,
            };
            let from = NodeRef { label, key: format!("{}/{}", x.kind, x.name) };
            out.push(GraphChange::node(
                label,
                from.key.clone(),
                vec![("name", x.name.as_str().into()), ("kind", x.kind.as_str().into())],
            ));
            out.push(GraphChange::Edge { from, relation, to: node, props: Vec::new() });
        }
    }

    /// Writes an incident with its root cause and symptoms.
    pub fn incident(&mut self, view: &View, t: Transition, i: &Incident, out: &mut Vec<GraphChange>) {
        let node = NodeRef { label: Label::Incident, key: i.id.to_string() };
        let state = match (t, i.state) {
            (Transition::Merged, _) => "merged",
            (_, tapio_core::answer::IncidentState::Open) => "open",
            _ => "resolved",
        };
        let cause = i.root_cause.as_ref();
        out.push(GraphChange::Node {
            node: node.clone(),
            also: None,
            props: vec![
                ("type", cause.map(|c| c.mechanism.as_str()).unwrap_or("unknown").into()),
                ("state", state.into()),
                ("severity", i.severity.as_str().into()),
                ("confidence", cause.map(|c| c.confidence).into()),
                ("message", cause.map_or("cause unknown", |c| c.summary.as_str()).into()),
                ("opened_at", i.opened_at.into()),
                ("since", i.since.into()),
                ("updated_at", i.updated_at.into()),
                ("resolved_at", i.resolved_at.into()),
            ],
        });
        if let Some(c) = cause {
            let to = self.node_ref(&c.object);
            if !self.keys.contains_key(&c.object) {
                named(&c.object, &to, out);
            }
            let props = vec![("mechanism", c.mechanism.as_str().into()), ("confidence", c.confidence.into())];
            out.push(GraphChange::Edge { from: node.clone(), relation: Relation::RootCause, to, props });
            if let Some(id) = c.evidence.iter().find_map(|e| e.event) {
                let to = NodeRef { label: Label::Event, key: id.to_string() };
                out.push(GraphChange::Edge {
                    from: node.clone(),
                    relation: Relation::BeganWith,
                    to,
                    props: Vec::new(),
                });
            }
        }
        for s in &i.symptoms {
            for id in events_since(view, &s.object, s.at.plus(-MINUTE)).into_iter().take(3) {
                let to = NodeRef { label: Label::Event, key: id.to_string() };
                out.push(GraphChange::Edge {
                    from: node.clone(),
                    relation: Relation::HasSymptom,
                    to,
                    props: Vec::new(),
                });
            }
        }
    }

    /// Writes a pattern finding.
    pub fn pattern(&mut self, _view: &View, f: &PatternFinding, out: &mut Vec<GraphChange>) {
        let node = NodeRef { label: Label::Pattern, key: f.id.to_string() };
        out.push(GraphChange::Node {
            node: node.clone(),
            also: None,
            props: vec![
                ("type", f.pattern.as_str().into()),
                ("state", f.state.as_str().into()),
                ("confidence", f.confidence.into()),
                ("severity", f.severity.as_str().into()),
                ("message", f.message.as_str().into()),
                ("opened_at", f.opened_at.into()),
                ("updated_at", f.updated_at.into()),
            ],
        });
        let to = self.node_ref(&f.object);
        if !self.keys.contains_key(&f.object) {
            named(&f.object, &to, out);
        }
        out.push(GraphChange::Edge { from: node, relation: Relation::DetectedOn, to, props: Vec::new() });
    }

    /// Writes the causal edges: what a root's first event triggered, with evidence; and changes that were merely near.
    pub fn causes(&mut self, view: &View, explanation: &Explanation, out: &mut Vec<GraphChange>) {
        if self.written.len() > MAX_WRITTEN {
            self.written.clear();
        }
        for root in &explanation.roots {
            let h = &root.hypothesis;
            let first = view
                .changes(&h.root)
                .iter()
                .rfind(|c| h.changes.iter().any(|x| x.field == c.change.field))
                .map(|c| c.id)
                .or_else(|| h.evidence.iter().find_map(|e| e.event));
            let Some(from) = first else { continue };
            let says: Vec<String> = h.evidence.iter().take(5).map(|e| e.says.clone()).collect();
            let refuters: Vec<String> = h.refuters.iter().map(|r| format!("{}: {}", r.claim, r.found)).collect();
            for s in &root.symptoms {
                let via = root.reach.get(&s.object).and_then(|p| p.as_ref()).map_or(h.via, |p| p.via.as_str());
                for to in events_since(view, &s.object, s.since.plus(-5_000_000)).into_iter().take(MAX_LINKED) {
                    if to == from || !self.written.insert((from, to)) {
                        continue;
                    }
                    let via = if via == "ownership" { h.via } else { via };
                    out.push(edge(
                        from,
                        Relation::Triggered,
                        to,
                        vec![
                            ("via", via.into()),
                            ("mechanism", h.mechanism.into()),
                            ("confidence", h.confidence().into()),
                            ("evidence", Prop::List(says.clone())),
                            ("refuters", Prop::List(refuters.clone())),
                        ],
                    ));
                }
            }
        }
        let sick = explanation.roots.iter().flat_map(|r| &r.symptoms).chain(&explanation.unexplained);
        for s in sick {
            let Some(to) = events_since(view, &s.object, s.since.plus(-5_000_000)).into_iter().next() else { continue };
            for c in near_changes(view, &s.object, s.since) {
                if c.id != to && self.written.insert((c.id, to)) {
                    out.push(edge(c.id, Relation::CorrelatedWith, to, Vec::new()));
                }
            }
        }
    }
}

fn edge(from: Id, relation: Relation, to: Id, props: Props) -> GraphChange {
    let event = |id: Id| NodeRef { label: Label::Event, key: id.to_string() };
    GraphChange::Edge { from: event(from), relation, to: event(to), props }
}

/// A node for an object that was only named.
fn named(o: &ObjectRef, node: &NodeRef, out: &mut Vec<GraphChange>) {
    let also = match node.label {
        Label::PersistentVolumeClaim => Some("PVC".to_owned()),
        Label::Object => Some(o.kind.clone()),
        _ => None,
    };
    out.push(GraphChange::Node {
        node: node.clone(),
        also,
        props: vec![
            ("name", o.name.as_str().into()),
            ("namespace", o.namespace.as_deref().into()),
            ("kind", o.kind.as_str().into()),
        ],
    });
}

/// Telling events of an object since then, oldest first.
fn events_since(view: &View, o: &ObjectRef, since: Time) -> Vec<Id> {
    let Some(e) = view.world.entry(o) else { return Vec::new() };
    let mut all: Vec<(Time, Id)> = e
        .history
        .events
        .iter()
        .filter(|s| s.severity >= Severity::Medium && s.at >= since)
        .map(|s| (s.at, s.id))
        .chain(e.history.notes.iter().filter(|n| n.warning && n.last >= since).map(|n| (n.last, n.id)))
        .collect();
    all.sort_unstable();
    all.into_iter().map(|(_, id)| id).collect()
}

/// Changes within ten minutes before a symptom of what the pod consists of and hangs on.
fn near_changes<'a>(view: &View<'a>, o: &ObjectRef, since: Time) -> Vec<&'a Changed> {
    let mut around: Vec<ObjectRef> = vec![o.clone(), view.world.workload_of(o)];
    for r in [Relation::Mounts, Relation::UsesSecret, Relation::RunsOn, Relation::Claims] {
        around.extend(view.world.out(o, r).iter().map(|e| e.key.clone()));
    }
    let mut out: Vec<&Changed> = around
        .iter()
        .flat_map(|k| view.changes(k))
        .filter(|c| c.at <= since.plus(2_000_000) && since.since(c.at) <= 10 * MINUTE)
        .collect();
    out.truncate(20);
    out
}

fn link_props(relation: Relation, text: &str) -> Props {
    let mut props: Props = Vec::new();
    for pair in text.split(';') {
        let Some((k, v)) = pair.split_once('=') else { continue };
        match (relation, k) {
            (Relation::Mounts | Relation::UsesSecret, "as") => props.push(("as", v.into())),
            (Relation::Mounts | Relation::UsesSecret, "keys") => {
                props.push(("keys", Prop::List(v.split(',').map(str::to_owned).collect())));
            }
            (Relation::Mounts | Relation::UsesSecret, "optional") => props.push(("optional", (v == "true").into())),
            (Relation::Calls, "source") => props.push(("source", v.into())),
            _ => {}
        }
    }
    props
}

/// The properties of an object's node.
fn props(world: &World, entry: &Entry, o: &Object) -> Props {
    let mut p: Props = vec![
        ("name", o.key.name.as_str().into()),
        ("namespace", o.key.namespace.as_deref().into()),
        ("kind", o.key.kind.as_str().into()),
        ("created_at", (*o.meta.creation_timestamp).into()),
        ("updated_at", entry.updated.into()),
        ("deleted_at", entry.deleted_at.into()),
    ];
    match &o.body {
        Body::Pod(pod) => {
            let restarts: i64 = pod.statuses().map(|(c, _)| c.restart_count).sum();
            let last = pod
                .statuses()
                .filter(|(c, _)| c.restart_count > 0)
                .filter_map(|(c, _)| c.state.running.as_ref().and_then(|r| *r.started_at))
                .max();
            let waiting = pod.statuses().find_map(|(c, _)| c.state.waiting.as_ref().map(|w| w.reason.clone()));
            let reason = if pod.status.reason.is_empty() { waiting } else { Some(pod.status.reason.clone()) };
            let owner = world.workload_of(&o.key);
            p.extend([
                ("phase", pod.status.phase.as_str().into()),
                ("ready", pod.is_ready().into()),
                ("node", pod.spec.node_name.as_str().into()),
                ("restart_count", restarts.into()),
                ("last_restart", last.into()),
                ("reason", reason.into()),
                ("ip", pod.status.pod_ip.as_str().into()),
                ("workload", if owner == o.key { Prop::Null } else { owner.name.into() }),
            ]);
        }
        Body::Service(s) => {
            let pods = world.out(&o.key, Relation::Selects);
            let ready = pods.iter().filter(|e| e.live().and_then(|x| x.as_pod()).is_some_and(|x| x.is_ready())).count();
            p.extend([
                ("type", s.spec.r#type.as_str().into()),
                ("selector", serde_json::to_string(&s.spec.selector).unwrap_or_default().into()),
                ("cluster_ip", s.spec.cluster_ip.as_str().into()),
                ("endpoint_count", i64::try_from(pods.len()).unwrap_or(i64::MAX).into()),
                ("ready_endpoint_count", i64::try_from(ready).unwrap_or(i64::MAX).into()),
            ]);
        }
        Body::ConfigMap(_) | Body::Secret(_) => {
            let change = entry.history.changes.last();
            let written = o.meta.last_spec_write();
            p.extend([
                ("version", o.meta.resource_version.as_str().into()),
                ("last_modified", change.map(|c| c.at).or(written.map(|w| w.1)).or(*o.meta.creation_timestamp).into()),
                (
                    "last_modified_by",
                    change.and_then(|c| c.change.by.clone()).or(written.map(|w| w.0.to_owned())).into(),
                ),
            ]);
            if let Body::Secret(s) = &o.body {
                p.push(("type", s.r#type.as_str().into()));
            }
        }
        Body::Workload(w) => {
            let kind = o.key.kind.as_str();
            p.extend([
                ("replicas", w.desired(kind).into()),
                ("ready", w.ready(kind).into()),
                ("observed_generation", w.status.observed_generation.into()),
                ("revision", o.meta.annotations.get("deployment.kubernetes.io/revision").map(String::as_str).into()),
            ]);
        }
        Body::Job(j) => p.extend([
            ("active", j.status.active.into()),
            ("succeeded", j.status.succeeded.into()),
            ("failed", j.status.failed.into()),
        ]),
        Body::Node(n) => {
            let taints: Vec<String> =
                n.spec.taints.iter().map(|t| format!("{}={}:{}", t.key, t.value, t.effect)).collect();
            let conditions: Vec<String> =
                n.status.conditions.iter().map(|c| format!("{}={}", c.r#type, c.status)).collect();
            p.extend([
                ("ready", n.is_ready().into()),
                ("unschedulable", n.spec.unschedulable.into()),
                ("taints", Prop::List(taints)),
                ("conditions", Prop::List(conditions)),
                ("kubelet_version", n.status.node_info.kubelet_version.as_str().into()),
            ]);
        }
        Body::Claim(c) => p.extend([
            ("phase", c.status.phase.as_str().into()),
            ("storage_class", c.spec.storage_class_name.as_deref().into()),
        ]),
        Body::Volume(v) => p.extend([
            ("phase", v.status.phase.as_str().into()),
            ("storage_class", v.spec.storage_class_name.as_str().into()),
        ]),
        _ => {}
    }
    p
}
