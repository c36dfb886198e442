//! The cluster, as kubectl sees it, and the namespaces of one run, which go with it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) struct Cluster {
    pub(crate) kubeconfig: PathBuf,
    prefix: String,
}

impl Cluster {
    pub(crate) fn new(kubeconfig: PathBuf) -> Self {
        Cluster { kubeconfig, prefix: format!("e2e-{}-", std::process::id()) }
    }

    /// The namespace of a fault.
    pub(crate) fn namespace(&self, fault: &str) -> String {
        format!("{}{fault}", self.prefix)
    }

    /// The fault whose namespace this is.
    pub(crate) fn fault<'a>(&self, namespace: &'a str) -> Option<&'a str> {
        namespace.strip_prefix(self.prefix.as_str())
    }

    /// Runs kubectl; what it printed, or what it said was wrong.
    pub(crate) fn try_kubectl(&self, args: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl on the PATH");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
        if out.status.success() { Ok(text(out.stdout)) } else { Err(text(out.stderr)) }
    }

    /// Runs it until it succeeds: a new namespace has no ServiceAccount for a moment, an API server may be away.
    pub(crate) fn kubectl(&self, args: &[&str], input: &str) -> String {
        let begun = Instant::now();
        loop {
            match self.try_kubectl(args, input) {
                Ok(out) => return out,
                Err(why) => {
                    assert!(begun.elapsed() < Duration::from_secs(30), "kubectl {args:?}: {why}");
                    std::thread::sleep(Duration::from_millis(500));
                }
            }
        }
    }

    pub(crate) fn apply(&self, namespace: &str, manifests: &str) {
        self.kubectl(&["apply", "-n", namespace, "-f", "-"], manifests);
    }

    /// All objects of these kinds in the namespaces of this run.
    pub(crate) fn objects(&self, kinds: &str) -> Vec<Value> {
        let Ok(list) = self.try_kubectl(&["get", kinds, "-A", "-o", "json"], "") else { return Vec::new() };
        let mut list: Value = serde_json::from_str(&list).unwrap();
        let Value::Array(items) = list["items"].take() else { return Vec::new() };
        let ours = |o: &Value| self.fault(o["metadata"]["namespace"].as_str().unwrap_or_default()).is_some();
        items.into_iter().filter(ours).collect()
    }

    /// The name of the first node.
    pub(crate) fn node(&self) -> String {
        self.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"], "")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Ok(all) = self.try_kubectl(&["get", "namespaces", "-o", "name"], "") else { return };
        let ours = all.lines().filter_map(|l| l.strip_prefix("namespace/")).filter(|n| self.fault(n).is_some());
        for namespace in ours {
            drop(self.try_kubectl(&["delete", "namespace", namespace, "--wait=false"], ""));
        }
        let node = self.node();
        drop(self.try_kubectl(&["uncordon", &node], ""));
        drop(self.try_kubectl(&["taint", "node", &node, "e2e-"], ""));
    }
}
