//! What a server asks of the cluster for itself: a Lease to lead by, and whose a token is. The same cases on the small
//! API server and on a real one, which TAPIO_KUBECONFIG_TEST names (with `kubectl` on the PATH).

#![allow(clippy::unwrap_used, dead_code, reason = "a trial that cannot go on has failed; the small server can do more")]

#[path = "../../collectors/tests/cluster/fake_api.rs"]
mod fake_api;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fake_api::{FakeApi, Fault};
use libtest_mimic::{Arguments, Trial};
use tapio_cluster::{Candidate, Connection, LeaseTiming, Standing, Target};
use tokio::sync::{oneshot, watch};

const QUICK: LeaseTiming = LeaseTiming { duration: Duration::from_secs(2), retry: Duration::from_millis(200) };

/// An API server with a namespace of its own.
struct Place {
    kubeconfig: PathBuf,
    namespace: String,
    fake: Option<FakeApi>,
    _dir: Option<tempfile::TempDir>,
}

impl Place {
    async fn fake() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let api = FakeApi::start().await;
        std::fs::write(dir.path().join("token"), "good").unwrap();
        let kubeconfig = dir.path().join("config");
        std::fs::write(&kubeconfig, api.kubeconfig(&dir.path().join("token"))).unwrap();
        Place { kubeconfig, namespace: "play".into(), fake: Some(api), _dir: Some(dir) }
    }

    fn real(kubeconfig: &Path) -> Self {
        static N: AtomicU64 = AtomicU64::new(0);
        let namespace = format!("tapio-server-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed));
        let place = Place { kubeconfig: kubeconfig.to_owned(), namespace, fake: None, _dir: None };
        place.kubectl(&["create", "namespace", &place.namespace]);
        place.kubectl(&["-n", &place.namespace, "create", "serviceaccount", "tapio-agent"]);
        place
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let out = std::process::Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .output()
            .expect("kubectl on the PATH");
        assert!(out.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    async fn connect(&self) -> Arc<Connection> {
        let target = Target { kubeconfig: Some(self.kubeconfig.clone()), context: None };
        Arc::new(Connection::open(target).await.unwrap())
    }

    /// A token of the agents' account.
    fn token(&self, audience: &str) -> String {
        match &self.fake {
            Some(api) => {
                let token = format!("token-for-{audience}");
                api.vouch(&token, &format!("system:serviceaccount:{}:tapio-agent", self.namespace), audience, "n1");
                token
            }
            None => self.kubectl(&["-n", &self.namespace, "create", "token", "tapio-agent", "--audience", audience]),
        }
    }

    async fn candidate(&self, name: &str) -> Running {
        let candidate = Candidate::new(self.connect().await, &self.namespace, "tapio", name, QUICK);
        let (tell, standing) = watch::channel(Standing::Waiting { holder: None, why: None });
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(candidate.run(tell, async move {
            let _ = stopped.await;
        }));
        Running { standing, stop, task }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.fake.is_none() {
            self.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
        }
    }
}

/// A candidate at work.
struct Running {
    standing: watch::Receiver<Standing>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn leads(&self) -> bool {
        self.standing.borrow().leads()
    }

    async fn until(&self, what: &str, is: impl Fn(&Standing) -> bool) -> Duration {
        let begun = Instant::now();
        while !is(&self.standing.borrow()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}: {:?}", self.standing.borrow());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }

    async fn end(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }

    /// As a kill does: nothing is given back.
    fn kill(self) {
        self.task.abort();
    }
}

async fn one_leads(p: Place) {
    let (a, b, c) = (p.candidate("a").await, p.candidate("b").await, p.candidate("c").await);
    let all = [a, b, c];
    let begun = Instant::now();
    let mut led = 0;
    while begun.elapsed() < Duration::from_secs(4) {
        let leading = all.iter().filter(|r| r.leads()).count();
        assert!(leading <= 1, "{leading} lead at once");
        led = led.max(leading);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(led, 1);
    let leader = all.iter().position(Running::leads).unwrap();
    let name = ["a", "b", "c"][leader].to_owned();
    for (n, r) in all.iter().enumerate().filter(|(n, _)| *n != leader) {
        let waits = Standing::Waiting { holder: Some(name.clone()), why: None };
        assert_eq!(*r.standing.borrow(), waits, "{n}");
    }
    for r in all {
        r.end().await;
    }
}

async fn given_back(p: Place) {
    let a = p.candidate("a").await;
    a.until("a leads", Standing::leads).await;
    let b = p.candidate("b").await;
    b.until("b knows a", |s| *s == Standing::Waiting { holder: Some("a".into()), why: None }).await;
    a.end().await;
    let took = b.until("b leads", Standing::leads).await;
    assert!(took < QUICK.duration, "a Lease that was given back is taken at once, not after {took:?}");
    b.end().await;
}

async fn killed(p: Place) {
    let a = p.candidate("a").await;
    a.until("a leads", Standing::leads).await;
    let b = p.candidate("b").await;
    b.until("b knows a", |s| *s == Standing::Waiting { holder: Some("a".into()), why: None }).await;
    a.kill();
    let took = b.until("b leads", Standing::leads).await;
    assert!(took > QUICK.duration.mul_f64(0.7), "a Lease is not taken before its time: {took:?}");
    // One who comes back under its old name is no leader by that.
    let a = p.candidate("a").await;
    a.until("a waits", |s| *s == Standing::Waiting { holder: Some("b".into()), why: None }).await;
    assert!(b.leads());
    a.end().await;
    b.end().await;
}

async fn tokens(p: Place) {
    let c = p.connect().await;
    let good = p.token("tapio");
    let account = c.review_token(&good, "tapio").await.unwrap().expect("a good token");
    assert_eq!(account.user, format!("system:serviceaccount:{}:tapio-agent", p.namespace));
    for (token, why) in [
        (p.token("other"), "meant for another audience"),
        ("nonsense".to_owned(), "nobody's"),
        (format!("{}x", good), "forged"),
    ] {
        assert_eq!(c.review_token(&token, "tapio").await.unwrap(), None, "a token that is {why}");
    }
}

/// Only the small server can do these.
async fn outage() {
    let p = Place::fake().await;
    let api = p.fake.clone().unwrap();
    let a = p.candidate("a").await;
    a.until("a leads", Standing::leads).await;
    let b = p.candidate("b").await;
    b.until("b knows a", |s| matches!(s, Standing::Waiting { holder: Some(_), .. })).await;
    api.away();
    a.until("a is not confirmed", |s| matches!(s, Standing::Unconfirmed { .. })).await;
    // Longer than the Lease lasts: nobody can take it, so its holder goes on.
    tokio::time::sleep(QUICK.duration * 2).await;
    assert!(a.leads() && !b.leads());
    api.back();
    a.until("a is confirmed, or b was quicker", |s| !matches!(s, Standing::Unconfirmed { .. })).await;
    tokio::time::sleep(QUICK.retry * 6).await;
    assert!(a.leads() != b.leads(), "one leads: {:?} {:?}", a.standing.borrow(), b.standing.borrow());
    a.end().await;
    b.end().await;
}

async fn refused() {
    let p = Place::fake().await;
    let api = p.fake.clone().unwrap();
    let a = p.candidate("a").await;
    a.until("a leads", Standing::leads).await;
    api.fail("/leases", None, Fault::Status(403, "leases is forbidden", None), 1_000);
    let took = a.until("a lets go", |s| matches!(s, Standing::Waiting { why: Some(_), .. })).await;
    assert!(took < QUICK.duration, "before anybody else may take it: {took:?}");
    a.end().await;
}

fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let limit = Duration::from_secs(60);
        assert!(tokio::time::timeout(limit, case).await.is_ok(), "took longer than {limit:?}");
    });
}

type Case = fn(Place) -> std::pin::Pin<Box<dyn Future<Output = ()>>>;

const CASES: &[(&str, Case)] = &[
    ("of three candidates one leads, and the others know which", |p| Box::pin(one_leads(p))),
    ("a Lease that is given back is taken at once", |p| Box::pin(given_back(p))),
    ("a Lease whose holder was killed is taken when its time is over", |p| Box::pin(killed(p))),
    ("a token is its account's for its audience, and nobody's otherwise", |p| Box::pin(tokens(p))),
];

fn main() {
    let mut trials = Vec::new();
    for (sentence, case) in CASES {
        trials.push(Trial::test(format!("fake: {sentence}"), move || {
            run(async { case(Place::fake().await).await });
            Ok(())
        }));
        let real = std::env::var_os("TAPIO_KUBECONFIG_TEST");
        let kind = if real.is_some() { "" } else { "skipped: TAPIO_KUBECONFIG_TEST names no kubeconfig" };
        let missing = real.is_none();
        let trial = Trial::test(format!("real: {sentence}"), move || {
            let kubeconfig = real.ok_or("TAPIO_KUBECONFIG_TEST names no kubeconfig")?;
            run(async { case(Place::real(Path::new(&kubeconfig))).await });
            Ok(())
        });
        trials.push(trial.with_kind(kind).with_ignored_flag(missing));
    }
    trials.push(Trial::test("fault: a leader goes on while the API server is away for all", || {
        run(outage());
        Ok(())
    }));
    trials.push(Trial::test("fault: a leader that may not renew lets go in time", || {
        run(refused());
        Ok(())
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
