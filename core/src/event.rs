//! From evidence to meaning: [`normalise`] reads a [`RawEvent`] and says what happened, as [`UnifiedEvent`]s.
//!
//! One file an event: `event/<source>/<event>.rs` documents the raw `data` (its contract), reads it, and gives the
//! events. [`CATALOG`] lists them all with their samples; the reference in `docs/events.md` is made from it.
//!
//! Nothing here remembers anything. What is a *rise* of a restart count, or *news*, depends on what was known before,
//! and that comes in through [`Before`]. Unknown types are kept as events of kind `unknown`; unknown fields are
//! skipped; `null` means absent; a known field of a wrong type makes the input [`Malformed`], with the field's place.

pub mod alert;
pub mod any;
mod catalog;
pub mod cluster;
pub mod cni;
pub mod config;
pub mod ebpf;
pub mod kubelet;
pub mod shape;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use catalog::{CATALOG, EventDoc};
pub use cluster::pod::{ContainerBefore, PodBefore};

use crate::id::{Id, IdBuilder};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::time::Time;
use crate::unified::{EntityInfo, EventKind, K8sContext, Resolution, UnifiedEvent};

/// What was known when the evidence arrived.
pub trait Before {
    /// The pod as it was last seen; none if it never was.
    fn pod(&self, cluster: &str, pod: &ObjectRef) -> Option<&PodBefore>;

    /// How many ready endpoints a Service has; none if that is not known.
    fn ready_endpoints(&self, _cluster: &str, _service: &ObjectRef) -> Option<usize> {
        None
    }
}

/// Nothing was known: everything is seen for the first time.
pub struct Nothing;

impl Before for Nothing {
    fn pod(&self, _cluster: &str, _pod: &ObjectRef) -> Option<&PodBefore> {
        None
    }
}

/// What a piece of evidence means.
#[derive(Debug, Default)]
pub struct Normalised<'a> {
    /// The events, in order of time; often one, sometimes none.
    pub events: Vec<UnifiedEvent>,
    /// The data as it was read, so that nobody needs to read it twice.
    pub payload: Payload<'a>,
}

/// The typed `data` of a [`RawEvent`].
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each variant holds the documented type of its name")]
pub enum Payload<'a> {
    /// Nothing that was read further.
    #[default]
    None,
    /// A Kubernetes object of any kind but Event: the reader of objects takes it from the raw data.
    Object,
    PodStatusUpdate(Box<kubelet::PodStatusUpdate>),
    PodReady(kubelet::PodReady<'a>),
    ProbeResult(kubelet::ProbeResult<'a>),
    ContainerLog(kubelet::ContainerLog<'a>),
    PodStats(Box<kubelet::PodStats<'a>>),
    NodeStats(Box<kubelet::NodeStats<'a>>),
    NodeServiceState(kubelet::NodeServiceState<'a>),
    ServiceProbe(kubelet::ServiceProbe<'a>),
    NetworkConnection(Box<ebpf::NetworkConnection<'a>>),
    OomKill(ebpf::OomKill<'a>),
    ProcessExit(ebpf::ProcessExit<'a>),
    PacketDrop(ebpf::PacketDrop<'a>),
    DnsResult(ebpf::DnsResult<'a>),
    TcpRetransmit(ebpf::TcpRetransmit<'a>),
    NetworkPolicy(cni::NetworkPolicy<'a>),
    CniFailure(cni::CniFailure<'a>),
    CniConfig(cni::CniConfig<'a>),
    IpamState(cni::IpamState<'a>),
    ConfigUpdate(config::ConfigUpdate<'a>),
    Event(Box<cluster::event::Event<'a>>),
    Alert(Box<alert::Alert<'a>>),
    SnapshotTaken(any::SnapshotTaken<'a>),
    Gap(any::Gap<'a>),
}

/// Evidence whose data cannot be used: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Malformed {
    /// Type, field and reason.
    pub why: String,
}

/// Says what a piece of evidence means.
///
/// # Errors
/// Where `data` is not of the shape that its type promises, with the path of the field.
pub fn normalise<'a>(raw: &'a RawEvent, before: &dyn Before) -> Result<Normalised<'a>, Malformed> {
    match raw.kind.as_str() {
        "ObjectAdded" | "ObjectModified" | "ObjectDeleted" => cluster::event::of_object(raw),
        "Event" => cluster::event::normalise(raw),
        "PodStatusUpdate" => kubelet::pod_status_update::normalise(raw, before),
        "PodReady" => kubelet::pod_ready::normalise(raw, before),
        "ProbeResult" => kubelet::probe_result::normalise(raw),
        "ContainerLog" => kubelet::container_log::normalise(raw),
        "PodStats" => kubelet::pod_stats::normalise(raw),
        "NodeStats" => kubelet::node_stats::normalise(raw),
        "NodeServiceState" => kubelet::node_service_state::normalise(raw),
        "ServiceProbe" => kubelet::service_probe::normalise(raw),
        "NetworkConnection" => ebpf::network_connection::normalise(raw, before),
        "OomKill" => ebpf::oom_kill::normalise(raw),
        "ProcessExit" => ebpf::process_exit::normalise(raw),
        "PacketDrop" => ebpf::packet_drop::normalise(raw),
        "DnsResult" => ebpf::dns_result::normalise(raw),
        "TcpRetransmit" => ebpf::tcp_retransmit::normalise(raw),
        "NetworkPolicy" => cni::network_policy::normalise(raw),
        "CniFailure" => cni::cni_failure::normalise(raw),
        "CniConfig" => cni::cni_config::normalise(raw),
        "IpamState" => cni::ipam_state::normalise(raw),
        "ConfigMapUpdate" => config::config_map_update::normalise(raw),
        "SecretUpdate" => config::secret_update::normalise(raw),
        "Alert" => alert::normalise(raw),
        "Heartbeat" => Ok(Normalised::default()),
        "SnapshotTaken" => any::snapshot_taken::normalise(raw),
        "Gap" => any::gap::normalise(raw),
        _ => Ok(one(any::unknown::event(raw), Payload::None)),
    }
}

/// One event.
fn one(event: UnifiedEvent, payload: Payload<'_>) -> Normalised<'_> {
    Normalised { events: vec![event], payload }
}

/// At most one event.
fn perhaps(event: Option<UnifiedEvent>, payload: Payload<'_>) -> Normalised<'_> {
    Normalised { events: event.into_iter().collect(), payload }
}

/// Reads `data`. The quick reader first; the one that knows the path of a wrong field only after a failure.
fn read<'a, T: Deserialize<'a>>(raw: &'a RawEvent) -> Result<T, Malformed> {
    let text = raw.data.get();
    if !text.starts_with('{') {
        // Without this a list would be read as the fields in their order.
        return Err(Malformed { why: format!("{}: field `data` is no object", raw.kind) });
    }
    serde_json::from_str(text).map_err(|quick| {
        let mut d = serde_json::Deserializer::from_str(text);
        let why = match serde_path_to_error::deserialize::<_, T>(&mut d) {
            Err(e) if e.path().iter().next().is_some() => format!("field `data.{}`: {}", e.path(), e.inner()),
            _ => format!("field `data`: {quick}"),
        };
        Malformed { why: format!("{}: {why}", raw.kind) }
    })
}

/// A field that the type cannot do without.
fn need<'t>(raw: &RawEvent, field: &str, text: &'t str) -> Result<&'t str, Malformed> {
    if text.is_empty() { Err(missing(raw, field)) } else { Ok(text) }
}

fn missing(raw: &RawEvent, field: &str) -> Malformed {
    Malformed { why: format!("{}: field `data.{field}` is missing or empty", raw.kind) }
}

/// The beginning of an id that tells the same fact seen by two sources: no time in it, only what `key` and the
/// following parts say.
fn fact(raw: &RawEvent, kind: EventKind, key: &ObjectRef) -> IdBuilder {
    IdBuilder::new("event")
        .text(kind.as_str())
        .text(raw.cluster())
        .text(&key.kind)
        .text(key.namespace.as_deref().unwrap_or(""))
        .text(&key.name)
}

/// An event about `key` with an id made elsewhere.
fn about(raw: &RawEvent, id: Id, kind: EventKind, at: Time, key: ObjectRef, uid: &str) -> UnifiedEvent {
    let uid = if !uid.is_empty() {
        Some(uid.to_owned())
    } else if key.kind == "Pod" {
        raw.metadata.get("pod_uid").cloned()
    } else {
        None
    };
    let k8s = K8sContext {
        cluster: raw.cluster().to_owned(),
        uid,
        node: raw.node().map(str::to_owned),
        object: key,
        ..K8sContext::default()
    };
    UnifiedEvent { k8s: Some(k8s), ..bare(raw, id, kind, at) }
}

/// An event about something that is no Kubernetes object.
fn about_entity(raw: &RawEvent, kind: EventKind, at: Time, entity: EntityInfo, parts: &[&str]) -> UnifiedEvent {
    let mut b = IdBuilder::new("event")
        .text(kind.as_str())
        .text(raw.cluster())
        .text(&entity.kind)
        .text(&entity.name)
        .number(at.micros());
    for p in parts {
        b = b.text(p);
    }
    UnifiedEvent { entity: Some(entity), ..bare(raw, b.finish(), kind, at) }
}

fn bare(raw: &RawEvent, id: Id, kind: EventKind, at: Time) -> UnifiedEvent {
    UnifiedEvent {
        id,
        kind,
        timestamp: at,
        source: raw.source.clone(),
        k8s: None,
        entity: None,
        severity: crate::unified::Severity::Info,
        message: String::new(),
        data: None,
        metadata: BTreeMap::new(),
        processed_at: None,
        annotations: BTreeMap::new(),
    }
}

/// Whom a kernel's or network's observation is about: the pod, else what is left to name it by.
struct Whom<'t> {
    namespace: &'t str,
    pod: &'t str,
    uid: &'t str,
    container: &'t str,
    /// An address or command, for what is no known pod.
    otherwise: &'t str,
}

impl Whom<'_> {
    /// An event about it at the time of the observation.
    fn event(&self, raw: &RawEvent, kind: EventKind, parts: &[&str]) -> UnifiedEvent {
        let at = raw.timestamp;
        let mut event = if self.pod.is_empty() {
            let (kind_of, name) = match (self.otherwise, raw.metadata.get("container_id"), raw.node()) {
                ("", Some(id), _) => ("Container", id.as_str()),
                ("", None, Some(node)) => ("Host", node),
                ("", None, None) => ("Entity", "unknown"),
                (name, _, _) => ("Entity", name),
            };
            let entity = EntityInfo { kind: kind_of.to_owned(), name: name.to_owned(), ..EntityInfo::default() };
            about_entity(raw, kind, at, entity, parts)
        } else {
            let key = ObjectRef::new("Pod", self.namespace, self.pod);
            let id = parts.iter().fold(fact(raw, kind, &key).number(at.micros()), |b, p| b.text(p)).finish();
            let mut event = about(raw, id, kind, at, key, self.uid);
            if self.namespace.is_empty()
                && let Some(k8s) = &mut event.k8s
            {
                // A bare name must be looked up before anybody may rely on it.
                k8s.resolution = Resolution::Pending;
            }
            event
        };
        if !self.container.is_empty() {
            event = event.in_container(self.container);
        }
        event.data = Some(raw.data.clone());
        event
    }

    /// Its name in a sentence.
    fn name(&self) -> String {
        match (self.pod, self.namespace) {
            ("", _) if self.otherwise.is_empty() => "an unknown process".to_owned(),
            ("", _) => self.otherwise.to_owned(),
            (pod, "") => format!("pod {pod}"),
            (pod, ns) => format!("pod {ns}/{pod}"),
        }
    }
}

/// The first `limit` characters.
fn shorten(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    text.char_indices().nth(limit).map_or(text, |(i, _)| &text[..i])
}

#[cfg(test)]
mod tests;
