//! Ingresses: who serves them.

use tapio_core::object::{Body, ObjectRef};
use tapio_core::time::SECOND;

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::symptom::Symptom;
use crate::diagnosis::view::View;

manual! {
    /// The Ingress names a class that no controller serves.
    ///
    /// Required: spec.ingressClassName, and no IngressClass of that name although classes were listed or others
    /// are known, or that class seen to be deleted.
    /// Supports: the name was changed; the class was deleted.
    /// Refuted by: the Ingress has an address, and neither its class nor its name of one was seen to change (a controller
    /// may serve a name without an object). An Ingress without a class, or with the old annotation, names none.
    /// Lag: half a minute: a controller and its class are often installed together with the Ingress.
    /// Do: name a class that exists, or install its controller.
    "ingress-class-missing": Documented [];
}

/// Seconds after which a class that is missing is not on its way.
const HOLD: i64 = 30;

/// Ingresses whose class is not there.
pub fn find(view: &View, _: &[Symptom], out: &mut Vec<Hypothesis>) {
    for entry in view.world.entries("Ingress") {
        let Some(o) = entry.live() else { continue };
        let Body::Ingress(i) = &o.body else { continue };
        let name = i.spec.ingress_class_name.as_str();
        let old_style = o.meta.annotations.contains_key("kubernetes.io/ingress.class");
        if name.is_empty() || old_style || o.meta.deletion_timestamp.is_some() {
            continue;
        }
        let class = ObjectRef::cluster_scoped("IngressClass", name);
        // Who sees one class sees all of them.
        let seen = || view.world.live(&class).is_none() && view.world.all("IngressClass").next().is_some();
        if !view.world.is_missing(&class) && !seen() {
            continue;
        }
        let deleted = view.world.entry(&class).and_then(|e| e.deleted_at);
        let changes = view.changes(&o.key);
        let renamed = changes.iter().rfind(|c| c.change.field.contains("ingressClassName"));
        let served = !i.status.load_balancer.ingress.is_empty();
        let created = o.meta.creation_timestamp.unwrap_or(view.now);
        let written = o.meta.last_spec_write().map_or(created, |(_, t)| t);
        let since = deleted.max(renamed.map(|c| c.at)).unwrap_or(written).max(created);
        if view.is_old_news(entry, since) {
            continue;
        }
        let known: Vec<&str> = view.world.all("IngressClass").map(|c| c.key.name.as_str()).collect();
        let known =
            if known.is_empty() { "there is none at all".to_owned() } else { format!("there is {}", known.join(", ")) };
        out.push(
            Hypothesis::new(
                "ingress-class-missing",
                o.key.clone(),
                since,
                Proof::Stated,
                format!("{} names class {name}, which does not exist, so no controller serves it", o.key),
            )
            .counting_from(since.plus(HOLD * SECOND))
            .via("ingress")
            .supported(u32::from(deleted.is_some()) + u32::from(renamed.is_some()) + u32::from(!served))
            .changed(renamed.map(|c| c.change.clone()))
            .with([view.state(&class, deleted, format!("{class} does not exist; {known}"))])
            .with(renamed.map(|c| view.changed(&o.key, &c.change, Some(c.id))))
            .unless("it has an address, and nothing was changed", served && deleted.is_none() && renamed.is_none())
            .next(kubectl("describe", &o.key))
            .next("kubectl get ingressclass"),
        );
    }
}
