//! Services whose selector, port or protocol does not meet the pods: no event says so, the objects contradict each other.

use tapio_core::answer::FieldChange;
use tapio_core::object::{IntOrString, Object, ObjectRef};
use tapio_core::time::{SECOND, Time};

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{PodFacts, ServiceFacts, View};
use crate::diagnosis::{endpoints, logs};

manual! {
    /// The Service's selector matches no pod, or the wrong ones.
    ///
    /// Required: a Service with a selector that no pod matches, and ready pods that it should select: those that it
    /// selected before, or those of the workload of its own name.
    /// Supports: the selector or the pods' labels were changed; callers are refused.
    /// Refuted by: those pods are not ready themselves, or their workload is scaled to zero.
    /// Lag: 1 to 5 seconds.
    /// Do: correct the selector, or put the label back.
    "service-selector-mismatch": Recorded [NoEndpoints, Unreachable];
    /// The Service's targetPort is not a port where the pods listen.
    ///
    /// Required: ready pods behind the Service, a targetPort that none of their containers declares (or a name that none
    /// has), and somebody who is refused, or the port seen to change.
    /// Supports: probes of the same container pass on another port.
    /// Refuted by: connections to the Service succeed.
    /// Do: correct targetPort.
    "service-target-port-mismatch": Recorded [Unreachable];
    /// The Service's port has another transport protocol than the pods.
    ///
    /// Required: ready pods that declare the port with another protocol, and somebody who cannot connect, or the protocol
    /// seen to change.
    /// Refuted by: the pods declare the port with both protocols.
    /// Do: correct the protocol of the Service's port.
    "service-protocol-mismatch": Recorded [Unreachable];
}

/// Every Service against the pods of its namespace.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in view.services.values() {
        if s.pods.is_empty() {
            out.extend(selector(view, symptoms, s));
        } else if s.ready > 0 {
            out.extend(ports(view, symptoms, s));
        }
    }
}

/// When the Service or its pods were edited in these fields, and how.
fn edits(view: &View, key: &ObjectRef, fields: &[&str]) -> Vec<FieldChange> {
    view.changes(key)
        .iter()
        .filter(|c| fields.iter().any(|f| c.change.field.starts_with(f)))
        .map(|c| c.change.clone())
        .collect()
}

/// Whether a change of `spec.ports` is one of this port: lists are told apart by name, or by number where none has one.
fn concerns(change: &FieldChange, port: &tapio_core::object::ServicePort) -> bool {
    let Some(rest) = change.field.strip_prefix("spec.ports[") else { return true };
    let Some((item, _)) = rest.split_once(']') else { return true };
    if port.name.is_empty() { item.parse() == Ok(port.port) || item.parse::<i64>().is_err() } else { item == port.name }
}

/// A write by a manager to a field some time after creation: an edit that a snapshot still tells of.
fn written_late(o: &Object, path: &[&str]) -> Option<(String, Time)> {
    let created = (*o.meta.creation_timestamp)?;
    let (by, at) = o.meta.writer_of(path)?;
    at.filter(|t| t.since(created) > 10 * SECOND).map(|t| (by.to_owned(), t))
}

fn unreachable<'a>(symptoms: &'a [Symptom], key: &ObjectRef) -> Option<&'a Symptom> {
    symptoms.iter().find(|s| s.trouble == Trouble::Unreachable && s.object == *key)
}

/// Callers whose errors name the Service, with the line; none of its own pods. With a port, none that name another one.
fn callers(view: &View, key: &ObjectRef, port: Option<i64>) -> Vec<(ObjectRef, String)> {
    let mut out = Vec::new();
    for p in view.pods.values() {
        let own = view.services.get(key).is_some_and(|s| s.pods.contains(p.key()));
        if own || out.len() >= 3 {
            continue;
        }
        let line = logs::errors(p, None, 40).into_iter().find(|e| {
            endpoints::mentioned(e.text)
                .iter()
                .filter(|x| port.is_none() || x.port.is_none() || x.port == port)
                .filter_map(|x| endpoints::resolve(view, p.key().ns(), &x.host))
                .any(|o| o == *key)
        });
        if let Some(l) = line {
            out.push((p.key().clone(), crate::diagnosis::view::shorten(l.text, 300)));
        }
    }
    out
}

fn selector(view: &View, symptoms: &[Symptom], s: &ServiceFacts) -> Option<Hypothesis> {
    let key = &s.object.key;
    let changed = edits(view, key, &["spec.selector"]);
    let ready: Vec<&PodFacts> =
        view.pods.values().filter(|p| p.key().ns() == key.ns() && p.pod.is_ready() && !p.is_leaving()).collect();
    // Pods that it selected before the edit, or whose labels were edited away.
    let before: Vec<(&PodFacts, Vec<FieldChange>)> = ready
        .iter()
        .filter_map(|p| {
            let labels = edits(view, p.key(), &["metadata.labels"]);
            let template = edits(view, &p.workload, &["spec.template.metadata.labels"]);
            let old = view.last_template_change(&p.workload).map(|(_, d)| d).unwrap_or_default();
            let away = |c: &FieldChange| {
                s.service.spec.selector.iter().any(|(k, v)| {
                    c.field.ends_with(&format!(".{k}")) && c.before.as_deref() == Some(v.as_str())
                        || c.field.ends_with("labels") && c.before.as_ref().is_some_and(|b| b.contains(v.as_str()))
                })
            };
            let all: Vec<FieldChange> = labels.into_iter().chain(template).chain(old).filter(away).collect();
            (!all.is_empty()).then_some((*p, all))
        })
        .collect();
    let former: Vec<&PodFacts> = ready
        .iter()
        .copied()
        .filter(|p| {
            !changed.is_empty() && {
                let mut was = s.service.spec.selector.clone();
                for c in &changed {
                    if let Some(k) = c.field.strip_prefix("spec.selector.") {
                        match &c.before {
                            Some(b) => was.insert(k.to_owned(), b.clone()),
                            None => was.remove(k),
                        };
                    }
                }
                !was.is_empty() && tapio_core::object::is_subset(&was, &p.object.meta.labels)
            }
        })
        .collect();
    let namesake: Vec<&PodFacts> = ready.iter().copied().filter(|p| p.workload.name == key.name).collect();
    // One label of several that still agrees.
    let near: Vec<&PodFacts> = ready
        .iter()
        .copied()
        .filter(|p| {
            let sel = &s.service.spec.selector;
            let same = sel.iter().filter(|(k, v)| p.object.meta.labels.get(*k) == Some(v)).count();
            sel.len() > 1
                && same > 0
                && sel.keys().all(|k| p.object.meta.labels.contains_key(k))
                && p.workload.name.contains(&key.name)
        })
        .collect();
    let should: Vec<&PodFacts> = if !former.is_empty() {
        former
    } else if !before.is_empty() {
        before.iter().map(|(p, _)| *p).collect()
    } else if !namesake.is_empty() {
        namesake
    } else {
        near
    };
    let first = should.first()?;
    let unreachable = unreachable(symptoms, key);
    let callers = callers(view, key, None);
    let late = written_late(s.object, &["f:spec", "f:selector"]);
    let label_changes: Vec<FieldChange> = before.iter().flat_map(|(_, c)| c.clone()).take(3).collect();
    let edited = !changed.is_empty() || !label_changes.is_empty();
    let since = changed
        .iter()
        .chain(&label_changes)
        .filter_map(|c| c.at)
        .max()
        .or(late.as_ref().map(|(_, t)| *t))
        .unwrap_or_else(|| s.object.meta.creation_timestamp.unwrap_or(view.now));
    let wants: Vec<String> = s.service.spec.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let has: Vec<String> = s
        .service
        .spec
        .selector
        .keys()
        .map(|k| format!("{k}={}", first.object.meta.labels.get(k).map_or("(absent)", String::as_str)))
        .collect();
    let mut h = Hypothesis::new(
        "service-selector-mismatch",
        key.clone(),
        since,
        Proof::Stated,
        format!(
            "{key} selects {} and matches no pod; {} has ready pods with {}",
            wants.join(","),
            first.workload,
            has.join(",")
        ),
    )
    .counting_from(since.plus(3 * SECOND))
    .via("selector/label edit")
    .supported(
        u32::from(edited)
            + u32::from(unreachable.is_some())
            + u32::from(!callers.is_empty())
            + u32::from(late.is_some()),
    )
    .with([
        view.state(key, Some(since), format!("selector {} matches no pod", wants.join(","))),
        view.state(first.key(), None, format!("{} is ready with {}", first.key(), has.join(","))),
    ])
    .with(changed.iter().map(|c| view.changed(key, c, None)))
    .with(label_changes.iter().map(|c| view.changed(&first.workload, c, None)))
    .changed(changed.clone())
    .changed(label_changes)
    .unless("the pods that it should select are not ready", false)
    .next(kubectl("edit", key));
    if let Some(u) = unreachable {
        h = h.with([view.state(key, Some(u.since), u.says.clone())]);
    }
    for (pod, line) in callers {
        h = h.with([view.logged(&pod, None, "log", &line)]);
    }
    Some(h)
}

fn ports(view: &View, symptoms: &[Symptom], s: &ServiceFacts) -> Option<Hypothesis> {
    let key = &s.object.key;
    let ready: Vec<&PodFacts> = s.pods.iter().filter_map(|k| view.pods.get(k)).filter(|p| p.pod.is_ready()).collect();
    let declared: Vec<(String, i64, String)> = ready
        .iter()
        .flat_map(|p| {
            p.pod
                .spec
                .containers
                .iter()
                .chain(p.pod.spec.init_containers.iter().filter(|c| c.restart_policy == "Always"))
        })
        .flat_map(|c| &c.ports)
        .map(|x| {
            (
                x.name.clone(),
                x.container_port,
                if x.protocol.is_empty() { "TCP".to_owned() } else { x.protocol.clone() },
            )
        })
        .collect();
    if declared.is_empty() {
        return None;
    }
    let added = |c: &FieldChange| c.before.is_none() && c.field.ends_with(']');
    let changed: Vec<FieldChange> = edits(view, key, &["spec.ports"]).into_iter().filter(|c| !added(c)).collect();
    let late = written_late(s.object, &["f:spec", "f:ports"]);
    let probes = view.world.entry(key).map(|e| &e.history.probes);
    for port in &s.service.spec.ports {
        let target = port.target_port.clone().unwrap_or(IntOrString::Int(port.port));
        let here: Vec<&(String, i64, String)> = declared
            .iter()
            .filter(|(n, p, _)| match &target {
                IntOrString::Int(t) => p == t,
                IntOrString::Str(t) => n == t,
            })
            .collect();
        let (id, why) = if here.is_empty() {
            let list: Vec<String> = declared.iter().map(|(_, p, _)| p.to_string()).collect();
            (
                "service-target-port-mismatch",
                format!(
                    "targetPort {target} of {key} is none of the ports {} that its pods listen on",
                    list.join(", ")
                ),
            )
        } else if here.iter().all(|(_, _, t)| t != port.transport()) {
            let theirs = &here[0].2;
            (
                "service-protocol-mismatch",
                format!("port {} of {key} is {} and its pods listen with {theirs}", port.port, port.transport()),
            )
        } else {
            continue;
        };
        // Pods need not declare what they listen on. A change tells of this port if it was this one that was edited, or
        // one went for which it came; a port that was only added, or is as it was, tells nothing.
        let changed: Vec<FieldChange> =
            changed.iter().filter(|c| c.after.is_none() || concerns(c, port)).cloned().collect();
        let callers = callers(view, key, Some(port.port));
        let probed = probes.is_some_and(|l| l.values().any(|r| !r.ok && r.port == port.port));
        let down = unreachable(symptoms, key).filter(|_| probed);
        let differs = s.object.meta.differs_from_applied().any(|f| f.starts_with("spec.ports"));
        // A declared port is only a hint: somebody must be refused, or the Service was edited so.
        if down.is_none() && callers.is_empty() && changed.is_empty() && late.is_none() && !differs {
            continue;
        }
        let passes = ready
            .iter()
            .any(|p| p.pod.spec.containers.iter().any(|c| c.readiness_probe.is_some() || c.liveness_probe.is_some()));
        let since = changed
            .iter()
            .filter_map(|c| c.at)
            .max()
            .or(late.as_ref().map(|(_, t)| *t))
            .or(down.map(|d| d.since))
            .unwrap_or(view.now);
        let mut h = Hypothesis::new(id, key.clone(), since, Proof::Stated, why.clone())
            // What a probe or a caller already suffers from needs no waiting.
            .counting_from(if down.is_some() || differs || !callers.is_empty() {
                since
            } else {
                since.plus(2 * SECOND)
            })
            .via("port/protocol edit")
            .supported(
                u32::from(!changed.is_empty())
                    + u32::from(down.is_some())
                    + u32::from(!callers.is_empty())
                    + u32::from(passes)
                    + u32::from(differs),
            )
            .with([view.state(key, Some(since), why)])
            .with(changed.iter().map(|c| view.changed(key, c, None)))
            .changed(changed.clone())
            .unless("connections to the Service succeed", false)
            .next(kubectl("edit", key));
        if let Some(u) = down {
            h = h.with([view.state(key, Some(u.since), u.says.clone())]);
        }
        for (pod, line) in callers {
            h = h.with([view.logged(&pod, None, "log", &line)]);
        }
        return Some(h);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_one_port_is_none_of_another() {
        let change =
            |field: &str| FieldChange { field: field.to_owned(), before: None, after: None, by: None, at: None };
        let port =
            |name: &str, port| tapio_core::object::ServicePort { name: name.to_owned(), port, ..Default::default() };
        for (field, name, number, want) in [
            ("spec.ports[tcp].targetPort", "tcp", 9090, true),
            ("spec.ports[tcp].targetPort", "metrics", 9100, false),
            ("spec.ports[9090].targetPort", "", 9090, true),
            ("spec.ports[9090].targetPort", "", 9100, false),
            ("spec.ports", "metrics", 9100, true),
        ] {
            assert_eq!(concerns(&change(field), &port(name, number)), want, "{field} {name}");
        }
    }
}
