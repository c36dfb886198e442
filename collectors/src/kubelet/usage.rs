//! What pods and the node use, told where it changed enough to matter.
//!
//! A sample is told at first sight, and then when a value has moved by a step of its scale: parts of the limit where
//! there is one. Close to a limit the steps are small. So a leak is a stair, and a quiet pod is silent.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::pods::Pods;
use super::summary::{ContainerUse, Network, NodeUse, PodRef, PodUse, Psi, Storage, cpu, memory, network, psi, stored};

/// Part of a limit from which on steps are small.
const CLOSE: f64 = 0.9;
/// Pods whose samples are remembered.
const MOST: usize = 5_000;

/// One value with what counts as a change of it.
#[derive(Clone, Copy, Debug)]
enum Level {
    /// A part of a limit or of a whole, 0 to 1; the step far from the limit. Small steps close to it.
    Part(f64, f64),
    /// An amount without a limit: a change by a half of it that is at least so much.
    Amount(f64, f64),
    /// A counter of what should not happen: every rise.
    Count(i64),
}

impl Level {
    fn moved(self, before: Level) -> bool {
        match (self, before) {
            (Level::Part(now, step), Level::Part(then, _)) => {
                let step = if now.max(then) >= CLOSE { step.min(0.02) } else { step };
                (now - then).abs() >= step - 1e-9 || (now >= CLOSE) != (then >= CLOSE)
            }
            (Level::Amount(now, least), Level::Amount(then, _)) => {
                let change = (now - then).abs();
                change >= least && change >= then / 2.0
            }
            (Level::Count(now), Level::Count(then)) => now > then,
            // A limit that came or went.
            _ => true,
        }
    }

    /// The same at its beginning.
    fn at_nothing(self) -> Level {
        match self {
            Level::Part(_, step) => Level::Part(0.0, step),
            Level::Amount(_, least) => Level::Amount(0.0, least),
            Level::Count(_) => Level::Count(0),
        }
    }

    /// Whether it is so close to its end that no pause between two samples is kept.
    fn is_close(self) -> bool {
        matches!(self, Level::Part(now, _) if now >= CLOSE)
    }
}

type Levels = Vec<(String, Level)>;

struct Told {
    levels: Levels,
    at: Instant,
}

/// What was told of whom.
#[derive(Default)]
pub(super) struct Usage {
    pods: HashMap<String, Told>,
    node: Option<Told>,
    /// Part of the periods in which a container was held back, by pod and container.
    throttled: HashMap<(String, String), f64>,
}

/// A sample worth telling.
pub(super) struct Sample {
    /// Uid of the pod as the API server has it; empty for the node, and where it is another there.
    pub(super) uid: String,
    pub(super) data: Value,
}

#[allow(clippy::cast_precision_loss, reason = "a part needs no fifteen digits")]
fn part(n: i64, of: i64) -> Option<f64> {
    (of > 0).then(|| n as f64 / of as f64)
}

#[allow(clippy::cast_precision_loss, reason = "an amount needs no fifteen digits")]
fn float(n: i64) -> f64 {
    n as f64
}

const MIB: f64 = 1_048_576.0;

impl Usage {
    /// Notes how much a container was held back since the last time.
    pub(super) fn throttling(&mut self, all: HashMap<(String, String), f64>) {
        self.throttled = all;
    }

    /// Takes the use of a pod; a sample if it moved.
    ///
    /// # Errors
    /// It is no such thing.
    pub(super) fn pod(
        &mut self,
        json: &[u8],
        pods: &Pods,
        now: Instant,
        pause: Duration,
    ) -> Result<Option<Sample>, serde_json::Error> {
        let used: PodUse = serde_json::from_slice(json)?;
        let PodRef { name, namespace, uid } = used.pod;
        if name.is_empty() || uid.is_empty() {
            return Err(serde::de::Error::custom("use of a pod without name or uid"));
        }
        let mut levels = Levels::new();
        let mut containers = Vec::new();
        for c in used.containers.unwrap_or_default() {
            let key = (uid.clone(), c.name.clone());
            let throttled = self.throttled.get(&key).copied();
            let limit = pods.cpu_limit(&uid, &c.name);
            containers.push(container(c, limit, throttled, &mut levels));
        }
        stalls(&used.cpu.psi, &used.memory.psi, &used.io.psi, &mut levels);
        storage("storage", &used.storage, true, &mut levels);
        errors(&used.network, &mut levels);
        if let Some(n) = used.process_stats.process_count {
            levels.push(("processes".to_owned(), Level::Amount(float(n), 50.0)));
        }
        if !worth(self.pods.get(&uid), &levels, now, pause) {
            return Ok(None);
        }
        let mut data = Map::from_iter([
            ("namespace".to_owned(), namespace.into()),
            ("pod".to_owned(), name.into()),
            ("cpu".to_owned(), cpu(&used.cpu, None, None)),
            ("memory".to_owned(), memory(&used.memory, false)),
            ("network".to_owned(), network(&used.network)),
            ("ephemeral-storage".to_owned(), stored(&used.storage)),
            ("containers".to_owned(), containers.into()),
        ]);
        if let Some(io) = &used.io.psi {
            data.insert("io".to_owned(), json!({"psi": psi(io)}));
        }
        if let Some(n) = used.process_stats.process_count {
            data.insert("processes".to_owned(), n.into());
        }
        let known = pods.api_uid(&uid).to_owned();
        if !known.is_empty() {
            data.insert("uid".to_owned(), known.as_str().into());
        }
        if self.pods.len() >= MOST {
            self.pods.clear();
        }
        self.pods.insert(uid, Told { levels, at: now });
        Ok(Some(Sample { uid: known, data: data.into() }))
    }

    /// Takes the use of the node; a sample if it moved. `health`: milliseconds that the kubelet took to say how it is.
    ///
    /// # Errors
    /// It is no such thing.
    pub(super) fn node(
        &mut self,
        json: &[u8],
        node: &str,
        health: Option<u64>,
        now: Instant,
        pause: Duration,
    ) -> Result<Option<Sample>, serde_json::Error> {
        let used: NodeUse = serde_json::from_slice(json)?;
        let mut levels = Levels::new();
        let m = &used.memory;
        if let (Some(free), Some(taken)) = (m.available_bytes, m.working_set_bytes) {
            let all = free.saturating_add(taken);
            levels.extend(part(taken, all).map(|p| ("memory".to_owned(), Level::Part(p, 0.05))));
            // What the kubelet evicts for by default.
            levels.push(("eviction".to_owned(), Level::Count(i64::from(free < 100 << 20))));
        }
        if let Some(n) = used.cpu.usage_nano_cores {
            levels.push(("cpu".to_owned(), Level::Amount(float(n), 500e6)));
        }
        stalls(&used.cpu.psi, &used.memory.psi, &used.io.psi, &mut levels);
        storage("fs", &used.fs, false, &mut levels);
        storage("images", &used.runtime.image_fs, false, &mut levels);
        errors(&used.network, &mut levels);
        if let (Some(n), Some(of)) = (used.rlimit.curproc, used.rlimit.maxpid) {
            levels.extend(part(n, of).map(|p| ("processes".to_owned(), Level::Part(p, 0.1))));
        }
        if let Some(ms) = health {
            let ms = i64::try_from(ms).unwrap_or(i64::MAX);
            levels.push(("health".to_owned(), Level::Amount(float(ms), 500.0)));
        }
        if !worth(self.node.as_ref(), &levels, now, pause) {
            return Ok(None);
        }
        let mut data = json!({
            "node": if used.node_name.is_empty() { node } else { &used.node_name },
            "cpu": cpu(&used.cpu, None, None), "memory": memory(m, false), "network": network(&used.network),
            "fs": stored(&used.fs), "runtime": {"imageFs": stored(&used.runtime.image_fs)},
        });
        if let (Some(n), Some(of)) = (used.rlimit.curproc, used.rlimit.maxpid) {
            data["rlimit"] = json!({"maxpid": of, "curproc": n});
        }
        if let Some(io) = &used.io.psi {
            data["io"] = json!({"psi": psi(io)});
        }
        if let Some(ms) = health {
            data["kubelet"] = json!({"healthMillis": ms});
        }
        self.node = Some(Told { levels, at: now });
        Ok(Some(Sample { uid: String::new(), data }))
    }

    /// Forgets pods that were not sampled for long.
    pub(super) fn forget(&mut self, now: Instant, after: Duration, pods: &Pods) {
        self.pods.retain(|uid, t| pods.knows(uid) || now.saturating_duration_since(t.at) < after);
    }
}

/// Whether it moved since it was told last.
fn worth(told: Option<&Told>, levels: &Levels, now: Instant, pause: Duration) -> bool {
    let Some(told) = told else { return !levels.is_empty() };
    let early = now.saturating_duration_since(told.at) < pause;
    levels.iter().any(|(name, level)| {
        if early && !level.is_close() {
            return false;
        }
        let before = told.levels.iter().find(|(n, _)| n == name).map(|(_, l)| *l);
        level.moved(before.unwrap_or(level.at_nothing()))
    })
}

fn container(c: ContainerUse, limit: Option<i64>, throttled: Option<f64>, levels: &mut Levels) -> Value {
    let m = &c.memory;
    if let Some(taken) = m.working_set_bytes {
        let of_limit = m.available_bytes.and_then(|free| part(taken, free.saturating_add(taken)));
        let level = of_limit.map_or(Level::Amount(float(taken), 32.0 * MIB), |p| Level::Part(p, 0.05));
        levels.push((format!("memory of {}", c.name), level));
    }
    if let Some(n) = c.cpu.usage_nano_cores {
        let of_limit = limit.and_then(|l| part(n, l));
        // A container that uses its limit whole is held back, which is told by itself.
        let level = of_limit.map_or(Level::Amount(float(n), 250e6), |p| Level::Part(p.min(CLOSE - 0.01), 0.25));
        levels.push((format!("cpu of {}", c.name), level));
    }
    if let Some(t) = throttled {
        levels.push((format!("throttling of {}", c.name), Level::Part(t.min(CLOSE - 0.01), 0.15)));
    }
    json!({"name": c.name, "cpu": cpu(&c.cpu, limit, throttled), "memory": memory(m, true)})
}

fn stalls(cpu: &Option<Psi>, memory: &Option<Psi>, io: &Option<Psi>, levels: &mut Levels) {
    for (name, psi) in [("cpu", cpu), ("memory", memory), ("io", io)] {
        if let Some(p) = psi {
            // Per cent of the last ten seconds.
            let some = (p.some.avg10 / 100.0).clamp(0.0, CLOSE - 0.01);
            levels.push((format!("{name} pressure"), Level::Part(some, 0.2)));
        }
    }
}

fn storage(name: &str, s: &Storage, of_pod: bool, levels: &mut Levels) {
    if of_pod {
        if let (Some(used), Some(all)) = (s.used_bytes, s.capacity_bytes) {
            levels.extend(part(used, all).map(|p| (name.to_owned(), Level::Part(p, 0.05))));
        }
        if let (Some(used), Some(all)) = (s.inodes_used, s.inodes) {
            levels.extend(part(used, all).map(|p| (format!("inodes of {name}"), Level::Part(p, 0.05))));
        }
        return;
    }
    if let (Some(free), Some(all)) = (s.available_bytes, s.capacity_bytes) {
        levels.extend(part(all.saturating_sub(free), all).map(|p| (name.to_owned(), Level::Part(p, 0.05))));
    }
    if let (Some(free), Some(all)) = (s.inodes_free, s.inodes) {
        let p = part(all.saturating_sub(free), all);
        levels.extend(p.map(|p| (format!("inodes of {name}"), Level::Part(p, 0.05))));
    }
}

fn errors(n: &Network, levels: &mut Levels) {
    if let (Some(rx), Some(tx)) = (n.rx_errors, n.tx_errors) {
        levels.push(("network errors".to_owned(), Level::Count(rx.saturating_add(tx))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn pod(working: i64, limit: i64, errors: i64) -> String {
        json!({
            "podRef": {"name": "p", "namespace": "n", "uid": "u"},
            "network": {"rxErrors": errors, "txErrors": 0},
            "containers": [{"name": "c", "cpu": {"usageNanoCores": 5_000_000},
                "memory": {"workingSetBytes": working, "availableBytes": limit - working}}],
        })
        .to_string()
    }

    fn take(u: &mut Usage, json: &str, at: Instant) -> bool {
        u.pod(json.as_bytes(), &Pods::default(), at, MINUTE).unwrap().is_some()
    }

    #[test]
    fn a_leak_is_a_stair_and_what_is_quiet_is_silent() {
        let (mut u, mut at, limit) = (Usage::default(), Instant::now(), 1_000 << 20);
        let mut told = Vec::new();
        for percent in 0..100 {
            at += MINUTE;
            if take(&mut u, &pod(limit / 100 * percent, limit, 0), at) {
                told.push(percent);
            }
        }
        assert_eq!(told[..4], [0, 5, 10, 15]);
        // Close to the limit it is told more often.
        assert!(told.iter().filter(|p| **p >= 90).count() >= 5, "{told:?}");
        for _ in 0..50 {
            at += MINUTE;
            assert!(!take(&mut u, &pod(limit / 100 * 99, limit, 0), at));
        }
    }

    #[test]
    fn far_from_the_limit_a_pause_is_kept_and_close_to_it_none() {
        let (mut u, at, limit) = (Usage::default(), Instant::now(), 1_000 << 20);
        assert!(take(&mut u, &pod(limit / 10, limit, 0), at));
        assert!(!take(&mut u, &pod(limit / 2, limit, 0), at));
        assert!(take(&mut u, &pod(limit / 100 * 95, limit, 0), at));
        assert!(take(&mut u, &pod(limit / 100 * 95, limit, 1), at + MINUTE));
        assert!(!take(&mut u, &pod(limit / 100 * 95, limit, 1), at + MINUTE * 2));
    }

    #[test]
    fn a_node_that_runs_short_is_told_at_once() {
        let node = |free: i64| {
            let json = json!({"nodeName": "w", "memory": {"availableBytes": free, "workingSetBytes": (8i64 << 30) - free},
                "fs": {"availableBytes": 50, "capacityBytes": 100, "inodesFree": 5, "inodes": 10}, "rlimit": {"maxpid": 100, "curproc": 1}});
            json.to_string()
        };
        let (mut u, at) = (Usage::default(), Instant::now());
        let mut take = |free, at| u.node(node(free).as_bytes(), "w", Some(2), at, MINUTE).unwrap().map(|s| s.data);
        assert_eq!(take(4 << 30, at).unwrap()["kubelet"]["healthMillis"], 2);
        assert!(take(4 << 30, at + MINUTE).is_none());
        assert!(take(90 << 20, at + Duration::from_secs(61)).is_some());
    }
}
