//! What a change of an object hits, by the relations of a graph.

use std::collections::{BTreeMap, BTreeSet};

use tapio_core::object::{ObjectRef, is_cluster_scoped};
use tapio_core::ontology::Label;
use tapio_core::ports::{Cell, GraphStore};
use tapio_engine::read::{Effect, Impact, Reader, named_kind, near};

use super::{Node, ask, text};
use crate::args::Target;
use crate::error::{Failure, Outcome};

/// Pods of a reader that are named.
const MAX_PODS: usize = 200;

/// Kinds that make pods, by which a pod is told.
const WORKLOADS: &str = "w:Deployment OR w:StatefulSet OR w:DaemonSet OR w:CronJob OR w:Job OR w:ReplicaSet";

/// A pod that is there: finished ones read nothing any more.
const RUNS: &str = "p.deleted_at IS NULL AND NOT coalesce(p.phase, '') IN ['Succeeded', 'Failed']";

/// An object of the graph.
pub(crate) struct Found {
    object: ObjectRef,
    label: Label,
    key: String,
    exists: bool,
}

/// Finds what was typed.
pub(crate) fn found(graph: &dyn GraphStore, target: &Target) -> Outcome<Found> {
    let (word, name) = target.parts()?;
    let kind = named_kind(word).unwrap_or_else(|| word.to_owned());
    let label = Label::of_kind(&kind);
    let asked = format!("MATCH (o:{label}) WHERE o.name = $name RETURN o");
    let name = name.to_lowercase();
    let rows = ask(graph, &asked, [("name", Cell::Text(name.clone()))])?;
    let ns = target.namespace.as_deref().filter(|_| !is_cluster_scoped(&kind));
    let mut all: Vec<Found> = rows
        .iter()
        .filter_map(|row| {
            let node = Node::of(row.first()?)?;
            let (object, key) = (node.object()?, node.text("uid")?.to_owned());
            let exists = node.time("deleted_at").is_none() && node.time("updated_at").is_some();
            Some(Found { object, label, key, exists })
        })
        .filter(|f| f.object.kind.eq_ignore_ascii_case(&kind) && ns.is_none_or(|ns| f.object.ns() == ns))
        .collect();
    // What is there comes before what is only named or gone.
    if all.iter().any(|f| f.exists) {
        all.retain(|f| f.exists);
    }
    let spaces: BTreeSet<&str> = all.iter().map(|f| f.object.ns()).collect();
    if spaces.len() > 1 {
        let spaces: Vec<&str> = spaces.into_iter().collect();
        return Err(Failure::input(format!(
            "{kind}/{name} is in {} namespaces: {}; say which with -n",
            spaces.len(),
            spaces.join(", ")
        )));
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    match all.pop() {
        Some(one) => Ok(one),
        None => Err(missing(graph, label, &kind, &name, target.namespace.as_deref())?),
    }
}

fn missing(graph: &dyn GraphStore, label: Label, kind: &str, name: &str, ns: Option<&str>) -> Outcome<Failure> {
    let place = ns.map(|n| format!(" in namespace {n}")).unwrap_or_default();
    let asked = format!("MATCH (o:{label}) WHERE o.deleted_at IS NULL RETURN DISTINCT o.name AS name, o.kind AS kind");
    let rows = ask(graph, &asked, [])?;
    let names = rows.iter().filter(|r| r.get(1).and_then(text).is_some_and(|k| k.eq_ignore_ascii_case(kind)));
    let names: Vec<&str> = names.filter_map(|r| text(r.first()?)).collect();
    let near = near(name, names.into_iter());
    let hint = match near.as_slice() {
        [] => "it is not in the graph".to_owned(),
        list => format!("did you mean {}", list.join(", ")),
    };
    Ok(Failure::NotFound(format!("no {kind}/{name}{place}; {hint}")))
}

/// A pod that depends on the object.
struct Hit {
    pod: String,
    ns: String,
    workload: ObjectRef,
    how: Vec<String>,
    keys: Vec<String>,
    optional: bool,
}

/// What a change of an object hits.
pub(crate) fn impact(graph: &dyn GraphStore, of: &Found) -> Outcome<Impact> {
    let kind = of.object.kind.as_str();
    // How pods hang on it, as a pattern from `o` to `p`; what that is called; and when a change takes effect.
    let by_pods: Option<(&str, &str, Effect)> = match kind {
        "ConfigMap" => Some(("(o)<-[r:MOUNTS]-(p:Pod)", "", Effect::NextStart)),
        "Secret" => Some(("(o)<-[r:USES_SECRET]-(p:Pod)", "", Effect::NextStart)),
        "Pod" => Some(("(p:Pod {uid: o.uid})", "is", Effect::AtOnce)),
        "Node" => Some(("(o)<-[:RUNS_ON]-(p:Pod)", "runs on", Effect::AtOnce)),
        "PersistentVolumeClaim" => Some(("(o)<-[:CLAIMS]-(p:Pod)", "claims", Effect::AtOnce)),
        "PersistentVolume" => Some(("(o)<-[:BOUND_TO]-()<-[:CLAIMS]-(p:Pod)", "claims", Effect::AtOnce)),
        "ServiceAccount" => Some(("(o)<-[:USES_ACCOUNT]-(p:Pod)", "runs as", Effect::NextPod)),
        "NetworkPolicy" => Some(("(o)-[:APPLIES_TO]->(p:Pod)", "is limited by", Effect::AtOnce)),
        "Service" => Some(("(o)-[:SELECTS]->(p:Pod)", "is selected by", Effect::AtOnce)),
        "Ingress" => Some(("(o)-[:ROUTES_TO]->()-[:SELECTS]->(p:Pod)", "is reached by", Effect::AtOnce)),
        "HorizontalPodAutoscaler" => Some(("(o)-[:SCALES]->()-[:OWNS*1..3]->(p:Pod)", "is scaled by", Effect::AtOnce)),
        "Deployment" | "StatefulSet" | "DaemonSet" => Some(("(o)-[:OWNS*1..3]->(p:Pod)", "template", Effect::Rollout)),
        "ReplicaSet" | "Job" | "CronJob" => Some(("(o)-[:OWNS*1..3]->(p:Pod)", "template", Effect::NextPod)),
        "Namespace" | "ResourceQuota" | "LimitRange" => None,
        _ => Some(("(o)-[:OWNS*1..4]->(p:Pod)", "is owned by", Effect::AtOnce)),
    };
    let hits = match by_pods {
        Some((pattern, ..)) => hits(graph, of, pattern)?,
        None => in_namespace(graph, if kind == "Namespace" { &of.object.name } else { of.object.ns() })?,
    };
    let (called, effect) = match (by_pods, kind) {
        (Some((_, called, effect)), _) => (called, effect),
        (None, "Namespace") => ("contains", Effect::AtOnce),
        (None, _) => ("is bounded by", Effect::NextPod),
    };
    let mut readers = readers(&hits, called, effect);
    if matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet") && readers.is_empty() {
        readers.push(Reader { pods: Vec::new(), ..reader(&of.object, called, effect) });
    }
    behind(graph, of, &hits, readers)
}

fn reader(object: &ObjectRef, how: &str, effect: Effect) -> Reader {
    let (object, how) = (object.clone(), how.to_owned());
    Reader { object, container: None, how, keys: Vec::new(), optional: false, effect, pods: Vec::new() }
}

fn hits(graph: &dyn GraphStore, of: &Found, pattern: &str) -> Outcome<Vec<Hit>> {
    let label = of.label;
    let props = if pattern.contains("[r:") {
        "r.`as` AS how, r.keys AS keys, r.optional AS may_lack"
    } else {
        "null AS how, null AS keys, null AS may_lack"
    };
    let start = if pattern.starts_with("(p:") {
        "MATCH (o:Pod {uid: $key}) MATCH".to_owned()
    } else {
        format!("MATCH (o:{label} {{uid: $key}}) MATCH")
    };
    let asked = format!(
        "{start} {pattern} WHERE {RUNS} OPTIONAL MATCH (w)-[:OWNS*1..3]->(p) WHERE {WORKLOADS} \
         RETURN p AS pod, w AS workload, {props}"
    );
    Ok(of_rows(ask(graph, &asked, [("key", Cell::Text(of.key.clone()))])?))
}

fn in_namespace(graph: &dyn GraphStore, ns: &str) -> Outcome<Vec<Hit>> {
    let asked = format!(
        "MATCH (p:Pod) WHERE p.namespace = $ns AND {RUNS} OPTIONAL MATCH (w)-[:OWNS*1..3]->(p) WHERE {WORKLOADS} \
         RETURN p AS pod, w AS workload, null AS how, null AS keys, null AS may_lack"
    );
    Ok(of_rows(ask(graph, &asked, [("ns", Cell::Text(ns.to_owned()))])?))
}

/// One hit a pod: of its owners the one furthest up, which makes the others.
fn of_rows(rows: Vec<Vec<Cell>>) -> Vec<Hit> {
    let rank = |o: &ObjectRef| match o.kind.as_str() {
        "ReplicaSet" => 2,
        "Job" => 1,
        _ => 0,
    };
    let mut out: BTreeMap<(String, String), Hit> = BTreeMap::new();
    for row in &rows {
        let Some(pod) = row.first().and_then(Node::of).and_then(|n| n.object()) else { continue };
        let owner = row.get(1).and_then(Node::of).and_then(|n| n.object());
        let list = |n: usize| match row.get(n) {
            Some(Cell::Text(s)) => s.split(',').map(str::to_owned).collect(),
            Some(Cell::List(items)) => items.iter().filter_map(text).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let hit = out.entry((pod.ns().to_owned(), pod.name.clone())).or_insert_with(|| Hit {
            pod: pod.name.clone(),
            ns: pod.ns().to_owned(),
            workload: pod.clone(),
            how: list(2),
            keys: list(3),
            optional: matches!(row.get(4), Some(Cell::Bool(true))),
        });
        if let Some(owner) = owner
            && (hit.workload.kind == "Pod" || rank(&owner) < rank(&hit.workload))
        {
            hit.workload = owner;
        }
    }
    out.into_values().collect()
}

/// Hits by workload and by how they hang on it.
fn readers(hits: &[Hit], called: &str, effect: Effect) -> Vec<Reader> {
    type Key = (ObjectRef, String, bool);
    let mut groups: BTreeMap<Key, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for h in hits {
        let ways = if h.how.is_empty() { vec![called.to_owned()] } else { h.how.clone() };
        for way in ways {
            let slot = groups.entry((h.workload.clone(), way, h.optional)).or_default();
            slot.0.extend(h.keys.iter().cloned());
            slot.1.insert(h.pod.clone());
        }
    }
    groups
        .into_iter()
        .map(|((object, how, optional), (keys, pods))| {
            let effect = if matches!(how.as_str(), "volume" | "projected") { Effect::KubeletSync } else { effect };
            let (keys, pods) = (keys.into_iter().collect(), pods.into_iter().take(MAX_PODS).collect());
            Reader { keys, optional, pods, ..reader(&object, &how, effect) }
        })
        .collect()
}

/// What stands behind the readers.
fn behind(graph: &dyn GraphStore, of: &Found, hits: &[Hit], readers: Vec<Reader>) -> Outcome<Impact> {
    let pods: BTreeSet<ObjectRef> = hits.iter().map(|h| ObjectRef::new("Pod", &h.ns, &h.pod)).collect();
    let workloads: BTreeSet<ObjectRef> = readers.iter().map(|r| r.object.clone()).filter(|o| o.kind != "Pod").collect();
    let objects = |rows: Vec<Vec<Cell>>| -> BTreeSet<ObjectRef> {
        rows.iter().filter_map(|r| Node::of(r.first()?)?.object()).collect()
    };
    let names = Cell::List(pods.iter().map(|p| Cell::Text(p.name.clone())).collect());
    let asked = "UNWIND $names AS name MATCH (p:Pod {name: name})<-[:SELECTS]-(s:Service) \
                 RETURN DISTINCT s AS service, p.namespace AS ns";
    let mut services = objects(ask(graph, asked, [("names", names)])?);
    // Names are only unique within a namespace.
    services.retain(|s| pods.iter().any(|p| p.ns() == s.ns()));
    if of.object.kind == "Service" {
        services.insert(of.object.clone());
    }
    let names = || Cell::List(services.iter().map(|s| Cell::Text(s.name.clone())).collect());
    let here = |o: &ObjectRef| services.iter().any(|s| s.ns() == o.ns());
    let asked = "UNWIND $names AS name MATCH (s:Service {name: name})<-[:ROUTES_TO]-(i:Ingress) \
                 WHERE i.deleted_at IS NULL RETURN DISTINCT i AS ingress";
    let mut ingresses = objects(ask(graph, asked, [("names", names())])?);
    ingresses.retain(here);
    ingresses.remove(&of.object);
    let asked = format!(
        "UNWIND $names AS name MATCH (s:Service {{name: name}})<-[:CALLS]-(p:Pod) WHERE {RUNS} \
         OPTIONAL MATCH (w)-[:OWNS*1..3]->(p) WHERE {WORKLOADS} \
         RETURN p AS pod, w AS workload, null AS how, null AS keys, null AS may_lack"
    );
    let callers = of_rows(ask(graph, &asked, [("names", names())])?);
    let mut callers: BTreeSet<ObjectRef> = callers.into_iter().map(|h| h.workload).collect();
    callers.retain(|c| !workloads.contains(c));
    let list = |s: BTreeSet<ObjectRef>| s.into_iter().collect::<Vec<_>>();
    Ok(Impact {
        object: of.object.clone(),
        exists: of.exists,
        readers,
        workloads: list(workloads),
        pods: list(pods),
        services: list(services),
        ingresses: list(ingresses),
        callers: list(callers),
    })
}
