//! Which object an alert is about, and whether it fires.

use super::*;
use crate::event::{Nothing, normalise};

fn alert(labels: &str, rest: &str) -> UnifiedEvent {
    let text = format!(
        r#"{{"timestamp":"2024-01-15T10:30:00Z","type":"Alert","source":"alert_collector","data":{{"labels":{{"alertname":"A",{labels}}},"startsAt":"2024-01-15T10:00:00Z"{rest}}}}}"#
    );
    let raw: RawEvent = serde_json::from_str(&text).unwrap();
    normalise(&raw, &Nothing).unwrap().events.pop().unwrap()
}

#[test]
fn labels_name_the_object() {
    for (labels, want) in [
        (r#""namespace":"shop","pod":"cart-1""#, "Pod shop/cart-1"),
        (r#""namespace":"shop","deployment":"cart","service":"x""#, "Deployment shop/cart"),
        (r#""namespace":"shop","job_name":"nightly""#, "Job shop/nightly"),
        (r#""namespace":"shop","persistentvolumeclaim":"data-0""#, "PersistentVolumeClaim shop/data-0"),
        (r#""namespace":"shop","service":"cart""#, "Service shop/cart"),
        (r#""node":"n1""#, "Node n1"),
        (r#""namespace":"shop""#, "Namespace shop"),
        (
            r#""job":"kube-state-metrics","namespace":"monitoring","pod":"kube-state-metrics-x","service":"kube-state-metrics","node":"n1""#,
            "Node n1",
        ),
        (
            r#""namespace":"monitoring","pod":"exporter-x","exported_namespace":"shop","exported_pod":"cart-1""#,
            "Pod shop/cart-1",
        ),
    ] {
        assert_eq!(alert(labels, "").object().map(ToString::to_string).as_deref(), Some(want), "{labels}");
    }
    let e = alert(r#""team":"a""#, "");
    assert_eq!(e.entity.unwrap().name, "A");
}

#[test]
fn status_or_end_tell_whether_it_fires() {
    for (rest, want) in [
        ("", EventKind::AlertFired),
        (r#","status":{"state":"active"},"endsAt":"2024-01-15T10:05:00Z""#, EventKind::AlertFired),
        (r#","status":"firing","endsAt":"0001-01-01T00:00:00Z""#, EventKind::AlertFired),
        (r#","status":"resolved","endsAt":"2024-01-15T10:05:00Z""#, EventKind::AlertResolved),
        (r#","status":null,"endsAt":"2024-01-15T10:05:00Z""#, EventKind::AlertResolved),
        (r#","endsAt":"2024-01-15T10:35:00Z""#, EventKind::AlertFired),
    ] {
        assert_eq!(alert(r#""node":"n1""#, rest).kind, want, "{rest}");
    }
}

#[test]
fn an_alert_that_is_sent_again_is_the_same_and_a_new_firing_is_not() {
    let first = alert(r#""node":"n1""#, r#","status":{"state":"active"},"endsAt":"2024-01-15T10:34:00Z""#);
    let again = alert(r#""node":"n1""#, r#","status":{"state":"active"},"endsAt":"2024-01-15T10:38:00Z""#);
    let other = alert(r#""node":"n1""#, r#","status":{"state":"suppressed"}"#);
    assert_eq!(first.id, again.id);
    assert_eq!(first.id, other.id);
    assert_ne!(first.id, alert(r#""node":"n2""#, "").id);
}
