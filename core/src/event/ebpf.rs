//! What the kernel of a node sees: connections, kills, exits, drops, names.
//!
//! The agent resolves process, cgroup and network namespace to the pod on its node before an observation leaves; where
//! it could not, `pod` is absent and the event is about the container, process or address. Repeated observations of one
//! kind are counted in the kernel; `count` says how many one event stands for.

pub mod dns_result;
pub mod network_connection;
pub mod oom_kill;
pub mod packet_drop;
pub mod process_exit;
pub mod tcp_retransmit;

pub use dns_result::DnsResult;
pub use network_connection::NetworkConnection;
pub use oom_kill::OomKill;
pub use packet_drop::PacketDrop;
pub use process_exit::ProcessExit;
pub use tcp_retransmit::TcpRetransmit;
