//! Which logs are worth reading: those of runs that ended badly, once each, and of containers that run without becoming
//! ready, once a run.
//!
//! Whoever sees the status of pods asks here; whoever reads logs takes from here what is due. Both are bounded, and
//! what is too much is counted.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Notify;

/// Logs that may wait to be read.
const WAITING: usize = 1_000;
/// Runs that are remembered as read.
const REMEMBERED: usize = 20_000;

/// A log worth reading.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Want {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) container: String,
    /// Which run of the container.
    pub(crate) run: i64,
    pub(crate) why: Why,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// The run ended badly, and its log is the current one.
    Ended,
    /// The run before ended badly.
    Before,
    /// It runs and is not ready: worth a look after a while.
    Unready,
    /// It became ready, or ended well: no look is needed.
    Fine,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
    namespace: String,
    uid: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    container_statuses: Option<Vec<Container>>,
    init_container_statuses: Option<Vec<Container>>,
    ephemeral_container_statuses: Option<Vec<Container>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    ready: bool,
    restart_count: i64,
    state: ContainerState,
    last_state: ContainerState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    running: Option<serde::de::IgnoredAny>,
    terminated: Option<Terminated>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    exit_code: i64,
}

/// The logs that a pod's status makes worth reading.
pub(crate) fn failing(json: &str) -> Vec<Want> {
    let Ok(pod) = serde_json::from_str::<Pod>(json) else { return Vec::new() };
    let mut out = Vec::new();
    let mut want = |c: &Container, run: i64, why: Why| {
        out.push(Want {
            namespace: pod.metadata.namespace.clone(),
            pod: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            node: pod.spec.node_name.clone(),
            container: c.name.clone(),
            run,
            why,
        });
    };
    let bad = |t: &Option<Terminated>| t.as_ref().is_some_and(|t| t.exit_code != 0);
    let s = &pod.status;
    let init = s.init_container_statuses.iter().flatten().map(|c| (c, false));
    let main = s.container_statuses.iter().flatten().map(|c| (c, true));
    let late = s.ephemeral_container_statuses.iter().flatten().map(|c| (c, false));
    for (c, serves) in init.chain(main).chain(late) {
        if bad(&c.last_state.terminated) && c.restart_count > 0 {
            want(c, c.restart_count - 1, Why::Before);
        }
        if bad(&c.state.terminated) {
            want(c, c.restart_count, Why::Ended);
        } else if serves && c.state.running.is_some() && !c.ready {
            want(c, c.restart_count, Why::Unready);
        } else if serves {
            want(c, c.restart_count, Why::Fine);
        }
    }
    out
}

type Run = (String, String, i64);

#[derive(Default)]
struct Desk {
    waiting: VecDeque<Want>,
    /// Containers that run and are not ready, and when to look at them.
    unready: HashMap<Run, (Instant, Want)>,
    read: HashSet<Run>,
}

/// Where logs are asked for.
#[derive(Clone)]
pub(crate) struct LogDesk {
    desk: Arc<Mutex<Desk>>,
    news: Arc<Notify>,
    patience: Duration,
}

impl LogDesk {
    pub(crate) fn new(patience: Duration) -> Self {
        LogDesk { desk: Arc::default(), news: Arc::default(), patience }
    }

    /// Asks for logs; `dropped` counts those for which there was no room.
    pub(crate) fn ask(&self, wants: Vec<Want>, dropped: &AtomicU64) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        for w in wants {
            let run: Run = (w.uid.clone(), w.container.clone(), w.run);
            match w.why {
                Why::Fine => {
                    desk.unready.remove(&run);
                }
                Why::Unready if desk.unready.len() < WAITING && !desk.read.contains(&run) => {
                    desk.unready.entry(run).or_insert((Instant::now() + self.patience, w));
                }
                Why::Unready => {}
                Why::Ended | Why::Before => {
                    desk.unready.remove(&run);
                    if desk.read.len() >= REMEMBERED {
                        desk.read.clear();
                    }
                    if !desk.read.insert(run) {
                        continue;
                    }
                    if desk.waiting.len() >= WAITING {
                        desk.waiting.pop_front();
                        dropped.fetch_add(1, Ordering::Relaxed);
                    }
                    desk.waiting.push_back(w);
                }
            }
        }
        drop(desk);
        self.news.notify_one();
    }

    /// Waits until something was asked for.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// A pod is gone.
    pub(crate) fn forget(&self, uid: &str) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.unready.retain(|run, _| run.0 != uid);
        desk.waiting.retain(|w| w.uid != uid);
    }

    /// The next log that is due, or when to look again.
    pub(crate) fn next(&self) -> Result<Want, Option<Instant>> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(w) = desk.waiting.pop_front() {
            return Ok(w);
        }
        let soonest = desk.unready.iter().min_by_key(|(_, (due, _))| *due).map(|(run, (due, _))| (run.clone(), *due));
        match soonest {
            Some((run, due)) if due <= Instant::now() => {
                desk.read.insert(run.clone());
                desk.unready.remove(&run).map(|(_, w)| w).ok_or(None)
            }
            Some((_, due)) => Err(Some(due)),
            None => Err(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u"}},"spec":{{"nodeName":"w"}},"status":{status}}}"#
        )
    }

    #[test]
    fn each_bad_end_is_wanted_once_and_good_ends_never() {
        let crash = pod(
            r#"{"containerStatuses":[{"name":"c","restartCount":2,"ready":false,"state":{"waiting":{"reason":"CrashLoopBackOff"}},
                "lastState":{"terminated":{"exitCode":1}}}]}"#,
        );
        let wants: Vec<_> = failing(&crash).into_iter().filter(|w| w.why == Why::Before).collect();
        assert_eq!(wants.iter().map(|w| w.run).collect::<Vec<_>>(), [1]);
        let desk = LogDesk::new(Duration::ZERO);
        let counts = AtomicU64::default();
        desk.ask(failing(&crash), &counts);
        desk.ask(failing(&crash), &counts);
        assert!(desk.next().is_ok());
        assert!(desk.next().is_err());
        let done = pod(r#"{"containerStatuses":[{"name":"c","state":{"terminated":{"exitCode":0}}}]}"#);
        assert!(failing(&done).iter().all(|w| w.why == Why::Fine));
    }

    #[test]
    fn a_container_that_becomes_ready_in_time_is_left_alone() {
        let starting = pod(r#"{"containerStatuses":[{"name":"c","ready":false,"state":{"running":{}}}]}"#);
        let ready = pod(r#"{"containerStatuses":[{"name":"c","ready":true,"state":{"running":{}}}]}"#);
        let counts = AtomicU64::default();
        let desk = LogDesk::new(Duration::from_secs(3_600));
        desk.ask(failing(&starting), &counts);
        assert!(matches!(desk.next(), Err(Some(_))));
        desk.ask(failing(&ready), &counts);
        assert!(matches!(desk.next(), Err(None)));
        let desk = LogDesk::new(Duration::ZERO);
        desk.ask(failing(&starting), &counts);
        assert_eq!(desk.next().unwrap().why, Why::Unready);
    }
}
