//! Faults on a real cluster, made by kubectl as people make them; `tapio up` has to send the right alert, once, in time.
//!
//! `TAPIO_KUBECONFIG_TEST` names the cluster (kind, k3s, minikube, any that may be broken); `kubectl` stands on the PATH.
//! Without it the course is shown as ignored. It works in namespaces of its own, cordons and taints nodes for a moment,
//! and takes both back. `TAPIO_SERVICE_TEST` may name a script that is called as `SCRIPT stop|start|kill NAME` for
//! `kubelet` and `kube-apiserver`: then these fail, too.
//!
//!     TAPIO_KUBECONFIG_TEST=~/.kube/config cargo test -p tapio --test e2e

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "e2e/cluster.rs"]
mod cluster;
#[path = "e2e/course.rs"]
mod course;
#[path = "e2e/faults.rs"]
mod faults;
#[path = "e2e/hook.rs"]
mod hook;
#[path = "e2e/watcher.rs"]
mod watcher;

use libtest_mimic::{Arguments, Failed, Trial};

const KUBECONFIG: &str = "TAPIO_KUBECONFIG_TEST";

fn main() {
    let args = Arguments::from_args();
    let name = "each_fault_is_one_alert_with_its_cause_in_time";
    let trial = match std::env::var_os(KUBECONFIG) {
        Some(kubeconfig) => Trial::test(name, move || {
            course::run(kubeconfig.into());
            Ok(())
        }),
        None => Trial::test(format!("{name} ({KUBECONFIG} is not set)"), || Err(Failed::from("not there")))
            .with_ignored_flag(true),
    };
    libtest_mimic::run(&args, vec![trial]).exit();
}
