//! Under which names a server without a token may be asked.
//!
//! A page of anybody's can have its own name resolve to 127.0.0.1 and then read, as its own, whatever answers there. It
//! cannot choose the `Host` header, which names it; so names that are not ours are refused.

use axum::extract::Request;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;

use crate::problem::Problem;

/// Names that are ours.
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    pub(crate) fn new(more: &[String]) -> Self {
        let own = ["localhost", "127.0.0.1", "[::1]", "::1"];
        Hosts(own.iter().map(|h| (*h).to_owned()).chain(more.iter().map(|h| h.to_lowercase())).collect())
    }

    /// Refuses a request that was meant for somebody else, or that a foreign page sends.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Problem> {
        // HTTP/2 says it in the URI.
        let host = request.headers().get(HOST).and_then(|h| h.to_str().ok());
        let named = request.uri().authority().map(Authority::as_str).or(host).unwrap_or_default();
        if !self.is_ours(named) {
            let shown: String = named.chars().filter(|c| !c.is_control()).take(100).collect();
            return Err(Problem::forbidden(
                format!("the Host header says `{shown}`"),
                "ask under localhost or 127.0.0.1, add the name to api.allowed_hosts, or use a token",
            ));
        }
        match request.headers().get(ORIGIN) {
            None => Ok(()),
            Some(origin) => {
                let origin = origin.to_str().ok().and_then(|o| o.split_once("://")).map_or("", |(_, a)| a);
                if self.is_ours(origin) {
                    return Ok(());
                }
                Err(Problem::forbidden(
                    "the request was sent by a page of another origin",
                    "ask from a page of this server, or use a token",
                ))
            }
        }
    }

    fn is_ours(&self, authority: &str) -> bool {
        let Ok(a) = authority.parse::<Authority>() else { return false };
        let host = a.host().to_lowercase();
        self.0.contains(&host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_answered() {
        let hosts = Hosts::new(&["Tapio.example".to_owned()]);
        for ours in ["localhost", "localhost:7878", "127.0.0.1:1", "[::1]:80", "LOCALHOST", "tapio.example:443"] {
            assert!(hosts.is_ours(ours), "{ours}");
        }
        for not in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "null", "a b", "0.0.0.0"]
        {
            assert!(!hosts.is_ours(not), "{not}");
        }
    }
}
