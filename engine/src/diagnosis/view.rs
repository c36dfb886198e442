//! What mechanisms look at: the world at one moment, with the facts that many of them need worked out once.

use std::collections::BTreeMap;

use tapio_core::answer::{Evidence, FieldChange};
use tapio_core::object::{
    Body, Container, ContainerStatus, DisruptionBudget, Endpoint, Object, ObjectRef, Pod, Terminated,
};
use tapio_core::ontology::Relation;
use tapio_core::time::{SECOND, Time};

use super::logs;
use crate::world::alerts::{Firing, Signal};
use crate::world::history::{Changed, History, Note};
use crate::world::{Entry, World, changes};

/// A container of a pod, with its status.
#[derive(Clone, Copy, Debug)]
pub struct ContainerFacts<'a> {
    /// Status.
    pub status: &'a ContainerStatus,
    /// Specification, where the pod's is known.
    pub spec: Option<&'a Container>,
    /// Whether it is an init container that must end before the others start.
    pub init: bool,
}

impl<'a> ContainerFacts<'a> {
    /// Name.
    pub fn name(&self) -> &'a str {
        &self.status.name
    }

    /// The reason for which it waits, `""` if it does not.
    pub fn waiting(&self) -> &'a str {
        self.status.state.waiting.as_ref().map_or("", |w| w.reason.as_str())
    }

    /// The text beside the reason.
    pub fn waiting_message(&self) -> &'a str {
        self.status.state.waiting.as_ref().map_or("", |w| w.message.as_str())
    }

    /// The newest end that the status knows: of this run, or of the one before.
    pub fn last_exit(&self) -> Option<&'a Terminated> {
        self.status.state.terminated.as_ref().or(self.status.last_state.terminated.as_ref())
    }

    /// Since when it runs, if it does.
    pub fn running_since(&self) -> Option<Time> {
        self.status.state.running.as_ref().and_then(|r| *r.started_at)
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.status.state.running.is_some()
    }
}

/// A pod that is there now.
pub struct PodFacts<'a> {
    /// Its entry.
    pub entry: &'a Entry,
    /// The object.
    pub object: &'a Object,
    /// The pod.
    pub pod: &'a Pod,
    /// The controller that a person would edit, or the pod itself.
    pub workload: ObjectRef,
    /// Init containers first.
    pub containers: Vec<ContainerFacts<'a>>,
}

impl<'a> PodFacts<'a> {
    /// Its name.
    pub fn key(&self) -> &'a ObjectRef {
        &self.object.key
    }

    /// What is remembered of it.
    pub fn history(&self) -> &'a History {
        &self.entry.history
    }

    /// Kubernetes Events with one of these reasons, oldest first.
    pub fn notes<'b>(&'b self, reasons: &'b [&'b str]) -> impl DoubleEndedIterator<Item = &'a Note> + use<'a, 'b> {
        self.entry.history.notes.iter().filter(|n| reasons.contains(&n.reason.as_str()))
    }

    /// Since when it exists.
    pub fn created(&self) -> Time {
        self.object.meta.creation_timestamp.unwrap_or(self.entry.first_seen)
    }

    /// Whether it is being deleted.
    pub fn is_leaving(&self) -> bool {
        self.object.meta.deletion_timestamp.is_some()
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerFacts<'a>> {
        self.containers.iter().find(|c| c.name() == name)
    }

    /// When the last of its containers that are no init containers began to run.
    pub fn began(&self) -> Option<Time> {
        self.containers.iter().filter(|c| !c.init).filter_map(ContainerFacts::running_since).max()
    }

    /// When it became unready, if it is; from its condition, else since it exists.
    pub fn unready_since(&self) -> Option<Time> {
        if self.pod.is_ready() {
            return None;
        }
        let condition = self.pod.condition("Ready").and_then(|c| *c.last_transition_time);
        Some(condition.unwrap_or_else(|| self.created()))
    }
}

/// A Service with the pods behind it.
pub struct ServiceFacts<'a> {
    /// The object.
    pub object: &'a Object,
    /// The Service.
    pub service: &'a tapio_core::object::Service,
    /// Pods that its selector matches, without finished and leaving ones, in name order.
    pub pods: Vec<ObjectRef>,
    /// Those of them that are ready.
    pub ready: usize,
}

/// The world at one moment.
pub struct View<'a> {
    /// The live graph.
    pub world: &'a World,
    /// The moment.
    pub now: Time,
    /// Pods that are there, by name; finished ones included.
    pub pods: BTreeMap<&'a ObjectRef, PodFacts<'a>>,
    /// Services with a selector, by name.
    pub services: BTreeMap<&'a ObjectRef, ServiceFacts<'a>>,
    /// Pods by the workload they belong to.
    pub members: BTreeMap<ObjectRef, Vec<&'a ObjectRef>>,
    /// Alerts that fire now and ask for something, by what they are about.
    pub alerts: Vec<(&'a ObjectRef, &'a Firing)>,
}

impl<'a> View<'a> {
    /// Looks at the world at `now`.
    pub fn new(world: &'a World, now: Time) -> Self {
        let mut pods = BTreeMap::new();
        let mut members: BTreeMap<ObjectRef, Vec<&'a ObjectRef>> = BTreeMap::new();
        let mut workloads: BTreeMap<(&str, &str, &str, &str), ObjectRef> = BTreeMap::new();
        for entry in world.entries("Pod") {
            let Some(object) = entry.live() else { continue };
            let Some(pod) = object.as_pod() else { continue };
            let containers = pod
                .statuses()
                .map(|(status, init)| ContainerFacts {
                    status,
                    spec: pod.spec.container(&status.name),
                    init: init && !pod.spec.is_sidecar(&status.name),
                })
                .collect();
            // Pods of one owner are of one workload.
            let owner = object.meta.controller().map(|o| (object.key.ns(), &*o.kind, &*o.name, &*o.api_version));
            let workload = match owner.and_then(|o| workloads.get(&o)) {
                Some(known) => ObjectRef::clone(known),
                None => {
                    let found = world.workload_of(&object.key);
                    if let Some(o) = owner {
                        workloads.insert(o, found.clone());
                    }
                    found
                }
            };
            match members.get_mut(&workload) {
                Some(list) => list.push(&object.key),
                None => {
                    members.insert(workload.clone(), vec![&object.key]);
                }
            }
            pods.insert(&object.key, PodFacts { entry, object, pod, workload, containers });
        }
        let alerts = world.alerts.firing(now).filter(|(_, f)| f.urgent).collect();
        let mut view = View { world, now, pods, services: BTreeMap::new(), members, alerts };
        view.services = view.services_with_pods();
        view
    }

    fn services_with_pods(&self) -> BTreeMap<&'a ObjectRef, ServiceFacts<'a>> {
        let mut services = BTreeMap::new();
        for object in self.world.all("Service") {
            let Some(service) = object.as_service() else { continue };
            if service.spec.selector.is_empty() || service.spec.r#type == "ExternalName" {
                continue;
            }
            let selected: Vec<&PodFacts> = self
                .world
                .out(&object.key, Relation::Selects)
                .into_iter()
                .filter_map(|e| self.pods.get(&e.key))
                .filter(|p| !p.pod.is_finished() && !p.is_leaving())
                .collect();
            let ready = selected.iter().filter(|p| self.ready_since(p).is_some()).count();
            let pods = selected.iter().map(|p| p.key().clone()).collect();
            services.insert(&object.key, ServiceFacts { object, service, pods, ready });
        }
        services
    }

    /// Since when a pod is ready, if it is: by its own word, else by that of others which is newer, when its own was lost.
    pub fn ready_since(&self, p: &PodFacts) -> Option<Time> {
        if p.pod.is_ready() {
            return p.pod.condition("Ready").and_then(|c| *c.last_transition_time).or(Some(p.entry.updated));
        }
        p.began()?;
        self.counted_as_ready(p).or_else(|| self.listed_as_ready(p))
    }

    /// When its controller counted as many ready pods as it has running.
    fn counted_as_ready(&self, p: &PodFacts) -> Option<Time> {
        let owner = p.object.meta.controller()?;
        let entry = self.world.entry(&ObjectRef::new(&owner.kind, p.key().ns(), &owner.name))?;
        let Body::Workload(w) = &entry.live().filter(|_| entry.updated > p.entry.updated)?.body else { return None };
        let own = |o: &&PodFacts| o.object.meta.controller().is_some_and(|x| x.uid == owner.uid);
        let running = |o: &&PodFacts| !o.is_leaving() && !o.pod.is_finished() && o.began().is_some();
        let all = self.pods_of(&p.workload).filter(own).filter(running).count();
        let enough = usize::try_from(w.status.ready_replicas).is_ok_and(|ready| ready > 0 && ready >= all);
        enough.then_some(entry.updated)
    }

    /// When the endpoints of a Service that lists ready pods only named it.
    fn listed_as_ready(&self, p: &PodFacts) -> Option<Time> {
        let ns = p.key().ns();
        let honest = |name: &String| {
            let service = self.world.live(&ObjectRef::new("Service", ns, name)).and_then(|o| o.as_service());
            service.is_some_and(|s| !s.spec.publish_not_ready_addresses)
        };
        let names = |e: &Endpoint| {
            let this = e.target_ref.as_ref().is_some_and(|t| t.kind == "Pod" && t.name == p.key().name);
            this && e.conditions.ready == Some(true)
        };
        self.world.entries("EndpointSlice").filter(|e| e.key.ns() == ns && e.updated > p.entry.updated).find_map(|e| {
            let o = e.live()?;
            let Body::EndpointSlice(slice) = &o.body else { return None };
            let of = o.meta.labels.get("kubernetes.io/service-name").is_some_and(honest);
            (of && slice.endpoints.iter().any(names)).then_some(e.updated)
        })
    }

    /// The budgets that mean a pod.
    pub fn budgets_over(&self, p: &PodFacts) -> impl Iterator<Item = &'a DisruptionBudget> {
        self.world.in_namespace("PodDisruptionBudget", p.key().ns()).filter_map(|o| match &o.body {
            Body::Budget(b) => {
                let means = b.spec.selector.as_ref().is_some_and(|s| s.matches(&p.object.meta.labels));
                means.then_some(&**b)
            }
            _ => None,
        })
    }

    /// Seconds that the slowest start of another pod of the workload took, from its containers' start to its readiness;
    /// 0 if none is ready. One that became ready much later was not starting all that time.
    pub fn slowest_start(&self, p: &PodFacts) -> i64 {
        let others = self.pods_of(&p.workload).filter(|o| o.key() != p.key());
        let took = others.filter_map(|o| Some(self.ready_since(o)?.since(o.began()?) / SECOND));
        took.filter(|s| (0..=300).contains(s)).max().unwrap_or(0)
    }

    /// Until when a pod that says nothing may still be starting: on a busy node that takes twice as long as
    /// usual.
    pub fn may_start_until(&self, p: &PodFacts) -> Time {
        let silent = logs::errors(p, None, 1).is_empty() && p.history().exits.values().all(Vec::is_empty);
        match p.began().filter(|_| silent) {
            Some(t) => t.plus((2 * self.slowest_start(p) + 8) * SECOND),
            None => p.created(),
        }
    }

    /// Pods of a workload.
    pub fn pods_of<'b>(&'b self, workload: &ObjectRef) -> impl Iterator<Item = &'b PodFacts<'a>> {
        self.members.get(workload).into_iter().flatten().filter_map(|k| self.pods.get(k))
    }

    /// Services that select any of these pods.
    pub fn services_over(&self, pods: &[ObjectRef]) -> Vec<ObjectRef> {
        let mut out: Vec<ObjectRef> = pods
            .iter()
            .flat_map(|p| self.world.into(p, Relation::Selects))
            .filter(|e| e.is_live())
            .map(|e| e.key.clone())
            .collect();
        out.sort();
        out.dedup();
        out
    }

    /// Seconds from `t` to now.
    pub fn age(&self, t: Time) -> i64 {
        self.now.since(t) / SECOND
    }

    /// Whether an object was like that for long before anybody looked: what harmed nobody until then is no news.
    pub fn is_old_news(&self, entry: &Entry, since: Time) -> bool {
        entry.first_seen.since(since) > 6 * 3_600 * SECOND
    }

    /// Observed changes of an object, oldest first.
    pub fn changes(&self, key: &ObjectRef) -> &'a [Changed] {
        self.world.entry(key).map_or(&[], |e| e.history.changes.as_slice())
    }

    /// How the newest revision of a workload differs from the one before: from what was seen to change, else from its
    /// ReplicaSets or ControllerRevisions. With the time at which the newest revision began.
    pub fn last_template_change(&self, workload: &ObjectRef) -> Option<(Time, Vec<FieldChange>)> {
        let (old, new, at) = self.revisions(workload)?;
        let owner = self.world.entry(workload).and_then(|e| e.object.as_ref())?;
        let diffs: Vec<FieldChange> =
            changes::template_differences(old, new, &owner.meta, at).into_iter().map(|d| d.change).collect();
        Some((at, diffs))
    }

    /// The templates of the two newest revisions of a workload, and the beginning of the newest.
    fn revisions(
        &self,
        workload: &ObjectRef,
    ) -> Option<(&'a tapio_core::object::PodTemplate, &'a tapio_core::object::PodTemplate, Time)> {
        let mut list: Vec<(i64, Time, &'a tapio_core::object::PodTemplate)> = Vec::new();
        for e in self.world.out(workload, Relation::Owns) {
            let Some(o) = e.object.as_ref() else { continue };
            let created = o.meta.creation_timestamp.unwrap_or(e.first_seen);
            match &o.body {
                Body::Workload(w) if o.key.kind == "ReplicaSet" => {
                    let n = o.meta.annotations.get("deployment.kubernetes.io/revision").and_then(|r| r.parse().ok());
                    list.push((n.unwrap_or(0), created, &w.spec.template));
                }
                Body::Revision(r) => list.push((r.revision, created, &r.data.spec.template)),
                _ => {}
            }
        }
        list.sort_by_key(|(n, t, _)| (*n, *t));
        let (_, at, new) = list.pop()?;
        let (_, _, old) = list.pop()?;
        Some((old, new, at))
    }

    /// Name of the newest ReplicaSet of a Deployment, or the update revision of a set.
    pub fn newest_revision(&self, workload: &ObjectRef) -> Option<String> {
        let owned = self.world.out(workload, Relation::Owns);
        let newest = owned.iter().filter_map(|e| e.live()).filter(|o| o.key.kind == "ReplicaSet").max_by_key(|o| {
            let n: Option<i64> =
                o.meta.annotations.get("deployment.kubernetes.io/revision").and_then(|r| r.parse().ok());
            (n.unwrap_or(0), *o.meta.creation_timestamp, o.key.name.clone())
        });
        newest.map(|o| o.key.name.clone())
    }

    /// Whether a pod belongs to the newest revision of its workload; true where revisions are unknown.
    pub fn is_newest(&self, pod: &PodFacts) -> bool {
        if pod.workload.kind == "StatefulSet"
            && let Some(w) = self.world.live(&pod.workload).and_then(Object::as_workload)
            && let Some(of) = pod.object.meta.labels.get("controller-revision-hash")
        {
            return w.status.update_revision.is_empty() || *of == w.status.update_revision;
        }
        match self.newest_revision(&pod.workload) {
            Some(rs) => pod.object.meta.controller().is_none_or(|o| o.name == rs),
            None => true,
        }
    }

    /// Since when alerts fire on failing requests in a namespace: then errors that are only logged do harm.
    pub fn alarmed(&self, ns: &str) -> Time {
        let failing = self.alerts.iter().filter(|(o, f)| o.ns() == ns && f.signal == Signal::Errors);
        failing.map(|(_, f)| f.since).min().unwrap_or(Time::MAX)
    }

    /// Evidence from an object's own state.
    pub fn state(&self, object: &ObjectRef, at: Option<Time>, says: impl Into<String>) -> Evidence {
        Evidence { event: None, at, source: "cluster".to_owned(), object: object.clone(), says: says.into() }
    }

    /// Evidence from a Kubernetes Event.
    pub fn noted(&self, object: &ObjectRef, n: &Note) -> Evidence {
        let times = if n.count > 1 { format!(" (×{})", n.count) } else { String::new() };
        Evidence {
            event: Some(n.id),
            at: Some(n.last),
            source: "event".to_owned(),
            object: object.clone(),
            says: format!("{}: {}{times}", n.reason, shorten(&n.message, 400)),
        }
    }

    /// Evidence from a change.
    pub fn changed(&self, object: &ObjectRef, c: &FieldChange, event: Option<tapio_core::id::Id>) -> Evidence {
        let by = c.by.as_ref().map(|b| format!(" by {b}")).unwrap_or_default();
        let says = match (&c.before, &c.after) {
            (Some(a), Some(b)) if a == b => format!("{} was written{by}", c.field),
            (Some(a), Some(b)) => format!("{} changed from {} to {}{by}", c.field, shorten(a, 80), shorten(b, 80)),
            (None, Some(b)) => format!("{} was added: {}{by}", c.field, shorten(b, 80)),
            (Some(a), None) => format!("{} was removed (was {}){by}", c.field, shorten(a, 80)),
            (None, None) => format!("{} changed{by}", c.field),
        };
        Evidence { event, at: c.at, source: "cluster".to_owned(), object: object.clone(), says }
    }

    /// Evidence from a log line.
    pub fn logged(&self, pod: &ObjectRef, at: Option<Time>, container: &str, line: &str) -> Evidence {
        Evidence {
            event: None,
            at,
            source: "log".to_owned(),
            object: pod.clone(),
            says: format!("{container}: {}", shorten(line.trim(), 400)),
        }
    }
}

/// A text of at most `max` bytes, cut at a character.
pub fn shorten(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let cut = text.char_indices().take_while(|(i, _)| *i < max).last().map_or(0, |(i, _)| i);
    format!("{}…", &text[..cut])
}
