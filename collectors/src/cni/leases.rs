//! How many addresses host-local has given out: one file an address, in a folder a network.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

use super::network::{Network, Pool, address, flannel};

/// Addresses that are counted; a node starts 110 pods by default.
const MOST: usize = 100_000;
/// Bytes of flannel's file.
const BYTES: usize = 64 << 10;

/// Use of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// The network it belongs to.
    pub(super) network: String,
    /// The range.
    pub(super) pool: String,
    /// How many addresses there are.
    pub(super) total: i64,
    /// How many are given out.
    pub(super) used: i64,
}

/// The use of all pools of a network. None where nobody keeps count on this node.
///
/// # Errors
/// The folder of addresses is there and cannot be read.
pub(super) fn of(network: &Network, ipam_dir: &Path, flannel_env: &Path) -> Result<Vec<Used>, String> {
    let from_flannel;
    let pools: &[Pool] = if network.pools.is_empty() && network.is_flannel {
        let text = std::fs::read(flannel_env).unwrap_or_default();
        let head = text.get(..BYTES.min(text.len())).unwrap_or_default();
        from_flannel = flannel(&String::from_utf8_lossy(head));
        &from_flannel
    } else {
        &network.pools
    };
    // A name that leads elsewhere is none of a network.
    if pools.is_empty() || network.name.contains('/') || network.name.starts_with('.') {
        return Ok(Vec::new());
    }
    let dir = match &network.data_dir {
        Some(dir) => Path::new(dir).join(&network.name),
        None => ipam_dir.join(&network.name),
    };
    let given: Vec<IpAddr> = match std::fs::read_dir(&dir) {
        Ok(entries) => {
            let names = entries.take(MOST).filter_map(|e| e.ok()?.file_name().into_string().ok());
            names.filter_map(|n| address(&n)).collect()
        }
        // No pod had an address yet.
        Err(e) if e.kind() == ErrorKind::NotFound && ipam_dir.exists() => Vec::new(),
        Err(e) => return Err(format!("{}: {e}", dir.display())),
    };
    let used = |p: &Pool| {
        let n = given.iter().filter(|ip| p.holds(**ip)).count();
        Used {
            network: network.name.clone(),
            pool: p.name.clone(),
            total: p.total(),
            used: i64::try_from(n).unwrap_or(i64::MAX),
        }
    };
    Ok(pools.iter().map(used).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_named_like_addresses_are_counted_against_their_range() {
        let dir = tempfile::tempdir().unwrap();
        let conf = br#"{"name":"net","plugins":[{"type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.0.0/29"}]]}}]}"#;
        let network = Network::parse(conf).unwrap();
        let look = || of(&network, dir.path(), Path::new("/nowhere"));
        assert_eq!(look().unwrap()[0], Used { network: "net".into(), pool: "10.244.0.0/29".into(), total: 5, used: 0 });
        let net = dir.path().join("net");
        std::fs::create_dir(&net).unwrap();
        for name in ["10.244.0.2", "10.244.0.3", "lock", "last_reserved_ip.0", "10.9.9.9", "10.244.0.1"] {
            std::fs::write(net.join(name), "id\neth0").unwrap();
        }
        assert_eq!(look().unwrap()[0].used, 2);
        let gone = of(&network, Path::new("/nowhere"), Path::new("/nowhere"));
        assert!(gone.is_err(), "what is not mounted is not empty");
    }

    #[test]
    fn flannels_range_comes_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::parse(br#"{"name":"cbr0","plugins":[{"type":"flannel"}]}"#).unwrap();
        let env = dir.path().join("subnet.env");
        assert_eq!(of(&network, dir.path(), &env), Ok(Vec::new()));
        std::fs::write(&env, "FLANNEL_SUBNET=10.244.1.1/24\n").unwrap();
        assert_eq!(of(&network, dir.path(), &env).unwrap()[0].total, 253);
    }
}
