//! What a workload calls: wrong addresses, refused credentials, databases at their limits.

use std::collections::BTreeMap;

use tapio_core::object::ObjectRef;
use tapio_core::ontology::Relation;

use super::{kubectl, manual, undo};
use crate::diagnosis::endpoints::{self, Endpoint};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs::{self, Class};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{PodFacts, View, shorten};

manual! {
    /// A Service that others call does not exist.
    ///
    /// Required: callers that cannot resolve a name, and a Service of that name that was deleted, or a workload of that
    /// name that has none.
    /// Refuted by: the Service is there; a quota refused it.
    /// Do: create the Service.
    "service-missing": CapturedText [Unready, Crashing, LogErrors];
    /// The configured host or port of a dependency is not that of its Service.
    ///
    /// Required: an address in the workload's environment (or errors) that names no Service of the cluster, or a port
    /// that the named Service does not have; and the workload, or who calls it, fails.
    /// Supports: the last errors name that very address; this revision changed the variable.
    /// Refuted by: the address answers.
    /// Do: correct the variable.
    "dependency-address-wrong": Recorded [Unready, Crashing, LogErrors, ProbeKilled, InitStuck];
    /// The workload connects to a port where its database or broker does not listen.
    ///
    /// Required: errors that name a Service (or its address) with a port that it does not have.
    /// Supports: other callers use another port of the same Service.
    /// Refuted by: the Service has the port.
    /// Do: correct the port where it is configured.
    "dependency-port-wrong": Recorded [Unready, Crashing, LogErrors, ProbeKilled, InitStuck];
    /// A database or API refuses the user or password of the workload.
    ///
    /// Required: "access denied for user", "authentication failed" or the like in the workload's last errors.
    /// Supports: other callers of the same database are let in; the Secret was changed.
    /// Refuted by: every caller is refused (then the database's side).
    /// Do: correct the credentials in the Secret, restart the workload.
    "dependency-credentials-rejected": Recorded [Unready, Crashing, LogErrors, ProbeKilled, InitStuck];
    /// A dependency outside the cluster, or without a cause of its own in sight, does not answer.
    ///
    /// Required: errors of refusal or timeout towards one address, and nothing else that explains them.
    /// Refuted by: the address belongs to a workload with a cause of its own.
    /// Do: look at the dependency.
    "dependency-down": CapturedText [Unready, Crashing, LogErrors, ProbeKilled, InitStuck];
    /// The database runs read-only and refuses writes.
    ///
    /// Required: "read-only" refusals of a database in the errors of its callers or its own.
    /// Refuted by: the caller talks to a replica on purpose.
    /// Do: find out who set it read-only, and set it back.
    "database-read-only": Recorded [Unready, Crashing, LogErrors];
    /// The database is at its connection limit.
    ///
    /// Required: "too many connections" or the like in the errors of its callers or its own.
    /// Refuted by: one caller's own pool is meant.
    /// Do: raise the limit, or find who holds the connections.
    "database-connections-exhausted": Recorded [Unready, Crashing, LogErrors];
}

/// Names that environments, failed look-ups and probes use as Services of a namespace, with who uses them.
pub(crate) fn named_services(view: &View, ns: &str) -> BTreeMap<String, Vec<ObjectRef>> {
    let mut out: BTreeMap<String, Vec<ObjectRef>> = BTreeMap::new();
    let mut add = |host: &str, who: &ObjectRef| {
        if let Some((name, space)) = endpoints::service_name(ns, host).filter(|(_, s)| s == ns) {
            let _ = space;
            let list = out.entry(name).or_default();
            if list.len() < 8 && !list.contains(who) {
                list.push(who.clone());
            }
        }
    };
    for p in view.pods.values().filter(|p| p.key().ns() == ns) {
        for c in &p.pod.spec.containers {
            for v in c.env.iter().filter(|v| !v.value.is_empty()) {
                for e in endpoints::addresses(&v.value).iter().filter(|e| e.port.is_some()) {
                    add(&e.host, p.key());
                }
            }
        }
        for line in logs::errors(p, None, 40).iter().filter(|e| e.class == Class::Dns) {
            for e in endpoints::mentioned(line.text).iter().filter(|e| e.port.is_none()) {
                add(&e.host, p.key());
            }
        }
    }
    // A Service that was probed and is not there.
    for e in
        view.world.entries("Service").filter(|e| e.key.ns() == ns && e.object.is_none() && !e.history.probes.is_empty())
    {
        add(&e.key.name, &e.key);
    }
    out
}

/// Wrong addresses, refused credentials and databases at their limits, by the errors of those who suffer.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| s.is_failing_container()) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        out.extend(address(view, p, s));
        out.extend(credentials(view, p, s));
        out.extend(database(view, p, s));
    }
    configured(view, symptoms, out);
}

/// What an error says about an address: no Service of that name, or no such port of it.
enum Fault {
    NoService { name: String, known: Option<ObjectRef> },
    NoPort { service: ObjectRef, port: i64 },
}

fn fault(view: &View, p: &PodFacts, e: &Endpoint) -> Option<Fault> {
    let ns = p.key().ns();
    match endpoints::resolve(view, ns, &e.host) {
        Some(o) if o.kind == "Service" => {
            let port = e.port?;
            let s = view.world.live(&o)?.as_service()?;
            let has = s.spec.ports.iter().any(|x| x.port == port);
            // A headless Service's name leads to the pods themselves, where any port may be open.
            let headless = s.spec.cluster_ip == "None";
            (!has && !headless && !s.spec.ports.is_empty()).then_some(Fault::NoPort { service: o, port })
        }
        Some(_) => None,
        None => {
            let (name, space) = endpoints::service_name(ns, &e.host)?;
            let is_name = name.chars().any(|c| c.is_ascii_alphabetic()) && name != "localhost";
            if !is_name
                || !view.world.all("Service").any(|s| s.key.ns() == space) && !view.world.was_listed("Service", &space)
            {
                return None;
            }
            let key = ObjectRef::new("Service", &space, &name);
            let known = view.world.entry(&key).filter(|x| x.deleted_at.is_some()).map(|x| x.key.clone());
            Some(Fault::NoService { name: key.path(), known })
        }
    }
}

fn address(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let errors = logs::errors(p, s.container.as_deref(), 60);
    let relevant = errors.iter().filter(|e| {
        matches!(e.class, Class::Dns | Class::Refused | Class::Timeout | Class::Network | Class::Other | Class::Panic)
    });
    for line in relevant {
        for e in endpoints::mentioned(line.text) {
            if line.class == Class::Dns && e.port == Some(53) {
                continue;
            }
            let Some(f) = fault(view, p, &e) else { continue };
            let configured = configured_at(view, p, &e);
            let base = |id: &'static str, root: ObjectRef, summary: String| {
                Hypothesis::new(id, root, s.since, Proof::Inferred, summary)
                    .explaining([s.object.clone()])
                    .counting_from(s.counts_from)
                    .via("dependency")
                    .with([
                        view.logged(&s.object, Some(line.at), line.container, line.text),
                        view.state(&s.object, Some(s.since), s.says.clone()),
                    ])
            };
            return match f {
                Fault::NoService { known: Some(key), .. } => Some(
                    base("service-missing", key.clone(), format!("{key}, which {} calls, was deleted", p.workload))
                        .supported(2)
                        .unless(format!("{key} exists"), false)
                        .next(kubectl("get", &key)),
                ),
                Fault::NoService { name, .. } if line.class == Class::Dns => {
                    let (changes, at) = configured;
                    if changes.is_empty()
                        && let Some((key, workload)) = without_service(view, &name)
                    {
                        return Some(
                            base(
                                "service-missing",
                                key.clone(),
                                format!(
                                    "{}, which {} calls, does not exist; {workload} has no Service",
                                    key, p.workload
                                ),
                            )
                            .supported(1)
                            .with([view.state(&workload, None, format!("no Service selects the pods of {workload}"))])
                            .unless(format!("{key} exists"), false)
                            .next(kubectl("describe", &workload)),
                        );
                    }
                    let place = at.map(|v| format!(" ({v})")).unwrap_or_default();
                    Some(
                        base(
                            "dependency-address-wrong",
                            p.workload.clone(),
                            format!("{} calls {}{place}, and there is no Service {name}", p.workload, e.host),
                        )
                        .supported(u32::from(!place.is_empty()) + u32::from(!changes.is_empty()))
                        .changed(changes)
                        .unless("the address answers", false)
                        .next(undo(&p.workload)),
                    )
                }
                Fault::NoPort { service, port } if line.class != Class::Dns => {
                    let (changes, at) = configured;
                    let place = at.map(|v| format!(" ({v})")).unwrap_or_default();
                    Some(
                        base(
                            "dependency-port-wrong",
                            p.workload.clone(),
                            format!("{} calls port {port} of {service}{place}, which has no such port", p.workload),
                        )
                        .supported(1 + u32::from(!changes.is_empty()))
                        .changed(changes)
                        .unless("the Service has the port", false)
                        .next(kubectl("describe", &service)),
                    )
                }
                _ => continue,
            };
        }
    }
    None
}

/// A workload of the name that somebody calls, whose pods no Service selects: with the Service that it should have.
fn without_service(view: &View, path: &str) -> Option<(ObjectRef, ObjectRef)> {
    let (space, name) = path.split_once('/')?;
    let workload = ["Deployment", "StatefulSet", "DaemonSet"]
        .iter()
        .filter_map(|k| view.world.live(&ObjectRef::new(k, space, name)))
        .find(|o| o.as_workload().is_some())?;
    let labels = &workload.as_workload()?.spec.template.metadata.labels;
    let selected = view.services.iter().any(|(k, s)| k.ns() == space && crate::world::selects(s.service, labels));
    (!selected).then(|| (ObjectRef::new("Service", space, name), workload.key.clone()))
}

/// The change that brought an address, and the variable that holds it.
fn configured_at(view: &View, p: &PodFacts, e: &Endpoint) -> (Vec<tapio_core::answer::FieldChange>, Option<String>) {
    let variable =
        p.pod.spec.containers.iter().flat_map(|c| &c.env).find(|v| v.value.contains(&e.host)).map(|v| v.name.clone());
    let changes = view
        .last_template_change(&p.workload)
        .filter(|_| view.is_newest(p))
        .map(|(_, d)| d.into_iter().filter(|c| c.after.as_ref().is_some_and(|a| a.contains(&e.host))).collect())
        .unwrap_or_default();
    (changes, variable)
}

fn credentials(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let line = logs::newest_of(p, s.container.as_deref(), &[Class::Authentication])?;
    // A server's log tells of others who were refused; only who fails by it is meant.
    if s.trouble == Trouble::LogErrors {
        return None;
    }
    let secret = view.world.out(p.key(), Relation::UsesSecret).into_iter().find(|e| !e.history.changes.is_empty());
    let changes: Vec<_> =
        secret.map(|e| e.history.changes.iter().map(|c| c.change.clone()).collect()).unwrap_or_default();
    let root = secret.map_or_else(|| p.workload.clone(), |e| e.key.clone());
    let old = super::config::holds_old_secret(view, p, s);
    Some(
        Hypothesis::new(
            "dependency-credentials-rejected",
            root,
            s.since,
            Proof::Inferred,
            format!("what {} calls refuses its credentials: {}", p.workload, shorten(line.text.trim(), 200)),
        )
        .explaining([s.object.clone()])
        .counting_from(s.counts_from)
        .via("dependency")
        .supported(1 + u32::from(!changes.is_empty()))
        .changed(changes)
        .with([view.logged(&s.object, Some(line.at), line.container, line.text)])
        .unless("every caller is refused", false)
        .unless("it still has what the Secret said before", old)
        .next(kubectl("describe", &p.workload)),
    )
}

fn database(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let line = logs::newest_of(p, s.container.as_deref(), &[Class::ReadOnlyDatabase, Class::TooManyConnections])?;
    let id =
        if line.class == Class::ReadOnlyDatabase { "database-read-only" } else { "database-connections-exhausted" };
    let target = callee(view, p, line.class)?;
    let what = if id == "database-read-only" { "refuses writes" } else { "has no connection left" };
    Some(
        Hypothesis::new(
            id,
            target.clone(),
            s.since,
            Proof::Inferred,
            format!("{target} {what}, as {} says", p.workload),
        )
        .explaining([s.object.clone()])
        .counting_from(s.counts_from.min(view.alarmed(p.key().ns())))
        .via("dependency")
        .with([view.logged(&s.object, Some(line.at), line.container, line.text)])
        .unless("one caller's own pool is meant", false)
        .next(kubectl("describe", &target)),
    )
}

/// The database that a workload suffers from: the workload behind a Service on a database's port. Its own log saying the
/// same counts most, then being named by the sufferer; one that only others name, who are well, is not it.
fn callee(view: &View, p: &PodFacts, class: Class) -> Option<ObjectRef> {
    let named = endpoints::named_by(view, p);
    let mut best: Option<(i32, ObjectRef)> = None;
    for (key, f) in &view.services {
        let port =
            f.service.spec.ports.iter().any(|x| matches!(x.port, 3306 | 5432 | 27017 | 6379 | 1433 | 1521 | 33060));
        if !port || key.ns() != p.key().ns() || f.pods.is_empty() {
            continue;
        }
        let pods: Vec<&PodFacts> = f.pods.iter().filter_map(|k| view.pods.get(k)).collect();
        let Some(first) = pods.first() else { continue };
        if first.workload == p.workload {
            return Some(p.workload.clone());
        }
        let own = pods.iter().any(|x| logs::newest_of(x, None, &[class]).is_some());
        let mine = named.contains(key);
        let others = view.pods.values().any(|x| {
            x.workload != p.workload
                && x.workload != first.workload
                && logs::newest_of(x, None, &[class]).is_none()
                && environment_names(view, x, key)
        });
        let score = 4 * i32::from(own) + 3 * i32::from(mine) - 2 * i32::from(others && !mine)
            + belongs(view, &first.workload, class);
        if best.as_ref().is_none_or(|(b, _)| score > *b) {
            best = Some((score, first.workload.clone()));
        }
    }
    best.filter(|(score, _)| *score >= 0).map(|(_, o)| o)
}

/// Where nothing names a database, names of workloads tell to whom it belongs: 1 if those that share the longest beginning
/// with its name suffer from the class, -1 if they do not, 0 if no one shares any.
fn belongs(view: &View, database: &ObjectRef, class: Class) -> i32 {
    let shared = |w: &ObjectRef| w.name.bytes().zip(database.name.bytes()).take_while(|(a, b)| a == b).count();
    let near: Vec<(usize, &ObjectRef)> = view
        .members
        .keys()
        .filter(|w| w.ns() == database.ns() && *w != database)
        .map(|w| (shared(w), w))
        .filter(|(n, _)| *n >= 2)
        .collect();
    let Some(most) = near.iter().map(|(n, _)| *n).max() else { return 0 };
    let mut nearest = near.iter().filter(|(n, _)| *n == most).flat_map(|(_, w)| view.pods_of(w));
    if nearest.any(|p| logs::newest_of(p, None, &[class]).is_some()) { 1 } else { -1 }
}

/// Whether a pod's environment names a Service, or one that stands for the same pods.
fn environment_names(view: &View, p: &PodFacts, service: &ObjectRef) -> bool {
    let values = p.pod.spec.containers.iter().flat_map(|c| &c.env).map(|v| v.value.as_str()).filter(|v| !v.is_empty());
    let mut hosts = values.flat_map(endpoints::addresses);
    hosts.any(|e| {
        endpoints::resolve(view, p.key().ns(), &e.host).is_some_and(|o| {
            let same = |a: &ObjectRef| view.services.get(a).map(|f| f.pods.clone()).unwrap_or_default();
            o == *service || (!same(&o).is_empty() && same(&o).iter().any(|x| same(service).contains(x)))
        })
    })
}

/// Refusals and timeouts towards one address that nothing explains.
pub fn residual(view: &View, left: &[Symptom], out: &mut Vec<Hypothesis>) {
    hidden_address(view, left, out);
    for s in left.iter().filter(|s| s.is_failing_container()) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        let errors = logs::errors(p, s.container.as_deref(), 30);
        let Some(line) = errors.iter().find(|e| matches!(e.class, Class::Refused | Class::Timeout | Class::Network))
        else {
            continue;
        };
        let ns = p.key().ns();
        let Some(target) = endpoints::mentioned(line.text).iter().find_map(|e| endpoints::resolve(view, ns, &e.host))
        else {
            continue;
        };
        // What runs in this cluster has a cause of its own, seen or not: naming it would only move the question.
        if target.kind == "Pod" || view.services.contains_key(&target) {
            continue;
        }
        out.push(
            Hypothesis::new(
                "dependency-down",
                target.clone(),
                s.since,
                Proof::Residual,
                format!("{target} does not answer {}", p.workload),
            )
            .explaining([s.object.clone()])
            .counting_from(s.counts_from)
            .via("dependency")
            .with([view.logged(&s.object, Some(line.at), line.container, line.text)])
            .unless("the address belongs to a workload with a cause of its own", false)
            .next(kubectl("describe", &target)),
        );
    }
}

/// A workload that cannot connect, to an address that is hidden in a Secret or ConfigMap: no one else has the trouble, so
/// it is its own address that is wrong.
fn hidden_address(view: &View, left: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in left.iter().filter(|s| matches!(s.trouble, Trouble::Crashing | Trouble::Unready)) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        let Some(line) = logs::telling(p, s.container.as_deref())
            .filter(|l| matches!(l.class, Class::Refused | Class::Network | Class::Timeout | Class::Dns))
        else {
            continue;
        };
        let uses = crate::world::uses::uses(&p.pod.spec);
        let addressed = uses.iter().find(|u| {
            u.way != crate::world::uses::Way::PullSecret
                && (u.keys.iter().any(|k| names_address(k))
                    || keys_of(view, &u.target(p.key().ns())).iter().any(|k| names_address(k)))
        });
        let Some(u) = addressed else { continue };
        let same = left
            .iter()
            .filter(|x| x.trouble == s.trouble)
            .filter_map(|x| view.pods.get(&x.object))
            .filter(|x| x.workload != p.workload && logs::telling(x, None).is_some_and(|l| l.class == line.class))
            .map(|x| x.workload.clone())
            .collect::<std::collections::BTreeSet<_>>();
        let id = if line.class == Class::Dns { "dependency-address-wrong" } else { "dependency-port-wrong" };
        let target = u.target(p.key().ns());
        out.push(
            Hypothesis::new(
                id,
                p.workload.clone(),
                s.since,
                Proof::Residual,
                format!(
                    "{} cannot connect to what {target} tells it, and nobody else has the trouble: {}",
                    p.workload,
                    shorten(line.text.trim(), 160)
                ),
            )
            .explaining([s.object.clone()])
            .counting_from(s.counts_from)
            .via("dependency")
            .supported(2)
            .with([
                view.logged(&s.object, Some(line.at), line.container, line.text),
                view.state(&target, None, format!("{} is read from {target}", u.keys.join(", "))),
            ])
            .unless("other workloads have the same trouble", !same.is_empty())
            .next(kubectl("describe", &target)),
        );
    }
}

/// Whether a key's name says that its value is an address.
fn names_address(key: &str) -> bool {
    let k = key.to_ascii_lowercase();
    ["host", "port", "addr", "url", "uri", "endpoint", "dsn", "server"].iter().any(|w| k.contains(w))
}

fn keys_of(view: &View, o: &ObjectRef) -> Vec<String> {
    match view.world.live(o).map(|x| &x.body) {
        Some(tapio_core::object::Body::Secret(x)) => x.data.keys().cloned().collect(),
        Some(tapio_core::object::Body::ConfigMap(x)) => x.data.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// Addresses in environments that contradict the cluster, and what other workloads have under the same name: found
/// without any symptom of the caller's own, since many callers only log.
fn configured(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    // What each variable holds, over all workloads of a namespace.
    let mut by_name: BTreeMap<(String, String), Vec<(ObjectRef, Endpoint)>> = BTreeMap::new();
    let mut seen: std::collections::BTreeSet<(ObjectRef, String)> = std::collections::BTreeSet::new();
    for p in view.pods.values().filter(|p| !p.is_leaving() && !p.pod.is_finished() && view.is_newest(p)) {
        for c in &p.pod.spec.containers {
            for v in c.env.iter().filter(|v| !v.value.is_empty()) {
                if !seen.insert((p.workload.clone(), v.name.clone())) {
                    continue;
                }
                if let [e] = endpoints::addresses(&v.value).as_slice()
                    && e.port.is_some()
                {
                    by_name
                        .entry((p.key().ns().to_owned(), v.name.clone()))
                        .or_default()
                        .push((p.workload.clone(), e.clone()));
                }
            }
        }
    }
    for ((ns, name), list) in &by_name {
        for (workload, e) in list {
            let Some(p) = view.pods_of(workload).next() else { continue };
            let Some(f) = fault(view, p, e) else { continue };
            let twins: Vec<&(ObjectRef, Endpoint)> = list
                .iter()
                .filter(|(w, x)| w != workload && x != e && endpoints::resolve(view, ns, &x.host).is_some())
                .collect();
            let near = nearest_service(view, ns, e);
            let wrong = match &f {
                Fault::NoPort { .. } => true,
                Fault::NoService { known, .. } => known.is_none(),
            };
            // A dangling address alone may be an optional feature's: something must say what it should have been.
            let port = matches!(f, Fault::NoPort { .. });
            if !wrong || (twins.is_empty() && near.is_none() && !port) {
                continue;
            }
            let id = if port { "dependency-port-wrong" } else { "dependency-address-wrong" };
            let should = twins
                .first()
                .map(|(w, x)| format!("{w} has {}:{}", x.host, x.port.unwrap_or(0)))
                .or_else(|| near.as_ref().map(|s| format!("{s} exists")));
            let at = p.created();
            let own: Vec<ObjectRef> = view
                .pods_of(workload)
                .filter(|x| symptoms.iter().any(|s| s.object == *x.key() && s.is_failing_container()))
                .map(|x| x.key().clone())
                .collect();
            let (changes, _) = configured_at(view, p, e);
            let what = if port { "and the Service has no such port" } else { "and there is no such Service" };
            out.push(
                Hypothesis::new(
                    id,
                    workload.clone(),
                    at,
                    Proof::Inferred,
                    format!(
                        "{name} of {workload} is {}:{}, {what}{}",
                        e.host,
                        e.port.unwrap_or(0),
                        should.as_ref().map(|s| format!(" ({s})")).unwrap_or_default()
                    ),
                )
                .explaining(own.iter().cloned())
                .counting_from(at.plus(5 * tapio_core::time::SECOND))
                .via("dependency")
                .supported(
                    u32::from(!twins.is_empty())
                        + u32::from(near.is_some())
                        + u32::from(!changes.is_empty())
                        + u32::from(!own.is_empty()),
                )
                .changed(changes)
                .with([view.state(
                    workload,
                    Some(at),
                    format!("environment variable {name} is {}:{}", e.host, e.port.unwrap_or(0)),
                )])
                .unless("the address answers", false)
                .next(undo(workload)),
            );
        }
    }
}

/// A Service of the namespace with that port whose name is nearly the host's: one contains the other, or few letters
/// differ.
fn nearest_service(view: &View, ns: &str, e: &Endpoint) -> Option<ObjectRef> {
    let (name, space) = endpoints::service_name(ns, &e.host)?;
    view.world
        .in_namespace("Service", &space)
        .filter(|o| o.as_service().is_some_and(|s| s.spec.ports.iter().any(|x| Some(x.port) == e.port)))
        .find(|o| {
            let known = &o.key.name;
            let part = known.len() >= 4
                && name.len() >= 4
                && (name.starts_with(known.as_str()) || known.starts_with(name.as_str()));
            *known != name && (part || letters_apart(known, &name) <= 1 + known.len() / 8)
        })
        .map(|o| o.key.clone())
}

/// Insertions, deletions, exchanges and swaps of neighbours that turn one name into another.
fn letters_apart(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
