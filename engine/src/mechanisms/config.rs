//! ConfigMaps and Secrets: missing, without a key, or with content that its consumer cannot live with.

use std::sync::LazyLock;

use regex::Regex;
use tapio_core::answer::FieldChange;
use tapio_core::object::{Body, ObjectRef};
use tapio_core::ontology::Relation;
use tapio_core::time::{MINUTE, SECOND, Time};

use super::{kubectl, manual};
use crate::diagnosis::endpoints;
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs::{self, Class};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{PodFacts, View};
use crate::world::uses::{Use, Way, uses};

manual! {
    /// A container or volume refers to a ConfigMap that does not exist.
    ///
    /// Required: "configmap … not found" from the kubelet about a container or volume that waits.
    /// Supports: the ConfigMap was deleted, or its kind was listed and it is not there.
    /// Refuted by: the ConfigMap is there, or the reference is optional.
    /// Lag: at the next start of a pod; a running one does not notice.
    /// Do: create the ConfigMap, or correct its name in the workload.
    "configmap-missing": Recorded [ConfigError, VolumesPending];
    /// A container or volume refers to a key that the ConfigMap does not have.
    ///
    /// Required: "couldn't find key … in ConfigMap" or "references non-existent config key" from the kubelet.
    /// Supports: the key was there before.
    /// Refuted by: the key is there now, or the reference is optional.
    /// Lag: at the next start of a pod.
    /// Do: put the key back, or correct the reference.
    "configmap-key-missing": Recorded [ConfigError, VolumesPending];
    /// A container or volume refers to a Secret that does not exist.
    ///
    /// Required: "secret … not found" from the kubelet about a container or volume that waits.
    /// Supports: the Secret was deleted, or Secrets were listed and it is not there.
    /// Refuted by: the Secret is there, or the reference is optional.
    /// Lag: at the next start of a pod.
    /// Do: create the Secret, or correct its name in the workload.
    "secret-missing": Recorded [ConfigError, VolumesPending];
    /// A container or volume refers to a key that the Secret does not have.
    ///
    /// Required: "couldn't find key … in Secret" or "references non-existent secret key" from the kubelet.
    /// Supports: the key was there before.
    /// Refuted by: the key is there now, or the reference is optional.
    /// Lag: at the next start of a pod.
    /// Do: put the key back, or correct the reference.
    "secret-key-missing": CapturedText [ConfigError, VolumesPending];
    /// The changed content of a ConfigMap or Secret makes its consumer fail.
    ///
    /// Required: a change of the object; a consumer that fails after it could have read the change: by environment or
    /// subPath a container start after it, by volume the kubelet's sync.
    /// Supports: the last errors speak of configuration or name the key; consumers that have not restarted are well.
    /// Refuted by: the consumer failed before the change; it has not restarted since and reads at start only; the
    /// object is immutable; another change of the template came with the failing revision.
    /// Lag: none for environment (waits for a restart), up to 2 minutes for volumes.
    /// Do: put the former content back, then restart the consumers that read at start only.
    "config-content-invalid": Recorded [Crashing, Unready, ProbeKilled, InitStuck, LogErrors];
    /// A ConfigMap or Secret changed after the container read it into its environment.
    ///
    /// Required: a change younger than the container's start, consumed by environment or subPath, and errors since that
    /// the old value explains: refused credentials, or an address that the old value names.
    /// Refuted by: the container started after the change.
    /// Do: restart the workload.
    "config-stale-in-env": CapturedText [Unready, LogErrors];
}

static NOT_FOUND: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(configmap|secret)s? "([^"]+)" not found"#).ok());
static NO_KEY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"couldn't find key (\S+) in (ConfigMap|Secret) (?:([^/\s]+)/)?(\S+)").ok());
static NO_VOLUME_KEY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"references non-existent (config|secret) key: (\S+)").ok());
static VOLUME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"for volume "([^"]+)""#).ok());

/// What a kubelet text says is missing: the object, and the key if the object is there.
fn missing(p: &PodFacts, text: &str) -> Option<(ObjectRef, Option<String>)> {
    let ns = p.key().ns();
    if let Some(c) = NO_KEY.as_ref().and_then(|r| r.captures(text)) {
        return Some((ObjectRef::new(&c[2], ns, &c[4]), Some(c[1].to_owned())));
    }
    if let Some(c) = NO_VOLUME_KEY.as_ref().and_then(|r| r.captures(text)) {
        let volume = VOLUME.as_ref().and_then(|r| r.captures(text)).map(|v| v[1].to_owned())?;
        let v = p.pod.spec.volumes.iter().find(|v| v.name == volume)?;
        let (kind, name) = if &c[1] == "config" {
            let projected = || v.projected.iter().flat_map(|p| &p.sources).find_map(|s| s.config_map.as_ref());
            ("ConfigMap", v.config_map.as_ref().or_else(projected)?.name.clone())
        } else {
            let projected =
                || v.projected.iter().flat_map(|p| &p.sources).find_map(|s| s.secret.as_ref()).map(|s| s.name.clone());
            ("Secret", v.secret.as_ref().map(|s| s.secret_name.clone()).or_else(projected)?)
        };
        return Some((ObjectRef::new(kind, ns, &name), Some(c[2].to_owned())));
    }
    let c = NOT_FOUND.as_ref().and_then(|r| r.captures(text))?;
    let kind = if &c[1] == "configmap" { "ConfigMap" } else { "Secret" };
    Some((ObjectRef::new(kind, ns, &c[2]), None))
}

/// Missing references by the kubelet's words, and changes that consumers cannot live with.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| matches!(s.trouble, Trouble::ConfigError | Trouble::VolumesPending)) {
        out.extend(reference(view, s));
    }
    for s in symptoms.iter().filter(|s| matches!(s.trouble, Trouble::Crashing | Trouble::Unready)) {
        out.extend(named_value(view, s));
    }
    for kind in ["ConfigMap", "Secret"] {
        for entry in view.world.entries(kind) {
            if entry.is_live() {
                content(view, &entry.key, symptoms, out);
            }
        }
    }
}

fn reference(view: &View, s: &Symptom) -> Option<Hypothesis> {
    let p = view.pods.get(&s.object)?;
    let state = s.container.as_deref().and_then(|c| p.container(c)).map(|c| c.waiting_message());
    let notes = || p.notes(&["FailedMount", "Failed"]).rev().filter(|n| n.last >= p.created());
    let (target, key) = state.and_then(|t| missing(p, t)).or_else(|| notes().find_map(|n| missing(p, &n.message)))?;
    let live = view.world.live(&target);
    let id = match (target.kind.as_str(), &key) {
        ("ConfigMap", None) => "configmap-missing",
        ("ConfigMap", Some(_)) => "configmap-key-missing",
        (_, None) => "secret-missing",
        _ => "secret-key-missing",
    };
    let back = match (&key, live.map(|o| &o.body)) {
        (None, live) => live.is_some(),
        (Some(k), Some(Body::ConfigMap(c))) => c.has_key(k),
        (Some(k), Some(Body::Secret(x))) => x.data.contains_key(k),
        _ => false,
    };
    // The kubelet tries again every few seconds: what came back is found soon.
    let settled = back && view.age(s.since) > 120;
    let changes: Vec<FieldChange> = view
        .changes(&target)
        .iter()
        .filter(|c| key.as_ref().is_none_or(|k| c.change.field.ends_with(k.as_str())))
        .map(|c| c.change.clone())
        .collect();
    let deleted = view.world.entry(&target).and_then(|e| e.deleted_at);
    // A reference that the newest revision brought is the workload's fault; else the object's.
    let brought =
        view.last_template_change(&p.workload).filter(|_| view.is_newest(p)).map(|(_, c)| c).unwrap_or_default();
    let brought: Vec<FieldChange> = brought
        .into_iter()
        .filter(|c| {
            c.after.as_ref().is_some_and(|a| a.contains(&target.name) || key.as_ref().is_some_and(|k| a.contains(k)))
        })
        .collect();
    let root = if !brought.is_empty() && deleted.is_none() && changes.is_empty() {
        p.workload.clone()
    } else {
        target.clone()
    };
    let what = match &key {
        None => format!("{target} does not exist"),
        Some(k) => format!("{target} has no key {k}"),
    };
    let mut h = Hypothesis::new(id, root, s.since, Proof::Stated, format!("{what}; {} needs it to start", p.workload))
        .explaining([s.object.clone(), target.clone()])
        .counting_from(s.counts_from)
        .via(if s.trouble == Trouble::ConfigError { "config-env" } else { "config-volume" })
        .with([view.state(&s.object, Some(s.since), s.says.clone())])
        .unless(format!("{what}: not true any more"), settled)
        .doubted(u32::from(back && !settled));
    for n in notes().filter(|n| missing(p, &n.message).is_some()).take(1) {
        h = h.with([view.noted(&s.object, n)]);
    }
    if let Some(at) = deleted {
        h = h.supported(1).with([view.state(&target, Some(at), format!("{target} was deleted"))]);
    } else if key.is_none() && view.world.is_missing(&target) {
        h = h.supported(1);
    }
    for c in &changes {
        h = h.supported(1).with([view.changed(&target, c, None)]);
    }
    let verb = if key.is_some() { "describe" } else { "get" };
    Some(h.changed(changes).changed(brought).next(kubectl(verb, &target)).next(kubectl("describe", &s.object)))
}

/// A container that ends, or refuses to be ready, with a complaint about a value or a file, and that comes from a ConfigMap
/// or Secret: nobody needs to have seen the change.
fn named_value(view: &View, s: &Symptom) -> Option<Hypothesis> {
    let p = view.pods.get(&s.object)?;
    let name = s.container.as_deref()?;
    let spec = p.pod.spec.container(name)?;
    let line = logs::newest_of(p, Some(name), &[Class::BadConfig])?;
    let ns = p.key().ns();
    let source = spec.env.iter().filter(|v| v.name.len() > 2 && logs::names_word(line.text, &v.name)).find_map(|v| {
        let from = v.value_from.as_ref()?;
        let map = from.config_map_key_ref.as_ref().map(|r| ("ConfigMap", r));
        let (kind, r) = map.or_else(|| from.secret_key_ref.as_ref().map(|r| ("Secret", r)))?;
        Some((ObjectRef::new(kind, ns, &r.name), r.key.clone(), v.name.clone()))
    });
    let whole = || {
        spec.env_from.iter().find_map(|f| {
            let r = f.config_map_ref.as_ref()?;
            let key = ObjectRef::new("ConfigMap", ns, &r.name);
            let Body::ConfigMap(c) = &view.world.live(&key)?.body else { return None };
            let k = c.data.keys().find(|k| k.len() > 2 && logs::names_word(line.text, k))?;
            Some((key.clone(), k.clone(), k.clone()))
        })
    };
    // What only serves badly may complain about a variable for long; a file that it names is what it reads just now.
    let by_variable = if s.trouble == Trouble::Crashing { source.or_else(whole) } else { None };
    let via = if by_variable.is_some() { "config-env" } else { "config-volume" };
    let (key, field, variable) = by_variable.or_else(|| named_file(p, spec, line.text))?;
    view.world.live(&key)?;
    // Another change of this revision that touches the container would be the nearer cause.
    let other = view
        .last_template_change(&p.workload)
        .filter(|_| view.is_newest(p))
        .is_some_and(|(_, d)| d.iter().any(|c| !c.field.contains("annotations") && !c.field.contains("labels")));
    let well = view.pods_of(&p.workload).any(|o| o.key() != p.key() && o.pod.is_ready());
    Some(
        Hypothesis::new(
            "config-content-invalid",
            key.clone(),
            s.since,
            Proof::Inferred,
            format!(
                "{} {} because of {variable}, which is {field} of {key}: {}",
                p.workload,
                if s.trouble == Trouble::Crashing { "ends" } else { "is not ready" },
                line.text.trim()
            ),
        )
        .explaining([s.object.clone()])
        .counting_from(s.counts_from)
        .via(via)
        .supported(u32::from(well))
        .with([
            view.logged(&s.object, Some(line.at), line.container, line.text),
            view.state(&key, None, format!("{variable} of container {name} is read from {field}")),
        ])
        .unless("the same revision brought another change", other)
        .next(kubectl("describe", &key)),
    )
}

/// The ConfigMap or Secret, and its key, behind a mounted file that a text names by its path.
fn named_file(p: &PodFacts, spec: &tapio_core::object::Container, text: &str) -> Option<(ObjectRef, String, String)> {
    let ns = p.key().ns();
    for path in text.split(|c: char| c.is_whitespace() || "\"'`(),;=[]<>".contains(c)) {
        let path = path.trim_end_matches([':', '.']);
        if !path.starts_with('/') {
            continue;
        }
        // `/etc/app/app.conf:4` names a place in the file.
        let path = path.split(':').next().unwrap_or(path);
        let Some((mount, rest)) = spec.volume_mounts.iter().find_map(|m| {
            let dir = m.mount_path.trim_end_matches('/');
            let rest = path.strip_prefix(dir)?;
            if !m.sub_path.is_empty() && rest.is_empty() {
                return Some((m, m.sub_path.clone()));
            }
            rest.strip_prefix('/').filter(|r| !r.is_empty()).map(|r| (m, r.to_owned()))
        }) else {
            continue;
        };
        let Some(v) = p.pod.spec.volumes.iter().find(|v| v.name == mount.name) else { continue };
        let (kind, name, items) = match (&v.config_map, &v.secret) {
            (Some(c), _) => ("ConfigMap", &c.name, &c.items),
            (None, Some(s)) => ("Secret", &s.secret_name, &s.items),
            (None, None) => continue,
        };
        let key = items.iter().find(|i| i.path == rest).map_or_else(|| rest.clone(), |i| i.key.clone());
        return Some((ObjectRef::new(kind, ns, name), key, path.to_owned()));
    }
    None
}

/// A change of the content, seen as it happened or told by managedFields: when, and what.
fn content_change(view: &View, key: &ObjectRef) -> Option<(Time, Vec<FieldChange>, Option<tapio_core::id::Id>)> {
    let seen: Vec<_> = view
        .changes(key)
        .iter()
        .filter(|c| c.change.field.starts_with("data") || c.change.field.starts_with("binaryData"))
        .collect();
    if let Some(last) = seen.last() {
        let at = last.change.at.unwrap_or(last.at);
        let same: Vec<FieldChange> =
            seen.iter().filter(|c| last.at.since(c.at) <= MINUTE).map(|c| c.change.clone()).collect();
        return Some((at, same, Some(last.id)));
    }
    let object = view.world.live(key)?;
    let created = (*object.meta.creation_timestamp)?;
    let applied: Vec<String> =
        object.meta.differs_from_applied().filter(|f| f.starts_with("data.")).map(str::to_owned).collect();
    if !applied.is_empty() && object.meta.managed_fields.is_empty() {
        // Changed by other means than apply, nobody says when: since it was made.
        let changes = applied
            .into_iter()
            .map(|field| FieldChange { field, before: None, after: None, by: None, at: None })
            .collect();
        return Some((created, changes, None));
    }
    if object.meta.managed_fields.is_empty() {
        let at = view.world.revisions.written(object.meta.version()).filter(|t| t.since(created) > 2 * SECOND)?;
        let change = FieldChange { field: "data".to_owned(), before: None, after: None, by: None, at: Some(at) };
        return Some((at, vec![change], None));
    }
    let (by, at) = object
        .meta
        .managed_fields
        .iter()
        .filter(|m| m.fields_v1.as_ref().is_some_and(|f| f.contains("f:data")))
        .filter_map(|m| m.time.map(|t| (m, t)))
        .filter(|(_, t)| t.since(created) > 10 * SECOND)
        .max_by_key(|(_, t)| *t)?;
    let field = by.fields_v1.as_deref().map(keys_of).filter(|k| !k.is_empty());
    let fields = field.unwrap_or_else(|| vec!["data".to_owned()]);
    let changes = fields
        .into_iter()
        .map(|field| FieldChange { field, before: None, after: None, by: Some(by.manager.clone()), at: Some(at) })
        .collect();
    Some((at, changes, None))
}

/// `data.KEY` for every key in a field set.
fn keys_of(set: &str) -> Vec<String> {
    let Ok(v) = serde_json::from_str::<serde_json::Value>(set) else { return Vec::new() };
    let Some(data) = v.get("f:data").and_then(|d| d.as_object()) else { return Vec::new() };
    data.keys().filter_map(|k| k.strip_prefix("f:")).take(8).map(|k| format!("data.{k}")).collect()
}

fn content(view: &View, key: &ObjectRef, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    let Some((at, changes, event)) = content_change(view, key) else { return };
    if view.now.since(at) > 6 * 60 * MINUTE && changes.iter().any(|c| c.at.is_some()) {
        return;
    }
    let relation = if key.kind == "ConfigMap" { Relation::Mounts } else { Relation::UsesSecret };
    let consumers: Vec<&PodFacts> =
        view.world.into(key, relation).into_iter().filter_map(|e| view.pods.get(&e.key)).collect();
    for p in &consumers {
        let sick = symptoms.iter().filter(|s| {
            s.object == *p.key()
                && matches!(
                    s.trouble,
                    Trouble::Crashing
                        | Trouble::Unready
                        | Trouble::ProbeKilled
                        | Trouble::InitStuck
                        | Trouble::LogErrors
                )
        });
        // What the log says is told with the failing state, where there is one.
        let failing = symptoms.iter().any(|s| s.object == *p.key() && s.counts(view.now));
        let sick = sick.filter(|s| s.trouble != Trouble::LogErrors || !failing);
        for s in sick {
            let all = uses(&p.pod.spec);
            let way = all
                .iter()
                .filter(|u| u.kind == key.kind && u.name == key.name && u.way != Way::PullSecret)
                .filter(|u| touches(u, &changes))
                .filter(|u| s.container.is_none() || u.container.is_none() || u.container == s.container)
                .min_by_key(|u| u.way.follows_changes());
            let Some(u) = way else { continue };
            if let Some(h) = consumer(view, key, p, s, u, at, &changes, event, &consumers) {
                out.push(h);
            }
        }
    }
}

/// Whether a container of a pod still has what an object said before it changed: it reads it at its start only.
pub(crate) fn holds_old(p: &PodFacts, container: Option<&str>, key: &ObjectRef, changed: Time) -> bool {
    let at_start = uses(&p.pod.spec).iter().any(|u| {
        u.kind == key.kind
            && u.name == key.name
            && u.way != Way::PullSecret
            && !u.way.follows_changes()
            && (container.is_none() || u.container.is_none() || u.container.as_deref() == container)
    });
    let since = p.containers.iter().filter(|c| container.is_none_or(|n| n == c.name())).find_map(|c| c.running_since());
    at_start && since.is_some_and(|t| t.plus(2 * SECOND) < changed)
}

/// Whether a failing container still has the old value of a Secret that changed before it began to fail.
pub(crate) fn holds_old_secret(view: &View, p: &PodFacts, s: &Symptom) -> bool {
    view.world.out(p.key(), Relation::UsesSecret).iter().filter(|e| e.is_live()).any(|e| {
        content_change(view, &e.key).is_some_and(|(at, changes, _)| {
            view.now.since(at) <= 6 * 60 * MINUTE
                && s.since.plus(2 * SECOND) >= at
                && changes.iter().any(|c| c.at.is_some())
                && holds_old(p, s.container.as_deref(), &e.key, at)
        })
    })
}

/// A container that still has the old value, and errors since the change that the old value explains.
fn stale(
    view: &View,
    key: &ObjectRef,
    p: &PodFacts,
    s: &Symptom,
    at: Time,
    changes: &[FieldChange],
    event: Option<tapio_core::id::Id>,
) -> Option<Hypothesis> {
    let container = s.container.as_deref();
    let since = matches!(s.trouble, Trouble::Unready | Trouble::LogErrors) && s.since.plus(2 * SECOND) >= at;
    if !since || changes.iter().all(|c| c.at.is_none()) || !holds_old(p, container, key, at) {
        return None;
    }
    let old: Vec<_> = changes.iter().filter_map(|c| c.before.as_deref()).flat_map(endpoints::addresses).collect();
    let errors = logs::errors(p, container, 30);
    let line = errors.iter().find(|l| match l.class {
        Class::Authentication => true,
        Class::Dns | Class::Refused | Class::Timeout | Class::Network => {
            endpoints::mentioned(l.text).iter().any(|e| old.iter().any(|o| o.host == e.host))
        }
        _ => false,
    })?;
    Some(
        Hypothesis::new(
            "config-stale-in-env",
            key.clone(),
            at,
            Proof::Inferred,
            format!("{key} changed {}, and {} still has what it said before", at.clock(), p.workload),
        )
        .explaining([s.object.clone()])
        .counting_from(s.counts_from)
        .via("config-env")
        .supported(1)
        .changed(changes.iter().cloned())
        .with(changes.iter().take(4).map(|c| view.changed(key, c, event)))
        .with([
            view.logged(&s.object, Some(line.at), line.container, line.text),
            view.state(&s.object, Some(s.since), s.says.clone()),
        ])
        .unless("the container started after the change", false)
        .next(kubectl("rollout restart", &p.workload)),
    )
}

/// Whether a use reads any of the changed keys.
fn touches(u: &Use, changes: &[FieldChange]) -> bool {
    u.keys.is_empty()
        || changes.iter().any(|c| {
            c.field == "data"
                || u.keys.iter().any(|k| c.field.strip_prefix("data.").is_some_and(|f| f.starts_with(k.as_str())))
        })
}

#[allow(clippy::too_many_arguments, reason = "one step of the loop above, kept apart for reading")]
fn consumer(
    view: &View,
    key: &ObjectRef,
    p: &PodFacts,
    s: &Symptom,
    u: &Use,
    at: Time,
    changes: &[FieldChange],
    event: Option<tapio_core::id::Id>,
    consumers: &[&PodFacts],
) -> Option<Hypothesis> {
    let container = s.container.as_deref().or(u.container.as_deref());
    let facts = container.and_then(|c| p.container(c));
    let slack = 2 * SECOND;
    // The first start after which the container can have known the new content.
    let exits = container.and_then(|c| p.history().exits.get(c)).map_or(&[][..], |v| v.as_slice());
    let starts: Vec<Time> = exits
        .iter()
        .filter_map(|e| e.started)
        .chain(facts.and_then(|f| f.last_exit()).and_then(|t| *t.started_at))
        .chain(facts.and_then(|f| f.running_since()))
        .collect();
    let began_after = starts.iter().any(|t| t.plus(slack) >= at) || (starts.is_empty() && p.created() >= at);
    let reads_at_start = !u.way.follows_changes();
    let undated = changes.iter().all(|c| c.at.is_none());
    let failed_before = s.since.plus(slack) < at
        || exits
            .iter()
            .any(|e| e.code != 0 && e.finished.is_some_and(|f| f.plus(slack) < at && at.since(f) < 30 * MINUTE));
    if reads_at_start && !began_after {
        return stale(view, key, p, s, at, changes, event);
    }
    let errors = logs::errors(p, container, 30);
    let names_key =
        changes.iter().filter_map(|c| c.field.strip_prefix("data.")).any(|k| errors.iter().any(|e| e.text.contains(k)));
    let bad_config = errors.iter().find(|e| matches!(e.class, Class::BadConfig | Class::MissingVariable));
    // By volume the reaction must follow the sync; without any word in the log, nearness in time is not enough.
    if u.way.follows_changes() && s.since.since(at) > 5 * MINUTE && !names_key && bad_config.is_none() && !began_after {
        return None;
    }
    // Without a date, what the log says must do.
    if undated && !names_key && bad_config.is_none() {
        return None;
    }
    let revision = view.last_template_change(&p.workload).filter(|_| view.is_newest(p));
    let other_change = revision.is_some_and(|(began, diff)| {
        began.plus(5 * MINUTE) >= at
            && diff.iter().any(|c| !c.field.contains("annotations") && !c.field.contains("labels"))
    });
    let line = bad_config.or_else(|| errors.first());
    let who = changes.iter().find_map(|c| c.by.clone()).map(|b| format!(" by {b}")).unwrap_or_default();
    let fields: Vec<&str> = changes.iter().map(|c| c.field.as_str()).take(4).collect();
    let how = if reads_at_start { "read at start" } else { "followed by the mounted volume" };
    let how_many = consumers.iter().filter(|c| c.workload == p.workload).count();
    let plural = if how_many == 1 { "" } else { "s" };
    let summary = format!(
        "{} of {key} changed{}{who}; {} ({how_many} pod{plural}, {how}) fails since",
        fields.join(", "),
        if undated { " after it was applied".to_owned() } else { format!(" {}", at.clock()) },
        p.workload
    );
    let mut h = Hypothesis::new("config-content-invalid", key.clone(), at, Proof::Inferred, summary)
        .explaining([s.object.clone()])
        .counting_from(s.counts_from.max(view.may_start_until(p)))
        .via(if reads_at_start { "config-env" } else { "config-volume" })
        .changed(changes.iter().cloned())
        .with(changes.iter().take(4).map(|c| view.changed(key, c, event)))
        .with([view.state(&s.object, Some(s.since), s.says.clone())])
        .supported(u32::from(names_key) + u32::from(bad_config.is_some()) + u32::from(began_after))
        .doubted(u32::from(other_change) * 2)
        .unless("the consumer failed before the change", failed_before)
        .unless("the consumer reads at start only and has not restarted since", false)
        .unless("the same revision brought another change", other_change && !names_key && bad_config.is_none())
        .next(kubectl("describe", key))
        .next(kubectl("rollout restart", &p.workload));
    if let Some(l) = line {
        h = h.with([view.logged(&s.object, Some(l.at), l.container, l.text)]);
    }
    Some(h)
}
