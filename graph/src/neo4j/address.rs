//! Where a Neo4j is: `bolt://host:port?database=name`.
//!
//! Credentials do not belong into it: an address stands in process lists, in settings and in every error.

use std::fmt;
use std::str::FromStr;

use tapio_core::ports::StoreError;

/// The port of Bolt where none is named.
pub const DEFAULT_PORT: u16 = 7687;

/// Schemes of the driver; `+s`: TLS with a certificate that is checked, `+ssc`: TLS with any certificate.
const SCHEMES: [&str; 6] = ["bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc"];

/// The address of a Neo4j and, where named, of a database in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    scheme: &'static str,
    /// As in a URL: an IPv6 address stands in brackets.
    host: String,
    port: u16,
    database: Option<String>,
}

impl Address {
    /// Whether a text is meant as one: it has a scheme.
    pub fn looks_like_one(text: &str) -> bool {
        text.contains("://")
    }

    /// What the driver takes.
    pub fn uri(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host, self.port)
    }

    /// Whether the server's certificate is checked.
    pub fn checks_certificate(&self) -> bool {
        self.scheme.ends_with("+s")
    }

    /// The database that is asked for; none: the server's own default.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)?;
        self.database.iter().try_for_each(|d| write!(f, "?database={d}"))
    }
}

impl FromStr for Address {
    type Err = StoreError;

    /// Reads an address. The error never repeats a text that may hold a password.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let refused = |why: String| StoreError::Refused(format!("this is no address of a Neo4j: {why}"));
        let example = "give it as bolt://HOST:7687, or bolt+s://HOST:7687 for TLS";
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(|| refused(example.to_owned()))?;
        let Some(scheme) = SCHEMES.iter().copied().find(|s| s.eq_ignore_ascii_case(scheme)) else {
            let shown: String = scheme.chars().take(12).collect();
            return Err(refused(format!("`{shown}` is none of the schemes {}; {example}", SCHEMES.join(", "))));
        };
        let (before, query) = rest.split_once('?').map_or((rest, None), |(b, q)| (b, Some(q)));
        let authority = before.strip_suffix('/').unwrap_or(before);
        if rest.contains('@') {
            return Err(refused(
                "user and password do not belong into it; set TAPIO_NEO4J_USER, and TAPIO_NEO4J_PASSWORD or \
                 TAPIO_NEO4J_PASSWORD_FILE"
                    .to_owned(),
            ));
        }
        let end_of_host = authority.rfind(']').map_or(0, |i| i + 1);
        let (host, port) = match authority[end_of_host..].find(':') {
            Some(colon) => {
                let (host, port) = authority.split_at(end_of_host + colon);
                let port = port[1..].parse::<u16>().ok().filter(|p| *p > 0);
                (host, port.ok_or_else(|| refused("its port is no number from 1 to 65535".to_owned()))?)
            }
            None => (authority, DEFAULT_PORT),
        };
        let in_brackets = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let good = match in_brackets {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || ".-_".contains(c)),
        };
        if !good || host.len() > 253 {
            return Err(refused(format!("its host is no name and no address; {example}")));
        }
        let database = query.map(|q| database(q).map_err(refused)).transpose()?;
        Ok(Address { scheme, host: host.to_owned(), port, database })
    }
}

fn database(query: &str) -> Result<String, String> {
    let Some(name) = query.strip_prefix("database=") else {
        return Err("only ?database=NAME may stand behind the port".to_owned());
    };
    let good = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if name.is_empty() || name.len() > 65 || !name.chars().all(good) {
        return Err("the name of a database has 1 to 65 letters, digits, dots and dashes".to_owned());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, uri, shown) in [
            ("bolt://h", "bolt://h:7687", "bolt://h:7687"),
            ("BOLT+S://db.example.org:1/", "bolt+s://db.example.org:1", "bolt+s://db.example.org:1"),
            ("neo4j://[::1]:9?database=a-b", "neo4j://[::1]:9", "neo4j://[::1]:9?database=a-b"),
            ("bolt://[::1]", "bolt://[::1]:7687", "bolt://[::1]:7687"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.uri().as_str(), address.to_string().as_str()), (uri, shown));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_secrets() {
        for text in [
            "",
            "h:7687",
            "http://h:7474",
            "bolt://",
            "bolt://h:0",
            "bolt://h:99999",
            "bolt://h:x",
            "bolt://h/db",
            "bolt://h?db=x",
            "bolt://h?database=",
            "bolt://h?database=a&x=1",
            "bolt://[::zz]",
            "bolt://neo4j:hunter2@h",
            "bolt://h?password=hunter2@x",
            "bolt://a b",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("no address") && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
