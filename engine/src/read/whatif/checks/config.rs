//! Keys that go and that nobody names, but that somebody reads with all the others.

use std::collections::BTreeSet;

use tapio_core::object::{Body, Object};
use tapio_core::unified::Severity;

use crate::read::impact::Effect;
use crate::read::whatif::{Action, Between, Problem};
use crate::world::uses::{Way, uses};

fn keys(o: &Option<Object>) -> BTreeSet<String> {
    match o.as_ref().map(|o| &o.body) {
        Some(Body::ConfigMap(c)) => c.data.keys().chain(c.binary_data.keys()).cloned().collect(),
        Some(Body::Secret(s)) => s.data.keys().cloned().collect(),
        _ => BTreeSet::new(),
    }
}

/// Variables and files that vanish.
pub(super) fn find(b: &Between, out: &mut Vec<Problem>) {
    for s in b.touched.values().filter(|s| s.action == Action::Changed) {
        let left = keys(&s.after);
        let gone: Vec<String> = keys(&s.before).into_iter().filter(|k| !left.contains(k)).collect();
        if gone.is_empty() {
            continue;
        }
        for r in b.after.runners(s.object.ns()) {
            // Who names its keys is looked at as a reference, and who names none takes them all.
            let taken = uses(r.spec).into_iter().filter(|u| u.keys.is_empty() && u.target(r.workload.ns()) == s.object);
            for u in taken {
                let container = u.container.as_deref().unwrap_or("?");
                let list = gone.join(", ");
                let (check, says, effect) = match u.way {
                    Way::EnvFrom => {
                        let says = format!("container {container} of {} loses the variable {list}", r.workload);
                        ("variable-gone", says, Effect::NextStart)
                    }
                    Way::Volume | Way::Projected => {
                        let says = format!("container {container} of {} loses the file {list}", r.workload);
                        ("file-gone", says, Effect::KubeletSync)
                    }
                    Way::SubPath => {
                        let says = format!(
                            "container {container} of {} mounts a file of {}, which loses {list}",
                            r.workload, s.object
                        );
                        ("file-gone", says, Effect::NextStart)
                    }
                    Way::Env | Way::PullSecret => continue,
                };
                out.push(
                    Problem::new(Severity::Medium, check, &s.object, says)
                        .detail(format!("{} {container} {}", r.workload, u.way.as_str()))
                        .hitting([r.workload.clone()])
                        .when(effect)
                        .seen(&s.object, format!("the manifest leaves out {list}"))
                        .seen(&r.workload, format!("takes all of {} as {}", s.object, u.way.as_str())),
                );
            }
        }
    }
}
