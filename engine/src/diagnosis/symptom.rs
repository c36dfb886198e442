//! Symptoms: unhealthy states of objects, with a beginning and the moment from which they count.
//!
//! What a start, rollout, drain or controller in progress explains is none: every symptom has a hold, the time that a
//! healthy object needs to leave the state by itself.

use tapio_core::object::{Body, ObjectRef};
use tapio_core::time::{SECOND, Time};

use super::view::{ContainerFacts, PodFacts, View, shorten};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The scheduler found no node.
    Unscheduled,
    /// No scheduler looked at the pod.
    NotLookedAt,
    /// The image cannot be had.
    ImagePull,
    /// What the container refers to is not there.
    ConfigError,
    /// The container cannot be created or started.
    StartError,
    /// The container ends again and again.
    Crashing,
    /// It was killed for memory.
    OomKilled,
    /// It was killed by the kubelet because of a probe.
    ProbeKilled,
    /// A lifecycle hook fails.
    HookFailed,
    /// It runs and is not ready.
    Unready,
    /// Volumes cannot be mounted.
    VolumesPending,
    /// The sandbox or its network cannot be made.
    SandboxFailed,
    /// An init container runs and does not end.
    InitStuck,
    /// It was evicted.
    Evicted,
    /// It does not go away.
    Terminating,
    /// A controller cannot create pods.
    FailedCreate,
    /// A rollout makes no progress.
    RolloutStuck,
    /// A Service has no ready pod.
    NoEndpoints,
    /// A Service's address does not answer.
    Unreachable,
    /// A claim is not bound.
    ClaimPending,
    /// A node is not ready.
    NodeNotReady,
    /// A service of a node does not run.
    NodeService,
    /// A Job failed.
    JobFailed,
    /// A container logs errors although it runs and is ready.
    LogErrors,
    /// An alert fires.
    Alert,
}

/// A symptom of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Symptom {
    /// Which object.
    pub object: ObjectRef,
    /// What is wrong.
    pub trouble: Trouble,
    /// Which container, if one is meant.
    pub container: Option<String>,
    /// One sentence.
    pub says: String,
    /// Since when.
    pub since: Time,
    /// When it begins to count. One that never does by itself ([`Trouble::LogErrors`]) still leads
    /// mechanisms to what they look for.
    pub counts_from: Time,
}

impl Symptom {
    /// Whether a container runs badly or logs that it does: what a fault outside of it would look like.
    pub fn is_failing_container(&self) -> bool {
        matches!(
            self.trouble,
            Trouble::Unready | Trouble::Crashing | Trouble::LogErrors | Trouble::ProbeKilled | Trouble::InitStuck
        )
    }

    /// Whether it counts at `now`.
    pub fn counts(&self, now: Time) -> bool {
        self.counts_from <= now
    }
}

/// Time after which a state is no passing one, seconds.
mod hold {
    /// A scheduler that finds no node now may find one when another pod has gone.
    pub(super) const UNSCHEDULED: i64 = 2;
    /// A scheduler needs well under a second to look at a pod.
    pub(super) const NOT_LOOKED_AT: i64 = 8;
    /// One failed pull is often repeated with success.
    pub(super) const IMAGE: i64 = 2;
    /// ConfigMap and workload are often applied together, in any order.
    pub(super) const CONFIG: i64 = 3;
    /// One crash is a start-up race; after this without recovery it is none.
    pub(super) const CRASH: i64 = 8;
    /// One failed mount is often repeated with success.
    pub(super) const VOLUME: i64 = 10;
    /// A readiness probe may fail once or twice.
    pub(super) const UNREADY: i64 = 8;
    /// Endpoints follow pods with a delay.
    pub(super) const SERVICE: i64 = 6;
    /// Binding needs a moment.
    pub(super) const CLAIM: i64 = 4;
}

/// Every symptom in the view, in object order. Those that do not count yet are included.
pub fn symptoms(view: &View) -> Vec<Symptom> {
    let mut out = Vec::new();
    for p in view.pods.values() {
        of_pod(view, p, &mut out);
    }
    of_workloads(view, &mut out);
    of_services(view, &mut out);
    of_claims(view, &mut out);
    of_nodes(view, &mut out);
    of_alerts(view, &mut out);
    out.sort_by(|a, b| {
        (&a.object, a.trouble, &a.container, a.since).cmp(&(&b.object, b.trouble, &b.container, b.since))
    });
    out
}

fn of_pod(view: &View, p: &PodFacts, out: &mut Vec<Symptom>) {
    if p.object.meta.annotations.contains_key("dump/partial") {
        return;
    }
    let mut add = |trouble, container: Option<&str>, says: String, since: Time, hold: i64| {
        out.push(Symptom {
            object: p.key().clone(),
            trouble,
            container: container.map(str::to_owned),
            says,
            since,
            counts_from: since.plus(hold * SECOND),
        });
    };
    let name = p.key();
    if let Some(leaving) = *p.object.meta.deletion_timestamp {
        // deletionTimestamp is the end of the grace period; a node that is gone keeps its pods for ever, which is the
        // node's trouble.
        if leaving < view.now {
            add(Trouble::Terminating, None, format!("{name} should have gone and is still there"), leaving, 5);
        }
        return;
    }
    // A polite program ends an eviction with exit 0 and phase Succeeded; then only the Event tells.
    let evicted = p.notes(&["Evicted"]).next_back().filter(|n| p.pod.is_finished() && view.age(n.last) < 1_800);
    if let Some(n) = evicted {
        add(Trouble::Evicted, None, format!("{name} was evicted: {}", shorten(&n.message, 300)), n.first, 0);
        return;
    }
    if p.pod.status.reason == "Evicted" {
        let text = shorten(&p.pod.status.message, 300);
        add(Trouble::Evicted, None, format!("{name} was evicted: {text}"), p.entry.updated.min(view.now), 0);
        return;
    }
    if p.pod.is_finished() {
        return;
    }
    if p.pod.spec.node_name.is_empty() {
        if let Some(c) = p.pod.condition("PodScheduled").filter(|c| c.status == "False") {
            if c.reason == "Unschedulable" {
                let since = c.last_transition_time.unwrap_or_else(|| p.created());
                let says = format!("{name} has no node: {}", shorten(&c.message, 300));
                add(Trouble::Unscheduled, None, says, since, hold::UNSCHEDULED);
            }
        } else if p.pod.condition("PodScheduled").is_none() && p.pod.status.phase != "Running" {
            let says = format!("{name} waits and no scheduler has looked at it");
            add(Trouble::NotLookedAt, None, says, p.created(), hold::NOT_LOOKED_AT);
        }
        return;
    }
    for c in &p.containers {
        of_container(view, p, c, &mut add);
    }
    // Before any container exists there is only what the kubelet says.
    let creating = p.containers.iter().all(|c| matches!(c.waiting(), "ContainerCreating" | "PodInitializing" | ""))
        && p.containers.iter().any(|c| matches!(c.waiting(), "ContainerCreating" | "PodInitializing"))
        || (p.containers.is_empty() && p.pod.status.phase == "Pending");
    if creating {
        if let Some(n) = p.notes(&["FailedMount", "FailedAttachVolume", "FailedMapVolume"]).last() {
            let says = format!("{name} waits for its volumes: {}", shorten(&n.message, 300));
            add(Trouble::VolumesPending, None, says, n.first.max(p.created()), hold::VOLUME);
        }
        if let Some(n) = p.notes(&["FailedCreatePodSandBox", "NetworkNotReady", "FailedPodSandBoxStatus"]).last() {
            let says = format!("{name} cannot be set up: {}", shorten(&n.message, 300));
            add(Trouble::SandboxFailed, None, says, n.first.max(p.created()), hold::VOLUME);
        }
    }
    of_readiness(view, p, &mut add);
    if let Some(l) = super::logs::telling(p, None).filter(|l| !matches!(l.class, super::logs::Class::Other)) {
        let says = format!("container {} of {name} logs errors: {}", l.container, shorten(l.text.trim(), 200));
        out.push(Symptom {
            object: p.key().clone(),
            trouble: Trouble::LogErrors,
            container: Some(l.container.to_owned()),
            says,
            since: l.at,
            counts_from: Time::MAX,
        });
    }
}

type Add<'a> = &'a mut dyn FnMut(Trouble, Option<&str>, String, Time, i64);

fn of_container(view: &View, p: &PodFacts, c: &ContainerFacts, add: Add) {
    let name = p.key();
    let who = format!("container {} of {name}", c.name());
    let since = || {
        let note = p.entry.history.notes.iter().filter(|n| n.warning && n.container.as_deref() == Some(c.name()));
        note.map(|n| n.first).filter(|t| *t >= p.created()).min().unwrap_or_else(|| p.created())
    };
    match c.waiting() {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => {
            let says = format!("{who} has no image: {}", shorten(c.waiting_message(), 300));
            add(Trouble::ImagePull, Some(c.name()), says, since(), hold::IMAGE);
        }
        "CreateContainerConfigError" => {
            let says = format!("{who} cannot be configured: {}", shorten(c.waiting_message(), 300));
            add(Trouble::ConfigError, Some(c.name()), says, since(), hold::CONFIG);
        }
        "CreateContainerError" | "RunContainerError" | "StartError" => {
            let says = format!("{who} cannot be started: {}", shorten(c.waiting_message(), 300));
            add(Trouble::StartError, Some(c.name()), says, since(), hold::CONFIG);
        }
        "PostStartHookError" | "PreStartHookError" => {
            let says = format!("hook of {who} fails: {}", shorten(c.waiting_message(), 300));
            add(Trouble::HookFailed, Some(c.name()), says, since(), hold::CONFIG);
        }
        _ => {}
    }
    let exit = c.last_exit();
    let hook = p.notes(&["FailedPostStartHook"]).rfind(|n| n.container.as_deref().is_none_or(|x| x == c.name()));
    if let Some(n) = hook.filter(|n| view.age(n.last) < 600 && n.first >= p.created()) {
        add(
            Trouble::HookFailed,
            Some(c.name()),
            format!("hook of {who} fails: {}", shorten(&n.message, 300)),
            n.first,
            3,
        );
    }
    let Some(t) = exit else {
        if c.init && c.is_running() {
            let since = c.running_since().unwrap_or_else(|| p.created());
            add(Trouble::InitStuck, Some(c.name()), format!("init {who} has not ended"), since, 60);
        }
        return;
    };
    // An end is trouble if it was a bad one, or if the container should not end at all.
    let keeps_running = p.pod.spec.restart_policy != "Never" && p.pod.spec.restart_policy != "OnFailure";
    let bad = t.exit_code != 0 || (keeps_running && !c.init) || t.reason == "OOMKilled";
    let ended = t.finished_at.unwrap_or_else(|| p.created());
    let back = c.waiting() == "CrashLoopBackOff";
    // A container that has run longer than the back-off reset since is well again.
    let well = c.running_since().is_some_and(|s| view.age(s) >= 600) || view.age(ended) >= 1_200 && !back;
    if !bad || well {
        return;
    }
    let runs = c.status.restart_count + i64::from(c.status.state.terminated.is_some());
    let job = matches!(p.workload.kind.as_str(), "Job" | "CronJob");
    let liveness = p
        .notes(&["Killing"])
        .rfind(|n| n.message.contains("failed liveness probe") || n.message.contains("failed startup probe"))
        .filter(|n| n.container.as_deref().is_none_or(|x| x == c.name()));
    let first_end = p.entry.history.exits.get(c.name()).and_then(|x| x.iter().find_map(|e| e.finished));
    let since = first_end.unwrap_or(ended).min(ended);
    if let Some(n) = liveness.filter(|n| ended.since(n.last) < 120 * SECOND && n.last >= p.created()) {
        // One kill may be a hiccup; two are a rule.
        let hold = if c.status.restart_count >= 2 || back { 0 } else { 15 };
        let says = format!("{who} is killed by its probe again and again ({} restarts)", c.status.restart_count);
        add(Trouble::ProbeKilled, Some(c.name()), says, n.first, hold);
        return;
    }
    let healthy_again = c.is_running() && c.status.ready;
    // Ready for longer than a minute, and for twice as long as it lived before: what it waited for has come.
    let lived = (*t.finished_at).zip(*t.started_at).map_or(0, |(f, s)| f.since(s) / SECOND);
    if healthy_again && c.running_since().is_some_and(|s| view.age(s) >= 60.max(2 * lived)) {
        return;
    }
    if t.reason == "OOMKilled" {
        let says = format!("{who} was killed for memory ({runs}×)");
        add(Trouble::OomKilled, Some(c.name()), says, since, if runs >= 2 { 0 } else { 2 });
        return;
    }
    let hold = match (back, runs, healthy_again) {
        (true, 2.., _) => 0,
        (_, 2.., false) => 2,
        (_, 3.., true) => 0,
        // Two ends and well now: start-up order, unless it ends once more.
        (_, _, true) => 3_600,
        _ => hold::CRASH,
    };
    let hold = if job { hold.max(30) } else { hold };
    let how = if t.reason.is_empty() { String::new() } else { format!(", {}", t.reason) };
    let says = format!("{who} ends with exit code {}{how} ({runs}×)", t.exit_code);
    add(Trouble::Crashing, Some(c.name()), says, since, hold);
}

fn of_readiness(view: &View, p: &PodFacts, add: Add) {
    let Some(since) = p.unready_since() else { return };
    let main: Vec<&ContainerFacts> = p.containers.iter().filter(|c| !c.init).collect();
    let all_run = !main.is_empty() && main.iter().all(|c| c.is_running());
    if !all_run {
        return;
    }
    let unready = main.iter().find(|c| !c.status.ready);
    let spec = unready.and_then(|c| c.spec);
    let started = main.iter().filter_map(|c| c.running_since()).max().unwrap_or(since);
    // While the startup probe has not passed, its whole budget is a start; after that the readiness probe's first tries.
    let starting = unready.is_some_and(|c| c.status.started == Some(false));
    let patience = |p: &tapio_core::object::Probe, most: i64| {
        let failures = p.failure_threshold.unwrap_or(3).clamp(1, most);
        p.initial_delay_seconds.unwrap_or(0) + p.period_seconds.unwrap_or(10) * failures
    };
    let grace = match spec.map(|s| (s.startup_probe.as_ref(), s.readiness_probe.as_ref())) {
        Some((Some(p), _)) if starting => patience(p, i64::from(u16::MAX)),
        Some((_, Some(p))) => patience(p, 6) - p.period_seconds.unwrap_or(10),
        _ => 0,
    };
    let fresh = started >= since.plus(-2 * SECOND);
    // The readiness probe begins when the startup probe has passed; nobody says when, so the last word of the pod stands.
    let passed = (fresh && !starting && spec.is_some_and(|s| s.startup_probe.is_some())).then_some(p.entry.updated);
    let since = since.max(started).max(passed.unwrap_or(started));
    let failing = p
        .notes(&["Unhealthy"])
        .rfind(|n| n.message.starts_with("Readiness") || n.message.starts_with("Startup"))
        .filter(|n| n.last >= since.plus(-60 * SECOND));
    let text = failing.map(|n| format!(": {}", shorten(&n.message, 300))).unwrap_or_default();
    let hold = if fresh { grace + hold::UNREADY } else { hold::UNREADY };
    let who = unready.map_or_else(|| p.key().to_string(), |c| format!("container {} of {}", c.name(), p.key()));
    add(Trouble::Unready, unready.map(|c| c.name()), format!("{who} runs and is not ready{text}"), since, hold);
    let _ = view;
}

fn of_workloads(view: &View, out: &mut Vec<Symptom>) {
    for kind in ["ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"] {
        for entry in view.world.entries(kind) {
            let Some(o) = entry.live() else { continue };
            let short = match &o.body {
                Body::Workload(w) => {
                    let have = if kind == "DaemonSet" { w.status.current_number_scheduled } else { w.status.replicas };
                    w.desired(kind) > have
                }
                Body::Job(j) => j.status.active + j.status.succeeded + j.status.failed == 0 && !j.spec.suspend,
                _ => false,
            };
            let refused = entry.history.notes.iter().rfind(|n| n.reason == "FailedCreate");
            if let Some(n) = refused.filter(|n| short && view.age(n.last) < 1_800) {
                out.push(Symptom {
                    object: o.key.clone(),
                    trouble: Trouble::FailedCreate,
                    container: None,
                    says: format!("{} cannot create pods: {}", o.key, shorten(&n.message, 300)),
                    since: n.first,
                    counts_from: n.first.plus(2 * SECOND),
                });
            }
            if let Body::Job(j) = &o.body
                && let Some(c) = j.status.conditions.iter().find(|c| c.is("Failed", "True"))
            {
                let since = c.last_transition_time.unwrap_or(entry.updated);
                if view.age(since) < 3_600 {
                    out.push(Symptom {
                        object: o.key.clone(),
                        trouble: Trouble::JobFailed,
                        container: None,
                        says: format!("{} failed: {}", o.key, shorten(&c.message, 200)),
                        since,
                        counts_from: since,
                    });
                }
            }
        }
    }
}

fn of_services(view: &View, out: &mut Vec<Symptom>) {
    for s in view.services.values() {
        let entry = view.world.entry(&s.object.key);
        if s.ready == 0 {
            // Since the last of its pods was ready, or since it exists.
            let pods = s.pods.iter().filter_map(|k| view.pods.get(k)).filter_map(PodFacts::unready_since).max();
            let changed = view.changes(&s.object.key).last().map(|c| c.at);
            let created = s.object.meta.creation_timestamp.unwrap_or(view.now);
            let since = pods.max(changed).unwrap_or(created);
            let says = match s.pods.len() {
                0 => format!("{} selects no pod", s.object.key),
                n => format!("{} has no ready pod ({n} unready)", s.object.key),
            };
            out.push(Symptom {
                object: s.object.key.clone(),
                trouble: Trouble::NoEndpoints,
                container: None,
                says,
                since,
                counts_from: since.plus(hold::SERVICE * SECOND),
            });
        }
        for r in entry.into_iter().flat_map(|e| e.history.probes.values()).filter(|r| !r.ok) {
            out.push(Symptom {
                object: s.object.key.clone(),
                trouble: Trouble::Unreachable,
                container: None,
                says: format!("{} port {} does not answer: {}", s.object.key, r.port, shorten(&r.says, 160)),
                since: r.at,
                counts_from: r.at,
            });
        }
    }
}

fn of_claims(view: &View, out: &mut Vec<Symptom>) {
    for entry in view.world.entries("PersistentVolumeClaim") {
        let Some(o) = entry.live() else { continue };
        let Body::Claim(c) = &o.body else { continue };
        if c.status.phase != "Pending" {
            continue;
        }
        // A claim that waits for its first consumer, and has none, is at rest.
        let users = view.world.into(&o.key, Relation::Claims).iter().filter(|e| e.is_live()).count();
        let waits = entry.history.notes.iter().any(|n| n.reason == "WaitForFirstConsumer");
        let bad =
            entry.history.notes.iter().any(|n| matches!(n.reason.as_str(), "FailedBinding" | "ProvisioningFailed"));
        if users == 0 && waits && !bad {
            continue;
        }
        let since = o.meta.creation_timestamp.unwrap_or(entry.first_seen);
        out.push(Symptom {
            object: o.key.clone(),
            trouble: Trouble::ClaimPending,
            container: None,
            says: format!("{} is not bound", o.key),
            since,
            counts_from: since.plus(hold::CLAIM * SECOND),
        });
    }
}

/// People or machines are told that something is bad; one symptom an object, however many alerts there are about it.
fn of_alerts(view: &View, out: &mut Vec<Symptom>) {
    for list in view.alerts.chunk_by(|a, b| a.0 == b.0) {
        let Some((object, first)) = list.iter().min_by_key(|(_, f)| f.since) else { continue };
        let more = if list.len() > 1 { format!(" (and {} more)", list.len() - 1) } else { String::new() };
        out.push(Symptom {
            object: (*object).clone(),
            trouble: Trouble::Alert,
            container: None,
            says: format!("alert {}{more}: {}", first.name, shorten(&first.says, 200)),
            since: first.since,
            counts_from: first.since,
        });
    }
}

fn of_nodes(view: &View, out: &mut Vec<Symptom>) {
    for entry in view.world.entries("Node") {
        let Some(o) = entry.live() else { continue };
        let Some(n) = o.as_node() else { continue };
        if let Some(c) = n.condition("Ready").filter(|c| c.status != "True") {
            let since = c.last_transition_time.unwrap_or(entry.updated);
            out.push(Symptom {
                object: o.key.clone(),
                trouble: Trouble::NodeNotReady,
                container: None,
                says: format!("{} is not ready: {} {}", o.key, c.reason, shorten(&c.message, 200)),
                since,
                counts_from: since,
            });
        }
        for (service, s) in entry.history.services.iter().filter(|(_, s)| !s.running) {
            out.push(Symptom {
                object: o.key.clone(),
                trouble: Trouble::NodeService,
                container: None,
                says: format!("{service} does not run on {}: {}", o.key, shorten(&s.says, 160)),
                since: s.at,
                counts_from: s.at,
            });
        }
    }
}

use tapio_core::ontology::Relation;
