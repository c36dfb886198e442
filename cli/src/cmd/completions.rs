//! `tapio completions`: what a shell needs to complete commands and flags.

use super::Session;
use crate::error::Outcome;

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio completions bash > /etc/bash_completion.d/tapio
  tapio completions zsh > \"${fpath[1]}/_tapio\"
  tapio completions fish > ~/.config/fish/completions/tapio.fish";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "tapio", &mut text);
    session.screen.print(&String::from_utf8_lossy(&text))
}
