//! Dumps: folders, archives and documents that say how a cluster was at one moment.
//!
//! Everything of one dump carries that moment as its time: `collected_at` of the dump's `meta.json`, or else the
//! newest time found in it. So without a `meta.json` a dump is collected (redacted, bounded) before it is given out;
//! with one it streams file by file. Recordings found on the way carry their own times and always stream.

mod lines;
mod logs;
mod moment;
mod shape;
mod take;
mod yaml;

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Seek, SeekFrom};
use std::path::Path;

use tapio_core::time::Time;

use crate::input::{self, Counted, Format, Found, Input, shown_name};
use crate::reader::{Output, Source, Stopped};
use moment::Moment;
pub(crate) use moment::newest_in;
use take::Taker;

/// Bytes of a `meta.json` or a `services.txt` that are read.
const SMALL_FILE: u64 = 16 << 20;

/// What a file's name says about its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Meta,
    Log,
    Services,
    Connectivity,
    /// To be told by its content.
    Any,
}

/// A name without what compression adds to it.
fn plain_name(name: &str) -> &str {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.strip_suffix(".gz").or_else(|| base.strip_suffix(".zst")).unwrap_or(base)
}

fn role(name: &str) -> Role {
    match plain_name(name) {
        "meta.json" => Role::Meta,
        "services.txt" => Role::Services,
        "connectivity.txt" => Role::Connectivity,
        "logs.txt" => Role::Log,
        n if n.ends_with(".log") => Role::Log,
        _ => Role::Any,
    }
}

/// Whether a file is one of a dump by its name alone.
pub(crate) fn is_known_name(name: &str) -> bool {
    !matches!(role(name), Role::Any)
}

/// The folder part of a path of parts joined by `/`.
fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(f, _)| f)
}

/// Reads every source of one call.
pub(crate) struct Dumps<'a> {
    out: &'a Output,
    /// Single files and standard input together are one dump.
    loose: Moment,
    /// The end of one log; kept from log to log.
    tail: Vec<u8>,
}

impl<'a> Dumps<'a> {
    pub(crate) fn new(out: &'a Output) -> Self {
        Dumps { out, loose: Moment::new("input", None), tail: Vec::new() }
    }

    pub(crate) fn read(mut self, sources: Vec<Source>) -> Result<(), Stopped> {
        let mut names = Vec::new();
        for source in sources {
            self.out.check()?;
            match source {
                Source::Stdin => {
                    self.out.file();
                    names.push("-".to_owned());
                    let stdin = Counted::new(std::io::stdin(), self.out.shared.bytes.clone());
                    let input = input::decode(stdin, &self.out.left);
                    let mut loose = std::mem::replace(&mut self.loose, Moment::new("", None));
                    let r = self.content(&mut loose, "-", "-", input, false);
                    self.loose = loose;
                    r?;
                }
                Source::File(path) => {
                    let shown = path.display().to_string();
                    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                    names.push(shown.clone());
                    let mut loose = std::mem::replace(&mut self.loose, Moment::new("", None));
                    let r = self.file(&mut loose, &path, &name, &shown, false);
                    self.loose = loose;
                    r?;
                }
                Source::Folder { root, files } => self.folder(&root, &files)?,
            }
        }
        self.loose.origin = names.join(", ");
        self.loose.finish(self.out)
    }

    /// A folder: every part of it that has a `meta.json` is a dump of its own.
    fn folder(&mut self, root: &Path, files: &[Found]) -> Result<(), Stopped> {
        let mut moments: BTreeMap<&str, (Moment, Vec<&Found>)> = BTreeMap::new();
        let shown = |folder: &str| match folder {
            "" => root.display().to_string(),
            f => root.join(f).display().to_string(),
        };
        moments.insert("", (Moment::new(&shown(""), None), Vec::new()));
        for f in files.iter().filter(|f| role(&f.name) == Role::Meta) {
            let mut text = Vec::new();
            let read = input::open(&f.path, &self.out.shared.bytes, &self.out.left)
                .and_then(|i| i.reader.take(SMALL_FILE).read_to_end(&mut text));
            self.out.file();
            let now = match read {
                Ok(_) => shape::collected_at(&text),
                Err(e) => Err(e.to_string()),
            };
            match now {
                Ok(now) => {
                    let folder = folder_of(&f.name);
                    let group = moments.entry(folder).or_insert_with(|| (Moment::new("", None), Vec::new()));
                    group.0 = Moment::new(&shown(folder), Some(now));
                }
                Err(why) => self.out.dead(&f.path.display().to_string(), None, why, &text)?,
            }
        }
        for f in files.iter().filter(|f| role(&f.name) != Role::Meta) {
            let home = nearest(folder_of(&f.name), |folder| moments.contains_key(folder));
            if let Some((_, group)) = moments.get_mut(home) {
                group.push(f);
            }
        }
        for (folder, (mut moment, mut group)) in moments {
            // What is there comes before what was said about it.
            group.sort_by_key(|f| match role(&f.name) {
                Role::Any | Role::Meta => 0,
                Role::Services => 1,
                Role::Connectivity => 2,
                Role::Log => 3,
            });
            for f in group {
                self.out.check()?;
                let name = f.name.strip_prefix(folder).unwrap_or(&f.name).trim_start_matches('/');
                self.file(&mut moment, &f.path, name, &f.path.display().to_string(), true)?;
            }
            moment.finish(self.out)?;
        }
        Ok(())
    }

    /// One file; `name`: its path inside of its dump.
    fn file(
        &mut self,
        moment: &mut Moment,
        path: &Path,
        name: &str,
        shown: &str,
        in_folder: bool,
    ) -> Result<(), Stopped> {
        self.out.file();
        // A log's end is enough, where the file lets itself be read from there.
        if role(name) == Role::Log
            && !matches!(name.rsplit('.').next(), Some("gz" | "zst"))
            && plain_name(name) != "logs.txt"
        {
            return match self.log_tail(path) {
                Ok(cut) => logs::one(self.out, moment, name, shown, logs::Tail { cut, bytes: &self.tail }),
                Err(e) => self.out.dead(shown, None, unreadable(&e), b""),
            };
        }
        let input = input::open(path, &self.out.shared.bytes, &self.out.left);
        self.content(moment, name, shown, input, in_folder)
    }

    /// Reads the end of a log into `self.tail`; whether anything stands before it.
    fn log_tail(&mut self, path: &Path) -> std::io::Result<bool> {
        let mut file = std::fs::File::open(path)?;
        let most = self.out.options.log_tail_bytes as u64;
        let len = file.metadata()?.len();
        self.tail.clear();
        if len > most {
            // One byte more tells whether the first line is whole.
            file.seek(SeekFrom::Start(len - most - 1))?;
        }
        Counted::new(file, self.out.shared.bytes.clone()).take(most + 1).read_to_end(&mut self.tail)?;
        Ok(len > most)
    }

    /// The content of a file or of an archive's entry.
    fn content(
        &mut self,
        moment: &mut Moment,
        name: &str,
        shown: &str,
        input: std::io::Result<Input<'_>>,
        in_folder: bool,
    ) -> Result<(), Stopped> {
        let mut input = match input {
            Ok(input) => input,
            Err(e) => return self.out.dead(shown, None, unreadable(&e), b""),
        };
        let role = role(name);
        match role {
            Role::Log => return logs::stream(self.out, moment, name, shown, &mut input.reader),
            Role::Services | Role::Connectivity => {
                return lines::read(self.out, moment, name, shown, &mut input.reader, role == Role::Services);
            }
            Role::Meta => {
                let mut text = Vec::new();
                let now = match input.reader.take(SMALL_FILE).read_to_end(&mut text) {
                    Ok(_) => shape::collected_at(&text),
                    Err(e) => Err(e.to_string()),
                };
                return match now {
                    Ok(now) => {
                        moment.now.get_or_insert(now);
                        Ok(())
                    }
                    Err(why) => self.out.dead(shown, None, why, &text),
                };
            }
            Role::Any => {}
        }
        match input.format {
            Format::Json => self.json(moment, name, shown, &mut *input.reader, in_folder),
            Format::Yaml => yaml::read(self.out, moment, name, shown, &mut *input.reader, in_folder),
            Format::Tar => self.tar(shown, input.reader),
            Format::Utf16 => {
                let why = "the file is UTF-16 text, as PowerShell's `>` writes it; save it as UTF-8 (`| Out-File -Encoding utf8`)";
                self.out.dead(shown, None, why.to_owned(), b"")
            }
            Format::Empty => {
                // Said about single files; a folder's empty files are nobody's concern.
                self.out.skip(shown, "empty");
                if in_folder { Ok(()) } else { self.out.dead(shown, None, "the input is empty".to_owned(), b"") }
            }
            Format::Text | Format::Binary if in_folder => {
                self.out.skip(shown, "neither JSON nor YAML of Kubernetes objects, nor a log under NAMESPACE/POD/");
                Ok(())
            }
            Format::Text | Format::Binary => {
                let mut head = Vec::new();
                let _ = input.reader.take(2_048).read_to_end(&mut head);
                let why = "neither JSON nor YAML of Kubernetes objects, nor a recording; give the output of `kubectl get … -o json` or a dump";
                self.out.dead(shown, None, why.to_owned(), &head)
            }
        }
    }

    fn json(
        &mut self,
        moment: &mut Moment,
        name: &str,
        shown: &str,
        reader: &mut dyn BufRead,
        in_folder: bool,
    ) -> Result<(), Stopped> {
        Taker::new(self.out, moment, name, shown, in_folder).json(reader)
    }

    /// An archive is read once from its beginning, and where its `meta.json` stands in it is not known before.
    fn tar(&mut self, shown: &str, reader: Box<dyn BufRead + '_>) -> Result<(), Stopped> {
        let mut folders: BTreeMap<String, Moment> = BTreeMap::new();
        let mut archive = tar::Archive::new(reader);
        let entries = match archive.entries() {
            Ok(e) => e,
            Err(e) => return self.out.dead(shown, None, unreadable(&e), b""),
        };
        for entry in entries {
            self.out.check()?;
            let entry = match entry {
                Ok(e) => e,
                Err(e) => {
                    // Behind a broken header nothing can be found any more.
                    self.out.dead(
                        shown,
                        None,
                        format!("the archive breaks off: {e}; its readable part is used"),
                        b"",
                    )?;
                    break;
                }
            };
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name: Vec<&str> = path.split('/').filter(|p| !matches!(*p, "" | "." | "..")).collect();
            let name = name.join("/");
            let inside = format!("{shown}!{}", shown_name(&name));
            self.out.file();
            let folder = folder_of(&name).to_owned();
            let mut moment = folders.remove(&folder).unwrap_or_else(|| Moment::held(&inside));
            let r = self.content(&mut moment, &name, &inside, input::decode(entry, &self.out.left), true);
            folders.insert(folder, moment);
            r?;
        }
        let homes: Vec<String> = folders.iter().filter(|(_, m)| m.now.is_some()).map(|(f, _)| f.clone()).collect();
        let mut dumps: BTreeMap<String, Moment> = BTreeMap::new();
        for (folder, moment) in folders {
            let home = nearest(&folder, |f| homes.iter().any(|h| h == f)).to_owned();
            let origin = if home.is_empty() { shown.to_owned() } else { format!("{shown}!{}", shown_name(&home)) };
            dumps.entry(home.clone()).or_insert_with(|| Moment::held(&origin)).join(moment, &home);
        }
        for (_, dump) in dumps {
            dump.finish(self.out)?;
        }
        Ok(())
    }
}

/// The nearest folder at or above `folder` for which `is_home` holds; the outermost where none does.
fn nearest(folder: &str, is_home: impl Fn(&str) -> bool) -> &str {
    let mut at = folder;
    while !at.is_empty() {
        if is_home(at) {
            return at;
        }
        at = folder_of(at);
    }
    ""
}

fn unreadable(e: &std::io::Error) -> String {
    format!("cannot be read: {e}; what was read before is used, check the file and whether it is complete")
}

/// The newest of two times.
fn newer(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    a.max(b)
}
