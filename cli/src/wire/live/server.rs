//! The server: waits until it leads, works while it does, and leaves the folder in order for the next one.
//!
//! The port for agents and probes is open before and after, and says then that nothing is taken in. Who leads holds the Lease and
//! the lock of the data folder: where the Lease passes on while an old leader hangs, the new one waits for the folder.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tapio_api::{Health, Intake, Metrics, Operations, Part, TlsFiles};
use tapio_bus::ingest::{Accounts, Gate, Ingest, SharedToken, route};
use tapio_cluster::{Candidate, LeaseTiming, Standing};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::source::{Source, runtime};
use super::{Listener, Live, default_folder};
use crate::args::Cluster;
use crate::cmd::Session;
use crate::error::{Failure, Outcome};
use crate::wire::operations::Port;
use crate::wire::{Folder, Interrupt};

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(100);
/// Between two attempts to reach the API server at the beginning, and to get the folder.
const AGAIN: Duration = Duration::from_secs(2);
/// What agents wait for at the end of the work.
const LETTING_GO: Duration = Duration::from_secs(5);
/// The agents' ServiceAccount, where none is named.
const AGENTS: &str = "tapio-agent";
/// The Lease, where none is named.
const LEASE: &str = "tapio";

/// Who tells what this server waits for.
const SERVER: &str = "server";
/// A server that does not work has no stores open.
const CLOSED: &str = "event log and graph are not open";

/// Which Lease to lead by.
pub(crate) enum Lease {
    /// `NAMESPACE/NAME`.
    Named(String),
    /// In a cluster our own namespace's, outside none.
    InCluster,
    /// None.
    Off,
}

/// Who may send.
pub(crate) enum Who {
    /// ServiceAccounts as `NAMESPACE/NAME`; none: `tapio-agent` in our own namespace.
    Accounts(Vec<String>),
    /// Who has the token in this file.
    Shared(PathBuf),
}

/// What was asked for.
pub(crate) struct Settings {
    pub(crate) at: Cluster,
    pub(crate) cluster: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) who: Who,
    pub(crate) lease: Lease,
    pub(crate) identity: Option<String>,
}

/// The way in for agents: open while this server leads.
#[derive(Clone, Default)]
struct Door(Arc<Mutex<Option<Arc<Ingest>>>>);

impl Door {
    fn set(&self, ingest: Option<Arc<Ingest>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ingest;
    }

    fn intake(&self) -> Intake {
        let door = self.clone();
        let take = move |request| {
            let open = door.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Box::pin(route::answer(open, request)) as tapio_core::ports::BoxFuture<'static, _>
        };
        Intake { path: route::PATH, take: Arc::new(take) }
    }
}

/// One who applies for the Lease, and how to end that.
struct Applying {
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

/// A server.
pub(crate) struct Server<'a> {
    session: &'a Session,
    source: Source,
    dir: PathBuf,
    gate: Arc<Gate>,
    door: Door,
    health: Arc<Health>,
    metrics: Metrics,
    standing: watch::Receiver<Standing>,
    told: Option<Standing>,
    /// What is in the way of working, beside the Lease.
    waits: Option<Part>,
    port: Option<Port>,
    candidate: Option<Applying>,
    // Behind everything that runs on it.
    runtime: Arc<Runtime>,
}

impl<'a> Server<'a> {
    /// Listens, reaches the API server, however long that takes, and applies for the Lease. None: somebody asked for an
    /// end before.
    pub(crate) fn open(session: &'a Session, settings: Settings, stop: &Interrupt) -> Outcome<Option<Self>> {
        let runtime = Arc::new(runtime()?);
        let (door, health, metrics) = (Door::default(), Arc::<Health>::default(), Metrics::new());
        health.set(SERVER, vec![Part::not_ready(SERVER, "it is just beginning")]);
        let Settings { at, cluster, data_dir, listen, tls, who, lease, identity } = settings;
        let shared = match &who {
            Who::Shared(file) => Some(SharedToken::open(file.clone()).map_err(Failure::input)?),
            Who::Accounts(_) => None,
        };
        let operations =
            Operations { health: Arc::clone(&health), metrics: metrics.clone(), intake: Some(door.intake()) };
        let port = Port::open(session, &runtime, listen, tls, operations)?;
        let mut said = String::new();
        let source = loop {
            match Source::try_open(session, &runtime, &at, cluster.as_deref())? {
                Ok(source) => break source,
                Err(why) => {
                    health.set(SERVER, vec![Part::not_ready("API server", why.clone())]);
                    if why != said {
                        session.note(&format!("{why}; trying again"));
                        said = why;
                    }
                }
            }
            if rest(AGAIN, stop) {
                return Ok(None);
            }
        };
        let dir = match data_dir {
            Some(dir) => dir,
            None => default_folder(source.connection.context())?,
        };
        let own = source.connection.namespace().to_owned();
        let gate = Arc::new(match (shared, who) {
            (Some(shared), _) => Gate::Shared(shared),
            (None, who) => {
                let names = match who {
                    Who::Accounts(names) if !names.is_empty() => names,
                    _ => vec![format!("{own}/{AGENTS}")],
                };
                session
                    .note(&format!("agents are {} (ServiceAccount tokens for the audience tapio)", names.join(", ")));
                Gate::Accounts(Accounts::new(Arc::clone(&source.connection), &names))
            }
        });
        let lease = match lease {
            Lease::Named(name) => Some(name),
            Lease::InCluster => source.connection.in_cluster().then(|| format!("{own}/{LEASE}")),
            Lease::Off => None,
        };
        let (tell, standing) = watch::channel(match lease {
            Some(_) => Standing::Waiting { holder: None, why: None },
            None => Standing::Leading,
        });
        let candidate = match &lease {
            Some(name) => Some(apply(session, &runtime, &source, name, identity, tell)?),
            None => None,
        };
        let mut server = Server {
            session,
            source,
            dir,
            gate,
            door,
            health,
            metrics,
            standing,
            told: None,
            waits: None,
            port: Some(port),
            candidate,
            runtime,
        };
        server.waits_for(CLOSED);
        Ok(Some(server))
    }

    /// Where it tells how it stands.
    pub(crate) fn shared(&self) -> (Arc<Health>, Metrics) {
        (Arc::clone(&self.health), self.metrics.clone())
    }

    /// Name of the cluster.
    pub(crate) fn cluster(&self) -> &str {
        &self.source.name
    }

    /// Waits until this server leads, and opens everything. None: somebody asked for an end.
    pub(crate) fn lead(&mut self, stop: &Interrupt) -> Outcome<Option<Live<'a>>> {
        let mut said = false;
        loop {
            if stop.asked() {
                return Ok(None);
            }
            self.look_up();
            if !self.standing.borrow().leads() {
                rest(LOOK, stop);
                continue;
            }
            if let Some(holder) = Folder::in_use(&self.dir)? {
                let why = format!("data folder {} is in use by process {holder}", self.dir.display());
                self.waits_for(&why);
                if !std::mem::replace(&mut said, true) {
                    self.session.note(&format!("{why}; waiting for it"));
                }
                rest(AGAIN, stop);
                continue;
            }
            break;
        }
        self.waits_for("event log and graph are being opened");
        let folder = Folder::create(&self.dir)?;
        let live =
            Live::on(self.session, Arc::clone(&self.runtime), &self.source, folder, Some(Arc::clone(&self.gate)))?;
        let connection = &self.source.connection;
        self.session.note(&format!(
            "watching {} at {}, data in {}",
            connection.context(),
            connection.server(),
            self.dir.display()
        ));
        self.door.set(live.ingest());
        Ok(Some(live))
    }

    /// Works until somebody asks for an end, or another server leads.
    pub(crate) fn work(
        &mut self,
        live: &mut Live<'a>,
        stop: &Interrupt,
        listeners: &mut [&mut dyn Listener],
    ) -> Outcome {
        self.waits = None;
        self.tell();
        let this = std::cell::RefCell::new(self);
        let over = || {
            let mut this = this.borrow_mut();
            this.look_up();
            stop.asked() || !this.standing.borrow().leads()
        };
        let closing = || this.borrow().door.set(None);
        live.run_until(&over, &closing, listeners)
    }

    /// Closes everything, so that the folder is free.
    pub(crate) fn leave(&mut self, live: Live<'a>) {
        self.waits_for(CLOSED);
        let ingest = live.ingest();
        drop(live);
        // Who is just being answered has it still; the folder is free when they are gone.
        let begun = Instant::now();
        while ingest.as_ref().is_some_and(|i| Arc::strong_count(i) > 1) && begun.elapsed() < LETTING_GO {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Gives the Lease back, and listens no longer.
    pub(crate) fn end(mut self) {
        if let Some(candidate) = self.candidate.take() {
            let _ = candidate.stop.send(());
            self.runtime.block_on(async { _ = tokio::time::timeout(LETTING_GO * 2, candidate.running).await });
        }
        if let Some(port) = self.port.take() {
            self.runtime.block_on(port.close());
        }
        self.session.note("ended");
    }

    /// Says what is new.
    fn look_up(&mut self) {
        let now = self.standing.borrow_and_update().clone();
        if self.told.as_ref() == Some(&now) {
            return;
        }
        let led = self.told.as_ref().is_some_and(Standing::leads);
        match &now {
            Standing::Leading if self.candidate.is_none() || led => {}
            Standing::Leading => self.session.note("this server leads"),
            Standing::Unconfirmed { why } => {
                self.session.note(&format!("the Lease cannot be renewed, going on: {why}"));
            }
            Standing::Waiting { why: Some(why), .. } => self.session.note(&format!("no Lease: {why}")),
            Standing::Waiting { holder: Some(holder), .. } => {
                let was = if led { "this server leads no longer: " } else { "" };
                self.session.note(&format!("{was}{holder} leads, this one stands by"));
            }
            Standing::Waiting { .. } => {}
        }
        self.told = Some(now);
        self.tell();
    }

    fn waits_for(&mut self, why: &str) {
        self.waits = Some(Part::not_ready("data folder", why));
        self.tell();
    }

    /// Tells probes how it stands.
    fn tell(&self) {
        let lease = lease_part(&self.standing.borrow(), self.candidate.is_some());
        self.health.set(SERVER, std::iter::once(lease).chain(self.waits.clone()).collect());
    }
}

/// How it stands with the Lease, if there is one.
fn lease_part(standing: &Standing, one: bool) -> Part {
    match standing {
        Standing::Leading if one => Part::ready("lease"),
        Standing::Leading => Part::ready(SERVER),
        Standing::Unconfirmed { why } => Part::degraded("lease", format!("cannot be renewed: {why}")),
        Standing::Waiting { why: Some(why), .. } => Part::not_ready("lease", why.clone()),
        Standing::Waiting { holder: Some(holder), .. } => {
            Part::not_ready("lease", format!("{holder} leads, this one stands by"))
        }
        Standing::Waiting { .. } => Part::not_ready("lease", "nobody leads yet"),
    }
}

/// Waits so long; whether somebody asked for an end meanwhile.
fn rest(time: Duration, stop: &Interrupt) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < time && !stop.asked() {
        std::thread::sleep(LOOK.min(time));
    }
    stop.asked()
}

fn apply(
    session: &Session,
    runtime: &Runtime,
    source: &Source,
    name: &str,
    identity: Option<String>,
    tell: watch::Sender<Standing>,
) -> Outcome<Applying> {
    let identity = match identity.filter(|i| !i.is_empty()) {
        Some(identity) => identity,
        None => made_up()?,
    };
    let Some((namespace, lease)) = name.split_once('/') else {
        return Err(Failure::input(format!("`{name}` names no Lease; give NAMESPACE/NAME")));
    };
    session.note(&format!("applying for the Lease {name} as {identity}"));
    let connection = Arc::clone(&source.connection);
    let candidate = Candidate::new(connection, namespace, lease, &identity, LeaseTiming::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = runtime.spawn(candidate.run(tell, async move {
        let _ = stopped.await;
    }));
    Ok(Applying { stop, running })
}

/// A name that no other process has.
fn made_up() -> Outcome<String> {
    let key = crate::wire::new_key()?;
    let random: String = key.iter().take(6).map(|b| format!("{b:02x}")).collect();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    Ok(if host.is_empty() { format!("tapio-{random}") } else { format!("{host}-{random}") })
}
