//! A batch on its way from an agent to a server: zstd over JSON lines, a head and then one event a line.
//!
//! ```json
//! {"version":1,"agent":"node-1","spool":"9f…","first":501,"count":2,"last":502}
//! {"timestamp":"…","type":"PodStatusUpdate","source":"kubelet_collector","metadata":{"node":"node-1"},"data":{…}}
//! {"timestamp":"…","type":"PodStats","source":"kubelet_collector","metadata":{"node":"node-1"},"data":{…}}
//! ```
//!
//! An event's number is its position in the agent's spool: `first` for the first line, one more for each line after it.
//! Records that the spool cannot read any more have no line: `last` says how far the batch reaches, whatever is in it.

use std::io::Read;

use serde::{Deserialize, Serialize};
use tapio_core::raw::{DeadLetter, RawEvent};

use super::Refusal;

/// Version of this form.
pub const VERSION: u32 = 1;
/// Bytes of a batch as it is sent: 4 MiB.
pub const PACKED_BYTES: usize = 4 << 20;
/// Bytes of a batch unpacked: 24 MiB.
pub const PLAIN_BYTES: usize = 24 << 20;
/// Events in a batch.
pub const EVENTS: usize = 5_000;
/// Length of an agent's name or a spool's, in bytes.
const NAME: usize = 253;
/// What a frame may ask its reader to keep in memory: 8 MiB.
const WINDOW_LOG: u32 = 23;
/// Level of compression: a higher one costs an agent more than it saves the network.
const LEVEL: i32 = 3;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the agent, which is that of its node.
    pub agent: String,
    /// What tells this spool of the agent's from any other that it had.
    pub spool: String,
    /// Number of the first event.
    pub first: u64,
    /// How many lines follow.
    pub count: usize,
    /// Number of the last event; `first + count - 1` where nothing is left out.
    pub last: u64,
    /// What comes before `first` is not in the spool any more: the server shall not ask for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begins: bool,
}

/// A batch as it came.
#[derive(Debug)]
pub struct Batch {
    /// Its first line.
    pub head: Head,
    /// Events with their line, from 1; what cannot be read is a dead letter.
    pub lines: Vec<Result<RawEvent, DeadLetter>>,
}

/// Packs events with their head.
///
/// # Errors
/// An event cannot be written as JSON, which is a defect.
pub fn pack(head: &Head, events: &[RawEvent]) -> std::io::Result<Vec<u8>> {
    let mut plain = serde_json::to_vec(head)?;
    plain.push(b'\n');
    for e in events {
        serde_json::to_writer(&mut plain, e)?;
        plain.push(b'\n');
    }
    zstd::bulk::compress(&plain, LEVEL)
}

/// Reads a batch; no more than [`PLAIN_BYTES`] are ever unpacked.
///
/// # Errors
/// [`Refusal::TooLarge`], or [`Refusal::Bad`] with what is wrong.
pub fn unpack(packed: &[u8]) -> Result<Batch, Refusal> {
    if packed.len() > PACKED_BYTES {
        return Err(Refusal::TooLarge(format!("a batch of {} bytes; at most {PACKED_BYTES} are taken", packed.len())));
    }
    let bad = |e: std::io::Error| Refusal::Bad(format!("the batch cannot be unpacked: {e}"));
    let mut plain = Vec::new();
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(bad)?;
    decoder.window_log_max(WINDOW_LOG).map_err(bad)?;
    decoder.take(PLAIN_BYTES as u64 + 1).read_to_end(&mut plain).map_err(bad)?;
    if plain.len() > PLAIN_BYTES {
        return Err(Refusal::TooLarge(format!("a batch that unpacks to more than {PLAIN_BYTES} bytes")));
    }
    let mut lines = plain.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    let head: Head = lines
        .next()
        .ok_or_else(|| Refusal::Bad("the batch is empty; its first line is its head".to_owned()))
        .and_then(|l| serde_json::from_slice(l).map_err(|e| Refusal::Bad(format!("head of the batch: {e}"))))?;
    check(&head)?;
    let mut out = Vec::with_capacity(head.count);
    for (n, line) in (1..).zip(lines) {
        if n > head.count {
            return Err(Refusal::Bad(format!("more lines than the {} of its head", head.count)));
        }
        out.push(serde_json::from_slice::<RawEvent>(line).map_err(|e| DeadLetter {
            origin: format!("agent {}", head.agent),
            line: Some(head.first + n as u64 - 1),
            reason: format!("not an event: {e}"),
            // Nobody masked it: what is not an event is not looked into.
            excerpt: format!("{} bytes", line.len()),
        }));
    }
    if out.len() < head.count {
        return Err(Refusal::Bad(format!("{} lines, and its head says {}: it was cut off", out.len(), head.count)));
    }
    Ok(Batch { head, lines: out })
}

fn check(head: &Head) -> Result<(), Refusal> {
    if head.version != VERSION {
        let say = format!("version {} of batches; this server takes version {VERSION}", head.version);
        return Err(Refusal::Bad(say));
    }
    for (what, name) in [("agent", &head.agent), ("spool", &head.spool)] {
        if !is_name(name) {
            return Err(Refusal::Bad(format!("`{what}` is no name: 1 to {NAME} letters, digits, `-`, `_` and `.`")));
        }
    }
    if head.count > EVENTS {
        return Err(Refusal::TooLarge(format!("{} events in a batch; at most {EVENTS} are taken", head.count)));
    }
    let span = head.last.checked_sub(head.first).and_then(|n| n.checked_add(1));
    if head.first == 0 || head.count == 0 || span.is_none_or(|n| n < head.count as u64) {
        let Head { first, last, count, .. } = head;
        return Err(Refusal::Bad(format!("{count} events cannot have the numbers {first} to {last}")));
    }
    Ok(())
}

/// Whether something can be the name of a node or a spool.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= NAME && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use tapio_core::time::Time;

    use super::*;

    fn head(first: u64, count: usize) -> Head {
        let last = first + count as u64 - 1;
        Head { version: VERSION, agent: "n1".into(), spool: "s".into(), first, count, last, begins: false }
    }

    fn event(n: i64) -> RawEvent {
        RawEvent {
            timestamp: Time::from_micros(1_800_000_000_000_000 + n),
            observed_at: None,
            kind: "PodStats".into(),
            source: "kubelet_collector".into(),
            metadata: Default::default(),
            data: serde_json::value::to_raw_value(&n).unwrap(),
        }
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let packed = pack(&head(7, 3), &[event(1), event(2), event(3)]).unwrap();
        let batch = unpack(&packed).unwrap();
        assert_eq!(batch.head, head(7, 3));
        let ids: Vec<_> = batch.lines.iter().map(|l| l.as_ref().unwrap().content_id()).collect();
        assert_eq!(ids, [event(1), event(2), event(3)].map(|e| e.content_id()));
    }

    #[test]
    fn damage_is_told_and_a_bad_line_is_a_dead_letter() {
        let packed = pack(&head(1, 2), &[event(1), event(2)]).unwrap();
        for cut in 0..packed.len() {
            assert!(unpack(&packed[..cut]).is_err(), "cut at {cut}");
        }
        let says = |packed: Vec<u8>| unpack(&packed).unwrap_err().to_string();
        assert!(says(pack(&head(1, 3), &[event(1)]).unwrap()).contains("cut off"));
        assert!(says(pack(&head(1, 1), &[event(1), event(2)]).unwrap()).contains("more lines"));
        assert!(says(pack(&Head { version: 9, ..head(1, 1) }, &[event(1)]).unwrap()).contains("version 9"));
        assert!(says(pack(&Head { agent: "a b".into(), ..head(1, 1) }, &[event(1)]).unwrap()).contains("no name"));
        assert!(says(pack(&Head { last: 0, ..head(1, 1) }, &[event(1)]).unwrap()).contains("numbers 1 to 0"));
        let mut plain = serde_json::to_vec(&head(5, 2)).unwrap();
        plain.extend(b"\n{\"password\":\"hunter2\"}\n");
        plain.extend(serde_json::to_vec(&event(1)).unwrap());
        let batch = unpack(&zstd::bulk::compress(&plain, 1).unwrap()).unwrap();
        let letter = batch.lines[0].as_ref().unwrap_err();
        assert!(letter.line == Some(5) && !format!("{letter:?}").contains("hunter2"), "{letter:?}");
        assert!(batch.lines[1].is_ok());
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = zstd::bulk::compress(&vec![b'x'; 40 << 20], 1).unwrap();
        assert!(bomb.len() < PACKED_BYTES);
        assert!(matches!(unpack(&bomb), Err(Refusal::TooLarge(_))));
    }
}
