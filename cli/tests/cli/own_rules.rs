//! Rules of one's own: what is said about bad ones, what good ones find, and how they are tested.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tapio_collectors::{Item, ReadOptions};
use tapio_core::change::GraphChange;
use tapio_core::ontology::OBJECT_PROPERTIES;
use tapio_engine::{EngineConfig, EventProcessor};

use crate::running::{run, text};

/// The rules of docs/own-rules.md: the page is what is tested.
fn good() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/own-rules.md");
    let page = fs::read_to_string(page).unwrap();
    page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap().to_owned()
}
/// A rule that fails as soon as there is a pod.
const FAILING: &str = r#"
  - id: always-fails
    severity: low
    title: t
    message: m
    query: "MATCH (p:Pod) RETURN duration({hours: p.name}) AS x"
"#;

fn story(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name);
    let names = ["recording.jsonl.zst", "recording.jsonl"];
    names.iter().map(|n| folder.join(n)).find(|p| p.exists()).unwrap()
}

/// A rule with one field more or other than a good one.
fn with(fields: &str) -> String {
    let mut out = String::from("rules:\n  - id: a-rule\n    severity: low\n    title: t\n");
    for (name, value) in [("message", "m"), ("query", "MATCH (p:Pod) RETURN p.name AS pod, p.phase AS phase")] {
        if !fields.contains(&format!("{name}:")) {
            out.push_str(&format!("    {name}: {value}\n"));
        }
    }
    out.push_str(&format!("    {fields}\n"));
    out
}

#[test]
fn every_error_of_a_rule_has_place_name_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tapio.yaml");
    let says = |content: &str| {
        fs::write(&file, content).unwrap();
        let ran = run(&["check", "config", text(&file)]);
        (ran.code, ran.out, ran.err.replace(&format!("{}:", file.display()), ""))
    };
    for (fields, want) in [
        // The file.
        ("sverity: low", "7:14: rule a-rule: `sverity` is no field of a rule; did you mean severity, every"),
        ("for: 30", "7:10: rule a-rule: `for: 30` is no time; give a time like 30s, 5m or 1h30m"),
        ("for: 25h", "7:10: rule a-rule: `for: 25h` is too long; give 24h or less"),
        ("every: 10ms", "7:12: rule a-rule: `every: 10ms` is too short; give 1s or more"),
        ("resolve: [1s]", "7:14: rule a-rule: `resolve: a list` is no time; give a time like 30s, 5m or 1h30m"),
        ("key: []", "7:10: rule a-rule: `key` is empty; name columns, or leave it out to take all"),
        ("key: pod", "7:10: rule a-rule: `key` is a text; give a list of columns, like [pod, phase]"),
        ("key: [pod, pod]", "7:16: rule a-rule: `key` names `pod` twice, remove one"),
        (
            "key: [name]",
            "7:11: rule a-rule: `key` names `name`, and the query returns pod, phase; write RETURN … AS name",
        ),
        (
            "message: \"{{pdo}}\"",
            "6:14: rule a-rule: `message` names `pdo`, and the query returns pod, phase; write RETURN … AS pdo",
        ),
        (
            "message: \"{{upper(pod)}}\"",
            "6:14: rule a-rule: `message` names `upper(pod)`, and the query returns pod, phase; write RETURN … AS upper(pod)",
        ),
        ("message: \"{{pod\"", "6:14: rule a-rule: `message`: `{{` is never closed, write {{column}}"),
        ("message: 5", "6:14: rule a-rule: `message` is a number or truth value, and must be a text; put it in quotes"),
        // The query.
        ("query: \"\"", "6:12: rule a-rule: `query` is empty; write the Cypher whose rows are findings"),
        (
            "query: MATCH (p:Pd) RETURN p",
            "6:21: rule a-rule: query line 1, column 10: no node has the label `Pd`; did you mean Pod, PVC",
        ),
        (
            "query: MATCH (h:HelmRelease) RETURN h.name",
            "6:21: rule a-rule: query line 1, column 10: no node has the label `HelmRelease`; docs/ontology.md lists all, and any other kind is written :Object:HelmRelease",
        ),
        (
            "query: \"MATCH (p:Pod)-[:RUNS_AT]->(n:Node) RETURN n\"",
            "6:29: rule a-rule: query line 1, column 17: no relation has the type `RUNS_AT`; did you mean RUNS_ON",
        ),
        (
            "query: \"MATCH (p:Pod {name: $pod}) RETURN p\"",
            "6:33: rule a-rule: query line 1, column 21: `$pod` has no value in a rule; write the value in its place",
        ),
        (
            "query: |\n      MATCH (p:Pod)\n      DETACH DELETE p",
            "8:7: rule a-rule: query line 2, column 1: DETACH writes, and queries only read; a name that is called so goes in backticks",
        ),
        (
            "query: |\n      MATCH (p:Pod)\n      WHERE p.name == 'x'\n      RETURN p",
            "8:21: rule a-rule: query line 2, column 15: ",
        ),
        (
            "query: |\n      MATCH (p:Pod)\n      RETURN q.name",
            "8:14: rule a-rule: query line 2, column 8: semantic error: ",
        ),
        (
            "query: MATCH (p:Pod) RETURN frob(p.name) AS x",
            "6:33: rule a-rule: query line 1, column 22: semantic error: unknown function 'frob'",
        ),
        (
            "query: MATCH (p:Pod RETURN p",
            "6:33: rule a-rule: query line 1, column 22: a bracket is still open at the end, close it",
        ),
    ] {
        let (code, out, err) = says(&with(fields));
        assert_eq!((code, out.as_str()), (2, ""), "{fields}: {err}");
        let lines: Vec<&str> = err.lines().skip_while(|l| !l.starts_with("error: ")).collect();
        assert!(lines[0].ends_with("1 error in its rules"), "{fields}: {err}");
        assert!(lines[1].starts_with(want) && lines.len() == 2, "{fields}\nwant {want}\ncame {err}");
        if !want.ends_with([' ', ':']) {
            assert_eq!(lines[1], want);
        }
    }
}

#[test]
fn all_errors_of_all_rules_come_at_once_in_the_order_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tapio.yaml");
    let bad = "
rules:
  - severity: urgent
  - just a text
  - id: death-spiral
    severity: high
    title: t
    message: m
    query: MATCH (p:Pod) RETURN p.name AS pod
  - id: oom-killed
    severity: high
    title: \"{{pod}}\"
    message: m
    query: MATCH (p:Pod) RETURN p.name AS pod
  - id: oom-killed
    severity: high
    title: t
    message: m
    query: MATCH (p:Pod) RETURN p.name AS pod
";
    fs::write(&file, bad).unwrap();
    let ran = run(&["check", "config", text(&file)]);
    let came: Vec<String> = ran.err.lines().map(|l| l.replace(&format!("{}:", file.display()), "")).collect();
    let want = [
        "3:5: rule number 1: `id` is missing; give a name of its own, like restarts-in-shop",
        "3:5: rule number 1: `message` is missing; say what a finding means",
        "3:5: rule number 1: `query` is missing; write the Cypher whose rows are findings",
        "3:5: rule number 1: `title` is missing; say in a few words what it is about",
        "3:15: rule number 1: `urgent` is no severity; give one of critical, high, medium, low",
        "4:5: rule number 2: is a text; write a map with id, severity, query, title and message",
        "5:9: rule death-spiral: `death-spiral` is a pattern of Tapio's own; choose another id",
        "12:12: rule oom-killed: a title is the same for all findings; columns go into `message`",
        "15:9: rule oom-killed: the id stands at line 10 already; choose another one",
    ];
    assert_eq!(ran.code, 2);
    assert_eq!(came[1..], want, "{}", ran.err);
    // A command that would use them says the same.
    let replay = run(&["replay", text(&story("config-env-typo")), "--config", text(&file)]);
    assert_eq!((replay.code, replay.out.as_str(), replay.err), (2, "", ran.err));
}

#[test]
fn a_wrong_property_is_a_doubt_and_a_good_file_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tapio.yaml");
    fs::write(&file, with("query: MATCH (p:Pod) RETURN p.restarts AS n")).unwrap();
    let ran = run(&["check", "config", text(&file)]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let want = ":6:35: rule a-rule: query line 1, column 24: Pod has no property `restarts`, so it is always null; there are created_at, ";
    assert!(ran.err.starts_with("warning: ") && ran.err.contains(want), "{}", ran.err);
    fs::write(&file, good()).unwrap();
    let ran = run(&["check", "config", text(&file)]);
    assert_eq!(ran.err, "");
    let out = ran.ok();
    assert!(out.contains(", 1 rule\n") && out.contains("restarts-in-team-07"), "{out}");
}

#[test]
fn a_replay_tells_what_rules_found_the_same_in_every_run_and_in_a_data_folder() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tapio.yaml");
    fs::write(&file, format!("{}{FAILING}", good())).unwrap();
    let recording = story("config-env-typo");
    let (input, config) = (text(&recording), text(&file));
    let first = run(&["replay", input, "--config", config, "-o", "json", "--stats"]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert_eq!(first.err.matches("rule always-fails is off until the next start").count(), 1, "{}", first.err);
    assert!(first.err.contains("rules: 2, 1 fenced; findings: 1 firing, 0 over, 0 left out"), "{}", first.err);
    let answer: Value = serde_json::from_str(&first.out).unwrap();
    let [finding] = answer["rules"].as_array().unwrap().as_slice() else { panic!("{}", answer["rules"]) };
    let rows = json!([{"pod": "cart-5f9dbcfb-82fb7", "restarts": 4}]);
    let want = json!({
        "id": "restarts-in-team-07",
        "severity": "high",
        "title": "Pods of team-07 restart",
        "message": "cart-5f9dbcfb-82fb7 restarted 4 times",
        "key": {"pod": "cart-5f9dbcfb-82fb7"},
        "state": "firing",
        "since": finding["since"],
        "opened_at": finding["opened_at"],
        "resolved_at": null,
        "rows": rows,
    });
    assert_eq!(*finding, want);
    assert_eq!(answer["rules_fenced"][0]["id"], "always-fails");

    let again = run(&["replay", input, "--config", config, "-o", "json"]).ok();
    assert_eq!(again, first.out);
    let folder = dir.path().join("data");
    let folder = text(&folder);
    assert_eq!(run(&["replay", input, "--config", config, "--data-dir", folder, "-o", "json"]).ok(), first.out);
    // Nothing new: what was found is still known. The fence is not: the rule had no chance to fail again.
    let kept: Value =
        serde_json::from_str(&run(&["replay", "--config", config, "--data-dir", folder, "-o", "json"]).ok()).unwrap();
    assert_eq!(kept["rules"], answer["rules"]);
    let plain: Value = serde_json::from_str(&run(&["replay", input, "-o", "json"]).ok()).unwrap();
    assert!(plain.get("rules").is_none() && plain["incidents"] == answer["incidents"]);
    let table = run(&["replay", input, "--config", config]).ok();
    assert!(table.contains("firing    own rule  high      restarts-in-team-07"), "{table}");
    assert!(table.contains("own rules 1 finding: 1 firing, 0 over"), "{table}");
}

#[test]
fn a_test_folder_passes_fails_with_the_difference_or_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let scenario = |name: &str, from: &str, expected: Value| {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::copy(story(from), root.join(name).join("recording.jsonl.zst")).unwrap();
        fs::write(root.join(name).join("expected.json"), expected.to_string()).unwrap();
    };
    let check = || run(&["check", "rules", text(root)]);
    check().failed(2, "tapio.yaml");
    fs::write(root.join("tapio.yaml"), good()).unwrap();
    check().failed(2, "holds no scenario");
    let pod = json!({"pod": "cart-5f9dbcfb-82fb7"});
    let finding = json!({
        "id": "restarts-in-team-07", "key": pod, "state": "firing", "message": "restarted 4 times",
        "opened_not_before": "2026-11-21T09:03:54Z", "within_secs": 60,
    });
    scenario("bad", "config-env-typo", json!({"says": "A typo.", "findings": [finding]}));
    scenario("quiet", "config-env-good-change", json!({"findings": [], "quiet": true, "incidents": []}));
    assert_eq!(check().ok(), "pass  bad  1 finding\npass  quiet  0 findings\n2 scenarios, 0 failed\n");

    let late = json!({"id": "restarts-in-team-07", "state": "resolved", "decisive_at": "2026-11-21T09:03:54Z", "within_secs": 1});
    let other = json!({"id": "restarts-in-team-07", "key": {"pod": "other"}});
    scenario("bad", "config-env-typo", json!({"findings": [late, other]}));
    scenario("quiet", "config-env-typo", json!({"findings": []}));
    let ran = check();
    assert_eq!((ran.code, ran.err.as_str()), (1, ""), "{}", ran.out);
    for part in [
        "FAIL  bad  1 finding\n",
        "missing: restarts-in-team-07 [pod=other]\n",
        "it ends firing, expected resolved\n",
        "later than 1 s after 2026-11-21T09:03:54Z\n",
        "FAIL  quiet  1 finding\n      not expected: restarts-in-team-07 [pod=cart-5f9dbcfb-82fb7]",
        "2 scenarios, 2 failed\n",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }

    // Everything that is wrong with the folder at once.
    fs::write(root.join("bad/expected.json"), r#"{"findings": [{"id": "nope"}]}"#).unwrap();
    fs::remove_file(root.join("quiet/recording.jsonl.zst")).unwrap();
    let ran = check();
    assert_eq!(ran.out, "");
    assert!(ran.err.contains("no recording.jsonl.zst"), "{}", ran.err);
    ran.failed(2, "there is no rule `nope`; there are restarts-in-team-07");
}

/// The names that rules may use are those that the engine writes.
#[test]
fn no_property_is_written_that_the_ontology_does_not_name() {
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for name in ["config-env-typo", "drain-moves-pods", "claim-waits-for-first-consumer", "job-retries-and-completes"] {
        let reader = tapio_collectors::open(&[story(name)], ReadOptions::default()).unwrap();
        let mut engine = EventProcessor::new(EngineConfig { project: true, ..EngineConfig::default() });
        let events = reader.filter_map(|i| match i {
            Item::Event(e) => Some(e),
            Item::Dead(_) => None,
        });
        let mut changes = engine.process(events).changes;
        changes.extend(engine.finish().changes);
        for c in changes {
            let (word, props, known, object) = match c {
                GraphChange::Node { node, props, .. } => {
                    (node.label.as_str(), props, node.label.properties(), node.label.is_object())
                }
                GraphChange::Edge { relation, props, .. } => (relation.as_str(), props, relation.properties(), false),
                _ => continue,
            };
            seen += 1;
            let unknown = |n: &&str| !(known.contains(n) || (object && OBJECT_PROPERTIES.contains(n)));
            missing.extend(props.iter().map(|(n, _)| *n).filter(unknown).map(|n| format!("{word}.{n}")));
        }
    }
    assert!(seen > 500, "{seen}");
    assert_eq!(missing, BTreeSet::new());
}
