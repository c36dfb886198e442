//! The last lines of containers that fail, read from the API server.
//!
//! Each run that ended badly is read once, and a container that runs without becoming ready once a run. At most a few
//! logs are read at the same time and in a second; what is more waits, and what is too much is counted. A log is read
//! whole up to a bound, and only its end is kept: a limit of bytes would make the server cut off the newest lines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use serde_json::value::to_raw_value;
use tapio_cluster::{ApiError, Line};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::context::Context;
use super::state::ScopeState;
use crate::log_desk::{LogDesk, Want, Why};
use crate::log_tail::{LogTail, MAX_LINE};

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
                    () = desk.news() => {}
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
