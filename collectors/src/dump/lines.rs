//! The two text files of a dump: what a node's services do, and what a probe of each Service said.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde_json::json;
use serde_json::value::to_raw_value;
use tapio_core::time::Time;

use super::moment::Moment;
use super::unreadable;
use crate::input::next_line;
use crate::reader::{Output, Stopped};
use crate::redaction::mask;

/// Bytes of a line that are kept.
const MAX_LINE: usize = 4_096;

/// Reads `nodes/NODE/services.txt` (`services`) or `connectivity.txt`.
pub(super) fn read(
    out: &Output,
    moment: &mut Moment,
    name: &str,
    origin: &str,
    reader: &mut dyn BufRead,
    services: bool,
) -> Result<(), Stopped> {
    let node = name.rsplit('/').nth(1).unwrap_or("").to_owned();
    let mut buffer = Vec::new();
    let mut at = 0u64;
    loop {
        let read = match next_line(reader, &mut buffer, MAX_LINE) {
            Ok(read) => read,
            Err(e) => return out.dead(origin, Some(at), unreadable(&e), b""),
        };
        if !read.ended && read.len == 0 {
            return Ok(());
        }
        at += 1;
        let line = String::from_utf8_lossy(&buffer);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (kind, data) = match services {
            true => ("NodeServiceState", service_state(&node, line)),
            false => ("ServiceProbe", service_probe(line)),
        };
        let (Some(data), false) = (data, services && node.is_empty()) else {
            let why = match services {
                true => "expected `SERVICE STATE (SUB) since TIME` in nodes/NODE/services.txt",
                false => "expected `NAMESPACE/SERVICE:PORT [from NODE]: RESULT`",
            };
            out.dead(origin, Some(at), why.to_owned(), line.as_bytes())?;
            continue;
        };
        if let Ok(data) = to_raw_value(&data) {
            moment.add(out, kind, BTreeMap::new(), data)?;
        }
    }
}

/// `kubelet active (running) since 2026-02-04T05:00:00Z`.
fn service_state(node: &str, line: &str) -> Option<serde_json::Value> {
    let mut words = line.split_whitespace();
    let service = words.next()?.trim_end_matches(':');
    let state = words.next()?.to_ascii_lowercase();
    let sub = line.split_once('(').and_then(|(_, r)| r.split_once(')')).map(|(s, _)| s);
    let since = line.split_once("since ").and_then(|(_, r)| r.split_whitespace().next());
    let since = since.and_then(|t| Time::parse(t.trim_end_matches([';', ','])).ok());
    let service = service.strip_suffix(".service").unwrap_or(service);
    Some(json!({ "node": node, "service": service, "state": state, "sub": sub, "since": since, "says": said(line) }))
}

/// `NS/SVC:80 from NODE: SVC (10.0.0.1:80) open | Connection Succeeded`.
fn service_probe(line: &str) -> Option<serde_json::Value> {
    let (target, answer) = line.split_once(": ").or_else(|| line.strip_suffix(':').map(|t| (t, "")))?;
    let (target, from) = match target.split_once(" from ") {
        Some((t, n)) => (t, Some(n.trim())),
        None => (target, None),
    };
    let (namespace, rest) = target.trim().split_once('/')?;
    let (service, port) = rest.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    if namespace.is_empty() || service.is_empty() || service.contains(' ') {
        return None;
    }
    let address = answer.split_once('(').and_then(|(_, r)| r.split_once(')')).map(|(a, _)| a.trim());
    let address = address.filter(|a| a.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok()));
    let outcome = outcome(answer);
    Some(json!({
        "namespace": namespace, "service": service, "port": port, "from": from, "address": address,
        "ok": outcome == "open", "outcome": outcome, "says": said(line),
    }))
}

/// What a probe's words mean, over the dialects of nc, curl, bash and busybox.
fn outcome(answer: &str) -> &'static str {
    let a = answer.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| a.contains(w));
    if has(&["refused", "connection reset"]) {
        "refused"
    } else if has(&["no route", "unreachable"]) {
        "no_route"
    } else if has(&[
        "bad address",
        "not known",
        "could not resolve",
        "no such host",
        "name resolution",
        "nxdomain",
        "can't resolve",
        "lookup failed",
        "unresolved",
    ]) {
        "unresolved"
    } else if has(&["no answer", "timed out", "timeout", "time out", "punt!", "terminated", "deadline"]) {
        "timeout"
    } else if has(&["failed", "error", "closed", "not open"]) {
        "unknown"
    } else if has(&["open", "succeeded", "connected", "ok"]) {
        "open"
    } else {
        "unknown"
    }
}

fn said(line: &str) -> String {
    mask(line).unwrap_or_else(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_read_in_every_dialect() {
        for (line, from, address, outcome) in [
            ("shop/web:80: web (10.0.0.1:80) open | Connection Succeeded", None, Some("10.0.0.1:80"), "open"),
            (
                "shop/web:80 from node-1: web (10.0.0.1:80) open | Connection Succeeded",
                Some("node-1"),
                Some("10.0.0.1:80"),
                "open",
            ),
            ("shop/web:80 from node-1: Connection Failed", Some("node-1"), None, "unknown"),
            ("shop/web:80: punt! | Terminated | Connection Failed", None, None, "timeout"),
            ("shop/web:80: no answer", None, None, "timeout"),
            ("shop/web:80: nc: connect to web port 80 (tcp) failed: Connection refused", None, None, "refused"),
            ("shop/web:80: nc: bad address 'web'", None, None, "unresolved"),
            ("shop/web:80: connect: No route to host", None, None, "no_route"),
            ("shop/web:80:", None, None, "unknown"),
        ] {
            let v = service_probe(line).unwrap();
            assert_eq!(v["service"], "web");
            assert_eq!(v["port"], 80);
            assert_eq!(v["from"].as_str(), from, "{line}");
            assert_eq!(v["address"].as_str(), address, "{line}");
            assert_eq!(v["outcome"], outcome, "{line}");
            assert_eq!(v["ok"], outcome == "open");
        }
        for line in ["", "web: open", "a/b:x: open", "a/b: open"] {
            assert_eq!(service_probe(line), None, "{line}");
        }
    }

    #[test]
    fn states_of_services_are_read_as_systemd_says_them() {
        let v = service_state("n", "kubelet inactive (dead) since 2026-02-04T05:00:00Z").unwrap();
        assert_eq!((&v["service"], &v["state"], &v["sub"]), (&json!("kubelet"), &json!("inactive"), &json!("dead")));
        assert_eq!(v["since"], "2026-02-04T05:00:00Z");
        let v = service_state("n", "containerd.service: failed").unwrap();
        assert_eq!(
            (&v["service"], &v["state"], &v["sub"], &v["since"]),
            (&json!("containerd"), &json!("failed"), &json!(null), &json!(null))
        );
        assert_eq!(service_state("n", "kubelet"), None);
    }
}
