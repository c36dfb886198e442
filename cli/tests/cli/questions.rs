//! Questions about a real recording, from inputs and from a data folder.

use std::fs;
use std::process::Stdio;
use std::sync::LazyLock;

use serde_json::Value;

use crate::running::{recording, run, tapio, text};

/// A folder that the demo's recording was replayed into; held to the end of the process, then left to the system.
static DATA: LazyLock<(tempfile::TempDir, String)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    run(&["replay", text(&recording()), "--data-dir", text(&data), "-q"]).ok();
    let data = text(&data).to_owned();
    (dir, data)
});

/// A data folder is one process's at a time, and tests run side by side: each gets a copy.
fn data() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_all(std::path::Path::new(&DATA.1), copy.path());
    copy
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for e in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(e.file_name());
        if e.file_type().unwrap().is_dir() {
            copy_all(&e.path(), &target)
        } else {
            fs::copy(e.path(), target).map(|_| ()).unwrap()
        }
    }
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&run(args).ok()).unwrap()
}

#[test]
fn the_answer_has_the_documented_shape_and_is_the_same_everywhere() {
    let r = recording();
    let answer = json(&["replay", text(&r), "-o", "json"]);
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["gaps", "incidents", "looked_for", "root_causes", "verdict"]);
    assert_eq!(answer["verdict"], "found");
    let cause = &answer["root_causes"][0];
    for key in [
        "object",
        "mechanism",
        "confidence",
        "summary",
        "evidence",
        "refuters_checked",
        "path",
        "changes",
        "impact",
        "next",
    ] {
        assert!(cause.get(key).is_some(), "no {key}");
    }
    assert_eq!(cause["mechanism"], "config-content-invalid");
    assert_eq!(cause["object"]["name"], "cart-env");
    assert_eq!(answer, json(&["analyze", text(&r), "-o", "json"]));
    let d = data();
    assert_eq!(answer, json(&["replay", "--data-dir", text(d.path()), "-o", "json"]));
    assert_eq!(answer["incidents"], json(&["incidents", "--data-dir", text(d.path()), "-o", "json"]));
}

#[test]
fn two_runs_print_the_same_bytes() {
    let r = recording();
    for form in ["table", "wide", "json", "yaml"] {
        let args = ["replay", text(&r), "-o", form];
        assert_eq!(run(&args).ok(), run(&args).ok(), "{form}");
    }
    assert_eq!(run(&["demo"]).ok(), run(&["demo"]).ok());
}

#[test]
fn the_first_line_is_the_cause() {
    let out = run(&["analyze", text(&recording())]).ok();
    let first = out.lines().next().unwrap();
    assert!(first.starts_with("config-content-invalid  ConfigMap team-07/cart-env"), "{first}");
    assert!(!out.contains('\u{1b}'), "colour without a terminal");
    let coloured = run(&["analyze", text(&recording()), "--color", "always"]).ok();
    assert!(coloured.contains('\u{1b}'));
    let order: Vec<usize> = ["\nevidence", "\nhits", "\nrun"].iter().map(|h| out.find(h).unwrap()).collect();
    assert!(order.is_sorted(), "{out}");
}

#[test]
fn a_stream_is_told_in_its_order_then_summed_up() {
    let out = run(&["replay", text(&recording()), "--stats"]).ok();
    let opened = out.find("opened").unwrap();
    let summed = out.find("1 incident: 1 open, 0 resolved").unwrap();
    assert!(opened < summed, "{out}");
}

#[test]
fn a_namespace_narrows_the_answer_and_fail_on_decides_the_exit_code() {
    let r = recording();
    let elsewhere = json(&["analyze", text(&r), "-n", "kube-system", "-o", "json"]);
    assert_eq!(elsewhere["verdict"], "healthy");
    assert_eq!(json(&["analyze", text(&r), "-n", "team-07", "-o", "json"])["verdict"], "found");
    assert_eq!(run(&["analyze", text(&r), "--fail-on", "found"]).code, 1);
    assert_eq!(run(&["analyze", text(&r), "--fail-on", "unknown"]).code, 1);
    assert_eq!(run(&["analyze", text(&r), "--fail-on", "critical"]).code, 0);
    assert_eq!(run(&["analyze", text(&r), "-n", "kube-system", "--fail-on", "found"]).code, 0);
}

#[test]
fn why_leads_from_the_cause_to_the_object() {
    let d = data();
    let place = ["--data-dir", text(d.path())];
    let answer = json(&["why", "deploy/cart", place[0], place[1], "-o", "json"]);
    let cause = &answer["root_causes"][0];
    let path = cause["path"].as_array().unwrap();
    assert_eq!(path.first().unwrap()["from"]["name"], "cart-env");
    assert_eq!(path.last().unwrap()["to"]["name"], "cart");
    assert_eq!(answer["gaps"].as_array().unwrap().len(), 0, "the graph lacks something: {}", answer["gaps"]);
    let same = json(&["why", "Deployments", "CART", "--from", text(&recording()), "-o", "json"]);
    assert_eq!(answer, same);
    let well = run(&["why", "deploy/catalog", place[0], place[1]]).ok();
    assert!(well.starts_with("nothing is wrong with Deployment team-07/catalog"), "{well}");
}

#[test]
fn why_says_what_the_graph_lacks() {
    let d = data();
    // Another graph in its place: well-formed, and without the causes.
    let graph = d.path().join("graph");
    fs::remove_dir_all(&graph).unwrap();
    drop(tapio_graph::EmbeddedGraph::open(&graph, tapio_graph::EmbeddedConfig::default()).unwrap());
    let answer = json(&["why", "deploy/cart", "--data-dir", text(d.path()), "-o", "json"]);
    assert_eq!(answer["verdict"], "found");
    let gaps = answer["gaps"].to_string();
    assert!(gaps.contains("ROOT_CAUSE") && gaps.contains("TRIGGERED"), "{gaps}");
    // The remedy that it names works.
    fs::remove_dir_all(&graph).unwrap();
    let ran = run(&["replay", "--data-dir", text(d.path()), "-o", "json"]);
    assert!(ran.err.contains("the graph is gone"), "{}", ran.err);
    assert_eq!(ran.code, 0);
    let healed = json(&["why", "deploy/cart", "--data-dir", text(d.path()), "-o", "json"]);
    assert_eq!(healed["gaps"].as_array().unwrap().len(), 0, "{}", healed["gaps"]);
}

#[test]
fn objects_that_are_not_there_end_with_1_and_near_names() {
    let r = recording();
    let from = ["--from", text(&r)];
    for command in ["why", "impact", "timeline"] {
        run(&[command, "deploy/crat", from[0], from[1]]).failed(1, "did you mean deployment/cart -n team-07");
        run(&[command, "deplyment/cart", from[0], from[1]]).failed(1, "did you mean Deployment");
        run(&[command, "cart", from[0], from[1]]).failed(2, "give KIND/NAME");
    }
    run(&["incident", "zz", from[0], from[1]]).failed(1, "no incident zz; there are ");
    // Every namespace has this one.
    run(&["impact", "cm/kube-root-ca.crt", from[0], from[1]]).failed(2, "say which with -n");
}

#[test]
fn impact_says_who_reads_it_how_and_when_it_takes_effect() {
    let found = json(&["impact", "cm/cart-env", "--from", text(&recording()), "-o", "json"]);
    assert_eq!(found["readers"][0]["how"], "env");
    assert_eq!(found["readers"][0]["effect"], "next_start");
    assert_eq!(found["workloads"][0]["name"], "cart");
    assert_eq!(found["services"][0]["name"], "cart");
    let node = json(&["impact", "node/tapio-node", "--from", text(&recording()), "-o", "json"]);
    assert!(node["pods"].as_array().unwrap().len() > 5, "{node}");
}

#[test]
fn a_timeline_is_in_order_and_bounded() {
    let r = recording();
    let told = json(&["timeline", "deploy/cart", "--from", text(&r), "-o", "json"]);
    let items = told["items"].as_array().unwrap();
    let at: Vec<&str> = items.iter().map(|i| i["at"].as_str().unwrap()).collect();
    assert!(at.is_sorted_by_key(|t| tapio_core::time::Time::parse(t).unwrap()), "{at:?}");
    assert!(items.iter().any(|i| i["object"]["name"] == "cart-env" && i["kind"] == "change"));
    let alone =
        json(&["timeline", "deploy/cart", "--from", text(&r), "--related", "false", "--limit", "1", "-o", "json"]);
    assert_eq!(alone["items"].as_array().unwrap().len(), 1);
    assert!(alone["left_out"].as_u64().unwrap() > 0);
    let late = json(&["timeline", "deploy/cart", "--from", text(&r), "--since", "10s", "-o", "json"]);
    assert!(late["items"].as_array().unwrap().len() < items.len());
}

#[test]
fn an_incident_is_found_by_the_beginning_of_its_id() {
    let r = recording();
    let all = json(&["incidents", "--from", text(&r), "-o", "json"]);
    let id = all[0]["id"].as_str().unwrap();
    let one = json(&["incident", &id[..5], "--from", text(&r), "-o", "json"]);
    assert_eq!(one, all[0]);
    assert_eq!(json(&["incidents", "--from", text(&r), "--state", "resolved", "-o", "json"]), Value::Array(Vec::new()));
}

#[test]
fn queries_read_are_typed_and_never_write() {
    let d = data();
    let at = ["--data-dir", text(d.path())];
    run(&["query", "CREATE (n:Pod) RETURN n", at[0], at[1]]).failed(2, "CREATE writes");
    run(&["query", "MATCH (p:Pod RETURN p", at[0], at[1]]).failed(2, "error");
    run(&["query", "MATCH (p:Pod) RETURN p", "--data-dir", "/nowhere"]).failed(2, "is no data folder");
    run(&["query", "RETURN 1", at[0], at[1], "--param", "x"]).failed(2, "NAME=VALUE");
    let csv = run(&[
        "query",
        "MATCH (p:ConfigMap {name: $n}) RETURN p.name AS name",
        at[0],
        at[1],
        "--param",
        "n=cart-env",
        "-o",
        "csv",
    ])
    .ok();
    assert_eq!(csv, "name\r\ncart-env\r\n");
    // The query of the design, as it stands there: its clock is the end of the stream.
    let cypher = "MATCH (p:Pod {name: $podName})<-[:AFFECTS]-(e:Event) WHERE e.timestamp > datetime() - duration({hours: 1})\nOPTIONAL MATCH (e)<-[:TRIGGERED*]-(root:Event) RETURN e, root ORDER BY e.timestamp DESC";
    let pod = "podName=cart-5f9dbcfb-82fb7";
    let rows = json(&["query", cypher, at[0], at[1], "--param", pod, "-o", "json"]);
    assert!(rows["rows"].as_array().unwrap().iter().any(|r| r[1]["type"] == "config_changed"), "{rows}");
    let later = json(&["query", cypher, at[0], at[1], "--param", pod, "--at", "2030-01-01T00:00:00Z", "-o", "json"]);
    assert_eq!(later["rows"].as_array().unwrap().len(), 0);
    let counted =
        json(&["query", "MATCH (i:Incident) RETURN count(i) AS n", "--from", text(&recording()), "-o", "json"]);
    assert_eq!(counted["rows"][0][0], 1);
}

#[test]
fn a_recording_of_what_was_read_gives_the_same_answer() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.jsonl.gz");
    run(&["record", text(&recording()), "--to", text(&copy)]).ok();
    let args = |p| ["replay", p, "-o", "json"];
    assert_eq!(run(&args(text(&copy))).ok(), run(&args(text(&recording()))).ok());
    run(&["record", text(&recording()), "--to", "/nowhere/x.jsonl"]).failed(3, "cannot write /nowhere/x.jsonl");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let r = recording();
    let mut child =
        tapio(&["analyze", text(&r), "-o", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = crate::running::Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn the_demo_shows_incident_answer_and_query() {
    let out = run(&["demo"]).ok();
    for part in ["config-content-invalid", "cart-env", "MATCH (i:Incident)", "config-env", "evidence"] {
        assert!(out.contains(part), "no {part} in {out}");
    }
}
