//! One collection, followed: listed page by page, then watched from there, for ever.
//!
//! kube's own watcher is not used. It reads every object into a tree of values, and the bytes are what redaction works
//! on; it keeps nothing of a former list, so that what vanished meanwhile cannot be told without a store of whole
//! objects; and it treats every failure alike, while here a refusal of one kind, a busy server and a dead connection
//! ask for different things. What is left to do by hand is small: a list, a watch, and what each failure means.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use tapio_cluster::{ApiError, Line};
use tapio_core::raw::{DeadLetter, source};
use tapio_core::time::Time;

use super::context::Context;
use super::kinds::{Form, Scope};
use super::known::{Head, Known, News, remains};
use super::leases::Leases;
use super::outlet::Closed;
use super::secrets;
use super::stamp;
use super::state::ScopeState;

/// Bytes of a page. Larger ones are asked for again with fewer objects on them.
const PAGE_BYTES: usize = 16 << 20;
/// Fewest objects that a page is asked for.
const SMALL: usize = 2;
/// Bytes of a line of a watch; an object of etcd has at most some 1.5 MB.
const LINE_BYTES: usize = 8 << 20;
/// How often a list is begun again because its pages went stale, before the pause grows.
const RESTARTS: u32 = 3;
/// A watch that ends sooner and brings nothing is a failure.
const SHORT: Duration = Duration::from_secs(1);

/// Why following stopped for now.
enum Stop {
    Api(ApiError),
    /// The watch brought nothing for too long.
    HalfDead,
    /// The watch ended at once.
    Short,
    Closed,
}

impl From<ApiError> for Stop {
    fn from(e: ApiError) -> Self {
        Stop::Api(e)
    }
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Self {
        Stop::Closed
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    resource_version: String,
    r#continue: String,
}

#[derive(Deserialize)]
struct WatchLine<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    reason: String,
    message: String,
}

/// A time that was not seen.
struct Blind {
    from: Time,
    why: String,
    /// The server forgot where the watch stood, which an absence of the server explains.
    forgotten: bool,
}

/// Follows one collection.
pub(crate) struct Follower {
    scope: Scope,
    name: String,
    known: Arc<Known>,
    context: Arc<Context>,
    leases: Option<Leases>,
    /// Where the watch goes on; none: list first.
    version: Option<String>,
    /// Whether a list ever succeeded.
    listed: bool,
    /// Failures in a row.
    fails: u32,
    /// The last moment up to which nothing was missed.
    alive: Time,
    /// Since when it was not seen.
    blind: Option<Blind>,
}

impl Follower {
    pub(crate) fn new(scope: Scope, known: Arc<Known>, context: Arc<Context>) -> Self {
        let name = scope.name();
        let leases = (scope.form == Form::Lease).then(Leases::default);
        context.state.set(&name, ScopeState::Waiting);
        let alive = stamp::now();
        Follower { scope, name, known, context, leases, version: None, listed: false, fails: 0, alive, blind: None }
    }

    /// Follows until the writer is gone.
    pub(crate) async fn run(mut self) {
        loop {
            self.context.state.reach.back().await;
            let step = match self.version.clone() {
                None => self.list().await,
                Some(version) => self.watch(&version).await,
            };
            let recovered = match step {
                Ok(()) => {
                    self.alive = stamp::now();
                    Ok(())
                }
                Err(stop) => self.recover(stop).await,
            };
            if recovered.is_err() {
                return;
            }
        }
    }

    async fn list(&mut self) -> Result<(), Stop> {
        self.set(ScopeState::Listing);
        let version = {
            let context = Arc::clone(&self.context);
            // Lists are what costs memory, here and in the server.
            let _turn = context.lists.acquire().await.map_err(|_| Closed)?;
            self.pages().await?
        };
        self.tell_blind().await?;
        self.version = Some(version);
        self.listed = true;
        self.fails = 0;
        self.alive = stamp::now();
        // Watches begin when every list is there, so that nothing of later comes before it.
        self.context.sync.arrive(&self.name);
        self.context.sync.opened().await;
        Ok(())
    }

    async fn pages(&mut self) -> Result<String, Stop> {
        let accept = if self.scope.form == Form::Secret { secrets::ACCEPT_LIST } else { "application/json" };
        let mut size = self.context.config.page_size.max(1);
        let mut token = String::new();
        let mut restarts = 0;
        self.known.begin_list();
        loop {
            let mut path = format!("{}?limit={size}", self.scope.path());
            if !token.is_empty() {
                path.push_str("&continue=");
                encode(&token, &mut path);
            }
            let state = &self.context.state;
            let body = match state.connection.get(&path, accept, PAGE_BYTES, self.context.timing.request).await {
                Ok(body) => body,
                // A page may take long because it is large. Where it is not that, a small one does not come either.
                Err(ApiError::TooLarge { .. } | ApiError::Late(_)) if size > SMALL => {
                    size = (size / 8).max(SMALL);
                    continue;
                }
                Err(ApiError::Expired(_)) if !token.is_empty() && restarts < RESTARTS => {
                    state.counts.relists.fetch_add(1, Ordering::Relaxed);
                    restarts += 1;
                    token.clear();
                    self.known.begin_list();
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            state.reach.heard();
            let page: Page =
                serde_json::from_slice(&body).map_err(|e| ApiError::Garbled(format!("list of {}: {e}", self.name)))?;
            for item in page.items.iter().flatten() {
                self.take(item.get(), false).await?;
            }
            if page.metadata.r#continue.is_empty() {
                self.vanished().await?;
                if page.metadata.resource_version.is_empty() {
                    let why = format!("list of {} has no resourceVersion", self.name);
                    return Err(ApiError::Garbled(why).into());
                }
                return Ok(page.metadata.resource_version);
            }
            token = page.metadata.r#continue;
        }
    }

    /// Tells of what was known and is not in the list.
    async fn vanished(&self) -> Result<(), Closed> {
        for (key, told) in self.known.vanished() {
            self.gone(&key, &told).await?;
        }
        Ok(())
    }

    async fn gone(&self, key: &str, told: &super::known::Told) -> Result<(), Closed> {
        // That an Event went means nothing.
        if self.scope.form != Form::Event
            && let Some(data) = remains(&self.scope, key, told)
        {
            self.context.outlet.event("ObjectDeleted", data).await?;
        }
        self.known.remove(key);
        self.context.forget_logs(&self.scope, &told.uid);
        Ok(())
    }

    async fn watch(&mut self, version: &str) -> Result<(), Stop> {
        let context = Arc::clone(&self.context);
        let (state, timing) = (&context.state, &context.timing);
        let accept = if self.scope.form == Form::Secret { secrets::ACCEPT_WATCH } else { "application/json" };
        let secs = context.jittered(timing.watch, &self.name).as_secs().max(1);
        let mut path =
            format!("{}?watch=1&allowWatchBookmarks=true&timeoutSeconds={secs}&resourceVersion=", self.scope.path());
        encode(version, &mut path);
        let mut suspicions = state.reach.suspicions();
        let opened = Instant::now();
        let mut lines = state.connection.lines(&path, accept, LINE_BYTES, timing.request).await?;
        state.reach.heard();
        state.counts.watches.fetch_add(1, Ordering::Relaxed);
        self.tell_blind().await?;
        self.set(ScopeState::Watching);
        if self.leases.is_some() && self.known.len() > 0 {
            // From here on renewals are expected.
            context.pulse.beat();
        }
        let mut heard = Instant::now();
        let mut any = false;
        loop {
            let line = tokio::select! {
                line = tokio::time::timeout(timing.idle, lines.next()) => match line {
                    Ok(line) => line?,
                    Err(_) => return Err(Stop::HalfDead),
                },
                _ = suspicions.changed() => {
                    let before = *suspicions.borrow_and_update();
                    if before.is_some_and(|b| heard < b) {
                        return Err(Stop::HalfDead);
                    }
                    continue;
                }
            };
            let Some(line) = line else {
                // A rest without a line feed was cut off; the next watch brings it whole.
                return if any || opened.elapsed() > SHORT { Ok(()) } else { Err(Stop::Short) };
            };
            heard = Instant::now();
            any = true;
            self.alive = stamp::now();
            state.reach.heard();
            if self.leases.is_some() {
                context.pulse.beat();
            }
            match line {
                Line::Whole(line) => self.line(&line).await?,
                Line::TooLong(n) => {
                    self.dead(format!("a line of {n} bytes in the watch of {}", self.name), b"").await?
                }
            }
            self.fails = 0;
        }
    }

    async fn line(&mut self, line: &[u8]) -> Result<(), Stop> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let Ok(event) = serde_json::from_slice::<WatchLine>(line) else {
            let shown = if self.scope.form == Form::Secret { &[][..] } else { line };
            return Ok(self.dead(format!("a line of the watch of {} is no event", self.name), shown).await?);
        };
        match &*event.r#type {
            "ADDED" | "MODIFIED" => self.moved(self.take(event.object.get(), false).await?),
            "DELETED" => self.moved(self.take(event.object.get(), true).await?),
            "BOOKMARK" => {
                let head: Head = serde_json::from_str(event.object.get()).unwrap_or_default();
                self.moved(head.metadata.resource_version);
            }
            "ERROR" => {
                let s: Status = serde_json::from_str(event.object.get()).unwrap_or_default();
                let why = if s.message.is_empty() { s.reason } else { s.message };
                return Err(Stop::Api(match s.code {
                    410 => ApiError::Expired(why),
                    code => ApiError::Server { code, why },
                }));
            }
            other => {
                let other: String = other.chars().take(40).collect();
                self.dead(format!("unknown type `{other}` in the watch of {}", self.name), b"").await?;
            }
        }
        Ok(())
    }

    /// The watch goes on from here.
    fn moved(&mut self, version: String) {
        if !version.is_empty() {
            self.version = Some(version);
        }
    }

    /// Tells of an object as far as it is news; its version.
    async fn take(&self, json: &str, deleted: bool) -> Result<String, Closed> {
        let context = &self.context;
        let head = match serde_json::from_str::<Head>(json) {
            Ok(head) if !head.metadata.name.is_empty() => head,
            _ => {
                let shown = if self.scope.form == Form::Secret { &[][..] } else { json.as_bytes() };
                self.dead(format!("an object of {} without metadata.name", self.name), shown).await?;
                return Ok(String::new());
            }
        };
        let version = head.metadata.resource_version.clone();
        let key = head.metadata.key();
        let news = self.known.compare(&key, &head.metadata.uid, &version);
        if deleted {
            if news == News::New {
                return Ok(version);
            }
            if self.scope.form != Form::Event
                && let Some(data) = self.redacted(json, &head).await?
            {
                context.outlet.event("ObjectDeleted", data).await?;
            }
            self.known.remove(&key);
            context.forget_logs(&self.scope, &head.metadata.uid);
            return Ok(version);
        }
        if news == News::Nothing {
            return Ok(version);
        }
        if let Some(leases) = &self.leases
            && news == News::Changed
            && !leases.is_worth_telling(&key, json, self.known.len())
        {
            context.state.counts.thinned.fetch_add(1, Ordering::Relaxed);
            return Ok(version);
        }
        if let News::Replaces(_) = &news
            && let Some(old) = self.known.remove(&key)
        {
            self.gone(&key, &old).await?;
        }
        let Some(data) = self.redacted(json, &head).await? else { return Ok(version) };
        let kind = match (self.scope.form, &news) {
            (Form::Event, _) => "Event",
            (_, News::Changed) => "ObjectModified",
            _ => "ObjectAdded",
        };
        let logs = if self.scope.form == Form::Pod { context.failing(json) } else { Vec::new() };
        context.outlet.event(kind, data).await?;
        self.known.told(&key, &head.metadata.uid, &version);
        context.read_logs(logs);
        Ok(version)
    }

    /// The object as it may leave; what cannot be redacted does not.
    async fn redacted(&self, json: &str, head: &Head) -> Result<Option<Box<RawValue>>, Closed> {
        let made = if self.scope.form == Form::Secret {
            secrets::told(json)
        } else {
            let resource = &self.scope.resource;
            let mut lead = Vec::new();
            // The items of a list do not say what they are.
            if head.api_version.is_empty() {
                lead.push(format!("\"apiVersion\":\"{}\"", resource.api_version()));
            }
            if head.kind.is_empty() {
                lead.push(format!("\"kind\":\"{}\"", resource.kind));
            }
            let redaction = &self.context.redaction;
            redaction.object_with(json, &resource.kind, &lead.join(",")).map_err(|e| e.to_string())
        };
        match made {
            Ok(data) => Ok(Some(data)),
            Err(why) => {
                let reason = format!("{} {} cannot be used: {why}", self.scope.resource.kind, head.metadata.key());
                self.dead(reason, b"").await?;
                Ok(None)
            }
        }
    }

    async fn dead(&self, reason: String, shown: &[u8]) -> Result<(), Closed> {
        let excerpt = self.context.redaction.excerpt(shown);
        let letter = DeadLetter { origin: source::CLUSTER.to_owned(), line: None, reason, excerpt };
        self.context.outlet.dead(letter).await
    }

    fn set(&self, state: ScopeState) {
        self.context.state.set(&self.name, state);
    }

    /// Does what a failure asks for, and waits as long as it asks for.
    async fn recover(&mut self, stop: Stop) -> Result<(), Closed> {
        let context = Arc::clone(&self.context);
        let (state, timing) = (&context.state, &context.timing);
        let name = self.name.clone();
        let again = |fails: u32| context.jittered(backoff(timing.retry, timing.retry_max, fails), &name);
        let error = match stop {
            Stop::Closed => return Err(Closed),
            Stop::HalfDead => {
                state.counts.half_dead.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Stop::Short => {
                self.fails += 1;
                tokio::time::sleep(again(self.fails)).await;
                return Ok(());
            }
            Stop::Api(e) => e,
        };
        self.fails += 1;
        let wait = match &error {
            ApiError::Expired(why) => {
                state.counts.relists.fetch_add(1, Ordering::Relaxed);
                if self.version.take().is_some() {
                    // What happened between the two is lost, only its result comes with the list.
                    let (from, why) = (self.alive, format!("resource version too old: {why}"));
                    self.blind.get_or_insert(Blind { from, why, forgotten: true });
                }
                if self.fails > 1 { again(self.fails) } else { Duration::ZERO }
            }
            ApiError::Forbidden(why) => {
                self.blinded(why);
                self.set(ScopeState::Forbidden { why: why.clone() });
                context.sync.arrive(&self.name);
                context.jittered(timing.refused, &self.name)
            }
            ApiError::NotServed { .. } => {
                for (key, told) in self.known.all() {
                    self.gone(&key, &told).await?;
                }
                self.version = None;
                self.set(ScopeState::NotServed);
                context.sync.arrive(&self.name);
                context.jittered(timing.refused, &self.name)
            }
            e if e.is_away() => {
                // It stood until it broke.
                self.alive = stamp::now();
                state.reach.lose(error.to_string(), self.alive);
                if matches!(error, ApiError::Unauthorised(_)) {
                    // Whether it helps, the next attempt shows.
                    let _ = state.connection.renew().await;
                }
                // One that keeps breaking while the server is there is waited for longer and longer.
                if self.fails > 2 { again(self.fails - 2) } else { Duration::ZERO }
            }
            ApiError::Busy { after, why, .. } => {
                if self.fails > 3 {
                    self.set(ScopeState::Failing { why: why.clone() });
                }
                // Not sooner than asked for, and not all at the same moment.
                *after + again(1)
            }
            // Failures of the server, answers that cannot be read, requests that it does not understand.
            _ => {
                if self.fails > 1 {
                    self.blinded(&error.to_string());
                    self.set(ScopeState::Failing { why: error.to_string() });
                    context.sync.arrive(&self.name);
                }
                if self.fails > RESTARTS {
                    self.version = None;
                }
                again(self.fails)
            }
        };
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// From now on this kind is not seen, if it was before.
    fn blinded(&mut self, why: &str) {
        if self.listed {
            self.blind.get_or_insert(Blind { from: self.alive, why: why.to_owned(), forgotten: false });
        }
    }

    /// It is seen again: what was not becomes a fact, unless one about the server says as much.
    async fn tell_blind(&mut self) -> Result<(), Closed> {
        let Some(Blind { from, why, forgotten }) = self.blind.take() else { return Ok(()) };
        if forgotten {
            // Who asks for the server may not have told yet.
            self.context.state.reach.back().await;
            if self.context.state.reach.has_told(from) {
                return Ok(());
            }
        }
        self.context.outlet.gap(format!("watch of {}", self.name), self.context.server_time(from), why).await
    }
}

/// The pause after so many failures in a row.
fn backoff(first: Duration, most: Duration, fails: u32) -> Duration {
    first.saturating_mul(1 << fails.saturating_sub(1).min(16)).min(most)
}

/// As it may stand in a query.
fn encode(text: &str, out: &mut String) {
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let ms = Duration::from_millis;
        let list: Vec<_> = (1..=5).map(|n| backoff(ms(200), ms(1_000), n)).collect();
        assert_eq!(list, [ms(200), ms(400), ms(800), ms(1_000), ms(1_000)]);
        assert_eq!(backoff(ms(200), ms(30_000), u32::MAX), ms(13_107_200).min(ms(30_000)));
    }

    #[test]
    fn tokens_are_encoded() {
        let mut out = String::new();
        encode("a=b/c+d", &mut out);
        assert_eq!(out, "a%3Db%2Fc%2Bd");
    }
}
