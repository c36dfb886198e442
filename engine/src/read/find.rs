//! Which object is meant: kinds as kubectl takes them, names without a namespace, and what is near where none fits.

use tapio_core::object::{ObjectRef, is_cluster_scoped};

use crate::world::World;

/// Kinds with what else people call them; plurals with `s` or `es` are understood without being listed.
const KINDS: &[(&str, &[&str])] = &[
    ("Pod", &["po"]),
    ("Service", &["svc"]),
    ("Deployment", &["deploy"]),
    ("ReplicaSet", &["rs"]),
    ("StatefulSet", &["sts"]),
    ("DaemonSet", &["ds"]),
    ("Job", &[]),
    ("CronJob", &["cj"]),
    ("ReplicationController", &["rc"]),
    ("ConfigMap", &["cm"]),
    ("Secret", &[]),
    ("Node", &["no"]),
    ("Namespace", &["ns"]),
    ("PersistentVolumeClaim", &["pvc"]),
    ("PersistentVolume", &["pv"]),
    ("StorageClass", &["sc"]),
    ("Ingress", &["ing", "ingresses"]),
    ("IngressClass", &["ingressclasses"]),
    ("NetworkPolicy", &["netpol", "networkpolicies"]),
    ("HorizontalPodAutoscaler", &["hpa"]),
    ("PodDisruptionBudget", &["pdb"]),
    ("ResourceQuota", &["quota"]),
    ("LimitRange", &["limits"]),
    ("ServiceAccount", &["sa"]),
    ("Endpoints", &["ep", "endpoints"]),
    ("EndpointSlice", &[]),
    ("PriorityClass", &["pc", "priorityclasses"]),
    ("CustomResourceDefinition", &["crd"]),
    ("MutatingWebhookConfiguration", &[]),
    ("ValidatingWebhookConfiguration", &[]),
    ("HelmRelease", &["hr"]),
    ("Kustomization", &["ks"]),
    ("Application", &["app"]),
];

/// What came of looking for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This one.
    One(ObjectRef),
    /// Several namespaces have one of that name.
    Many(Vec<ObjectRef>),
    /// None; these are near.
    None {
        /// Objects of that kind with a similar name, nearest first.
        near: Vec<ObjectRef>,
    },
    /// Nobody knows such a kind; these are near.
    NoKind {
        /// Kinds with a similar name.
        near: Vec<String>,
    },
}

/// The kind that a word means: built-in ones and their short forms, and whatever kinds are there.
pub fn canonical(world: &World, word: &str) -> Option<String> {
    let word = word.to_lowercase();
    // `deployments.apps` and `Service.serving.knative.dev`: a group is only needed to tell namesakes apart.
    let matches = |kind: &str, aliases: &[&str]| {
        let kind = kind.to_lowercase();
        let short = kind.split('.').next().unwrap_or(&kind).to_owned();
        let mut forms = vec![kind.clone(), format!("{kind}s"), format!("{kind}es")];
        if let Some(stem) = kind.strip_suffix('y') {
            forms.push(format!("{stem}ies"));
        }
        forms.contains(&word)
            || aliases.contains(&word.as_str())
            || (word.contains('.') && {
                let first = word.split('.').next().unwrap_or(&word);
                first == short || first == format!("{short}s")
            })
    };
    // Exact kinds of the input first: a group in the word must not be lost.
    if let Some(k) = world.kinds().find(|k| k.to_lowercase() == word) {
        return Some(k.to_owned());
    }
    if let Some((k, _)) = KINDS.iter().find(|(k, aliases)| matches(k, aliases)) {
        return Some((*k).to_owned());
    }
    world.kinds().find(|k| matches(k, &[])).map(str::to_owned)
}

/// The built-in kind that a word means, where nothing tells which other kinds there are.
pub fn named_kind(word: &str) -> Option<String> {
    canonical(&World::default(), word)
}

/// Finds an object by kind and name, in a namespace or in all.
pub fn find(world: &World, kind: &str, name: &str, namespace: Option<&str>) -> Lookup {
    let Some(kind) = canonical(world, kind) else {
        let known = KINDS.iter().map(|(k, _)| *k).chain(world.kinds());
        return Lookup::NoKind { near: near(kind, known) };
    };
    let namespace = namespace.filter(|_| !is_cluster_scoped(&kind));
    let name = name.to_lowercase();
    let here = |o: &ObjectRef| namespace.is_none_or(|ns| o.ns() == ns);
    let all: Vec<&crate::world::Entry> = world.entries(&kind).collect();
    let mut found: Vec<ObjectRef> =
        all.iter().filter(|e| e.key.name == name && here(&e.key)).map(|e| e.key.clone()).collect();
    // What is there comes before what is only named or gone.
    if found.len() > 1 && found.iter().any(|o| world.live(o).is_some()) {
        found.retain(|o| world.live(o).is_some());
    }
    match (found.len(), found.pop()) {
        (1, Some(one)) => Lookup::One(one),
        (0, _) | (_, None) => {
            let mut near: Vec<(usize, ObjectRef)> = all
                .iter()
                .filter(|e| e.is_live())
                .map(|e| {
                    let elsewhere = usize::from(!here(&e.key));
                    (distance(&name, &e.key.name) * 2 + elsewhere, e.key.clone())
                })
                .filter(|(d, _)| *d <= name.len().max(6))
                .collect();
            near.sort();
            Lookup::None { near: near.into_iter().map(|(_, o)| o).take(5).collect() }
        }
        (_, Some(last)) => {
            found.push(last);
            Lookup::Many(found)
        }
    }
}

/// The words most like `word`, nearest first, at most three.
pub fn near<'a>(word: &str, among: impl Iterator<Item = &'a str>) -> Vec<String> {
    let word = word.to_lowercase();
    let mut all: Vec<(usize, &str)> =
        among.map(|w| (distance(&word, &w.to_lowercase()), w)).filter(|(d, _)| *d <= word.len().max(4) / 2).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().take(3).map(|(_, w)| w.to_owned()).collect()
}

/// Edits from one word to the other; a beginning or a part of the other is near.
fn distance(a: &str, b: &str) -> usize {
    if b.starts_with(a) && !a.is_empty() {
        return 1;
    }
    if b.contains(a) && a.len() >= 3 {
        return 2;
    }
    let b: Vec<char> = b.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(128).enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapio_core::object::Object;
    use tapio_core::time::Time;

    fn world() -> World {
        let mut w = World::default();
        for (kind, ns, name) in [
            ("Pod", "a", "cart-1"),
            ("Pod", "b", "cart-1"),
            ("Pod", "a", "pay"),
            ("Widget", "a", "w"),
            ("Node", "", "n1"),
        ] {
            let json = format!(r#"{{"kind":"{kind}","metadata":{{"name":"{name}","namespace":"{ns}"}}}}"#);
            w.apply(Object::parse(&json).unwrap(), Time::MIN);
        }
        w
    }

    #[test]
    fn kinds_are_what_kubectl_takes() {
        let w = world();
        for (word, kind) in [
            ("po", "Pod"),
            ("PODS", "Pod"),
            ("svc", "Service"),
            ("deployments.apps", "Deployment"),
            ("networkpolicies", "NetworkPolicy"),
            ("ing", "Ingress"),
            ("widgets", "Widget"),
        ] {
            assert_eq!(canonical(&w, word).as_deref(), Some(kind), "{word}");
        }
        assert_eq!(canonical(&w, "gizmo"), None);
    }

    #[test]
    fn one_several_none_and_near() {
        let w = world();
        assert_eq!(find(&w, "pod", "pay", None), Lookup::One(ObjectRef::new("Pod", "a", "pay")));
        assert!(matches!(find(&w, "pod", "cart-1", None), Lookup::Many(l) if l.len() == 2));
        assert_eq!(find(&w, "pod", "cart-1", Some("b")), Lookup::One(ObjectRef::new("Pod", "b", "cart-1")));
        assert_eq!(find(&w, "node", "n1", Some("b")), Lookup::One(ObjectRef::cluster_scoped("Node", "n1")));
        let Lookup::None { near } = find(&w, "pod", "pya", None) else { panic!() };
        assert_eq!(near.first().map(|o| o.name.as_str()), Some("pay"));
        assert!(matches!(find(&w, "pdo", "x", None), Lookup::NoKind { near } if near.contains(&"Pod".to_owned())));
    }
}
