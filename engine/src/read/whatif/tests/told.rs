//! Differences, whom they hit and when, and how a change set is taken together.

use serde_json::json;
use tapio_core::unified::Severity;

use super::*;
use crate::read::Effect;
use crate::read::whatif::Action;

fn hits(w: &WhatIf) -> Vec<String> {
    w.changes[0].hits.iter().map(|h| format!("{} {} {:?} {}", h.object, h.mechanism, h.effect, h.pods.len())).collect()
}

#[test]
fn only_what_a_manifest_sets_is_compared_and_defaults_are_no_difference() {
    let world = shop();
    let live = World::live(&world, &tapio_core::object::ObjectRef::new("Deployment", "shop", "web")).is_some();
    assert!(live);
    for (what, manifest, want) in [
        ("itself", web(json!({})), vec![]),
        (
            "less",
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"replicas": 2}}),
            vec![],
        ),
        ("a field that is nothing", web(json!({"spec": {"paused": false, "minReadySeconds": 0}})), vec![]),
        ("another spelling", web_service(json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}]}})), vec![]),
        (
            "left-overs of a get",
            web(json!({"status": {"replicas": 9}, "metadata": {"uid": "x", "resourceVersion": "9"}})),
            vec![],
        ),
        ("one field", web(json!({"spec": {"replicas": 3}})), vec!["spec.replicas: 2 -> 3"]),
        (
            "an element of a list",
            {
                let mut o = web(json!({}));
                o["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
                o
            },
            vec!["spec.template.spec.containers[app].image: web:1 -> web:2"],
        ),
        (
            "keys as a whole",
            object("v1", "ConfigMap", "app", json!({"data": {"A": "1", "C": "3"}})),
            vec!["data.B: 2 -> -", "data.C: - -> 3"],
        ),
        (
            "values of Secrets are hidden",
            object("v1", "Secret", "creds", json!({"data": {"user": "", "key": ""}})),
            vec!["data.pw: <redacted> -> -", "data.key: - -> <redacted>"],
        ),
        (
            "a label more",
            object("v1", "ServiceAccount", "runner", json!({"metadata": {"labels": {"a": "b"}}})),
            vec!["metadata.labels.a: - -> b"],
        ),
    ] {
        let found = ask(&world, &[manifest], false);
        let shown = |v: &Option<String>| v.clone().unwrap_or_else(|| "-".to_owned());
        let fields: Vec<String> = found.changes[0]
            .fields
            .iter()
            .map(|f| format!("{}: {} -> {}", f.field, shown(&f.before), shown(&f.after)))
            .collect();
        assert_eq!(fields, want, "{what}");
        let action = if want.is_empty() { Action::Unchanged } else { Action::Changed };
        assert_eq!(found.changes[0].action, action, "{what}");
    }
}

#[test]
fn fields_that_are_not_kept_are_named_and_foreign_kinds_are_only_compared() {
    let mut o = web(json!({}));
    o["spec"]["template"]["spec"]["hostPID"] = json!(true);
    let found = ask(&shop(), &[o], false);
    assert_eq!(found.changes[0].not_compared, ["spec.template.spec.hostPID"]);
    let mut o = web(json!({}));
    merge(&mut o["spec"]["template"]["spec"]["containers"][0], json!({"resources": null, "ports": null}));
    let found = ask(&shop(), &[o], false);
    assert_eq!(found.changes[0].action, Action::Unchanged);
    let at = "spec.template.spec.containers[app]";
    assert_eq!(found.changes[0].left, [format!("{at}.ports"), format!("{at}.resources")]);
    let foreign = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "shop"}, "spec": {"x": 1}});
    let found = ask(&shop(), &[foreign], false);
    assert!(!found.changes[0].known && found.changes[0].action == Action::New && found.findings.is_empty());
}

#[test]
fn it_is_told_who_is_hit_how_and_when() {
    let world = shop();
    let image = {
        let mut o = web(json!({}));
        o["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
        o
    };
    for (manifest, want) in [
        (
            object("v1", "ConfigMap", "app", json!({"data": {"A": "7", "B": "2"}})),
            vec!["Deployment shop/web config-env NextStart 2"],
        ),
        // Nobody reads B.
        (object("v1", "ConfigMap", "app", json!({"data": {"A": "1", "B": "7"}})), vec![]),
        (
            object("v1", "ConfigMap", "files", json!({"data": {"a.conf": "7", "b.conf": "2"}})),
            vec!["Deployment shop/web config-volume KubeletSync 2"],
        ),
        // Its values are not seen.
        (
            object("v1", "Secret", "creds", json!({"data": {"user": "", "pw": ""}})),
            vec!["Deployment shop/db config-env NextStart 1"],
        ),
        (image, vec!["Deployment shop/web template-rollout Rollout 2"]),
        (web(json!({"spec": {"replicas": 3}})), vec!["Deployment shop/web scale AtOnce 2"]),
        (web(json!({})), vec![]),
        (
            web_service(json!({"spec": {"selector": {"app": "db"}}})),
            vec!["Deployment shop/db selector AtOnce 1", "Deployment shop/web selector AtOnce 2"],
        ),
        (
            web_service(json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}})),
            vec!["Deployment shop/web port AtOnce 2"],
        ),
        (
            object(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                "p",
                json!({"spec": {"podSelector": {"matchLabels": {"app": "web"}}}}),
            ),
            vec!["Deployment shop/web policy AtOnce 2"],
        ),
    ] {
        let found = ask(&world, &[manifest], false);
        assert_eq!(hits(&found), want, "{:?}", found.changes[0].object);
    }
    let found = ask(&world, &[object("v1", "ConfigMap", "app", json!({"data": {"A": "7", "B": "2"}}))], false);
    assert_eq!(found.changes[0].services[0].name, "web");
    assert_eq!(found.changes[0].ingresses[0].name, "front");
    let found = ask(&world, &[db_service(json!({"spec": {"ports": [{"port": 5432, "targetPort": "pg"}]}}))], false);
    assert_eq!(found.changes[0].callers[0].name, "web");
}

#[test]
fn what_was_wrong_before_is_low_and_only_told_of_what_is_touched() {
    let mut world = shop();
    let app = world.live(&tapio_core::object::ObjectRef::new("ConfigMap", "shop", "app")).unwrap().clone();
    world.delete(&app, now());
    let untouched =
        ask(&world, &[object("v1", "ConfigMap", "files", json!({"data": {"a.conf": "7", "b.conf": "2"}}))], false);
    assert!(untouched.findings.is_empty(), "{:#?}", told(&untouched));
    let touched = ask(&world, &[web(json!({"spec": {"replicas": 3}}))], false);
    assert_eq!(touched.worst, Some(Severity::Low));
    assert!(touched.findings[0].already && touched.findings[0].says.ends_with("(so already now)"));
}

#[test]
fn the_later_of_two_manifests_of_one_object_counts_and_defaults_are_filled_in() {
    let world = shop();
    let found = ask(&world, &[web(json!({"spec": {"replicas": 0}})), web(json!({"spec": {"replicas": 3}}))], false);
    assert_eq!(found.changes.len(), 1);
    assert!(found.findings.is_empty());
    let bare =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": {"A": "1", "B": "2"}});
    let m = Manifest { file: "m".to_owned(), document: 1, line: 1, object: bare };
    for (namespace, want) in [(Some("shop"), Action::Unchanged), (None, Action::New)] {
        let asked = Asked { namespace: namespace.map(str::to_owned), delete: false };
        let found = in_world(&world, now(), std::slice::from_ref(&m), &asked).unwrap();
        assert_eq!(found.changes[0].action, want, "{namespace:?}");
    }
}

#[test]
fn evidence_says_whether_a_manifest_or_the_cluster_says_so() {
    let found = ask(&shop(), &[object("v1", "ConfigMap", "app", json!({"data": {"B": "2"}}))], false);
    let sources: Vec<&str> = found.findings[0].evidence.iter().map(|e| e.source.as_str()).collect();
    assert_eq!(sources, ["cluster", "manifest"]);
    assert_eq!(found.findings[0].object.kind, "ConfigMap");
}

#[test]
fn a_wrong_type_names_place_and_field() {
    let m = Manifest {
        file: "m.yaml".to_owned(),
        document: 3,
        line: 17,
        object: web(json!({"spec": {"replicas": "three"}})),
    };
    let e = in_world(&shop(), now(), &[m], &Asked::default()).unwrap_err().to_string();
    for part in ["m.yaml, document 3 (line 17)", "Deployment", "replicas", "kubectl explain deployment"] {
        assert!(e.contains(part), "no {part} in {e}");
    }
}

#[test]
fn two_questions_have_the_same_answer_and_deleted_volumes_wait_for_the_next_pod() {
    let world = shop();
    let manifests = [web(json!({"spec": {"replicas": 0}})), object("v1", "ConfigMap", "app", json!({"data": {}}))];
    let text = |w: &WhatIf| serde_json::to_string(w).unwrap();
    assert_eq!(text(&ask(&world, &manifests, false)), text(&ask(&world, &manifests, false)));
    let gone = ask(&world, &[object("v1", "ConfigMap", "files", json!({}))], true);
    assert_eq!(gone.changes[0].hits[0].effect, Effect::NextPod);
    assert_eq!(gone.findings[0].effect, Effect::NextPod);
}
