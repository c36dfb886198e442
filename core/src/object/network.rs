//! Services, their endpoints, Ingresses and NetworkPolicies.

use super::macros::{IntOrString, api};
use super::meta::{LabelSelector, StringMap};

api! {
    /// A Service.
    struct Service {
        spec: ServiceSpec,
    }
    /// `spec` of a Service.
    struct ServiceSpec {
        r#type: String,
        selector: StringMap,
        ports: Vec<ServicePort>,
        #[serde(rename = "clusterIP")]
        cluster_ip: String,
        external_name: String,
        internal_traffic_policy: String,
        publish_not_ready_addresses: bool,
    }
    /// `ports[]` of a Service.
    struct ServicePort {
        name: String,
        port: i64,
        protocol: String,
        target_port: Option<IntOrString>,
        node_port: i64,
    }
    /// Endpoints.
    struct Endpoints {
        subsets: Vec<EndpointSubset>,
    }
    /// `subsets[]`.
    struct EndpointSubset {
        addresses: Vec<EndpointAddress>,
        not_ready_addresses: Vec<EndpointAddress>,
        ports: Vec<EndpointPort>,
    }
    /// `addresses[]`.
    struct EndpointAddress {
        ip: String,
        node_name: String,
        target_ref: Option<TargetRef>,
    }
    /// `targetRef`.
    struct TargetRef {
        kind: String,
        name: String,
        namespace: String,
        uid: String,
    }
    /// `ports[]` of endpoints.
    struct EndpointPort {
        name: String,
        port: i64,
        protocol: String,
    }
    /// An EndpointSlice.
    struct EndpointSlice {
        address_type: String,
        endpoints: Vec<Endpoint>,
        ports: Vec<EndpointPort>,
    }
    /// `endpoints[]`.
    struct Endpoint {
        addresses: Vec<String>,
        conditions: EndpointConditions,
        node_name: String,
        target_ref: Option<TargetRef>,
    }
    /// `conditions` of an endpoint; an absent `ready` means ready.
    struct EndpointConditions {
        ready: Option<bool>,
        serving: Option<bool>,
        terminating: Option<bool>,
    }
    /// An Ingress.
    struct Ingress {
        spec: IngressSpec,
        status: IngressStatus,
    }
    /// `status` of an Ingress.
    struct IngressStatus {
        load_balancer: IngressAddresses,
    }
    /// `status.loadBalancer`: where it is served.
    struct IngressAddresses {
        ingress: Vec<IngressAddress>,
    }
    /// `ingress[]` of it.
    struct IngressAddress {
        ip: String,
        hostname: String,
    }
    /// `spec` of an Ingress.
    struct IngressSpec {
        ingress_class_name: String,
        default_backend: Option<IngressBackend>,
        rules: Vec<IngressRule>,
        tls: Vec<IngressTls>,
    }
    /// `tls[]`.
    struct IngressTls {
        hosts: Vec<String>,
        secret_name: String,
    }
    /// `rules[]`.
    struct IngressRule {
        host: String,
        http: Option<IngressHttp>,
    }
    /// `http`.
    struct IngressHttp {
        paths: Vec<IngressPath>,
    }
    /// `paths[]`.
    struct IngressPath {
        path: String,
        backend: IngressBackend,
    }
    /// A backend, in the current and in the old form.
    struct IngressBackend {
        service: Option<IngressService>,
        service_name: String,
        service_port: Option<IntOrString>,
    }
    /// `backend.service`.
    struct IngressService {
        name: String,
        port: IngressPort,
    }
    /// `backend.service.port`.
    struct IngressPort {
        name: String,
        number: i64,
    }
    /// An IngressClass.
    struct IngressClass {
        spec: IngressClassSpec,
    }
    /// `spec` of an IngressClass.
    struct IngressClassSpec {
        controller: String,
    }
    /// A NetworkPolicy.
    struct NetworkPolicy {
        spec: NetworkPolicySpec,
    }
    /// `spec` of a NetworkPolicy.
    struct NetworkPolicySpec {
        pod_selector: LabelSelector,
        policy_types: Vec<String>,
        ingress: Option<Vec<PolicyRule>>,
        egress: Option<Vec<PolicyRule>>,
    }
    /// `ingress[]`, `egress[]`: peers in `from` or `to`.
    struct PolicyRule {
        from: Vec<PolicyPeer>,
        to: Vec<PolicyPeer>,
        ports: Vec<PolicyPort>,
    }
    /// A peer.
    struct PolicyPeer {
        pod_selector: Option<LabelSelector>,
        namespace_selector: Option<LabelSelector>,
        ip_block: Option<IpBlock>,
    }
    /// `ipBlock`.
    struct IpBlock {
        cidr: String,
        except: Vec<String>,
    }
    /// `ports[]` of a rule.
    struct PolicyPort {
        port: Option<IntOrString>,
        end_port: Option<i64>,
        protocol: String,
    }
}

impl IngressBackend {
    /// Name and port of the Service behind it.
    pub fn target(&self) -> Option<(&str, String)> {
        if let Some(s) = &self.service {
            let port = if s.port.name.is_empty() { s.port.number.to_string() } else { s.port.name.clone() };
            return Some((&s.name, port));
        }
        let port = self.service_port.as_ref().map(ToString::to_string).unwrap_or_default();
        (!self.service_name.is_empty()).then_some((self.service_name.as_str(), port))
    }
}

impl ServicePort {
    /// The transport protocol; TCP where nothing is said.
    pub fn transport(&self) -> &str {
        if self.protocol.is_empty() { "TCP" } else { &self.protocol }
    }
}
