//! Whole inputs through the public door: every form of a dump gives the same events, nothing secret gets out, and
//! bad input costs only itself.

#![allow(clippy::unwrap_used, reason = "a test ends where its own tools fail")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tapio_collectors::recording::Writer;
use tapio_collectors::{Item, ReadError, ReadOptions, open};
use tapio_core::raw::{DeadLetter, RawEvent};

fn read(inputs: &[PathBuf]) -> (Vec<RawEvent>, Vec<DeadLetter>) {
    read_with(inputs, ReadOptions::default())
}

fn read_with(inputs: &[PathBuf], options: ReadOptions) -> (Vec<RawEvent>, Vec<DeadLetter>) {
    let (mut events, mut dead) = (Vec::new(), Vec::new());
    for item in open(inputs, options).expect("opens") {
        match item {
            Item::Event(e) => events.push(e),
            Item::Dead(d) => dead.push(d),
        }
    }
    (events, dead)
}

fn put(root: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn lines(events: &[RawEvent]) -> Vec<String> {
    events.iter().map(|e| format!("{} {} {}", e.timestamp, e.kind, e.data.get())).collect()
}

const POD: &str = r#"{"metadata":{"name":"web-1","namespace":"shop","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"containers":[{"name":"c"}]},"status":{"phase":"Running"}}"#;

fn dump(root: &Path) {
    put(root, "meta.json", r#"{"collected_at":"2026-01-01T10:00:00Z"}"#);
    put(
        root,
        "shop/pods.json",
        format!("{{\n  \"kind\": \"PodList\",\n  \"apiVersion\": \"v1\",\n  \"items\": [\n{POD}\n]}}"),
    );
    put(root, "shop/networkpolicies.json", r#"{"apiVersion":"v1","kind":"List","items":[]}"#);
    put(
        root,
        "shop/replication-controllers.json",
        r#"{"kind":"ReplicationControllerList","apiVersion":"v1","items":null}"#,
    );
    put(
        root,
        "shop/events.yaml",
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Event\n  metadata: {name: e1, namespace: shop}\n  reason: BackOff\n  lastTimestamp: '2026-01-01T09:59:00Z'\n",
    );
    put(root, "shop/web-1/c.log", "\u{1b}[31mone\u{1b}[0m\r\ntwo\n");
    put(root, "shop/web-1/c.previous.log", "");
    put(
        root,
        "shop/web-2/logs.txt",
        "==== START logs for container a of pod shop/web-2 ====\nx\n==== END logs for container a of pod shop/web-2 ====\n==== START logs for container b of pod shop/web-2 ====\ny\n==== END logs for container b of pod shop/web-2 ====\n",
    );
    put(root, "nodes/n1/services.txt", "kubelet inactive (dead) since 2026-01-01T09:00:00Z\n");
    put(root, "connectivity.txt", "shop/web:80 from n1: no answer\n");
    put(root, "alerts.json", r#"[{"labels":{"alertname":"A"},"startsAt":"2026-01-01T09:30:00Z"}]"#);
    put(root, "README.md", "nothing\n");
    put(root, "picture.png", b"\x89PNG\r\n\x1a\n\0\0");
}

fn tar_of(root: &Path, prefix: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(prefix, root).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn a_dump_gives_the_same_events_as_a_folder_and_as_any_archive() {
    let tmp = tempfile::tempdir().unwrap();
    let root = tmp.path().join("dump");
    dump(&root);
    let (events, dead) = read(std::slice::from_ref(&root));
    assert_eq!(dead, []);
    let got = lines(&events);
    let text = got.join("\n");
    for want in [
        "2026-01-01T10:00:00Z ObjectAdded {\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"web-1\"",
        "Event {\"apiVersion\":\"v1\",\"kind\":\"Event\"",
        r#"ContainerLog {"container":"c","lines":["one","two"],"namespace":"shop","pod":"web-1","previous":false,"truncated":false}"#,
        r#"ContainerLog {"container":"c","lines":[],"namespace":"shop","pod":"web-1","previous":true,"truncated":false}"#,
        r#"ContainerLog {"container":"a","lines":["x"],"namespace":"shop","pod":"web-2""#,
        r#"ContainerLog {"container":"b","lines":["y"],"namespace":"shop","pod":"web-2""#,
        r#"NodeServiceState {"node":"n1","says":"#,
        r#"ServiceProbe {"address":null,"from":"n1","namespace":"shop","ok":false,"outcome":"timeout""#,
        r#"Alert {"labels":{"alertname":"A"}"#,
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    assert_eq!(
        got.last().unwrap(),
        r#"2026-01-01T10:00:00Z SnapshotTaken {"collected_at":"2026-01-01T10:00:00Z","kinds":[{"kind":"Event","namespace":"shop"},{"kind":"NetworkPolicy","namespace":"shop"},{"kind":"Pod","namespace":"shop"},{"kind":"ReplicationController","namespace":"shop"}]}"#
    );

    let mut want = got;
    want.sort();
    let tar = tar_of(&root, "any/where");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&tar).unwrap();
    for (name, bytes) in [
        ("d.tar", tar.clone()),
        ("d.tgz", gz.finish().unwrap()),
        ("d.tar.zst", zstd::encode_all(&tar[..], 1).unwrap()),
        ("noname", tar_of(&root, "./")),
    ] {
        let (events, dead) = read(&[put(tmp.path(), name, bytes)]);
        assert_eq!(dead, [], "{name}");
        let mut got = lines(&events);
        got.sort();
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn two_dumps_keep_their_own_moments_and_one_without_takes_its_newest_time() {
    let tmp = tempfile::tempdir().unwrap();
    dump(&tmp.path().join("a"));
    dump(&tmp.path().join("b"));
    put(tmp.path(), "b/meta.json", r#"{"collected_at":"2026-01-02T10:00:00Z"}"#);
    let taken = |inputs: &[PathBuf]| -> Vec<String> {
        read(inputs).0.iter().filter(|e| e.kind == "SnapshotTaken").map(|e| e.timestamp.to_string()).collect()
    };
    let both = ["2026-01-01T10:00:00Z", "2026-01-02T10:00:00Z"];
    assert_eq!(taken(&[tmp.path().join("a"), tmp.path().join("b")]), both);
    assert_eq!(taken(&[tmp.path().to_owned()]), both);
    fs::remove_file(tmp.path().join("a/meta.json")).unwrap();
    assert_eq!(taken(&[tmp.path().join("a")]), ["2026-01-01T09:59:00Z"]);
    // Single files are one dump together.
    assert_eq!(
        taken(&[tmp.path().join("a/shop/pods.json"), tmp.path().join("a/shop/events.yaml")]),
        ["2026-01-01T09:59:00Z"]
    );
}

#[test]
fn watches_recorded_events_and_kubectls_own_output_mix_freely() {
    let tmp = tempfile::tempdir().unwrap();
    let object = |t: &str, v: u32| {
        format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"c","creationTimestamp":"{t}","resourceVersion":"{v}"}}}}"#
        )
    };
    let pretty = format!("{{\n    \"type\": \"ADDED\",\n    \"object\": {}\n}}\n", object("2026-01-01T00:00:05Z", 1));
    let text = [
        format!(r#"{{"ts":"2026-01-01T00:00:00.5Z","type":"ADDED","object":{}}}"#, object("2026-01-01T00:00:00Z", 1)),
        "\u{feff}".to_owned(),
        r#"{"timestamp":"2026-01-01T00:00:01Z","type":"Whatever","source":"x","metadata":{"cluster":"m"},"data":{"a":1}}"#.to_owned(),
        pretty,
        format!(r#"{{"type":"MODIFIED","object":{}}}"#, object("2026-01-01T00:00:02Z", 2)),
        r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"9"}}}"#.to_owned(),
        r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#.to_owned(),
        format!(r#"{{"ts":"2026-01-01T00:00:09Z","type":"DELETED","object":{}}}"#, object("2026-01-01T00:00:02Z", 3)),
        r#"{"ts":"2026-01-01T00:00:10Z","type":"MODIFIED","object":{"kind":"Event","apiVersion":"v1","metadata":{"name":"e"}}}"#.to_owned(),
    ];
    let (events, dead) = read(&[put(tmp.path(), "r", text.join("\r\n"))]);
    let got: Vec<String> = events.iter().map(|e| format!("{} {}", e.timestamp, e.kind)).collect();
    assert_eq!(
        got,
        [
            "2026-01-01T00:00:00.500Z ObjectAdded",
            "2026-01-01T00:00:01Z Whatever",
            "2026-01-01T00:00:05Z ObjectAdded",
            "2026-01-01T00:00:05Z ObjectModified",
            "2026-01-01T00:00:05Z Heartbeat",
            "2026-01-01T00:00:05Z Gap",
            "2026-01-01T00:00:09Z ObjectDeleted",
            "2026-01-01T00:00:10Z Event",
        ]
    );
    assert_eq!(dead.len(), 1, "{dead:?}"); // the byte order mark in the middle
    assert!(events.iter().all(|e| e.data.get().find('\n').is_none()));

    // `kubectl get -w -o json`: the same object again is a watch, each with its own time.
    let text = format!("{}\n{}\n", object("2026-01-01T00:00:01Z", 1), object("2026-01-01T00:00:03Z", 2));
    let (events, _) = read(&[put(tmp.path(), "w", text)]);
    let got: Vec<String> = events.iter().map(|e| format!("{} {}", e.timestamp, e.kind)).collect();
    assert_eq!(got, ["2026-01-01T00:00:01Z ObjectAdded", "2026-01-01T00:00:03Z ObjectAdded"]);
}

#[test]
fn what_the_writer_writes_reads_back_as_it_was() {
    let tmp = tempfile::tempdir().unwrap();
    dump(&tmp.path().join("d"));
    let (events, _) = read(&[tmp.path().join("d")]);
    for name in ["r.jsonl", "r.jsonl.gz", "r.jsonl.zst"] {
        let path = tmp.path().join(name);
        let mut writer = Writer::create(&path).unwrap();
        for e in &events {
            writer.write(e).unwrap();
        }
        writer.flush().unwrap();
        writer.finish().unwrap();
        let (again, dead) = read(&[path]);
        assert_eq!(dead, [], "{name}");
        assert_eq!(lines(&again), lines(&events), "{name}");
    }
}

/// Values that must never be seen again.
const CANARIES: [&str; 14] = [
    "canarydata",
    "Y2FuYXJ5",
    "canarystring",
    "canary-env",
    "canary-applied",
    "canaryarg",
    "canarytwo",
    "canarylog",
    "canaryuser",
    "canary-config",
    "canarymessage",
    "canaryheader",
    "canaryprevious",
    "canarykey",
];

#[test]
fn no_canary_gets_out() {
    let tmp = tempfile::tempdir().unwrap();
    let root = tmp.path();
    let secret = r#"{"apiVersion":"v1","kind":"Secret","data":{"k":"Y2FuYXJ5","n":1234567},"stringData":{"p":"canarystring"},"metadata":{"name":"s","namespace":"n","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"k\":\"canary-applied\"}}"}}}"#;
    let template = r#"{"metadata":{"name":"x","namespace":"n","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"template":{"spec":{"initContainers":[{"env":[{"value":"canary-env","name":"A"}]}],"containers":[{"name":"c","args":["--password=canaryarg","--token","canarytwo"],"command":["sh","-c","mysql -pcanaryarg --password canarytwo"],"env":[{"name":"A","value":"canary-env x"},{"name":"DB_PASSWORD","value":"canary-env:80"},{"name":"U","value":"amqp://canaryuser:pw@mq:5672/v"},{"name":"PORT","value":"8080"}],"livenessProbe":{"httpGet":{"httpHeaders":[{"name":"Authorization","value":"canaryheader"}]}}}]}},"apiToken":"canarykey"},"status":{"conditions":[{"message":"login failed: password=canarymessage"}]}}"#;
    let kinds = ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "Rollout"];
    let with_kind = |k: &str| template.replacen('{', &format!(r#"{{"apiVersion":"apps/v1","kind":"{k}","#), 1);
    let cron = format!(
        r#"{{"apiVersion":"batch/v1","kind":"CronJob","metadata":{{"name":"x"}},"spec":{{"jobTemplate":{template}}}}}"#
    );
    let revision = format!(
        r#"{{"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{{"name":"x"}},"data":{template}}}"#
    );
    let config = r#"{"apiVersion":"v1","data":{"a":"canary-config","app.conf":"password=canary-config\nstore = db:6380\nurl: http://canaryuser:x@web:80/\n"},"binaryData":{"b":"canary-config"},"kind":"ConfigMap","metadata":{"name":"c"}}"#;
    let mut objects: Vec<String> = kinds.iter().map(|k| with_kind(k)).collect();
    objects.extend([secret.to_owned(), cron, revision, config.to_owned()]);
    put(root, "d/all.json", format!(r#"{{"kind":"List","apiVersion":"v1","items":[{}]}}"#, objects.join(",")));
    put(
        root,
        "d/secrets.json",
        r#"{"kind":"SecretList","apiVersion":"v1","items":[{"data":{"k":"canarydata"},"metadata":{"name":"t"}},{"data":{"k":"canarydata"}}]}"#,
    );
    put(
        root,
        "d/late.json",
        r#"{"apiVersion":"v1","items":[{"data":{"k":"canarydata"},"metadata":{"name":"t"}}],"kind":"SecretList"}"#,
    );
    put(
        root,
        "d/s.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: y}\nstringData:\n  k: canarystring\n---\nkind: Secret\ndata: {k: canarydata\n",
    );
    put(root, "d/broken.json", r#"{"kind":"Secret","data":{"k":"canarydata"#);
    put(
        root,
        "d/n/p/c.log",
        "x password=canarylog y\n{\"token\":\"canarylog\"}\nhttp://canaryuser:b@h/\n-----BEGIN PRIVATE KEY-----\ncanarykey\n-----END PRIVATE KEY-----\nkept\n",
    );
    put(root, "d/n/p/c.previous.log", "Authorization: Bearer canaryprevious1\n");
    put(
        root,
        "d/r.jsonl",
        format!(
            "{{\"ts\":\"2026-01-01T00:00:00Z\",\"type\":\"ADDED\",\"object\":{secret}}}\n{{\"timestamp\":\"2026-01-01T00:00:01Z\",\"type\":\"SecretUpdate\",\"source\":\"config_collector\",\"data\":{{\"name\":\"s\",\"data\":{{\"k\":\"canarydata\"}}}}}}\n{{\"timestamp\":\"2026-01-01T00:00:01Z\",\"type\":\"ContainerLog\",\"source\":\"kubelet_collector\",\"data\":{{\"lines\":[\"password: canarylog\"]}}}}\n{{\"ts\":\"2026-01-01T00:00:02Z\",\"type\":\"ADDED\",\"object\":{}\n",
            with_kind("Pod")
        ),
    );
    let (events, dead) = read(&[root.join("d")]);
    assert!(events.len() > 15 && !dead.is_empty());
    let mut bytes = String::new();
    for e in &events {
        bytes.push_str(&serde_json::to_string(e).unwrap());
        bytes.push('\n');
    }
    for d in &dead {
        bytes.push_str(&serde_json::to_string(d).unwrap());
        bytes.push('\n');
    }
    for canary in CANARIES {
        if let Some(at) = bytes.find(canary) {
            panic!("{canary} got out: {}", &bytes[at.saturating_sub(200)..(at + 100).min(bytes.len())]);
        }
    }
    for kept in ["amqp://mq:5672/v", "db:6380", "http://web:80", "\"8080\"", "\"kept\"", "\"k\":\"\""] {
        assert!(bytes.contains(kept), "{kept} was lost");
    }
}

#[test]
fn bad_input_costs_only_itself_and_says_what_to_do() {
    let tmp = tempfile::tempdir().unwrap();
    let good = |n: u32| format!(r#"{{"timestamp":"2026-01-01T00:00:{n:02}Z","type":"T","source":"s","data":{{}}}}"#);
    let deep = format!(
        "{{\"kind\":\"X\",\"metadata\":{{\"name\":\"x\"}},\"spec\":{}{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let long = format!(r#"{{"ts":"{}"}}"#, "x".repeat(300_000));
    let garbage = "y".repeat(300_000);
    for (name, bad, reason) in [
        ("cut", r#"{"timestamp":"2026-01-01T00:00:01Z","ty"#, "line ends inside of a string"),
        ("no zone", r#"{"timestamp":"2026-01-01T00:00:01","type":"T","source":"s","data":{}}"#, "zone"),
        (
            "1970",
            r#"{"ts":"1970-01-01T00:00:00Z","type":"ADDED","object":{"kind":"Pod","metadata":{"name":"p"}}}"#,
            "2000-01-01",
        ),
        ("9999", r#"{"timestamp":"9999-01-01T00:00:00Z","type":"T","source":"s","data":{}}"#, "2000-01-01"),
        ("wrong type", r#"{"timestamp":7,"type":"T","source":"s","data":{}}"#, "timestamp"),
        (
            "no name",
            r#"{"ts":"2026-01-01T00:00:01Z","type":"ADDED","object":{"kind":"Pod","metadata":{}}}"#,
            "metadata.name",
        ),
        ("no kind", r#"{"a":1}"#, "kind"),
        ("deep", deep.as_str(), "levels deep"),
        ("long", long.as_str(), "limit"),
        ("garbage", garbage.as_str(), "not JSON"),
        ("text", "hello", "not JSON"),
        ("nul", "\0\0\0", "binary"),
        ("unknown word", r#"{"ts":"2026-01-01T00:00:01Z","type":"GROWN","object":{"kind":"Pod"}}"#, "GROWN"),
    ] {
        let text = format!("{}\n{bad}\n{}\n", good(1), good(2));
        let options = ReadOptions { max_line_bytes: 100_000, ..ReadOptions::default() };
        let (events, dead) = read_with(&[put(tmp.path(), "bad.jsonl", text)], options);
        assert_eq!(events.iter().filter(|e| e.kind == "T").count(), 2, "{name}: {dead:?}");
        assert_eq!(dead.len(), 1, "{name}: {dead:?}");
        assert!(dead[0].reason.contains(reason), "{name}: {}", dead[0].reason);
        assert_eq!(dead[0].line, Some(2), "{name}");
        assert!(dead[0].origin.ends_with("bad.jsonl") && dead[0].excerpt.len() <= 2_048);
    }
    let mut utf8 = good(1).into_bytes();
    utf8.extend_from_slice(b"\n{\"timestamp\":\"\xff\"}\n");
    utf8.extend_from_slice(good(2).as_bytes());
    let (events, dead) = read(&[put(tmp.path(), "utf8", utf8)]);
    assert_eq!((events.len(), dead.len()), (2, 1));
    assert!(dead[0].reason.contains("UTF-8"));
}

#[test]
fn broken_compression_gives_what_came_before_the_break() {
    let tmp = tempfile::tempdir().unwrap();
    let mut text = String::new();
    let mut seed = 7u64;
    for n in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push_str(&format!(
            "{{\"timestamp\":\"2026-01-01T00:{:02}:{:02}Z\",\"type\":\"T\",\"source\":\"s\",\"data\":{{\"x\":\"{seed:x}\"}}}}\n",
            n / 60 % 60,
            n % 60
        ));
    }
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    for bytes in [gz.finish().unwrap(), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
        let half = &bytes[..bytes.len() / 2];
        let (events, dead) = read(&[put(tmp.path(), "half", half)]);
        assert!(events.len() > 1_000 && events.len() < 20_000, "{}", events.len());
        assert!(dead.iter().any(|d| d.reason.contains("complete")), "{dead:?}");
    }
}

#[test]
fn a_yaml_bomb_is_a_dead_letter() {
    let tmp = tempfile::tempdir().unwrap();
    let mut bomb = "apiVersion: v1\nkind: X\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    bomb.push_str(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n, creationTimestamp: '2026-01-01T00:00:00Z'}\n",
    );
    let (events, dead) = read(&[put(tmp.path(), "b.yaml", bomb)]);
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(dead[0].reason.contains("YAML"));
    assert_eq!(events.iter().filter(|e| e.kind == "ObjectAdded").count(), 1);
}

#[test]
fn what_cannot_be_read_at_all_is_refused_with_a_remedy() {
    let tmp = tempfile::tempdir().unwrap();
    let refuse = |path: PathBuf| open(&[path], ReadOptions::default()).err().expect("refused");
    assert!(matches!(open(&[], ReadOptions::default()), Err(ReadError::NoInput)));
    assert!(matches!(refuse(tmp.path().join("absent")), ReadError::Unreadable { .. }));
    assert!(matches!(refuse(tmp.path().to_owned()), ReadError::Empty { .. }));
    put(tmp.path(), "x/README.md", "hello");
    put(tmp.path(), "x/a.png", b"\x89PNG\0\0");
    let e = refuse(tmp.path().join("x"));
    assert!(matches!(e, ReadError::NoDump { files: 2, .. }) && e.to_string().contains("cluster-info dump"));
    assert!(matches!(refuse(tmp.path().join("x/a.png")), ReadError::UnknownForm { .. }));
    let (events, dead) =
        read(&[put(tmp.path(), "t.json", r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}"#)]);
    assert_eq!(events.len(), 0);
    assert!(dead[0].reason.contains("meta.json"), "{dead:?}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_inside_of_the_folder_only_and_never_twice() {
    let tmp = tempfile::tempdir().unwrap();
    let root = tmp.path().join("d");
    dump(&root);
    put(tmp.path(), "outside/secret.json", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"outside"}}"#);
    std::os::unix::fs::symlink(&root, root.join("loop")).unwrap();
    std::os::unix::fs::symlink(tmp.path().join("outside"), root.join("out")).unwrap();
    std::os::unix::fs::symlink(tmp.path().join("gone"), root.join("dangling")).unwrap();
    let mut reader = open(&[root], ReadOptions::default()).unwrap();
    assert!(reader.by_ref().all(|i| matches!(i, Item::Event(e) if !e.data.get().contains("outside"))));
    assert!(reader.summary().skipped_total >= 5);
}

#[test]
fn logs_are_cut_from_the_front_and_long_lines_at_the_end() {
    let tmp = tempfile::tempdir().unwrap();
    put(tmp.path(), "meta.json", r#"{"collected_at":"2026-01-01T10:00:00Z"}"#);
    let mut text: Vec<u8> = (0..5_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    text.extend_from_slice(b"bad \xff byte\n");
    text.extend("z".repeat(10_000).bytes());
    put(tmp.path(), "n/p/c.log", &text);
    put(tmp.path(), "n/p/d.log.zst", zstd::encode_all(&text[..], 1).unwrap());
    let options = ReadOptions { log_tail_bytes: 20_000, log_tail_lines: 100, ..ReadOptions::default() };
    let (events, dead) = read_with(&[tmp.path().to_owned()], options);
    assert_eq!(dead, []);
    for e in events.iter().filter(|e| e.kind == "ContainerLog") {
        let v: serde_json::Value = serde_json::from_str(e.data.get()).unwrap();
        let lines = v["lines"].as_array().unwrap();
        assert_eq!(v["truncated"], true);
        assert_eq!(lines.len(), 100);
        assert_eq!(lines[0], "line 4902");
        assert_eq!(lines[98], "bad \u{fffd} byte");
        assert_eq!(lines[99].as_str().unwrap().len(), 4_096 + " …".len());
    }
}

#[test]
fn nesting_of_any_depth_and_form_neither_overflows_nor_hangs() {
    let tmp = tempfile::tempdir().expect("a folder");
    let forms: [(&str, &str); 8] = [
        ("[", "y.yaml"),
        ("{a: ", "y.yaml"),
        ("- ", "y.yaml"),
        ("? ", "y.yaml"),
        ("!!map ", "y.yaml"),
        ("[", "j.json"),
        ("{\"a\":", "j.json"),
        ("{\"kind\":\"List\",\"items\":[", "j.json"),
    ];
    for (form, name) in forms {
        for depth in [60, 99, 100, 126, 200, 5_000, 100_000] {
            let head = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  x: ";
            for text in [form.repeat(depth), format!("{head}{}", form.repeat(depth))] {
                let path = put(tmp.path(), name, text);
                // What is of no known form is refused.
                if let Ok(reader) = open(&[path], ReadOptions::default()) {
                    assert!(reader.count() < 100_000);
                }
            }
        }
    }
    // Depth by indentation alone.
    for depth in [1_000, 3_000] {
        let nested: String = (1..depth).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n{nested}");
        let path = put(tmp.path(), "deep.yaml", text);
        let (_, dead) = read(&[path]);
        assert!(!dead.is_empty(), "{depth}");
    }
}
