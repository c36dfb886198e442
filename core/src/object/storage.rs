//! Claims, volumes, classes, attachments.

use super::macros::api;
use super::meta::{Condition, LabelSelector, StringMap};
use super::pod::{NodeSelector, Resources};

api! {
    /// A PersistentVolumeClaim.
    struct Claim {
        spec: ClaimSpec,
        status: ClaimStatus,
    }
    /// `spec` of a claim. An absent class means the default one, an empty one means none.
    struct ClaimSpec {
        access_modes: Vec<String>,
        resources: Resources,
        selector: Option<LabelSelector>,
        storage_class_name: Option<String>,
        volume_mode: String,
        volume_name: String,
    }
    /// `status` of a claim.
    struct ClaimStatus {
        phase: String,
        capacity: StringMap,
        access_modes: Vec<String>,
        conditions: Vec<Condition>,
    }
    /// A PersistentVolume.
    struct PersistentVolume {
        spec: VolumeSpec,
        status: VolumeStatus,
    }
    /// `spec` of a volume.
    struct VolumeSpec {
        capacity: StringMap,
        access_modes: Vec<String>,
        storage_class_name: String,
        volume_mode: String,
        claim_ref: Option<ClaimRef>,
        node_affinity: Option<VolumeAffinity>,
        persistent_volume_reclaim_policy: String,
    }
    /// `claimRef`.
    struct ClaimRef {
        name: String,
        namespace: String,
        uid: String,
    }
    /// `nodeAffinity` of a volume.
    struct VolumeAffinity {
        required: Option<NodeSelector>,
    }
    /// `status` of a volume.
    struct VolumeStatus {
        phase: String,
        message: String,
        reason: String,
    }
    /// A StorageClass.
    struct StorageClass {
        provisioner: String,
        volume_binding_mode: String,
        reclaim_policy: String,
    }
    /// A VolumeAttachment.
    struct VolumeAttachment {
        spec: AttachmentSpec,
        status: AttachmentStatus,
    }
    /// `spec` of an attachment.
    struct AttachmentSpec {
        attacher: String,
        node_name: String,
        source: AttachmentSource,
    }
    /// `source`.
    struct AttachmentSource {
        persistent_volume_name: String,
    }
    /// `status` of an attachment.
    struct AttachmentStatus {
        attached: bool,
        attach_error: Option<AttachError>,
    }
    /// `attachError`.
    struct AttachError {
        message: String,
    }
}
