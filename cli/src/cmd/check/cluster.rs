//! `tapio check cluster`: what the credentials allow, and what will be missing.

use std::sync::Arc;

use tapio_cluster::{ApiError, Ask, Connection, event_resource};
use tapio_collectors::cluster::{Finding, Survey, survey};

use crate::args::{Cluster, Out};
use crate::cmd::Session;
use crate::config::SinkKind;
use crate::error::Outcome;
use crate::output::table::{Overflow, Table};
use crate::output::text::{clean, count};
use crate::wire::live::{Source, runtime};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio check cluster                           what `tapio up` may see of the current context's cluster
  tapio check cluster --context prod -n shop    one namespace of another
  tapio check cluster -o json | jq '.kinds[] | select(.refused != [])'

Nothing is read but the server's word on each right (SelfSubjectAccessReview). It ends with 0 also where rights are
missing: `tapio up` goes on without those kinds.";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    at: Cluster,
    #[command(flatten)]
    out: Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let runtime = runtime()?;
    let source = Source::open(session, &runtime, &args.at, None)?;
    let mut found = runtime.block_on(survey(Arc::clone(&source.connection), &source.config))?;
    let writes = session.config.alerts.sinks.iter().any(|s| s.kind == SinkKind::KubernetesEvent);
    if writes {
        found.kinds.push(runtime.block_on(events(&source.connection))?);
    }
    let format = session.screen.format(args.out.output);
    session.screen.show(format, &found, |wide| lay_out(session, &found, wide))
}

/// The one right to write that may be needed: for alerts as Events.
async fn events(connection: &Connection) -> Result<Finding, ApiError> {
    let resource = event_resource();
    let ask = Ask { verb: "create", resource: &resource, subresource: "", namespace: None };
    let verdict = connection.may(&ask).await?;
    let refused = if verdict.allowed { Vec::new() } else { vec!["create"] };
    let why = if verdict.allowed { String::new() } else { verdict.reason };
    let without_it = "incidents as Events on their objects (alerts of type kubernetes_event)";
    Ok(Finding { resource: resource.name(), needs: vec!["create"], refused, why, without_it })
}

fn lay_out(session: &Session, s: &Survey, wide: bool) -> String {
    let p = session.screen.paint;
    let user = s.user.as_ref().map(|u| format!(", as {u}")).unwrap_or_default();
    let mut out = format!("{} at {}, {}{user}\n", p.strong(&clean(&s.context)), s.server, s.version);
    if s.clock_ahead_secs != 0 {
        let way = if s.clock_ahead_secs > 0 { "ahead of" } else { "behind" };
        out.push_str(&format!(
            "its clock is {} s {way} this machine's; its time is used\n",
            s.clock_ahead_secs.unsigned_abs()
        ));
    }
    let refused: Vec<_> = s.kinds.iter().filter(|k| !k.refused.is_empty()).collect();
    let allowed = s.kinds.len() - refused.len();
    let all = if refused.is_empty() { p.good("all allowed") } else { p.doubtful("missing rights below") };
    out.push_str(&format!("{} of {} may be seen, {all}\n", allowed, count(s.kinds.len(), "kind")));
    if !refused.is_empty() || wide {
        out.push('\n');
        let mut t = Table::new(&["KIND", "NEEDS", "REFUSED", "WITHOUT IT NOTHING IS TOLD OF"]).indented(2);
        for k in s.kinds.iter().filter(|k| wide || !k.refused.is_empty()) {
            t.row([k.resource.clone(), k.needs.join(","), k.refused.join(","), k.without_it.to_owned()]);
        }
        out.push_str(&t.lay_out(session.screen.width, if wide { Overflow::Keep } else { Overflow::Wrap }, p));
    }
    if !s.kubelet.is_empty() {
        let refused: Vec<_> = s.kubelet.iter().filter(|k| !k.refused.is_empty()).collect();
        let allowed = s.kubelet.len() - refused.len();
        out.push_str(&format!(
            "\nat the kubelets {allowed} of {} rights (get), for agents on the nodes",
            s.kubelet.len()
        ));
        out.push_str(if refused.is_empty() { ", all allowed\n" } else { "; `up` needs none of them\n" });
        if !refused.is_empty() || wide {
            let mut t = Table::new(&["RIGHT", "ALLOWED", "WITHOUT IT NOTHING IS TOLD OF"]).indented(2);
            for k in s.kubelet.iter().filter(|k| wide || !k.refused.is_empty()) {
                let word = if k.refused.is_empty() { "yes" } else { "no" };
                t.row([k.resource.clone(), word.to_owned(), k.without_it.to_owned()]);
            }
            out.push_str(&t.lay_out(session.screen.width, if wide { Overflow::Keep } else { Overflow::Wrap }, p));
        }
    }
    if !s.switched_off.is_empty() {
        out.push_str("\nleft out by the settings:\n");
        for what in &s.switched_off {
            out.push_str(&format!("  {what}\n"));
        }
    }
    out
}
