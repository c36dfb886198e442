//! What a checkpoint carries as JSON text, since it holds raw JSON itself.

/// Evidence in a checkpoint is JSON text: its data is raw JSON, which only JSON can carry.
pub(super) mod as_text {
    use super::super::{Buffer, RawEvent};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(v: &Buffer, s: S) -> Result<S::Ok, S::Error> {
        let lines: Vec<String> = v.values().filter_map(|r| serde_json::to_string(r).ok()).collect();
        lines.serialize(s)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Buffer, D::Error> {
        let mut out = Buffer::new();
        for line in Vec::<String>::deserialize(d)? {
            let raw: RawEvent = serde_json::from_str(&line).map_err(serde::de::Error::custom)?;
            out.insert((raw.seen_at(), raw.content_id()), Box::new(raw));
        }
        Ok(out)
    }
}

/// Waiting events carry raw JSON too.
pub(super) mod parked_as_text {
    use super::super::{BTreeMap, ObjectRef, Parked};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        v: &BTreeMap<ObjectRef, Vec<Parked>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        let list: Vec<(&ObjectRef, &Vec<Parked>)> = v.iter().collect();
        serde_json::to_string(&list).map_err(serde::ser::Error::custom)?.serialize(s)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<BTreeMap<ObjectRef, Vec<Parked>>, D::Error> {
        let text = String::deserialize(d)?;
        let list: Vec<(ObjectRef, Vec<Parked>)> = serde_json::from_str(&text).map_err(serde::de::Error::custom)?;
        Ok(list.into_iter().collect())
    }
}
