//! Containers that cannot start or do not live: memory, commands, variables, ports, hooks, crashes of their own.

use std::sync::LazyLock;

use regex::Regex;
use tapio_core::time::SECOND;

use super::{kubectl, manual, undo};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs::{self, Class};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{PodFacts, View};

manual! {
    /// The container goes over its memory limit, or cannot start within it, and is killed.
    ///
    /// Required: reason OOMKilled in the container's state, or "container init was OOM-killed" from the runtime.
    /// Supports: the limit was lowered in this revision; the kernel's own report of the kill.
    /// Refuted by: exit code 137 without that reason (a kill after the grace period, or by a probe).
    /// Lag: at start, or whenever the program grows.
    /// Do: raise the limit, or find the growth.
    "container-oom-killed": Recorded [OomKilled, SandboxFailed, StartError];
    /// Command or arguments name what the image does not have, or are refused.
    ///
    /// Required: "executable file not found", "no such file or directory" or "permission denied" of the runtime's exec;
    /// or exit 126 or 127; or a complaint about flags right after a change of the arguments.
    /// Refuted by: the missing file is a mount's, not the command's.
    /// Do: correct command and args.
    "container-command-invalid": Recorded [StartError, Crashing];
    /// The image is built for another CPU architecture.
    ///
    /// Required: "exec format error" of the runtime or in the container's log.
    /// Refuted by: the same image runs on a node of the same architecture.
    /// Do: build for the nodes' architecture, or select such nodes.
    "image-architecture-mismatch": Recorded [Crashing, StartError];
    /// The program ends because a variable that it needs is not set.
    ///
    /// Required: a container that ends, and a last error that says a variable is not set.
    /// Supports: this revision removed the variable.
    /// Refuted by: the variable is set in the container's environment.
    /// Do: set the variable.
    "environment-variable-missing": Recorded [Crashing];
    /// Two containers of a pod want the same port (address already in use).
    ///
    /// Required: a container that ends with "address already in use", in a pod of two or more containers.
    /// Supports: another container declares that port.
    /// Refuted by: the pod has one container only.
    /// Do: give one of the containers another port.
    "container-port-conflict": Recorded [Crashing, Unready];
    /// A postStart or preStop hook fails or hangs.
    ///
    /// Required: FailedPostStartHook or FailedPreStopHook, or a container that waits with PostStartHookError.
    /// Supports: this revision changed the hook.
    /// Refuted by: the container ended before its hook ran.
    /// Do: correct the hook.
    "lifecycle-hook-failing": Recorded [HookFailed, Crashing];
    /// The pod writes more than its ephemeral-storage limit and is evicted.
    ///
    /// Required: an eviction whose text speaks of ephemeral storage.
    /// Refuted by: the node was under disk pressure.
    /// Do: raise the limit, or write less.
    "ephemeral-storage-exceeded": Recorded [Evicted];
    /// An init container fails or never ends, the pod does not start.
    ///
    /// Required: an init container that ends badly again and again, or runs for minutes.
    /// Refuted by: what it waits for has a cause of its own.
    /// Do: read the init container's log.
    "init-container-failing": CapturedText [Crashing, InitStuck];
    /// The process ends by an error of its own; no cause outside it is seen.
    ///
    /// Required: a container that ends again and again, and nothing else that explains it.
    /// Supports: a panic or stack trace in its log; the exit code of a signal.
    /// Refuted by: any other mechanism whose required evidence is there.
    /// Do: read the log of the run before.
    "application-crash": Recorded [Crashing];
}

static EXEC: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)exec(?:ing|utable)?\b.*(?:no such file or directory|not found|permission denied|not a directory|is a directory)|executable file not found|no command specified|starting container process caused|(?:no|unknown) such (?:file|user)|unable to start container process: exec|chdir to cwd|unable to find user|no users found"#).ok()
});
static FLAG: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)unknown (?:flag|option|argument|command|shorthand)|unrecognized (?:option|argument)|flag provided but not defined|invalid option|no such option|unexpected argument|can't open file|cannot find module|: (?:command )?not found|No such file or directory|Could not find or load main class|usage:").ok()
});

/// Containers whose own state or log tells what is wrong.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms {
        let Some(p) = view.pods.get(&s.object) else { continue };
        match s.trouble {
            Trouble::OomKilled => out.push(oom(view, p, s, s.says.clone())),
            Trouble::SandboxFailed if s.says.contains("OOM-killed") => out.push(oom(view, p, s, s.says.clone())),
            Trouble::StartError if s.says.contains("OOM-killed") => out.push(oom(view, p, s, s.says.clone())),
            Trouble::StartError => out.extend(start_error(view, p, s)),
            Trouble::Crashing => {
                out.extend(start_error(view, p, s));
                out.extend(by_log(view, p, s));
            }
            Trouble::Unready | Trouble::ProbeKilled => out.extend(port_conflict(view, p, s)),
            Trouble::HookFailed => out.push(hook(view, p, s)),
            Trouble::Evicted => out.extend(ephemeral(view, p, s)),
            _ => {}
        }
    }
}

fn about(view: &View, id: &'static str, p: &PodFacts, s: &Symptom, proof: Proof, summary: String) -> Hypothesis {
    Hypothesis::new(id, p.workload.clone(), s.since, proof, summary)
        .explaining([s.object.clone()])
        .counting_from(s.counts_from)
        .with([view.state(&s.object, Some(s.since), s.says.clone())])
}

/// Changes of this revision in fields that hold one of these words, for the container where one is given.
fn revision_changes(
    view: &View,
    p: &PodFacts,
    container: Option<&str>,
    words: &[&str],
) -> Vec<tapio_core::answer::FieldChange> {
    let Some((_, diff)) = view.last_template_change(&p.workload).filter(|_| view.is_newest(p)) else {
        return Vec::new();
    };
    diff.into_iter()
        .filter(|c| words.iter().any(|w| c.field.contains(w)))
        .filter(|c| container.is_none_or(|n| !c.field.contains("ontainers[") || c.field.contains(&format!("[{n}]"))))
        .collect()
}

fn oom(view: &View, p: &PodFacts, s: &Symptom, text: String) -> Hypothesis {
    let name = s.container.as_deref();
    let spec = name.and_then(|n| p.pod.spec.container(n)).or(p.pod.spec.containers.first());
    let limit = spec.and_then(|c| c.resources.limits.get("memory"));
    let at_limit = limit.map_or("without a limit of its own".to_owned(), |l| format!("at its limit of {l}"));
    let which = spec.map_or("?", |c| c.name.as_str());
    let changes = revision_changes(view, p, name, &["resources"]);
    let kernel = p.history().events.iter().rfind(|e| e.kind == tapio_core::unified::EventKind::OomKill);
    let mut h = about(
        view,
        "container-oom-killed",
        p,
        s,
        Proof::Stated,
        format!("container {which} of {} is killed for memory {at_limit}", p.workload),
    )
    .via("limit/request")
    .supported(u32::from(!changes.is_empty()) + u32::from(kernel.is_some()))
    .changed(changes)
    .unless("exit code 137 without reason OOMKilled", false)
    .next(kubectl("describe", &s.object))
    .next(undo(&p.workload));
    if text.contains("OOM-killed")
        && let Some(n) = p.notes(&["FailedCreatePodSandBox", "Failed"]).next_back()
    {
        h = h.with([view.noted(&s.object, n)]);
    }
    h
}

fn start_error(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let c = s.container.as_deref().and_then(|n| p.container(n))?;
    let exit = c.last_exit();
    let started = exit.map(|t| format!("{} {}", t.reason, t.message)).unwrap_or_default();
    let noted: String = p
        .notes(&["Failed"])
        .rev()
        .find(|n| n.container.as_deref() == Some(c.name()))
        .map(|n| n.message.clone())
        .unwrap_or_default();
    let text = format!("{} {started} {noted}", c.waiting_message());
    let runtime = matches!(c.waiting(), "RunContainerError" | "CreateContainerError" | "StartError")
        || exit.is_some_and(|t| matches!(t.reason.as_str(), "StartError" | "ContainerCannotRun"));
    if text.contains("exec format error") {
        return Some(architecture(view, p, s, &text));
    }
    let changes = revision_changes(view, p, Some(c.name()), &["command", "args", "image", "workingDir"]);
    let make = |proof, why: &str| {
        about(
            view,
            "container-command-invalid",
            p,
            s,
            proof,
            format!("container {} of {} cannot run its command: {why}", c.name(), p.workload),
        )
        .via("template-rollout")
        .supported(u32::from(changes.iter().any(|c| c.field.contains("command") || c.field.contains("args"))))
        .changed(changes.clone())
        .unless("what is missing belongs to a mount", false)
        .next(undo(&p.workload))
    };
    let mount = text.contains("mounting") || text.contains("mount ");
    if runtime && !mount && EXEC.as_ref().is_some_and(|r| r.is_match(&text)) {
        let words = crate::diagnosis::view::shorten(text.trim(), 240);
        let mut h = make(Proof::Stated, &words);
        for n in p.notes(&["Failed"]).rev().filter(|n| n.container.as_deref() == Some(c.name())).take(1) {
            h = h.with([view.noted(&s.object, n)]);
        }
        return Some(h);
    }
    let code = exit.map_or(0, |t| t.exit_code);
    if matches!(code, 126 | 127) {
        let line = logs::telling(p, Some(c.name()));
        let mut h = make(Proof::Stated, &format!("exit code {code}"));
        if let Some(l) = line {
            h = h.with([view.logged(&s.object, Some(l.at), l.container, l.text)]);
        }
        return Some(h);
    }
    // The program itself refuses what it was given, right after it was changed.
    let given = changes.iter().any(|c| c.field.contains("command") || c.field.contains("args"));
    if given && code != 0 {
        let tails = p.history().logs.iter().filter(|((n, _), _)| n == c.name());
        let line = tails
            .flat_map(|(_, t)| t.lines.iter().rev().take(20).map(move |l| (l, t.at)))
            .find(|(l, _)| FLAG.as_ref().is_some_and(|r| r.is_match(l)));
        if let Some((l, at)) = line {
            return Some(make(Proof::Inferred, l).with([view.logged(&s.object, Some(at), c.name(), l)]));
        }
    }
    None
}

fn architecture(view: &View, p: &PodFacts, s: &Symptom, text: &str) -> Hypothesis {
    let changes = revision_changes(view, p, s.container.as_deref(), &["image"]);
    about(
        view,
        "image-architecture-mismatch",
        p,
        s,
        Proof::Stated,
        format!("the image of {} is built for another CPU architecture", p.workload),
    )
    .via("image")
    .supported(u32::from(!changes.is_empty()))
    .changed(changes)
    .with([view.state(&s.object, None, crate::diagnosis::view::shorten(text.trim(), 240))])
    .unless("the same image runs on a node of the same architecture", false)
    .next(undo(&p.workload))
}

fn by_log(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let container = s.container.as_deref();
    let errors = logs::errors(p, container, 40);
    if let Some(l) = errors.iter().find(|l| l.class == Class::ExecFormat) {
        return Some(architecture(view, p, s, l.text));
    }
    if let Some(h) = port_conflict(view, p, s) {
        return Some(h);
    }
    let l = errors.iter().find(|l| l.class == Class::MissingVariable)?;
    let spec = container.and_then(|c| p.pod.spec.container(c));
    let set = spec.is_some_and(|c| {
        c.env.iter().any(|v| {
            v.name.len() > 2 && logs::names_word(l.text, &v.name) && (!v.value.is_empty() || v.value_from.is_some())
        })
    });
    let changes = revision_changes(view, p, container, &["env"]);
    Some(
        about(
            view,
            "environment-variable-missing",
            p,
            s,
            Proof::Inferred,
            format!("{} ends because a variable is not set: {}", p.workload, l.text.trim()),
        )
        .via("template-rollout")
        .supported(u32::from(!changes.is_empty()))
        .changed(changes)
        .with([view.logged(&s.object, Some(l.at), l.container, l.text)])
        .unless("the variable is set in the container's environment", set)
        .next(undo(&p.workload)),
    )
}

static PORT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?i)(?:port[ :=]+|[\]:*.]:?)(\d{2,5})\b").ok());

fn port_conflict(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let main = &p.pod.spec.containers;
    let sidecars = p.pod.spec.init_containers.iter().filter(|c| c.restart_policy == "Always").count();
    if main.len() + sidecars < 2 {
        return None;
    }
    let l = logs::errors(p, s.container.as_deref(), 60).into_iter().find(|l| l.class == Class::PortInUse)?;
    let ports: Vec<i64> = PORT.as_ref()?.captures_iter(l.text).filter_map(|c| c[1].parse().ok()).collect();
    let declared =
        main.iter().any(|c| c.name != l.container && c.ports.iter().any(|x| ports.contains(&x.container_port)));
    Some(
        about(
            view,
            "container-port-conflict",
            p,
            s,
            Proof::Inferred,
            format!("two containers of {} want the same port: {}", p.workload, l.text.trim()),
        )
        .via("port/protocol edit")
        .supported(1 + u32::from(declared))
        .with([view.logged(&s.object, Some(l.at), l.container, l.text)])
        .unless("the pod has one container only", false)
        .next(kubectl("describe", &s.object)),
    )
}

fn hook(view: &View, p: &PodFacts, s: &Symptom) -> Hypothesis {
    let changes = revision_changes(view, p, s.container.as_deref(), &["lifecycle"]);
    let mut h =
        about(view, "lifecycle-hook-failing", p, s, Proof::Stated, format!("a lifecycle hook of {} fails", p.workload))
            .via("template-rollout")
            .supported(u32::from(!changes.is_empty()))
            .changed(changes)
            .unless("the container ended before its hook ran", false)
            .next(undo(&p.workload));
    for n in p.notes(&["FailedPostStartHook", "FailedPreStopHook"]).rev().take(1) {
        h = h.with([view.noted(&s.object, n)]);
    }
    h
}

fn ephemeral(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let noted = p.notes(&["Evicted"]).next_back();
    let message = noted.map_or(p.pod.status.message.as_str(), |n| n.message.as_str());
    let text = message.to_lowercase();
    let own = text.contains("ephemeral local storage usage exceeds")
        || text.contains("exceeded its local ephemeral storage limit")
        || text.contains("usage of emptydir volume");
    if !own {
        return None;
    }
    let changes = revision_changes(view, p, None, &["resources", "volumes"]);
    Some(
        about(
            view,
            "ephemeral-storage-exceeded",
            p,
            s,
            Proof::Stated,
            format!("{} writes more than its ephemeral-storage limit: {message}", p.workload),
        )
        .via("limit/request")
        .supported(u32::from(!changes.is_empty()))
        .changed(changes)
        .unless("the node was under disk pressure", false)
        .next(kubectl("describe", &s.object)),
    )
}

/// What is left when nothing outside explains an end.
pub fn residual(view: &View, left: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in left {
        let Some(p) = view.pods.get(&s.object) else { continue };
        if !matches!(s.trouble, Trouble::Crashing | Trouble::InitStuck) {
            continue;
        }
        let init = s.container.as_deref().and_then(|c| p.container(c)).is_some_and(|c| c.init);
        let id = if init { "init-container-failing" } else { "application-crash" };
        let line = logs::telling(p, s.container.as_deref());
        let says = line
            .as_ref()
            .map(|l| format!(": {}", crate::diagnosis::view::shorten(l.text.trim(), 200)))
            .unwrap_or_default();
        // A failed look-up comes from outside, be its place known or not.
        let outside = !init && line.as_ref().is_some_and(|l| l.class == Class::Dns);
        let mut h = about(view, id, p, s, Proof::Residual, format!("{}{says}", s.says))
            .supported(u32::from(line.as_ref().is_some_and(|l| l.class == Class::Panic)))
            .unless("another mechanism explains it", outside)
            .next(format!(
                "{} -c {} --previous",
                kubectl("logs", &s.object).replace("pod/", ""),
                s.container.as_deref().unwrap_or("")
            ));
        if let Some(l) = line {
            h = h.with([view.logged(&s.object, Some(l.at), l.container, l.text)]);
        }
        out.push(h.counting_from(s.counts_from.plus(SECOND)));
    }
}
