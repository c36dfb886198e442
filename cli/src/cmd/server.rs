//! `tapio server`: the role behind a cluster's agents; one of several leads.

use std::net::SocketAddr;
use std::path::PathBuf;

use tapio_api::TlsFiles;

use super::Session;
use super::audience::{Audience, Wish};
use crate::args::{Cluster, Format, Out};
use crate::error::{Failure, Outcome};
use crate::wire::live::server::{Lease, Server, Settings, Who};
use crate::wire::operations::Standing;
use crate::wire::{Interrupt, api, logging};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio server --data-dir /var/lib/tapio --listen 0.0.0.0:8443 --tls-cert tls.crt --tls-key tls.key
                                                in a pod, as deploy/ runs it: agents are ServiceAccount tapio-agent
  tapio server --agent-token-file token         beside a kubeconfig, on this machine alone; agents have the same file
  curl -s localhost:7470/readyz                 what is not ready, who leads, which kinds are not seen

It watches the cluster as `tapio up` does, and takes in what agents send (POST /v1/ingest). In a cluster it leads by a
Lease in its namespace; others stand by, and take over from the data folder. Two ports, both on this machine alone
unless you say otherwise: --listen for agents, probes and /metrics, --api-listen for people, with the same HTTP API as
`up` has (`kubectl port-forward` reaches it in a pod). Ctrl-C or SIGTERM finishes what was taken in and gives the Lease
back.
Data lie in --data-dir, else in $XDG_DATA_HOME/tapio/CONTEXT or ~/.local/share/tapio/CONTEXT.";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Keep event log and graph in this folder
    #[arg(long, value_name = "DIR", env = "TAPIO_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Name of the cluster in answers; else that of the context
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Address for agents, probes and metrics; 0.0.0.0:PORT for every address of this machine
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = api::listen_address, default_value = "127.0.0.1:7470")]
    listen: SocketAddr,
    /// Address of the HTTP API for people; port 0 takes any that is free [default: 127.0.0.1:7878]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = api::listen_address, conflicts_with = "no_api")]
    api_listen: Option<SocketAddr>,
    /// No HTTP API for people
    #[arg(long)]
    no_api: bool,
    /// PEM file with the server's certificate and those that signed it; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Agents' ServiceAccount; may be given several times; else tapio-agent in the server's own namespace
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = account, conflicts_with = "agent_token_file")]
    agent_account: Vec<String>,
    /// Agents show the token in this file instead of a ServiceAccount's
    #[arg(long, value_name = "FILE")]
    agent_token_file: Option<PathBuf>,
    /// Lead by this Lease; in a cluster `tapio` in the server's own namespace, outside none
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = account, conflicts_with = "no_lease")]
    lease: Option<String>,
    /// Lead without asking: there is no other one
    #[arg(long)]
    no_lease: bool,
    /// Name in the Lease, which no other server may have; else that of the pod, or one made up
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
    #[command(flatten)]
    at: Cluster,
    #[command(flatten)]
    out: Out,
}

/// `NAMESPACE/NAME`.
fn account(text: &str) -> Result<String, String> {
    let plain = |s: &str| {
        !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    };
    match text.split_once('/') {
        Some((ns, name)) if plain(ns) && plain(name) => Ok(text.to_owned()),
        _ => Err("give NAMESPACE/NAME, e.g. tapio/tapio-agent".to_owned()),
    }
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let format = session.screen.format(args.out.output);
    if format == Format::Yaml {
        return Err(Failure::input("a stream has no YAML form; give -o table, wide or json (one object a line)"));
    }
    let log_level = logging::start(session)?;
    let stop = Interrupt::listen()?;
    let settings = Settings {
        at: args.at.clone(),
        cluster: args.cluster.clone(),
        data_dir: args.data_dir.clone(),
        listen: args.listen,
        tls: args
            .tls_cert
            .clone()
            .zip(args.tls_key.clone())
            .map(|(cert_file, key_file)| TlsFiles { cert_file, key_file }),
        who: match &args.agent_token_file {
            Some(file) => Who::Shared(file.clone()),
            None => Who::Accounts(args.agent_account.clone()),
        },
        lease: match (&args.lease, args.no_lease) {
            (Some(name), _) => Lease::Named(name.clone()),
            (None, true) => Lease::Off,
            (None, false) => Lease::InCluster,
        },
        identity: args.identity.clone(),
    };
    let Some(mut server) = Server::open(session, settings, &stop)? else { return Ok(()) };
    let wish =
        Wish { cluster: server.cluster().to_owned(), format, listen: args.api_listen, no_api: args.no_api, log_level };
    while let Some(mut live) = server.lead(&stop)? {
        let (health, metrics) = server.shared();
        let mut audience = Audience::gather(session, &mut live, &wish, Standing::new(health, metrics))?;
        server.work(&mut live, &stop, &mut audience.listeners())?;
        drop(audience);
        server.leave(live);
        if stop.asked() {
            break;
        }
    }
    server.end();
    Ok(())
}
