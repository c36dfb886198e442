//! Which of several servers works: a Lease of the API server, as client-go's controllers use it.
//!
//! Who holds the Lease renews it. Who does not watches whether anything in it changes, by a clock of its own: how the
//! holder's clock stands does not matter. Where nothing changed for as long as the holder itself has said, the Lease is
//! taken. Every write names the version that was read, so that of two who try at once one gets a 409.
//!
//! While the API server cannot be reached nobody can take the Lease, so its holder goes on: this is when evidence is
//! wanted most. It ends as soon as somebody else is seen to hold it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::connection::Connection;
use crate::error::ApiError;

/// A request for the Lease.
const LIMIT: Duration = Duration::from_secs(5);
const BYTES: usize = 256 << 10;
const JSON: &str = "application/json";

/// How long things take. The defaults are those of Kubernetes' own controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTiming {
    /// A Lease that does not change for so long may be taken by others. Whole seconds.
    pub duration: Duration,
    /// Between two renewals, and between two looks of who waits.
    pub retry: Duration,
}

impl Default for LeaseTiming {
    fn default() -> Self {
        LeaseTiming { duration: Duration::from_secs(15), retry: Duration::from_secs(2) }
    }
}

/// How somebody stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "standing")]
pub enum Standing {
    /// It does not lead: who does, where that is known, and why nothing can be said where that is so.
    Waiting {
        /// Who leads.
        holder: Option<String>,
        /// What is in the way.
        why: Option<String>,
    },
    /// It leads.
    Leading,
    /// It leads as far as anybody can know: the API server cannot be reached or refuses, so that nobody else can.
    Unconfirmed {
        /// What is in the way.
        why: String,
    },
}

impl Standing {
    /// Whether to work.
    pub fn leads(&self) -> bool {
        matches!(self, Standing::Leading | Standing::Unconfirmed { .. })
    }
}

/// One who wants the Lease.
pub struct Candidate {
    connection: Arc<Connection>,
    namespace: String,
    name: String,
    identity: String,
    timing: LeaseTiming,
    /// The Lease as it was when it changed last, and when that was seen.
    seen: Option<(Record, Instant)>,
    leads: bool,
    /// When the Lease was written last.
    renewed: Instant,
}

/// What of a Lease counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Record {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u64>,
    renew_time: Option<String>,
    acquire_time: Option<String>,
    lease_transitions: Option<u64>,
}

impl Record {
    fn holder(&self) -> Option<&str> {
        self.holder_identity.as_deref().filter(|h| !h.is_empty())
    }
}

impl Candidate {
    /// One who wants the Lease `namespace/name`. `identity`: a name that no other living process has.
    pub fn new(connection: Arc<Connection>, namespace: &str, name: &str, identity: &str, timing: LeaseTiming) -> Self {
        Candidate {
            connection,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            timing,
            seen: None,
            leads: false,
            renewed: Instant::now(),
        }
    }

    /// Tries to get the Lease and to keep it until `stop`, and tells how it stands; at the end it is given back.
    ///
    /// `stop` must come when the work that the Lease stands for has ended, not before.
    pub async fn run(mut self, tell: watch::Sender<Standing>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let standing = self.step().await;
            tell.send_if_modified(|old| std::mem::replace(old, standing.clone()) != standing);
            let pause = match standing {
                Standing::Leading => self.timing.retry,
                // Two who wait together must not come together.
                _ => self.timing.retry.mul_f64(1.0 + f64::from(jitter(&self.identity)) / 512.0),
            };
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        if self.leads {
            // Best effort: without it others wait for the time that is named in it.
            let _ = self.give_back().await;
        }
    }

    /// One look, and one write where one is due.
    async fn step(&mut self) -> Standing {
        match self.attempt().await {
            Ok(standing) => {
                self.leads = standing.leads();
                self.renewed = Instant::now();
                standing
            }
            Err(e) if self.leads && self.may_go_on(&e) => Standing::Unconfirmed { why: e.to_string() },
            Err(e) => {
                self.leads = false;
                if matches!(e, ApiError::Unauthorised(_) | ApiError::Untrusted(_)) {
                    // New ones may be there by now.
                    let _ = self.connection.renew().await;
                }
                // Nobody could renew it while nobody could be reached: the holder gets its time anew.
                if let Some((_, since)) = &mut self.seen {
                    *since = Instant::now();
                }
                let holder = self.seen.as_ref().and_then(|(r, _)| r.holder().map(str::to_owned));
                Standing::Waiting { holder, why: Some(e.to_string()) }
            }
        }
    }

    /// Whether who leads may do so in spite of an error.
    fn may_go_on(&self, e: &ApiError) -> bool {
        match e {
            // The server is away for all: nobody else can take the Lease.
            ApiError::Away(_)
            | ApiError::Late(_)
            | ApiError::Busy { .. }
            | ApiError::Server { .. }
            | ApiError::Garbled(_) => true,
            // It talks to others, and not to us: the end is a third of the time before they may take it.
            _ => self.renewed.elapsed() < self.timing.duration.mul_f64(2.0 / 3.0),
        }
    }

    async fn attempt(&mut self) -> Result<Standing, ApiError> {
        let lease = match self.connection.get(&self.path(), JSON, BYTES, LIMIT).await {
            Ok(body) => serde_json::from_slice::<Value>(&body).map_err(|e| ApiError::Garbled(e.to_string()))?,
            Err(ApiError::NotServed { code: 404, .. }) => return self.create().await,
            Err(e) => return Err(e),
        };
        let record: Record = serde_json::from_value(lease["spec"].clone()).unwrap_or_default();
        let since = match &self.seen {
            Some((old, since)) if *old == record => *since,
            _ => Instant::now(),
        };
        self.seen = Some((record.clone(), since));
        let mine = record.holder() == Some(self.identity.as_str());
        let after = record.lease_duration_seconds.map_or(self.timing.duration, Duration::from_secs);
        if !mine && record.holder().is_some() && since.elapsed() <= after {
            return Ok(Standing::Waiting { holder: record.holder().map(str::to_owned), why: None });
        }
        let now = micro_time();
        let acquired = if mine { record.acquire_time.clone().unwrap_or_else(|| now.clone()) } else { now.clone() };
        let transitions = record.lease_transitions.unwrap_or(0) + u64::from(!mine);
        let written =
            self.write(lease, &self.identity, self.timing.duration.as_secs(), &acquired, &now, transitions).await?;
        if mine && self.leads && !written.leads() {
            // Somebody wrote something else into it; the next look says whether it is still ours.
            return Err(ApiError::Refused { code: 409, why: "the Lease was changed while it was renewed".to_owned() });
        }
        Ok(written)
    }

    async fn create(&self) -> Result<Standing, ApiError> {
        let now = micro_time();
        let body = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {"holderIdentity": self.identity, "leaseDurationSeconds": self.timing.duration.as_secs().max(1),
                "acquireTime": now, "renewTime": now, "leaseTransitions": 0},
        });
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace);
        told(self.connection.post(&path, body.to_string().into_bytes(), BYTES, LIMIT).await)
    }

    async fn write(
        &self,
        mut lease: Value,
        holder: &str,
        seconds: u64,
        acquired: &str,
        renewed: &str,
        transitions: u64,
    ) -> Result<Standing, ApiError> {
        // The version that was read stays in it: a write of somebody else in between is a 409.
        lease["spec"]["holderIdentity"] = holder.into();
        lease["spec"]["leaseDurationSeconds"] = seconds.max(1).into();
        lease["spec"]["acquireTime"] = acquired.into();
        lease["spec"]["renewTime"] = renewed.into();
        lease["spec"]["leaseTransitions"] = transitions.into();
        told(self.connection.put(&self.path(), lease.to_string().into_bytes(), BYTES, LIMIT).await)
    }

    async fn give_back(&mut self) -> Result<(), ApiError> {
        let body = self.connection.get(&self.path(), JSON, BYTES, LIMIT).await?;
        let lease: Value = serde_json::from_slice(&body).map_err(|e| ApiError::Garbled(e.to_string()))?;
        let record: Record = serde_json::from_value(lease["spec"].clone()).unwrap_or_default();
        if record.holder() != Some(self.identity.as_str()) {
            return Ok(());
        }
        let now = micro_time();
        let transitions = record.lease_transitions.unwrap_or(0);
        self.write(lease, "", 1, record.acquire_time.as_deref().unwrap_or(&now), &now, transitions).await.map(|_| ())
    }

    fn path(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}", self.namespace, self.name)
    }
}

/// What came of a write: of two at once the other one was first.
fn told(answer: Result<bytes::Bytes, ApiError>) -> Result<Standing, ApiError> {
    match answer {
        Ok(_) => Ok(Standing::Leading),
        Err(ApiError::Refused { code: 409, .. }) => Ok(Standing::Waiting { holder: None, why: None }),
        Err(e) => Err(e),
    }
}

/// The system's time as a MicroTime; for people, nothing is decided by it.
fn micro_time() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = i64::try_from(since.as_micros()).unwrap_or(0);
    let time = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// A number of 0 to 255 that is another one for another name.
fn jitter(identity: &str) -> u8 {
    identity.bytes().fold(7, |n: u8, b| n.wrapping_mul(31).wrapping_add(b))
}
