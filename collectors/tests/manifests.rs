//! Manifests: what is read, and how what cannot be read is named.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs;

use tapio_collectors::manifests::{ManifestError, read};
use tapio_collectors::redaction::Redaction;
use tapio_core::manifest::Manifest;

fn of(text: &str) -> Result<Vec<Manifest>, ManifestError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.yaml");
    fs::write(&file, text).unwrap();
    read(&[file], &Redaction::default())
}

fn names(all: &[Manifest]) -> Vec<String> {
    all.iter().map(|m| format!("{}:{}", m.document, m.object["metadata"]["name"].as_str().unwrap())).collect()
}

#[test]
fn documents_lists_and_json_are_read_with_their_place() {
    let yaml = "# head\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n- {apiVersion: v1, kind: Service, metadata: {name: c}}\n";
    let all = of(yaml).unwrap();
    assert_eq!(names(&all), ["1:a", "2:b", "2:c"]);
    assert_eq!((all[0].line, all[1].line), (2, 7));
    let json = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}
{"apiVersion":"v1","kind":"ConfigMapList","items":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}]}"#;
    let all = of(json).unwrap();
    assert_eq!((names(&all), all[1].line), (vec!["1:a".to_owned(), "2:b".to_owned()], 2));
}

#[test]
fn folders_are_read_in_the_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    let object = |n: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {n}}}\n");
    fs::create_dir(dir.path().join("sub")).unwrap();
    for (file, name) in
        [("b.yml", "b"), ("a.yaml", "a"), ("sub/c.yaml", "c"), (".hidden.yaml", "no"), ("note.txt", "no")]
    {
        fs::write(dir.path().join(file), object(name)).unwrap();
    }
    assert_eq!(names(&read(&[dir.path().to_owned()], &Redaction::default()).unwrap()), ["1:a", "1:b", "1:c"]);
}

#[test]
fn no_value_of_a_secret_gets_out() {
    let all =
        of("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {pw: canary-7}\ndata: {k: Y2FuYXJ5}\n")
            .unwrap();
    let text = all[0].object.to_string();
    assert!(!text.contains("canary") && !text.contains("Y2FuYXJ5"), "{text}");
    assert!(text.contains("\"pw\"") && text.contains("\"k\""), "{text}");
}

#[test]
fn what_cannot_be_used_is_named_with_file_document_line_and_remedy() {
    for (text, says) in [
        ("kind: A\n---\napiVersion: v1\n  kind: [\n", vec!["m.yaml, document 1 (line 1)", "`apiVersion` is missing"]),
        (
            "apiVersion: v1\nkind: A\nmetadata: {name: x}\n---\na: b\n c: [\n",
            vec!["document 2, line 6", "correct it there"],
        ),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", vec!["`metadata.name` is missing in this ConfigMap"]),
        ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: x-}\n", vec!["generateName"]),
        ("apiVersion: v1\nkind: 7\nmetadata: {name: x}\n", vec!["field `kind` is no text"]),
        ("kind: Kustomization\nresources: []\n", vec!["kubectl kustomize"]),
        ("apiVersion: v1\nkind: A\nmetadata:\n  name: {{ .Values.name }}\n  x: {{ y\n", vec!["helm template"]),
        ("just words\n", vec!["no object"]),
        ("{\"apiVersion\": \"v1\",\n \"kind\": }", vec!["document 1, line 2 column", "not JSON"]),
        ("# nothing\n", vec!["holds no manifest"]),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", vec!["`apiVersion` is missing"]),
    ] {
        let e = of(text).unwrap_err().to_string();
        for s in says {
            assert!(e.contains(s), "expected `{s}` in: {e}");
        }
    }
    let e = read(&["/nowhere/x.yaml".into()], &Redaction::default()).unwrap_err().to_string();
    assert!(e.contains("cannot read /nowhere/x.yaml"), "{e}");
}
