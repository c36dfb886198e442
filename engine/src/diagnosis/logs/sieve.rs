//! Many patterns over many lines, at the price of a few: a line is first searched for words without which a pattern
//! cannot match, all words of all patterns in one pass, and only the patterns left are tried.
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
/// Most words of one pattern.
const MOST: usize = 64;

/// Patterns, ready to be asked of lines.
pub(super) struct Sieve {
    patterns: Vec<Pattern>,
    /// All words; without them every pattern is tried.
    words: Option<AhoCorasick>,
    /// The pattern of each word.
    of_word: Vec<usize>,
    /// Patterns that can match without any word.
    always: u64,
}

struct Pattern {
    text: &'static str,
    regex: OnceLock<Option<Regex>>,
}

/// What a line can match.
pub(super) struct Candidates<'a> {
    sieve: &'a Sieve,
    line: &'a str,
    bits: u64,
}

impl Sieve {
    /// Of at most 64 patterns. Texts of runtimes are ASCII where it matters: patterns are read as bytes, `\\w` and the
    /// like mean ASCII, so a word boundary is cheap on a line with an umlaut, too.
    pub(super) fn new(patterns: impl Iterator<Item = &'static str>) -> Self {
        let patterns: Vec<Pattern> = patterns.map(|text| Pattern { text, regex: OnceLock::new() }).collect();
        let (mut words, mut of_word, mut always) = (Vec::new(), Vec::new(), 0);
        for (i, p) in patterns.iter().enumerate() {
            match words_of(p.text) {
                Some(w) => {
                    of_word.resize(of_word.len() + w.len(), i);
                    words.extend(w);
                }
                None => always |= 1 << i,
            }
        }
        let words =
            AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).ascii_case_insensitive(true).build(words).ok();
        if words.is_none() {
            always = u64::MAX;
        }
        Sieve { patterns, words, of_word, always }
    }

    /// The patterns that `line` can match.
    pub(super) fn candidates<'a>(&'a self, line: &'a str) -> Candidates<'a> {
        let mut bits = self.always;
        for m in self.words.iter().flat_map(|w| w.find_overlapping_iter(line)) {
            bits |= 1 << self.of_word[m.pattern().as_usize()];
        }
        Candidates { sieve: self, line, bits }
    }
}

impl Candidates<'_> {
    /// The first of these patterns that the line matches.
    pub(super) fn first(&self, mut patterns: Range<usize>) -> Option<usize> {
        patterns.find(|i| {
            if self.bits & (1 << i) == 0 {
                return false;
            }
            let p = &self.sieve.patterns[*i];
            let regex = p.regex.get_or_init(|| RegexBuilder::new(p.text).unicode(false).build().ok());
            regex.as_ref().is_some_and(|r| r.is_match(self.line.as_bytes()))
        })
    }
}

/// Words, in small letters, of which one stands in every line that a pattern matches. None if there are no such words.
fn words_of(pattern: &str) -> Option<BTreeSet<Vec<u8>>> {
    let hir = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).ok()?;
    needed(&hir).filter(|w| w.len() <= MOST && w.iter().all(|w| w.len() >= SHORTEST))
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
    use super::super::patterns::{CALM, ERROR_LEVEL, PATTERNS};
    use super::*;

    fn words(pattern: &str) -> Option<Vec<String>> {
        words_of(pattern).map(|w| w.into_iter().map(|w| String::from_utf8(w).unwrap()).collect())
    }

    #[test]
    fn a_pattern_needs_one_of_its_words() {
        for (pattern, want) in [
            (r"(?i)exec format error|cannot execute", Some(vec!["cannot execute", "exec format error"])),
            (r"bind\(\) to .* failed", Some(vec![" failed", "bind() to "])),
            (r"(?i)lookup [\w.]+: .*(?:refused|timed out)", Some(vec!["lookup "])),
            (r"(?:port )?\d+ taken", Some(vec![" taken"])),
            (r"^E\d{4} ", None),
            (r"abc|[a-z]+", None),
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
    fn all_patterns_are_read_and_nearly_all_have_words() {
        let all: Vec<&str> = PATTERNS.iter().map(|(_, p)| *p).chain(ERROR_LEVEL).chain(CALM).collect();
        assert!(all.len() <= 64);
        for p in &all {
            assert!(RegexBuilder::new(p).unicode(false).build().is_ok(), "{p}");
        }
        let without: Vec<_> = all.iter().filter(|p| words_of(p).is_none()).collect();
        assert!(without.len() <= 4, "{without:#?}");
    }
}
