//! Manifests against a real recording, before anybody applies them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::running::{Ran, recording, run, run_with, text};

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn ask(file: &Path, more: &[&str]) -> Ran {
    let r = recording();
    let mut args = vec!["impact", "-f", text(file), "--from", text(&r)];
    args.extend(more);
    run(&args)
}

fn json(file: &Path, more: &[&str]) -> Value {
    let more: Vec<&str> = more.iter().copied().chain(["-o", "json"]).collect();
    serde_json::from_str(&ask(file, &more).ok()).unwrap()
}

fn checks(v: &Value) -> Vec<String> {
    let found = v["findings"].as_array().unwrap();
    found.iter().map(|f| format!("{} {}", f["severity"].as_str().unwrap(), f["check"].as_str().unwrap())).collect()
}

fn one(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    dir.path().join(name)
}

/// The key `store-addr` is left out; a container of Deployment cart needs it.
const KEY_GONE: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: cart-env}
data:
  max-connections: \"64\"
";
const KEY_KEPT: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: cart-env}
data:
  max-connections: \"64\"
  store-addr: store:6380
";

#[test]
fn what_breaks_comes_first_and_fail_on_decides_the_exit_code() {
    let dir = folder(&[("gone.yaml", KEY_GONE), ("kept.yaml", KEY_KEPT)]);
    let (gone, kept) = (one(&dir, "gone.yaml"), one(&dir, "kept.yaml"));
    let ns = ["-n", "team-07"];
    let out = ask(&gone, &ns).ok();
    assert!(out.starts_with("1 finding: 1 high\n1 object: 1 changed\n"), "{out}");
    for part in [
        "high  key-missing  ConfigMap team-07/cart-env",
        "needs key store-addr of ConfigMap team-07/cart-env",
        "next start of the container",
        "Deployment team-07/cart  config-env, container app  2     next start",
        "data.store-addr: goes, was store:6380",
    ] {
        assert!(out.contains(part), "no `{part}` in {out}");
    }
    let good = ask(&kept, &ns).ok();
    assert!(good.starts_with("nothing is found to break"), "{good}");
    for (file, on, code) in [(&gone, "high", 1), (&gone, "low", 1), (&kept, "low", 0)] {
        assert_eq!(ask(file, &["-n", "team-07", "--fail-on", on]).code, code, "{on}");
    }
    // Without -n it is of namespace default, which this cluster's recording knows and where nobody reads it.
    let elsewhere = json(&gone, &[]);
    assert_eq!(elsewhere["changes"][0]["object"]["namespace"], "default");
    assert_eq!(elsewhere["changes"][0]["action"], "new");
}

#[test]
fn the_answer_has_the_documented_shape_and_is_the_same_twice() {
    let dir = folder(&[("gone.yaml", KEY_GONE)]);
    let found = json(&one(&dir, "gone.yaml"), &["-n", "team-07"]);
    let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&found), ["changes", "findings", "worst"]);
    assert_eq!(
        keys(&found["findings"][0]),
        ["already", "check", "effect", "evidence", "hits", "object", "place", "says", "severity"]
    );
    assert_eq!(
        keys(&found["changes"][0]),
        [
            "action",
            "callers",
            "fields",
            "hits",
            "ingresses",
            "known",
            "left",
            "not_compared",
            "object",
            "place",
            "services"
        ]
    );
    assert_eq!(found["findings"][0]["effect"], "next_start");
    assert_eq!(found["changes"][0]["hits"][0]["mechanism"], "config-env");
    assert!(found["findings"][0]["place"].as_str().unwrap().ends_with("gone.yaml, document 1 (line 1)"));
    for form in ["table", "wide", "json", "yaml"] {
        let args = ["-n", "team-07", "-o", form];
        let file = one(&dir, "gone.yaml");
        assert_eq!(ask(&file, &args).ok(), ask(&file, &args).ok(), "{form}");
    }
}

#[test]
fn a_folder_is_one_change_and_standard_input_will_do() {
    let deployment = "apiVersion: apps/v1
kind: Deployment
metadata: {name: fresh, namespace: team-07}
spec:
  selector: {matchLabels: {app: fresh}}
  template:
    metadata: {labels: {app: fresh}}
    spec:
      containers:
      - name: app
        image: fresh:1
        envFrom: [{configMapRef: {name: fresh-env}}]
";
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fresh-env, namespace: team-07}\n";
    let both = folder(&[("a.yaml", deployment), ("b.yaml", config)]);
    assert_eq!(checks(&json(both.path(), &[])), Vec::<String>::new());
    let r = recording();
    let args = ["impact", "-f", "-", "--from", text(&r), "-o", "json"];
    let alone: Value = serde_json::from_str(&run_with(&args, deployment.as_bytes()).ok()).unwrap();
    assert!(
        checks(&alone).iter().any(|c| c.ends_with(" config-missing") || c.ends_with(" config-not-seen")),
        "{alone}"
    );
    run_with(&["impact", "-f", "-", "--from", "-"], b"").failed(2, "standard input can be read once");
}

#[test]
fn a_deletion_says_who_loses_what() {
    let dir = folder(&[("kept.yaml", KEY_KEPT)]);
    let found = json(&one(&dir, "kept.yaml"), &["-n", "team-07", "--delete"]);
    assert_eq!(checks(&found), ["high config-missing"]);
    assert_eq!(found["changes"][0]["action"], "deleted");
    assert_eq!(found["changes"][0]["hits"][0]["object"]["name"], "cart");
    let absent = json(&one(&dir, "kept.yaml"), &["-n", "team-08", "--delete"]);
    assert!(checks(&absent).contains(&"low not-there".to_owned()), "{absent}");
}

#[test]
fn what_cannot_be_read_ends_with_2_and_names_file_document_and_field() {
    let dir = folder(&[
        ("cut.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: [\n"),
        ("name.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n"),
        (
            "type.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cart, namespace: team-07}\nspec: {replicas: many}\n",
        ),
        ("empty.yaml", "# nothing\n"),
    ]);
    for (name, says) in [
        ("cut.yaml", "document 2, line "),
        ("name.yaml", "`metadata.name` is missing"),
        ("type.yaml", "type.yaml, document 1 (line 1): Deployment cart: field `spec.replicas`"),
        ("empty.yaml", "holds no manifest"),
        ("nowhere.yaml", "check that it exists"),
    ] {
        let ran = ask(&one(&dir, name), &["--fail-on", "high"]);
        assert_eq!(ran.out, "");
        ran.failed(2, says);
    }
    let r = recording();
    run(&["impact", "-f", "x.yaml", "cm/cart-env", "--from", text(&r)]).failed(2, "cannot be used with");
    run(&["impact", "--from", text(&r)]).failed(2, "KIND/NAME");
    run(&["impact", "cm/cart-env", "--delete", "--from", text(&r)]).failed(2, "cannot be used with '--delete'");
}

#[test]
fn no_value_of_a_secret_is_shown() {
    let dir = folder(&[(
        "s.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: store-auth, namespace: team-07}\nstringData: {extra: canary-11}\n",
    )]);
    for form in ["wide", "json", "yaml"] {
        let ran = ask(&one(&dir, "s.yaml"), &["-o", form]);
        assert!(!ran.out.contains("canary") && !ran.err.contains("canary"), "{}", ran.out);
        assert!(ran.out.contains("config-volume"), "{}", ran.out);
    }
}
