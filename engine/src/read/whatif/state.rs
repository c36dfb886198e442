//! One world, before or after, with what many checks need: who runs pods, with which labels and which template.

use std::collections::{BTreeMap, BTreeSet};

use tapio_core::object::{Body, Object, ObjectRef, PodSpec, Service, ServicePort, StringMap};
use tapio_core::object::{IntOrString, is_subset};
use tapio_core::time::Time;

use crate::diagnosis::view::View;
use crate::world::World;

/// Kinds that make pods from a template.
pub(super) const MAKERS: &[&str] =
    &["CronJob", "DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"];
/// Pods of one workload whose labels are looked at.
const MAX_PODS: usize = 500;

/// A workload, or a pod that nobody made, with what its pods are like.
pub(super) struct Runner<'a> {
    pub(super) workload: ObjectRef,
    /// Labels of the template, then of every pod, as they will be.
    pub(super) labels: Vec<StringMap>,
    pub(super) spec: &'a PodSpec,
    /// Pods that it wants.
    pub(super) replicas: i64,
    /// Address of one of its pods.
    pub(super) ip: &'a str,
}

impl Runner<'_> {
    /// Whether a selector takes any of its pods.
    pub(super) fn selected_by(&self, service: &Service) -> bool {
        !service.spec.selector.is_empty() && self.labels.iter().any(|l| is_subset(&service.spec.selector, l))
    }

    /// The number behind a Service's target port; none if it is a name that no container has.
    pub(super) fn target(&self, port: &ServicePort) -> Option<i64> {
        match &port.target_port {
            Some(IntOrString::Int(n)) => Some(*n),
            Some(IntOrString::Str(name)) => {
                let ports = self.spec.all_containers().flat_map(|c| &c.ports);
                let mut ports = ports.filter(|c| c.name == *name && protocol(&c.protocol) == port.transport());
                ports.next().map(|c| c.container_port)
            }
            None => Some(port.port),
        }
    }
}

/// The protocol, TCP where nothing is said.
pub(super) fn protocol(p: &str) -> &str {
    if p.is_empty() { "TCP" } else { p }
}

/// A world at one moment.
pub(super) struct State<'a> {
    pub(super) world: &'a World,
    pub(super) view: View<'a>,
    /// By namespace, in the order of names.
    runners: BTreeMap<&'a str, Vec<Runner<'a>>>,
}

impl<'a> State<'a> {
    /// Looks at a world. `old`: the world whose pods there are; `rolled`: workloads whose pods will be made anew.
    pub(super) fn new(world: &'a World, now: Time, old: &World, rolled: &BTreeSet<ObjectRef>) -> Self {
        let view = View::new(world, now);
        let mut runners: BTreeMap<&'a str, Vec<Runner<'a>>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for o in MAKERS.iter().flat_map(|k| world.all(k)).filter(|o| world.workload_of(&o.key) == o.key) {
            let Some(template) = o.template() else { continue };
            seen.insert(&o.key);
            let own = old.live(&o.key).and_then(Object::template).map(|t| &t.metadata.labels);
            let mut labels = vec![template.metadata.labels.clone()];
            let mut ip = "";
            for p in view.pods_of(&o.key).filter(|p| !p.pod.is_finished() && !p.is_leaving()).take(MAX_PODS) {
                ip = if ip.is_empty() { &p.pod.status.pod_ip } else { ip };
                let mut l = p.object.meta.labels.clone();
                if rolled.contains(&o.key) {
                    // Labels that controllers add stay, the template's own are the new ones.
                    l.retain(|k, _| own.is_none_or(|own| !own.contains_key(k)));
                    l.extend(template.metadata.labels.clone());
                }
                labels.push(l);
            }
            labels.dedup();
            let runner = Runner { workload: o.key.clone(), labels, spec: &template.spec, replicas: desired(o), ip };
            runners.entry(o.key.ns()).or_default().push(runner);
        }
        for (workload, pods) in &view.members {
            let live =
                || pods.iter().filter_map(|k| view.pods.get(*k)).filter(|p| !p.pod.is_finished() && !p.is_leaving());
            let Some(first) = live().next().filter(|_| !seen.contains(workload)) else { continue };
            let labels = live().take(MAX_PODS).map(|p| p.object.meta.labels.clone()).collect();
            let replicas = i64::try_from(live().count()).unwrap_or(i64::MAX);
            let (spec, ip) = (&first.pod.spec, first.pod.status.pod_ip.as_str());
            let runner = Runner { workload: workload.clone(), labels, spec, replicas, ip };
            runners.entry(first.object.key.ns()).or_default().push(runner);
        }
        State { world, view, runners }
    }

    /// Whoever runs pods in a namespace.
    pub(super) fn runners(&self, ns: &str) -> &[Runner<'a>] {
        self.runners.get(ns).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whoever runs pods.
    pub(super) fn all_runners(&self) -> impl Iterator<Item = &Runner<'a>> {
        self.runners.values().flatten()
    }

    /// The workload of this name.
    pub(super) fn runner(&self, workload: &ObjectRef) -> Option<&Runner<'a>> {
        // Cluster-scoped owners (a Node's mirror pods) stand under their pods' namespace; nobody asks for them.
        self.runners(workload.ns()).iter().find(|r| r.workload == *workload)
    }

    /// Whoever stands behind a Service.
    pub(super) fn behind<'s>(&'s self, key: &ObjectRef, service: &'s Service) -> impl Iterator<Item = &'s Runner<'a>> {
        self.runners(key.ns()).iter().filter(move |r| r.selected_by(service))
    }

    /// A Service by name.
    pub(super) fn service(&self, key: &ObjectRef) -> Option<&'a Service> {
        self.world.live(key).and_then(Object::as_service)
    }

    /// Labels of a namespace.
    pub(super) fn space(&self, ns: &str) -> StringMap {
        let key = ObjectRef::cluster_scoped("Namespace", ns);
        self.world.live(&key).map(|o| o.meta.labels.clone()).unwrap_or_default()
    }
}

/// Pods that a workload wants to have running; a finished Job and a CronJob none.
pub(super) fn desired(o: &Object) -> i64 {
    match &o.body {
        // Nobody has counted the nodes for a new one.
        Body::Workload(w) if o.kind() == "DaemonSet" && w.status.observed_generation == 0 => 1,
        Body::Workload(w) => w.desired(o.kind()),
        Body::Job(j) if j.spec.suspend || j.status.completion_time.is_some() || is_done(j) => 0,
        Body::Job(j) => j.spec.parallelism.unwrap_or(1),
        _ => 0,
    }
}

/// Whether a Job has ended, well or not.
pub(super) fn is_done(j: &tapio_core::object::Job) -> bool {
    j.status.conditions.iter().any(|c| c.is("Complete", "True") || c.is("Failed", "True"))
}
