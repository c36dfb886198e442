//! Input that nobody can use, and input of which a part can.

use std::fs;

use crate::running::{recording, run, run_with, text};

#[test]
fn what_cannot_be_used_is_named_with_a_remedy_and_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("empty")).unwrap();
    fs::create_dir(path("nodump")).unwrap();
    fs::write(path("nodump/readme.md"), "hello").unwrap();
    fs::write(path("binary"), [0u8, 159, 146, 150, 0, 1, 2, 3]).unwrap();
    fs::write(path("text.json"), "{\"a\": 1}\n").unwrap();
    fs::write(path("cut.json"), "{\"kind\":\"Pod\",\"metadata\":{\"na").unwrap();
    fs::write(path("deep.json"), "[".repeat(10_000)).unwrap();
    for (name, says) in [
        ("empty", "is an empty folder"),
        ("nodump", "is no dump"),
        ("missing", "cannot read"),
        ("binary", "binary file"),
        ("text.json", "nothing in"),
        ("cut.json", "nothing in"),
        ("deep.json", "nothing in"),
    ] {
        let input = path(name);
        for command in ["analyze", "replay"] {
            let ran = run(&[command, text(&input)]);
            assert_eq!(ran.out, "", "{command} {name}");
            ran.failed(2, says);
        }
        run(&["why", "pod/x", "--from", text(&input)]).failed(2, says);
    }
    for input in [&b""[..], b"\0\0\0", b"{\"kind\":7}\n"] {
        run_with(&["analyze", "-"], input).failed(2, "nothing in standard input");
    }
}

#[test]
fn the_readable_part_of_a_cut_recording_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let cut = dir.path().join("cut.jsonl.zst");
    let whole = fs::read(recording()).unwrap();
    fs::write(&cut, &whole[..whole.len() * 9 / 10]).unwrap();
    let ran = run(&["replay", text(&cut), "-o", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("not used: ") && ran.err.contains("cut.jsonl.zst"), "{}", ran.err);
    assert!(run(&["replay", text(&cut), "-q"]).err.is_empty());
}

#[test]
fn bad_lines_are_counted_and_five_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mixed = dir.path().join("mixed.jsonl");
    let good = r#"{"timestamp":"2024-01-15T10:30:00Z","type":"Heartbeat","source":"x","data":{}}"#;
    let pod = r#"{"timestamp":"2024-01-15T10:30:00Z","type":"ObjectAdded","source":"cluster_collector","data":{"kind":"Pod","metadata":{"name":"p","namespace":"n"}}}"#;
    let bad = "{\"timestamp\":\"yesterday\",\"type\":\"x\",\"source\":\"y\",\"data\":{}}\n".repeat(8);
    fs::write(&mixed, format!("{good}\n{bad}{pod}\n")).unwrap();
    let ran = run(&["analyze", text(&mixed)]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err.matches("not used: ").count(), 6, "{}", ran.err);
    assert!(ran.err.contains("mixed.jsonl:2") && ran.err.contains("3 more"), "{}", ran.err);
    let data = dir.path().join("d");
    run(&["replay", text(&mixed), "--data-dir", text(&data), "-q"]).ok();
    let listed = run(&["dead-letters", "--data-dir", text(&data), "-o", "json"]).ok();
    let letters: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(letters.as_array().unwrap().len(), 8);
    assert_eq!(letters[0]["line"], 2);
}

#[test]
fn control_characters_of_the_input_do_not_reach_the_terminal() {
    let pod = r#"{"timestamp":"2024-01-15T10:30:00Z","type":"ObjectAdded","source":"cluster_collector","data":{"kind":"Pod","metadata":{"name":"p","namespace":"n"}}}
{"timestamp":"2024-01-15T10:30:01Z","type":"Event","source":"cluster_collector","data":{"kind":"Event","metadata":{"name":"e","namespace":"n"},"involvedObject":{"kind":"Pod","name":"p","namespace":"n"},"reason":"Failed","type":"Warning","message":"\u001b]0;owned\u0007 \u001b[31mred","lastTimestamp":"2024-01-15T10:30:01Z"}}
"#;
    let out = run_with(&["timeline", "pod/p", "--from", "-"], pod.as_bytes()).ok();
    assert!(out.contains("red") && !out.contains('\u{1b}') && !out.contains('\u{7}'), "{out:?}");
}

#[test]
fn a_cluster_that_cannot_be_talked_to_is_named_with_a_remedy_and_ends_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // A port that nobody listens on, for as long as it is ours to give back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n- name: c\n  cluster: {{server: 'http://{free}'}}\n\
         contexts:\n- name: a\n  context: {{cluster: c, user: u}}\nusers:\n- name: u\n  user: {{token: t}}\n"
    );
    fs::write(path("config"), kubeconfig).unwrap();
    fs::write(path("broken"), "{").unwrap();
    let config = path("config");
    let data = path("data");
    let file = path("x.jsonl");
    for (arguments, says) in [
        (vec!["--kubeconfig", "/nowhere/config"], "cannot read /nowhere/config"),
        (vec!["--kubeconfig", text(&path("broken"))], "kubeconfig cannot be used"),
        (vec!["--kubeconfig", text(&config), "--context", "b"], "no context `b`; it has: a"),
        (vec!["--kubeconfig", text(&config)], "cannot be reached"),
    ] {
        for command in
            [vec!["up", "--data-dir", text(&data)], vec!["record", "-o", text(&file)], vec!["check", "cluster"]]
        {
            run(&[command, arguments.clone()].concat()).failed(3, says);
            // Nothing is left behind of what did not begin.
            assert!(!data.exists() && !file.exists());
        }
    }
    run(&["record", "--for", "soon", "-o", text(&file)]).failed(2, "90s, 10m or 2h");
    run(&["up", "-o", "yaml"]).failed(2, "no YAML form");
}
