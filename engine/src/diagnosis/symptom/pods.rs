//! Pods: no node, no image, no volume, no life, no readiness.

use tapio_core::time::{SECOND, Time};

use super::{Symptom, Trouble, hold};
use crate::diagnosis::logs;
use crate::diagnosis::view::{ContainerFacts, PodFacts, View, shorten};

pub(super) fn of_pod(view: &View, p: &PodFacts, out: &mut Vec<Symptom>) {
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
        // What is left of an evicted pod stays until somebody deletes it; an old one is history.
        let since = p.pod.status.conditions.iter().filter_map(|c| *c.last_transition_time).max();
        let since = since.unwrap_or(p.entry.updated).min(view.now);
        if view.age(since) < 3_600 {
            let text = shorten(&p.pod.status.message, 300);
            add(Trouble::Evicted, None, format!("{name} was evicted: {text}"), since, 0);
        }
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
                // A place was made for it, and those who had it are still leaving.
                let promised = !p.pod.status.nominated_node_name.is_empty();
                let hold = match promised {
                    true => hold::PROMISED,
                    false if of_cordons(view, &c.message) && within_budget(view, p) => hold::MAINTENANCE,
                    false => hold::UNSCHEDULED,
                };
                add(Trouble::Unscheduled, None, says, since, hold);
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
    if let Some(l) = logs::telling(p, None).filter(|l| !matches!(l.class, logs::Class::Other)) {
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

/// Whether the scheduler speaks of cordoned nodes. A cordon is a taint, too, which comes and goes a moment later.
fn of_cordons(view: &View, message: &str) -> bool {
    let cordoned = || {
        let word = |c: &crate::world::history::Changed| c.change.field.contains("unschedulable") && view.age(c.at) < 60;
        view.world.entries("Node").any(|e| {
            e.live().and_then(|o| o.as_node()).is_some_and(|n| n.spec.unschedulable)
                || e.history.changes.iter().any(word)
        })
    };
    message.contains("were unschedulable") || message.contains("had untolerated taint") && cordoned()
}

/// Whether a budget says how many pods of this kind are needed, and as many are there.
fn within_budget(view: &View, p: &PodFacts) -> bool {
    view.budgets_over(p).any(|b| b.status.desired_healthy > 0 && b.status.current_healthy >= b.status.desired_healthy)
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
            add(Trouble::InitStuck, Some(c.name()), format!("init {who} has not ended"), since, hold::INIT);
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
        // Over, if the probe has not failed again since and the container is ready.
        let fails = |t: Time| {
            let mut notes = p.notes(&["Unhealthy"]).filter(|n| !n.message.starts_with("Readiness"));
            notes.any(|n| n.last >= t && n.container.as_deref().is_none_or(|x| x == c.name()))
        };
        let hold = match c.running_since().filter(|_| c.status.ready) {
            _ if c.status.restart_count >= 2 || back => 0,
            Some(t) if !fails(t) => 3_600,
            _ => 15,
        };
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
        // One that failed once and works now: it is given the time of one that has not failed.
        _ if c.init && c.is_running() => hold::INIT,
        _ => hold::CRASH,
    };
    let hold = if job { hold.max(30) } else { hold };
    let how = if t.reason.is_empty() { String::new() } else { format!(", {}", t.reason) };
    let says = format!("{who} ends with exit code {}{how} ({runs}×)", t.exit_code);
    add(Trouble::Crashing, Some(c.name()), says, since, hold);
}

fn of_readiness(view: &View, p: &PodFacts, add: Add) {
    let Some(since) = p.unready_since() else { return };
    // Its own word that it is ready may have been lost.
    if view.ready_since(p).is_some() {
        return;
    }
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
    // A start takes as long as the first tries of its probe, or as that of the others.
    let hold = if fresh { grace.max(view.slowest_start(p)) + hold::UNREADY } else { hold::UNREADY };
    let who = unready.map_or_else(|| p.key().to_string(), |c| format!("container {} of {}", c.name(), p.key()));
    add(Trouble::Unready, unready.map(|c| c.name()), format!("{who} runs and is not ready{text}"), since, hold);
}
