//! Which literal values may stay: addresses, plain numbers, booleans. Everything else becomes a keyed hash.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use super::text::is_denied_name;

/// Most addresses that are kept beside a hash.
const MAX_ADDRESSES: usize = 50;
/// Longest value that is looked at as one address or number, in bytes.
const MAX_PLAIN: usize = 512;

/// The value under `name` as it may leave: itself, or `<hash:…>` with the addresses it contains.
pub(super) fn redact<'a>(name: &str, value: &'a str, hash: impl Fn(&str) -> String) -> Cow<'a, str> {
    if value.is_empty() || is_redacted(value) {
        return Cow::Borrowed(value);
    }
    if is_denied_name(name) {
        return Cow::Owned(format!("<hash:{}>", hash(value)));
    }
    let trimmed = value.trim();
    if trimmed.len() <= MAX_PLAIN {
        if is_plain(trimmed) {
            return Cow::Borrowed(value);
        }
        if let Some(address) = address_list(trimmed, hints_at_address(name)) {
            return if address == value { Cow::Borrowed(value) } else { Cow::Owned(address) };
        }
    }
    let addresses = addresses_in(value);
    let h = hash(value);
    Cow::Owned(match addresses.is_empty() {
        true => format!("<hash:{h}>"),
        false => format!("<hash:{h} addresses: {}>", addresses.join(", ")),
    })
}

/// Whether the value is what [`redact`] makes: it must read back as itself.
fn is_redacted(value: &str) -> bool {
    let Some(inner) = value.strip_prefix("<hash:").and_then(|v| v.strip_suffix('>')) else {
        return value == super::text::MASK;
    };
    let (hash, addresses) = match inner.split_once(" addresses: ") {
        Some((h, a)) => (h, a),
        None => (inner, ""),
    };
    let hex = hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    hex && (addresses.is_empty() || addresses.split(", ").all(|a| address(a, true).as_deref() == Some(a)))
}

/// A plain number or a boolean.
fn is_plain(v: &str) -> bool {
    if v.len() <= 20 {
        let digits = v.strip_prefix(['-', '+']).unwrap_or(v);
        let mut dots = 0;
        let number = digits.bytes().next().is_some_and(|b| b.is_ascii_digit())
            && digits.bytes().all(|b| {
                dots += usize::from(b == b'.');
                b.is_ascii_digit() || b == b'.'
            })
            && dots <= 1;
        if number {
            return true;
        }
    }
    matches!(v.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "on" | "off")
}

/// Whether a name says that its value is a host, so that a single word may be one.
fn hints_at_address(name: &str) -> bool {
    const HINTS: [&str; 16] = [
        "host",
        "addr",
        "url",
        "uri",
        "server",
        "service",
        "svc",
        "endpoint",
        "broker",
        "upstream",
        "backend",
        "domain",
        "peer",
        "bootstrap",
        "target",
        "dns",
    ];
    let lower = name.to_ascii_lowercase();
    HINTS.iter().any(|h| lower.contains(h))
}

/// One address, or several with commas or spaces between; user-info, query and secret-looking paths removed.
fn address_list(v: &str, single_label: bool) -> Option<String> {
    let separator = |c: char| c == ',' || c == ' ' || c == ';';
    if !v.contains(separator) {
        return address(v, single_label);
    }
    let mut list = String::with_capacity(v.len());
    for part in v.split_inclusive(separator) {
        let one = part.trim_end_matches(separator);
        if !one.is_empty() {
            list.push_str(&address(one, single_label)?);
        }
        list.push_str(&part[one.len()..]);
    }
    Some(list)
}

/// One address in the form in which it is kept.
fn address(v: &str, single_label: bool) -> Option<String> {
    if v.is_empty() || v.len() > MAX_PLAIN {
        return None;
    }
    if let Some((scheme, rest)) = v.split_once("://") {
        let known = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b':'));
        if !known || scheme.is_empty() || scheme.len() > 40 {
            return None;
        }
        let end = rest.find(['/', '?', '#', ';']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let hosts = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
        if hosts.is_empty() || !hosts.split(',').all(|h| host_port(h, true)) {
            return None;
        }
        let path = tail.split(['?', '#', ';']).next().unwrap_or("");
        return Some(format!("{scheme}://{hosts}{}", if is_simple_path(path) { path } else { "/…" }));
    }
    let (host, path) = match v.split_once('/') {
        // A network in CIDR form.
        Some((ip, bits)) if ip.parse::<IpAddr>().is_ok() => {
            return bits.parse::<u8>().is_ok_and(|b| b <= 128).then(|| v.to_owned());
        }
        Some((h, _)) if h.contains(':') => (h, &v[h.len()..]),
        Some(_) => return None,
        None => (v, ""),
    };
    if !host_port(host, single_label) || !is_simple_path(path) {
        return None;
    }
    Some(v.to_owned())
}

/// Whether a path holds nothing that could be a token (Slack's webhooks have it there).
fn is_simple_path(path: &str) -> bool {
    path.is_ascii()
        && !path.contains('…')
        && path.split('/').all(|s| {
            let digits = s.bytes().filter(u8::is_ascii_digit).count();
            s.len() <= 40
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
                && (digits < 4 || s.len() < 12)
                && !(digits > 0 && s.len() >= 9 && s.bytes().any(|b| b.is_ascii_uppercase()))
                && !(s.len() >= 20
                    && s.bytes().any(|b| b.is_ascii_uppercase())
                    && s.bytes().any(|b| b.is_ascii_lowercase()))
        })
        || path == "/…"
}

/// `host`, `host:port`, `:port`, `10.0.0.1`, `[::1]:80`. A single word only where `single_label` allows it.
fn host_port(v: &str, single_label: bool) -> bool {
    if v.parse::<IpAddr>().is_ok() {
        return true;
    }
    let (host, port) = match v.rsplit_once(':') {
        Some((h, p)) => (h, Some(p)),
        None => (v, None),
    };
    if let Some(p) = port
        && !(p.parse::<u16>().is_ok_and(|n| n > 0) && p.bytes().all(|b| b.is_ascii_digit()) || is_reference(p))
    {
        return false;
    }
    if host.is_empty() {
        return port.is_some();
    }
    if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return v6.parse::<Ipv6Addr>().is_ok();
    }
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let dotted = host.contains('.');
    is_host_name(host, dotted) && (dotted || port.is_some() || single_label)
}

/// `$(NAME)`: a reference to another variable, not a value.
fn is_reference(v: &str) -> bool {
    v.starts_with("$(") && without_references(v).as_ref() == "x"
}

/// The text with every `$(NAME)` and `${NAME}` made an `x`, as a part of a host name may be.
fn without_references(v: &str) -> Cow<'_, str> {
    if !v.contains('$') {
        return Cow::Borrowed(v);
    }
    let mut out = String::with_capacity(v.len());
    let mut rest = v;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let inner = &rest[at + 1..];
        let close = match inner.as_bytes().first() {
            Some(b'(') => ')',
            Some(b'{') => '}',
            _ => return Cow::Borrowed(v),
        };
        let Some(end) = inner.find(close) else { return Cow::Borrowed(v) };
        let name = &inner[1..end];
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')) {
            return Cow::Borrowed(v);
        }
        out.push('x');
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn is_host_name(host: &str, dotted: bool) -> bool {
    let host = without_references(host);
    let host = host.strip_suffix('.').unwrap_or(&host);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    let last = host.rsplit('.').next().unwrap_or("");
    host.len() <= 253
        && host.split('.').all(label)
        && host.bytes().any(|b| b.is_ascii_lowercase())
        && (!dotted || last.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
}

/// Addresses inside of a longer text, each once, in order. Lines whose key is deny-listed are passed over.
fn addresses_in(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text.lines().take(2_000) {
        let key_end = line.find(['=', ':']).unwrap_or(0);
        let key = line.get(..key_end).unwrap_or("").trim().trim_matches(['"', '\'']);
        if is_denied_name(key) {
            continue;
        }
        let hint = hints_at_address(key);
        for token in line.get(..4_096.min(line.len())).unwrap_or("").split(|c: char| {
            c.is_whitespace()
                || matches!(c, '"' | '\'' | '`' | ',' | ';' | '=' | '(' | ')' | '<' | '>' | '|' | '{' | '}')
        }) {
            let token = token.trim_end_matches(['.', ':', ']']);
            if let Some(a) = worth_keeping(token, hint && !token.is_empty() && token != key) {
                if !found.contains(&a) {
                    found.push(a);
                }
                if found.len() >= MAX_ADDRESSES {
                    return found;
                }
            }
        }
    }
    found
}

/// A word of a text that is surely an address; `hint`: its line's key speaks of hosts.
fn worth_keeping(token: &str, hint: bool) -> Option<String> {
    if token.len() < 3 || token.len() > 256 {
        return None;
    }
    if let Some((scheme, rest)) = token.split_once("://") {
        let end = rest.find(['/', '?', '#', ';']).unwrap_or(rest.len());
        let hosts = rest.get(..end).unwrap_or("");
        let hosts = hosts.rsplit_once('@').map_or(hosts, |(_, h)| h);
        return address(&format!("{scheme}://{hosts}"), true);
    }
    let host = token.split('/').next().unwrap_or("");
    let port = host.rsplit_once(':').is_some_and(|(h, p)| h.len() > 1 && p.len() >= 2 && host_port(host, false));
    let cluster = host.ends_with(".local") || host.ends_with(".svc") || host.contains(".svc.");
    let single = hint && host == token && !is_plain(host) && host.bytes().all(|b| b != b'_' && b != b':');
    if port
        || (cluster && host_port(host, false))
        || host.parse::<IpAddr>().is_ok()
        || (single && host_port(host, true))
    {
        return address(host, true);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(name: &str, value: &str) -> String {
        redact(name, value, |_| "0123456789abcdef".into()).into_owned()
    }

    #[test]
    fn addresses_numbers_and_booleans_stay() {
        for (name, value) in [
            ("PORT", "8080"),
            ("RATIO", "-0.5"),
            ("DEBUG", "True"),
            ("A", "redis-cart:6379"),
            ("A", "http://web:8080/api"),
            ("A", "jdbc:mysql://db:3306/orders"),
            ("A", "db.prod.svc.cluster.local"),
            ("A", "10.0.0.7"),
            ("A", "10.0.0.0/8"),
            ("A", "[::1]:80"),
            ("A", "k-0:9092,k-1:9092"),
            ("REDIS_HOST", "redis-cart"),
            ("A", "http://$(HOST):8080"),
            ("A", "n-0.n.svc:8848 n-1.n.svc:8848"),
            ("HOST", "$(POD_NAME).db.svc.cluster.local"),
            ("A", ":8080"),
            ("A", ""),
            ("A", "<hash:0123456789abcdef>"),
            ("A", "<hash:0123456789abcdef addresses: a:80, http://b:8080>"),
        ] {
            assert_eq!(r(name, value), value, "{name}");
        }
    }

    #[test]
    fn everything_else_becomes_a_hash() {
        let h = "<hash:0123456789abcdef>";
        for (name, value) in [
            ("A", "hunter2"),
            ("A", "Secret Word"),
            ("DB_PASSWORD", "12345"),
            ("API_TOKEN", "web:8080"),
            ("A", "eyJhbGciOi.eyJzdWIi.c2ln"),
            ("A", "07401b.f395accd246ae52d"),
            ("A", "60s"),
            ("A", "<hash:zz>"),
        ] {
            assert_eq!(r(name, value), h, "{name}={value}");
        }
    }

    #[test]
    fn urls_lose_what_can_be_a_secret() {
        assert_eq!(r("A", "amqp://u:p@rabbit:5672/v"), "amqp://rabbit:5672/v");
        assert_eq!(r("A", "jdbc:mysql://db:3306/x?user=a&password=b"), "jdbc:mysql://db:3306/x");
        assert_eq!(
            r("A", "https://hooks.slack.com/services/T0A1B2C3D/B0A1B2C3D/XyZ12345678"),
            "https://hooks.slack.com/…"
        );
    }

    #[test]
    fn a_file_keeps_the_addresses_it_names() {
        let file = "listen: 0.0.0.0\nstore = db:6380\nupstream: http://u:p@web:8080/x?k=v\nredis.host=redis-cart\npassword=web:1234\nread_timeout: 2 sec\n";
        assert_eq!(
            r("app.conf", file),
            "<hash:0123456789abcdef addresses: 0.0.0.0, db:6380, http://web:8080, redis-cart>"
        );
        let again = r("app.conf", &r("app.conf", file));
        assert_eq!(again, r("app.conf", file));
    }
}
