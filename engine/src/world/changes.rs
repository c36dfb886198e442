//! Field-level differences between two versions of an object: which field, before, after, by whom, when.

use serde::Serialize;
use serde_json::Value;
use tapio_core::answer::FieldChange;
use tapio_core::object::{Body, Meta, Object, Other, PodTemplate, Secret, StringMap};
use tapio_core::time::Time;
use tapio_core::unified::EventKind;

/// A difference with the event kind that names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Difference {
    /// Kind of the change event.
    pub kind: EventKind,
    /// The change.
    pub change: FieldChange,
}

/// The meaningful differences between two versions of one object; `seen_at` is used where no manager says when.
pub fn differences(old: &Object, new: &Object, seen_at: Time) -> Vec<Difference> {
    let mut out = Diff { meta: &new.meta, seen_at, out: Vec::new() };
    match (&old.body, &new.body) {
        (Body::ConfigMap(a), Body::ConfigMap(b)) => {
            out.walk(EventKind::ConfigChanged, "data", &a.data, &b.data);
            let keys = |c: &tapio_core::object::ConfigMap| c.binary_data.keys().cloned().collect::<Vec<_>>();
            if keys(a) != keys(b) {
                out.walk(EventKind::ConfigChanged, "binaryData", &a.binary_data, &b.binary_data);
            }
        }
        (Body::Secret(a), Body::Secret(b)) => out.secret(a, b, &old.meta),
        // A ReplicaSet's template is the Deployment's, and its count too.
        (Body::Workload(a), Body::Workload(b)) if new.key.kind != "ReplicaSet" => {
            out.template(&a.spec.template, &b.spec.template);
            out.walk(EventKind::SelectorChanged, "spec.selector", &a.spec.selector, &b.spec.selector);
            out.walk(EventKind::RolloutStarted, "spec.strategy", &a.spec.strategy, &b.spec.strategy);
            out.walk(EventKind::ObjectChanged, "spec.paused", &a.spec.paused, &b.spec.paused);
            out.walk(EventKind::ReplicasChanged, "spec.replicas", &a.spec.replicas, &b.spec.replicas);
        }
        (Body::Job(a), Body::Job(b)) => {
            out.walk(EventKind::ObjectChanged, "spec.suspend", &a.spec.suspend, &b.spec.suspend);
        }
        (Body::CronJob(a), Body::CronJob(b)) => {
            out.template(&a.spec.job_template.spec.template, &b.spec.job_template.spec.template);
            out.walk(EventKind::ObjectChanged, "spec.schedule", &a.spec.schedule, &b.spec.schedule);
            out.walk(EventKind::ObjectChanged, "spec.suspend", &a.spec.suspend, &b.spec.suspend);
        }
        (Body::Service(a), Body::Service(b)) => {
            out.walk(EventKind::SelectorChanged, "spec.selector", &a.spec.selector, &b.spec.selector);
            out.walk(EventKind::PortChanged, "spec.ports", &a.spec.ports, &b.spec.ports);
            out.walk(EventKind::ObjectChanged, "spec.type", &a.spec.r#type, &b.spec.r#type);
            let (ka, kb) = (&a.spec.internal_traffic_policy, &b.spec.internal_traffic_policy);
            out.walk(EventKind::ObjectChanged, "spec.internalTrafficPolicy", ka, kb);
        }
        (Body::NetworkPolicy(a), Body::NetworkPolicy(b)) => {
            out.walk(EventKind::PolicyChanged, "spec", &a.spec, &b.spec);
        }
        (Body::Role(a), Body::Role(b)) => out.walk(EventKind::PolicyChanged, "rules", &a.rules, &b.rules),
        (Body::Binding(a), Body::Binding(b)) => {
            out.walk(EventKind::PolicyChanged, "subjects", &a.subjects, &b.subjects);
            out.walk(EventKind::PolicyChanged, "roleRef", &a.role_ref, &b.role_ref);
        }
        (Body::Webhooks(a), Body::Webhooks(b)) => {
            out.walk(EventKind::PolicyChanged, "webhooks", &a.webhooks, &b.webhooks);
        }
        (Body::Quota(a), Body::Quota(b)) => out.walk(EventKind::QuotaChanged, "spec.hard", &a.spec.hard, &b.spec.hard),
        (Body::LimitRange(a), Body::LimitRange(b)) => {
            out.walk(EventKind::QuotaChanged, "spec.limits", &a.spec.limits, &b.spec.limits);
        }
        (Body::Budget(a), Body::Budget(b)) => out.walk(EventKind::PolicyChanged, "spec", &a.spec, &b.spec),
        (Body::Ingress(a), Body::Ingress(b)) => out.walk(EventKind::PortChanged, "spec", &a.spec, &b.spec),
        (Body::Claim(a), Body::Claim(b)) => out.walk(EventKind::VolumeChanged, "spec", &a.spec, &b.spec),
        (Body::Volume(a), Body::Volume(b)) => out.walk(EventKind::VolumeChanged, "spec", &a.spec, &b.spec),
        (Body::StorageClass(a), Body::StorageClass(b)) => out.walk(EventKind::VolumeChanged, "", a, b),
        (Body::Autoscaler(a), Body::Autoscaler(b)) => {
            out.walk(EventKind::ReplicasChanged, "spec", &a.spec, &b.spec);
            let (da, db) = (a.status.desired_replicas, b.status.desired_replicas);
            out.walk(EventKind::HpaScaled, "status.desiredReplicas", &da, &db);
        }
        (Body::Node(a), Body::Node(b)) => {
            out.walk(EventKind::NodeCordoned, "spec.unschedulable", &a.spec.unschedulable, &b.spec.unschedulable);
            out.walk(EventKind::TaintChanged, "spec.taints", &a.spec.taints, &b.spec.taints);
            out.walk(EventKind::NodeLabelChanged, "metadata.labels", &old.meta.labels, &new.meta.labels);
            for c in &b.status.conditions {
                let before = a.condition(&c.r#type).map(|c| c.status.clone());
                if before.as_deref() != Some(&c.status) {
                    out.push(
                        EventKind::NodeConditionChanged,
                        format!("status.conditions[{}]", c.r#type),
                        before,
                        Some(c.status.clone()),
                        Some(c.last_transition_time.unwrap_or(seen_at)),
                        None,
                    );
                }
            }
        }
        (Body::Other(a), Body::Other(b)) => {
            let spec =
                |o: &Other| -> StringMap { o.below("spec").map(|(k, v)| (k.to_owned(), v.to_owned())).collect() };
            out.walk(EventKind::ObjectChanged, "spec", &spec(a), &spec(b));
        }
        (Body::Pod(_), Body::Pod(_)) => {
            out.walk(EventKind::SelectorChanged, "metadata.labels", &old.meta.labels, &new.meta.labels);
        }
        _ => {}
    }
    out.out
}

/// The differences between the templates of two revisions, as if the field had been changed from one to the other.
pub fn template_differences(old: &PodTemplate, new: &PodTemplate, owner: &Meta, at: Time) -> Vec<Difference> {
    let mut out = Diff { meta: owner, seen_at: at, out: Vec::new() };
    out.template(old, new);
    out.out
}

struct Diff<'a> {
    meta: &'a Meta,
    seen_at: Time,
    out: Vec<Difference>,
}

/// One step of a field's path.
#[derive(Clone)]
enum Step {
    Field(String),
    Named(&'static str, String),
}

/// Keys by which the API's lists are merged, in the order in which they are tried.
const MERGE_KEYS: &[&str] = &["name", "key", "type", "mountPath", "containerPort", "port", "ip"];

impl Diff<'_> {
    fn walk<T: Serialize + PartialEq>(&mut self, kind: EventKind, path: &str, old: &T, new: &T) {
        if old == new {
            return;
        }
        let (a, b) = (to_value(old), to_value(new));
        let steps = path.split('.').filter(|s| !s.is_empty()).map(|s| Step::Field(s.to_owned())).collect();
        self.value(kind, steps, Some(&a), Some(&b));
    }

    fn value(&mut self, kind: EventKind, path: Vec<Step>, old: Option<&Value>, new: Option<&Value>) {
        if old == new {
            return;
        }
        let child = |step: Step| path.iter().cloned().chain([step]).collect::<Vec<_>>();
        match (old, new) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for k in keys {
                    self.value(kind, child(Step::Field(k.clone())), a.get(k), b.get(k));
                }
            }
            (Some(Value::Array(a)), Some(Value::Array(b))) if merge_key(a, b).is_some() => {
                let key = merge_key(a, b).unwrap_or("name");
                let of = |list: &[Value], name: &str| list.iter().find(|v| text(&v[key]) == name).cloned();
                let names: std::collections::BTreeSet<String> = a.iter().chain(b).map(|v| text(&v[key])).collect();
                for name in names {
                    self.value(
                        kind,
                        child(Step::Named(key, name.clone())),
                        of(a, &name).as_ref(),
                        of(b, &name).as_ref(),
                    );
                }
            }
            // A part that came or went as a whole is one change, but its single leaf is named where there is just one.
            (None, Some(Value::Object(b))) if b.len() == 1 => {
                for (k, v) in b {
                    self.value(kind, child(Step::Field(k.clone())), None, Some(v));
                }
            }
            (Some(Value::Object(a)), None) if a.len() == 1 => {
                for (k, v) in a {
                    self.value(kind, child(Step::Field(k.clone())), Some(v), None);
                }
            }
            _ => {
                let (by, at) = self.writer(&path);
                self.push(refine(kind, &path), print(&path), old.map(text), new.map(text), at, by);
            }
        }
    }

    fn push(
        &mut self,
        kind: EventKind,
        field: String,
        before: Option<String>,
        after: Option<String>,
        at: Option<Time>,
        by: Option<String>,
    ) {
        self.out.push(Difference { kind, change: FieldChange { field, before, after, by, at } });
    }

    /// Who wrote the field, and when; the seen time where nobody says.
    fn writer(&self, path: &[Step]) -> (Option<String>, Option<Time>) {
        let mut steps: Vec<String> = path
            .iter()
            .map(|s| match s {
                Step::Field(f) => format!("f:{f}"),
                Step::Named(key, name) => format!("k:{{\"{key}\":\"{name}\"}}"),
            })
            .collect();
        while !steps.is_empty() {
            let refs: Vec<&str> = steps.iter().map(String::as_str).collect();
            if let Some((by, at)) = self.meta.writer_of(&refs) {
                // A manager's time is in whole seconds; one long before the change was seen wrote something else.
                let fresh = at.filter(|t| self.seen_at.since(*t) < 120 * tapio_core::time::SECOND);
                return (Some(by.to_owned()), fresh.or(Some(self.seen_at)));
            }
            steps.pop();
        }
        let last = self.meta.last_spec_write().map(|(by, _)| by.to_owned());
        (last, Some(self.seen_at))
    }

    fn template(&mut self, old: &PodTemplate, new: &PodTemplate) {
        self.walk(EventKind::TemplateChanged, "spec.template.spec", &old.spec, &new.spec);
        // The hash names the revision; it is no part of what anybody wrote.
        let own = |t: &PodTemplate| {
            let mut l = t.metadata.labels.clone();
            l.retain(|k, _| k != "pod-template-hash" && k != "controller-revision-hash");
            l
        };
        self.walk(EventKind::SelectorChanged, "spec.template.metadata.labels", &own(old), &own(new));
        let (a, b) = (&old.metadata.annotations, &new.metadata.annotations);
        self.walk(EventKind::TemplateChanged, "spec.template.metadata.annotations", a, b);
    }

    /// Values are never read: a key came, went, or was written anew according to its manager's time.
    fn secret(&mut self, old: &Secret, new: &Secret, old_meta: &Meta) {
        let found = self.out.len();
        for key in old.data.keys().chain(new.data.keys()).collect::<std::collections::BTreeSet<_>>() {
            let path = [Step::Field("data".to_owned()), Step::Field(key.clone())];
            let field = format!("data.{key}");
            let hidden = || Some("<redacted>".to_owned());
            match (old.data.contains_key(key), new.data.contains_key(key)) {
                (true, false) => self.push(EventKind::SecretChanged, field, hidden(), None, Some(self.seen_at), None),
                (false, true) => {
                    let (by, at) = self.writer(&path);
                    self.push(EventKind::SecretChanged, field, None, hidden(), at, by);
                }
                _ => {}
            }
        }
        let rewritten = self.meta.resource_version != old_meta.resource_version;
        if rewritten && self.out.len() == found {
            let wrote = |m: &Meta| m.writer_of(&["f:data"]).map(|(by, at)| (by.to_owned(), at));
            let (before, after) = (wrote(old_meta), wrote(self.meta));
            // Without managers' times, a new version of a Secret is taken for a new content.
            if after.is_none() || after != before {
                let (by, at) = after.unwrap_or_default_pair();
                let hidden = Some("<redacted>".to_owned());
                self.push(
                    EventKind::SecretChanged,
                    "data".into(),
                    hidden.clone(),
                    hidden,
                    at.or(Some(self.seen_at)),
                    by,
                );
            }
        }
    }
}

trait OrDefault {
    fn unwrap_or_default_pair(self) -> (Option<String>, Option<Time>);
}

impl OrDefault for Option<(String, Option<Time>)> {
    fn unwrap_or_default_pair(self) -> (Option<String>, Option<Time>) {
        self.map_or((None, None), |(by, at)| (Some(by), at))
    }
}

fn to_value<T: Serialize>(v: &T) -> Value {
    serde_json::to_value(v).unwrap_or(Value::Null)
}

/// The key that tells the elements of both lists apart, if one does.
pub(crate) fn merge_key(a: &[Value], b: &[Value]) -> Option<&'static str> {
    let all = || a.iter().chain(b);
    if a.is_empty() && b.is_empty() {
        return None;
    }
    let distinct = |list: &[Value], k: &str| {
        let names: std::collections::BTreeSet<String> = list.iter().map(|v| text(&v[k])).collect();
        names.len() == list.len()
    };
    MERGE_KEYS.iter().copied().find(|k| all().all(|v| v.get(k).is_some()) && distinct(a, k) && distinct(b, k))
}

/// A value on one line, bounded.
pub(crate) fn text(v: &Value) -> String {
    let full = match v {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    if full.len() <= 200 {
        return full;
    }
    let cut = full.char_indices().take_while(|(i, _)| *i < 200).last().map_or(0, |(i, c)| i + c.len_utf8());
    format!("{}…", &full[..cut])
}

fn print(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Field(f) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(f);
            }
            Step::Named(_, name) => {
                out.push('[');
                out.push_str(name);
                out.push(']');
            }
        }
    }
    out
}

/// The kind of a template change, by the field that it touches.
fn refine(kind: EventKind, path: &[Step]) -> EventKind {
    if kind != EventKind::TemplateChanged {
        return kind;
    }
    let has = |name: &str| path.iter().any(|s| matches!(s, Step::Field(f) if f == name));
    if has("image") {
        EventKind::ImageChanged
    } else if has("resources") {
        EventKind::ResourcesChanged
    } else if has("livenessProbe") || has("readinessProbe") || has("startupProbe") {
        EventKind::ProbeChanged
    } else if has("env") || has("envFrom") || has("command") || has("args") {
        EventKind::EnvChanged
    } else if has("ports") {
        EventKind::PortChanged
    } else {
        EventKind::TemplateChanged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Object {
        Object::parse(json).unwrap()
    }

    fn fields(a: &str, b: &str) -> Vec<String> {
        let at = Time::parse("2024-01-01T00:01:00Z").unwrap();
        differences(&object(a), &object(b), at)
            .into_iter()
            .map(|d| {
                let c = d.change;
                format!("{} {} {:?}->{:?} by {:?}", d.kind, c.field, c.before, c.after, c.by)
            })
            .collect()
    }

    #[test]
    fn a_key_of_a_config_map_is_named_with_its_writer() {
        let a = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"n"},"data":{"A":"1","B":"2"}}"#;
        let b = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"n","managedFields":[
            {"manager":"kubectl-edit","operation":"Update","time":"2024-01-01T00:00:59Z","fieldsV1":{"f:data":{"f:B":{}}}}]},
            "data":{"A":"1","B":"3"}}"#;
        assert_eq!(fields(a, b), [r#"config_changed data.B Some("2")->Some("3") by Some("kubectl-edit")"#]);
    }

    #[test]
    fn containers_and_variables_are_matched_by_name_and_kinds_follow_the_field() {
        let of = |image: &str, env: &str| {
            format!(
                r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"d","namespace":"n"}},"spec":{{"template":{{"spec":
                {{"containers":[{{"name":"side","image":"s"}},{{"name":"app","image":"{image}","env":[{env}]}}]}}}}}}}}"#
            )
        };
        let (a, b) = (of("a:1", r#"{"name":"X","value":"1"}"#), of("a:2", ""));
        assert_eq!(
            fields(&a, &b),
            [
                r#"env_changed spec.template.spec.containers[app].env Some("[{\"name\":\"X\",\"value\":\"1\"}]")->None by None"#,
                r#"image_changed spec.template.spec.containers[app].image Some("a:1")->Some("a:2") by None"#
            ]
        );
    }

    #[test]
    fn a_secret_names_keys_and_never_values() {
        let a = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"n","resourceVersion":"1"},"data":{"A":"eHg="}}"#;
        let b = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"n","resourceVersion":"2"},"data":{"B":"eHg="}}"#;
        let got = fields(a, b);
        assert_eq!(got.len(), 2, "{got:?}");
        assert!(got.iter().all(|l| !l.contains("eHg")), "{got:?}");
    }
}
