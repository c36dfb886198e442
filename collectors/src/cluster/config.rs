//! Settings of the cluster collector.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the cluster collector watches. The defaults need read rights and no Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterConfig {
    /// Only these namespaces; all where empty. Kinds without a namespace are watched in either case.
    pub namespaces: Vec<String>,
    /// ConfigMaps: keys, addresses and numbers in them, and keyed hashes of everything else.
    pub config_maps: bool,
    /// Secrets: names of keys, who wrote them and when; never a value. RBAC cannot grant that much alone: the right to
    /// list Secrets is the right to read them.
    pub secrets: bool,
    /// Last lines of the logs of containers that fail.
    pub logs: bool,
    /// Lines of one log.
    pub log_lines: usize,
    /// Bytes of one log.
    pub log_bytes: usize,
    /// Further kinds as `GROUP/Kind`, or `GROUP/*`; watched where the server has them, whenever they come.
    pub kinds: Vec<String>,
    /// Objects on a page of a list.
    pub page_size: usize,
    /// Lists that run at the same time.
    pub lists_at_once: usize,
}

/// Kinds beyond Kubernetes' own that the engine can make something of.
const FOREIGN: &[&str] = &[
    "helm.toolkit.fluxcd.io/HelmRelease",
    "kustomize.toolkit.fluxcd.io/Kustomization",
    "argoproj.io/Application",
    "security.istio.io/AuthorizationPolicy",
    "security.istio.io/PeerAuthentication",
    "cert-manager.io/Certificate",
    "apiregistration.k8s.io/APIService",
    "cilium.io/CiliumNetworkPolicy",
    "cilium.io/CiliumClusterwideNetworkPolicy",
    "crd.projectcalico.org/NetworkPolicy",
    "crd.projectcalico.org/GlobalNetworkPolicy",
    "litmuschaos.io/ChaosEngine",
    "chaosblade.io/ChaosBlade",
    "chaos-mesh.org/*",
];

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            namespaces: Vec::new(),
            config_maps: true,
            secrets: false,
            logs: true,
            log_lines: 200,
            log_bytes: 128 << 10,
            kinds: FOREIGN.iter().map(|k| (*k).to_owned()).collect(),
            page_size: 500,
            lists_at_once: 6,
        }
    }
}

/// How long things may take, and how long to wait. Not a setting: tests shorten them.
#[derive(Clone, Debug)]
pub struct Timing {
    /// A watch is asked to end after so long (the server's `timeoutSeconds`).
    pub watch: Duration,
    /// A watch that brings no line for so long is taken for dead. Bookmarks come about once a minute.
    pub idle: Duration,
    /// Leases that are not renewed for so long make every watch suspect: nodes renew theirs every 10 s.
    pub pulse: Duration,
    /// A page of a list, or the beginning of a watch.
    pub request: Duration,
    /// First pause after a failure; doubled up to `retry_max`.
    pub retry: Duration,
    /// Longest pause after a failure.
    pub retry_max: Duration,
    /// Pause after a refusal that only people can lift: not allowed, not served.
    pub refused: Duration,
    /// Time without news after which a heartbeat is sent.
    pub heartbeat: Duration,
    /// Blindness that is worth a fact.
    pub gap: Duration,
    /// The first lists are waited for at most so long before time goes on.
    pub sync: Duration,
    /// How often kinds of users' own are looked for.
    pub discovery: Duration,
    /// Between two saves of what is known.
    pub memory: Duration,
    /// A container that runs and is not ready for so long is worth a look into its log.
    pub unready: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Timing {
            watch: secs(290),
            idle: secs(150),
            pulse: secs(45),
            request: secs(60),
            retry: Duration::from_millis(200),
            retry_max: secs(30),
            refused: secs(300),
            heartbeat: secs(5),
            gap: secs(3),
            sync: secs(60),
            discovery: secs(300),
            memory: secs(300),
            unready: secs(20),
        }
    }
}
