//! A manifest against the live object: which fields it sets otherwise, and the object that comes of both.
//!
//! Only fields that the manifest sets count. What it leaves out stays, but for parts that are one thing as a whole: the
//! keys of a ConfigMap, a selector, a list of containers. The live side is what the engine keeps of an object; a field
//! that it does not keep cannot be compared, and is named.

use serde_json::{Map, Value};
use tapio_core::answer::FieldChange;
use tapio_core::object::{Object, quantity};

use crate::world::changes::{merge_key, text};

/// Fields told of one object.
const MAX_FIELDS: usize = 200;
/// Values are hidden in Secrets.
const HIDDEN: &str = "<redacted>";

/// Maps that a manifest gives as a whole: what it does not name goes.
const WHOLE: &[&str] =
    &["data", "binaryData", "matchLabels", "nodeSelector", "hard", "limits", "requests", "parameters", "overhead"];
/// Fields of pods and containers that the API never fills in by itself in a template.
const SOMEBODYS: &[&str] = &[
    "affinity",
    "args",
    "command",
    "env",
    "envFrom",
    "imagePullSecrets",
    "initContainers",
    "lifecycle",
    "livenessProbe",
    "nodeSelector",
    "ports",
    "priorityClassName",
    "readinessProbe",
    "resources",
    "startupProbe",
    "tolerations",
    "volumeMounts",
    "volumes",
];
/// Maps whose keys are somebody's own.
const OWN_KEYS: &[&str] = &["data", "binaryData", "labels", "annotations", "nodeSelector", "matchLabels", "selector"];
/// Lists of a pod to which admission adds.
const ADDED_TO: &[&str] = &["volumes", "volumeMounts", "tolerations", "imagePullSecrets", "initContainers", "env"];
/// Annotations that tools write beside the object's own.
const TOOLS: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "tapio.dev/differs-from-applied",
    "deployment.kubernetes.io/revision",
];

/// The object as JSON, as far as it is kept.
pub(super) fn value_of(o: &Object) -> Value {
    let body = match serde_json::to_value(&o.body) {
        Ok(Value::Object(tagged)) => tagged.into_iter().next().map(|(_, v)| v),
        _ => None,
    };
    let mut out = match body {
        Some(Value::Object(m)) => m,
        _ => Map::new(),
    };
    let mut meta = serde_json::to_value(&o.meta).unwrap_or_default();
    if let Some(m) = meta.as_object_mut() {
        // Nobody asks the object-to-be who wrote it, and another version must not look older than the live one.
        m.remove("managedFields");
        m.remove("resourceVersion");
    }
    out.insert("metadata".to_owned(), meta);
    Value::Object(out)
}

/// What came of a comparison.
pub(super) struct Merged {
    /// The object as it would be.
    pub(super) after: Value,
    /// What differs.
    pub(super) fields: Vec<FieldChange>,
    /// What cannot be compared.
    pub(super) not_compared: Vec<String>,
    /// What the live object has by somebody's hand, and the manifest does not speak of.
    pub(super) left: Vec<String>,
}

/// Lays a manifest over the live object. `known`: the manifest as far as its kind's fields are kept.
pub(super) fn merge(want: &Value, have: &Object, known: &Value) -> Merged {
    let live = value_of(have);
    let mut m = Merge { kind: have.kind(), fields: Vec::new(), not_compared: Vec::new(), left: Vec::new() };
    let mut after = live.as_object().cloned().unwrap_or_default();
    for (k, w) in want.as_object().into_iter().flatten() {
        match k.as_str() {
            "apiVersion" | "kind" | "status" => {}
            "metadata" => {
                let mut meta = live["metadata"].as_object().cloned().unwrap_or_default();
                for part in ["labels", "annotations"] {
                    let Some(Value::Object(pairs)) = w.get(part) else { continue };
                    let mut pairs = pairs.clone();
                    pairs.retain(|k, _| !TOOLS.contains(&k.as_str()));
                    let (path, pairs) = (format!("metadata.{part}"), Value::Object(pairs));
                    let merged = m.value(&path, part, &pairs, live["metadata"].get(part), Some(&pairs));
                    meta.insert(part.to_owned(), merged);
                }
                after.insert(k.clone(), Value::Object(meta));
            }
            _ => {
                let merged = m.value(k, k, w, live.get(k), known.get(k));
                after.insert(k.clone(), merged);
            }
        }
    }
    m.fields.truncate(MAX_FIELDS);
    m.not_compared.truncate(MAX_FIELDS);
    m.left.truncate(MAX_FIELDS);
    Merged { after: Value::Object(after), fields: m.fields, not_compared: m.not_compared, left: m.left }
}

struct Merge<'a> {
    kind: &'a str,
    fields: Vec<FieldChange>,
    not_compared: Vec<String>,
    left: Vec<String>,
}

impl Merge<'_> {
    fn push(&mut self, field: &str, before: Option<&Value>, after: Option<&Value>) {
        let told = |v: &Value| if self.kind == "Secret" { HIDDEN.to_owned() } else { text(v) };
        let (before, after) = (before.map(told), after.map(told));
        self.fields.push(FieldChange { field: field.to_owned(), before, after, by: None, at: None });
    }

    /// The value that comes of both. `name`: the field itself, the last part of `path`.
    fn value(&mut self, path: &str, name: &str, want: &Value, have: Option<&Value>, known: Option<&Value>) -> Value {
        let Some(have) = have else {
            match known {
                // Where only metadata of Secrets is read, their keys are not known.
                _ if self.kind == "Secret" && name == "data" => {}
                // Keys of one's own making are told one by one.
                _ if OWN_KEYS.contains(&name) && want.is_object() => {
                    for (k, w) in want.as_object().into_iter().flatten() {
                        self.value(&format!("{path}.{k}"), k, w, None, Some(w));
                    }
                }
                _ if is_nothing(path, want) => {}
                // A field that is kept, so the live object has none.
                Some(k) => self.push(path, None, Some(k)),
                None => self.not_compared.push(path.to_owned()),
            }
            return want.clone();
        };
        match (want, have) {
            (Value::Null, _) => have.clone(),
            (Value::Object(w), Value::Object(h)) => self.object(path, name, w, h, known),
            (Value::Array(w), Value::Array(h)) => self.list(path, name, w, h, known),
            _ => {
                let want = known.unwrap_or(want);
                if !same(path, want, have) {
                    self.push(path, Some(have), Some(want));
                }
                want.clone()
            }
        }
    }

    fn object(
        &mut self,
        path: &str,
        name: &str,
        want: &Map<String, Value>,
        have: &Map<String, Value>,
        known: Option<&Value>,
    ) -> Value {
        let whole = WHOLE.contains(&name)
            || path.ends_with("template.metadata.labels")
            || (name == "selector" && self.kind == "Service")
            || is_volume(path);
        let mut out = have.clone();
        if whole {
            for (k, h) in have.iter().filter(|(k, _)| !want.contains_key(*k) && !is_controllers(k)) {
                self.push(&format!("{path}.{k}"), Some(h), None);
                out.remove(k);
            }
        }
        if self.kind != "Pod" && (path.ends_with("template.spec") || is_container(path)) {
            let left = have.keys().filter(|k| !want.contains_key(*k) && SOMEBODYS.contains(&k.as_str()));
            self.left.extend(left.map(|k| format!("{path}.{k}")));
        }
        for (k, w) in want {
            let merged = self.value(&format!("{path}.{k}"), k, w, have.get(k), known.and_then(|n| n.get(k)));
            out.insert(k.clone(), merged);
        }
        Value::Object(out)
    }

    fn list(&mut self, path: &str, name: &str, want: &[Value], have: &[Value], known: Option<&Value>) -> Value {
        let of_known = |i: usize| known.and_then(|k| k.get(i));
        // Typed elements compare alike: `"80"` and `80` are one port.
        let keyed: Vec<Value> = (0..want.len()).map(|i| of_known(i).unwrap_or(&want[i]).clone()).collect();
        let Some(key) = merge_key(&keyed, have) else {
            if keyed.len() == have.len() {
                let one = |(i, w)| self.value(&format!("{path}[{i}]"), name, w, have.get(i), of_known(i));
                return Value::Array(want.iter().enumerate().map(one).collect());
            }
            self.push(path, Some(&Value::Array(have.to_vec())), Some(&Value::Array(keyed)));
            return Value::Array(want.to_vec());
        };
        let kept = self.kind == "Pod" && ADDED_TO.contains(&name);
        let mut out = Vec::new();
        for (i, w) in want.iter().enumerate() {
            let label = text(&keyed[i][key]);
            let old = have.iter().find(|h| h[key] == keyed[i][key]);
            out.push(self.value(&format!("{path}[{label}]"), name, w, old, of_known(i)));
        }
        for h in have.iter().filter(|h| !keyed.iter().any(|w| w[key] == h[key])) {
            if kept {
                out.push(h.clone());
            } else {
                self.push(&format!("{path}[{}]", text(&h[key])), Some(h), None);
            }
        }
        Value::Array(out)
    }
}

/// Whether controllers write this label into templates and pods.
fn is_controllers(label: &str) -> bool {
    label.starts_with("batch.kubernetes.io/")
        || matches!(label, "controller-uid" | "job-name" | "pod-template-hash" | "controller-revision-hash")
}

/// Whether the path is that of one container.
fn is_container(path: &str) -> bool {
    let list = path.rsplit_once('[').filter(|_| path.ends_with(']')).map(|(list, _)| list);
    list.is_some_and(|l| l.ends_with(".containers") || l.ends_with(".initContainers"))
}

/// Whether the path is that of one volume, which is of one type only.
fn is_volume(path: &str) -> bool {
    path.ends_with(']') && path.rsplit_once('[').is_some_and(|(list, _)| list.ends_with("spec.volumes"))
}

/// Whether setting it is the same as leaving it out. A key of one's own making counts also without a value.
fn is_nothing(path: &str, want: &Value) -> bool {
    let own = |p: &str| OWN_KEYS.contains(&p);
    let keyed = path.split(['.', '[', ']']).any(own);
    is_empty(want) && !(keyed && (want.is_string() || want.as_object().is_some_and(|o| !o.is_empty())))
}

/// What a manifest may say and the API keeps as nothing.
fn is_empty(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.values().all(is_empty),
    }
}

fn same(path: &str, a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    let plain = |v: &Value| match v {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    let (a, b) = (plain(a), plain(b));
    // Quantities have several spellings.
    let amounts = ["limits", "requests", "hard", "storage", "capacity", "max", "min", "default", "overhead"];
    let amount = path.split(['.', '[', ']']).any(|p| amounts.contains(&p));
    a == b
        || amount && quantity::parse(&a).zip(quantity::parse(&b)).is_some_and(|(x, y)| (x - y).abs() <= 1e-9 * x.abs())
}
