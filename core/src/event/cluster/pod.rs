//! What a pod's status means, container by container, told from what was known before.
//!
//! The cluster's watch and the kubelet see the same facts; both come through here, and a fact has one id whoever saw
//! it: restarts go by their number, ends by the number of the run that ended, waiting by reason and restart, phases by
//! the pod's uid, readiness by the time of its transition. Where a source knows no uid, its own time stands in.
//!
//! A **restart is a rise of `restartCount`** (or a new container under the same count) against what was known. At first
//! sight an old count is history and gives no restart; the state that the container is in gives its event.

use serde::{Deserialize, Serialize};

use crate::event::{about, fact};
use crate::id::IdBuilder;
use crate::object::{ContainerState, ContainerStatus, Meta, ObjectRef, Pod, PodStatus, Terminated};
use crate::raw::RawEvent;
use crate::time::Time;
use crate::unified::{EventKind, Severity, UnifiedEvent};

/// More restarts than this between two observations are told by their last ones only, so that a nonsensical count
/// cannot fill the memory.
const MOST_RESTARTS_AT_ONCE: i64 = 100;

/// A container as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerBefore {
    /// Its name.
    pub name: String,
    /// Its `restartCount`.
    pub restart_count: i64,
    /// Its `containerID`, `""` where nobody said.
    pub container_id: String,
    /// Why it waits; `""` if it does not.
    pub waiting: String,
    /// The number of the last run whose end is known; -1 if none.
    pub ended_run: i64,
}

/// A pod as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodBefore {
    /// Its uid, `""` where nobody said.
    pub uid: String,
    /// Its phase.
    pub phase: String,
    /// Whether it was ready; none if nobody said.
    pub ready: Option<bool>,
    /// Its containers of all roles.
    pub containers: Vec<ContainerBefore>,
}

impl ContainerBefore {
    /// What to remember of a container's status.
    pub fn of(c: &ContainerStatus) -> Self {
        ContainerBefore {
            name: c.name.clone(),
            restart_count: c.restart_count.max(0),
            container_id: c.container_id.clone(),
            waiting: c.state.waiting.as_ref().map(|w| w.reason.clone()).unwrap_or_default(),
            ended_run: ended_run(c).map_or(-1, |(run, _)| run),
        }
    }
}

impl PodBefore {
    /// What to remember of a pod.
    pub fn of(uid: &str, status: &PodStatus) -> Self {
        let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
        PodBefore {
            uid: uid.to_owned(),
            phase: status.phase.clone(),
            ready: status.conditions.iter().find(|c| c.r#type == "Ready").map(|c| c.status == "True"),
            containers: lists.into_iter().flatten().map(ContainerBefore::of).collect(),
        }
    }

    /// A container by name.
    pub fn container(&self, name: &str) -> Option<&ContainerBefore> {
        self.containers.iter().find(|c| c.name == name)
    }
}

/// What a container is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// One of the pod's own.
    #[default]
    Main,
    /// Runs to its end before the main ones start.
    Init,
    /// An init container that is kept running.
    Sidecar,
    /// Added to look into a running pod.
    Ephemeral,
}

impl Role {
    /// Its word, as a kubelet's report has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Main => "main",
            Role::Init => "init",
            Role::Sidecar => "sidecar",
            Role::Ephemeral => "ephemeral",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Role::Main => "container",
            Role::Init => "init container",
            Role::Sidecar => "sidecar container",
            Role::Ephemeral => "ephemeral container",
        }
    }
}

/// Readiness as it was said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ready<'a> {
    pub(crate) ready: bool,
    pub(crate) since: Option<Time>,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
}

/// A pod as it is now, from whichever source.
pub(crate) struct Now<'a> {
    pub(crate) key: &'a ObjectRef,
    pub(crate) uid: &'a str,
    pub(crate) node: &'a str,
    pub(crate) phase: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    pub(crate) created: Option<Time>,
    pub(crate) deleting: bool,
    pub(crate) ready: Option<Ready<'a>>,
    /// When and why the scheduler gave up, while the pod waits for a node.
    pub(crate) unschedulable: Option<&'a str>,
    pub(crate) containers: Vec<(&'a ContainerStatus, Role)>,
}

/// The events between an old and a new version of a pod; `old` is none at first sight.
pub fn changes(raw: &RawEvent, key: &ObjectRef, meta: &Meta, old: Option<&PodBefore>, new: &Pod) -> Vec<UnifiedEvent> {
    let s = &new.status;
    let init = s.init_container_statuses.iter().map(|c| {
        let role = if new.spec.is_sidecar(&c.name) { Role::Sidecar } else { Role::Init };
        (c, role)
    });
    let main = s.container_statuses.iter().map(|c| (c, Role::Main));
    let ephemeral = s.ephemeral_container_statuses.iter().map(|c| (c, Role::Ephemeral));
    let now = Now {
        key,
        uid: &meta.uid,
        node: &new.spec.node_name,
        phase: &s.phase,
        reason: &s.reason,
        message: &s.message,
        created: *meta.creation_timestamp,
        deleting: meta.deletion_timestamp.is_some(),
        ready: new.condition("Ready").map(|c| Ready {
            ready: c.status == "True",
            since: *c.last_transition_time,
            reason: &c.reason,
            message: &c.message,
        }),
        unschedulable: new.condition("PodScheduled").filter(|c| c.status == "False").map(|c| c.message.as_str()),
        containers: init.chain(main).chain(ephemeral).collect(),
    };
    now.events(raw, old)
}

impl Now<'_> {
    /// What is new against `old`.
    pub(crate) fn events(&self, raw: &RawEvent, old: Option<&PodBefore>) -> Vec<UnifiedEvent> {
        // A pod of the same name with another uid is another pod.
        let old = old.filter(|o| o.uid.is_empty() || self.uid.is_empty() || o.uid == self.uid);
        let mut told = Told {
            pod: self,
            raw,
            incarnation: match (self.uid, old) {
                ("", Some(o)) if !o.uid.is_empty() => o.uid.clone(),
                ("", _) => raw.timestamp.to_string(),
                (uid, _) => uid.to_owned(),
            },
            events: Vec::new(),
        };
        for (c, role) in &self.containers {
            told.container(c, *role, old.and_then(|o| o.container(&c.name)), old.is_some());
        }
        if old.is_none_or(|o| o.phase != self.phase) {
            told.phase();
        }
        told.readiness(old);
        told.events.sort_by_key(|e| e.timestamp);
        told.events
    }

    fn path(&self) -> String {
        self.key.path()
    }
}

/// The events told so far.
struct Told<'a> {
    pod: &'a Now<'a>,
    raw: &'a RawEvent,
    /// What tells this pod from its namesakes.
    incarnation: String,
    events: Vec<UnifiedEvent>,
}

impl Told<'_> {
    fn id(&self, kind: EventKind) -> IdBuilder {
        fact(self.raw, kind, self.pod.key).text(&self.incarnation)
    }

    fn add(
        &mut self,
        id: IdBuilder,
        kind: EventKind,
        at: Time,
        severity: Severity,
        message: String,
    ) -> &mut UnifiedEvent {
        let mut event = about(self.raw, id.finish(), kind, at, self.pod.key.clone(), self.pod.uid);
        event.severity = severity;
        event.message = message;
        if !self.pod.node.is_empty()
            && let Some(k8s) = &mut event.k8s
        {
            k8s.node = Some(self.pod.node.to_owned());
        }
        if self.pod.deleting {
            note(&mut event, "deleting", "true");
        }
        self.events.push(event);
        let last = self.events.len() - 1;
        &mut self.events[last]
    }

    fn container(&mut self, c: &ContainerStatus, role: Role, old: Option<&ContainerBefore>, pod_known: bool) {
        let count = c.restart_count.max(0);
        let who = format!("{} {} of pod {}", role.noun(), c.name, self.pod.path());
        // The first status of a container of a pod that was seen before: it has run `count` times since then.
        let known = old.map(|o| o.restart_count).or(pod_known.then_some(0));
        if let Some(known) = known {
            let first = (known + 1).max(count - MOST_RESTARTS_AT_ONCE + 1);
            for n in first..=count {
                self.restart(c, role, &who, n, None);
            }
            let replaced = |o: &&ContainerBefore| {
                count == o.restart_count && !o.container_id.is_empty() && o.container_id != c.container_id
            };
            if !c.container_id.is_empty() && old.filter(replaced).is_some() {
                self.restart(c, role, &who, count, Some(&c.container_id));
            }
        }
        let running = c.state.running.is_some();
        if let Some((run, end)) = ended_run(c)
            && old.map_or(!running || pod_known, |o| run > o.ended_run)
        {
            self.ended(c, role, &who, run, end);
        }
        if let Some(w) = &c.state.waiting
            && !matches!(w.reason.as_str(), "" | "ContainerCreating" | "PodInitializing")
            && old.is_none_or(|o| o.waiting != w.reason || o.restart_count != count)
        {
            let id = self.id(EventKind::PodWaiting).text(&c.name).text(&w.reason).number(count);
            let end = c.last_state.terminated.as_ref().filter(|_| w.reason == "CrashLoopBackOff");
            let at = end.and_then(|t| *t.finished_at).unwrap_or(self.raw.timestamp);
            let why = if w.message.is_empty() { String::new() } else { format!(": {}", short(&w.message)) };
            let message = format!("{who} waits in {}{why}", w.reason);
            let event = self.add(id, EventKind::PodWaiting, at, waiting_severity(&w.reason), message);
            note(event, "reason", &w.reason);
            note(event, "restart", &count.to_string());
            in_container(event, c, role);
        }
    }

    fn restart(&mut self, c: &ContainerStatus, role: Role, who: &str, n: i64, replaced: Option<&str>) {
        let id = self.id(EventKind::PodRestart).text(&c.name).number(n).text(replaced.unwrap_or(""));
        let at = run_start(c, n).unwrap_or(self.raw.timestamp);
        let end = run_end(c, n - 1);
        let why =
            end.map_or_else(String::new, |t| format!(" after exit code {}{}", t.exit_code, in_brackets(&t.reason)));
        let event =
            self.add(id, EventKind::PodRestart, at, Severity::Medium, format!("{who} restarted (restart {n}){why}"));
        note(event, "restart", &n.to_string());
        if let Some(t) = end {
            note(event, "reason", &t.reason);
            note(event, "exit_code", &t.exit_code.to_string());
        }
        in_container(event, c, role);
    }

    fn ended(&mut self, c: &ContainerStatus, role: Role, who: &str, run: i64, end: &Terminated) {
        let id = self.id(EventKind::ContainerTerminated).text(&c.name).number(run);
        let at = end.finished_at.unwrap_or(self.raw.timestamp);
        let severity = match (end.exit_code, end.reason.as_str()) {
            (_, "OOMKilled") => Severity::High,
            (0, _) if role == Role::Main => Severity::Low,
            (0, _) => Severity::Info,
            _ => Severity::Medium,
        };
        let signal = if end.signal == 0 { String::new() } else { format!(", signal {}", end.signal) };
        let message = format!("{who} ended with exit code {}{signal}{}", end.exit_code, in_brackets(&end.reason));
        let event = self.add(id, EventKind::ContainerTerminated, at, severity, message);
        note(event, "exit_code", &end.exit_code.to_string());
        note(event, "run", &run.to_string());
        note(event, "reason", &end.reason);
        if end.signal != 0 {
            note(event, "signal", &end.signal.to_string());
        }
        in_container(event, c, role);
    }

    fn phase(&mut self) {
        let pod = self.pod;
        let last_end =
            pod.containers.iter().filter_map(|(c, _)| ended_run(c)).filter_map(|(_, t)| *t.finished_at).max();
        let why = match (pod.reason, pod.message) {
            ("", "") => String::new(),
            ("", text) | (text, "") => format!(": {}", short(text)),
            (reason, text) => format!(": {reason}: {}", short(text)),
        };
        let (kind, at, severity, message) = match pod.phase {
            "Failed" => {
                let at = last_end.or(pod.ready.and_then(|r| r.since));
                (EventKind::PodFailed, at, Severity::High, format!("pod {} failed{why}", pod.path()))
            }
            "Succeeded" => {
                let at = last_end.or(pod.ready.and_then(|r| r.since));
                (EventKind::PodSucceeded, at, Severity::Info, format!("pod {} ran to its end{why}", pod.path()))
            }
            "Pending" => match pod.unschedulable {
                Some(text) => {
                    let message = format!("pod {} waits for a node: {}", pod.path(), short(text));
                    (EventKind::PodPending, pod.created, Severity::Medium, message)
                }
                None => {
                    (EventKind::PodPending, pod.created, Severity::Info, format!("pod {} is pending{why}", pod.path()))
                }
            },
            _ => return,
        };
        let id = self.id(kind);
        let event = self.add(id, kind, at.unwrap_or(self.raw.timestamp), severity, message);
        note(event, "reason", pod.reason);
    }

    fn readiness(&mut self, old: Option<&PodBefore>) {
        let pod = self.pod;
        let Some(r) = pod.ready else { return };
        // What ran to its end is told by its phase; what only starts has not stopped being ready.
        let stopped = match old {
            Some(o) => o.ready == Some(true),
            None => pod.phase == "Running",
        };
        let finished = matches!(pod.phase, "Succeeded" | "Failed");
        let news = if r.ready { old.is_none_or(|o| o.ready != Some(true)) } else { stopped && !finished };
        if news {
            self.ready_event(r);
        }
    }

    fn ready_event(&mut self, r: Ready<'_>) {
        let pod = self.pod;
        let at = r.since.unwrap_or(self.raw.timestamp);
        let why = match (r.message, r.reason) {
            ("", "") => String::new(),
            ("", text) | (text, _) => format!(": {}", short(text)),
        };
        let (kind, severity, message) = match (r.ready, pod.deleting) {
            (true, _) => (EventKind::PodReady, Severity::Info, format!("pod {} is ready", pod.path())),
            (false, true) => {
                (EventKind::PodUnready, Severity::Info, format!("pod {} is not ready, it is being deleted", pod.path()))
            }
            (false, false) => {
                (EventKind::PodUnready, Severity::Medium, format!("pod {} is not ready{why}", pod.path()))
            }
        };
        let id = self.id(kind).number(at.micros());
        let event = self.add(id, kind, at, severity, message);
        note(event, "reason", r.reason);
    }
}

/// The number of the last run that ended, and how. Run 0 is the first, run N the one after restart N.
fn ended_run(c: &ContainerStatus) -> Option<(i64, &Terminated)> {
    let count = c.restart_count.max(0);
    if let Some(t) = &c.state.terminated {
        return Some((count, t));
    }
    let last = c.last_state.terminated.as_ref()?;
    // While a container runs, its last state is the run before; while it waits, the run of this count.
    let run = if c.state.running.is_some() { count - 1 } else { count };
    (run >= 0).then_some((run, last))
}

fn run_end(c: &ContainerStatus, run: i64) -> Option<&Terminated> {
    let count = c.restart_count.max(0);
    match (&c.state.terminated, &c.last_state.terminated) {
        (Some(t), _) if run == count => Some(t),
        (Some(_), Some(t)) if run == count - 1 => Some(t),
        (None, Some(t)) => (ended_run(c)?.0 == run).then_some(t),
        _ => None,
    }
}

/// When a run began; of runs that nobody saw, the next one that was seen.
fn run_start(c: &ContainerStatus, run: i64) -> Option<Time> {
    let current = match &c.state {
        ContainerState { running: Some(r), .. } => *r.started_at,
        ContainerState { terminated: Some(t), .. } => *t.started_at,
        _ => None,
    };
    let last = c.last_state.terminated.as_ref().and_then(|t| *t.started_at);
    let waits = c.state.running.is_none() && c.state.terminated.is_none();
    match (run >= c.restart_count, waits) {
        (true, false) => current,
        (true, true) => last,
        (false, _) => last.or(current),
    }
}

fn waiting_severity(reason: &str) -> Severity {
    match reason {
        "CrashLoopBackOff"
        | "ImagePullBackOff"
        | "ErrImagePull"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "ImageInspectError"
        | "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "PreStartHookError"
        | "PostStartHookError" => Severity::High,
        _ => Severity::Medium,
    }
}

fn in_container(event: &mut UnifiedEvent, c: &ContainerStatus, role: Role) {
    if let Some(k8s) = &mut event.k8s {
        k8s.container = Some(c.name.clone());
    }
    note(event, "container", &c.name);
    if role != Role::Main {
        note(event, "role", role.as_str());
    }
}

fn note(event: &mut UnifiedEvent, key: &str, value: &str) {
    if !value.is_empty() {
        event.annotations.insert(key.to_owned(), value.to_owned());
    }
}

fn in_brackets(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

fn short(text: &str) -> &str {
    crate::event::shorten(text.trim(), 500)
}

#[cfg(test)]
mod tests;
