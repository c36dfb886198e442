//! YAML dumps: documents are converted to JSON one by one, within budgets that stop alias bombs and deep nesting.

use std::io::BufRead;

use serde_json::Value;

use super::moment::Moment;
use super::take::Taker;
use super::unreadable;
use crate::input::next_line;
use crate::reader::{Output, Stopped};
use crate::yaml;

/// Bytes of one YAML document; lists are one document.
const MAX_DOCUMENT: usize = 256 << 20;

/// Reads YAML documents separated by `---` to the end.
pub(super) fn read(
    out: &Output,
    moment: &mut Moment,
    name: &str,
    origin: &str,
    reader: &mut dyn BufRead,
    in_folder: bool,
) -> Result<(), Stopped> {
    let mut taker = Taker::new(out, moment, name, origin, in_folder);
    let mut document = Vec::new();
    let mut line = Vec::new();
    let (mut at, mut begin, mut too_long) = (0u64, 1u64, false);
    loop {
        let cap = out.options.max_line_bytes;
        let read = match next_line(reader, &mut line, cap) {
            Ok(read) => read,
            Err(e) => {
                one(out, &mut taker, origin, begin, &document)?;
                return out.dead(origin, Some(at), unreadable(&e), b"");
            }
        };
        let end = !read.ended && read.len == 0;
        at += 1;
        let separator = line.starts_with(b"---") && line.get(3).is_none_or(u8::is_ascii_whitespace);
        if end || separator {
            if too_long {
                out.dead(
                    origin,
                    Some(begin),
                    format!("a YAML document longer than {MAX_DOCUMENT} bytes; use -o json"),
                    b"",
                )?;
            } else {
                one(out, &mut taker, origin, begin, &document)?;
            }
            if end {
                return Ok(());
            }
            out.check()?;
            document.clear();
            too_long = false;
            begin = at + 1;
            continue;
        }
        if read.len > line.len() + 1 || document.len() + line.len() > MAX_DOCUMENT {
            too_long = true;
            document.clear();
        }
        if !too_long {
            document.extend_from_slice(&line);
            document.push(b'\n');
        }
    }
}

/// One document: an object, or a list whose items are handed on one by one.
fn one(out: &Output, taker: &mut Taker<'_>, origin: &str, line: u64, bytes: &[u8]) -> Result<(), Stopped> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}'),
        Err(e) => {
            let why = format!("invalid UTF-8 at byte {} of the YAML document; save it as UTF-8", e.valid_up_to());
            return out.dead(origin, Some(line), why, bytes);
        }
    };
    if text.lines().all(|l| l.trim().is_empty() || l.starts_with('#')) {
        return Ok(());
    }
    let options = yaml::options(20_000_000, 50_000_000, MAX_DOCUMENT);
    let value: Value = match serde_saphyr::from_str_with_options(text, options) {
        Ok(value) => value,
        Err(e) => return out.dead(origin, Some(line), format!("not usable as YAML: {e}; try -o json"), bytes),
    };
    match value {
        Value::Object(mut object) if object.get("items").is_some_and(|i| i.is_array() || i.is_null()) => {
            let items = object.remove("items");
            let word = |k: &str| object.get(k).and_then(Value::as_str).unwrap_or("").to_owned();
            taker.begin_list(word("kind"), word("apiVersion"));
            if let Some(Value::Array(items)) = items {
                for item in items {
                    taker.text_of(line, &item.to_string(), true)?;
                }
            }
            taker.list_over()
        }
        Value::Object(_) => taker.text_of(line, &value.to_string(), false),
        Value::Array(items) => {
            for item in items {
                taker.text_of(line, &item.to_string(), false)?;
            }
            Ok(())
        }
        Value::Null => Ok(()),
        _ => out.dead(origin, Some(line), "a YAML document that is no object".to_owned(), bytes),
    }
}
