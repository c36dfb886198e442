//! Tests over all events: the catalog is complete and true, samples mean what they should, bad input says where.

use super::*;
use crate::unified::Severity;

fn raw(json: &str) -> RawEvent {
    serde_json::from_str(json).unwrap()
}

fn of(kind: &str, data: &str) -> RawEvent {
    raw(&format!(
        r#"{{"timestamp":"2024-01-15T10:30:00Z","type":"{kind}","source":"s","metadata":{{"cluster":"c","node":"n1"}},"data":{data}}}"#
    ))
}

fn events(raw: &RawEvent) -> Vec<UnifiedEvent> {
    normalise(raw, &Nothing).unwrap().events
}

fn only(raw: &RawEvent) -> UnifiedEvent {
    let mut all = events(raw);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn every_sample_means_one_of_the_kinds_listed_for_it() {
    for doc in CATALOG {
        assert!(matches!(doc.proof, "recorded" | "documented"), "{}", doc.raw_type);
        assert!(!doc.samples.is_empty() && !doc.about.is_empty(), "{}", doc.raw_type);
        for sample in doc.samples {
            let raw = raw(sample);
            let told = events(&raw);
            assert_eq!(told.is_empty(), doc.kinds.is_empty(), "{}: {told:?}", doc.raw_type);
            for e in told {
                assert!(doc.kinds.contains(&e.kind), "{} tells {} unlisted", doc.raw_type, e.kind);
                assert!(!e.message.is_empty() && (e.k8s.is_some() || e.entity.is_some()), "{e:?}");
            }
        }
    }
}

#[test]
fn every_row_of_the_table_is_in_the_catalog() {
    let rows = "PodStatusUpdate PodReady ProbeResult ContainerLog PodStats NodeStats NodeServiceState ServiceProbe \
                NetworkConnection OomKill ProcessExit PacketDrop DnsResult TcpRetransmit NetworkPolicy CniFailure CniConfig \
                IpamState ConfigMapUpdate SecretUpdate ObjectAdded ObjectModified ObjectDeleted Event Alert Heartbeat \
                SnapshotTaken Gap";
    let listed: Vec<&str> = CATALOG.iter().flat_map(|d| d.raw_type.split(", ")).collect();
    for row in rows.split_whitespace() {
        assert!(listed.contains(&row), "{row}");
    }
}

#[test]
fn every_kind_but_those_of_time_comes_from_some_row() {
    let listed: Vec<EventKind> = CATALOG.iter().flat_map(|d| d.kinds).copied().collect();
    for kind in EventKind::ALL {
        assert!(listed.contains(kind) || *kind == EventKind::Heartbeat, "{kind}");
    }
}

#[test]
fn samples_give_these_sentences() {
    let mut all = String::new();
    for sample in CATALOG.iter().flat_map(|d| d.samples) {
        for e in events(&raw(sample)) {
            all.push_str(&format!("{} {} {} {}\n", e.timestamp, e.kind, e.severity, e.message));
        }
    }
    let golden = include_str!("samples/sentences.txt");
    assert_eq!(all, golden, "\n{all}");
}

#[test]
fn the_same_evidence_gives_the_same_ids() {
    for sample in CATALOG.iter().flat_map(|d| d.samples) {
        let ids = |r: &RawEvent| events(r).iter().map(|e| e.id).collect::<Vec<_>>();
        let (a, b) = (raw(sample), raw(sample));
        assert_eq!(ids(&a), ids(&b));
    }
}

#[test]
fn an_unknown_type_is_kept_with_its_name_and_data() {
    let e = only(&of("QuantumFlux", r#"[1,2,{"x":null}]"#));
    assert_eq!((e.kind, e.note("type")), (EventKind::Unknown, Some("QuantumFlux")));
    assert_eq!(e.data.unwrap().get(), r#"[1,2,{"x":null}]"#);
    let e = only(&of("QuantumFlux", r#"{"pod":"p","namespace":"ns","severity":"high","message":"it fluxed"}"#));
    assert_eq!(e.object(), Some(&ObjectRef::new("Pod", "ns", "p")));
    assert_eq!((e.severity, e.message.as_str()), (Severity::High, "it fluxed"));
    let e = only(&of("Login", r#"{"user":"alice","host":"web01"}"#));
    let entity = e.entity.unwrap();
    assert_eq!((entity.kind.as_str(), entity.name.as_str()), ("User", "alice"));
    assert_eq!(entity.attributes["host"], "web01");
}

#[test]
fn a_wrong_type_in_a_known_field_names_the_field() {
    for (kind, data, want) in [
        ("PodStatusUpdate", r#"{"pod":7}"#, "field `data.pod`"),
        (
            "PodStatusUpdate",
            r#"{"pod":"p","containers":[{"name":"a"},{"restartCount":"three"}]}"#,
            "field `data.containers[1].restartCount`",
        ),
        (
            "PodStatusUpdate",
            r#"{"pod":"p","containers":[{"lastState":{"terminated":{"exitCode":"x"}}}]}"#,
            "field `data.containers[0].lastState.terminated.exitCode`",
        ),
        ("Event", r#"{"involvedObject":{"name":[]}}"#, "field `data.involvedObject.name`"),
        ("Event", r#"{"series":{"count":"2"}}"#, "field `data.series.count`"),
        ("NetworkConnection", r#"{"state":"refused","dst_port":"http"}"#, "field `data.dst_port`"),
        ("NetworkConnection", r#"{"src_pod":"p"}"#, "field `data.state` is missing"),
        ("ContainerLog", r#"{"pod":"p","lines":["a",5]}"#, "field `data.lines[1]`"),
        ("ContainerLog", r#"{"lines":[]}"#, "field `data.pod` is missing"),
        ("Alert", r#"{"labels":{"a":1}}"#, "field `data.labels"),
        ("Alert", r#"{"labels":{}}"#, "field `data.labels` is missing"),
        ("IpamState", r#"{"total":null}"#, "field `data.total` is missing"),
        ("Gap", r#"[1]"#, "Gap: field `data`"),
        ("Event", r#""text""#, "Event: field `data`"),
    ] {
        let e = normalise(&of(kind, data), &Nothing).unwrap_err().to_string();
        assert!(e.contains(want) && e.starts_with(kind), "{kind} {data}: {e}");
    }
}

#[test]
fn null_is_absent_and_unknown_fields_are_skipped() {
    let full =
        of("NetworkConnection", r#"{"state":"refused","src_pod":"p","dst_port":null,"dst_ip":null,"new":{"x":[]}}"#);
    let bare = of("NetworkConnection", r#"{"state":"refused","src_pod":"p"}"#);
    assert_eq!(only(&full).id, only(&bare).id);
    let log = of("ContainerLog", r#"{"pod":"p","container":null,"lines":null,"previous":null}"#);
    assert!(events(&log).is_empty());
}

#[test]
fn heartbeats_and_snapshots_are_nothing_but_time() {
    for kind in ["Heartbeat", "SnapshotTaken"] {
        assert!(events(&of(kind, "{}")).is_empty());
    }
}

#[test]
fn states_of_a_nodes_services_tell_up_down_or_nothing() {
    for (state, sub, want) in [
        ("active", "running", Some(EventKind::NodeServiceUp)),
        ("failed", "failed", Some(EventKind::NodeServiceDown)),
        ("inactive", "dead", Some(EventKind::NodeServiceDown)),
        ("activating", "auto-restart", Some(EventKind::NodeServiceDown)),
        ("activating", "start", None),
        ("unknown", "", None),
    ] {
        let raw = of("NodeServiceState", &format!(r#"{{"service":"kubelet","state":"{state}","sub":"{sub}"}}"#));
        assert_eq!(events(&raw).first().map(|e| e.kind), want, "{state} {sub}");
    }
}

#[test]
fn a_service_without_ready_endpoints_is_unavailable_whoever_knows_it() {
    struct Counted(usize);
    impl Before for Counted {
        fn pod(&self, _: &str, _: &ObjectRef) -> Option<&PodBefore> {
            None
        }
        fn ready_endpoints(&self, cluster: &str, service: &ObjectRef) -> Option<usize> {
            (cluster == "c" && service.path() == "shop/backend").then_some(self.0)
        }
    }
    let call = |rest: &str| {
        let head = r#""src_pod":"web-1","src_namespace":"shop","dst_service":"backend""#;
        of("NetworkConnection", &format!("{{{head}{rest}}}"))
    };
    for (rest, known, want) in [
        (r#","state":"connection_refused""#, 0, 2),
        (r#","state":"connection_refused""#, 3, 1),
        (r#","state":"connection_refused","dst_ready_endpoints":0"#, 3, 2),
        (r#","state":"no_endpoints""#, 3, 2),
        (r#","state":"connection_timeout""#, 3, 1),
        (r#","state":"connection_reset""#, 3, 1),
        (r#","state":"unreachable""#, 3, 1),
        (r#","state":"established""#, 0, 0),
    ] {
        let raw = call(rest);
        let told = normalise(&raw, &Counted(known)).unwrap().events;
        assert_eq!(told.len(), want, "{rest}");
        assert!(told.get(1).is_none_or(|e| e.kind == EventKind::ServiceUnavailable));
    }
}

#[test]
fn the_kernels_view_of_no_known_pod_is_about_what_is_left() {
    let e = only(&of("PacketDrop", r#"{"src_ip":"10.0.0.1","reason":"NETFILTER_DROP"}"#));
    assert_eq!(e.entity.unwrap().name, "10.0.0.1");
    let e = only(&of("OomKill", r#"{"pid":1,"comm":"java","constraint":"global"}"#));
    let entity = e.entity.unwrap();
    assert_eq!((entity.kind.as_str(), entity.name.as_str()), ("Host", "n1"));
    let e = only(&of("NetworkConnection", r#"{"src_pod":"web-1","state":"timeout"}"#));
    assert_eq!(e.k8s.unwrap().resolution, Resolution::Pending);
}
