//! Eval loop only.
use std::path::PathBuf;
use tapio_collectors::{Item, ReadOptions, open};
use tapio_engine::{EngineConfig, EventProcessor};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "-o" && a != "json").collect();
    let mut p = EventProcessor::new(EngineConfig { project: args[0] == "replay", ..EngineConfig::default() });
    let inputs: Vec<PathBuf> = args[1..].iter().map(PathBuf::from).collect();
    let mut batch = Vec::new();
    for item in open(&inputs, ReadOptions::default())? {
        match item {
            Item::Event(e) => batch.push(e),
            Item::Dead(d) => eprintln!("dead {d:?}"),
        }
        if batch.len() >= 512 {
            for d in p.process(batch.drain(..)).dead {
                eprintln!("dead {d:?}");
            }
        }
    }
    for d in p.process(batch.drain(..)).dead {
        eprintln!("dead {d:?}");
    }
    for d in p.finish().dead {
        eprintln!("dead {d:?}");
    }
    if std::env::var("TAPIO_DEBUG").is_ok() {
        eprintln!("{:?} {:?}", p.stats(), p.size());
        for r in &p.explanation().unexplained {
            eprintln!("UNEXPLAINED {} {:?} {}", r.object, r.trouble, r.says);
        }
        for f in p.patterns() {
            eprintln!("PATTERN {} {} {} {}", f.pattern, f.state, f.object, f.message);
        }
    }
    println!("{}", serde_json::to_string_pretty(&p.answer())?);
    Ok(())
}
