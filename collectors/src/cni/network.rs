//! A file of network configuration: which network, by which plugins, with which addresses.
//!
//! The forms are CNI's own: a list (`.conflist`, with `plugins`) or one plugin (`.conf`, `.json`). Of addresses only
//! those of `host-local` are known on the node: from its `ipam` section, or for flannel from the file that its daemon
//! writes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use serde_json::Value;

/// Plugins of one file.
const MOST: usize = 64;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Network {
    /// Name of the network.
    pub(super) name: String,
    /// Its plugins, in order.
    pub(super) plugins: Vec<String>,
    /// Addresses that host-local gives out, one pool a range set.
    pub(super) pools: Vec<Pool>,
    /// Where host-local keeps them, if not in its usual folder.
    pub(super) data_dir: Option<String>,
    /// Its addresses are in flannel's file.
    pub(super) is_flannel: bool,
}

/// Ranges from which one address is given to a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pool {
    /// As it is written.
    pub(super) name: String,
    ranges: Vec<Range>,
}

/// Addresses from one to another, both with it, without that of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    six: bool,
    start: u128,
    end: u128,
    gateway: Option<u128>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    name: Option<String>,
    plugins: Option<Vec<Plugin>>,
    r#type: Option<String>,
    ipam: Option<Ipam>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Plugin {
    r#type: Option<String>,
    ipam: Option<Ipam>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ipam {
    r#type: Option<String>,
    data_dir: Option<String>,
    ranges: Option<Vec<Vec<Wire>>>,
    // One range, as older configurations have it.
    subnet: Option<String>,
    range_start: Option<String>,
    range_end: Option<String>,
    gateway: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    subnet: Option<String>,
    range_start: Option<String>,
    range_end: Option<String>,
    gateway: Option<String>,
}

impl Network {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, without any of its content.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err("the file is empty".to_owned());
        }
        let value: Value = serde_json::from_slice(text).map_err(|e| format!("no JSON: {}", place(&e)))?;
        if !value.is_object() {
            return Err("no JSON object".to_owned());
        }
        let file: File = serde_json::from_value(value).map_err(|_| "a field has a wrong type".to_owned())?;
        let mut network = Network { name: file.name.unwrap_or_default(), ..Network::default() };
        if network.name.is_empty() {
            return Err("no `name`".to_owned());
        }
        let plugins = match (file.plugins, file.r#type) {
            (Some(plugins), _) => plugins,
            (None, Some(one)) => vec![Plugin { r#type: Some(one), ipam: file.ipam }],
            (None, None) => return Err("no `plugins` and no `type`".to_owned()),
        };
        if plugins.is_empty() {
            return Err("`plugins` is empty".to_owned());
        }
        for p in plugins.into_iter().take(MOST) {
            let Some(kind) = p.r#type.filter(|t| !t.is_empty()) else {
                return Err("a plugin without `type`".to_owned());
            };
            network.is_flannel |= kind == "flannel";
            network.plugins.push(kind);
            if let Some(ipam) = p.ipam.filter(|i| i.r#type.as_deref() == Some("host-local")) {
                network.data_dir = network.data_dir.or(ipam.data_dir.clone());
                network.pools.extend(pools(ipam));
            }
        }
        Ok(network)
    }
}

/// Where a text stops being JSON; serde's own words may hold a piece of it.
fn place(e: &serde_json::Error) -> String {
    format!("line {} column {}", e.line(), e.column())
}

fn pools(ipam: Ipam) -> Vec<Pool> {
    let one =
        Wire { subnet: ipam.subnet, range_start: ipam.range_start, range_end: ipam.range_end, gateway: ipam.gateway };
    let sets = ipam.ranges.unwrap_or_default().into_iter().chain([vec![one]]);
    sets.filter_map(|set| {
        let named: Vec<&str> = set.iter().filter_map(|w| w.subnet.as_deref()).collect();
        let name = named.join(",");
        let ranges: Vec<Range> = set.iter().take(MOST).filter_map(range).collect();
        (!ranges.is_empty()).then_some(Pool { name, ranges })
    })
    .take(MOST)
    .collect()
}

/// The pools in flannel's file.
pub(super) fn flannel(env: &str) -> Vec<Pool> {
    let subnets = env.lines().filter_map(|l| {
        let (key, value) = l.trim().split_once('=')?;
        matches!(key, "FLANNEL_SUBNET" | "FLANNEL_IPV6_SUBNET").then_some(value)
    });
    subnets
        .filter_map(|subnet| {
            let range = range(&Wire { subnet: Some(subnet.to_owned()), ..Wire::default() })?;
            Some(Pool { name: subnet.to_owned(), ranges: vec![range] })
        })
        .collect()
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn range(w: &Wire) -> Option<Range> {
    let (ip, bits) = w.subnet.as_deref()?.split_once('/')?;
    let ip: IpAddr = ip.trim().parse().ok()?;
    let bits: u32 = bits.trim().parse().ok()?;
    let six = ip.is_ipv6();
    let width = if six { 128 } else { 32 };
    if bits > width {
        return None;
    }
    let size = 1u128.checked_shl(width - bits).map_or(u128::MAX, |n| n - 1);
    let net = number(ip) & !size;
    // The address of the network itself is never given out, nor is the last one of the fourth version.
    let first = net.saturating_add(1);
    let last = net.saturating_add(size).saturating_sub(u128::from(!six && size > 1));
    let said = |text: &Option<String>| {
        let ip: IpAddr = text.as_deref()?.parse().ok()?;
        (ip.is_ipv6() == six).then(|| number(ip))
    };
    let start = said(&w.range_start).unwrap_or(first).max(net);
    let end = said(&w.range_end).unwrap_or(last).min(net.saturating_add(size));
    let gateway = Some(said(&w.gateway).unwrap_or(first)).filter(|g| (start..=end).contains(g));
    (start <= end).then_some(Range { six, start, end, gateway })
}

impl Pool {
    /// How many addresses can be given out.
    pub(super) fn total(&self) -> i64 {
        let all = self.ranges.iter().map(|r| (r.end - r.start).saturating_add(1) - u128::from(r.gateway.is_some()));
        i64::try_from(all.fold(0u128, u128::saturating_add)).unwrap_or(i64::MAX)
    }

    /// Whether an address is one of them.
    pub(super) fn holds(&self, ip: IpAddr) -> bool {
        let n = number(ip);
        self.ranges.iter().any(|r| r.six == ip.is_ipv6() && (r.start..=r.end).contains(&n) && r.gateway != Some(n))
    }
}

/// An address as host-local names its files.
pub(super) fn address(file: &str) -> Option<IpAddr> {
    let four = file.parse::<Ipv4Addr>().map(IpAddr::V4);
    four.or_else(|_| file.replace('_', ":").parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_the_usual_plugins_are_read() {
        let bridge = br#"{"cniVersion":"0.4.0","name":"tapio","plugins":[{"type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},{"type":"portmap"}]}"#;
        let n = Network::parse(bridge).unwrap();
        assert_eq!((n.name.as_str(), n.plugins.join(",").as_str()), ("tapio", "bridge,portmap"));
        assert_eq!(n.pools[0].total(), 253);
        let old =
            br#"{"name":"x","type":"ptp","ipam":{"type":"host-local","dataDir":"/run/x","subnet":"10.0.0.0/30"}}"#;
        let n = Network::parse(old).unwrap();
        assert_eq!((n.pools[0].total(), n.data_dir.as_deref()), (1, Some("/run/x")));
        let two = br#"{"name":"k","plugins":[{"type":"ptp","ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.0.0/24","rangeStart":"10.1.0.10","rangeEnd":"10.1.0.19"}],[{"subnet":"fd00::/64"}]]}}]}"#;
        let n = Network::parse(two).unwrap();
        assert_eq!(n.pools.iter().map(Pool::total).collect::<Vec<_>>(), [10, i64::MAX]);
        for (ip, held) in [("10.1.0.10", true), ("10.1.0.9", false), ("10.1.0.20", false), ("fd00::7", false)] {
            assert_eq!(n.pools[0].holds(ip.parse().unwrap()), held, "{ip}");
        }
        assert!(n.pools[1].holds(address("fd00__7").unwrap()));
        let calico = br#"{"name":"k8s-pod-network","plugins":[{"type":"calico","ipam":{"type":"calico-ipam"}},{"type":"bandwidth"}]}"#;
        assert!(Network::parse(calico).unwrap().pools.is_empty());
        let flannels = br#"{"name":"cbr0","plugins":[{"type":"flannel","delegate":{"isDefaultGateway":true}},{"type":"portmap"}]}"#;
        assert!(Network::parse(flannels).unwrap().is_flannel);
        let pools = flannel("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\n");
        assert_eq!((pools.len(), pools[0].total()), (1, 253));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_content() {
        for (text, why) in [
            ("", "empty"),
            (" \n", "empty"),
            ("{\"name\":\"hunter2\"", "no JSON: line 1"),
            ("[]", "no JSON object"),
            ("{}", "no `name`"),
            (r#"{"name":"n"}"#, "no `plugins`"),
            (r#"{"name":"n","plugins":[]}"#, "empty"),
            (r#"{"name":"n","plugins":[{}]}"#, "without `type`"),
            (r#"{"name":"n","plugins":"hunter2"}"#, "wrong type"),
        ] {
            let e = Network::parse(text.as_bytes()).unwrap_err();
            assert!(e.contains(why) && !e.contains("hunter2"), "{text}: {e}");
        }
    }

    #[test]
    fn ranges_at_the_ends_of_the_numbers_do_not_overflow() {
        for subnet in
            ["0.0.0.0/0", "255.255.255.255/32", "::/0", "ffff::/128", "10.0.0.0/31", "10.0.0.0/33", "x/8", "10.0.0.0"]
        {
            let text = format!(r#"{{"name":"n","type":"t","ipam":{{"type":"host-local","subnet":"{subnet}"}}}}"#);
            let n = Network::parse(text.as_bytes()).unwrap();
            assert!(n.pools.iter().all(|p| p.total() >= 0), "{subnet}");
        }
    }
}
