//! The live graph: objects as they were last seen, their relations, and a bounded history of each.
//!
//! A node exists for every object that was seen *or named* (by a reference, an owner, an event): one that was only
//! named has no version yet, which is how a missing ConfigMap can be the object of an answer.
//!
//! Architecture invariant: iteration is always in key order; hash maps are only looked up.

pub mod alerts;
pub mod changes;
pub mod history;
pub mod links;
pub mod revisions;
pub mod routes;
pub mod uses;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use petgraph::Direction;
use petgraph::stable_graph::{EdgeIndex, NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use serde::{Deserialize, Serialize};
use tapio_core::object::{Body, Object, ObjectRef, PodStatus, Service, StringMap, is_subset};
use tapio_core::ontology::Relation;
use tapio_core::time::Time;

use history::History;
use links::Link;

/// What is known about one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name in the cluster.
    pub key: ObjectRef,
    /// Its newest version; stays after deletion.
    pub object: Option<Object>,
    /// When it was first seen or named.
    pub first_seen: Time,
    /// When its newest version was seen.
    pub updated: Time,
    /// When it went.
    pub deleted_at: Option<Time>,
    /// uids of former objects of this name, oldest first, at most 8.
    pub former: Vec<String>,
    /// What else is remembered.
    pub history: History,
}

impl Entry {
    /// The object, if it is there now.
    pub fn live(&self) -> Option<&Object> {
        self.object.as_ref().filter(|_| self.deleted_at.is_none())
    }

    /// Whether it exists as far as is known.
    pub fn is_live(&self) -> bool {
        self.live().is_some()
    }
}

/// What an arriving version did.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// The first version of this object.
    Added,
    /// Another object of the same name took its place.
    Replaced(Box<Object>),
    /// A newer version.
    Modified(Box<Object>),
    /// The same version again, or an older one.
    Stale,
}

/// The live graph. Order of arrival inside a version's history does not matter: the highest version wins.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct World {
    graph: StableDiGraph<Entry, Link>,
    #[serde(skip)]
    index: HashMap<ObjectRef, NodeIndex>,
    #[serde(skip)]
    by_kind: BTreeMap<String, BTreeMap<(String, String), NodeIndex>>,
    /// Kinds that were listed, per namespace (`""`: cluster-scoped or all); an absent object of a listed kind is missing.
    pub listed: BTreeSet<(String, String)>,
    /// Alerts that fire.
    pub alerts: alerts::Alerts,
    /// Dated writes of a dump.
    pub revisions: revisions::Revisions,
    /// Until when the API server was last out of sight: what is as old as that is not stale, nobody could see it.
    #[serde(default)]
    pub blind_until: Option<Time>,
    /// Route tables by the object that holds them.
    #[serde(skip)]
    routes: BTreeMap<ObjectRef, Vec<routes::Route>>,
}

impl World {
    /// Rebuilds the look-up tables after reading a checkpoint.
    pub fn reindex(&mut self) {
        self.index.clear();
        self.by_kind.clear();
        let all: Vec<_> = self.graph.node_indices().map(|i| (i, self.graph[i].key.clone())).collect();
        for (i, key) in all {
            self.remember(key, i);
        }
        self.routes.clear();
        let tables: Vec<_> = self.graph.node_weights().filter_map(Entry::live).map(routes::table_of).collect();
        self.routes.extend(tables.into_iter().flatten());
    }

    fn remember(&mut self, key: ObjectRef, at: NodeIndex) {
        let path = (key.ns().to_owned(), key.name.clone());
        self.by_kind.entry(key.kind.clone()).or_default().insert(path, at);
        self.index.insert(key, at);
    }

    /// Number of nodes and edges.
    pub fn size(&self) -> (usize, usize) {
        (self.graph.node_count(), self.graph.edge_count())
    }

    /// The entry of an object, if it was ever seen or named.
    pub fn entry(&self, key: &ObjectRef) -> Option<&Entry> {
        self.index.get(key).map(|i| &self.graph[*i])
    }

    /// The object, if it is there now.
    pub fn live(&self, key: &ObjectRef) -> Option<&Object> {
        self.entry(key).and_then(Entry::live)
    }

    /// All entries of a kind, by namespace and name.
    pub fn entries<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.by_kind.get(kind).into_iter().flat_map(|m| m.values()).map(|i| &self.graph[*i])
    }

    /// All objects of a kind that are there now.
    pub fn all<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Object> + use<'a> {
        self.entries(kind).filter_map(Entry::live)
    }

    /// The objects of a kind in a namespace that are there now.
    pub fn in_namespace<'a>(&'a self, kind: &str, ns: &str) -> impl Iterator<Item = &'a Object> + use<'a> {
        let from = (ns.to_owned(), String::new());
        let ns = ns.to_owned();
        self.by_kind
            .get(kind)
            .into_iter()
            .flat_map(move |m| m.range(from.clone()..))
            .take_while(move |((n, _), _)| *n == ns)
            .filter_map(|(_, i)| self.graph[*i].live())
    }

    /// Kinds that have entries.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.by_kind.keys().map(String::as_str)
    }

    /// The entry of an object, made if it was never named before.
    pub fn touch(&mut self, key: &ObjectRef, at: Time) -> &mut Entry {
        let i = self.node(key, at);
        &mut self.graph[i]
    }

    fn node(&mut self, key: &ObjectRef, at: Time) -> NodeIndex {
        if let Some(i) = self.index.get(key) {
            return *i;
        }
        let i = self.graph.add_node(Entry {
            key: key.clone(),
            object: None,
            first_seen: at,
            updated: at,
            deleted_at: None,
            former: Vec::new(),
            history: History::default(),
        });
        self.remember(key.clone(), i);
        i
    }

    /// Route tables that are there now, by the object that holds them.
    pub fn routes(&self) -> impl Iterator<Item = (&ObjectRef, &[routes::Route])> {
        self.routes.iter().map(|(k, t)| (k, t.as_slice()))
    }

    /// Whether a list of this kind was seen, so that absence means "does not exist".
    pub fn was_listed(&self, kind: &str, ns: &str) -> bool {
        self.listed.contains(&(ns.to_owned(), kind.to_owned()))
            || self.listed.contains(&(String::new(), kind.to_owned()))
    }

    /// Whether the object is known not to exist: it was deleted, or its kind was listed and it was not there.
    pub fn is_missing(&self, key: &ObjectRef) -> bool {
        match self.entry(key) {
            Some(e) if e.is_live() => false,
            Some(e) if e.deleted_at.is_some() => true,
            _ => self.was_listed(&key.kind, key.ns()),
        }
    }

    /// Takes a version of an object.
    pub fn apply(&mut self, object: Object, at: Time) -> Applied {
        let i = self.node(&object.key, at);
        let e = &mut self.graph[i];
        // How the old version goes: by nothing, by a newer one (true) or by another object (false).
        let newer = match &e.object {
            None => None,
            Some(old) => {
                let same = old.meta.uid == object.meta.uid || old.meta.uid.is_empty() || object.meta.uid.is_empty();
                let (was, is) = (old.meta.version(), object.meta.version());
                if same && e.deleted_at.is_some() {
                    // A version from before the deletion, unless nobody gives versions.
                    if (was > 0 && is > 0 && is <= was) || !old.meta.uid.is_empty() {
                        return Applied::Stale;
                    }
                    Some(false)
                } else if same {
                    if (was > 0 && is > 0 && is <= was) || *old == object {
                        return Applied::Stale;
                    }
                    Some(true)
                } else if *old.meta.creation_timestamp > *object.meta.creation_timestamp {
                    return Applied::Stale;
                } else {
                    Some(false)
                }
            }
        };
        let (relink, reselect) = match (&e.object, newer) {
            (Some(old), Some(true)) => (links_may_differ(old, &object), selection_may_differ(old, &object)),
            _ => (true, true),
        };
        let entry = &mut self.graph[i];
        let old = entry.object.replace(object).map(Box::new);
        let applied = match (old, newer) {
            (Some(old), Some(true)) => Applied::Modified(old),
            (Some(old), _) => Applied::Replaced(old),
            (None, _) => Applied::Added,
        };
        if let Applied::Replaced(old) = &applied {
            let is = entry.object.as_ref().map_or("", |o| o.meta.uid.as_str());
            if !old.meta.uid.is_empty() && old.meta.uid != is {
                entry.former.push(old.meta.uid.clone());
                if entry.former.len() > 8 {
                    entry.former.remove(0);
                }
            }
            entry.history.exits.clear();
            entry.history.logs.clear();
        }
        entry.deleted_at = None;
        entry.updated = at;
        if let Some(o) = entry.object.as_ref().filter(|o| matches!(o.body, Body::ConfigMap(_) | Body::Ingress(_))) {
            match routes::table_of(o) {
                Some((key, table)) => self.routes.insert(key, table),
                None => self.routes.remove(&o.key),
            };
        }
        if relink {
            self.relink(i, at);
        }
        if reselect {
            self.reselect(i);
        }
        applied
    }

    /// Lays another source's word on a pod over what the API said of it. Its version stays the API's, so that the API's
    /// next one wins; its addresses, its start and, where the source gives none, its conditions stay too. A pod without
    /// a node gets `node`. Returns whether that changed anything.
    ///
    /// # Errors
    /// If the pod is not there; the status comes back.
    pub fn lay_status(
        &mut self,
        key: &ObjectRef,
        status: PodStatus,
        node: Option<&str>,
        at: Time,
    ) -> Result<bool, Box<PodStatus>> {
        let Some(&i) = self.index.get(key) else { return Err(Box::new(status)) };
        let entry = &mut self.graph[i];
        if entry.deleted_at.is_some() {
            return Err(Box::new(status));
        }
        let Some(object) = &mut entry.object else { return Err(Box::new(status)) };
        let Body::Pod(pod) = &mut object.body else { return Err(Box::new(status)) };
        let was = std::mem::replace(&mut pod.status, status);
        let is = &mut pod.status;
        is.pod_ip.clone_from(&was.pod_ip);
        is.host_ip.clone_from(&was.host_ip);
        is.pod_ips.clone_from(&was.pod_ips);
        is.qos_class.clone_from(&was.qos_class);
        is.nominated_node_name.clone_from(&was.nominated_node_name);
        is.start_time = was.start_time;
        if is.conditions.is_empty() {
            is.conditions.clone_from(&was.conditions);
        }
        let mut changed = *is != was;
        let mut moved = false;
        if pod.spec.node_name.is_empty()
            && let Some(n) = node.filter(|n| !n.is_empty())
        {
            n.clone_into(&mut pod.spec.node_name);
            (changed, moved) = (true, true);
        }
        // Without a version the same word again is no news.
        if changed || !object.meta.resource_version.is_empty() {
            entry.updated = at;
        }
        if moved {
            self.relink(i, at);
        }
        Ok(changed)
    }

    /// The object went. Returns whether that is news. A deletion older than the present version is none.
    pub fn delete(&mut self, object: &Object, at: Time) -> bool {
        let i = self.node(&object.key, at);
        let e = &mut self.graph[i];
        if let Some(known) = &e.object {
            let other = known.meta.uid != object.meta.uid && !known.meta.uid.is_empty() && !object.meta.uid.is_empty();
            if other || e.deleted_at.is_some() {
                return false;
            }
        } else {
            e.object = Some(object.clone());
        }
        self.graph[i].deleted_at = Some(at);
        self.graph[i].updated = at;
        self.routes.remove(&object.key);
        let gone: Vec<EdgeIndex> = [Direction::Incoming, Direction::Outgoing]
            .into_iter()
            .flat_map(|d| self.graph.edges_directed(i, d))
            .filter(|e| matches!(e.weight().relation, Relation::Selects | Relation::AppliesTo))
            .map(|e| e.id())
            .collect();
        for e in gone {
            self.graph.remove_edge(e);
        }
        true
    }

    /// Brings the declared relations of a node up to date.
    fn relink(&mut self, i: NodeIndex, at: Time) {
        let Some(want) = self.graph[i].object.as_ref().map(links::declared) else { return };
        let mut keep = BTreeSet::new();
        for d in &want {
            let j = self.node(&d.other, at);
            let (a, b) = if d.incoming { (j, i) } else { (i, j) };
            let found =
                self.graph.edges_connecting(a, b).find(|e| e.weight().relation == d.link.relation).map(|e| e.id());
            let e = match found {
                Some(e) => {
                    self.graph[e] = d.link.clone();
                    e
                }
                None => self.graph.add_edge(a, b, d.link.clone()),
            };
            keep.insert(e);
        }
        let own =
            |r: Relation| !matches!(r, Relation::Selects | Relation::AppliesTo | Relation::Calls | Relation::Owns);
        let outgoing = self.graph.edges_directed(i, Direction::Outgoing).filter(|e| own(e.weight().relation));
        let incoming =
            self.graph.edges_directed(i, Direction::Incoming).filter(|e| e.weight().relation == Relation::Owns);
        let gone: Vec<EdgeIndex> = outgoing.chain(incoming).map(|e| e.id()).filter(|e| !keep.contains(e)).collect();
        for e in gone {
            self.graph.remove_edge(e);
        }
    }

    /// Joins selectors with labels: of one pod with all selectors, or of one selector with all pods of its namespace.
    fn reselect(&mut self, i: NodeIndex) {
        let Some(object) = self.graph[i].live() else { return };
        let ns = object.key.ns().to_owned();
        let mut want: Vec<(NodeIndex, NodeIndex, Relation, bool)> = Vec::new();
        match &object.body {
            Body::Pod(_) => {
                let labels = object.meta.labels.clone();
                for s in self.in_namespace("Service", &ns) {
                    let yes = s.as_service().is_some_and(|s| selects(s, &labels));
                    want.push((self.index[&s.key], i, Relation::Selects, yes));
                }
                for p in self.in_namespace("NetworkPolicy", &ns) {
                    if let Body::NetworkPolicy(n) = &p.body {
                        let yes = n.spec.pod_selector.matches(&labels);
                        want.push((self.index[&p.key], i, Relation::AppliesTo, yes));
                    }
                }
            }
            Body::Service(s) => {
                for p in self.in_namespace("Pod", &ns) {
                    want.push((i, self.index[&p.key], Relation::Selects, selects(s, &p.meta.labels)));
                }
            }
            Body::NetworkPolicy(n) => {
                for p in self.in_namespace("Pod", &ns) {
                    let yes = n.spec.pod_selector.matches(&p.meta.labels);
                    want.push((i, self.index[&p.key], Relation::AppliesTo, yes));
                }
            }
            _ => return,
        }
        for (a, b, relation, yes) in want {
            self.set_edge(a, b, Link::plain(relation), yes);
        }
    }

    fn set_edge(&mut self, a: NodeIndex, b: NodeIndex, link: Link, present: bool) {
        let found = self.graph.edges_connecting(a, b).find(|e| e.weight().relation == link.relation).map(|e| e.id());
        match (found, present) {
            (None, true) => {
                self.graph.add_edge(a, b, link);
            }
            (Some(e), false) => {
                self.graph.remove_edge(e);
            }
            (Some(e), true) if self.graph[e] != link => self.graph[e] = link,
            _ => {}
        }
    }

    /// Notes that one object calls another, and how that is known.
    pub fn add_call(&mut self, from: &ObjectRef, to: &ObjectRef, source: &str, at: Time) {
        let (a, b) = (self.node(from, at), self.node(to, at));
        let props = BTreeMap::from([("source".to_owned(), source.to_owned())]);
        self.set_edge(a, b, Link { relation: Relation::Calls, props }, true);
    }

    /// The far ends of an object's outgoing relations of one type, in key order.
    pub fn out<'a>(&'a self, key: &ObjectRef, relation: Relation) -> Vec<&'a Entry> {
        self.ends(key, relation, Direction::Outgoing)
    }

    /// The near ends of an object's incoming relations of one type, in key order.
    pub fn into<'a>(&'a self, key: &ObjectRef, relation: Relation) -> Vec<&'a Entry> {
        self.ends(key, relation, Direction::Incoming)
    }

    fn ends(&self, key: &ObjectRef, relation: Relation, direction: Direction) -> Vec<&Entry> {
        let Some(i) = self.index.get(key) else { return Vec::new() };
        let mut ends: Vec<&Entry> = self
            .graph
            .edges_directed(*i, direction)
            .filter(|e| e.weight().relation == relation)
            .map(|e| &self.graph[if direction == Direction::Outgoing { e.target() } else { e.source() }])
            .collect();
        ends.sort_by(|a, b| a.key.cmp(&b.key));
        ends
    }

    /// Every relation of a node, outgoing ones only, in key order.
    pub fn links_of(&self, key: &ObjectRef) -> Vec<(&Link, &Entry)> {
        let Some(i) = self.index.get(key) else { return Vec::new() };
        let mut all: Vec<(&Link, &Entry)> =
            self.graph.edges_directed(*i, Direction::Outgoing).map(|e| (e.weight(), &self.graph[e.target()])).collect();
        all.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
        all
    }

    /// Every relation that ends at a node, in key order.
    pub fn links_to(&self, key: &ObjectRef) -> Vec<(&Link, &Entry)> {
        let Some(i) = self.index.get(key) else { return Vec::new() };
        let mut all: Vec<(&Link, &Entry)> =
            self.graph.edges_directed(*i, Direction::Incoming).map(|e| (e.weight(), &self.graph[e.source()])).collect();
        all.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
        all
    }

    /// The chain of controlling owners, nearest first; stops at a cycle or after eight.
    pub fn owners(&self, key: &ObjectRef) -> Vec<ObjectRef> {
        let mut chain: Vec<ObjectRef> = Vec::new();
        let mut at = key.clone();
        while chain.len() < 8 {
            let Some(object) = self.entry(&at).and_then(|e| e.object.as_ref()) else { break };
            let Some(o) = object.meta.controller() else { break };
            let kind = tapio_core::object::canonical_kind(&o.api_version, &o.kind);
            let owner = ObjectRef::new(&kind, at.ns(), &o.name);
            if owner == *key || chain.contains(&owner) {
                break;
            }
            chain.push(owner.clone());
            at = owner;
        }
        // A ReplicaSet that nobody sent still names its Deployment: its name is the Deployment's and the template hash.
        if let Some(last) = chain.last()
            && last.kind == "ReplicaSet"
            && self.entry(last).is_none_or(|e| e.object.is_none())
            && let Some((stem, _)) = last.name.rsplit_once('-')
        {
            let guess = ObjectRef::new("Deployment", last.ns(), stem);
            if self.entry(&guess).is_some_and(|e| e.object.is_some()) {
                chain.push(guess);
            }
        }
        chain
    }

    /// The outermost controlling owner that makes pods, or the object itself.
    pub fn workload_of(&self, key: &ObjectRef) -> ObjectRef {
        let makes_pods = |k: &str| {
            matches!(
                k,
                "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "CronJob" | "ReplicationController"
            )
        };
        self.owners(key).into_iter().rfind(|o| makes_pods(&o.kind)).unwrap_or_else(|| key.clone())
    }

    /// Forgets objects that went before `before`, and named ones that never came and that nothing refers to any more.
    /// Returns how many nodes went.
    pub fn forget(&mut self, before: Time) -> usize {
        let gone: Vec<(NodeIndex, ObjectRef)> = self
            .graph
            .node_indices()
            .filter(|i| {
                let e = &self.graph[*i];
                match (e.deleted_at, &e.object) {
                    (Some(at), _) => at < before,
                    (None, None) => e.updated < before && self.graph.neighbors_undirected(*i).next().is_none(),
                    _ => false,
                }
            })
            .map(|i| (i, self.graph[i].key.clone()))
            .collect();
        for (i, key) in &gone {
            self.graph.remove_node(*i);
            self.index.remove(key);
            if let Some(m) = self.by_kind.get_mut(&key.kind) {
                m.remove(&(key.ns().to_owned(), key.name.clone()));
                if m.is_empty() {
                    self.by_kind.remove(&key.kind);
                }
            }
        }
        gone.len()
    }

    /// Drops events, changes and exits from before `before` from every history.
    pub fn trim_history(&mut self, before: Time) {
        for e in self.graph.node_weights_mut() {
            let h = &mut e.history;
            h.notes.retain(|n| n.last >= before);
            h.events.retain(|s| s.at >= before);
            h.changes.retain(|c| c.at >= before);
        }
    }
}

/// Whether a Service selects pods with these labels; one without selector selects none.
pub fn selects(service: &Service, labels: &StringMap) -> bool {
    !service.spec.selector.is_empty() && is_subset(&service.spec.selector, labels)
}

/// Whether the declared relations can differ; saves the work on status-only updates.
fn links_may_differ(old: &Object, new: &Object) -> bool {
    old.meta.owner_references != new.meta.owner_references
        || match (&old.body, &new.body) {
            (Body::Pod(a), Body::Pod(b)) => a.spec != b.spec,
            (Body::Claim(a), Body::Claim(b)) => a.spec != b.spec,
            (Body::Ingress(a), Body::Ingress(b)) => a.spec != b.spec,
            (Body::Autoscaler(a), Body::Autoscaler(b)) => a.spec != b.spec,
            _ => false,
        }
}

fn selection_may_differ(old: &Object, new: &Object) -> bool {
    match (&old.body, &new.body) {
        (Body::Pod(_), Body::Pod(_)) => old.meta.labels != new.meta.labels,
        (Body::Service(a), Body::Service(b)) => a.spec.selector != b.spec.selector,
        (Body::NetworkPolicy(a), Body::NetworkPolicy(b)) => a.spec.pod_selector != b.spec.pod_selector,
        _ => false,
    }
}
