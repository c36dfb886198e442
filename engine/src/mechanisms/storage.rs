//! Claims, volumes and mounts: a claim that is not bound is compared with every volume there is.

use tapio_core::object::{Body, Claim, Object, ObjectRef, PersistentVolume, quantity};
use tapio_core::ontology::Relation;
use tapio_core::time::SECOND;

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs::{self, Class};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::View;
use crate::world::links::claims;

manual! {
    /// The pod refers to a PersistentVolumeClaim that does not exist.
    ///
    /// Required: "persistentvolumeclaim … not found" of the scheduler, or the claim known to be missing.
    /// Refuted by: the claim is there; a quota on storage of that namespace refused it.
    /// Do: create the claim, or correct its name in the workload.
    "claim-missing": CapturedText [Unscheduled];
    /// The claim names a StorageClass that does not exist.
    ///
    /// Required: a claim that is not bound, and a class that is known not to exist (or "storageclass … not found").
    /// Refuted by: the class is there; a volume of that class name fits.
    /// Do: correct the class of the claim (create it anew), or create the class.
    "storage-class-missing": Recorded [ClaimPending];
    /// No volume is of the claim's class, and none is provisioned.
    ///
    /// Required: a claim that is not bound with a class that nobody provisions, and no volume of that class.
    /// Refuted by: a volume of the class is free.
    /// Do: create a volume of the class, or name another class.
    "claim-storage-class-unsatisfied": CapturedText [ClaimPending];
    /// No volume offers the access mode of the claim.
    ///
    /// Required: a claim that is not bound, and free volumes that fit but for the access mode.
    /// Refuted by: a free volume offers the mode.
    /// Do: ask for a mode that the volumes have.
    "claim-access-mode-unsatisfied": Recorded [ClaimPending];
    /// No volume is as large as the claim asks.
    ///
    /// Required: a claim that is not bound, and free volumes that fit but for their size.
    /// Refuted by: a free volume is large enough.
    /// Do: ask for less, or make a larger volume.
    "claim-capacity-unsatisfied": Recorded [ClaimPending];
    /// No volume has the labels that the claim selects.
    ///
    /// Required: a claim with a selector that is not bound, and free volumes that fit but for their labels.
    /// Refuted by: a free volume has the labels.
    /// Do: correct the selector, or label a volume.
    "claim-selector-unsatisfied": Recorded [ClaimPending];
    /// The volume that the claim wants is bound to, or reserved for, another claim.
    ///
    /// Required: a claim that is not bound, and the volume that it names (or the only one that fits) held by another claim.
    /// Refuted by: another volume is free and fits.
    /// Do: name another volume, or free this one (a Released volume keeps its claimRef).
    "volume-already-claimed": Recorded [ClaimPending];
    /// The provisioner does not answer or refuses.
    ///
    /// Required: "ProvisioningFailed" with another reason than a missing class, or a claim that waits for an external
    /// provisioner for minutes.
    /// Refuted by: the claim is bound.
    /// Do: look at the provisioner's pods and log.
    "volume-provisioning-failed": CapturedText [ClaimPending];
    /// The volume lives where the pod cannot run.
    ///
    /// Required: "volume node affinity conflict" of the scheduler.
    /// Refuted by: a node of the volume's topology is feasible.
    /// Do: move the pod, or the volume.
    "volume-node-affinity-conflict": CapturedText [Unscheduled];
    /// The volume is still attached to another node (Multi-Attach).
    ///
    /// Required: "Multi-Attach error" in a FailedAttachVolume Event.
    /// Refuted by: the volume was attached since.
    /// Do: let the pod on the other node go (or delete it), or use ReadWriteMany.
    "volume-attach-conflict": CapturedText [VolumesPending];
    /// The volume cannot be attached or mounted for another reason.
    ///
    /// Required: FailedMount or FailedAttachVolume that no other mechanism explains.
    /// Refuted by: the volume was mounted since.
    /// Do: read the Event, look at the CSI driver's pods on that node.
    "volume-mount-failed": CapturedText [VolumesPending];
    /// The process may not read or write its mounted volume.
    ///
    /// Required: a container that fails, and "permission denied" or "read-only file system" on a path in its last errors.
    /// Supports: the path lies in a mounted volume; fsGroup, runAsUser or readOnlyRootFilesystem speak for it.
    /// Refuted by: the container ends before it touches a file.
    /// Do: mend securityContext or the volume's owner.
    "volume-permission-denied": Recorded [Crashing, Unready, LogErrors, InitStuck];
    /// The volume has no space or inodes left.
    ///
    /// Required: "no space left on device" in a failing container's errors.
    /// Refuted by: the path lies on the node's own disk and the node reports pressure.
    /// Do: enlarge the volume, or free space.
    "volume-full": CapturedText [Crashing, Unready, LogErrors];
}

/// Claims that are not bound, pods without their claims, failed mounts, refused files.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms {
        match s.trouble {
            Trouble::ClaimPending => out.extend(pending(view, s)),
            Trouble::Unscheduled => out.extend(unplaced(view, s)),
            Trouble::VolumesPending => out.extend(attach_conflict(view, s)),
            Trouble::Crashing | Trouble::Unready | Trouble::LogErrors | Trouble::InitStuck | Trouble::StartError => {
                out.extend(refused_file(view, s));
            }
            _ => {}
        }
    }
}

fn pending(view: &View, s: &Symptom) -> Option<Hypothesis> {
    let entry = view.world.entry(&s.object)?;
    let object = entry.live()?;
    let Body::Claim(claim) = &object.body else { return None };
    let users: Vec<ObjectRef> =
        view.world.into(&s.object, Relation::Claims).iter().filter(|e| e.is_live()).map(|e| e.key.clone()).collect();
    let note =
        entry.history.notes.iter().rfind(|n| matches!(n.reason.as_str(), "FailedBinding" | "ProvisioningFailed"));
    let make = |id: &'static str, summary: String, proof: Proof| {
        let mut h = Hypothesis::new(id, s.object.clone(), s.since, proof, summary)
            .explaining(users.iter().cloned())
            .counting_from(s.counts_from)
            .via("volume")
            .with([view.state(&s.object, Some(s.since), format!("claim is Pending: {}", wants(claim)))])
            .next(kubectl("describe", &s.object))
            .next("kubectl get persistentvolumes,storageclasses".to_owned());
        if let Some(n) = note {
            h = h.supported(1).with([view.noted(&s.object, n)]);
        }
        h
    };
    let class = claim.spec.storage_class_name.as_deref();
    let volumes: Vec<(&Object, &PersistentVolume)> = view
        .world
        .all("PersistentVolume")
        .filter_map(|o| if let Body::Volume(v) = &o.body { Some((o, v.as_ref())) } else { None })
        .collect();
    let said = note.map_or("", |n| n.message.as_str());
    // A named class that does not exist, unless volumes carry that name as a mere label.
    if let Some(name) = class.filter(|c| !c.is_empty()) {
        let key = ObjectRef::cluster_scoped("StorageClass", name);
        let of_class = volumes.iter().any(|(_, v)| v.spec.storage_class_name == name);
        let stated = said.contains("storageclass") && said.contains("not found");
        if view.world.live(&key).is_none() && !of_class && (stated || view.world.is_missing(&key)) {
            return Some(
                make(
                    "storage-class-missing",
                    format!("{} names StorageClass {name}, which does not exist", s.object),
                    Proof::Stated,
                )
                .explaining([key.clone()])
                .with([view.state(&key, None, format!("StorageClass {name} does not exist"))])
                .unless(format!("a volume of class {name} exists"), false),
            );
        }
    }
    if !claim.spec.volume_name.is_empty() {
        let key = ObjectRef::cluster_scoped("PersistentVolume", &claim.spec.volume_name);
        if let Some((_, v)) = volumes.iter().find(|(o, _)| o.key == key) {
            let labels = &volumes.iter().find(|(o, _)| o.key == key)?.0.meta.labels;
            let id = obstacles(claim, object, v, labels).first().copied()?;
            return Some(
                make(id, format!("{} names {key}, {}", s.object, obstacle_text(id, claim, v)), Proof::Stated)
                    .with([view.state(&key, None, offers(v))]),
            );
        }
    }
    if said.contains("storageclass") && said.contains("not found") {
        return Some(make("storage-class-missing", format!("{}: {said}", s.object), Proof::Stated));
    }
    // A claim of a class with a provisioner gets a volume of its own; those of others keep nothing from it.
    let refused = note.is_some_and(|n| n.reason == "ProvisioningFailed") && !says_no_provisioner(said);
    let external = entry.history.notes.iter().any(|n| n.reason == "ExternalProvisioning" && view.age(n.first) > 60);
    if refused || external {
        return Some(make(
            "volume-provisioning-failed",
            format!("{} is not provisioned: {said}", s.object),
            Proof::Stated,
        ));
    }
    if is_provisioned(view, class) && !says_no_provisioner(said) {
        return None;
    }
    // Static binding: which single obstacle keeps the nearest volume away? What somebody else uses is further than what is
    // free.
    let mut nearest: Option<((usize, bool), &'static str, &Object, &PersistentVolume)> = None;
    for (o, v) in &volumes {
        let all = obstacles(claim, object, v, &o.meta.labels);
        let Some(first) = all.first() else { continue };
        let far = (all.len(), v.status.phase == "Bound");
        if nearest.is_none_or(|(n, ..)| far < n) {
            nearest = Some((far, first, o, v));
        }
    }
    if let Some(((n, _), id, o, v)) = nearest
        && (n == 1 || (n == 2 && volumes.len() == 1))
    {
        return Some(
            make(id, format!("{} cannot bind to {}: {}", s.object, o.key, obstacle_text(id, claim, v)), Proof::Stated)
                .doubted(u32::from(n > 1))
                .with([view.state(&o.key, None, offers(v))])
                .unless("another volume fits", false),
        );
    }
    if said.contains("no persistent volumes available") || class.is_some_and(|c| !c.is_empty()) {
        let text = format!("{} finds no volume of class {:?} and nobody provisions one", s.object, class.unwrap_or(""));
        return Some(make("claim-storage-class-unsatisfied", text, Proof::Inferred));
    }
    None
}

/// Whether a text says that no part of the cluster makes volumes of the class: `no volume plugin matched`, with the name
/// of the class's provisioner after it since 1.22.
fn says_no_provisioner(text: &str) -> bool {
    text.contains("no volume plugin matched")
}

/// Whether the class is one with a provisioner.
fn is_provisioned(view: &View, class: Option<&str>) -> bool {
    let Some(name) = class.filter(|c| !c.is_empty()) else { return false };
    match view.world.live(&ObjectRef::cluster_scoped("StorageClass", name)).map(|o| &o.body) {
        Some(Body::StorageClass(c)) => !c.provisioner.is_empty() && c.provisioner != "kubernetes.io/no-provisioner",
        _ => false,
    }
}

/// What a claim asks, for people.
fn wants(c: &Claim) -> String {
    let size = c.spec.resources.requests.get("storage").map_or("?", String::as_str);
    let class = c.spec.storage_class_name.as_deref().map_or("default class".to_owned(), |s| format!("class {s:?}"));
    let selector = c.spec.selector.as_ref().filter(|s| !s.is_empty()).map_or("", |_| ", with a selector");
    format!("{size}, {}, {class}{selector}", c.spec.access_modes.join("+"))
}

fn offers(v: &PersistentVolume) -> String {
    let size = v.spec.capacity.get("storage").map_or("?", String::as_str);
    let holder = v.spec.claim_ref.as_ref().map_or(String::new(), |c| format!(", held for {}/{}", c.namespace, c.name));
    format!(
        "volume offers {size}, {}, class {:?}, {}{holder}",
        v.spec.access_modes.join("+"),
        v.spec.storage_class_name,
        v.status.phase
    )
}

/// Everything that keeps a claim from a volume, the decisive first.
fn obstacles(
    c: &Claim,
    claim: &Object,
    v: &PersistentVolume,
    labels: &tapio_core::object::StringMap,
) -> Vec<&'static str> {
    let mut out = Vec::new();
    let other = v.spec.claim_ref.as_ref().is_some_and(|r| {
        r.name != claim.key.name
            || r.namespace != claim.key.ns()
            || (!r.uid.is_empty() && !claim.meta.uid.is_empty() && r.uid != claim.meta.uid)
    });
    if other || v.status.phase == "Released" {
        out.push("volume-already-claimed");
    }
    let class = c.spec.storage_class_name.as_deref();
    if class.is_some_and(|c| c != v.spec.storage_class_name) {
        out.push("claim-storage-class-unsatisfied");
    }
    if !c.spec.access_modes.iter().all(|m| v.spec.access_modes.contains(m)) {
        out.push("claim-access-mode-unsatisfied");
    }
    let size = |m: &tapio_core::object::StringMap| m.get("storage").and_then(|q| quantity::parse(q));
    if size(&c.spec.resources.requests).zip(size(&v.spec.capacity)).is_some_and(|(want, have)| want > have) {
        out.push("claim-capacity-unsatisfied");
    }
    if c.spec.selector.as_ref().is_some_and(|s| !s.matches(labels)) {
        out.push("claim-selector-unsatisfied");
    }
    out
}

fn obstacle_text(id: &str, c: &Claim, v: &PersistentVolume) -> String {
    match id {
        "volume-already-claimed" => {
            let holder =
                v.spec.claim_ref.as_ref().map_or("another claim".to_owned(), |r| format!("{}/{}", r.namespace, r.name));
            format!("which is {} and held for {holder}", v.status.phase)
        }
        "claim-access-mode-unsatisfied" => {
            format!("which offers {} and not {}", v.spec.access_modes.join("+"), c.spec.access_modes.join("+"))
        }
        "claim-capacity-unsatisfied" => {
            let get = |m: &tapio_core::object::StringMap| m.get("storage").cloned().unwrap_or_default();
            format!("which has {} where {} is asked", get(&v.spec.capacity), get(&c.spec.resources.requests))
        }
        "claim-selector-unsatisfied" => "whose labels the selector does not match".to_owned(),
        _ => format!(
            "which is of class {:?} and not {:?}",
            v.spec.storage_class_name,
            c.spec.storage_class_name.as_deref().unwrap_or("")
        ),
    }
}

fn unplaced(view: &View, s: &Symptom) -> Option<Hypothesis> {
    let p = view.pods.get(&s.object)?;
    let text = &p.pod.condition("PodScheduled")?.message;
    let evidence = || view.state(&s.object, Some(s.since), format!("PodScheduled=False: {text}"));
    if text.contains("volume node affinity conflict") {
        let volume = claims(&p.pod.spec, &s.object.name)
            .into_iter()
            .map(|c| ObjectRef::new("PersistentVolumeClaim", s.object.ns(), &c))
            .find_map(|c| view.world.out(&c, Relation::BoundTo).first().map(|e| e.key.clone()))?;
        return Some(
            Hypothesis::new(
                "volume-node-affinity-conflict",
                volume.clone(),
                s.since,
                Proof::Stated,
                format!("{volume} lives where {} cannot run", p.workload),
            )
            .explaining([s.object.clone()])
            .counting_from(s.counts_from)
            .via("volume")
            .with([evidence()])
            .unless("a feasible node holds the volume", false)
            .next(kubectl("describe", &volume)),
        );
    }
    let missing = claims(&p.pod.spec, &s.object.name)
        .into_iter()
        .map(|c| ObjectRef::new("PersistentVolumeClaim", s.object.ns(), &c))
        .find(|c| {
            view.world.live(c).is_none()
                && (text.contains(&format!("\"{}\" not found", c.name)) || view.world.is_missing(c))
        })?;
    Some(
        Hypothesis::new(
            "claim-missing",
            p.workload.clone(),
            s.since,
            Proof::Stated,
            format!("{} needs {missing}, which does not exist", p.workload),
        )
        .explaining([s.object.clone(), missing.clone()])
        .counting_from(s.counts_from.plus(3 * SECOND))
        .via("volume")
        .with([evidence()])
        // A refused create is the cause of a missing claim; the quota family proposes it.
        .unless("a quota on storage of the namespace refused it", super::quota::has_storage_quota(view, s.object.ns()))
        .unless(format!("{missing} exists"), false)
        .next(kubectl("get", &missing)),
    )
}

fn attach_conflict(view: &View, s: &Symptom) -> Option<Hypothesis> {
    let p = view.pods.get(&s.object)?;
    let n = p.notes(&["FailedAttachVolume"]).rfind(|n| n.message.contains("Multi-Attach"))?;
    let claim = claims(&p.pod.spec, &s.object.name).into_iter().next()?;
    let claim = ObjectRef::new("PersistentVolumeClaim", s.object.ns(), &claim);
    Some(
        Hypothesis::new(
            "volume-attach-conflict",
            claim.clone(),
            n.first,
            Proof::Stated,
            format!("{claim} is still attached to another node, so {} waits", s.object),
        )
        .explaining([s.object.clone()])
        .counting_from(s.counts_from)
        .via("volume")
        .with([view.noted(&s.object, n)])
        .unless("the volume was attached since", false)
        .next(kubectl("describe", &claim)),
    )
}

/// A failing container whose errors say that a file may not be touched, or that the disk is full.
fn refused_file(view: &View, s: &Symptom) -> Option<Hypothesis> {
    let p = view.pods.get(&s.object)?;
    let line = logs::newest_of(p, s.container.as_deref(), &[Class::FilePermission, Class::DiskFull])?;
    let spec = p.pod.spec.container(line.container)?;
    // A path that the line names, under one of the mounts.
    let mount = spec
        .volume_mounts
        .iter()
        .filter(|m| m.mount_path != "/" && line.text.contains(m.mount_path.as_str()))
        .max_by_key(|m| m.mount_path.len());
    let path = line
        .text
        .split(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ':' | ',' | '(' | ')'))
        .find(|w| w.starts_with('/') && w.len() > 1);
    let id = if line.class == Class::DiskFull { "volume-full" } else { "volume-permission-denied" };
    let context = spec.security_context.as_ref().or(p.pod.spec.security_context.as_ref());
    let settings =
        context.is_some_and(|x| x.read_only_root_filesystem == Some(true) || x.run_as_user.is_some_and(|u| u != 0));
    // A relative path is one in the working folder, which in most images is the data volume's mount.
    let data = spec.volume_mounts.iter().any(|m| {
        p.pod.spec.volumes.iter().any(|v| {
            v.name == m.name
                && (v.host_path.is_some()
                    || v.persistent_volume_claim.is_some()
                    || v.empty_dir.is_some()
                    || v.nfs.is_some())
        })
    });
    if mount.is_none()
        && !(data && (settings || path.is_none()))
        && (path.is_none()
            || (!settings && id == "volume-permission-denied" && !line.text.to_lowercase().contains("read-only")))
    {
        return None;
    }
    let changed = view.last_template_change(&p.workload).filter(|_| view.is_newest(p));
    let changes: Vec<_> = changed
        .map(|(_, c)| {
            c.into_iter().filter(|c| c.field.contains("securityContext") || c.field.contains("volume")).collect()
        })
        .unwrap_or_default();
    let what = if id == "volume-full" { "has no space left" } else { "refuses access" };
    let place =
        mount.map_or_else(|| path.unwrap_or("a path").to_owned(), |m| format!("volume {} at {}", m.name, m.mount_path));
    let claim = mount.filter(|_| id == "volume-full").and_then(|m| {
        let v = p.pod.spec.volumes.iter().find(|v| v.name == m.name)?;
        let c = v.persistent_volume_claim.as_ref()?;
        Some(ObjectRef::new("PersistentVolumeClaim", s.object.ns(), &c.claim_name))
    });
    Some(
        Hypothesis::new(
            id,
            claim.unwrap_or_else(|| p.workload.clone()),
            s.since,
            Proof::Inferred,
            format!("{place} {what} to container {} of {}", line.container, p.workload),
        )
        .explaining([s.object.clone()])
        .counting_from(s.counts_from)
        .via("volume")
        .supported(u32::from(mount.is_some()) + u32::from(settings) + u32::from(!changes.is_empty()))
        .changed(changes)
        .with([view.logged(&s.object, Some(line.at), line.container, line.text)])
        .unless("the container ends before it touches a file", false)
        .next(kubectl("describe", &s.object)),
    )
}

/// Mounts that fail for a reason that nobody knows.
pub fn residual(view: &View, left: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in left.iter().filter(|s| s.trouble == Trouble::VolumesPending) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        let Some(n) = p.notes(&["FailedMount", "FailedAttachVolume", "FailedMapVolume"]).next_back() else { continue };
        out.push(
            Hypothesis::new(
                "volume-mount-failed",
                p.workload.clone(),
                s.since,
                Proof::Residual,
                format!("volumes of {} cannot be mounted: {}", s.object, n.message),
            )
            .explaining([s.object.clone()])
            .counting_from(s.counts_from)
            .via("volume")
            .with([view.noted(&s.object, n)])
            .unless("the volume was mounted since", false)
            .next(kubectl("describe", &s.object)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::says_no_provisioner;

    #[test]
    fn a_class_without_provisioner_is_told_from_one_that_refuses() {
        for (text, want) in [
            ("no volume plugin matched", true),
            ("no volume plugin matched name: kubernetes.io/no-provisioner", true),
            ("failed to provision volume with StorageClass \"standard\": rpc error: code = ResourceExhausted", false),
            ("storageclass.storage.k8s.io \"fast-ssd\" not found", false),
        ] {
            assert_eq!(says_no_provisioner(text), want, "{text}");
        }
    }
}
