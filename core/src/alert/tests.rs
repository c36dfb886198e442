use super::*;
use crate::answer::{Evidence, IncidentState, RootCause, Symptom};

fn at(text: &str) -> Time {
    Time::parse(text).unwrap()
}

fn incident() -> Incident {
    let object = ObjectRef::new("ConfigMap", "shop", "cart-env");
    let pod = ObjectRef::new("Pod", "shop", "cart-1");
    Incident {
        id: Id::of("incident", &["a"]),
        state: IncidentState::Open,
        severity: Severity::High,
        opened_at: at("2026-11-21T09:04:00Z"),
        since: at("2026-11-21T09:03:49Z"),
        updated_at: at("2026-11-21T09:04:00Z"),
        resolved_at: None,
        explained_at: None,
        root_cause: Some(RootCause {
            object: object.clone(),
            mechanism: "config-content-invalid".to_owned(),
            confidence: 0.92,
            summary: "PORT of ConfigMap shop/cart-env changed".to_owned(),
            evidence: (0..20)
                .map(|n| Evidence {
                    event: None,
                    at: Some(at("2026-11-21T09:03:49Z")),
                    source: "cluster".to_owned(),
                    object: object.clone(),
                    says: format!("line {n}\nwith a second"),
                })
                .collect(),
            refuters_checked: Vec::new(),
            path: Vec::new(),
            changes: Vec::new(),
            impact: vec![ObjectRef::new("Deployment", "shop", "cart"), pod.clone()],
            next: vec!["kubectl -n shop describe configmap/cart-env".to_owned()],
        }),
        symptoms: vec![Symptom { object: pod, says: "exits 1".to_owned(), at: at("2026-11-21T09:03:50Z") }],
    }
}

#[test]
fn an_alert_answers_what_why_since_when_hits_what_and_what_to_do_within_its_bounds() {
    let a = Alert::of(&incident(), Transition::Opened, "main", None, None);
    assert_eq!(a.body.title, "config-content-invalid: ConfigMap shop/cart-env");
    assert_eq!(a.body.what, "PORT of ConfigMap shop/cart-env changed");
    assert_eq!(a.body.verdict(), "config-content-invalid, 92 % confidence");
    assert_eq!(a.body.why.len(), MAX_EVIDENCE + 1);
    assert_eq!(a.body.why[0], "09:03:49 ConfigMap shop/cart-env: line 0 with a second");
    assert_eq!(a.body.why[MAX_EVIDENCE], "and 8 more");
    assert_eq!(a.body.since, "2026-11-21 09:03:49 UTC");
    assert_eq!(a.body.hits, ["Deployment shop/cart", "Pod shop/cart-1"]);
    assert_eq!(a.body.next, ["kubectl -n shop describe configmap/cart-env"]);
    assert_eq!(a.starts_at, at("2026-11-21T09:04:00Z"));
    assert_eq!(a.ends_at, None);
    assert_eq!(a.labels["mechanism"], "config-content-invalid");
    assert_eq!(a.labels["owner"], "ConfigMap shop/cart-env");
}

#[test]
fn a_key_tells_transitions_and_revisions_apart_and_nothing_else() {
    let i = incident();
    let opened = Alert::of(&i, Transition::Opened, "main", None, None);
    assert_eq!(opened.key, Alert::of(&i, Transition::Opened, "other", None, None).key);
    assert_ne!(opened.key, Alert::of(&i, Transition::Resolved, "main", None, None).key);
    let again = Incident { updated_at: at("2026-11-21T09:30:00Z"), ..i };
    let reopened = Alert::of(&again, Transition::Opened, "main", None, None);
    assert_ne!(opened.key, reopened.key);
    assert_eq!(reopened.starts_at, again.updated_at, "back again is a new beginning");
}

#[test]
fn labels_stay_those_of_the_opening_but_for_the_severity() {
    let mut i = incident();
    i.root_cause = None;
    let opened = Alert::of(&i, Transition::Opened, "main", None, None);
    assert_eq!(opened.labels["mechanism"], "unknown");
    assert_eq!(opened.labels["kind"], "Pod");
    let mut worse = incident();
    worse.severity = Severity::Critical;
    worse.updated_at = at("2026-11-21T09:05:00Z");
    let told = Some((&opened.labels, opened.starts_at));
    let escalated = Alert::of(&worse, Transition::Escalated, "main", told, Some(Severity::High));
    let mut want = opened.labels.clone();
    want.insert("severity".to_owned(), "critical".to_owned());
    assert_eq!(escalated.labels, want);
    assert_eq!((escalated.was, escalated.starts_at), (Some(Severity::High), worse.updated_at));
    assert_eq!(escalated.body.mechanism.as_deref(), Some("config-content-invalid"), "texts are of now");
}

#[test]
fn what_is_over_says_from_when_until_when() {
    let mut i = incident();
    i.state = IncidentState::Resolved;
    i.resolved_at = Some(at("2026-11-21T09:08:00Z"));
    i.updated_at = at("2026-11-21T09:08:30Z");
    let a = Alert::of(&i, Transition::Resolved, "main", None, None);
    assert_eq!(a.ends_at, i.resolved_at);
    assert_eq!(a.body.since, "2026-11-21 09:03:49 UTC until 2026-11-21 09:08:00 UTC, 4m11s");
    assert_eq!(a.headline(), "RESOLVED config-content-invalid: ConfigMap shop/cart-env");
    // Over before it was told: it still does not end before it began.
    i.resolved_at = Some(at("2026-11-21T09:00:00Z"));
    let a = Alert::of(&i, Transition::Resolved, "main", None, None);
    assert_eq!(a.ends_at, Some(a.starts_at));
}

#[test]
fn long_and_wild_texts_are_bounded() {
    let mut i = incident();
    let cause = i.root_cause.as_mut().unwrap();
    cause.summary = "x\u{1b}[31m".repeat(10_000);
    cause.object.name = "n".repeat(10_000);
    cause.next = vec!["y".repeat(10_000); 100];
    let a = Alert::of(&i, Transition::Opened, "main", None, None);
    assert!(!a.body.what.contains('\u{1b}'));
    assert!(a.labels.values().all(|v| v.chars().count() <= MAX_LABEL));
    assert!(serde_json::to_vec(&a).unwrap().len() < 30_000);
}
