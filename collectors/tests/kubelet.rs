//! The kubelet collector against a kubelet: one suite for the small one in here and for a real one, so that the small
//! one cannot drift; and faults that a real one does not have on demand.
//!
//! A real one is that of the first node of the cluster that TAPIO_KUBECONFIG_TEST names (with `kubectl` on the PATH).
//! Without it, its trials are listed as ignored with the reason, and never as passed.
//!
//! What the collector costs, on a node with 50 pods and with default times:
//! `cargo test -p tapio-collectors --release --test kubelet -- --ignored cost`

#![allow(clippy::unwrap_used, reason = "a trial that cannot go on has failed")]

mod kubelet {
    pub(crate) mod conformance;
    pub(crate) mod cost;
    pub(crate) mod fake_kubelet;
    pub(crate) mod faults;
    pub(crate) mod place;
}

use std::sync::Arc;
use std::time::Duration;

use kubelet::conformance::CASES;
use kubelet::faults::FAULTS;
use kubelet::place::{Fake, Place, Real};
use libtest_mimic::{Arguments, Trial};

fn run(limit: Duration, case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        assert!(tokio::time::timeout(limit, case).await.is_ok(), "took longer than {limit:?}");
    });
}

fn main() {
    if std::env::var_os(kubelet::cost::CHILD).is_some() {
        return kubelet::cost::child();
    }
    let arguments = Arguments::from_args();
    let limit = Duration::from_secs(120);
    let mut trials = Vec::new();
    for (sentence, case) in CASES {
        trials.push(Trial::test(format!("fake: {sentence}"), move || {
            run(limit, async {
                let place: Arc<dyn Place> = Arc::new(Fake::start().await);
                case(place).await;
            });
            Ok(())
        }));
        let real = std::env::var_os("TAPIO_KUBECONFIG_TEST");
        let kind = if real.is_some() { "" } else { "skipped: TAPIO_KUBECONFIG_TEST names no kubeconfig" };
        let missing = real.is_none();
        let trial = Trial::test(format!("real: {sentence}"), move || {
            let kubeconfig = real.ok_or("TAPIO_KUBECONFIG_TEST names no kubeconfig")?;
            run(limit, async {
                let place: Arc<dyn Place> = Arc::new(Real::new(kubeconfig.into()));
                case(place).await;
            });
            Ok(())
        });
        trials.push(trial.with_kind(kind).with_ignored_flag(missing));
    }
    for (sentence, case) in FAULTS {
        trials.push(Trial::test(format!("fault: {sentence}"), move || {
            run(limit, case());
            Ok(())
        }));
    }
    let cost = Trial::test("cost: memory and processor on a node with 50 pods", || {
        run(Duration::from_secs(600), kubelet::cost::measure());
        Ok(())
    });
    trials.push(cost.with_kind("minutes").with_ignored_flag(true));
    libtest_mimic::run(&arguments, trials).exit();
}
