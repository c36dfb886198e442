//! The relations that an object's own fields declare. What depends on two objects (a selector and labels) is joined in
//! [`super::World`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tapio_core::object::{Body, Object, ObjectRef, PodSpec};
use tapio_core::ontology::Relation;

use super::uses::uses;

/// An edge of the live graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    /// The relation.
    pub relation: Relation,
    /// Properties of it.
    pub props: BTreeMap<String, String>,
}

impl Link {
    /// A link without properties.
    pub fn plain(relation: Relation) -> Self {
        Link { relation, props: BTreeMap::new() }
    }
}

/// A relation from the object (or to it, for owners).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared {
    /// The other end.
    pub other: ObjectRef,
    /// Whether the edge points from the other end to the object.
    pub incoming: bool,
    /// The edge.
    pub link: Link,
}

/// The relations declared by an object's own fields, sorted, one per relation and other end.
pub fn declared(object: &Object) -> Vec<Declared> {
    let ns = object.key.ns();
    let mut out: BTreeMap<(ObjectRef, Relation, bool), BTreeMap<String, String>> = BTreeMap::new();
    let mut add = |relation, other: ObjectRef| {
        out.entry((other, relation, false)).or_default();
    };
    match &object.body {
        Body::Pod(p) => {
            if !p.spec.node_name.is_empty() {
                add(Relation::RunsOn, ObjectRef::cluster_scoped("Node", &p.spec.node_name));
            }
            if !p.spec.service_account_name.is_empty() {
                add(Relation::UsesAccount, ObjectRef::new("ServiceAccount", ns, &p.spec.service_account_name));
            }
            for claim in claims(&p.spec, &object.key.name) {
                add(Relation::Claims, ObjectRef::new("PersistentVolumeClaim", ns, &claim));
            }
            for u in uses(&p.spec) {
                let relation = if u.kind == "Secret" { Relation::UsesSecret } else { Relation::Mounts };
                let props = out.entry((u.target(ns), relation, false)).or_default();
                join(props, "as", u.way.as_str());
                for k in &u.keys {
                    join(props, "keys", k);
                }
                // Optional only if every use is.
                let optional = u.optional && props.get("optional").is_none_or(|o| o == "true");
                props.insert("optional".to_owned(), optional.to_string());
            }
        }
        Body::Claim(c) if !c.spec.volume_name.is_empty() => {
            add(Relation::BoundTo, ObjectRef::cluster_scoped("PersistentVolume", &c.spec.volume_name));
        }
        Body::Ingress(i) => {
            let rules = i.spec.rules.iter().filter_map(|r| r.http.as_ref()).flat_map(|h| &h.paths).map(|p| &p.backend);
            for (name, _) in rules.chain(&i.spec.default_backend).filter_map(|b| b.target()) {
                add(Relation::RoutesTo, ObjectRef::new("Service", ns, name));
            }
            for t in i.spec.tls.iter().filter(|t| !t.secret_name.is_empty()) {
                add(Relation::UsesSecret, ObjectRef::new("Secret", ns, &t.secret_name));
            }
        }
        Body::Autoscaler(h) => {
            let t = &h.spec.scale_target_ref;
            add(Relation::Scales, ObjectRef::new(&t.kind, ns, &t.name));
        }
        _ => {}
    }
    for o in &object.meta.owner_references {
        let kind = tapio_core::object::canonical_kind(&o.api_version, &o.kind);
        let owner = ObjectRef::new(&kind, ns, &o.name);
        if owner != object.key {
            out.entry((owner, Relation::Owns, true)).or_default();
        }
    }
    out.into_iter()
        .map(|((other, relation, incoming), props)| Declared { other, incoming, link: Link { relation, props } })
        .collect()
}

/// Names of the claims that a pod needs; generic ephemeral volumes make claims named after pod and volume.
pub fn claims(spec: &PodSpec, pod: &str) -> Vec<String> {
    let named = spec.volumes.iter().filter_map(|v| v.persistent_volume_claim.as_ref()).map(|c| c.claim_name.clone());
    let ephemeral = spec.volumes.iter().filter(|v| v.ephemeral.is_some()).map(|v| format!("{pod}-{}", v.name));
    named.chain(ephemeral).collect()
}

fn join(props: &mut BTreeMap<String, String>, key: &str, value: &str) {
    let text = props.entry(key.to_owned()).or_default();
    if text.is_empty() {
        value.clone_into(text);
    } else if !text.split(',').any(|v| v == value) {
        text.push(',');
        text.push_str(value);
    }
}
