//! `cargo xtask picture`: the causal path of an incident in docs/neo4j.md, drawn from a real run.
//!
//! A real Neo4j is started, the demo's recording is replayed into it, the statement of docs/neo4j.md is asked, and its
//! rows are drawn: what Neo4j Browser shows of them, without a browser. The same rows give the same picture.

mod draw;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::neo4j;

const PAGE: &str = "docs/neo4j.md";
const PICTURE: &str = "docs/incident-path.svg";
const RECORDING: &str = "cli/demo/config-change.jsonl.zst";

/// Draws the picture anew.
///
/// # Errors
/// Where the server cannot be started, or the statement finds nothing.
pub(crate) fn run(root: &Path) -> Result<()> {
    if let Some(why) = neo4j::missing(&neo4j::VERSIONS[0]) {
        bail!(why);
    }
    let statement = statement(&std::fs::read_to_string(root.join(PAGE))?)?;
    // Of the whole workspace, as the lane of all tests builds it.
    crate::process::run_cargo(root, &["build", "--workspace", "--locked", "--bin", "tapio"], &[])?;
    let server = neo4j::start(root, &neo4j::VERSIONS[0], "512m")?;
    let folder = std::env::temp_dir().join(format!("tapio-picture-{}", std::process::id()));
    let drawn = rows(root, &server, &folder, &statement).and_then(|rows| draw::svg(&rows));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::write(root.join(PICTURE), drawn?).with_context(|| format!("cannot write {PICTURE}"))?;
    println!("wrote {PICTURE}");
    Ok(())
}

/// The statement of the page that finds an incident's causal path.
fn statement(page: &str) -> Result<String> {
    let blocks = page.split("```cypher\n").skip(1).filter_map(|b| Some(b.split_once("```")?.0.trim().to_owned()));
    blocks.into_iter().find(|b| b.contains("ROOT_CAUSE")).with_context(|| format!("{PAGE} has no statement to draw"))
}

/// The statement's rows about the one incident of the recording.
fn rows(root: &Path, server: &neo4j::Server, folder: &Path, statement: &str) -> Result<Vec<Vec<Value>>> {
    let recording = root.join(RECORDING);
    let (recording, folder) = (recording.display().to_string(), folder.display().to_string());
    tapio(root, server, &["replay", &recording, "--data-dir", &folder, "--graph", &server.address(), "-q"])?;
    let incidents = ask(root, server, "MATCH (i:Incident) RETURN i.id AS id ORDER BY id", &[])?;
    let id = incidents.first().and_then(|r| r.first()?.as_str()).context("the recording has no incident")?.to_owned();
    ask(root, server, statement, &["--param", &format!("incident=\"{id}\"")])
}

fn ask(root: &Path, server: &neo4j::Server, cypher: &str, more: &[&str]) -> Result<Vec<Vec<Value>>> {
    let address = server.address();
    let args = [&["query", cypher, "--graph", &address, "-o", "json"], more].concat();
    let answer: Value = serde_json::from_str(&tapio(root, server, &args)?)?;
    serde_json::from_value(answer["rows"].clone()).context("the answer has no rows")
}

/// Runs this workspace's own binary.
fn tapio(root: &Path, server: &neo4j::Server, args: &[&str]) -> Result<String> {
    let program = crate::process::target(root).join("debug/tapio");
    let out = Command::new(&program).args(args).current_dir(root).envs(server.env()).output();
    let out = out.with_context(|| format!("cannot start {}", program.display()))?;
    if !out.status.success() {
        bail!("tapio {} ended with {}:\n{}", args[0], out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8(out.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_statement_that_is_drawn() {
        let page = include_str!("../../docs/neo4j.md");
        let found = statement(page).unwrap();
        assert!(found.starts_with("MATCH (i:Incident)") && found.contains("RETURN cause, began, hit"), "{found}");
    }
}
