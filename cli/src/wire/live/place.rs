//! Where a cluster's data lies when nobody names a folder.

use std::path::PathBuf;

use crate::error::{Failure, Outcome};

/// `$XDG_DATA_HOME/tapio/CONTEXT`, or the same below `~/.local/share`.
pub(crate) fn default_folder(context: &str) -> Outcome<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let root = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|h| h.join(".local/share")));
    let root =
        root.ok_or_else(|| Failure::input("neither HOME nor XDG_DATA_HOME is set; name a folder with --data-dir"))?;
    // A context may be called anything, `arn:aws:eks:…/prod` for one.
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = context.chars().map(plain).take(120).collect();
    let name = if name.trim_matches('.').is_empty() { "cluster".to_owned() } else { name };
    Ok(root.join("tapio").join(name))
}
