//! What a failed question to a kubelet means, in words that name the kubelet.

use std::time::Duration;

use tapio_cluster::ApiError;

use super::state::TopicState;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody listens there: the kubelet does not run, or is not there.
    Absent(String),
    /// Somebody listens and does not answer in time.
    Late(Duration),
    /// Its certificate is not accepted.
    Untrusted(String),
    /// The token is not accepted, or could not be checked: without an API server the kubelet knows nobody new.
    Unknown(String),
    /// The token's account may not do it.
    Forbidden(String),
    /// This kubelet does not have it.
    NotServed(String),
    /// It failed, or its answer cannot be used.
    Failed(String),
}

impl From<ApiError> for Trouble {
    fn from(e: ApiError) -> Self {
        match e {
            ApiError::Unauthorised(why) => Trouble::Unknown(short(&why)),
            ApiError::Forbidden(why) => Trouble::Forbidden(short(&why)),
            ApiError::NotServed { code, why } => Trouble::NotServed(format!("HTTP {code}: {}", short(&why))),
            ApiError::Late(limit) => Trouble::Late(limit),
            ApiError::Untrusted(why) => Trouble::Untrusted(short(&why)),
            ApiError::Away(why) if is_nobody(&why) => Trouble::Absent(short(&why)),
            ApiError::Away(why) | ApiError::Garbled(why) | ApiError::Expired(why) => Trouble::Failed(short(&why)),
            ApiError::Server { code, why } | ApiError::Busy { code, why, .. } | ApiError::Refused { code, why } => {
                // The API server could not be asked whether the account may do it.
                match why.contains("uthorization error") {
                    true => Trouble::Unknown(short(&why)),
                    false => Trouble::Failed(format!("HTTP {code}: {}", short(&why))),
                }
            }
            ApiError::TooLarge { limit } => Trouble::Failed(format!("the answer is larger than {limit} bytes")),
        }
    }
}

impl Trouble {
    pub(super) fn state(&self) -> TopicState {
        let why = self.to_string();
        match self {
            Trouble::Forbidden(_) => TopicState::Forbidden { why },
            Trouble::NotServed(_) => TopicState::NotServed { why },
            _ => TopicState::Failing { why },
        }
    }

    /// Whether asking again soon is of no use.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Trouble::Forbidden(_) | Trouble::NotServed(_))
    }

    /// Whether new credentials, or a new file of the authority, may help.
    pub(super) fn is_about_credentials(&self) -> bool {
        matches!(self, Trouble::Unknown(_) | Trouble::Untrusted(_))
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Absent(why) => write!(f, "nobody answers: {why}"),
            Trouble::Late(limit) => write!(f, "no answer within {} s", limit.as_secs_f32()),
            Trouble::Untrusted(why) => write!(
                f,
                "its certificate is not accepted: {why}; name the authority that signed it in `ca_file`, or its name in `server_name`"
            ),
            Trouble::Unknown(why) => write!(f, "the token is not accepted, or the kubelet cannot check it now: {why}"),
            Trouble::Forbidden(why) | Trouble::NotServed(why) | Trouble::Failed(why) => f.write_str(why),
        }
    }
}

fn is_nobody(why: &str) -> bool {
    let why = why.to_ascii_lowercase();
    why.contains("connection refused") || why.contains("tcp connect error") || why.contains("no route to host")
}

fn short(why: &str) -> String {
    let why = why.trim();
    if why.is_empty() { "no reason given".to_owned() } else { why.chars().take(300).collect() }
}
