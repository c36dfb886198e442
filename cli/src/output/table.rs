//! Columns. The last one takes what is left of the width, and is broken or cut there.

use super::text::{Paint, clean, shorten, wrap};

/// What becomes of text that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// Cut off.
    Cut,
    /// Goes on in the next line, under its column.
    Wrap,
    /// Runs over the edge.
    Keep,
}

/// A table under construction.
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    indent: usize,
}

/// Blanks between columns.
const GAP: usize = 2;
/// Characters that the last column keeps in a narrow terminal.
const LEAST: usize = 24;
/// Characters of a column that is not the last.
const MOST: usize = 64;

impl Table {
    /// With these column heads; none: no head line.
    pub(crate) fn new(head: &[&str]) -> Self {
        Table { head: head.iter().map(|h| (*h).to_owned()).collect(), rows: Vec::new(), indent: 0 }
    }

    /// Every line begins with so many blanks.
    pub(crate) fn indented(mut self, by: usize) -> Self {
        self.indent = by;
        self
    }

    /// One more row; texts are cleaned here.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.rows.push(cells.into_iter().map(|c| clean(c.as_ref())).collect());
    }

    /// The table as lines.
    pub(crate) fn lay_out(&self, width: usize, overflow: Overflow, paint: Paint) -> String {
        let columns = self.rows.iter().map(Vec::len).chain([self.head.len()]).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in self.rows.iter().chain([&self.head]) {
            for (i, cell) in row.iter().enumerate() {
                widths[i] = widths[i].max(cell.chars().count());
            }
        }
        if overflow != Overflow::Keep {
            narrow(&mut widths, width.saturating_sub(self.indent));
        }
        let mut out = String::new();
        if !self.head.is_empty() {
            let line = self.line(&self.head, &widths, Overflow::Keep);
            for l in line {
                out.push_str(&paint.faint(&l));
                out.push('\n');
            }
        }
        for row in &self.rows {
            for l in self.line(row, &widths, overflow) {
                out.push_str(&l);
                out.push('\n');
            }
        }
        out
    }

    fn line(&self, row: &[String], widths: &[usize], overflow: Overflow) -> Vec<String> {
        let last = row.len().saturating_sub(1);
        let cells: Vec<Vec<String>> = row
            .iter()
            .enumerate()
            .map(|(i, cell)| match overflow {
                Overflow::Keep => vec![cell.clone()],
                Overflow::Wrap if i == last => wrap(cell, widths[i]),
                _ => vec![shorten(cell, widths[i])],
            })
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(1);
        (0..height)
            .map(|y| {
                let mut line = " ".repeat(self.indent);
                for (i, cell) in cells.iter().enumerate() {
                    let text = cell.get(y).map_or("", String::as_str);
                    line.push_str(text);
                    if i < last {
                        let fill = (widths[i] + GAP).saturating_sub(text.chars().count());
                        line.push_str(&" ".repeat(fill));
                    }
                }
                line.trim_end().to_owned()
            })
            .collect()
    }
}

/// Takes width from the widest columns until the table fits.
fn narrow(widths: &mut [usize], width: usize) {
    let Some(last) = widths.len().checked_sub(1) else { return };
    for w in &mut widths[..last] {
        *w = (*w).min(MOST);
    }
    let gaps = GAP * last;
    loop {
        let before: usize = widths[..last].iter().sum();
        let left = width.saturating_sub(before + gaps);
        if left >= widths[last].min(LEAST) || before <= 6 * last {
            widths[last] = widths[last].min(left.max(LEAST));
            return;
        }
        if let Some(w) = widths[..last].iter_mut().max() {
            *w -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_wraps_the_last_column_and_cuts_the_others() {
        let mut t = Table::new(&["A", "TEXT"]);
        t.row(["a-rather-long-name-of-a-pod", "words that go on and on beyond the edge"]);
        let wrapped = t.lay_out(40, Overflow::Wrap, Paint(false));
        assert!(wrapped.lines().all(|l| l.chars().count() <= 40), "{wrapped}");
        assert!(wrapped.contains("edge") && wrapped.contains('…'), "{wrapped}");
        assert!(t.lay_out(40, Overflow::Keep, Paint(false)).contains("on and on beyond the edge"));
    }
}
