//! The cluster collector against an API server: one suite for the small one in here and for a real one, so that the
//! small one cannot drift; and faults that a real one does not have on demand.
//!
//! A real one is named by TAPIO_KUBECONFIG_TEST (with `kubectl` on the PATH). Without it, its trials are listed as
//! ignored with the reason, and never as passed.

#![allow(clippy::unwrap_used, reason = "a trial that cannot go on has failed")]

mod cluster {
    pub(crate) mod conformance;
    #[allow(dead_code, reason = "servers and agents ask more of it, in tests of their own")]
    pub(crate) mod fake_api;
    pub(crate) mod faults;
    pub(crate) mod place;
}

use std::sync::Arc;

use cluster::conformance::CASES;
use cluster::faults::FAULTS;
use cluster::place::{Fake, Place, Real};
use libtest_mimic::{Arguments, Trial};

fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let limit = std::time::Duration::from_secs(120);
        assert!(tokio::time::timeout(limit, case).await.is_ok(), "took longer than {limit:?}");
    });
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (sentence, case) in CASES {
        trials.push(Trial::test(format!("fake: {sentence}"), move || {
            run(async {
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
            run(async {
                let place: Arc<dyn Place> = Arc::new(Real::new(kubeconfig.into()));
                case(place).await;
            });
            Ok(())
        });
        trials.push(trial.with_kind(kind).with_ignored_flag(missing));
    }
    for (sentence, case) in FAULTS {
        trials.push(Trial::test(format!("fault: {sentence}"), move || {
            run(case());
            Ok(())
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
