//! What network plugins say when they fail, in the words of each of them: Events, conditions and CNI's own errors.
//!
//! Plugins word the same few mechanisms differently; a mechanism is looked for, and not one plugin's sentence. What a
//! text does not say is not guessed: then the plugin just failed.

/// What is wrong, by the plugin's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No address is left for the pod.
    NoAddress,
    /// The runtime has no network configuration yet, or no more.
    NotConfigured,
    /// A configuration is there and cannot be used.
    BadConfiguration,
    /// The plugin's program is not on the node.
    NoPlugin,
    /// The plugin's own agent on the node does not answer, or has not left what the plugin needs of it.
    AgentAway,
    /// The plugin may not ask the API server what it has to know.
    Unauthorised,
    /// Something of an earlier pod or network is in the way.
    Leftover,
    /// It took too long.
    Late,
}

impl Trouble {
    /// Its word in an annotation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Trouble::NoAddress => "no_address",
            Trouble::NotConfigured => "not_configured",
            Trouble::BadConfiguration => "bad_configuration",
            Trouble::NoPlugin => "no_plugin",
            Trouble::AgentAway => "agent_away",
            Trouble::Unauthorised => "unauthorised",
            Trouble::Leftover => "leftover",
            Trouble::Late => "timeout",
        }
    }

    /// The same in a sentence about a node.
    pub const fn sentence(self) -> &'static str {
        match self {
            Trouble::NoAddress => "no address is left for pods",
            Trouble::NotConfigured => "its runtime has no network configuration",
            Trouble::BadConfiguration => "its network configuration cannot be used",
            Trouble::NoPlugin => "the network plugin's program is missing",
            Trouble::AgentAway => "the network plugin's agent does not answer",
            Trouble::Unauthorised => "the network plugin may not ask the API server",
            Trouble::Leftover => "something of an earlier network is in the way",
            Trouble::Late => "its network plugin takes too long",
        }
    }

    /// Whether it is the node's set-up that is wrong, and not one pod's.
    pub const fn is_of_node(self) -> bool {
        matches!(
            self,
            Trouble::NotConfigured
                | Trouble::BadConfiguration
                | Trouble::NoPlugin
                | Trouble::AgentAway
                | Trouble::Unauthorised
        )
    }
}

fn any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|w| text.contains(w))
}

/// Whether a text about a pod that could not be set up is about its network.
pub fn is_about_network(text: &str) -> bool {
    const NETWORK: &[&str] = &[
        "network for sandbox",
        "network for pod",
        "setup network",
        "set up pod network",
        "plugin type=",
        "networkplugin",
        "network plugin",
        "networkready=false",
        "cni ",
        "cni:",
        "cni.d",
        "cni/",
        "ipam",
        "clusterinformation",
        "subnet.env",
        "addnetwork",
        "delnetwork",
    ];
    any(&text.to_ascii_lowercase(), NETWORK)
}

/// What a text of a network plugin, or about one, says is wrong.
pub fn trouble(text: &str) -> Option<Trouble> {
    let t = text.to_ascii_lowercase();
    // One certain address that is taken, or was never of the range, is another thing than none that is free.
    if says_no_address(&t) && !t.contains("requested ip address") {
        return Some(Trouble::NoAddress);
    }
    // The runtime's own socket is the runtime's trouble.
    if any(&t, &["containerd.sock", "crio.sock", "dockershim.sock", "docker.sock"]) {
        return None;
    }
    if any(
        &t,
        &[
            "cni plugin not initialized",
            "cni config uninitialized",
            "no cni configuration file",
            "no networks found in",
            "no valid networks found",
            "no net configuration",
            "network plugin is not ready",
            "network plugin not ready",
            "networkpluginnotready",
            "networkready=false",
        ],
    ) {
        return Some(Trouble::NotConfigured);
    }
    if any(&t, &["failed to find plugin", "unable to find plugin", "could not find plugin"]) {
        return Some(Trouble::NoPlugin);
    }
    if any(&t, &["unauthorized", "is forbidden", "forbidden:", "x509:", "certificate signed by unknown authority"]) {
        return Some(Trouble::Unauthorised);
    }
    let socket = t.contains(".sock") || t.contains("socket");
    let gone = any(&t, &["no such file or directory", "connection refused", "connect: permission denied"]);
    if any(
        &t,
        &[
            "is the agent running",
            "is the daemon running",
            "unable to connect to cilium",
            "failed to create cilium agent client",
            "failed to send cni request",
            "rpc error: code = unavailable desc = connection error",
            "connection reset by peer",
        ],
    ) || (gone && (socket || t.contains("connection refused")))
        // What agents leave behind for their plugins: a range, the node's name, a kubeconfig.
        || (t.contains("no such file or directory")
            && any(&t, &["subnet.env", "/nodename", "/run/", "/var/lib/calico", "kubeconfig"])
            && !t.contains("netns"))
    {
        return Some(Trouble::AgentAway);
    }
    if any(
        &t,
        &[
            "incompatible cni versions",
            "unsupported cni result version",
            "the version is empty",
            "error parsing configuration",
            "error parsing config",
            "failed to parse config",
            "failed to load netconf",
            "failed to unmarshal",
            "invalid network config",
            "error loading cni config",
            "cannot find a network-attachment-definition",
            "error in getting network attachment",
        ],
    ) {
        return Some(Trouble::BadConfiguration);
    }
    if any(
        &t,
        &[
            "already has an ip address different from",
            "already exists",
            "file exists",
            "duplicate allocation",
            "address already in use",
        ],
    ) {
        return Some(Trouble::Leftover);
    }
    any(&t, &["context deadline exceeded", "timed out", "timeout"]).then_some(Trouble::Late)
}

/// In small letters.
fn says_no_address(t: &str) -> bool {
    const SAYS: &[&str] = &[
        "no ip addresses available",
        "no ip address available",
        "no ips available",
        "no available ip",
        "no available addresses",
        "no available address pools",
        "no addresses available",
        "no address available",
        "noavailableaddress",
        "no free ip",
        "no free address",
        "no more ip",
        "no more addresses",
        "not enough ips available",
        "no more free affine blocks",
        "assigned 0 out of",
        "failed to assign an ip address to container",
        "insufficientfreeaddressesinsubnet",
        "insufficientcidrblocks",
        "could not allocate ip in range",
        "range is full",
        "ip pool exhausted",
        "address pool exhausted",
        "ips are exhausted",
    ];
    any(t, SAYS)
}

/// The plugin that a text names: `plugin type="calico"`, in either kind of quotes.
pub fn plugin(text: &str) -> Option<&str> {
    let rest = text.split_once("plugin type=")?.1;
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '\\'))?;
    let rest = rest.trim_start_matches('\\');
    let rest = rest.strip_prefix(['"', '\''])?;
    let end = rest.find(['"', '\'', '\\'])?;
    rest.get(..end).filter(|p| !p.is_empty() && p.len() <= 64 && quote != ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plugin_is_understood_in_its_own_words() {
        use Trouble::*;
        for (text, want) in [
            // host-local: bridge, flannel, kindnet.
            (
                r#"failed to setup network for sandbox "ab": plugin type="bridge" failed (add): failed to allocate for range 0: no IP addresses available in range set: 10.244.0.1-10.244.0.254"#,
                Some(NoAddress),
            ),
            (
                "failed to allocate for range 0: requested IP address 10.1.1.1 is not available in range set 10.1.0.1-10.1.255.254",
                None,
            ),
            (
                r#"plugin type="flannel" failed (add): loadFlannelSubnetEnv failed: open /run/flannel/subnet.env: no such file or directory"#,
                Some(AgentAway),
            ),
            (
                r#"plugin type="flannel" failed (add): failed to delegate add: failed to set bridge addr: "cni0" already has an IP address different from 10.244.1.1/24"#,
                Some(Leftover),
            ),
            // Calico.
            (
                r#"plugin type="calico" failed (add): failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses; No more free affine blocks and strict affinity enabled"#,
                Some(NoAddress),
            ),
            (
                r#"plugin type="calico" failed (add): error getting ClusterInformation: connection is unauthorized: Unauthorized"#,
                Some(Unauthorised),
            ),
            (
                r#"plugin type="calico" failed (add): stat /var/lib/calico/nodename: no such file or directory: check that the calico/node container is running and has mounted /var/lib/calico/"#,
                Some(AgentAway),
            ),
            // Cilium.
            (
                r#"plugin type="cilium-cni" failed (add): unable to allocate IP via local cilium agent: [POST /ipam][502] postIpamFailure range is full"#,
                Some(NoAddress),
            ),
            (
                r#"plugin type="cilium-cni" failed (add): unable to connect to Cilium agent: failed to create cilium agent client after 30.000000 seconds timeout: Get "http://localhost/v1/config": dial unix /var/run/cilium/cilium.sock: connect: no such file or directory"#,
                Some(AgentAway),
            ),
            // AWS VPC CNI.
            (
                r#"plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container"#,
                Some(NoAddress),
            ),
            (
                r#"plugin type="aws-cni" name="aws-cni" failed (add): add cmd: Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:50051: connect: connection refused""#,
                Some(AgentAway),
            ),
            // Azure.
            (
                "Failed to allocate pool: Failed to delegate: Failed to allocate address: No available addresses",
                Some(NoAddress),
            ),
            (
                "plugin type='azure-vnet' failed (add): IPAM Invoker Add failed with error: Failed to get IP address from CNS with error: %w: AllocateIPConfig failed: not enough IPs available for 9c6a, waiting on Azure CNS to allocate more",
                Some(NoAddress),
            ),
            (
                "plugin type='azure-vnet' failed (add): IPAM Invoker Add failed with error: Failed to get IP address from CNS with error: %w: http request failed: Post 'http://localhost:10090/network/requestipconfig': dial tcp 127.0.0.1:10090: connect: connection refused",
                Some(AgentAway),
            ),
            // Weave.
            (
                r#"plugin type="weave-net" name="weave" failed (add): unable to allocate IP address: Post "http://127.0.0.1:6784/ip/6442": dial tcp 127.0.0.1:6784: connect: connection refused"#,
                Some(AgentAway),
            ),
            // OVN, Multus.
            (
                r#"plugin type="ovn-k8s-cni-overlay" name="ovn-kubernetes" failed (add): CNI request failed with status 400: 'failed to get pod annotation: timed out waiting for annotations: context deadline exceeded'"#,
                Some(Late),
            ),
            (
                r#"plugin type="multus" name="multus-cni-network" failed (add): Multus: [shop/cart-1]: error loading k8s delegates k8s args: TryLoadPodDelegates: error in getting k8s network for pod: cannot find a network-attachment-definition (macvlan) in namespace (shop)"#,
                Some(BadConfiguration),
            ),
            (
                r#"plugin type="multus-shim" name="multus-cni-network" failed (add): CmdAdd (shim): failed to send CNI request: Post "http://dummy/cni": dial unix /run/multus/multus.sock: connect: connection refused"#,
                Some(AgentAway),
            ),
            // Whereabouts.
            (
                r#"plugin type="macvlan" failed (add): error at storage engine: Could not allocate IP in range: ip: 10.0.0.1 / - 10.0.0.9"#,
                Some(NoAddress),
            ),
            // The runtime and the kubelet.
            (
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
                Some(NotConfigured),
            ),
            (
                "networkPlugin cni failed to set up pod network: failed to find plugin \"bridge\" in path [/opt/cni/bin]",
                Some(NoPlugin),
            ),
            (
                r#"plugin type="bridge" failed (add): incompatible CNI versions; config is "1.0.0", plugin supports ["0.4.0"]"#,
                Some(BadConfiguration),
            ),
            // No word about the network.
            ("dial unix /run/containerd/containerd.sock: connect: connection refused", None),
            ("failed to start sandbox container: runc create failed: unable to start container process", None),
        ] {
            assert_eq!(trouble(text), want, "{text}");
        }
    }

    #[test]
    fn the_plugin_is_named_in_either_quotes() {
        for (text, want) in [
            (r#"for sandbox "x": plugin type="calico" failed (add): y"#, Some("calico")),
            ("plugin type='azure-vnet' failed", Some("azure-vnet")),
            (r#"plugin type=\"weave-net\" failed"#, Some("weave-net")),
            ("plugin type=", None),
            ("plugin type=\"", None),
            ("plugin type=ü", None),
            ("no plugin", None),
        ] {
            assert_eq!(plugin(text), want, "{text}");
        }
    }

    #[test]
    fn sandboxes_fail_for_other_reasons_too() {
        assert!(is_about_network("failed to setup network for sandbox \"ab\": plugin type=\"calico\" failed (add): x"));
        assert!(is_about_network(
            "NetworkPlugin cni failed to set up pod \"a_b\" network: unexpected end of JSON input"
        ));
        for text in [
            "failed to get sandbox image \"registry.k8s.io/pause:3.9\": failed to pull image",
            "failed to reserve sandbox name \"a_b_0\": name is reserved",
            "failed to create containerd task: failed to create shim task: OCI runtime create failed",
        ] {
            assert!(!is_about_network(text), "{text}");
        }
    }
}
