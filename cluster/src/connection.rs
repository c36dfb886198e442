//! Whom to talk to and as whom: a kubeconfig's context, or the pod's own account inside a cluster.
//!
//! Tokens in files and those of credential programs are read again by the client as they age. Everything else that a
//! kubeconfig holds (certificates, the server's address) is read again by [`Connection::renew`], which whoever meets a
//! refusal calls.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::error::{ConnectError, chain};
use crate::kubelet::KubeletTarget;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(10);
/// Renewals are not made more often.
const RENEW: Duration = Duration::from_secs(5);

/// Stands for a context where there is none.
const IN_CLUSTER: &str = "in-cluster";

/// Whom to talk to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// File; KUBECONFIG, `~/.kube/config` or the pod's own account where absent.
    pub kubeconfig: Option<PathBuf>,
    /// Context in it; the current one where absent.
    pub context: Option<String>,
}

/// Whom, of both kinds.
#[derive(Clone, Debug)]
pub(crate) enum Whom {
    Cluster(Target),
    Kubelet(KubeletTarget),
}

/// What was read of a kubeconfig.
struct Settled {
    client: Client,
    context: String,
    server: String,
    namespace: String,
}

/// An API server or a kubelet, and credentials for it.
pub struct Connection {
    target: Whom,
    client: RwLock<Client>,
    renewed: Mutex<Instant>,
    context: String,
    server: String,
    namespace: String,
    /// Microseconds by which the server's clock is ahead of ours.
    pub(crate) ahead: AtomicI64,
}

impl Connection {
    /// Reads the kubeconfig and prepares a client; nothing is sent yet. Needs a running tokio runtime.
    ///
    /// # Errors
    /// No kubeconfig, one that cannot be used, no such context, or credentials that cannot be got.
    pub async fn open(target: Target) -> Result<Self, ConnectError> {
        Self::to(Whom::Cluster(target)).await
    }

    pub(crate) async fn to(target: Whom) -> Result<Self, ConnectError> {
        let Settled { client, context, server, namespace } = settle(&target).await?;
        Ok(Connection {
            target,
            client: RwLock::new(client),
            renewed: Mutex::new(Instant::now()),
            context,
            server,
            namespace,
            ahead: AtomicI64::new(0),
        })
    }

    /// Name of the context; `in-cluster` for a pod's own account, `kubelet` for a kubelet.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// Whether it is a pod's own account.
    pub fn in_cluster(&self) -> bool {
        self.context == IN_CLUSTER
    }

    /// The server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The context's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Microseconds by which the server's clock is ahead of ours (negative: behind); 0 while they agree to about two
    /// seconds, which is as fine as its answers tell the time.
    pub fn clock_ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    pub(crate) fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads kubeconfig, certificates and tokens again, at most every five seconds. Requests that are under way keep
    /// the old ones.
    ///
    /// # Errors
    /// As [`Connection::open`]; the connection stays as it was.
    pub async fn renew(&self) -> Result<(), ConnectError> {
        {
            let mut last = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() < RENEW {
                return Ok(());
            }
            *last = Instant::now();
        }
        let new = settle(&self.target).await?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = new.client;
        Ok(())
    }
}

async fn settle(target: &Whom) -> Result<Settled, ConnectError> {
    let (mut config, context) = match target {
        Whom::Kubelet(kubelet) => (kubelet.config().await?, "kubelet".to_owned()),
        Whom::Cluster(target) => match read(target)? {
            Some(kubeconfig) => from_file(target, kubeconfig).await?,
            None => {
                let config = Config::incluster().map_err(|e| ConnectError::NoConfig { why: chain(&e) })?;
                (config, IN_CLUSTER.to_owned())
            }
        },
    };
    config.connect_timeout = Some(CONNECT);
    // Watches are silent for long, and their readers have time limits of their own.
    config.read_timeout = None;
    // A busy server's wishes are for the caller to keep, which knows what can wait.
    config.default_retry = false;
    let agent = concat!("tapio/", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, http::HeaderValue::from_static(agent)));
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let namespace = config.default_namespace.clone();
    // A credential program may run in here, and takes its time.
    let made = tokio::task::spawn_blocking(move || Client::try_from(config)).await;
    let client = made
        .map_err(|e| ConnectError::Credentials { context: context.clone(), why: e.to_string() })?
        .map_err(|e| ConnectError::Credentials { context: context.clone(), why: chain(&e) })?;
    Ok(Settled { client, context, server, namespace })
}

/// The kubeconfig; none inside a cluster where nobody named one.
fn read(target: &Target) -> Result<Option<Kubeconfig>, ConnectError> {
    let found = match &target.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    match found {
        Ok(k) => Ok(Some(k)),
        Err(KubeconfigError::ReadConfig(e, path)) => {
            let named = target.kubeconfig.is_some() || target.context.is_some();
            if !named && e.kind() == std::io::ErrorKind::NotFound && Config::incluster().is_ok() {
                return Ok(None);
            }
            Err(ConnectError::NoConfig { why: format!("cannot read {}: {e}", path.display()) })
        }
        Err(KubeconfigError::FindPath) if Config::incluster().is_ok() => Ok(None),
        Err(e @ KubeconfigError::FindPath) => Err(ConnectError::NoConfig { why: e.to_string() }),
        Err(e) => Err(bad(&e)),
    }
}

async fn from_file(target: &Target, kubeconfig: Kubeconfig) -> Result<(Config, String), ConnectError> {
    let has: Vec<&str> = kubeconfig.contexts.iter().map(|c| c.name.as_str()).collect();
    let has = if has.is_empty() { "none at all".to_owned() } else { has.join(", ") };
    let current = kubeconfig.current_context.clone().filter(|c| !c.is_empty());
    let Some(context) = target.context.clone().or(current) else { return Err(ConnectError::NoCurrent { has }) };
    if !kubeconfig.contexts.iter().any(|c| c.name == context) {
        return Err(ConnectError::NoContext { asked: context, has });
    }
    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| bad(&e))?;
    Ok((config, context))
}

/// The parser shows the lines around a mistake, and in a kubeconfig tokens and keys stand there.
fn bad(e: &KubeconfigError) -> ConnectError {
    let why = chain(e);
    ConnectError::BadConfig { why: why.lines().next().unwrap_or_default().trim_end_matches(':').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n- name: c\n  cluster: {server: 'http://127.0.0.1:1'}\ncontexts:\n- name: a\n  context: {cluster: c, user: u, namespace: shop}\nusers:\n- name: u\n  user: {token: t}\n";

    fn target(text: &str, context: Option<&str>) -> (tempfile::TempDir, Target) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, text).unwrap();
        (dir, Target { kubeconfig: Some(path), context: context.map(str::to_owned) })
    }

    #[tokio::test]
    async fn a_context_gives_server_and_namespace() {
        let (_dir, t) = target(FILE, None);
        let c = Connection::open(t).await.unwrap();
        assert_eq!((c.context(), c.server(), c.namespace()), ("a", "http://127.0.0.1:1", "shop"));
    }

    #[tokio::test]
    async fn what_is_missing_is_named_with_a_remedy() {
        let missing = Target { kubeconfig: Some("/nowhere/config".into()), context: None };
        let e = Connection::open(missing).await.err().unwrap().to_string();
        assert!(e.contains("/nowhere/config") && e.contains("--kubeconfig"), "{e}");
        let (_dir, t) = target(FILE, Some("b"));
        let e = Connection::open(t).await.err().unwrap().to_string();
        assert!(e.contains("`b`") && e.contains("it has: a"), "{e}");
        let (_dir, t) = target("{", None);
        assert!(matches!(Connection::open(t).await, Err(ConnectError::BadConfig { .. })));
        let (_dir, t) = target(&FILE.replace("{token: t}", "{token: CANARY\n"), None);
        let e = Connection::open(t).await.err().unwrap().to_string();
        assert!(e.contains("line ") && !e.contains("CANARY"), "{e}");
        let (_dir, t) = target(&FILE.replace("current-context: a\n", ""), None);
        assert!(matches!(Connection::open(t).await, Err(ConnectError::NoCurrent { .. })));
    }
}
