//! The kubelet of a node: its own server, with the account of the pod that asks.
//!
//! Its certificate is checked like an API server's. Where a cluster's kubelets sign their own, either name the file of
//! the authority that they have, or say in so many words that nothing shall be checked.

use std::path::PathBuf;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::connection::{Connection, Whom};
use crate::error::{ConnectError, chain};

/// Where a pod finds its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A kubelet, and how to know it and to be known by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletTarget {
    /// Host name or address; that of the node.
    pub address: String,
    /// Port, 10250 mostly.
    pub port: u16,
    /// PEM file of the authority that signs kubelets' certificates; the cluster's own from the pod's account where
    /// absent.
    pub ca_file: Option<PathBuf>,
    /// Name that the certificate must have, where it is not the address.
    pub server_name: Option<String>,
    /// Takes any certificate: whoever is in between reads the token and can use it.
    pub insecure_skip_verify: bool,
    /// File with the bearer token, read again as it ages; that of the pod's account where absent.
    pub token_file: Option<PathBuf>,
}

impl KubeletTarget {
    /// The kubelet at an address, with the pod's own account.
    pub fn new(address: &str) -> Self {
        KubeletTarget {
            address: address.to_owned(),
            port: 10_250,
            ca_file: None,
            server_name: None,
            insecure_skip_verify: false,
            token_file: None,
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let host = self.address.trim_start_matches('[').trim_end_matches(']');
        match host.contains(':') {
            true => format!("https://[{host}]:{}", self.port),
            false => format!("https://{host}:{}", self.port),
        }
    }

    pub(crate) async fn config(&self) -> Result<Config, ConnectError> {
        let refuse = |why: String| ConnectError::Kubelet { address: self.url(), why };
        let own = |name: &str| PathBuf::from(ACCOUNT).join(name);
        let token = self.token_file.clone().unwrap_or_else(|| own("token"));
        let mut cluster = json!({"server": self.url()});
        if self.insecure_skip_verify {
            cluster["insecure-skip-tls-verify"] = true.into();
        } else {
            let ca = self.ca_file.clone().unwrap_or_else(|| own("ca.crt"));
            cluster["certificate-authority"] = path(&ca).map_err(refuse)?.into();
            if let Some(name) = &self.server_name {
                cluster["tls-server-name"] = name.as_str().into();
            }
        }
        // The client reads all that there is to read of a kubelet from the form that it knows.
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "kubelet",
            "clusters": [{"name": "kubelet", "cluster": cluster}],
            "contexts": [{"name": "kubelet", "context": {"cluster": "kubelet", "user": "account"}}],
            "users": [{"name": "account", "user": {"tokenFile": path(&token).map_err(refuse)?}}],
        });
        let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).map_err(|e| refuse(e.to_string()))?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|e| refuse(chain(&e)))?;
        // The way to one's own node leads through no proxy, whatever the environment says of others.
        config.proxy_url = None;
        Ok(config)
    }
}

/// A file that can be read, as text.
fn path(file: &std::path::Path) -> Result<String, String> {
    if let Err(e) = std::fs::File::open(file) {
        return Err(format!("{}: {e}", file.display()));
    }
    file.to_str().map(str::to_owned).ok_or_else(|| format!("{} is no UTF-8", file.display()))
}

impl Connection {
    /// Prepares a client for a kubelet; nothing is sent yet. Needs a running tokio runtime.
    ///
    /// # Errors
    /// The address is none, or the files of authority or token cannot be read or used.
    pub async fn to_kubelet(target: KubeletTarget) -> Result<Self, ConnectError> {
        Self::to(Whom::Kubelet(target)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_sixth_version_stands_in_brackets() {
        assert_eq!(KubeletTarget::new("fd00::7").url(), "https://[fd00::7]:10250");
        assert_eq!(KubeletTarget::new("node-1").url(), "https://node-1:10250");
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let e = Connection::to_kubelet(KubeletTarget::new("127.0.0.1")).await.err().unwrap().to_string();
        assert!(e.contains("serviceaccount/ca.crt"), "{e}");
        let missing = KubeletTarget {
            insecure_skip_verify: true,
            token_file: Some("/nowhere/token".into()),
            ..KubeletTarget::new("127.0.0.1")
        };
        let e = Connection::to_kubelet(missing).await.err().unwrap().to_string();
        assert!(e.contains("/nowhere/token"), "{e}");
    }
}
