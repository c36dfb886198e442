//! Who may send: an agent's ServiceAccount token, judged by the API server, or a token that both sides have in a file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tapio_cluster::{ApiError, Connection};

use super::Refusal;

/// The audience that agents' tokens must be meant for.
pub const AUDIENCE: &str = "tapio";
/// A judgement holds for so long.
const HOLDS: Duration = Duration::from_secs(60);
/// And for so long while the API server cannot be asked.
const HOLDS_ALONE: Duration = Duration::from_secs(600);
/// A refusal holds for so long.
const REFUSED: Duration = Duration::from_secs(10);
/// Judgements that are kept.
const KEPT: usize = 10_000;
/// Bytes of a token.
const TOKEN_BYTES: usize = 16 << 10;
/// A file of a token is looked at again after so long.
const LOOK: Duration = Duration::from_secs(5);
/// Fewer bytes can be guessed.
const LEAST_BYTES: usize = 16;

/// Who may send.
pub enum Gate {
    /// ServiceAccounts of the cluster.
    Accounts(Accounts),
    /// Whoever has the token.
    Shared(SharedToken),
}

/// Who sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The node that it may speak of; any where absent.
    pub node: Option<String>,
}

impl Gate {
    /// Who sends with this token.
    ///
    /// # Errors
    /// [`Refusal::Unauthorised`], [`Refusal::Forbidden`], or [`Refusal::Unavailable`] where it cannot be told.
    pub async fn admit(&self, token: Option<&str>) -> Result<Sender, Refusal> {
        let token = token.map(str::trim).filter(|t| !t.is_empty() && t.len() <= TOKEN_BYTES);
        let token = token.ok_or_else(|| {
            Refusal::Unauthorised("no bearer token; an agent takes it from the file of --token-file".to_owned())
        })?;
        match self {
            Gate::Accounts(a) => a.admit(token).await,
            Gate::Shared(s) => s.admit(token),
        }
    }
}

/// A hash of a token: what is kept of it.
type Mark = [u8; 32];

struct Judged {
    verdict: Result<Sender, Refusal>,
    at: Instant,
}

/// ServiceAccounts of the cluster, judged by `TokenReview` for the audience [`AUDIENCE`].
pub struct Accounts {
    connection: Arc<Connection>,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    allowed: Vec<String>,
    judged: Mutex<HashMap<Mark, Judged>>,
}

impl Accounts {
    /// Those with these names, as `NAMESPACE/NAME`.
    pub fn new(connection: Arc<Connection>, accounts: &[String]) -> Self {
        let user = |a: &String| format!("system:serviceaccount:{}", a.replacen('/', ":", 1));
        Accounts { connection, allowed: accounts.iter().map(user).collect(), judged: Mutex::default() }
    }

    fn known(&self, mark: &Mark, alone: bool) -> Option<Result<Sender, Refusal>> {
        let judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let j = judged.get(mark)?;
        let holds = match (&j.verdict, alone) {
            (Ok(_), true) => HOLDS_ALONE,
            (Ok(_), false) => HOLDS,
            (Err(_), _) => REFUSED,
        };
        (j.at.elapsed() < holds).then(|| j.verdict.clone())
    }

    async fn admit(&self, token: &str) -> Result<Sender, Refusal> {
        let mark = *blake3::hash(token.as_bytes()).as_bytes();
        if let Some(verdict) = self.known(&mark, false) {
            return verdict;
        }
        let verdict = match self.connection.review_token(token, AUDIENCE).await {
            Ok(Some(account)) if self.allowed.contains(&account.user) => Ok(Sender { node: account.node }),
            Ok(Some(account)) => Err(Refusal::Forbidden(format!(
                "the token is of {}, and agents are {}",
                account.user,
                self.allowed.join(", ")
            ))),
            Ok(None) => Err(Refusal::Unauthorised(format!(
                "the API server does not accept the token for the audience `{AUDIENCE}`; it has expired, is of another cluster, or its volume names no such audience"
            ))),
            Err(e) => {
                // Who was good a moment ago may go on: evidence is wanted most while the API server is away.
                let known = e.is_away().then(|| self.known(&mark, true)).flatten();
                return known.unwrap_or_else(|| Err(cannot_ask(&e)));
            }
        };
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if judged.len() >= KEPT {
            judged.retain(|_, j| j.at.elapsed() < HOLDS);
            if judged.len() >= KEPT {
                judged.clear();
            }
        }
        judged.insert(mark, Judged { verdict: verdict.clone(), at: Instant::now() });
        verdict
    }
}

fn cannot_ask(e: &ApiError) -> Refusal {
    let why = match e {
        ApiError::Forbidden(why) => {
            format!("the server may not review tokens, it needs `create` on tokenreviews: {why}")
        }
        e => format!("the token cannot be reviewed: {e}"),
    };
    let after = if let ApiError::Busy { after, .. } = e { *after } else { Duration::from_secs(5) };
    Refusal::Unavailable { why, after }
}

/// A token in a file that agents have, too; read again when the file changes.
pub struct SharedToken {
    file: PathBuf,
    read: Mutex<(Instant, Option<SystemTime>, Result<Mark, String>)>,
}

impl SharedToken {
    /// The token in this file.
    ///
    /// # Errors
    /// It cannot be read, or is too short to be a secret.
    pub fn open(file: PathBuf) -> Result<Self, String> {
        let (changed, mark) = (changed(&file), read(&file)?);
        Ok(SharedToken { file, read: Mutex::new((Instant::now(), changed, Ok(mark))) })
    }

    fn admit(&self, token: &str) -> Result<Sender, Refusal> {
        let mut kept = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0.elapsed() >= LOOK {
            let changed = changed(&self.file);
            if changed != kept.1 || kept.2.is_err() {
                (kept.1, kept.2) = (changed, read(&self.file));
            }
            kept.0 = Instant::now();
        }
        match &kept.2 {
            // Hashes are compared: how long that takes says nothing about the token.
            Ok(mark) if blake3::hash(token.as_bytes()) == *mark => Ok(Sender::default()),
            Ok(_) => Err(Refusal::Unauthorised("the token is not the server's".to_owned())),
            Err(why) => Err(Refusal::Unavailable { why: why.clone(), after: LOOK }),
        }
    }
}

fn changed(file: &std::path::Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|m| m.modified()).ok()
}

fn read(file: &std::path::Path) -> Result<Mark, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read token file {}: {e}", file.display()))?;
    let token = text.trim();
    if token.len() < LEAST_BYTES || token.len() > TOKEN_BYTES {
        return Err(format!(
            "token file {} holds {} bytes; give {LEAST_BYTES} to {TOKEN_BYTES}, for example from `openssl rand -hex 32`",
            file.display(),
            token.len()
        ));
    }
    Ok(*blake3::hash(token.as_bytes()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_shared_token_opens_and_a_short_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "short\n").unwrap();
        assert!(SharedToken::open(file.clone()).err().unwrap().contains("openssl"));
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let gate = Gate::Shared(SharedToken::open(file).unwrap());
        assert_eq!(gate.admit(Some("0123456789abcdef")).await, Ok(Sender::default()));
        for wrong in [None, Some(""), Some("0123456789abcdeg"), Some("0123456789abcde")] {
            assert!(matches!(gate.admit(wrong).await, Err(Refusal::Unauthorised(_))), "{wrong:?}");
        }
    }
}
