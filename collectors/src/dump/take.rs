//! Documents → events: objects, lists, Kubernetes Events, alerts, watch lines, RawEvents.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

use serde_json::value::RawValue;
use tapio_core::time::Time;

use super::moment::Moment;
use super::shape::{Shape, collected_at, text, wrong};
use super::{folder_of, logs, plain_name, unreadable};
use crate::documents::{Limits, Piece, scan};
use crate::reader::{Output, Stopped};
use crate::recording;
use crate::redaction::RedactionError;

/// Items without a kind that wait for the end of their list.
const MAX_WAITING: usize = 64 << 20;

/// What is known about the list that is being read.
#[derive(Default)]
struct List {
    kind: String,
    api_version: String,
    /// Whether the text before the items was looked at.
    known: bool,
    namespaces: BTreeSet<String>,
    item_kinds: BTreeSet<String>,
    items: u64,
    /// Items that do not say what they are; the list says it behind them.
    waiting: Vec<(u64, Vec<u8>)>,
    waiting_bytes: usize,
}

/// Reads one file.
pub(super) struct Taker<'a> {
    out: &'a Output,
    moment: &'a mut Moment,
    name: &'a str,
    origin: &'a str,
    in_folder: bool,
    list: List,
    /// Time of the newest line of a watch.
    last: Option<Time>,
    /// Whether anything in the file was of use.
    used: bool,
}

impl<'a> Taker<'a> {
    pub(super) fn new(
        out: &'a Output,
        moment: &'a mut Moment,
        name: &'a str,
        origin: &'a str,
        in_folder: bool,
    ) -> Self {
        Taker { out, moment, name, origin, in_folder, list: List::default(), last: None, used: false }
    }

    /// Reads JSON documents, and the logs between them, to the end.
    pub(super) fn json(mut self, reader: &mut dyn BufRead) -> Result<(), Stopped> {
        let limits = Limits { document: self.out.options.max_line_bytes, item: self.out.options.max_object_bytes };
        let out = self.out;
        let origin = self.origin;
        let broken = scan(reader, limits, &mut |reader, piece| match piece {
            Piece::Document { line, bytes, items: 0 } => self.document(line, bytes),
            Piece::Document { bytes, .. } => self.end_of_list(bytes),
            Piece::Item { line, bytes, head } => self.item(line, bytes, head),
            Piece::LogStart { line, bytes } => {
                self.used = true;
                logs::section(self.out, self.moment, self.origin, line, bytes, reader)
            }
            Piece::Broken { line, bytes, why } => {
                let why = format!("{why}; expected one JSON document, the rest of the input is used");
                self.out.dead(self.origin, Some(line), why, bytes)
            }
        })?;
        match broken {
            Some(e) => out.dead(origin, None, unreadable(&e), b""),
            None => Ok(()),
        }
    }

    fn dead(&self, line: u64, why: impl Into<String>, bytes: &[u8]) -> Result<(), Stopped> {
        self.out.dead(self.origin, Some(line), why.into(), bytes)
    }

    /// A document's text and shape, or a dead letter.
    fn shaped<'t>(&self, line: u64, bytes: &'t [u8]) -> Result<Option<(&'t str, Shape<'t>)>, Stopped> {
        let json = match std::str::from_utf8(bytes) {
            Ok(json) => json,
            Err(e) => {
                let why = format!("invalid UTF-8 at byte {} of the document; save it as UTF-8", e.valid_up_to());
                self.dead(line, why, bytes)?;
                return Ok(None);
            }
        };
        match Shape::of(json) {
            Ok(shape) => Ok(Some((json, shape))),
            Err(why) => {
                self.no_json(line, &why, json)?;
                Ok(None)
            }
        }
    }

    fn no_json(&self, line: u64, why: &str, json: &str) -> Result<(), Stopped> {
        self.dead(line, format!("not a JSON object as expected: {why}"), json.as_bytes())
    }

    /// A document that is no list with items.
    fn document(&mut self, line: u64, bytes: &[u8]) -> Result<(), Stopped> {
        self.list = List::default();
        if bytes == b"[]" {
            return Ok(()); // no alerts, for one
        }
        let Some((json, shape)) = self.shaped(line, bytes)? else { return Ok(()) };
        let kind = text(shape.kind);
        if kind == "List" || (kind.ends_with("List") && is_list(json)) {
            self.list.kind = kind;
            return self.list_over();
        }
        if shape.kind.is_some() && !kind.is_empty() {
            return self.object(line, json, &shape, "", "", true);
        }
        self.other(line, json, &shape)
    }

    /// What has no kind: watch lines, RawEvents, alerts, `meta.json` under another name.
    fn other(&mut self, line: u64, json: &str, shape: &Shape<'_>) -> Result<(), Stopped> {
        if let Some(why) = wrong(json) {
            return self.no_json(line, &why, json);
        }
        if shape.is_watch() {
            self.used = true;
            return self.watch(line, json, shape);
        }
        if shape.is_raw_event() {
            self.used = true;
            return match recording::raw_event(json, &self.out.options.redaction) {
                Ok(event) => {
                    self.last = self.last.max(Some(event.seen_at()));
                    self.out.event(event)
                }
                Err(why) => self.dead(line, why, json.as_bytes()),
            };
        }
        if shape.is_alert() {
            self.used = true;
            return self.alert(line, json);
        }
        if let Some(inner) = shape.alerts.or(shape.data) {
            // `{"data":[…]}`, `{"data":{"alerts":[…]}}`, `{"alerts":[…]}`.
            let of_data = Shape::of(inner).ok().and_then(|s| s.alerts);
            if let Ok(all) = serde_json::from_str::<Vec<&RawValue>>(of_data.unwrap_or(inner)) {
                self.used = true;
                for one in all {
                    match Shape::of(one.get()) {
                        Ok(s) if s.is_alert() => self.alert(line, one.get())?,
                        _ => self.dead(line, "no alert: expected `labels` and `startsAt`", one.get().as_bytes())?,
                    }
                }
                return Ok(());
            }
        }
        if shape.collected_at.is_some() {
            return match collected_at(json.as_bytes()) {
                Ok(now) => {
                    self.moment.now.get_or_insert(now);
                    Ok(())
                }
                Err(why) => self.dead(line, why, json.as_bytes()),
            };
        }
        if self.in_folder && !self.used && shape.metadata.is_none() && shape.event_type.is_none() {
            self.out.skip(self.origin, "JSON, but no Kubernetes object, event or alert");
            self.used = true;
            return Ok(());
        }
        let why = "no `kind`: expected a Kubernetes object with apiVersion, kind and metadata.name, a list of them, a line of a watch or a recorded event";
        self.dead(line, why, json.as_bytes())
    }

    fn item(&mut self, line: u64, bytes: &[u8], head: &[u8]) -> Result<(), Stopped> {
        if !self.list.known {
            self.list.known = true;
            // The list's document up to its items, closed so that it can be read.
            let closed = [head, if head.starts_with(b"[") { b"]" } else { b"]}" }].concat();
            if let Ok(shape) = std::str::from_utf8(&closed).map_err(|e| e.to_string()).and_then(Shape::of) {
                self.list.kind = text(shape.kind);
                self.list.api_version = text(shape.api_version);
            }
        }
        self.list.items += 1;
        let Some((json, shape)) = self.shaped(line, bytes)? else { return Ok(()) };
        if shape.kind.is_none()
            && shape.metadata.is_some()
            && !shape.is_raw_event()
            && self.list.kind.is_empty()
            && head.starts_with(b"{")
        {
            self.list.waiting_bytes += bytes.len();
            if self.list.waiting_bytes <= MAX_WAITING {
                self.list.waiting.push((line, bytes.to_vec()));
                return Ok(());
            }
            return self.dead(
                line,
                "the item has no kind and its list says it too late; write `kind` before `items`",
                bytes,
            );
        }
        let kind = text(shape.kind);
        if kind.is_empty() && !is_real_list(&self.list.kind) {
            return self.other(line, json, &shape);
        }
        let (list_kind, list_version) = (self.list.kind.clone(), self.list.api_version.clone());
        self.object(line, json, &shape, &list_kind, &list_version, false)
    }

    fn end_of_list(&mut self, envelope: &[u8]) -> Result<(), Stopped> {
        if let Ok(shape) = std::str::from_utf8(envelope).map_err(|e| e.to_string()).and_then(Shape::of) {
            self.list.kind = text(shape.kind);
            self.list.api_version = text(shape.api_version);
        }
        let (kind, version) = (self.list.kind.clone(), self.list.api_version.clone());
        for (at, bytes) in std::mem::take(&mut self.list.waiting) {
            if let Some((json, shape)) = self.shaped(at, &bytes)? {
                self.object(at, json, &shape, &kind, &version, false)?;
            }
        }
        self.list_over()
    }

    /// Notes what the list that ends here says was asked for.
    pub(super) fn list_over(&mut self) -> Result<(), Stopped> {
        let list = std::mem::take(&mut self.list);
        self.used = true;
        let folder = folder_of(self.name);
        if is_real_list(&list.kind) {
            let kind = list.kind.strip_suffix("List").unwrap_or(&list.kind);
            self.moment.asked(folder, kind, list.namespaces, list.items == 0);
        } else if list.kind == "List" {
            let by_name = kind_of_file(self.name);
            if list.items == 0 {
                if let Some(kind) = by_name {
                    self.moment.asked(folder, kind, BTreeSet::new(), true);
                }
            } else {
                for kind in &list.item_kinds {
                    self.moment.asked(folder, kind, list.namespaces.clone(), false);
                }
            }
        }
        Ok(())
    }

    /// A Kubernetes object; `list_kind`: of the list that it is an item of.
    pub(super) fn object(
        &mut self,
        line: u64,
        json: &str,
        shape: &Shape<'_>,
        list_kind: &str,
        list_version: &str,
        single: bool,
    ) -> Result<(), Stopped> {
        let own = text(shape.kind);
        let kind = if own.is_empty() { list_kind.strip_suffix("List").unwrap_or("").to_owned() } else { own.clone() };
        if kind.is_empty() {
            return self.dead(
                line,
                "no `kind`; expected a Kubernetes object with apiVersion, kind and metadata.name",
                json.as_bytes(),
            );
        }
        self.used = true;
        let id = shape.identity();
        let is_event = is_event(&kind, shape, list_version);
        if id.name.is_empty() && !is_event {
            // A letter about a Secret shows nothing of it.
            let shown = if kind == "Secret" { "" } else { json };
            return self.dead(
                line,
                format!("{kind} without metadata.name; expected a Kubernetes object"),
                shown.as_bytes(),
            );
        }
        let mut lead = String::new();
        if shape.api_version.is_none() && !list_version.is_empty() {
            lead.push_str("\"apiVersion\":");
            lead.push_str(&serde_json::to_string(list_version).unwrap_or_default());
        }
        if shape.kind.is_none() {
            lead.push_str(if lead.is_empty() { "\"kind\":" } else { ",\"kind\":" });
            lead.push_str(&serde_json::to_string(&kind).unwrap_or_default());
        }
        let data = match self.out.options.redaction.object_with(json, &kind, &lead) {
            Ok(data) => data,
            Err(e) => {
                return match wrong(json) {
                    // A letter about a Secret shows nothing of it.
                    Some(why) => self.no_json(line, &why, if kind == "Secret" { "" } else { json }),
                    None => self.dead(line, self.unusable(&kind, &id.name, e), b""),
                };
            }
        };
        if single {
            self.moment.single(self.out, format!("{kind}/{}/{}", id.namespace, id.name), id.version)?;
        } else {
            if !id.namespace.is_empty() && self.list.namespaces.len() < 100_000 {
                self.list.namespaces.insert(id.namespace);
            }
            if self.list.item_kinds.len() < 1_000 {
                self.list.item_kinds.insert(kind.clone());
            }
        }
        self.moment.add(self.out, if is_event { "Event" } else { "ObjectAdded" }, BTreeMap::new(), data)
    }

    fn unusable(&self, kind: &str, name: &str, e: RedactionError) -> String {
        format!("{kind} {name} cannot be used: {e}; fetch it again")
    }

    fn alert(&mut self, line: u64, json: &str) -> Result<(), Stopped> {
        match self.out.options.redaction.payload(json, "Alert") {
            Ok(data) => self.moment.add(self.out, "Alert", BTreeMap::new(), data),
            Err(e) => self.dead(line, format!("the alert cannot be used: {e}"), b""),
        }
    }

    fn watch(&mut self, line: u64, json: &str, shape: &Shape<'_>) -> Result<(), Stopped> {
        match recording::watch_line(
            shape.ts.or(shape.timestamp),
            shape.event_type,
            shape.object,
            self.last,
            &self.out.options.redaction,
        ) {
            Ok(Some(event)) => {
                self.last = self.last.max(Some(event.timestamp));
                self.out.event(event)
            }
            Ok(None) => Ok(()),
            Err(why) => self.dead(line, why, json.as_bytes()),
        }
    }

    /// Notes an item of a list that was read otherwise (YAML).
    pub(super) fn begin_list(&mut self, kind: String, api_version: String) {
        self.list = List { kind, api_version, known: true, ..List::default() };
    }

    /// An item of a list begun with [`Taker::begin_list`], or a document by itself.
    pub(super) fn text_of(&mut self, line: u64, json: &str, in_list: bool) -> Result<(), Stopped> {
        if in_list { self.item(line, json.as_bytes(), b"{") } else { self.document(line, json.as_bytes()) }
    }
}

/// Whether a Kubernetes object is an Event, of either API group.
pub(crate) fn is_event(kind: &str, shape: &Shape<'_>, list_version: &str) -> bool {
    if kind != "Event" {
        return false;
    }
    let own = text(shape.api_version);
    let version = if own.is_empty() { list_version } else { &own };
    version.is_empty() || version == "v1" || version.starts_with("events.k8s.io/")
}

/// Whether a kind is that of a list of one kind (`PodList`).
fn is_real_list(kind: &str) -> bool {
    kind.len() > 4 && kind.ends_with("List")
}

/// Whether a document with the kind of a list is one: an empty list has `items` and no name.
fn is_list(json: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Items<'a> {
        #[serde(borrow)]
        items: Option<&'a RawValue>,
        #[serde(borrow)]
        spec: Option<&'a RawValue>,
    }
    serde_json::from_str::<Items<'_>>(json).is_ok_and(|l| l.items.is_some() || l.spec.is_none())
}

/// The kind that a file's name speaks of (`pods.json`, `replication-controllers.yaml`).
fn kind_of_file(name: &str) -> Option<&'static str> {
    let stem: String =
        plain_name(name).split('.').next().unwrap_or("").chars().filter(char::is_ascii_alphanumeric).collect();
    const KINDS: [&str; 38] = [
        "Pod",
        "Service",
        "Deployment",
        "ReplicaSet",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "CronJob",
        "ConfigMap",
        "Secret",
        "ServiceAccount",
        "Endpoints",
        "EndpointSlice",
        "Event",
        "Ingress",
        "NetworkPolicy",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "StorageClass",
        "ResourceQuota",
        "LimitRange",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "ReplicationController",
        "ControllerRevision",
        "Lease",
        "Node",
        "Namespace",
        "Role",
        "RoleBinding",
        "ClusterRole",
        "ClusterRoleBinding",
        "IngressClass",
        "PriorityClass",
        "VolumeAttachment",
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "CustomResourceDefinition",
    ];
    let stem = stem.to_ascii_lowercase();
    KINDS.into_iter().find(|k| {
        let k = k.to_ascii_lowercase();
        stem == k
            || stem.strip_suffix('s') == Some(&k)
            || stem.strip_suffix("es") == Some(&k)
            || (k.ends_with('y') && stem.strip_suffix("ies") == k.strip_suffix('y'))
    })
}
