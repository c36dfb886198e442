//! Incidents over time: one per root cause, opened, updated, resolved, reopened.
//!
//! An incident keeps its id and its `opened_at` for life. When a better cause is found for what it was opened for, the
//! cause changes and the incident stays; when two incidents turn out to have one root, the older one takes the other's
//! symptoms.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tapio_core::answer::{Incident, IncidentState, RootCause, Symptom};
use tapio_core::id::Id;
use tapio_core::object::ObjectRef;
use tapio_core::time::{MINUTE, SECOND, Time};
use tapio_core::unified::Severity;

use crate::answer::root_cause;
use crate::diagnosis::explain::{Explanation, Root};
use crate::diagnosis::hypothesis::Proof;
use crate::diagnosis::symptom::{self, Trouble};
use crate::diagnosis::view::View;

/// Time of health after which an incident is resolved.
const HEALTH: i64 = 30 * SECOND;
/// Time after which a symptom without a cause becomes an incident.
const UNKNOWN_AFTER: i64 = 30 * SECOND;
/// Time within which a fault that comes back is the same incident.
const REOPEN: i64 = 10 * MINUTE;
/// Time that what a cause had hit may take to recover after the cause has gone.
const AFTERMATH: i64 = 5 * MINUTE;
/// Incidents kept; the oldest resolved ones go first.
const MAX_INCIDENTS: usize = 2_000;
/// Symptoms kept per incident.
const MAX_SYMPTOMS: usize = 200;

/// What happened to an incident at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transition {
    /// It is new, or back.
    Opened,
    /// Cause, severity or symptoms changed.
    Updated,
    /// It is over.
    Resolved,
    /// It was the same as another one and is gone.
    Merged,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tracked {
    incident: Incident,
    /// The workload (or object) that the root belongs to; none while unknown.
    home: Option<ObjectRef>,
    /// Objects with symptoms, ever.
    objects: BTreeSet<ObjectRef>,
    /// Since when nothing of it is wrong.
    well_since: Option<Time>,
    /// Everything that its cause reached when it was last seen.
    reached: BTreeSet<ObjectRef>,
    /// Whether the cause is one that is seen to go: Kubernetes states it, or objects contradict each other.
    stated: bool,
    /// When its cause was last seen.
    active_at: Time,
}

impl Tracked {
    /// Whether the cause was stated, is gone, and what it had hit may still be recovering.
    fn is_aftermath(&self, now: Time) -> bool {
        self.stated && self.active_at < now && now.since(self.active_at) <= AFTERMATH
    }
}

/// All incidents of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    list: Vec<Tracked>,
    /// Incidents that were dropped because there were too many.
    pub dropped: u64,
}

impl Incidents {
    /// Oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Incident> {
        self.list.iter().map(|t| &t.incident)
    }

    /// The next moment at which something happens by itself.
    pub fn next_due(&self, explanation: &Explanation, now: Time) -> Option<Time> {
        let resolve = self.list.iter().filter_map(|t| t.well_since).map(|w| w.plus(HEALTH));
        let unknown = explanation.unexplained.iter().map(|s| s.counts_from.plus(UNKNOWN_AFTER));
        resolve.chain(unknown).filter(|t| *t > now).min()
    }

    /// Brings the incidents up to date; returns which ones changed, and how.
    pub fn update(&mut self, view: &View, cluster: &str, explanation: &Explanation) -> Vec<(Id, Transition)> {
        let now = view.now;
        let mut done: Vec<(Id, Transition)> = Vec::new();
        let mut touched: BTreeSet<Id> = BTreeSet::new();
        for root in &explanation.roots {
            let home = view.world.workload_of(&root.hypothesis.root);
            if self.is_aftermath_of_another(root, &home, now) {
                continue;
            }
            let matches = self.matching(root, &home, explanation, view);
            let cause = root_cause(view, root);
            let severity = severity(view, root);
            let symptoms = root.symptoms.iter().map(of_symptom).collect::<Vec<_>>();
            let Some(&first) = matches.first() else {
                let incident = Incident {
                    id: Id::of("incident", &[cluster, &home.to_string(), root.hypothesis.mechanism, &now.to_string()]),
                    state: IncidentState::Open,
                    severity,
                    opened_at: now,
                    since: root.hypothesis.since.min(now),
                    updated_at: now,
                    resolved_at: None,
                    explained_at: None,
                    root_cause: Some(cause),
                    symptoms: bounded(symptoms),
                };
                let objects =
                    root.symptoms.iter().map(|s| s.object.clone()).chain([root.hypothesis.root.clone()]).collect();
                touched.insert(incident.id);
                done.push((incident.id, Transition::Opened));
                self.list.push(Tracked {
                    incident,
                    home: Some(home),
                    objects,
                    well_since: None,
                    reached: root.reach.keys().cloned().collect(),
                    stated: root.hypothesis.proof == Proof::Stated,
                    active_at: now,
                });
                continue;
            };
            // Later ones that turn out to be the same fold into the first.
            for &i in matches[1..].iter().rev() {
                if touched.contains(&self.list[i].incident.id) {
                    continue;
                }
                let other = self.list.remove(i);
                done.push((other.incident.id, Transition::Merged));
                let t = &mut self.list[first];
                t.objects.extend(other.objects);
                t.incident.symptoms = bounded(t.incident.symptoms.drain(..).chain(other.incident.symptoms).collect());
                t.incident.since = t.incident.since.min(other.incident.since);
            }
            let t = &mut self.list[first];
            let reopened = t.incident.state == IncidentState::Resolved;
            let before = t.incident.clone();
            if t.incident.root_cause.is_none() {
                t.incident.explained_at = Some(now);
            }
            t.incident.state = IncidentState::Open;
            t.incident.resolved_at = None;
            t.incident.severity = t.incident.severity.max(severity);
            // A cause gives way to one further up or with more evidence; not to what is only left while things heal.
            let yields = t.incident.root_cause.as_ref().is_none_or(|old| {
                old.object == cause.object || root.reach.contains_key(&old.object) || cause.confidence > old.confidence
            });
            if yields {
                t.incident.root_cause = Some(cause);
                t.stated = root.hypothesis.proof == Proof::Stated;
                t.reached = root.reach.keys().cloned().collect();
                t.home = Some(home);
                t.active_at = now;
            }
            t.incident.symptoms = merged(&t.incident.symptoms, symptoms);
            t.objects.extend(root.symptoms.iter().map(|s| s.object.clone()));
            t.objects.insert(root.hypothesis.root.clone());
            t.well_since = None;
            touched.insert(t.incident.id);
            if differs(&before, &t.incident) {
                t.incident.updated_at = now;
                done.push((t.incident.id, if reopened { Transition::Opened } else { Transition::Updated }));
            }
        }
        self.unknowns(view, cluster, explanation, &mut touched, &mut done);
        self.health(view, explanation, &touched, &mut done);
        self.bound();
        done
    }

    /// Whether a residual cause is only what is left of another cause that has just gone.
    fn is_aftermath_of_another(&self, root: &Root, home: &ObjectRef, now: Time) -> bool {
        root.hypothesis.proof == Proof::Residual
            && self.list.iter().any(|t| {
                t.is_aftermath(now)
                    && t.home.as_ref() != Some(home)
                    && root.symptoms.iter().all(|s| t.reached.contains(&s.object))
            })
    }

    /// Incidents that this root is the cause of, the oldest first: the same root; or what they were opened for is now
    /// explained by it.
    fn matching(&self, root: &Root, home: &ObjectRef, explanation: &Explanation, view: &View) -> Vec<usize> {
        let still_own = |t: &Tracked| {
            explanation
                .roots
                .iter()
                .any(|r| !std::ptr::eq(r, root) && t.home.as_ref() == Some(&view.world.workload_of(&r.hypothesis.root)))
        };
        let recent = |t: &Tracked| match t.incident.resolved_at {
            Some(at) => view.now.since(at) <= REOPEN,
            None => true,
        };
        let mut out: Vec<usize> = Vec::new();
        for (i, t) in self.list.iter().enumerate().filter(|(_, t)| recent(t)) {
            let same = t.home.as_ref() == Some(home);
            let open = t.incident.state == IncidentState::Open;
            let explained = open
                && !still_own(t)
                && (t.home.as_ref().is_some_and(|h| root.reach.contains_key(h))
                    || t.incident.root_cause.as_ref().is_some_and(|c| root.reach.contains_key(&c.object))
                    || t.objects.iter().any(|o| root.reach.contains_key(o) && o.kind != "Node"));
            if same || explained {
                out.push(i);
            }
        }
        // An open incident comes before one that is over.
        out.sort_by_key(|i| {
            (self.list[*i].incident.state == IncidentState::Resolved, self.list[*i].incident.opened_at, *i)
        });
        if out.first().is_some_and(|i| self.list[*i].incident.state == IncidentState::Open) {
            out.retain(|i| self.list[*i].incident.state == IncidentState::Open);
        } else {
            out.truncate(1);
        }
        out
    }

    /// Symptoms that nothing explains and that last: one incident per workload, without a cause.
    fn unknowns(
        &mut self,
        view: &View,
        cluster: &str,
        explanation: &Explanation,
        touched: &mut BTreeSet<Id>,
        done: &mut Vec<(Id, Transition)>,
    ) {
        let mut groups: BTreeMap<ObjectRef, Vec<&symptom::Symptom>> = BTreeMap::new();
        for s in explanation
            .unexplained
            .iter()
            // Who reads incidents has the alert already; repeating it without a cause would be one more.
            .filter(|s| s.trouble != symptom::Trouble::Alert)
            .filter(|s| !self.list.iter().any(|t| t.is_aftermath(view.now) && t.reached.contains(&s.object)))
        {
            groups.entry(view.world.workload_of(&s.object)).or_default().push(s);
        }
        for (home, list) in groups {
            let known = self.list.iter_mut().find(|t| {
                t.incident.state == IncidentState::Open
                    && (t.home.as_ref() == Some(&home)
                        || list.iter().any(|s| t.objects.contains(&s.object))
                        || t.objects.contains(&home))
            });
            if let Some(t) = known {
                let before = t.incident.symptoms.len();
                t.incident.symptoms = merged(&t.incident.symptoms, list.iter().map(|s| of_symptom(s)).collect());
                t.objects.extend(list.iter().map(|s| s.object.clone()));
                t.well_since = None;
                if t.incident.symptoms.len() != before && touched.insert(t.incident.id) {
                    t.incident.updated_at = view.now;
                    done.push((t.incident.id, Transition::Updated));
                }
                touched.insert(t.incident.id);
                continue;
            }
            let lasting: Vec<&&symptom::Symptom> =
                list.iter().filter(|s| view.now.since(s.counts_from) >= UNKNOWN_AFTER).collect();
            if lasting.is_empty() {
                continue;
            }
            let since = list.iter().map(|s| s.since).min().unwrap_or(view.now);
            let incident = Incident {
                id: Id::of("incident", &[cluster, &home.to_string(), "unknown", &view.now.to_string()]),
                state: IncidentState::Open,
                severity: Severity::Medium,
                opened_at: view.now,
                since,
                updated_at: view.now,
                resolved_at: None,
                explained_at: None,
                root_cause: None,
                symptoms: bounded(list.iter().map(|s| of_symptom(s)).collect()),
            };
            touched.insert(incident.id);
            done.push((incident.id, Transition::Opened));
            let objects = list.iter().map(|s| s.object.clone()).chain([home]).collect();
            self.list.push(Tracked {
                incident,
                home: None,
                objects,
                well_since: None,
                reached: BTreeSet::new(),
                stated: false,
                active_at: view.now,
            });
        }
    }

    /// Incidents of which nothing is wrong any more: over after half a minute of health.
    fn health(
        &mut self,
        view: &View,
        explanation: &Explanation,
        touched: &BTreeSet<Id>,
        done: &mut Vec<(Id, Transition)>,
    ) {
        let sick: BTreeSet<&ObjectRef> = explanation
            .roots
            .iter()
            .flat_map(|r| &r.symptoms)
            .chain(&explanation.unexplained)
            .map(|s| &s.object)
            .collect();
        for t in self.list.iter_mut().filter(|t| t.incident.state == IncidentState::Open) {
            if touched.contains(&t.incident.id) {
                continue;
            }
            // A stated cause that is gone is over, even while what it had hit still recovers.
            if t.objects.iter().any(|o| sick.contains(o)) && !t.is_aftermath(view.now) {
                t.well_since = None;
                continue;
            }
            let since = *t.well_since.get_or_insert(view.now);
            if view.now.since(since) >= HEALTH {
                t.incident.state = IncidentState::Resolved;
                t.incident.resolved_at = Some(since);
                t.incident.updated_at = view.now;
                t.well_since = None;
                done.push((t.incident.id, Transition::Resolved));
            }
        }
    }

    fn bound(&mut self) {
        while self.list.len() > MAX_INCIDENTS {
            let oldest = self.list.iter().position(|t| t.incident.state == IncidentState::Resolved).unwrap_or(0);
            self.list.remove(oldest);
            self.dropped += 1;
        }
    }
}

fn of_symptom(s: &symptom::Symptom) -> Symptom {
    Symptom { object: s.object.clone(), says: s.says.clone(), at: s.since }
}

fn bounded(mut list: Vec<Symptom>) -> Vec<Symptom> {
    list.sort_by(|a, b| (a.at, &a.object, &a.says).cmp(&(b.at, &b.object, &b.says)));
    list.truncate(MAX_SYMPTOMS);
    list
}

/// Symptoms of now, and those of before of objects that are well again; one per object and beginning of its text.
fn merged(old: &[Symptom], new: Vec<Symptom>) -> Vec<Symptom> {
    let fresh: BTreeSet<ObjectRef> = new.iter().map(|s| s.object.clone()).collect();
    let kept = old.iter().filter(|s| !fresh.contains(&s.object)).cloned();
    bounded(kept.chain(new).collect())
}

fn differs(a: &Incident, b: &Incident) -> bool {
    let cause = |i: &Incident| i.root_cause.as_ref().map(|c: &RootCause| (c.object.clone(), c.mechanism.clone()));
    let objects = |i: &Incident| i.symptoms.iter().map(|s| s.object.clone()).collect::<BTreeSet<_>>();
    a.state != b.state || a.severity != b.severity || cause(a) != cause(b) || objects(a) != objects(b)
}

/// How bad a root is: people notice a Service without pods or a node; else something fails.
fn severity(view: &View, root: &Root) -> Severity {
    let outage = root
        .symptoms
        .iter()
        .any(|s| matches!(s.trouble, Trouble::NoEndpoints | Trouble::Unreachable | Trouble::NodeNotReady));
    let all_down = root.symptoms.iter().any(|s| {
        let home = view.world.workload_of(&s.object);
        home != s.object && view.pods_of(&home).all(|p| !p.pod.is_ready())
    });
    if outage {
        Severity::Critical
    } else if all_down {
        Severity::High
    } else {
        Severity::Medium
    }
}
