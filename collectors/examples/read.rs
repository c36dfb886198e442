//! Reads dumps and recordings and says what is in them; with `-v`, prints every event as a JSON line.
//!
//! `cargo run --release -p tapio-collectors --example read -- [-v] PATH…`

use std::io::Write;
use std::path::PathBuf;

use tapio_collectors::{Item, ReadOptions, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut verbose = false;
    let paths: Vec<PathBuf> = std::env::args_os()
        .skip(1)
        .filter(|a| {
            let flag = a == "-v";
            verbose |= flag;
            !flag
        })
        .map(PathBuf::from)
        .collect();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut reader = open(&paths, ReadOptions::default())?;
    for item in reader.by_ref() {
        match item {
            Item::Event(event) if verbose => {
                serde_json::to_writer(&mut out, &event)?;
                writeln!(out)?;
            }
            Item::Event(_) => {}
            Item::Dead(letter) => {
                writeln!(out, "dead: {}:{} {}", letter.origin, letter.line.unwrap_or(0), letter.reason)?;
                if verbose {
                    writeln!(out, "      {}", letter.excerpt)?;
                }
            }
        }
    }
    if !verbose {
        writeln!(out, "{:?}\n{:?}", reader.progress(), reader.summary())?;
    }
    Ok(())
}
