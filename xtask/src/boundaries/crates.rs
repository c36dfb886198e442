//! Which of our crates may use which, and which third-party crate stands only where.

use serde_json::Value;

use super::Findings;

/// One folder of the top level.
struct Room {
    folder: &'static str,
    package: &'static str,
    owns: &'static str,
    ours: &'static [&'static str],
}

const fn room(folder: &'static str, package: &'static str, owns: &'static str, ours: &'static [&'static str]) -> Room {
    Room { folder, package, owns, ours }
}

/// The table of folders. A row may stand here before its crate does.
const ROOMS: &[Room] = &[
    room("core", "tapio-core", "the words: events, objects, ontology, answers, ports", &[]),
    room("engine", "tapio-engine", "the thinking: live graph, mechanisms, patterns, incidents", &["tapio-core"]),
    room("graph", "tapio-graph", "graph stores and the gate for Cypher", &["tapio-core"]),
    room("cluster", "tapio-cluster", "the Kubernetes client", &["tapio-core"]),
    room("collectors", "tapio-collectors", "outside world to RawEvent", &["tapio-core", "tapio-cluster", "tapio-ebpf"]),
    room("ebpf", "tapio-ebpf", "kernel programs and their loader", &[]),
    room("bus", "tapio-bus", "event logs, alert sinks, history", &["tapio-core", "tapio-cluster"]),
    room("api", "tapio-api", "HTTP; later Bolt and UI; read-only", &["tapio-core", "tapio-engine", "tapio-graph"]),
    room(
        "cli",
        "tapio",
        "the one binary: commands, config, wiring",
        &[
            "tapio-core",
            "tapio-engine",
            "tapio-graph",
            "tapio-cluster",
            "tapio-collectors",
            "tapio-ebpf",
            "tapio-bus",
            "tapio-api",
        ],
    ),
    room("xtask", "xtask", "checks and references; reads the code's own tables", &["tapio-core", "tapio-engine"]),
];

/// Third-party crates that stand only in these folders.
const ONLY: &[(&str, &[&str])] = &[
    ("petgraph", &["engine"]),
    ("marsdb", &["graph"]),
    ("neo4rs", &["graph"]),
    ("kube", &["cluster", "collectors"]),
    ("k8s-openapi", &["cluster", "collectors"]),
    ("aya", &["ebpf"]),
    ("rusqlite", &["bus"]),
    ("async-nats", &["bus"]),
    ("rdkafka", &["bus"]),
    ("tokio-postgres", &["bus"]),
    ("deadpool-postgres", &["bus"]),
    ("hyper-util", &["bus", "api", "cli"]),
    ("hyper-rustls", &["bus", "cli"]),
    ("rustls", &["bus", "api", "cli"]),
    ("ring", &["bus"]),
    ("reqwest", &["bus"]),
    ("axum", &["api"]),
    ("utoipa", &["api"]),
    ("utoipa-axum", &["api"]),
    ("utoipa-swagger-ui", &["api"]),
    ("prometheus-client", &["api"]),
    ("tracing-subscriber", &["cli"]),
    ("clap", &["cli", "xtask"]),
    ("clap_complete", &["cli"]),
    ("indicatif", &["cli"]),
    ("comfy-table", &["cli"]),
    ("anstream", &["cli"]),
    ("anyhow", &["cli", "xtask"]),
];

/// All that the two pure crates may use, so that no clock, socket or runtime comes in by a side door.
const PURE: &[(&str, &[&str])] = &[
    ("core", &["aho-corasick", "blake3", "chrono", "serde", "serde_json", "serde_path_to_error", "thiserror"]),
    ("engine", &["aho-corasick", "petgraph", "regex", "regex-syntax", "rmp-serde", "serde", "serde_json", "thiserror"]),
];

/// One dependency of one of our crates.
struct Dependency<'a> {
    name: &'a str,
    /// Whether it stands in the product, and not only in tests or benches.
    product: bool,
}

pub(super) fn check(metadata: &Value, f: &mut Findings) {
    let members: Vec<&str> = texts(&metadata["workspace_members"]);
    for package in metadata["packages"].as_array().into_iter().flatten() {
        if !package["id"].as_str().is_some_and(|id| members.contains(&id)) {
            continue;
        }
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let folder = manifest.rsplit('/').nth(1).unwrap_or_default();
        let list: Vec<Dependency> = package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|d| Dependency { name: d["name"].as_str().unwrap_or_default(), product: d["kind"] != "dev" })
            .collect();
        check_package(folder, name, &list, f);
    }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn check_package(folder: &str, package: &str, list: &[Dependency], f: &mut Findings) {
    let Some(room) = ROOMS.iter().find(|r| r.folder == folder && r.package == package) else {
        f.breach(format!(
            "crate {package} in {folder}/ has no row in the table of folders; a new crate needs its own dependency to \
             isolate or its own users, and a row in xtask/src/boundaries/crates.rs and docs/architecture.md"
        ));
        return;
    };
    for d in list {
        if let Some(other) = ROOMS.iter().find(|r| r.package == d.name) {
            if !room.ours.contains(&d.name) && d.name != package {
                f.breach(format!(
                    "{folder}/ uses {}: it may use {}; what both need belongs in core/, what joins them in cli/ \
                     ({}/ owns {})",
                    d.name,
                    listed(room.ours),
                    other.folder,
                    other.owns
                ));
            }
            continue;
        }
        let pure = folder == "core" || folder == "engine";
        if let Some((_, folders)) = ONLY.iter().find(|(name, _)| *name == d.name)
            && !folders.contains(&folder)
            && (d.product || pure)
        {
            f.breach(format!(
                "{folder}/ uses {}: it stands only in {}; put the code there and reach it by a port of core/",
                d.name,
                listed(folders)
            ));
        }
        if let Some((_, allowed)) = PURE.iter().find(|(name, _)| *name == folder)
            && d.product
            && !allowed.contains(&d.name)
        {
            f.breach(format!(
                "{folder}/ uses {}: it is pure and uses only {}; I/O and clocks belong in collectors/, bus/ or cli/",
                d.name,
                listed(allowed)
            ));
        }
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none of our crates".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(folder: &str, package: &str, names: &[(&'static str, bool)]) -> Vec<String> {
        let list: Vec<Dependency> =
            names.iter().map(|(name, product)| Dependency { name, product: *product }).collect();
        let mut f = Findings::default();
        check_package(folder, package, &list, &mut f);
        f.breaches
    }

    #[test]
    fn what_the_table_allows_is_no_breach() {
        assert!(breaches("engine", "tapio-engine", &[("tapio-core", true), ("petgraph", true)]).is_empty());
        assert!(breaches("cli", "tapio", &[("tapio-bus", true), ("clap", true), ("anyhow", true)]).is_empty());
        assert!(breaches("bus", "tapio-bus", &[("anyhow", false)]).is_empty());
    }

    #[test]
    fn each_kind_of_breach_says_where_the_code_belongs() {
        let cases: &[(&str, &str, (&'static str, bool), &str)] = &[
            ("engine", "tapio-engine", ("tapio-graph", true), "core/"),
            ("graph", "tapio-graph", ("tapio-engine", false), "core/"),
            ("bus", "tapio-bus", ("petgraph", true), "engine"),
            ("core", "tapio-core", ("tokio", true), "pure"),
            ("collectors", "tapio-collectors", ("anyhow", true), "cli, xtask"),
            ("tools", "tapio-tools", ("serde", true), "no row"),
        ];
        for (folder, package, dependency, says) in cases {
            let found = breaches(folder, package, &[*dependency]);
            assert_eq!(found.len(), 1, "{folder} {dependency:?}");
            assert!(found[0].contains(says), "{}", found[0]);
        }
    }

    #[test]
    fn the_table_names_each_folder_once_and_only_its_own_crates() {
        for r in ROOMS {
            assert_eq!(ROOMS.iter().filter(|x| x.folder == r.folder || x.package == r.package).count(), 1);
            assert!(r.ours.iter().all(|o| ROOMS.iter().any(|x| x.package == *o)), "{}", r.folder);
        }
        for (name, folders) in ONLY.iter().chain(PURE) {
            let _ = name;
            assert!(folders.iter().all(|x| !x.contains('/')));
        }
    }
}
