//! `tapio agent`: the role on a node.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Session;
use crate::error::{Failure, Outcome};
use crate::wire::agent::{Agent, Settings};
use crate::wire::{Interrupt, api, logging};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio agent --server https://tapio.tapio.svc:7470 --ca-file /etc/tapio/ca.crt
                                                in a DaemonSet, as deploy/ runs it: NODE_NAME from the node
  tapio agent --node n1 --server http://127.0.0.1:7470 --token-file token --data-dir spool
                                                beside a server on this machine

It asks the kubelet of its node, reads nothing of the API server, and changes nothing. What it sees is kept in a spool
(agent.spool_max_bytes) until the server has acknowledged it: a server that is away costs disk, and nothing else. Where
the spool is full the oldest goes, is counted, and a fact says so. SIGTERM sends what is still there, for a few seconds.";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The server: https://HOST:PORT; http:// to this machine alone
    #[arg(long, value_name = "URL")]
    server: String,
    /// Name of the node
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    node: String,
    /// Keep the spool in this folder
    #[arg(long, value_name = "DIR", env = "TAPIO_DATA_DIR", default_value = "/var/lib/tapio-agent")]
    data_dir: PathBuf,
    /// PEM file of the authority that signed the server's certificate; else those of the system
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// File with the token for the server, read again as it changes
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/tapio/token")]
    token_file: PathBuf,
    /// Address of the node's kubelet; else that of the settings (kubelet.address), else the node's name
    #[arg(long, value_name = "ADDRESS", env = "KUBELET_ADDRESS")]
    kubelet_address: Option<String>,
    /// Address for probes and metrics (/livez, /readyz, /metrics); port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = api::listen_address, default_value = "127.0.0.1:7471")]
    listen: SocketAddr,
    /// Look at the files of the node's network, too (/etc/cni/net.d and host-local's addresses, read only)
    #[arg(long)]
    cni_files: bool,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if args.node.is_empty() || !args.node.chars().all(plain) {
        return Err(Failure::input(format!("`{}` is no name of a node; set NODE_NAME or --node", args.node)));
    }
    logging::start(session)?;
    let stop = Interrupt::listen()?;
    let settings = Settings {
        server: args.server.clone(),
        listen: args.listen,
        node: args.node.clone(),
        data_dir: args.data_dir.clone(),
        ca_file: args.ca_file.clone(),
        token_file: args.token_file.clone(),
        kubelet_address: args.kubelet_address.clone().filter(|a| !a.is_empty()),
        cni_files: args.cni_files,
    };
    Agent::open(session, settings)?.run(&stop)
}
