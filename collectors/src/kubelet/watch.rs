//! The work: one question after the other, and what to make of each answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use tapio_cluster::{ApiError, Connection, Line};
use tapio_core::ports::LogError;
use tapio_core::raw::source;
use tapio_core::time::{SECOND, Time};

use super::config::{KubeletConfig, Logs, Timing};
use super::logs;
use super::metrics::{self, Probes, Throttling};
use super::pace::Pace;
use super::parts::{Part, Parts};
use super::pods::Pods;
use super::state::{State, Topic, TopicState};
use super::trouble::Trouble;
use super::usage::{Sample, Usage};
use super::wellness::Wellness;
use super::{KubeletCollector, Sink};
use crate::feed::{Feed, Notes};
use crate::log_desk::{LogDesk, Want, failing};
use crate::sight::Sight;

/// Bytes of one pod; an object of etcd has at most some 1.5 MB.
const POD_BYTES: usize = 4 << 20;
/// Bytes of one answer, all pieces together.
const ANSWER_BYTES: usize = 256 << 20;
/// Logs that are read after one question.
const LOGS_AT_ONCE: usize = 4;
/// A pause between two runs that is worth a fact.
const AWAY: i64 = 30 * SECOND;
/// A slow answer tells of now, and not of when it was asked for.
const OLD: i64 = 2 * SECOND;

/// Why a question brought nothing.
enum Stop {
    Trouble(Trouble),
    /// The sink cannot be written any more.
    Sink(LogError),
}

impl From<Trouble> for Stop {
    fn from(t: Trouble) -> Self {
        Stop::Trouble(t)
    }
}

impl From<ApiError> for Stop {
    fn from(e: ApiError) -> Self {
        Stop::Trouble(e.into())
    }
}

impl From<LogError> for Stop {
    fn from(e: LogError) -> Self {
        Stop::Sink(e)
    }
}

/// The collector at work.
pub(super) struct Watch<S> {
    feed: Feed<S>,
    connection: Arc<Connection>,
    config: KubeletConfig,
    timing: Timing,
    node: String,
    state: Arc<State>,
    pace: Pace,
    pods: Pods,
    usage: Usage,
    probes: Probes,
    throttling: Throttling,
    desk: LogDesk,
    logs_from: Instant,
    pods_sight: Sight,
    stats_sight: Sight,
    wellness: Wellness,
    last: Option<Time>,
    /// Topics of whose unusable input one is kept; the rest is counted until an answer is clean.
    buried: Vec<Topic>,
}

impl<S: Sink> Watch<S> {
    pub(super) fn new(c: KubeletCollector, sink: S) -> Self {
        let notes: Arc<dyn Notes> = Arc::clone(&c.state) as _;
        let mut topics = vec![Topic::Pods, Topic::Stats, Topic::Health];
        topics.extend(c.config.probes.then_some(Topic::Probes));
        topics.extend((c.config.throttling_secs > 0).then_some(Topic::Throttling));
        let now = Instant::now();
        for &topic in &topics {
            c.state.set(topic, TopicState::Waiting);
        }
        Watch {
            feed: Feed::new(sink, source::KUBELET, &c.cluster, &c.node, c.redaction, c.clock, notes),
            pace: Pace::new(&topics, &c.node, c.timing.clone(), now),
            connection: c.connection,
            config: c.config,
            desk: LogDesk::new(c.timing.unready),
            timing: c.timing,
            node: c.node,
            state: c.state,
            pods: Pods::default(),
            usage: Usage::default(),
            probes: Probes::default(),
            throttling: Throttling::default(),
            logs_from: now,
            pods_sight: Sight::default(),
            stats_sight: Sight::default(),
            wellness: Wellness::default(),
            last: c.last,
            buried: Vec::new(),
        }
    }

    /// Works until it is dropped, or the sink cannot be written any more.
    pub(super) async fn work(&mut self) -> Result<(), LogError> {
        let now = self.feed.clock.now();
        if let Some(last) = self.last.filter(|l| now.since(*l) > AWAY) {
            self.feed.gap("kubelet", last, now, "the collector was not running");
        }
        loop {
            self.feed.flush().await?;
            let Some((topic, due)) = self.pace.next() else { return Ok(()) };
            let beat = Instant::now() + self.timing.heartbeat;
            tokio::time::sleep_until(due.min(beat).into()).await;
            if due <= Instant::now() {
                self.turn(topic).await?;
                self.read_logs().await?;
            }
            // Whoever is blind cannot say that nothing happened.
            if self.state.is_seeing() {
                self.feed.heartbeat(self.timing.heartbeat);
            }
        }
    }

    /// Writes what is left, and that nothing was seen lately, where that is so.
    pub(super) async fn close(mut self) -> Result<(), LogError> {
        let (now, pause) = (self.feed.clock.now(), self.expected(Topic::Pods));
        if let Some((from, why)) = self.pods_sight.blind(now, pause) {
            self.feed.gap("kubelet", from, now, &why);
        }
        self.feed.close().await
    }

    /// The longest pause between two answers that is none of notice.
    fn expected(&self, topic: Topic) -> Duration {
        let usual = self.pace.usual(topic);
        usual + usual / 4 + self.timing.gap
    }

    /// The time that an answer tells of, if it was asked for at `asked`.
    fn tells_of(&self, asked: Time) -> Time {
        asked.max(self.feed.clock.now().plus(-OLD))
    }

    async fn turn(&mut self, topic: Topic) -> Result<(), LogError> {
        let done = match topic {
            Topic::Pods => self.look_at_pods().await,
            Topic::Stats => self.look_at_usage().await,
            Topic::Probes | Topic::Throttling => self.look_at_metrics(topic).await,
            Topic::Health => self.look_at_health().await,
            Topic::Logs => Ok(()),
        };
        let now = Instant::now();
        match done {
            Ok(()) => {
                self.state.counts.answers.fetch_add(1, Ordering::Relaxed);
                let told = if topic == Topic::Health { None } else { self.wellness.is_there() };
                self.tell_wellness(told, "it answers");
                self.state.set(topic, TopicState::Answered);
                self.pace.answered(topic, now);
                self.tell_sight(topic);
                Ok(())
            }
            Err(Stop::Trouble(trouble)) => {
                self.trouble(topic, &trouble, now).await;
                Ok(())
            }
            Err(Stop::Sink(e)) => Err(e),
        }
    }

    /// Tells of the time that was not seen, where there was any.
    fn tell_sight(&mut self, topic: Topic) {
        let (now, pause) = (self.feed.clock.now(), self.expected(topic));
        let pods_refused =
            matches!(self.state.topic(Topic::Pods), TopicState::Forbidden { .. } | TopicState::NotServed { .. });
        let gap = match topic {
            Topic::Pods => self.pods_sight.seen(now, pause),
            // One blindness is one fact: that of the pods, where they are seen at all.
            Topic::Stats => self.stats_sight.seen(now, pause).filter(|_| pods_refused),
            _ => None,
        };
        if let Some((from, why)) = gap {
            self.feed.gap("kubelet", from, now, &why);
        }
    }

    async fn trouble(&mut self, topic: Topic, trouble: &Trouble, now: Instant) {
        match topic {
            Topic::Pods => self.pods_sight.missed(trouble),
            Topic::Stats => self.stats_sight.missed(trouble),
            _ => {}
        }
        let told = match trouble {
            Trouble::Absent(_) => self.wellness.is_absent(now, self.timing.down),
            Trouble::Late(_) | Trouble::Failed(_) if topic == Topic::Health => self.wellness.is_ill(),
            Trouble::Untrusted(_) | Trouble::Late(_) => None,
            _ => self.wellness.is_there(),
        };
        self.tell_wellness(told, &trouble.to_string());
        self.state.set(topic, trouble.state());
        self.pace.failed(topic, trouble, now);
        if trouble.is_about_credentials()
            && let Err(e) = self.connection.renew().await
        {
            self.state.note(format!("credentials for the kubelet cannot be read again: {e}"));
        }
    }

    fn tell_wellness(&mut self, told: Option<&'static str>, says: &str) {
        let Some(state) = told else { return };
        let now = self.feed.clock.now();
        let data = json!({"node": self.node, "service": "kubelet", "state": state, "says": says, "since": now});
        self.feed.tell("NodeServiceState", "", now, &data);
    }

    /// Reads an answer that is an object with a list in it.
    async fn read_parts(
        &mut self,
        topic: Topic,
        mut each: impl FnMut(&mut Self, Part<'_>) -> Result<(), String>,
    ) -> Result<(), Stop> {
        let mut pieces = self.connection.chunks(topic.path(), "application/json", self.timing.request).await?;
        let mut parts = Parts::new(POD_BYTES);
        let (mut bytes, mut waited, mut clean) = (0, Duration::ZERO, true);
        loop {
            let begun = Instant::now();
            let piece = tokio::time::timeout(self.timing.request, pieces.next())
                .await
                .map_err(|_| Trouble::Late(self.timing.request))??;
            let Some(piece) = piece else { break };
            waited += begun.elapsed();
            bytes += piece.len();
            if bytes > ANSWER_BYTES {
                return Err(ApiError::TooLarge { limit: ANSWER_BYTES }.into());
            }
            if waited > self.timing.answer {
                return Err(Trouble::Late(self.timing.answer).into());
            }
            let cut = parts.push(&piece, &mut |part: Part<'_>| {
                if let Err(why) = each(self, part) {
                    clean = false;
                    self.unusable(topic, why, part.json.unwrap_or_default());
                }
            });
            if cut.is_err() {
                self.unusable(topic, format!("the answer to {} is no JSON object", topic.path()), &piece);
                return Err(Trouble::Failed("the answer is no JSON object".to_owned()).into());
            }
            self.feed.ease().await?;
        }
        self.state.counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if !parts.is_whole() {
            return Err(Trouble::Failed("the answer ended too soon".to_owned()).into());
        }
        if clean {
            self.buried.retain(|t| *t != topic);
        }
        Ok(())
    }

    /// Counts input that cannot be used, and keeps the first.
    fn unusable(&mut self, topic: Topic, why: String, input: &[u8]) {
        self.state.counts.skipped.fetch_add(1, Ordering::Relaxed);
        if !self.buried.contains(&topic) {
            self.buried.push(topic);
            self.feed.dead(why, input);
        }
    }

    async fn look_at_pods(&mut self) -> Result<(), Stop> {
        let asked = self.feed.clock.now();
        let mut changed = false;
        let wants_logs = matches!(self.config.logs, Logs::Kubelet | Logs::Files);
        self.pods.begin();
        self.read_parts(Topic::Pods, |w, part| {
            if part.name != "items" {
                return Ok(());
            }
            let json = part.json.ok_or_else(|| format!("a pod of more than {POD_BYTES} bytes"))?;
            let update = w.pods.take(json, Instant::now()).map_err(|e| format!("a pod of /pods: {e}"))?;
            let Some(update) = update else { return Ok(()) };
            changed = true;
            let at = w.tells_of(asked);
            w.feed.tell("PodStatusUpdate", &update.uid, at, &update.data);
            if wants_logs && let Ok(text) = std::str::from_utf8(json) {
                w.desk.ask(failing(text), &w.state.counts.logs_dropped);
            }
            Ok(())
        })
        .await?;
        let now = Instant::now();
        let look = self.pods.end(now, self.timing.forget);
        self.usage.forget(now, self.timing.forget, &self.pods);
        if look.over > 0 {
            self.state.counts.skipped.fetch_add(look.over as u64, Ordering::Relaxed);
            self.state.note(format!("{} pods of the node are beyond the bound and not looked at", look.over));
        }
        if changed {
            self.pace.hurry(Topic::Probes, now + self.timing.quick);
        }
        self.pace.saw(changed, look.bad, now);
        Ok(())
    }

    async fn look_at_usage(&mut self) -> Result<(), Stop> {
        let asked = self.feed.clock.now();
        self.read_parts(Topic::Stats, |w, part| {
            let json = match (part.name, part.json) {
                ("pods" | "node", Some(json)) => json,
                ("pods" | "node", None) => return Err(format!("use of more than {POD_BYTES} bytes")),
                _ => return Ok(()),
            };
            let (now, pause) = (Instant::now(), w.timing.sample);
            let (kind, sample) = if part.name == "node" {
                ("NodeStats", w.usage.node(json, &w.node, w.wellness.millis, now, pause))
            } else {
                ("PodStats", w.usage.pod(json, &w.pods, now, pause))
            };
            if let Some(Sample { uid, data }) = sample.map_err(|e| format!("{kind} of /stats/summary: {e}"))? {
                let at = w.tells_of(asked);
                w.feed.tell(kind, &uid, at, &data);
            }
            Ok(())
        })
        .await
    }

    async fn look_at_metrics(&mut self, topic: Topic) -> Result<(), Stop> {
        let limit = self.timing.request;
        let mut lines = self.connection.lines(topic.path(), "text/plain", metrics::LINE, limit).await?;
        let (mut bytes, mut waited) = (0, Duration::ZERO);
        loop {
            let begun = Instant::now();
            let line = tokio::time::timeout(limit, lines.next()).await.map_err(|_| Trouble::Late(limit))??;
            waited += begun.elapsed();
            let Some(line) = line else { break };
            let line = match line {
                Line::Whole(line) => line,
                Line::TooLong(n) => {
                    bytes += n;
                    self.state.counts.skipped.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            };
            bytes += line.len() + 1;
            if bytes > ANSWER_BYTES {
                return Err(ApiError::TooLarge { limit: ANSWER_BYTES }.into());
            }
            if waited > self.timing.answer {
                return Err(Trouble::Late(self.timing.answer).into());
            }
            if topic == Topic::Throttling {
                if line.starts_with(b"container_cpu_cfs_")
                    && let Ok(line) = std::str::from_utf8(&line)
                {
                    self.throttling.line(line);
                }
            } else if line.starts_with(b"prober_probe_total")
                && let Ok(line) = std::str::from_utf8(&line)
                && let Some(f) = self.probes.line(line)
            {
                let uid = self.pods.api_uid(&f.uid).to_owned();
                let now = self.feed.clock.now();
                let data = json!({
                    "namespace": f.namespace, "pod": f.pod, "uid": uid, "container": f.container, "probe": f.probe,
                    "ok": false, "failures": f.failures,
                });
                self.feed.tell("ProbeResult", &uid, now, &data);
                self.feed.ease().await?;
            }
        }
        self.state.counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if topic == Topic::Throttling {
            let pods = &self.pods;
            let found = self.throttling.end(|namespace, pod| pods.uid_of(namespace, pod));
            self.usage.throttling(found);
        } else {
            self.probes.end();
        }
        Ok(())
    }

    async fn look_at_health(&mut self) -> Result<(), Stop> {
        let begun = Instant::now();
        let path = Topic::Health.path();
        self.connection.get(path, "*/*", 64 << 10, self.timing.request).await?;
        let told = self.wellness.is_well(begun.elapsed());
        self.tell_wellness(told, "healthz: ok");
        Ok(())
    }

    /// Reads some of the logs that are due.
    async fn read_logs(&mut self) -> Result<(), LogError> {
        for _ in 0..LOGS_AT_ONCE {
            if !matches!(self.config.logs, Logs::Kubelet | Logs::Files) || Instant::now() < self.logs_from {
                return Ok(());
            }
            let Ok(want) = self.desk.next() else { return Ok(()) };
            let (lines, bytes) = (self.config.log_lines, self.config.log_bytes);
            let read = match self.config.logs {
                Logs::Files => logs::from_folder(&self.config.log_dir, &want, lines, bytes).await,
                _ => logs::from_kubelet(&self.connection, &want, lines, bytes, self.timing.request).await,
            };
            match read {
                Ok(read) => {
                    self.state.set(Topic::Logs, TopicState::Answered);
                    if let Some((lines, truncated)) = read {
                        self.tell_log(&want, &lines, truncated);
                    }
                }
                Err(trouble) => {
                    self.state.set(Topic::Logs, trouble.state());
                    let pause = if trouble.is_refusal() { self.timing.refused } else { self.timing.retry_max };
                    self.logs_from = Instant::now() + pause;
                }
            }
            self.feed.ease().await?;
        }
        Ok(())
    }

    fn tell_log(&mut self, want: &Want, lines: &[String], truncated: bool) {
        self.state.counts.logs.fetch_add(1, Ordering::Relaxed);
        let uid = self.pods.api_uid(&want.uid).to_owned();
        let data = json!({
            "namespace": want.namespace, "pod": want.pod, "container": want.container,
            "previous": logs::is_previous(want), "lines": lines, "truncated": truncated,
        });
        let now = self.feed.clock.now();
        self.feed.tell("ContainerLog", &uid, now, &data);
    }
}
