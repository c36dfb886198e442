//! The lane on a real cluster: the one of `TAPIO_KUBECONFIG_TEST`, or one that the scripts in the folder
//! `TAPIO_CLUSTER_TEST` start: `up.sh`, `down.sh`, and `svc.sh stop|start|kill NAME` for the processes of its nodes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::tests::{self, Counts};

const KUBECONFIG: &str = "TAPIO_KUBECONFIG_TEST";
const SCRIPTS: &str = "TAPIO_CLUSTER_TEST";

/// What runs there: the course of faults, and the suites that run on a small and on a real cluster alike.
const SUITES: &[&str] = &[
    "test",
    "--workspace",
    "--locked",
    "--no-fail-fast",
    "--test",
    "e2e",
    "--test",
    "cluster",
    "--test",
    "kubelet",
    "--test",
    "server",
    "--test",
    "deploy",
];

/// Why there is no cluster.
pub(super) fn missing(_: &Path) -> Option<String> {
    if std::env::var_os(KUBECONFIG).is_none() && std::env::var_os(SCRIPTS).is_none() {
        return Some(format!(
            "{KUBECONFIG} names no cluster that may be broken (kind, k3s, minikube), and {SCRIPTS} no scripts that start one"
        ));
    }
    None
}

pub(super) fn run(root: &Path, counts: &mut Counts) -> Result<()> {
    if let Some(kubeconfig) = std::env::var_os(KUBECONFIG) {
        return tests::run(root, SUITES, &[(KUBECONFIG, &kubeconfig.to_string_lossy())], counts);
    }
    let scripts = PathBuf::from(std::env::var_os(SCRIPTS).unwrap_or_default());
    let cluster = Started::new(scripts)?;
    let service = cluster.scripts.join("svc.sh").display().to_string();
    let kubeconfig = cluster.kubeconfig.clone();
    tests::run(root, SUITES, &[(KUBECONFIG, kubeconfig.as_str()), ("TAPIO_SERVICE_TEST", service.as_str())], counts)
}

/// A cluster of ours, which goes with this.
struct Started {
    scripts: PathBuf,
    kubeconfig: String,
}

impl Started {
    fn new(scripts: PathBuf) -> Result<Self> {
        let out = Command::new("bash").arg(scripts.join("up.sh")).output()?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        // It says where its kubeconfig is.
        let named = said.split("KUBECONFIG=").nth(1).and_then(|rest| rest.split_whitespace().next());
        match named.filter(|_| out.status.success()) {
            Some(kubeconfig) => Ok(Started { kubeconfig: kubeconfig.to_owned(), scripts }),
            None => bail!("the cluster does not start:\n{said}{}", String::from_utf8_lossy(&out.stderr)),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(Command::new("bash").arg(self.scripts.join("down.sh")).output());
    }
}
