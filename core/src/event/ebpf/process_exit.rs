//! `ProcessExit`: a process of a container ended, by a signal or with a code.
//!
//! ```json
//! {"namespace":"shop","pod":"cart-1","uid":"…","container":"app","pid":4711,"comm":"app","exit_code":1,"signal":0,
//!  "oom":false,"main":true}
//! ```
//! All optional. `main` tells the container's first process; `oom` that the kernel had picked it as victim.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, Whom, one, read};
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "ebpf",
    raw_type: "ProcessExit",
    kinds: &[EventKind::ProcessExit],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"ProcessExit","source":"ebpf_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"namespace":"shop","pod":"cart-5f9dbcfb-82fb7","uid":"ab76584e-5003-422d-abe5-2a89ec64816c","container":"app","pid":4711,"comm":"app","exit_code":0,"signal":11,"oom":false,"main":true}}"#,
    ],
    about: "a process of a container ended",
};

shape! {
    /// The end of a process.
    struct ProcessExit {
        /// Namespace of the pod.
        namespace: Text<'a>,
        /// Pod whose process it is, where the agent knows it.
        pod: Text<'a>,
        /// Its uid.
        uid: Text<'a>,
        /// Its container.
        container: Text<'a>,
        /// Process.
        pid: i64,
        /// Its command.
        comm: Text<'a>,
        /// Its exit code.
        exit_code: i64,
        /// The signal that ended it, 0 if none.
        signal: i64,
        /// Whether the kernel had picked it as victim of memory shortage.
        oom: bool,
        /// Whether it was the container's first process.
        main: bool,
    }
}

/// Normalises one exit.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: ProcessExit = read(raw)?;
    let whom = Whom {
        namespace: &data.namespace,
        pod: &data.pod,
        uid: &data.uid,
        container: &data.container,
        otherwise: &data.comm,
    };
    let severity = match (data.signal, data.exit_code) {
        (0, 0) => Severity::Info,
        // Asked to end.
        (15, _) => Severity::Low,
        _ => Severity::Medium,
    };
    let how = match (data.signal, data.oom) {
        (0, _) => format!("with exit code {}", data.exit_code),
        (signal, false) => format!("by signal {signal}"),
        (signal, true) => format!("by signal {signal} for memory"),
    };
    let message = format!("process {} (pid {}) of {} ended {how}", data.comm, data.pid, whom.name());
    let mut event = whom
        .event(raw, EventKind::ProcessExit, &[&data.pid.to_string()])
        .saying(severity, message)
        .with("exit_code", data.exit_code.to_string())
        .with("pid", data.pid.to_string());
    if data.signal != 0 {
        event = event.with("signal", data.signal.to_string());
    }
    if data.oom {
        event = event.with("oom", "true");
    }
    if data.main {
        event = event.with("main", "true");
    }
    Ok(one(event, Payload::ProcessExit(data)))
}
