//! Releases: what applies many objects at once, and fails or stops half way.

use tapio_core::object::{Object, ObjectRef};
use tapio_core::time::{SECOND, Time};

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::releases::{is_part, waited_in_vain};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::View;

manual! {
    /// The release that owns the objects failed or was stopped half way.
    ///
    /// Required: condition Ready=False of a HelmRelease or Kustomization for another reason than waiting; or an Application
    /// whose operation failed, or whose manifests cannot be made.
    /// Supports: Stalled=True; objects of the release that miss what it did not bring.
    /// Refuted by: it is suspended, or waits for another release. Where an object of the release fails for a cause of its
    /// own that is seen, the release only waits for it, and that cause is the root.
    /// Lag: seconds after the attempt; its time limit where it waits for what it applied.
    /// Do: read the condition; correct chart, values or manifests at their source, then reconcile.
    "gitops-release-failed": CapturedText [ReleaseFailed];
}

/// Releases that failed.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| s.trouble == Trouble::ReleaseFailed) {
        let Some(entry) = view.world.entry(&s.object) else { continue };
        let Some(o) = entry.live() else { continue };
        let half = if waited_in_vain(&s.says) { Vec::new() } else { left_behind(view, symptoms, o, s.since) };
        let stalled = o.as_other().and_then(|x| x.condition("Stalled")).is_some_and(|c| c.status == "True");
        let mut h = Hypothesis::new("gitops-release-failed", s.object.clone(), s.since, Proof::Stated, s.says.clone())
            .explaining(half.iter().map(|s| s.object.clone()))
            .counting_from(s.counts_from)
            .via("release")
            .supported(u32::from(stalled) + u32::from(!half.is_empty()))
            .with([view.state(&s.object, Some(s.since), s.says.clone())])
            .with(half.iter().take(3).map(|s| view.state(&s.object, Some(s.since), s.says.clone())))
            .unless("it is suspended, or waits for another release", false)
            .next(kubectl("describe", &s.object));
        for n in entry.history.notes.iter().rev().filter(|n| n.warning).take(2) {
            h = h.with([view.noted(&s.object, n)]);
        }
        out.push(h);
    }
}

/// Pods of the release that miss an object since it failed: it was stopped before it brought it.
fn left_behind<'a>(view: &View, symptoms: &'a [Symptom], release: &Object, since: Time) -> Vec<&'a Symptom> {
    let missing = |s: &&Symptom| {
        matches!(s.trouble, Trouble::ConfigError | Trouble::VolumesPending)
            && s.since >= since.plus(-600 * SECOND)
            && ["not found", "non-existent"].iter().any(|w| s.says.contains(w))
    };
    let part = |key: &ObjectRef| {
        let workload = view.world.workload_of(key);
        [key, &workload].into_iter().filter_map(|k| view.world.live(k)).any(|o| is_part(o, &release.key))
    };
    symptoms.iter().filter(missing).filter(|s| part(&s.object)).collect()
}
