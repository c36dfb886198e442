//! Many patterns over many lines, at the price of a few: a line is searched for words without which a pattern cannot
//! match, all words of all patterns in one pass. A pattern is taken apart at its outermost `|`: most of its parts are
//! words and nothing else, and are decided by having been found; what is left is tried as a regular expression, which
//! is made when a line first needs it.
//!
//! One automaton over all patterns is no way out: a stack trace leads it into thousands of states, each of which is
//! made when it is first reached, and most runs end soon after.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Words shorter than this are in too many lines to be of use.
const SHORTEST: usize = 3;
/// Most words of one part of a pattern.
const MOST: usize = 64;
/// Of longer words the beginning is searched for: what all words cost to be made ready is their length.
const LONGEST: usize = 20;
/// How much of a longer one.
const BEGINNING: usize = 12;
/// Most parts of all patterns.
const PARTS: usize = 512;

/// Patterns, ready to be asked of lines.
pub(crate) struct Sieve {
    /// The parts of all patterns, one pattern behind the other.
    parts: Vec<Part>,
    /// Where the parts of each pattern stand.
    of_pattern: Vec<Range<usize>>,
    /// All words.
    words: Option<AhoCorasick>,
    /// The part of each word.
    of_word: Vec<usize>,
    /// Parts that can match without any word.
    always: Bits,
}

/// One way in which a pattern matches.
struct Part {
    text: String,
    /// Whether one of its words is all that it takes.
    decided: bool,
    regex: OnceLock<Option<Regex>>,
}

/// A set of parts.
#[derive(Clone, Copy, Default)]
struct Bits([u64; PARTS / 64]);

impl Bits {
    fn add(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    fn has(&self, i: usize) -> bool {
        self.0[i / 64] & (1 << (i % 64)) != 0
    }
}

/// What a line can match.
pub(crate) struct Candidates<'a> {
    sieve: &'a Sieve,
    line: &'a str,
    bits: Bits,
}

impl Sieve {
    /// Of patterns with at most 512 parts; what is beyond, or no pattern, matches nothing. Texts of runtimes are ASCII
    /// where it matters: patterns are read as bytes, `\\w` and the like mean ASCII, so a word boundary is cheap on a
    /// line with an umlaut, too.
    pub(crate) fn new(patterns: impl Iterator<Item = &'static str>) -> Self {
        let mut sieve = Sieve {
            parts: Vec::new(),
            of_pattern: Vec::new(),
            words: None,
            of_word: Vec::new(),
            always: Bits::default(),
        };
        let mut words = Vec::new();
        for text in patterns {
            let begin = sieve.parts.len();
            for hir in parts_of(text) {
                let i = sieve.parts.len();
                if i == PARTS {
                    break;
                }
                let needs = words_of(&hir);
                let whole = needs.as_ref().is_some_and(|w| w.iter().all(|w| w.len() <= LONGEST));
                sieve.parts.push(Part {
                    text: hir.to_string(),
                    decided: whole && is_word(&hir),
                    regex: OnceLock::new(),
                });
                match needs {
                    Some(w) => {
                        sieve.of_word.resize(sieve.of_word.len() + w.len(), i);
                        words.extend(w.into_iter().map(|mut w| {
                            if w.len() > LONGEST {
                                w.truncate(BEGINNING);
                            }
                            w
                        }));
                    }
                    None => sieve.always.add(i),
                }
            }
            sieve.of_pattern.push(begin..sieve.parts.len());
        }
        // Takes longer to be made than an NFA, and pays from a few hundred lines on.
        let kind = Some(AhoCorasickKind::DFA);
        sieve.words = AhoCorasick::builder().kind(kind).ascii_case_insensitive(true).build(words).ok();
        if sieve.words.is_none() {
            for (i, part) in sieve.parts.iter_mut().enumerate() {
                part.decided = false;
                sieve.always.add(i);
            }
        }
        sieve
    }

    /// The parts that have no words, so that every line has to be tried.
    #[cfg(test)]
    pub(crate) fn without_words(&self) -> Vec<&str> {
        (0..self.parts.len()).filter(|i| self.always.has(*i)).map(|i| self.parts[i].text.as_str()).collect()
    }

    /// The patterns that `line` can match.
    pub(crate) fn candidates<'a>(&'a self, line: &'a str) -> Candidates<'a> {
        let mut bits = self.always;
        for m in self.words.iter().flat_map(|w| w.find_overlapping_iter(line)) {
            bits.add(self.of_word[m.pattern().as_usize()]);
        }
        Candidates { sieve: self, line, bits }
    }
}

impl Candidates<'_> {
    /// The first of these patterns that the line matches.
    pub(crate) fn first(&self, mut patterns: Range<usize>) -> Option<usize> {
        patterns.find(|p| self.sieve.of_pattern[*p].clone().any(|i| self.bits.has(i) && self.matches(i)))
    }

    fn matches(&self, part: usize) -> bool {
        let part = &self.sieve.parts[part];
        let regex = || part.regex.get_or_init(|| RegexBuilder::new(&part.text).unicode(false).build().ok());
        part.decided || regex().as_ref().is_some_and(|r| r.is_match(self.line.as_bytes()))
    }
}

/// A pattern, taken apart at its outermost `|`; nothing if it is none.
fn parts_of(pattern: &str) -> Vec<Hir> {
    let Ok(hir) = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern) else { return Vec::new() };
    match hir.into_kind() {
        HirKind::Alternation(all) => all,
        HirKind::Literal(l) => vec![Hir::literal(l.0)],
        HirKind::Class(c) => vec![Hir::class(c)],
        HirKind::Look(l) => vec![Hir::look(l)],
        HirKind::Repetition(r) => vec![Hir::repetition(r)],
        HirKind::Capture(c) => vec![Hir::capture(c)],
        HirKind::Concat(all) => vec![Hir::concat(all)],
        HirKind::Empty => vec![Hir::empty()],
    }
}

/// Whether it is one word, its letters in either case.
fn is_word(hir: &Hir) -> bool {
    let calm = |h: &Hir| match h.kind() {
        HirKind::Literal(l) => !l.0.iter().any(u8::is_ascii_alphabetic),
        _ => letter(h).is_some(),
    };
    match hir.kind() {
        HirKind::Concat(all) => all.iter().all(calm),
        _ => calm(hir),
    }
}

/// Words, in small letters, of which one stands in every line that a part matches. None if there are no such words.
fn words_of(hir: &Hir) -> Option<BTreeSet<Vec<u8>>> {
    needed(hir).filter(|w| w.len() <= MOST && w.iter().all(|w| w.len() >= SHORTEST))
}

/// The words of one part of a pattern.
fn needed(hir: &Hir) -> Option<BTreeSet<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(l) => Some(BTreeSet::from([l.0.to_ascii_lowercase()])),
        HirKind::Capture(c) => needed(&c.sub),
        HirKind::Repetition(r) if r.min > 0 => needed(&r.sub),
        HirKind::Alternation(all) => all.iter().map(needed).try_fold(BTreeSet::new(), |mut sum, words| {
            sum.extend(words?);
            Some(sum)
        }),
        HirKind::Concat(all) => {
            // Letters of either case are classes of two: what stands side by side becomes one word.
            let mut best: Option<BTreeSet<Vec<u8>>> = None;
            let mut keep = |words: BTreeSet<Vec<u8>>| {
                let shortest = |w: &BTreeSet<Vec<u8>>| w.iter().map(Vec::len).min().unwrap_or(0);
                if best.as_ref().is_none_or(|b| shortest(&words) > shortest(b)) {
                    best = Some(words);
                }
            };
            let mut word = Vec::new();
            for part in all {
                match (part.kind(), letter(part)) {
                    (_, Some(b)) => word.push(b),
                    (HirKind::Literal(l), _) => word.extend(l.0.to_ascii_lowercase()),
                    _ => {
                        if !word.is_empty() {
                            keep(BTreeSet::from([std::mem::take(&mut word)]));
                        }
                        needed(part).into_iter().for_each(&mut keep);
                    }
                }
            }
            if !word.is_empty() {
                keep(BTreeSet::from([word]));
            }
            best
        }
        _ => letter(hir).map(|b| BTreeSet::from([vec![b]])),
    }
}

/// The letter, in small, that a class of its two cases stands for.
fn letter(hir: &Hir) -> Option<u8> {
    let HirKind::Class(Class::Bytes(class)) = hir.kind() else { return None };
    let mut all = class.iter().flat_map(|r| r.start()..=r.end()).map(|b| b.to_ascii_lowercase());
    let first = all.next()?;
    all.all(|b| b == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pattern: &str) -> Option<Vec<String>> {
        let parts = parts_of(pattern);
        assert_eq!(parts.len(), 1, "{pattern}");
        words_of(&parts[0]).map(|w| w.into_iter().map(|w| String::from_utf8(w).unwrap()).collect())
    }

    #[test]
    fn a_part_needs_one_of_its_words() {
        for (pattern, want) in [
            (r"(?i)(?:exec format error|cannot execute) x", Some(vec!["cannot execute", "exec format error"])),
            (r"bind\(\) to .* failed", Some(vec![" failed", "bind() to "])),
            (r"(?i)lookup [\w.]+: .*(?:refused|timed out)", Some(vec!["lookup "])),
            (r"(?:port )?\d+ taken", Some(vec![" taken"])),
            (r"^E\d{4} ", None),
            (r"[a-z]+", None),
            (r"x*", None),
        ] {
            let found = words(pattern);
            // Which of several words in a row is taken does not matter.
            let fits = match (&found, &want) {
                (Some(f), Some(w)) => f.iter().all(|f| w.contains(&f.as_str())),
                (None, None) => true,
                _ => false,
            };
            assert!(fits, "{pattern}: {found:?}");
        }
    }

    #[test]
    fn only_whole_words_of_either_case_are_decided_by_being_found() {
        for (pattern, want) in [
            (r"(?i)no such host", true),
            (r"(?i)x509:", true),
            (r"(?i)emerg\]", true),
            (r"no such host", false),
            (r"(?i)\bpanic", false),
            (r"(?i)self[- ]signed", false),
            (r"(?i)^panic: ", false),
        ] {
            assert_eq!(is_word(&parts_of(pattern)[0]), want, "{pattern}");
        }
    }
}
