//! The work: one look after the other, and what is new since the one before.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tapio_core::ports::LogError;
use tapio_core::raw::source;

use super::folder::{File, Folder};
use super::leases::{self, Used};
use super::network::Network;
use super::state::{CniState, Readable};
use super::{CniCollector, CniConfig, Sink};
use crate::feed::{Feed, Notes};
use crate::redaction::Redaction;
use crate::sight::Sight;

/// Blindness, beyond the pause between two looks, that is worth a fact.
const GAP: Duration = Duration::from_secs(30);
/// Time for a look: files on a folder that hangs must not hang the collector.
const LOOK: Duration = Duration::from_secs(20);

/// What one look brought.
struct Look {
    folder: Folder,
    used: Vec<Used>,
    why: Option<String>,
}

/// The collector at work.
pub(super) struct Watch<S> {
    feed: Feed<S>,
    config: CniConfig,
    redaction: Redaction,
    node: String,
    state: Arc<CniState>,
    /// The folder as it was told; none before the first look.
    told: Option<Folder>,
    /// What differed at the last look: told when it still does.
    suspect: Option<Folder>,
    pools: BTreeMap<(String, String), Used>,
    /// Why addresses could not be counted at the last look.
    uncounted: Option<String>,
    sight: Sight,
}

impl<S: Sink> Watch<S> {
    pub(super) fn new(c: CniCollector, sink: S) -> Self {
        let notes: Arc<dyn Notes> = Arc::clone(&c.state) as _;
        Watch {
            feed: Feed::new(sink, source::CNI, &c.cluster, &c.node, c.redaction.clone(), c.clock, notes),
            config: c.config,
            redaction: c.redaction,
            node: c.node,
            state: c.state,
            told: None,
            suspect: None,
            pools: BTreeMap::new(),
            uncounted: None,
            sight: Sight::default(),
        }
    }

    /// Works until it is dropped, or the sink cannot be written any more.
    pub(super) async fn work(&mut self) -> Result<(), LogError> {
        let pause = Duration::from_secs(self.config.poll_secs.max(1));
        let mut tick = tokio::time::interval(pause);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let (config, redaction) = (self.config.clone(), self.redaction.clone());
            let look = tokio::task::spawn_blocking(move || look(&config, &redaction));
            match tokio::time::timeout(LOOK, look).await {
                Ok(Ok(look)) => {
                    self.state.counts.looks.fetch_add(1, Ordering::Relaxed);
                    let now = self.feed.clock.now();
                    if let Some((from, why)) = self.sight.seen(now, pause + GAP) {
                        self.feed.gap("files of the network", from, now, &why);
                    }
                    self.take(look);
                }
                Ok(Err(e)) => self.sight.missed(e),
                Err(_) => {
                    let secs = LOOK.as_secs();
                    self.sight
                        .missed(format!("a look at {} takes longer than {secs} s", self.config.conf_dir.display()));
                    self.state.note(format!("the network's files cannot be looked at within {secs} s"));
                }
            }
            self.feed.flush().await?;
        }
    }

    /// Writes what is left.
    pub(super) async fn close(self) -> Result<(), LogError> {
        self.feed.close().await
    }

    fn take(&mut self, look: Look) {
        if look.why != self.uncounted {
            if let Some(why) = &look.why {
                self.state.note(format!("how many addresses are given out is not known: {why}"));
            }
            self.uncounted = look.why;
        }
        for used in look.used {
            self.pool(used);
        }
        let readable = look.folder.readable.clone();
        if self.state.folder() != readable {
            match &readable {
                Readable::Unreadable { why } => self.state.note(format!("network configuration cannot be read: {why}")),
                Readable::Absent => {
                    let dir = self.config.conf_dir.display();
                    self.state
                        .note(format!("there is no folder {dir}; it is looked for again (`conf_dir` names another)"));
                }
                Readable::Read | Readable::Waiting => {}
            }
            self.state.set_folder(readable.clone());
        }
        if matches!(readable, Readable::Unreadable { .. }) {
            return;
        }
        if self.told.as_ref() == Some(&look.folder) {
            self.suspect = None;
            return;
        }
        // Files are written, moved and removed in steps: what is so at two looks is so.
        if self.suspect.as_ref() == Some(&look.folder) {
            self.suspect = None;
            self.folder(look.folder);
        } else {
            self.suspect = Some(look.folder);
        }
    }

    fn folder(&mut self, new: Folder) {
        let Some(old) = self.told.replace(new.clone()) else {
            // What was there before anybody looked is told where it is wrong.
            for (name, file) in new.files.iter().filter(|(_, f)| f.network.is_err()) {
                self.tell(name, "found", file, &new);
            }
            if new.active().is_none() {
                self.nothing(&new);
            }
            return;
        };
        for (name, file) in &old.files {
            if !new.files.contains_key(name) {
                self.tell(name, "removed", file, &new);
            }
        }
        for (name, file) in &new.files {
            match old.files.get(name) {
                None => self.tell(name, "added", file, &new),
                Some(before) if before != file => self.tell(name, "changed", file, &new),
                Some(_) => {}
            }
        }
        if new.active().is_none() && old.active().is_some() {
            self.nothing(&new);
        }
    }

    fn tell(&mut self, name: &str, action: &str, file: &File, now: &Folder) {
        let mut data = json!({
            "node": self.node, "file": name, "action": action, "hash": file.hash, "usable": now.usable(),
            "active": now.active().unwrap_or_default(),
        });
        match &file.network {
            Ok(Network { name, plugins, .. }) => {
                data["name"] = name.as_str().into();
                data["plugins"] = plugins.clone().into();
            }
            Err(why) => data["problem"] = why.as_str().into(),
        }
        self.put("CniConfig", &data);
    }

    /// There is nothing that a runtime could use.
    fn nothing(&mut self, now: &Folder) {
        let dir: &PathBuf = &self.config.conf_dir;
        let problem = match now.readable {
            Readable::Absent => "there is no such folder",
            _ if now.files.is_empty() => "there is no file in it",
            _ => "no file in it can be used",
        };
        let data = json!({
            "node": self.node, "file": dir.display().to_string(), "action": "missing", "usable": 0, "problem": problem,
        });
        self.put("CniConfig", &data);
    }

    /// Tells of a pool at first sight, when it has moved by a twentieth, and at each change while little is left.
    fn pool(&mut self, used: Used) {
        let key = (used.network.clone(), used.pool.clone());
        let low = |u: &Used| u.total.saturating_sub(u.used) <= u.total / 10;
        let told = self.pools.get(&key);
        let news = told.is_none_or(|t| {
            let moved = (t.used - used.used).abs();
            t.total != used.total
                || moved >= (used.total / 20).max(1) && moved > 0
                || low(t) != low(&used)
                || (low(&used) && moved > 0)
        });
        if !news {
            return;
        }
        let data = json!({
            "node": self.node, "network": used.network, "pool": used.pool, "total": used.total, "used": used.used,
        });
        self.put("IpamState", &data);
        self.pools.insert(key, used);
    }

    fn put(&mut self, kind: &str, data: &Value) {
        let now = self.feed.clock.now();
        self.feed.tell(kind, "", now, data);
    }
}

fn look(config: &CniConfig, redaction: &Redaction) -> Look {
    let folder = Folder::read(&config.conf_dir, |text| redaction.hash(text));
    let (mut used, mut why) = (Vec::new(), None);
    for file in folder.files.values() {
        let Ok(network) = &file.network else { continue };
        match leases::of(network, &config.ipam_dir, &config.flannel_env) {
            Ok(found) => used.extend(found),
            Err(e) => why = Some(e),
        }
    }
    Look { folder, used, why }
}
