//! Releases: what applies a set of objects from a repository or a chart, whether it failed, and whose object one is.

use tapio_core::object::{Object, ObjectRef, Other};
use tapio_core::time::Time;

/// Kinds of releases.
pub(crate) const KINDS: &[&str] = &["HelmRelease", "Kustomization", "Application"];

/// Since when a release is failed, and why; none if it is well, at work, paused, or waits for another one.
pub(crate) fn failed(o: &Other) -> Option<(Option<Time>, String)> {
    if o.fact("spec.suspend") == "true" {
        return None;
    }
    let phase = o.fact("status.operationState.phase");
    if matches!(phase, "Failed" | "Error") && o.fact("status.sync.status") != "Synced" {
        let at = Time::parse(o.fact("status.operationState.finishedAt")).ok();
        return Some((at, format!("{phase}: {}", o.fact("status.operationState.message"))));
    }
    // Conditions of an Application have a type and no status.
    let bare = o.conditions.iter().find(|c| {
        c.status.is_empty() && matches!(c.r#type.as_str(), "ComparisonError" | "InvalidSpecError" | "SyncError")
    });
    if let Some(c) = bare {
        return Some((*c.last_transition_time, format!("{}: {}", c.r#type, c.message)));
    }
    let c = o.condition("Ready").filter(|c| c.status == "False")?;
    let waits = ["DependencyNotReady", "Progressing", "ProgressingWithRetry", "Suspended"];
    if waits.contains(&c.reason.as_str()) {
        return None;
    }
    // After a rollback Ready speaks of the rollback; what failed stands in Released.
    let cause = o.condition("Released").filter(|r| r.status == "False").unwrap_or(c);
    Some((*c.last_transition_time, format!("{}: {}", cause.reason, cause.message)))
}

/// Whether a release failed only because what it applied did not become ready in time.
pub(crate) fn waited_in_vain(text: &str) -> bool {
    let text = text.to_lowercase();
    ["timed out waiting", "timeout waiting for", "context deadline exceeded", "health check failed", "not ready"]
        .iter()
        .any(|w| text.contains(w))
}

/// Whether an object says that it is part of this release.
pub(crate) fn is_part(o: &Object, release: &ObjectRef) -> bool {
    let label = |k: &str| o.meta.labels.get(k).map_or("", String::as_str);
    let flux = |group: &str| {
        label(&format!("{group}/name")) == release.name && label(&format!("{group}/namespace")) == release.ns()
    };
    match release.kind.as_str() {
        "HelmRelease" => flux("helm.toolkit.fluxcd.io"),
        "Kustomization" => flux("kustomize.toolkit.fluxcd.io"),
        "Application" => {
            let tracked = o.meta.annotations.get("argocd.argoproj.io/tracking-id");
            // `namespace_name` where Applications may stand in any namespace.
            let named = |x: &str| x == release.name || x == format!("{}_{}", release.ns(), release.name);
            match tracked {
                Some(id) => id.split(':').next().is_some_and(named),
                None => named(label("argocd.argoproj.io/instance")),
            }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(kind: &str, spec: &str, status: &str) -> Other {
        let json = format!(
            r#"{{"apiVersion":"x/v1","kind":"{kind}","metadata":{{"name":"r","namespace":"n"}},"spec":{spec},"status":{status}}}"#
        );
        Object::parse(&json).unwrap().as_other().unwrap().clone()
    }

    #[test]
    fn failures_are_told_from_work_pauses_and_waiting() {
        let ready = |status: &str, reason: &str| {
            format!(
                r#"{{"conditions":[{{"type":"Ready","status":"{status}","reason":"{reason}","message":"m","lastTransitionTime":"2026-03-02T10:00:00Z"}}]}}"#
            )
        };
        let operation = |phase: &str, sync: &str| {
            format!(
                r#"{{"sync":{{"status":"{sync}"}},"operationState":{{"phase":"{phase}","message":"one or more objects failed to apply","finishedAt":"2026-03-02T10:00:00Z"}}}}"#
            )
        };
        for (kind, spec, status, want) in [
            ("HelmRelease", "{}", ready("False", "UpgradeFailed"), true),
            ("HelmRelease", "{}", ready("False", "RollbackSucceeded"), true),
            ("HelmRelease", "{}", ready("Unknown", "Progressing"), false),
            ("HelmRelease", r#"{"suspend":true}"#, ready("False", "UpgradeFailed"), false),
            ("HelmRelease", "{}", ready("True", "UpgradeSucceeded"), false),
            ("Kustomization", "{}", ready("False", "BuildFailed"), true),
            ("Kustomization", "{}", ready("False", "DependencyNotReady"), false),
            ("Kustomization", "{}", ready("False", "Progressing"), false),
            ("Application", "{}", operation("Failed", "OutOfSync"), true),
            ("Application", "{}", operation("Failed", "Synced"), false),
            ("Application", "{}", operation("Running", "OutOfSync"), false),
            (
                "Application",
                "{}",
                r#"{"sync":{"status":"OutOfSync"},"health":{"status":"Degraded"}}"#.to_owned(),
                false,
            ),
            (
                "Application",
                "{}",
                r#"{"conditions":[{"type":"ComparisonError","message":"failed to generate manifest"}]}"#.to_owned(),
                true,
            ),
            (
                "Application",
                "{}",
                r#"{"conditions":[{"type":"OrphanedResourceWarning","message":"m"}]}"#.to_owned(),
                false,
            ),
        ] {
            assert_eq!(failed(&release(kind, spec, &status)).is_some(), want, "{kind} {spec} {status}");
        }
    }

    #[test]
    fn waiting_in_vain_is_told_from_what_could_not_be_applied() {
        for (text, want) in [
            ("Helm upgrade failed for release shop/cart with chart cart@1.2.0: context deadline exceeded", true),
            ("Helm install failed: timed out waiting for the condition", true),
            (
                "Health check failed after 5m0.1s: timeout waiting for: [Deployment/shop/cart status: 'InProgress']",
                true,
            ),
            (
                "Helm upgrade failed: YAML parse error on cart/templates/deployment.yaml: error converting YAML to JSON",
                false,
            ),
            ("kustomize build failed: accumulating resources: 'base' doesn't exist", false),
        ] {
            assert_eq!(waited_in_vain(text), want, "{text}");
        }
    }
}
