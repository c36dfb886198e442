//! The one binary: reads flags, files and environment, wires the parts together, and prints what they say.
//!
//! [`cmd`] is the table of commands, one file each; [`wire`] opens inputs, stores and engines;
//! [`recall`] answers out of a graph alone; [`output`] lays out
//! what people read; [`error`] decides the exit code.
//!
//! Architecture invariant: only this crate reads files of settings, flags and the environment, and only it starts a
//! runtime. What it prints on stdout is the answer and nothing else; everything beside it goes to stderr.

mod args;
mod cmd;
mod config;
mod error;
mod output;
mod recall;
mod wire;

use std::process::ExitCode;

/// The engine makes and drops many small texts; with the system's allocator a third of the time went there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    error::exit_code(cmd::run())
}
