//! Pods and what templates share with them.

use super::macros::{IntOrString, OptTime, api};
use super::meta::{Condition, LabelSelector, LocalRef, SelectorExpression, StringMap};
use crate::time::Time;

api! {
    /// A pod.
    struct Pod {
        spec: PodSpec,
        status: PodStatus,
    }
    /// The template of a controller.
    struct PodTemplate {
        metadata: TemplateMeta,
        spec: PodSpec,
    }
    /// Metadata of a template.
    struct TemplateMeta {
        labels: StringMap,
        annotations: StringMap,
    }
    /// `spec` of a pod.
    struct PodSpec {
        node_name: String,
        containers: Vec<Container>,
        init_containers: Vec<Container>,
        ephemeral_containers: Vec<Container>,
        volumes: Vec<Volume>,
        service_account_name: String,
        image_pull_secrets: Vec<LocalRef>,
        node_selector: StringMap,
        affinity: Option<Affinity>,
        tolerations: Vec<Toleration>,
        topology_spread_constraints: Vec<SpreadConstraint>,
        restart_policy: String,
        priority: i64,
        priority_class_name: String,
        host_network: bool,
        dns_policy: String,
        dns_config: Option<DnsConfig>,
        scheduler_name: String,
        readiness_gates: Vec<ReadinessGate>,
        security_context: Option<SecurityContext>,
        termination_grace_period_seconds: Option<i64>,
        active_deadline_seconds: Option<i64>,
        host_aliases: Vec<HostAlias>,
        overhead: StringMap,
        scheduling_gates: Vec<LocalRef>,
    }
    /// `hostAliases[]`.
    struct HostAlias {
        ip: String,
        hostnames: Vec<String>,
    }
    /// `readinessGates[]`.
    struct ReadinessGate {
        condition_type: String,
    }
    /// `dnsConfig`.
    struct DnsConfig {
        nameservers: Vec<String>,
        searches: Vec<String>,
        options: Vec<DnsOption>,
    }
    /// `dnsConfig.options[]`.
    struct DnsOption {
        name: String,
        value: String,
    }
    /// Security settings of a pod or container.
    struct SecurityContext {
        run_as_user: Option<i64>,
        run_as_group: Option<i64>,
        run_as_non_root: Option<bool>,
        fs_group: Option<i64>,
        read_only_root_filesystem: Option<bool>,
        privileged: Option<bool>,
    }
    /// A container.
    struct Container {
        name: String,
        image: String,
        command: Vec<String>,
        args: Vec<String>,
        working_dir: String,
        ports: Vec<ContainerPort>,
        env: Vec<EnvVar>,
        env_from: Vec<EnvFrom>,
        resources: Resources,
        volume_mounts: Vec<VolumeMount>,
        liveness_probe: Option<Probe>,
        readiness_probe: Option<Probe>,
        startup_probe: Option<Probe>,
        lifecycle: Option<Lifecycle>,
        image_pull_policy: String,
        restart_policy: String,
        security_context: Option<SecurityContext>,
    }
    /// `ports[]` of a container.
    struct ContainerPort {
        name: String,
        container_port: i64,
        host_port: i64,
        #[serde(rename = "hostIP")]
        host_ip: String,
        protocol: String,
    }
    /// `env[]`.
    struct EnvVar {
        name: String,
        value: String,
        value_from: Option<EnvSource>,
    }
    /// `env[].valueFrom`.
    struct EnvSource {
        config_map_key_ref: Option<KeyRef>,
        secret_key_ref: Option<KeyRef>,
        field_ref: Option<FieldRef>,
    }
    /// `fieldRef`.
    struct FieldRef {
        field_path: String,
    }
    /// A key of a ConfigMap or Secret.
    struct KeyRef {
        name: String,
        key: String,
        optional: bool,
    }
    /// `envFrom[]`.
    struct EnvFrom {
        prefix: String,
        config_map_ref: Option<NameRef>,
        secret_ref: Option<NameRef>,
    }
    /// A ConfigMap or Secret as a whole.
    struct NameRef {
        name: String,
        optional: bool,
    }
    /// `resources`.
    struct Resources {
        limits: StringMap,
        requests: StringMap,
    }
    /// `volumeMounts[]`.
    struct VolumeMount {
        name: String,
        mount_path: String,
        sub_path: String,
        sub_path_expr: String,
        read_only: bool,
    }
    /// A probe.
    struct Probe {
        http_get: Option<HttpGet>,
        tcp_socket: Option<TcpSocket>,
        grpc: Option<GrpcAction>,
        exec: Option<ExecAction>,
        initial_delay_seconds: Option<i64>,
        timeout_seconds: Option<i64>,
        period_seconds: Option<i64>,
        success_threshold: Option<i64>,
        failure_threshold: Option<i64>,
    }
    /// `httpGet`.
    struct HttpGet {
        path: String,
        port: IntOrString,
        scheme: String,
        host: String,
    }
    /// `tcpSocket`.
    struct TcpSocket {
        port: IntOrString,
        host: String,
    }
    /// `grpc`.
    struct GrpcAction {
        port: i64,
        service: String,
    }
    /// `exec`.
    struct ExecAction {
        command: Vec<String>,
    }
    /// `lifecycle`.
    struct Lifecycle {
        post_start: Option<Handler>,
        pre_stop: Option<Handler>,
    }
    /// A lifecycle handler.
    struct Handler {
        exec: Option<ExecAction>,
        http_get: Option<HttpGet>,
        tcp_socket: Option<TcpSocket>,
    }
    /// `volumes[]`.
    struct Volume {
        name: String,
        config_map: Option<ConfigVolume>,
        secret: Option<SecretVolume>,
        persistent_volume_claim: Option<ClaimVolume>,
        projected: Option<ProjectedVolume>,
        empty_dir: Option<EmptyDir>,
        host_path: Option<HostPath>,
        ephemeral: Option<serde_json::Map<String, serde_json::Value>>,
        csi: Option<CsiVolume>,
        nfs: Option<NfsVolume>,
    }
    /// `csi`.
    struct CsiVolume {
        driver: String,
    }
    /// `nfs`.
    struct NfsVolume {
        server: String,
        path: String,
    }
    /// `configMap` volume.
    struct ConfigVolume {
        name: String,
        items: Vec<KeyToPath>,
        optional: bool,
    }
    /// `secret` volume.
    struct SecretVolume {
        secret_name: String,
        items: Vec<KeyToPath>,
        optional: bool,
    }
    /// `items[]`.
    struct KeyToPath {
        key: String,
        path: String,
    }
    /// `persistentVolumeClaim` volume.
    struct ClaimVolume {
        claim_name: String,
        read_only: bool,
    }
    /// `projected` volume.
    struct ProjectedVolume {
        sources: Vec<Projection>,
    }
    /// `projected.sources[]`.
    struct Projection {
        config_map: Option<ConfigVolume>,
        secret: Option<ProjectedSecret>,
    }
    /// `projected.sources[].secret`.
    struct ProjectedSecret {
        name: String,
        items: Vec<KeyToPath>,
        optional: bool,
    }
    /// `emptyDir`.
    struct EmptyDir {
        medium: String,
        size_limit: String,
    }
    /// `hostPath`.
    struct HostPath {
        path: String,
        r#type: String,
    }
    /// `affinity`.
    struct Affinity {
        node_affinity: Option<NodeAffinity>,
        pod_affinity: Option<PodAffinity>,
        pod_anti_affinity: Option<PodAffinity>,
    }
    /// `nodeAffinity`.
    struct NodeAffinity {
        required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    }
    /// A node selector: one of the terms must match.
    struct NodeSelector {
        node_selector_terms: Vec<NodeSelectorTerm>,
    }
    /// A term: all of it must match.
    struct NodeSelectorTerm {
        match_expressions: Vec<SelectorExpression>,
        match_fields: Vec<SelectorExpression>,
    }
    /// `podAffinity`, `podAntiAffinity`.
    struct PodAffinity {
        required_during_scheduling_ignored_during_execution: Vec<PodAffinityTerm>,
    }
    /// A term of pod affinity.
    struct PodAffinityTerm {
        label_selector: Option<LabelSelector>,
        topology_key: String,
        namespaces: Vec<String>,
        namespace_selector: Option<LabelSelector>,
    }
    /// `tolerations[]`.
    struct Toleration {
        key: String,
        operator: String,
        value: String,
        effect: String,
        toleration_seconds: Option<i64>,
    }
    /// `topologySpreadConstraints[]`.
    struct SpreadConstraint {
        max_skew: i64,
        topology_key: String,
        when_unsatisfiable: String,
        label_selector: Option<LabelSelector>,
    }
    /// `status` of a pod.
    struct PodStatus {
        phase: String,
        reason: String,
        message: String,
        conditions: Vec<Condition>,
        container_statuses: Vec<ContainerStatus>,
        init_container_statuses: Vec<ContainerStatus>,
        ephemeral_container_statuses: Vec<ContainerStatus>,
        #[serde(rename = "podIP")]
        pod_ip: String,
        #[serde(rename = "podIPs")]
        pod_ips: Vec<PodIp>,
        #[serde(rename = "hostIP")]
        host_ip: String,
        start_time: OptTime,
        nominated_node_name: String,
        qos_class: String,
    }
    /// `podIPs[]`.
    struct PodIp {
        ip: String,
    }
    /// Status of one container.
    struct ContainerStatus {
        name: String,
        ready: bool,
        started: Option<bool>,
        restart_count: i64,
        image: String,
        #[serde(rename = "imageID")]
        image_id: String,
        #[serde(rename = "containerID")]
        container_id: String,
        state: ContainerState,
        last_state: ContainerState,
    }
    /// `state`, `lastState`.
    struct ContainerState {
        waiting: Option<Waiting>,
        running: Option<Running>,
        terminated: Option<Terminated>,
    }
    /// `waiting`.
    struct Waiting {
        reason: String,
        message: String,
    }
    /// `running`.
    struct Running {
        started_at: OptTime,
    }
    /// `terminated`.
    struct Terminated {
        reason: String,
        message: String,
        exit_code: i64,
        signal: i64,
        started_at: OptTime,
        finished_at: OptTime,
        #[serde(rename = "containerID")]
        container_id: String,
    }
}

impl Pod {
    /// The condition of this type.
    pub fn condition(&self, r#type: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.r#type == r#type)
    }

    /// Whether condition Ready is True.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|c| c.status == "True")
    }

    /// Whether it ran to its end, well or not.
    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Init, main and ephemeral containers' states, in that order; the flag tells init containers.
    pub fn statuses(&self) -> impl Iterator<Item = (&ContainerStatus, bool)> {
        let s = &self.status;
        let init = s.init_container_statuses.iter().map(|c| (c, true));
        init.chain(s.container_statuses.iter().chain(&s.ephemeral_container_statuses).map(|c| (c, false)))
    }

    /// The newest time in its status.
    pub fn newest_time(&self) -> Option<Time> {
        let of = |s: &ContainerState| {
            let t = s.terminated.as_ref().and_then(|t| (*t.finished_at).max(*t.started_at));
            t.max(s.running.as_ref().and_then(|r| *r.started_at))
        };
        let containers = self.statuses().filter_map(|(c, _)| of(&c.state).max(of(&c.last_state))).max();
        let conditions = self.status.conditions.iter().filter_map(Condition::newest).max();
        containers.max(conditions).max(*self.status.start_time)
    }
}

impl PodSpec {
    /// Init, main and ephemeral containers, in that order.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers).chain(&self.ephemeral_containers)
    }

    /// A main or init container by name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.all_containers().find(|c| c.name == name)
    }

    /// Whether an init container is a sidecar (it is kept running beside the main ones).
    pub fn is_sidecar(&self, name: &str) -> bool {
        self.init_containers.iter().any(|c| c.name == name && c.restart_policy == "Always")
    }
}
