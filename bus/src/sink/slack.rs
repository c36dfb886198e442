//! Slack, by an incoming webhook. Its address is the key to the channel, and hidden.
//!
//! Everything that comes from a cluster is escaped: `&`, `<` and `>` are the signs with which Slack makes links and calls
//! people (`<!channel>`). Code stands between backticks that the text itself cannot end.

use serde_json::{Value, json};
use tapio_core::alert::{Alert, Transition};
use tapio_core::ports::{AlertSink, BoxFuture, SinkError};
use tapio_core::time::Time;
use tapio_core::unified::Severity;

use super::hidden::Hidden;
use super::http::{Http, Post};

/// Characters of a header block that Slack takes.
const HEADER: usize = 150;
/// Characters of a section that Slack takes, less what escaping may add.
const SECTION: usize = 2_900;
/// Alerts of one message: Slack takes 50 blocks.
const AT_ONCE: usize = 8;
/// Lines of evidence, objects and symptoms; people open the incident for more.
const LINES: usize = 6;

/// A channel of Slack.
#[derive(Debug)]
pub struct Slack {
    url: Hidden,
    http: Http,
}

impl Slack {
    /// The channel behind a webhook's address, through `http`.
    pub fn new(url: Hidden, http: Http) -> Self {
        Slack { url, http }
    }
}

/// The message for some alerts.
fn message(alerts: &[Alert]) -> Value {
    let mut blocks = Vec::new();
    for (i, a) in alerts.iter().enumerate() {
        if i > 0 {
            blocks.push(json!({"type": "divider"}));
        }
        blocks.extend(of_alert(a));
    }
    let text = match alerts {
        [one] => escape(&one.headline()),
        many => format!("{} alerts of {}", many.len(), escape(many.first().map_or("", Alert::cluster))),
    };
    // No link of a text is unfolded: it was not meant as one.
    json!({"text": text, "unfurl_links": false, "unfurl_media": false, "blocks": blocks})
}

fn of_alert(a: &Alert) -> Vec<Value> {
    let section = |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": cut(&text, SECTION)}});
    let head = format!("{} {}", sign(a), a.headline());
    let mut out = vec![json!({"type": "header", "text": {"type": "plain_text", "text": cut(&head, HEADER)}})];
    let b = &a.body;
    let mut text = escape(&b.what);
    text.push_str(&format!("\n*since* {}", escape(&b.since)));
    if let Some(was) = a.was {
        text.push_str(&format!("\n*severity* {was} → {}", a.severity));
    }
    out.push(section(text));
    if b.mechanism.is_some() || !b.why.is_empty() {
        let lines = list(&b.why);
        out.push(section(format!("*why* {}{lines}", escape(&b.verdict()))));
    }
    let mut hit = String::new();
    if !b.hits.is_empty() {
        hit.push_str(&format!("*hits*{}", list(&b.hits)));
    }
    if !b.symptoms.is_empty() {
        let between = if hit.is_empty() { "" } else { "\n" };
        hit.push_str(&format!("{between}*noticed*{}", list(&b.symptoms)));
    }
    if !hit.is_empty() {
        out.push(section(hit));
    }
    if !b.next.is_empty() && a.transition != Transition::Resolved {
        let lines: Vec<String> = b.next.iter().map(|n| code(n)).collect();
        out.push(section(format!("*run*\n{}", lines.join("\n"))));
    }
    let about = format!("{} · {} · incident {}", escape(a.cluster()), a.severity, a.incident);
    out.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": about}]}));
    out
}

fn sign(a: &Alert) -> &'static str {
    match (a.transition, a.severity) {
        (Transition::Resolved, _) => "✅",
        (Transition::Test, _) => "🔧",
        (_, Severity::Critical) => "🔴",
        (_, Severity::High) => "🟠",
        (_, Severity::Medium) => "🟡",
        _ => "⚪",
    }
}

fn list(lines: &[String]) -> String {
    let mut out: String = lines.iter().take(LINES).map(|l| format!("\n• {}", escape(l))).collect();
    let more = lines.len().saturating_sub(LINES);
    if more > 0 {
        out.push_str(&format!("\n• and {more} more"));
    }
    out
}

/// A text in which nothing is a sign of Slack's.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Marks that turn the direction of writing.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c => out.push(c),
        }
    }
    out
}

fn code(text: &str) -> String {
    format!("`{}`", escape(text).replace('`', "'"))
}

/// Cut at a character, and not within an escape.
fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(max - 1).collect();
    if let Some(at) = out.rfind('&').filter(|at| !out[*at..].contains(';')) {
        out.truncate(at);
    }
    out.push('…');
    out
}

impl AlertSink for Slack {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn send<'a>(&'a self, alerts: &'a [Alert], _: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let url = self.url.get()?;
            for some in alerts.chunks(AT_ONCE) {
                let body = message(some).to_string().into_bytes();
                self.http
                    .post(Post { url: &url, token: None, content: "application/json", header: None, body })
                    .await?;
            }
            Ok(())
        })
    }

    fn takes_groups(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_a_sign_of_slack() {
        assert_eq!(escape("<!channel> a && b <http://x|y>"), "&lt;!channel&gt; a &amp;&amp; b &lt;http://x|y&gt;");
        assert_eq!(code("a `b` <c>"), "`a 'b' &lt;c&gt;`");
        assert_eq!(cut("aaaa&lt;", 7), "aaaa…");
        assert_eq!(cut("aaaa", 4), "aaaa");
    }
}
