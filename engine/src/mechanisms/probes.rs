//! Probes that ask the wrong thing, ask too soon, or rightly find a program ill.

use tapio_core::object::{Container, Probe};
use tapio_core::time::SECOND;

use super::{kubectl, manual, undo};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs;
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{ContainerFacts, PodFacts, View};
use crate::world::history::Note;

manual! {
    /// The liveness probe asks a port where nothing listens.
    ///
    /// Required: kills by the liveness probe, whose failures are refusals or connect timeouts, on a port that the
    /// container does not declare or that differs from the one where it answers.
    /// Supports: the readiness probe on another port passes; this revision changed the probe.
    /// Refuted by: the process ended before the kill; the readiness probe fails on the right port too.
    /// Do: correct the port.
    "liveness-probe-wrong-port": Recorded [ProbeKilled];
    /// The liveness probe speaks another protocol than the port (HTTP to gRPC, gRPC to TCP).
    ///
    /// Required: kills by the liveness probe, whose failures are protocol errors ("malformed HTTP", "server preface"), or
    /// a probe of another kind than the readiness probe that passes on the same port.
    /// Supports: this revision changed the probe.
    /// Refuted by: the process ended before the kill.
    /// Do: use the probe of the port's protocol.
    "liveness-probe-wrong-protocol": Recorded [ProbeKilled];
    /// Delay, timeout, period or threshold kill a container that would become live.
    ///
    /// Required: kills by the liveness probe on the right port and protocol, before the container could be up, or with a
    /// timeout that its answers do not keep.
    /// Supports: it was seen ready between kills, or is at a later start; this revision changed the numbers.
    /// Refuted by: it was ready for long before the first failure.
    /// Do: raise initialDelaySeconds or failureThreshold, or use a startup probe.
    "liveness-probe-too-aggressive": Recorded [ProbeKilled];
    /// The liveness or startup probe asks a path that the application does not serve.
    ///
    /// Required: kills by the probe, whose failures are status 404 (or 401, 403, 405).
    /// Supports: this revision changed the path.
    /// Refuted by: the path answered before in the same container.
    /// Do: correct the path.
    "liveness-probe-wrong-path": CapturedText [ProbeKilled];
    /// The readiness probe asks a port where nothing listens.
    ///
    /// Required: a running container that is not ready, whose probe is refused or gets no connection, on a port that it
    /// does not declare or that differs from the one where it answers.
    /// Supports: the liveness probe on another port passes; this revision changed the probe.
    /// Refuted by: the liveness probe on the same port fails too.
    /// Do: correct the port.
    "readiness-probe-wrong-port": Recorded [Unready];
    /// The readiness probe speaks another protocol than the port.
    ///
    /// Required: a running container that is not ready, whose probe fails with protocol errors, or a probe of another
    /// kind than the liveness probe that passes on the same port.
    /// Supports: this revision changed the probe.
    /// Refuted by: the liveness probe fails too.
    /// Do: use the probe of the port's protocol.
    "readiness-probe-wrong-protocol": Recorded [Unready];
    /// The readiness probe asks a path that the application does not serve.
    ///
    /// Required: a running container that is not ready, whose probe fails with status 404 (or 401, 403, 405).
    /// Supports: this revision changed the path.
    /// Refuted by: the path answered before in the same container.
    /// Do: correct the path.
    "readiness-probe-wrong-path": CapturedText [Unready];
    /// The startup probe gives up before the application is up.
    ///
    /// Required: "failed startup probe, will be restarted" on the right port, and no error of the program itself.
    /// Refuted by: the process ended before the kill.
    /// Do: raise failureThreshold or periodSeconds of the startup probe.
    "startup-probe-too-aggressive": CapturedText [ProbeKilled];
    /// A correct liveness probe fails because the application hangs or is ill, and the container is killed.
    ///
    /// Required: kills by the liveness probe that no other mechanism explains.
    /// Refuted by: the probe cannot ever have passed.
    /// Do: look at why the program hangs: log, threads, CPU, dependencies.
    "liveness-probe-failing": CapturedText [ProbeKilled];
    /// A correct readiness probe fails because the application cannot serve.
    ///
    /// Required: a running container that is not ready, a failing readiness probe, and nothing else that explains it.
    /// Refuted by: what it depends on is down (then that is the cause).
    /// Do: read its log; ask the probe's address from inside the pod.
    "readiness-lost": Recorded [Unready];
}

/// How a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Http,
    Tcp,
    Grpc,
    Exec,
}

/// Manner, port and path of a probe; a named port is looked up in the container.
fn target(probe: &Probe, c: &Container) -> (Manner, Option<i64>, String) {
    let port = |p: &tapio_core::object::IntOrString| match p {
        tapio_core::object::IntOrString::Int(n) => Some(*n),
        tapio_core::object::IntOrString::Str(s) => c.ports.iter().find(|x| x.name == *s).map(|x| x.container_port),
    };
    if let Some(h) = &probe.http_get {
        (Manner::Http, port(&h.port), h.path.clone())
    } else if let Some(t) = &probe.tcp_socket {
        (Manner::Tcp, port(&t.port), String::new())
    } else if let Some(g) = &probe.grpc {
        (Manner::Grpc, Some(g.port), String::new())
    } else {
        (Manner::Exec, None, String::new())
    }
}

/// What the failure's text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    Refused,
    NoConnection,
    Protocol,
    Path,
    Status,
    Slow,
    Other,
}

fn failure(text: &str) -> Failure {
    let t = text.to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|w| t.contains(w));
    if any(&[
        "malformed http",
        "server preface",
        "http/1.x transport",
        "http2:",
        "frame too large",
        "tls: first record",
        "first record does not look like",
        "client sent an http request to an https",
        "server gave http response",
        "unexpected http",
        "transport connection broken",
        "http/0.9",
        "unimplemented",
        "does not implement the grpc health",
    ]) {
        Failure::Protocol
    } else if any(&["statuscode: 404", "statuscode: 401", "statuscode: 403", "statuscode: 405"]) {
        Failure::Path
    } else if t.contains("statuscode:") {
        Failure::Status
    } else if any(&["connection refused"]) {
        Failure::Refused
    } else if any(&["failed to connect service"]) {
        Failure::NoConnection
    } else if any(&["deadline exceeded", "timeout", "timed out", "did not complete within"]) {
        Failure::Slow
    } else {
        Failure::Other
    }
}

/// Kills and unreadiness by probes.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms {
        let (which, liveness) = match s.trouble {
            Trouble::ProbeKilled => ("Liveness", true),
            Trouble::Unready => ("Readiness", false),
            _ => continue,
        };
        let Some(p) = view.pods.get(&s.object) else { continue };
        let Some(c) = s.container.as_deref().and_then(|n| p.container(n)) else { continue };
        let Some(spec) = c.spec else { continue };
        let startup =
            liveness && p.notes(&["Killing"]).next_back().is_some_and(|n| n.message.contains("startup probe"));
        let probe = match (liveness, startup) {
            (true, true) => spec.startup_probe.as_ref(),
            (true, false) => spec.liveness_probe.as_ref(),
            _ => spec.readiness_probe.as_ref(),
        };
        let Some(probe) = probe else { continue };
        let prefix = if startup { "Startup" } else { which };
        let failures: Vec<&Note> = p
            .notes(&["Unhealthy", "ProbeWarning"])
            .filter(|n| n.message.starts_with(prefix) && n.container.as_deref().is_none_or(|x| x == c.name()))
            .filter(|n| n.last >= p.created())
            .collect();
        if failures.is_empty() {
            continue;
        }
        if let Some(h) = judge(view, p, s, c, spec, probe, &failures, liveness, startup) {
            out.push(h);
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "one step of the loop above, kept apart for reading")]
fn judge(
    view: &View,
    p: &PodFacts,
    s: &Symptom,
    c: &ContainerFacts,
    spec: &Container,
    probe: &Probe,
    failures: &[&Note],
    liveness: bool,
    startup: bool,
) -> Option<Hypothesis> {
    let newest = failures.iter().max_by_key(|n| (n.last, n.count))?;
    // A start shows refusals first and the true answer later: the newest telling text decides.
    let kind = failure(&newest.message);
    let (manner, port, path) = target(probe, spec);
    let declared: Vec<i64> = spec.ports.iter().map(|x| x.container_port).collect();
    let undeclared = port.is_some_and(|n| !declared.is_empty() && !declared.contains(&n));
    let other = if liveness { spec.readiness_probe.as_ref() } else { spec.liveness_probe.as_ref() };
    let sibling = other.map(|o| target(o, spec));
    // Does the other probe pass? Readiness: the container is, or was between kills, ready. Liveness: nobody kills it.
    let sibling_passes = if liveness {
        c.status.ready || (other.is_some() && !fails(p, c, "Readiness", s))
    } else {
        other.is_some() && c.status.restart_count == 0 && !fails(p, c, "Liveness", s)
    };
    let sibling_port = sibling.as_ref().and_then(|x| x.1);
    let differs = port.is_some() && sibling_port.is_some() && port != sibling_port;
    let same_port = port.is_some() && port == sibling_port;
    let other_manner = sibling.as_ref().is_some_and(|x| x.0 != manner && x.0 != Manner::Exec && x.0 != Manner::Tcp);
    let changes: Vec<_> = view
        .last_template_change(&p.workload)
        .filter(|_| view.is_newest(p))
        .map(|(_, d)| {
            d.into_iter().filter(|x| x.field.contains("Probe") || x.field.contains("startupProbe")).collect::<Vec<_>>()
        })
        .unwrap_or_default();
    let changed_port = changes.iter().any(|x| x.field.to_lowercase().contains("port"));
    let changed_numbers = changes.iter().any(|x| {
        ["initialDelay", "timeoutSeconds", "periodSeconds", "failureThreshold"].iter().any(|w| x.field.contains(w))
    });
    let changed_path = changes.iter().any(|x| x.field.ends_with(".path"));
    let changed_manner = changes
        .iter()
        .any(|x| x.field.contains("httpGet") || x.field.contains("grpc") || x.field.contains("tcpSocket"));
    let name = if startup {
        "startup"
    } else if liveness {
        "liveness"
    } else {
        "readiness"
    };
    let (wrong_port, wrong_protocol, wrong_path) = if liveness {
        ("liveness-probe-wrong-port", "liveness-probe-wrong-protocol", "liveness-probe-wrong-path")
    } else {
        ("readiness-probe-wrong-port", "readiness-probe-wrong-protocol", "readiness-probe-wrong-path")
    };
    let listens_elsewhere = undeclared || (differs && sibling_passes);
    let no_answer = matches!(kind, Failure::Refused | Failure::NoConnection | Failure::Slow);
    let (id, why, support) = if kind == Failure::Protocol {
        (wrong_protocol, "the port answers in another protocol", u32::from(changed_manner) + u32::from(other_manner))
    } else if kind == Failure::Path {
        (wrong_path, "the application does not serve that path", u32::from(changed_path))
    } else if no_answer && listens_elsewhere && port.is_some() {
        (
            wrong_port,
            "nothing listens on that port",
            u32::from(undeclared) + u32::from(differs && sibling_passes) + u32::from(changed_port),
        )
    } else if no_answer && same_port && other_manner && sibling_passes {
        (wrong_protocol, "the other probe passes on the same port in its own protocol", 1 + u32::from(changed_manner))
    } else if no_answer && manner == Manner::Grpc && !p.pod.spec.containers.is_empty() && speaks_http(spec) {
        (wrong_protocol, "the container's other probe speaks HTTP", u32::from(changed_manner))
    } else if no_answer && port.is_some() && changed_port && !changed_numbers {
        (wrong_port, "nothing listens on the new port", 1)
    } else if startup {
        ("startup-probe-too-aggressive", "it gives up before the application is up", u32::from(changed_numbers))
    } else if liveness && impatient(p, c, probe, &changes) {
        (
            "liveness-probe-too-aggressive",
            "it kills before the application can be up",
            u32::from(changed_numbers) + u32::from(c.status.ready),
        )
    } else {
        return None;
    };
    let ask = match (manner, port) {
        (Manner::Http, Some(n)) => format!("HTTP {path} on port {n}"),
        (Manner::Grpc, Some(n)) => format!("gRPC on port {n}"),
        (Manner::Tcp, Some(n)) => format!("TCP port {n}"),
        (Manner::Exec, _) => "a command".to_owned(),
        _ => "an unknown port".to_owned(),
    };
    let ports = if declared.is_empty() { String::new() } else { format!(" (it declares {declared:?})") };
    let mut h = Hypothesis::new(
        id,
        p.workload.clone(),
        s.since.min(newest.first),
        Proof::Inferred,
        format!("the {name} probe of container {} of {} asks {ask}{ports}: {why}", c.name(), p.workload),
    )
    .explaining([s.object.clone()])
    .counting_from(s.counts_from)
    .via("probe-edit")
    .supported(support)
    .changed(changes)
    .with([view.noted(&s.object, newest), view.state(&s.object, Some(s.since), s.says.clone())])
    .unless("the process ended before the kill", liveness && ended_by_itself(p, c))
    .next(undo(&p.workload))
    .next(kubectl("describe", &s.object));
    if liveness && let Some(k) = p.notes(&["Killing"]).next_back() {
        h = h.with([view.noted(&s.object, k)]);
    }
    Some(h)
}

/// Whether the other probe fails around the symptom.
fn fails(p: &PodFacts, c: &ContainerFacts, prefix: &str, s: &Symptom) -> bool {
    p.notes(&["Unhealthy"]).any(|n| {
        n.message.starts_with(prefix)
            && n.container.as_deref().is_none_or(|x| x == c.name())
            && n.last >= s.since.plus(-5 * SECOND)
            && n.count >= 2
    })
}

fn speaks_http(spec: &Container) -> bool {
    [&spec.readiness_probe, &spec.liveness_probe, &spec.startup_probe]
        .iter()
        .any(|x| x.as_ref().is_some_and(|x| x.http_get.is_some()))
}

/// Whether exits show an end of the process's own: a code that no signal gives.
fn ended_by_itself(p: &PodFacts, c: &ContainerFacts) -> bool {
    let own = |code: i64| code != 0 && !(128..=159).contains(&code);
    let crashed = c.last_exit().is_some_and(|t| own(t.exit_code));
    crashed && p.notes(&["Killing"]).next_back().is_none()
}

/// Whether the probe gives up sooner than the container needs to start, or waits less than its answers take.
fn impatient(p: &PodFacts, c: &ContainerFacts, probe: &Probe, changes: &[tapio_core::answer::FieldChange]) -> bool {
    let patience = probe.initial_delay_seconds.unwrap_or(0)
        + probe.period_seconds.unwrap_or(10) * probe.failure_threshold.unwrap_or(3);
    let numbers = changes.iter().any(|x| {
        ["initialDelay", "timeoutSeconds", "periodSeconds", "failureThreshold"].iter().any(|w| x.field.contains(w))
    });
    // How long the runs lasted that were killed: about as long as the probe's patience, from the start.
    let lived = c.last_exit().and_then(|t| (*t.finished_at).zip(*t.started_at)).map(|(f, s)| f.since(s) / SECOND);
    let grace = p.pod.spec.termination_grace_period_seconds.unwrap_or(30);
    let at_start = lived.is_some_and(|l| l <= patience + grace + 10);
    let errors = logs::errors(p, Some(c.name()), 10).iter().any(|e| matches!(e.class, logs::Class::Panic));
    // A run of this container that was well for long under the same probe: it can be up in time.
    let past = p.history().exits.get(c.name()).into_iter().flatten();
    let runs =
        past.map(|e| e.started.zip(e.finished)).chain(c.last_exit().map(|t| (*t.started_at).zip(*t.finished_at)));
    let stood = runs.flatten().any(|(s, f)| f.since(s) / SECOND > 600.max(4 * (patience + grace)));
    numbers || (!stood && at_start && patience <= 30 && !errors)
}

/// Probes that rightly find a program ill, when nothing outside explains it.
pub fn residual(view: &View, left: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in left {
        let Some(p) = view.pods.get(&s.object) else { continue };
        let (id, says, prefix) = match s.trouble {
            Trouble::Unready => ("readiness-lost", "is not ready and nothing outside it explains why", "Readiness"),
            Trouble::ProbeKilled => ("liveness-probe-failing", "is killed by a probe that rightly fails", "Liveness"),
            _ => continue,
        };
        let note = p.notes(&["Unhealthy"]).rfind(|n| n.message.starts_with(prefix));
        // Unready without any failing probe is the node's or a gate's affair.
        if note.is_none() && s.trouble == Trouble::Unready {
            continue;
        }
        let mut h = Hypothesis::new(id, p.workload.clone(), s.since, Proof::Residual, format!("{} {says}", s.object))
            .explaining([s.object.clone()])
            .counting_from(s.counts_from.max(view.may_start_until(p)))
            .with([view.state(&s.object, Some(s.since), s.says.clone())])
            .unless("what it depends on is down", false)
            .next(kubectl("logs", &p.workload));
        if let Some(n) = note {
            h = h.with([view.noted(&s.object, n)]);
        }
        if let Some(l) = logs::telling(p, s.container.as_deref()) {
            h = h.with([view.logged(&s.object, Some(l.at), l.container, l.text)]);
        }
        out.push(h);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_failing_probes_are_told_apart() {
        for (text, want) in [
            ("Liveness probe failed: dial tcp 10.0.0.1:81: connect: connection refused", Failure::Refused),
            (
                "Liveness probe failed: Get \"http://10.0.0.1:81/\": dial tcp 10.0.0.1:81: connect: connection refused",
                Failure::Refused,
            ),
            ("Readiness probe failed: HTTP probe failed with statuscode: 404", Failure::Path),
            ("Readiness probe failed: HTTP probe failed with statuscode: 503", Failure::Status),
            (
                "Liveness probe failed: Get \"http://10.0.0.1:9555/\": net/http: HTTP/1.x transport connection broken: malformed HTTP response \"\\x00\"",
                Failure::Protocol,
            ),
            (
                "Liveness probe failed: timeout: failed to connect service \"10.0.0.1:8081\" within 1s: context deadline exceeded",
                Failure::NoConnection,
            ),
            ("Liveness probe failed: timeout: health rpc did not complete within 1s", Failure::Slow),
            (
                "Readiness probe failed: Get \"http://10.0.0.1/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                Failure::Slow,
            ),
        ] {
            assert_eq!(failure(text), want, "{text}");
        }
    }
}
