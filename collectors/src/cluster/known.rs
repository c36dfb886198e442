//! What the collector has told so far: per object its uid and version, no more. A list is compared with it: what is new
//! or changed is told, what is not there any more was deleted.
//!
//! The same table is what a restart needs. It is saved beside the log now and then, and brought up to date with the
//! records behind the save, so that it says exactly what the log says: nothing is told twice, and what vanished while
//! nobody watched is told when the next list shows it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tapio_core::ports::{EventLog, LogError, Position};
use tapio_core::raw::{RawEvent, source};
use tapio_core::time::Time;

use super::kinds::{Scope, family};

/// The collector's name as a consumer of the log.
pub const CONSUMER: &str = "cluster_collector";
/// Version of the saved form.
pub(super) const VERSION: u32 = 1;
/// Records that are read at once.
const PAGE: usize = 2_000;

/// An object as it was told last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) uid: Box<str>,
    pub(crate) version: Box<str>,
    /// The list in which it was seen last.
    #[serde(skip)]
    round: u32,
}

/// What the head of an object says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Head {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) metadata: HeadMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct HeadMeta {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
}

impl HeadMeta {
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// How an object stands against what was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Never told.
    New,
    /// Told in another version.
    Changed,
    /// Another object of the same name was told; its uid.
    Replaces(Box<str>),
    /// Told just so.
    Nothing,
}

/// The objects of one scope.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    told: HashMap<Box<str>, Told>,
    round: u32,
}

impl Known {
    pub(crate) fn new(told: HashMap<Box<str>, Told>) -> Self {
        Known(Mutex::new(Table { told, round: 0 }))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.table().told.len()
    }

    /// A list begins.
    pub(crate) fn begin_list(&self) {
        let mut t = self.table();
        t.round = t.round.wrapping_add(1);
    }

    /// How an object stands against what was told; it counts as seen in the list that runs.
    pub(crate) fn compare(&self, key: &str, uid: &str, version: &str) -> News {
        let mut t = self.table();
        let round = t.round;
        let Some(told) = t.told.get_mut(key) else { return News::New };
        told.round = round;
        match (*told.uid == *uid, *told.version == *version) {
            (true, true) => News::Nothing,
            (true, false) => News::Changed,
            (false, _) => News::Replaces(told.uid.clone()),
        }
    }

    /// It was told.
    pub(crate) fn told(&self, key: &str, uid: &str, version: &str) {
        let mut t = self.table();
        let told = Told { uid: uid.into(), version: version.into(), round: t.round };
        t.told.insert(key.into(), told);
    }

    /// It is gone; what was told of it.
    pub(crate) fn remove(&self, key: &str) -> Option<Told> {
        self.table().told.remove(key)
    }

    /// What was told and not seen in the list that ended, in order of names.
    pub(crate) fn vanished(&self) -> Vec<(Box<str>, Told)> {
        let t = self.table();
        let gone = t.told.iter().filter(|(_, told)| told.round != t.round);
        let mut gone: Vec<_> = gone.map(|(k, told)| (k.clone(), told.clone())).collect();
        gone.sort_by(|a, b| a.0.cmp(&b.0));
        gone
    }

    /// All of it, in order of names.
    pub(crate) fn all(&self) -> Vec<(Box<str>, Told)> {
        let t = self.table();
        let mut all: Vec<_> = t.told.iter().map(|(k, told)| (k.clone(), told.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// As it is saved.
    pub(crate) fn save_into(&self, saved: &mut BTreeMap<Box<str>, (Box<str>, Box<str>)>) {
        for (k, t) in &self.table().told {
            saved.insert(k.clone(), (t.uid.clone(), t.version.clone()));
        }
    }
}

/// What an earlier run has told, by family.
#[derive(Debug, Default)]
pub struct Memory {
    families: BTreeMap<String, HashMap<Box<str>, Told>>,
    /// When it last told anything.
    pub last: Option<Time>,
}

/// The saved form.
pub(super) type Saved = BTreeMap<String, BTreeMap<Box<str>, (Box<str>, Box<str>)>>;

impl Memory {
    /// What stands in a log.
    ///
    /// # Errors
    /// The log cannot be read. A save that cannot be used is no error: the log is read from its beginning.
    pub async fn recover(log: &dyn EventLog) -> Result<Memory, LogError> {
        let mut memory = Memory::default();
        let mut at = Position(log.stats().await?.first.0.saturating_sub(1));
        let saved = match log.load_checkpoint(CONSUMER).await {
            Ok(saved) => saved,
            Err(LogError::Corrupt { .. }) => None,
            Err(e) => return Err(e),
        };
        if let Some((cursor, VERSION, state)) = saved
            && let Ok(saved) = serde_json::from_slice::<Saved>(&state)
        {
            at = at.max(cursor);
            for (family, objects) in saved {
                let told = |(uid, version)| Told { uid, version, round: 0 };
                memory.families.insert(family, objects.into_iter().map(|(k, v)| (k, told(v))).collect());
            }
        }
        loop {
            let page = log.read(at, PAGE).await?;
            let Some(last) = page.last() else { return Ok(memory) };
            at = last.position;
            page.iter().for_each(|r| memory.note(&r.event));
        }
    }

    /// Takes in what a record tells.
    fn note(&mut self, event: &RawEvent) {
        if event.source != source::CLUSTER {
            return;
        }
        self.last = self.last.max(Some(event.timestamp));
        let gone = match event.kind.as_str() {
            "ObjectAdded" | "ObjectModified" | "Event" => false,
            "ObjectDeleted" => true,
            _ => return,
        };
        let Ok(head) = serde_json::from_str::<Head>(event.data.get()) else { return };
        let group = head.api_version.split_once('/').map_or("", |(g, _)| g);
        let told = self.families.entry(family(group, &head.kind)).or_default();
        let key = head.metadata.key().into_boxed_str();
        if gone {
            told.remove(&key);
        } else {
            let HeadMeta { uid, resource_version, .. } = head.metadata;
            told.insert(key, Told { uid: uid.into(), version: resource_version.into(), round: 0 });
        }
    }

    /// How many objects it knows.
    pub fn len(&self) -> usize {
        self.families.values().map(HashMap::len).sum()
    }

    /// Whether nothing was ever told.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.last.is_none()
    }

    /// Takes out what belongs to a scope.
    pub(crate) fn take(&mut self, scope: &Scope) -> Known {
        let Some(told) = self.families.get_mut(&scope.family()) else { return Known::default() };
        if scope.namespace.is_none() {
            return Known::new(std::mem::take(told));
        }
        let mine = |k: &str| scope.holds(k.split_once('/').map_or("", |(ns, _)| ns));
        Known::new(told.extract_if(|k, _| mine(k)).collect())
    }
}

/// What stands for an object of which nothing but its name is left.
pub(crate) fn remains(scope: &Scope, key: &str, told: &Told) -> Option<Box<RawValue>> {
    let (namespace, name) = key.split_once('/')?;
    let mut metadata = serde_json::json!({"name": name, "uid": told.uid, "resourceVersion": told.version});
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    let object = serde_json::json!({
        "apiVersion": scope.resource.api_version(), "kind": scope.resource.kind, "metadata": metadata,
    });
    serde_json::value::to_raw_value(&object).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_what_is_new_changed_replaced_and_gone() {
        let k = Known::default();
        for (key, uid, v) in [("a/x", "1", "1"), ("a/y", "2", "1"), ("a/z", "3", "1"), ("a/w", "4", "1")] {
            assert_eq!(k.compare(key, uid, v), News::New);
            k.told(key, uid, v);
        }
        k.begin_list();
        assert_eq!(k.compare("a/x", "1", "1"), News::Nothing);
        assert_eq!(k.compare("a/y", "2", "5"), News::Changed);
        k.told("a/y", "2", "5");
        assert_eq!(k.compare("a/z", "9", "6"), News::Replaces("3".into()));
        k.told("a/z", "9", "6");
        let gone: Vec<_> = k.vanished().into_iter().map(|(k, _)| k).collect();
        assert_eq!(gone, [Box::from("a/w")]);
    }
}
