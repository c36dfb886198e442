//! Manifests of objects that somebody wants to apply: YAML or JSON, many documents a file, lists, folders.
//!
//! Other than with dumps, nothing broken is skipped: who asks what a change does wants the whole change looked at. Every
//! object passes the redaction, so values of Secrets go no further than here.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tapio_core::manifest::Manifest;

use crate::input::walk;
use crate::reader::STACK;
use crate::redaction::Redaction;
use crate::yaml;

/// Bytes of all manifests together.
const MAX_BYTES: u64 = 64 << 20;
/// Objects of all manifests together.
const MAX_OBJECTS: usize = 20_000;
/// Deepest nesting of lists in lists.
const MAX_LISTS: usize = 8;

/// Why manifests cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Missing, or not readable.
    #[error("cannot read {path}; check that it exists and that you may read it")]
    Unreadable {
        /// Path as given.
        path: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Nothing that could be a manifest.
    #[error("{path} holds no manifest; give files that end with .yaml, .yml or .json and hold Kubernetes objects")]
    Nothing {
        /// Path as given.
        path: String,
    },
    /// More than anybody applies at once.
    #[error("{path}: manifests of more than {limit} in all; give a part of them")]
    TooMuch {
        /// Where the bound was passed.
        path: String,
        /// The bound.
        limit: String,
    },
    /// A document that is no object.
    #[error("{place}: {why}")]
    Broken {
        /// File, document, line.
        place: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// Reads the manifests of files and folders, `-` for standard input, in the order of the arguments and then of names.
///
/// # Errors
/// Says which file and document cannot be used, where in it, and what to do.
pub fn read(paths: &[PathBuf], redaction: &Redaction) -> Result<Vec<Manifest>, ManifestError> {
    on_deep_stack(|| read_all(paths, Redacts::All(redaction)))
}

/// On a stack of its own, deep enough for whatever nesting the parsers allow.
fn on_deep_stack(
    work: impl FnOnce() -> Result<Vec<Manifest>, ManifestError> + Send,
) -> Result<Vec<Manifest>, ManifestError> {
    std::thread::scope(|s| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(s, work);
        let unreadable = |why: String| ManifestError::Broken { place: "the manifests".to_owned(), why };
        let thread = thread.map_err(|e| unreadable(format!("no thread to read them: {e}")))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(unreadable("reading them failed by a defect; please report it".to_owned())))
    })
}

/// As [`read`], for a server that hashes values itself: only Secrets are without theirs.
///
/// # Errors
/// As [`read`].
pub fn read_without_secrets(paths: &[PathBuf]) -> Result<Vec<Manifest>, ManifestError> {
    on_deep_stack(|| read_all(paths, Redacts::Secrets))
}

/// Reads the manifests of a text that is there already; `name` stands for the file.
///
/// # Errors
/// As [`read`].
pub fn read_text(name: &str, text: &[u8], redaction: &Redaction) -> Result<Vec<Manifest>, ManifestError> {
    on_deep_stack(|| {
        let mut all = Taker { redacts: Redacts::All(redaction), out: Vec::new(), bytes: 0 };
        all.stream(name, &mut &*text)?;
        if all.out.is_empty() {
            return Err(ManifestError::Nothing { path: name.to_owned() });
        }
        Ok(all.out)
    })
}

fn read_all(paths: &[PathBuf], redacts: Redacts) -> Result<Vec<Manifest>, ManifestError> {
    let mut all = Taker { redacts, out: Vec::new(), bytes: 0 };
    for path in paths {
        let before = all.out.len();
        if path.as_os_str() == "-" {
            all.stream("standard input", &mut std::io::stdin().lock())?;
        } else if path.is_dir() {
            all.folder(path)?;
        } else {
            all.file(path)?;
        }
        if all.out.len() == before {
            let path = if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() };
            return Err(ManifestError::Nothing { path });
        }
    }
    Ok(all.out)
}

/// What is taken out.
#[derive(Clone, Copy)]
enum Redacts<'a> {
    /// All that must not leave a collector.
    All(&'a Redaction),
    /// Values of Secrets.
    Secrets,
}

struct Taker<'a> {
    redacts: Redacts<'a>,
    out: Vec<Manifest>,
    bytes: u64,
}

impl Taker<'_> {
    fn folder(&mut self, root: &Path) -> Result<(), ManifestError> {
        let unreadable = |source| ManifestError::Unreadable { path: root.display().to_string(), source };
        let (files, _) = walk(root).map_err(unreadable)?;
        for f in files {
            let ends = f.path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
            let hidden = f.name.split('/').any(|part| part.starts_with('.'));
            if matches!(ends.as_str(), "yaml" | "yml" | "json") && !hidden {
                self.file(&f.path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), ManifestError> {
        let name = path.display().to_string();
        let unreadable = |source| ManifestError::Unreadable { path: name.clone(), source };
        let mut file = fs::File::open(path).map_err(unreadable)?;
        self.stream(&name, &mut file)
    }

    fn stream(&mut self, name: &str, from: &mut dyn Read) -> Result<(), ManifestError> {
        let mut bytes = Vec::new();
        let left = MAX_BYTES - self.bytes;
        let unreadable = |source| ManifestError::Unreadable { path: name.to_owned(), source };
        from.take(left + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > left {
            return Err(ManifestError::TooMuch { path: name.to_owned(), limit: format!("{} MiB", MAX_BYTES >> 20) });
        }
        self.bytes += bytes.len() as u64;
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            ManifestError::Broken {
                place: format!("{name}, line {line}"),
                why: "no UTF-8 text; save the file as UTF-8".to_owned(),
            }
        })?;
        let text = text.trim_start_matches('\u{feff}');
        if text.trim_start().starts_with(['{', '[']) { self.json(name, text) } else { self.yaml(name, text) }
    }

    /// JSON documents one behind the other.
    fn json(&mut self, name: &str, text: &str) -> Result<(), ManifestError> {
        let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let mut n = 0;
        loop {
            let from = documents.byte_offset();
            let Some(next) = documents.next() else { return Ok(()) };
            n += 1;
            let space = text[from..].len() - text[from..].trim_start().len();
            let line = text[..from + space].matches('\n').count() + 1;
            match next {
                Ok(value) => self.document(name, n, line, value, 0)?,
                Err(e) => {
                    // Counted from where the reader began, which is the beginning of the text.
                    return Err(ManifestError::Broken {
                        place: format!("{name}, document {n}, line {} column {}", e.line(), e.column()),
                        why: format!("not JSON: {}; correct it there", without_place(&e.to_string())),
                    });
                }
            }
        }
    }

    /// YAML documents between lines that begin with `---`.
    fn yaml(&mut self, name: &str, text: &str) -> Result<(), ManifestError> {
        let mut n = 0;
        for (line, document) in split(text) {
            if document.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
                continue;
            }
            n += 1;
            let options = yaml::options(2_000_000, 5_000_000, MAX_BYTES as usize);
            let value: Value = serde_saphyr::from_str_with_options(&document, options).map_err(|e| {
                let place = match e.location().filter(|l| l.line() > 0) {
                    Some(l) => format!(
                        "{name}, document {n}, line {} column {}",
                        line + usize::try_from(l.line()).unwrap_or(1) - 1,
                        l.column()
                    ),
                    None => format!("{name}, document {n} (line {line})"),
                };
                let hint = match document.contains("{{") {
                    true => "it looks like a template; render it first, e.g. with `helm template`",
                    false => "correct it there",
                };
                ManifestError::Broken { place, why: format!("not YAML: {}; {hint}", without_place(&e.to_string())) }
            })?;
            self.document(name, n, line, value, 0)?;
        }
        Ok(())
    }

    /// An object, or a list of them.
    fn document(
        &mut self,
        name: &str,
        document: usize,
        line: usize,
        value: Value,
        depth: usize,
    ) -> Result<(), ManifestError> {
        let broken = |why: String| {
            Err(ManifestError::Broken { place: format!("{name}, document {document} (line {line})"), why })
        };
        let items = match value {
            Value::Null => return Ok(()),
            Value::Array(items) => items,
            Value::Object(mut o) => {
                let kind = o.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
                match o.remove("items") {
                    Some(Value::Array(items)) if kind.ends_with("List") || kind.is_empty() => items,
                    Some(Value::Null) | None if kind.ends_with("List") && !o.contains_key("metadata") => return Ok(()),
                    other => {
                        if let Some(items) = other {
                            o.insert("items".to_owned(), items);
                        }
                        return self.object(name, document, line, Value::Object(o), &kind);
                    }
                }
            }
            _ => return broken("no object; a manifest has apiVersion, kind and metadata.name".to_owned()),
        };
        if depth >= MAX_LISTS {
            return broken(format!("lists in lists, more than {MAX_LISTS} deep; write the objects one by one"));
        }
        items.into_iter().try_for_each(|i| self.document(name, document, line, i, depth + 1))
    }

    fn object(
        &mut self,
        name: &str,
        document: usize,
        line: usize,
        object: Value,
        kind: &str,
    ) -> Result<(), ManifestError> {
        let broken = |why: String| {
            Err(ManifestError::Broken { place: format!("{name}, document {document} (line {line})"), why })
        };
        if kind == "Kustomization" && object.pointer("/metadata/name").is_none() {
            return broken(
                "a kustomization is no object of the cluster; render it: `kubectl kustomize DIR | tapio impact -f - …`"
                    .to_owned(),
            );
        }
        for field in ["apiVersion", "kind"] {
            match object.get(field) {
                Some(Value::String(s)) if !s.is_empty() => {}
                Some(_) => {
                    return broken(format!(
                        "field `{field}` is no text; write e.g. `apiVersion: v1`, `kind: ConfigMap`"
                    ));
                }
                None => {
                    return broken(format!(
                        "field `{field}` is missing; a manifest has apiVersion, kind and metadata.name"
                    ));
                }
            }
        }
        if object.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
            let hint = match object.pointer("/metadata/generateName") {
                Some(_) => "an object with generateName is a new one each time; give it a name to ask about it",
                None => "give the object a name",
            };
            return broken(format!("field `metadata.name` is missing in this {kind}; {hint}"));
        }
        if self.out.len() >= MAX_OBJECTS {
            let limit = format!("{MAX_OBJECTS} objects");
            return Err(ManifestError::TooMuch { path: name.to_owned(), limit });
        }
        let own = Redaction::default();
        let redaction = match self.redacts {
            Redacts::All(redaction) => redaction,
            // A Secret's annotations may hold the whole of it, so it goes through all rules.
            Redacts::Secrets if kind == "Secret" => &own,
            Redacts::Secrets => {
                self.out.push(Manifest { file: name.to_owned(), document, line, object });
                return Ok(());
            }
        };
        let clean = redaction.object(&object.to_string(), kind).ok();
        let Some(object) = clean.and_then(|c| serde_json::from_str(c.get()).ok()) else {
            return broken("nested too deeply; no Kubernetes object is".to_owned());
        };
        self.out.push(Manifest { file: name.to_owned(), document, line, object });
        Ok(())
    }
}

/// Documents with the line on which each begins. A `---` inside of a block scalar is indented and no separator.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut out = vec![(1, String::new())];
    for (i, line) in text.lines().enumerate() {
        let separator = line.starts_with("---") && line[3..].chars().next().is_none_or(char::is_whitespace);
        if separator {
            // What stands behind the dashes belongs to the document; its line stays its line.
            out.push((i + 1, format!("{}\n", line[3..].trim_end())));
        } else if let Some((_, d)) = out.last_mut() {
            d.push_str(line);
            d.push('\n');
        }
    }
    out
}

/// A reader's message without the place at its end, which is said in terms of the file.
fn without_place(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let cut = line.find(" at line ").or_else(|| line.find(" (line "));
    cut.map_or(line, |c| &line[..c]).trim_end_matches([',', ':']).to_owned()
}
