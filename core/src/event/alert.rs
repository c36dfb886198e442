//! `Alert`: one alert of Alertmanager (API v2, or an item of its webhook's `alerts`).
//!
//! ```json
//! {"labels":{"alertname":"KubePodCrashLooping","severity":"warning","namespace":"shop","pod":"cart-1"},
//!  "annotations":{"summary":"…"},"startsAt":"2024-01-15T10:25:00Z","endsAt":"2024-01-15T10:35:00Z",
//!  "fingerprint":"c14f6e356d6c28b3","status":{"state":"active"}}
//! ```
//! `labels` are needed. `status` is an object (v2: the alert fires) or a word (webhook: `firing`, `resolved`); without
//! it, an `endsAt` in the past means resolved. It is about the object that the labels name: pod, workload, claim,
//! node, Service or namespace.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, about, fact, missing, one, read, shorten};
use crate::id::{Id, IdBuilder};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::time::Time;
use crate::unified::{EntityInfo, EventKind, Severity, UnifiedEvent};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "alert",
    raw_type: "Alert",
    kinds: &[EventKind::AlertFired, EventKind::AlertResolved],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"Alert","source":"alert_collector","metadata":{"cluster":"main"},"data":{"annotations":{"summary":"Pod is crash looping."},"startsAt":"2024-01-15T10:25:00Z","endsAt":"2024-01-15T10:34:00Z","updatedAt":"2024-01-15T10:30:00Z","fingerprint":"9c1f0b2a7de04411","receivers":[{"name":"default"}],"status":{"state":"active","silencedBy":[],"inhibitedBy":[]},"labels":{"alertname":"KubePodCrashLooping","severity":"warning","namespace":"shop","pod":"cart-5f9dbcfb-82fb7","container":"app"}}}"#,
        r#"{"timestamp":"2024-01-15T10:45:00Z","type":"Alert","source":"alert_collector","metadata":{"cluster":"main"},"data":{"status":"resolved","startsAt":"2024-01-15T10:25:00Z","endsAt":"2024-01-15T10:44:00Z","fingerprint":"9c1f0b2a7de04411","labels":{"alertname":"KubePodCrashLooping","severity":"warning","namespace":"shop","pod":"cart-5f9dbcfb-82fb7","container":"app"}}}"#,
    ],
    about: "an alert of Alertmanager fires, or no longer",
};

shape! {
    /// An alert.
    #[serde(rename_all = "camelCase")]
    struct Alert {
        /// Labels.
        labels: BTreeMap<Text<'a>, Text<'a>>,
        /// Annotations.
        annotations: BTreeMap<Text<'a>, Text<'a>>,
        /// Since when it fires.
        starts_at: Text<'a>,
        /// When it ended, or will unless it is sent again.
        ends_at: Text<'a>,
        /// Hash of the labels.
        fingerprint: Text<'a>,
        /// Whether it fires.
        status: Status<'a>,
    }
}

/// `status`, of either API.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, bound(deserialize = "'de: 'a"))]
pub enum Status<'a> {
    /// Of the webhook: `firing` or `resolved`.
    Word(#[serde(borrow)] Cow<'a, str>),
    /// Of the API: only alerts that fire are listed.
    State {
        /// `active`, `suppressed` or `unprocessed`.
        state: Option<Cow<'a, str>>,
    },
    /// Not said.
    None(()),
}

impl Default for Status<'_> {
    fn default() -> Self {
        Status::None(())
    }
}

impl Alert<'_> {
    /// A label; `""` if it is not there.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", |t| &**t)
    }

    /// Whether it has ended, seen at `now`.
    pub fn is_resolved(&self, now: Time) -> bool {
        match &self.status {
            Status::Word(w) => w == "resolved",
            Status::State { .. } => false,
            Status::None(()) => self.ends_at.time().is_some_and(|t| t <= now),
        }
    }

    /// The object that the labels name.
    pub fn object(&self) -> Option<ObjectRef> {
        // Series of kube-state-metrics carry the exporter's own pod and Service where scraping adds its labels.
        let of_exporter = |v: &str| v.contains("kube-state-metrics");
        let own = |name: &str| {
            let exported = match name {
                "namespace" => self.label("exported_namespace"),
                "pod" => self.label("exported_pod"),
                "service" => self.label("exported_service"),
                "node" => self.label("exported_node"),
                _ => "",
            };
            if exported.is_empty() { self.label(name) } else { exported }.to_owned()
        };
        let ns = own("namespace");
        let pod = own("pod");
        let exporters_own = of_exporter(&pod) && of_exporter(self.label("job"));
        if !pod.is_empty() && !exporters_own {
            return Some(ObjectRef::new("Pod", &ns, &pod));
        }
        const WORKLOADS: &[(&str, &str)] = &[
            ("deployment", "Deployment"),
            ("statefulset", "StatefulSet"),
            ("daemonset", "DaemonSet"),
            ("job_name", "Job"),
            ("cronjob", "CronJob"),
            ("replicaset", "ReplicaSet"),
            ("horizontalpodautoscaler", "HorizontalPodAutoscaler"),
            ("hpa", "HorizontalPodAutoscaler"),
            ("persistentvolumeclaim", "PersistentVolumeClaim"),
            ("poddisruptionbudget", "PodDisruptionBudget"),
            ("resourcequota", "ResourceQuota"),
            ("ingress", "Ingress"),
        ];
        if let Some((label, kind)) = WORKLOADS.iter().find(|(label, _)| !self.label(label).is_empty()) {
            return Some(ObjectRef::new(kind, &ns, self.label(label)));
        }
        if !self.label("persistentvolume").is_empty() {
            return Some(ObjectRef::cluster_scoped("PersistentVolume", self.label("persistentvolume")));
        }
        let node = own("node");
        if !node.is_empty() {
            return Some(ObjectRef::cluster_scoped("Node", &node));
        }
        let service = own("service");
        if !service.is_empty() && !of_exporter(&service) {
            return Some(ObjectRef::new("Service", &ns, &service));
        }
        (!ns.is_empty()).then(|| ObjectRef::cluster_scoped("Namespace", &ns))
    }

    /// Since when it fires, where that is said.
    pub fn starts(&self) -> Option<Time> {
        self.starts_at.time()
    }

    /// When it ended, or ends unless it is sent again.
    pub fn ends(&self) -> Option<Time> {
        self.ends_at.time()
    }

    /// What it says: the metric in its labels, then its annotations.
    pub fn words(&self) -> String {
        let said = ["summary", "description", "message"].into_iter().filter_map(|k| self.annotations.get(k));
        let all = self.labels.get("metric").into_iter().chain(said);
        all.map(|t| &**t).filter(|t| !t.is_empty()).collect::<Vec<_>>().join(" | ")
    }

    /// The same for every notification of one alert.
    pub fn identity(&self) -> Id {
        let id = IdBuilder::new("alert").text(&self.fingerprint);
        // The fingerprint is a hash of the labels; without it the labels themselves do.
        let labels = self.labels.iter().filter(|_| self.fingerprint.is_empty());
        labels.fold(id, |id, (k, v)| id.text(k).text(v)).finish()
    }
}

/// Normalises one alert.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: Alert = read(raw)?;
    if data.labels.is_empty() {
        return Err(missing(raw, "labels"));
    }
    let event = unified(raw, &data);
    Ok(one(event, Payload::Alert(Box::new(data))))
}

fn unified(raw: &RawEvent, data: &Alert<'_>) -> UnifiedEvent {
    let name = match data.label("alertname") {
        "" => "(unnamed alert)",
        name => name,
    };
    let starts = data.starts_at.time();
    let ends = data.ends_at.time().filter(|t| *t <= raw.seen_at());
    let (kind, at, severity, verb) = if data.is_resolved(raw.seen_at()) {
        (EventKind::AlertResolved, ends, Severity::Info, "no longer fires")
    } else {
        let severity = match data.label("severity") {
            "critical" | "page" | "error" => Severity::Critical,
            "info" | "none" => Severity::Info,
            "low" | "notice" => Severity::Low,
            "high" => Severity::High,
            _ => Severity::Medium,
        };
        (EventKind::AlertFired, starts, severity, "fires")
    };
    let at = at.unwrap_or(raw.timestamp);
    let said = ["summary", "description", "message"].into_iter().find_map(|k| data.annotations.get(k));
    let words = said.map_or_else(String::new, |t| format!(": {}", shorten(t, 500)));
    let object = data.object();
    let about_what = object.as_ref().map_or_else(String::new, |o| format!(" for {o}"));
    let message = format!("alert {name} {verb}{about_what}{words}");
    let entity = || EntityInfo { kind: "Entity".to_owned(), name: name.to_owned(), ..EntityInfo::default() };
    let id = |b: IdBuilder| {
        // A start tells one firing from the next; the end may be re-estimated until it has come.
        let start = starts.map_or_else(|| at.micros(), Time::micros);
        b.text(&data.identity().to_string()).number(start).finish()
    };
    let mut event = match object {
        Some(key) => about(raw, id(fact(raw, kind, &key)), kind, at, key, ""),
        None => {
            let e = entity();
            let id = id(IdBuilder::new("event").text(kind.as_str()).text(raw.cluster()).text(&e.name));
            UnifiedEvent { entity: Some(e), ..crate::event::bare(raw, id, kind, at) }
        }
    };
    let container = data.label("container");
    if !container.is_empty() && event.object().is_some_and(|o| o.kind == "Pod") {
        event = event.in_container(container);
    }
    event.data = Some(raw.data.clone());
    event.saying(severity, message).with("alertname", name).with("severity", data.label("severity"))
}

#[cfg(test)]
mod tests;
