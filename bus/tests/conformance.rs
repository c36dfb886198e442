//! One suite over `dyn EventLog`, for every backend. What stands here is what the engine and the collectors may rely
//! on, whichever log carries the events.
//!
//! A backend that is not there (no server to reach, not built yet) is listed once, as ignored with its reason, and never
//! as passed: `test [skipped: not built yet] kafka: all 31 promises … ignored`.
//!
//! A new backend is one `Backend` in `backends()`; a new promise is one line in `CASES`.

mod conformance {
    pub(crate) mod cases;
    pub(crate) mod fixture;
}

use std::sync::Arc;

use conformance::cases::CASES;
use conformance::fixture::{Backend, backends};
use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for backend in backends() {
        let backend: Arc<dyn Backend> = Arc::from(backend);
        if let Some(why) = backend.missing() {
            let name = format!("{}: all {} promises", backend.name(), CASES.len());
            let kind = format!("skipped: {why}");
            // Whoever runs the ignored ones all the same shall see a failure and no pass.
            trials.push(Trial::test(name, move || Err(why.into())).with_kind(kind).with_ignored_flag(true));
            continue;
        }
        for (sentence, case) in CASES {
            let backend = backend.clone();
            trials.push(Trial::test(format!("{}: {sentence}", backend.name()), move || {
                let place = backend.place()?;
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                runtime.block_on(case(place.as_ref()))?;
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
