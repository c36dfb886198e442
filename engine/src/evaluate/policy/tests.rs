//! The documented semantics of NetworkPolicy, one row a sentence.

use serde_json::{Value, json};

use super::*;

/// Sender, receiver, port and protocol of a row.
struct Case {
    from: (&'static str, &'static str, &'static str),
    to: (&'static str, &'static str, &'static str),
    port: i64,
    protocol: &'static str,
}

/// What the row says, policies with their namespaces, the traffic, whether it passes.
type Row = (&'static str, Vec<(&'static str, Value)>, Case, bool);

/// A web pod of namespace shop calls the db pod there.
const CALL: Case =
    Case { from: ("shop", "web", "10.0.0.1"), to: ("shop", "db", "10.0.0.2"), port: 5432, protocol: "TCP" };

fn labels(pairs: &[(&str, &str)]) -> StringMap {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Decides a case: `host…` runs on its node's network, an empty namespace is the outside world.
fn decision(policies: &[(&str, Value)], c: &Case) -> Decision {
    let parsed: Vec<(ObjectRef, NetworkPolicySpec)> = policies
        .iter()
        .enumerate()
        .map(|(i, (ns, spec))| {
            (ObjectRef::new("NetworkPolicy", ns, &format!("p{i}")), serde_json::from_value(spec.clone()).unwrap())
        })
        .collect();
    let spec: PodSpec = serde_json::from_value(json!({"containers": [{"name": "c", "ports": [
        {"name": "pg", "containerPort": 5432}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]}))
    .unwrap();
    let on_host = PodSpec { host_network: true, ..spec.clone() };
    let facts = |(ns, app, _): (&str, &str, &str)| (labels(&[("team", ns)]), labels(&[("app", app), ("tier", "t")]));
    let (fl, tl) = (facts(c.from), facts(c.to));
    let end = |(ns, app, ip): (&'static str, &'static str, &'static str),
               (space, own): &'static (StringMap, StringMap),
               spec: &'static PodSpec| End {
        pod: (!ns.is_empty()).then_some(PodEnd { namespace: ns, namespace_labels: space, labels: own, spec }),
        ip: if app == "unknown" { "" } else { ip },
    };
    let leak = |s: &PodSpec| -> &'static PodSpec { Box::leak(Box::new(s.clone())) };
    let pick = |app: &str| leak(if app.starts_with("host") { &on_host } else { &spec });
    let (fl, tl) = (&*Box::leak(Box::new(fl)), &*Box::leak(Box::new(tl)));
    let flow = Flow {
        from: end(c.from, fl, pick(c.from.1)),
        to: end(c.to, tl, pick(c.to.1)),
        port: c.port,
        protocol: Some(c.protocol).filter(|p| !p.is_empty()),
    };
    decide(parsed.iter().map(|(key, spec)| Policy { key, spec }), &flow)
}

#[test]
fn the_documented_semantics_hold() {
    let app = |name: &str| json!({"matchLabels": {"app": name}});
    let ingress = |rules: Value| json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules});
    let egress = |rules: Value| json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": rules});
    let from_ns = |ns: &'static str| Case { from: (ns, "web", "10.0.0.9"), ..CALL };
    let on_port = |port: i64, protocol: &'static str| Case { port, protocol, ..CALL };
    let outside = || Case { from: ("", "", "192.168.1.7"), ..CALL };
    let rows: Vec<Row> = vec![
        ("without policies all may pass", vec![], CALL, true),
        ("an empty podSelector selects every pod", vec![("shop", ingress(json!([])))], CALL, false),
        ("a policy of another namespace selects nothing here", vec![("other", ingress(json!([])))], CALL, true),
        ("other labels are not selected", vec![("shop", json!({"podSelector": app("cache")}))], CALL, true),
        (
            "default deny of ingress",
            vec![("shop", json!({"podSelector": {}, "policyTypes": ["Ingress"]}))],
            CALL,
            false,
        ),
        ("default deny of egress", vec![("shop", json!({"podSelector": {}, "policyTypes": ["Egress"]}))], CALL, false),
        ("without types ingress is isolated", vec![("shop", json!({"podSelector": app("db")}))], CALL, false),
        (
            "without types and egress rules egress is free",
            vec![("shop", json!({"podSelector": app("web")}))],
            CALL,
            true,
        ),
        (
            "without types egress rules isolate egress too",
            vec![(
                "shop",
                json!({"podSelector": app("web"), "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}),
            )],
            CALL,
            false,
        ),
        (
            "types win over rules that stand",
            vec![(
                "shop",
                json!({"podSelector": app("web"), "policyTypes": ["Ingress"], "egress": [{"ports": [{"port": 1}]}]}),
            )],
            CALL,
            true,
        ),
        (
            "the egress type alone leaves ingress free",
            vec![("shop", json!({"podSelector": app("db"), "policyTypes": ["Egress"]}))],
            CALL,
            true,
        ),
        ("one empty rule allows all", vec![("shop", ingress(json!([{}])))], CALL, true),
        ("`from: []` is all sources", vec![("shop", ingress(json!([{"from": []}])))], CALL, true),
        ("a missing `from` is all sources", vec![("shop", ingress(json!([{"ports": [{"port": 5432}]}])))], CALL, true),
        ("`from: []` lets the outside in", vec![("shop", ingress(json!([{"from": []}])))], outside(), true),
        (
            "an empty podSelector as peer is all pods of the policy's namespace",
            vec![("shop", ingress(json!([{"from": [{"podSelector": {}}]}])))],
            CALL,
            true,
        ),
        (
            "and none of another namespace",
            vec![("shop", ingress(json!([{"from": [{"podSelector": {}}]}])))],
            from_ns("other"),
            false,
        ),
        (
            "an empty namespaceSelector is all pods of all namespaces",
            vec![("shop", ingress(json!([{"from": [{"namespaceSelector": {}}]}])))],
            from_ns("other"),
            true,
        ),
        (
            "but nobody outside of the cluster",
            vec![("shop", ingress(json!([{"from": [{"namespaceSelector": {}}]}])))],
            outside(),
            false,
        ),
        (
            "both selectors in one peer must hold",
            vec![(
                "shop",
                ingress(
                    json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "other"}}, "podSelector": app("web")}]}]),
                ),
            )],
            CALL,
            false,
        ),
        (
            "both selectors in one peer that hold",
            vec![(
                "shop",
                ingress(
                    json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "other"}}, "podSelector": app("web")}]}]),
                ),
            )],
            from_ns("other"),
            true,
        ),
        (
            "of two peers one is enough",
            vec![(
                "shop",
                ingress(
                    json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "other"}}}, {"podSelector": app("web")}]}]),
                ),
            )],
            CALL,
            true,
        ),
        (
            "a namespace has the label with its name",
            vec![(
                "shop",
                ingress(
                    json!([{"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}]}]),
                ),
            )],
            from_ns("other"),
            true,
        ),
        (
            "expressions: NotIn",
            vec![(
                "shop",
                ingress(
                    json!([{"from": [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}}]}]),
                ),
            )],
            CALL,
            false,
        ),
        (
            "expressions: In",
            vec![(
                "shop",
                ingress(
                    json!([{"from": [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "x"]}]}}]}]),
                ),
            )],
            CALL,
            true,
        ),
        (
            "expressions select the subject too",
            vec![("shop", json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}))],
            CALL,
            true,
        ),
        (
            "a block with the address",
            vec![("shop", ingress(json!([{"from": [{"ipBlock": {"cidr": "192.168.0.0/16"}}]}])))],
            outside(),
            true,
        ),
        (
            "a block that excepts it",
            vec![(
                "shop",
                ingress(json!([{"from": [{"ipBlock": {"cidr": "192.168.0.0/16", "except": ["192.168.1.0/24"]}}]}])),
            )],
            outside(),
            false,
        ),
        (
            "an unknown address is in no block",
            vec![("shop", ingress(json!([{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}])))],
            Case { from: ("shop", "unknown", ""), ..CALL },
            false,
        ),
        ("another port", vec![("shop", ingress(json!([{"ports": [{"port": 80}]}])))], CALL, false),
        (
            "a protocol without port is all its ports",
            vec![("shop", ingress(json!([{"ports": [{"protocol": "TCP"}]}])))],
            CALL,
            true,
        ),
        (
            "the protocol is TCP where nothing is said",
            vec![("shop", ingress(json!([{"ports": [{"port": 53}]}])))],
            on_port(53, "UDP"),
            false,
        ),
        (
            "UDP is not TCP",
            vec![("shop", ingress(json!([{"ports": [{"port": 5432, "protocol": "UDP"}]}])))],
            CALL,
            false,
        ),
        (
            "UDP to UDP",
            vec![("shop", ingress(json!([{"ports": [{"port": 53, "protocol": "UDP"}]}])))],
            on_port(53, "UDP"),
            true,
        ),
        (
            "an unknown protocol gets the benefit",
            vec![("shop", ingress(json!([{"ports": [{"port": 53, "protocol": "UDP"}]}])))],
            on_port(53, ""),
            true,
        ),
        ("a named port of the receiver", vec![("shop", ingress(json!([{"ports": [{"port": "pg"}]}])))], CALL, true),
        (
            "a name that the receiver has not",
            vec![("shop", ingress(json!([{"ports": [{"port": "mysql"}]}])))],
            CALL,
            false,
        ),
        (
            "a named port has its protocol",
            vec![("shop", ingress(json!([{"ports": [{"port": "dns"}]}])))],
            on_port(53, "UDP"),
            false,
        ),
        (
            "egress to a named port is the receiver's",
            vec![("shop", egress(json!([{"ports": [{"port": "pg"}]}])))],
            CALL,
            true,
        ),
        (
            "a range holds its end",
            vec![("shop", ingress(json!([{"ports": [{"port": 5000, "endPort": 5432}]}])))],
            CALL,
            true,
        ),
        ("a range ends", vec![("shop", ingress(json!([{"ports": [{"port": 5000, "endPort": 5431}]}])))], CALL, false),
        (
            "policies add up",
            vec![
                ("shop", ingress(json!([]))),
                ("shop", json!({"podSelector": app("db"), "ingress": [{"from": [{"podSelector": app("web")}]}]})),
            ],
            CALL,
            true,
        ),
        ("both ends must allow", vec![("shop", ingress(json!([{}]))), ("shop", egress(json!([])))], CALL, false),
        (
            "the answer to an allowed call needs no rule",
            vec![("shop", json!({"podSelector": app("web"), "ingress": []}))],
            CALL,
            true,
        ),
        (
            "egress to a block",
            vec![("shop", egress(json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]}])))],
            CALL,
            true,
        ),
        (
            "a pod reaches itself",
            vec![("shop", ingress(json!([])))],
            Case { from: ("shop", "db", "10.0.0.2"), ..CALL },
            true,
        ),
        (
            "a pod on its node's network is not selected",
            vec![("shop", ingress(json!([])))],
            Case { to: ("shop", "host-db", "10.1.0.1"), ..CALL },
            true,
        ),
        (
            "nor is it a pod to a peer's selector",
            vec![("shop", ingress(json!([{"from": [{"podSelector": {}}]}])))],
            Case { from: ("shop", "host-web", "10.1.0.1"), ..CALL },
            false,
        ),
        ("a peer that says nothing is nobody", vec![("shop", ingress(json!([{"from": [{}]}])))], CALL, false),
    ];
    assert!(rows.len() >= 25);
    for (what, policies, case, passes) in rows {
        let d = decision(&policies, &case);
        assert_eq!(d.denied.is_none(), passes, "{what}: {d:?}");
    }
}

#[test]
fn the_host_s_network_is_noted_and_denying_policies_are_named_with_their_direction() {
    let deny = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    let d = decision(&[("shop", deny.clone()), ("other", deny.clone())], &CALL);
    let denied = d.denied.unwrap();
    assert_eq!((denied.direction, denied.by[0].name.as_str(), denied.by.len()), (Direction::Ingress, "p0", 1));
    assert!(!d.on_host);
    let host = Case { from: ("shop", "host-web", "10.1.0.1"), ..CALL };
    assert!(decision(&[("shop", deny)], &host).on_host);
}

#[test]
fn blocks_hold_their_addresses() {
    for (ip, cidr, want) in [
        ("10.1.2.3", "10.1.0.0/16", true),
        ("10.2.2.3", "10.1.0.0/16", false),
        ("10.1.2.3", "0.0.0.0/0", true),
        ("fd00::1", "fd00::/8", true),
        ("10.1.2.3", "nonsense", false),
        ("10.1.2.3", "10.1.2.3/33", false),
        ("", "10.0.0.0/8", false),
        ("", "", false),
    ] {
        assert_eq!(in_cidr(ip, cidr), want, "{ip} {cidr}");
    }
}
