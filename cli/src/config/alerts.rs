//! The sinks of alerts as they stand in the file. Secrets are named by the file or the variable that holds them; the
//! settings never hold one, so that printing them shows none.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tapio_bus::outbox::{GroupBy, Plan, SinkPlan};
use tapio_core::unified::Severity;

/// Sinks of one file.
const MAX_SINKS: usize = 50;
/// Characters of a sink's name.
const MAX_NAME: usize = 63;

/// Who is told of incidents, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AlertSettings {
    /// The sinks; none: nobody is told.
    pub(crate) sinks: Vec<SinkSettings>,
    /// Alerts that may wait for one sink; beyond that the oldest go, and are counted.
    pub(crate) max_pending: u32,
    /// Hours after which an alert that cannot be sent becomes a dead letter.
    pub(crate) give_up_hours: u64,
    /// Hours for which is kept what was told.
    pub(crate) keep_hours: u64,
}

impl Default for AlertSettings {
    fn default() -> Self {
        AlertSettings { sinks: Vec::new(), max_pending: 5_000, give_up_hours: 24, keep_hours: 7 * 24 }
    }
}

/// Which kind of sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SinkKind {
    /// Prometheus Alertmanager, API v2.
    Alertmanager,
    /// Slack's incoming webhook.
    Slack,
    /// PagerDuty Events API v2.
    Pagerduty,
    /// CloudEvents 1.0 by HTTP.
    Webhook,
    /// An Event in the cluster, on the object to change.
    KubernetesEvent,
    /// JSON lines on standard output.
    Stdout,
}

impl SinkKind {
    fn word(self) -> &'static str {
        match self {
            SinkKind::Alertmanager => "alertmanager",
            SinkKind::Slack => "slack",
            SinkKind::Pagerduty => "pagerduty",
            SinkKind::Webhook => "webhook",
            SinkKind::KubernetesEvent => "kubernetes_event",
            SinkKind::Stdout => "stdout",
        }
    }
}

/// One sink. Which fields it may have depends on its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SinkSettings {
    /// Its name, for commands and messages.
    pub(crate) name: String,
    /// Which kind of sink.
    #[serde(rename = "type")]
    pub(crate) kind: SinkKind,
    /// Its address, where that is no secret: Alertmanager, webhook, PagerDuty's other regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// File that holds its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url_file: Option<PathBuf>,
    /// Variable that holds its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url_env: Option<String>,
    /// File that holds its token: PagerDuty's routing key, a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// Variable that holds its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_env: Option<String>,
    /// File that holds the key with which a webhook's messages are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signing_key_file: Option<PathBuf>,
    /// Variable that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signing_key_env: Option<String>,
    /// PEM file with authorities to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Incidents below this are not told.
    #[serde(default = "low")]
    pub(crate) min_severity: Severity,
    /// What goes as one message: `none`, `namespace`, `cluster`, `owner`.
    #[serde(default)]
    pub(crate) group_by: GroupBy,
    /// Seconds that the first of a group waits for others.
    #[serde(default = "ten")]
    pub(crate) group_wait_secs: u64,
    /// Messages in a minute, the last of them a summary of what waits; 0: no limit. 30 for people, none for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_per_minute: Option<u32>,
    /// Seconds for one attempt.
    #[serde(default = "ten")]
    pub(crate) timeout_secs: u64,
    /// Alertmanager: seconds after which what is open is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resend_secs: Option<u32>,
    /// Alertmanager: seconds after which it takes for over what was not sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) valid_secs: Option<u32>,
}

fn low() -> Severity {
    Severity::Low
}

fn ten() -> u64 {
    10
}

impl SinkSettings {
    /// Messages in a minute.
    fn rate(&self) -> u32 {
        let usual = match self.kind {
            SinkKind::Alertmanager | SinkKind::Stdout | SinkKind::Webhook => 0,
            SinkKind::Slack | SinkKind::Pagerduty | SinkKind::KubernetesEvent => 30,
        };
        self.max_per_minute.unwrap_or(usual)
    }

    /// Seconds between two reminders, and for which one holds.
    pub(crate) fn reminders(&self) -> (u32, u32) {
        let resend = self.resend_secs.unwrap_or(60);
        (resend, self.valid_secs.unwrap_or(resend.saturating_mul(4)))
    }

    /// What is wrong with it, and what to do.
    fn check(&self) -> Result<(), String> {
        use SinkKind::{Alertmanager, KubernetesEvent, Pagerduty, Slack, Stdout, Webhook};
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.chars().all(word) {
            return Err(format!("a name has small letters, digits and hyphens, at most {MAX_NAME}"));
        }
        let given = [
            ("url", self.url.is_some(), &[Alertmanager, Webhook, Pagerduty, Slack][..]),
            ("url_file", self.url_file.is_some(), &[Alertmanager, Webhook, Slack][..]),
            ("url_env", self.url_env.is_some(), &[Alertmanager, Webhook, Slack][..]),
            ("token_file", self.token_file.is_some(), &[Alertmanager, Webhook, Pagerduty][..]),
            ("token_env", self.token_env.is_some(), &[Alertmanager, Webhook, Pagerduty][..]),
            ("signing_key_file", self.signing_key_file.is_some(), &[Webhook][..]),
            ("signing_key_env", self.signing_key_env.is_some(), &[Webhook][..]),
            ("ca_file", self.ca_file.is_some(), &[Alertmanager, Webhook, Pagerduty, Slack][..]),
            ("resend_secs", self.resend_secs.is_some(), &[Alertmanager][..]),
            ("valid_secs", self.valid_secs.is_some(), &[Alertmanager][..]),
            ("group_by", self.group_by != GroupBy::None, &[Alertmanager, Webhook, Slack, Stdout][..]),
        ];
        let mine = self.kind.word();
        if let Some((field, ..)) = given.iter().find(|(_, is, kinds)| *is && !kinds.contains(&self.kind)) {
            return Err(format!("{field} means nothing to a sink of type {mine}; leave it out"));
        }
        let one = |what: &str, n: usize, needed: bool| match n {
            0 if needed => Err(format!("it needs its {what}; give {what}_file or {what}_env")),
            0 | 1 => Ok(()),
            _ => Err(format!("give its {what} in one way only")),
        };
        let count = |list: [bool; 3]| list.into_iter().filter(|b| *b).count();
        let urls = count([self.url.is_some(), self.url_file.is_some(), self.url_env.is_some()]);
        let needs_url = matches!(self.kind, Alertmanager | Webhook | Slack);
        one("url", urls, needs_url)?;
        one(
            "token",
            count([self.token_file.is_some(), self.token_env.is_some(), false]),
            matches!(self.kind, Pagerduty),
        )?;
        one("signing_key", count([self.signing_key_file.is_some(), self.signing_key_env.is_some(), false]), false)?;
        if let Some(url) = &self.url {
            check_url(self.kind, url)?;
        }
        let (resend, valid) = self.reminders();
        if self.kind == Alertmanager && (resend < 5 || valid < resend.saturating_mul(2)) {
            return Err("resend_secs is 5 or more, and valid_secs at least twice as long".to_owned());
        }
        if matches!(self.kind, KubernetesEvent) && self.rate() == 0 {
            return Err("an API server is not to be flooded; give max_per_minute above 0".to_owned());
        }
        if !(1..=60).contains(&self.timeout_secs) || self.group_wait_secs > 3_600 {
            return Err("timeout_secs is 1 to 60, group_wait_secs at most 3600".to_owned());
        }
        Ok(())
    }
}

/// Refuses an address that is a secret, or none.
fn check_url(kind: SinkKind, url: &str) -> Result<(), String> {
    if kind == SinkKind::Slack {
        return Err("a webhook's address is the key to the channel; put it into a file or variable, and give \
                    url_file or url_env"
            .to_owned());
    }
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest.filter(|r| !r.is_empty() && !r.starts_with('/')) else {
        return Err("its url is none; write https://HOST/PATH".to_owned());
    };
    if rest.split('/').next().is_some_and(|host| host.contains('@')) || url.contains('?') {
        return Err("its url holds a password or query; put it into a file or variable, and give url_file or url_env"
            .to_owned());
    }
    Ok(())
}

impl AlertSettings {
    /// Refuses what cannot work; names the sink and says what to do.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.sinks.len() > MAX_SINKS {
            return Err(format!("alerts.sinks: there are {}, at most {MAX_SINKS} are allowed", self.sinks.len()));
        }
        if self.max_pending == 0 || self.give_up_hours == 0 || self.keep_hours == 0 {
            return Err("alerts: max_pending, give_up_hours and keep_hours are 1 or more".to_owned());
        }
        for (i, s) in self.sinks.iter().enumerate() {
            s.check().map_err(|why| format!("alerts.sinks[{i}] ({}): {why}", s.name))?;
            if self.sinks[..i].iter().any(|o| o.name == s.name) {
                return Err(format!("alerts.sinks[{i}] ({}): there are two of that name", s.name));
            }
        }
        Ok(())
    }

    /// As the outbox takes them.
    pub(crate) fn plan(&self, cluster: &str) -> Plan {
        const HOUR: u64 = 3_600 * 1_000;
        let sink = |s: &SinkSettings| SinkPlan {
            min_severity: s.min_severity,
            group_by: s.group_by,
            group_wait_millis: s.group_wait_secs * 1_000,
            max_per_minute: s.rate(),
            max_pending: self.max_pending,
            give_up_millis: self.give_up_hours.saturating_mul(HOUR),
            ..SinkPlan::new(&s.name)
        };
        Plan {
            cluster: cluster.to_owned(),
            sinks: self.sinks.iter().map(sink).collect(),
            keep_millis: self.keep_hours.saturating_mul(HOUR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn refused(sink: &str, says: &str) {
        let text = format!("alerts:\n  sinks:\n  - {}\n", sink.replace('\n', "\n  "));
        let why = Config::parse(&text).unwrap_err();
        assert!(why.contains(says), "expected `{says}` in: {why}");
    }

    #[test]
    fn a_sink_says_what_is_wrong_with_it() {
        refused("{name: a, type: slack, url: 'https://hooks.slack.com/services/T0/B0/x'}", "url_file or url_env");
        refused("{name: a, type: slack}", "give url_file or url_env");
        refused("{name: a, type: slack, url_file: f, url_env: E}", "in one way only");
        refused("{name: a, type: pagerduty}", "give token_file or token_env");
        refused("{name: a, type: alertmanager, url: 'am:9093'}", "write https://HOST/PATH");
        refused("{name: a, type: alertmanager, url: 'http://u:p@am:9093'}", "password");
        refused("{name: a, type: webhook, url: 'http://h/?token=x'}", "url_file");
        refused("{name: a, type: stdout, ca_file: f}", "means nothing to a sink of type stdout");
        refused("{name: a, type: pagerduty, token_env: E, group_by: cluster}", "group_by means nothing");
        refused("{name: A b, type: stdout}", "small letters");
        refused("{name: a, type: stdout}\n- {name: a, type: stdout}", "two of that name");
        refused("{name: a, type: email}", "email");
        refused("{name: a, type: stdout, colour: red}", "colour");
        refused(
            "{name: a, type: alertmanager, url: 'http://am:9093', resend_secs: 60, valid_secs: 60}",
            "twice as long",
        );
        refused("{name: a, type: stdout, timeout_secs: 0}", "timeout_secs");
    }

    #[test]
    fn what_is_in_force_shows_no_secret_and_reads_back() {
        let text = "alerts:\n  sinks:\n  - {name: am, type: alertmanager, url: 'http://am:9093', token_file: /run/t}\n  \
                    - {name: chat, type: slack, url_env: SLACK, min_severity: high, group_by: namespace}\n";
        let config = Config::parse(text).unwrap();
        let shown = crate::output::yaml(&config).unwrap();
        assert!(shown.contains("token_file: /run/t") && shown.contains("url_env: SLACK"), "{shown}");
        assert_eq!(Config::parse(&shown).unwrap().alerts, config.alerts);
        let plan = config.alerts.plan("main");
        assert_eq!((plan.sinks[0].max_per_minute, plan.sinks[1].max_per_minute), (0, 30));
    }
}
