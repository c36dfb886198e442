//! Valid inputs, damaged at random: never a panic, never a hang, and whatever comes out is whole.
//!
//! A few seconds by default; `TAPIO_FUZZ_SECS=600 cargo test --release --test fuzz` goes on for longer.

use std::io::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tapio_collectors::{Item, ReadOptions, open};

const JSON: &str = r#"{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"a","namespace":"n","creationTimestamp":"2026-01-01T00:00:00Z","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"},"managedFields":[{"manager":"m","fieldsV1":{"f:spec":{},"f:status":{}}}]},"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"http://u:p@h:80/x?y=z"},{"name":"B","value":"é\u0041\n"}],"args":["--password","x"]}]}}]}
==== START logs for container c of pod n/a ====
password=x token: "y" -----BEGIN PRIVATE KEY-----
==== END logs for container c of pod n/a ====
[{"labels":{"alertname":"x"},"startsAt":"2026-01-01T00:00:00Z"}]
"#;
const LINES: &str = r#"{"ts":"2026-01-01T00:00:00Z","type":"ADDED","object":{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"data":{"k":"djE="}}}
{"type":"MODIFIED","object":{"kind":"ConfigMap","metadata":{"name":"c","creationTimestamp":"2026-01-01T00:00:00Z"},"data":{"a":"x=http://a:1\nb: c:80, [::1]:5"}}}
{"type":"BOOKMARK","object":{}}
{"type":"ERROR","object":{"code":410}}
{"timestamp":"2026-01-01T00:00:01Z","type":"ContainerLog","source":"s","metadata":{"node":"n"},"data":{"lines":["Bearer eyJabc.def.ghi","a:b@c"]}}
"#;
const YAML: &str = "apiVersion: v1\nkind: List\nitems:\n- &a\n  apiVersion: v1\n  kind: Secret\n  metadata:\n    name: s\n    creationTimestamp: '2026-01-01T00:00:00Z'\n  data: {k: djE=}\n- *a\n---\nkind: Event\napiVersion: v1\nmetadata: {name: e}\n";
const SPLICES: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"{\"items\":[",
    b"null",
    b"1e999",
    b"\\ud800",
    b"password=",
    b"---\n",
    b"*a",
    b"==== START logs for container ",
    b"eyJ",
    b"-----BEGIN ",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
];

/// How one byte string is damaged.
#[derive(Clone, Debug)]
enum Damage {
    Cut(usize),
    Flip(usize, u8),
    Splice(usize, usize),
    Repeat(usize, usize, usize),
    Remove(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0usize..4_096;
    prop_oneof![
        at.clone().prop_map(Damage::Cut),
        (at.clone(), any::<u8>()).prop_map(|(a, b)| Damage::Flip(a, b)),
        (at.clone(), 0..SPLICES.len()).prop_map(|(a, s)| Damage::Splice(a, s)),
        (at.clone(), 1usize..64, 1usize..200).prop_map(|(a, n, r)| Damage::Repeat(a, n, r)),
        (at, 1usize..64).prop_map(|(a, n)| Damage::Remove(a, n)),
    ]
}

fn damaged(form: usize, damages: &[Damage]) -> Vec<u8> {
    let text = match form % 3 {
        0 => JSON,
        1 => LINES,
        _ => YAML,
    };
    let apply = |bytes: &mut Vec<u8>| {
        for d in damages {
            let n = bytes.len().max(1);
            match *d {
                Damage::Cut(at) => bytes.truncate(at % n),
                Damage::Flip(at, with) => {
                    if let Some(b) = bytes.get_mut(at % n) {
                        *b ^= with;
                    }
                }
                Damage::Splice(at, which) => {
                    let at = (at % n).min(bytes.len());
                    bytes.splice(at..at, SPLICES[which].iter().copied());
                }
                Damage::Repeat(at, len, times) => {
                    let at = (at % n).min(bytes.len());
                    let part = bytes[at..(at + len).min(bytes.len())].repeat(times);
                    bytes.splice(at..at, part);
                }
                Damage::Remove(at, len) => {
                    let at = (at % n).min(bytes.len());
                    bytes.drain(at..(at + len).min(bytes.len()));
                }
            }
        }
    };
    let mut bytes = text.as_bytes().to_vec();
    // Plain text damaged, or packed text damaged.
    match form / 3 {
        0 => apply(&mut bytes),
        1 => {
            bytes = zstd::encode_all(&bytes[..], 1).expect("encodes");
            apply(&mut bytes);
        }
        2 => {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(&bytes).expect("writes");
            bytes = gz.finish().expect("writes");
            apply(&mut bytes);
        }
        _ => {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append_data(&mut header, "n/pods.json", &bytes[..]).expect("writes");
            bytes = tar.into_inner().expect("writes");
            apply(&mut bytes);
        }
    }
    bytes
}

fn check(bytes: &[u8], names: &[&str]) {
    let tmp = tempfile::tempdir().expect("a folder");
    for name in names {
        let path = tmp.path().join(name);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("a folder");
        std::fs::write(path, bytes).expect("writes");
    }
    let began = Instant::now();
    let options = ReadOptions {
        max_line_bytes: 1 << 20,
        max_object_bytes: 1 << 20,
        max_total_bytes: 64 << 20,
        ..ReadOptions::default()
    };
    let single = tmp.path().join(names[0]);
    for input in [single, tmp.path().to_owned()] {
        let Ok(reader) = open(&[input], options.clone()) else { continue };
        for item in reader {
            match item {
                Item::Event(e) => {
                    let line = serde_json::to_string(&e).expect("an event is JSON");
                    assert!(!line.contains('\n'), "{line}");
                }
                Item::Dead(d) => {
                    assert!(!d.reason.contains("defect"), "panicked: {d:?}");
                    assert!(d.excerpt.len() <= 2_048);
                }
            }
        }
    }
    assert!(began.elapsed() < Duration::from_secs(10), "took {:?}", began.elapsed());
}

#[test]
fn damaged_input_never_panics_nor_hangs() {
    let secs = std::env::var("TAPIO_FUZZ_SECS").ok().and_then(|s| s.parse().ok()).unwrap_or(3u64);
    let until = Instant::now() + Duration::from_secs(secs);
    let seed = std::env::var("TAPIO_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1u64);
    let mut bytes = [0u8; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = (0usize..12, proptest::collection::vec(damage(), 0..6));
    let names = ["x.json", "n/p/c.log", "n/p/logs.txt", "connectivity.txt", "nodes/a/services.txt", "meta.json"];
    let mut runs = 0u64;
    while Instant::now() < until {
        let tree = strategy.new_tree(&mut runner).expect("a value");
        let (form, damages) = tree.current();
        let input = damaged(form, &damages);
        let r = std::panic::catch_unwind(|| check(&input, &names));
        if let Err(e) = r {
            eprintln!(
                "run {runs}: form {form}, {damages:?}\n{}",
                String::from_utf8_lossy(&input[..input.len().min(4_096)])
            );
            std::panic::resume_unwind(e);
        }
        runs += 1;
    }
    assert!(runs > 0);
}
