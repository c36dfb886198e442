//! The last lines of containers that fail, read from the API server.
//!
//! Each run that ended badly is read once, and a container that runs without becoming ready once a run. At most a few
//! logs are read at the same time and in a second; what is more waits, and what is too much is counted. A log is read
//! whole up to a bound, and only its end is kept: a limit of bytes would make the server cut off the newest lines.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use serde_json::value::to_raw_value;
use tapio_cluster::{ApiError, Line};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::context::Context;
use super::state::{Counts, ScopeState};
use crate::log_tail::{LogTail, MAX_LINE};

/// Logs that may wait to be read.
const WAITING: usize = 1_000;
/// Runs that are remembered as read.
const REMEMBERED: usize = 20_000;
/// Logs that are read at the same time.
const AT_ONCE: usize = 4;
/// Pause between two that begin.
const PACE: Duration = Duration::from_millis(100);
/// Bytes of a log that are looked at, at most.
const READ_BYTES: usize = 8 << 20;
/// Time for one log.
const LIMIT: Duration = Duration::from_secs(15);
/// Its name among the kinds.
pub(crate) const NAME: &str = "pods/log";

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

    /// Asks for logs.
    pub(crate) fn ask(&self, wants: Vec<Want>, counts: &Counts) {
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
                        counts.logs_dropped.fetch_add(1, Ordering::Relaxed);
                    }
                    desk.waiting.push_back(w);
                }
            }
        }
        drop(desk);
        self.news.notify_one();
    }

    /// A pod is gone.
    pub(crate) fn forget(&self, uid: &str) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.unready.retain(|run, _| run.0 != uid);
        desk.waiting.retain(|w| w.uid != uid);
    }

    /// The next log that is due, or when to look again.
    fn next(&self) -> Result<Want, Option<Instant>> {
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

/// Reads logs until the writer is gone.
pub(crate) async fn read(context: Arc<Context>, desk: LogDesk) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    // Those that run end with this task: nobody would wait for them.
    let mut running = JoinSet::new();
    context.state.set(NAME, ScopeState::Watching);
    loop {
        while running.try_join_next().is_some() {}
        context.state.reach.back().await;
        let want = match desk.next() {
            Ok(want) => want,
            Err(due) => {
                let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
                tokio::select! {
                    () = desk.news.notified() => {}
                    () = tokio::time::sleep_until(due.into()) => {}
                }
                continue;
            }
        };
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let context = Arc::clone(&context);
        running.spawn(async move {
            let _turn = turn;
            one(&context, &want).await;
        });
        tokio::time::sleep(PACE).await;
    }
}

async fn one(context: &Context, want: &Want) {
    match tokio::time::timeout(LIMIT, tail(context, want)).await {
        Ok(Ok(Some((lines, truncated)))) => {
            context.state.counts.logs.fetch_add(1, Ordering::Relaxed);
            context.state.set(NAME, ScopeState::Watching);
            let data = to_raw_value(&json!({
                "namespace": want.namespace, "pod": want.pod, "container": want.container,
                "previous": want.why == Why::Before, "lines": lines, "truncated": truncated,
            }));
            let mut metadata: BTreeMap<String, String> = context.outlet.metadata();
            metadata.insert("pod_uid".to_owned(), want.uid.clone());
            if !want.node.is_empty() {
                metadata.insert("node".to_owned(), want.node.clone());
            }
            if let Ok(data) = data {
                // The writer is gone at the end only.
                let _ = context.outlet.event_with("ContainerLog", metadata, data).await;
            }
        }
        Ok(Err(ApiError::Forbidden(why))) => context.state.set(NAME, ScopeState::Forbidden { why }),
        // Pods and runs that are gone, nodes that do not answer: there is no log to be had.
        Ok(Ok(None) | Err(_)) | Err(_) => {}
    }
}

async fn tail(context: &Context, want: &Want) -> Result<Option<(Vec<String>, bool)>, ApiError> {
    let lines = context.config.log_lines.max(1);
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/log?container={}&tailLines={lines}{}",
        want.namespace,
        want.pod,
        want.container,
        if want.why == Why::Before { "&previous=true" } else { "" }
    );
    let connection = &context.state.connection;
    let mut from = connection.lines(&path, "*/*", MAX_LINE, LIMIT).await?;
    let mut tail = LogTail::new(lines, context.config.log_bytes);
    let mut bytes = 0;
    let mut any = false;
    while let Some(line) = from.next().await? {
        any = true;
        match line {
            Line::Whole(line) => {
                bytes += line.len();
                tail.push(line.strip_suffix(b"\r").unwrap_or(&line), line.len());
            }
            Line::TooLong(n) => {
                bytes += n;
                tail.push(format!("({n} bytes in one line)").as_bytes(), n);
            }
        }
        if bytes > READ_BYTES {
            tail.cut();
            break;
        }
    }
    // What a container wrote last need not end with a line feed.
    let rest = from.rest();
    if !rest.is_empty() && bytes <= READ_BYTES {
        any = true;
        tail.push(rest, rest.len());
    }
    Ok(any.then(|| tail.finish()))
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
        let counts = Counts::default();
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
        let counts = Counts::default();
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
