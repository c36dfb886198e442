//! A timeline: a line a happening, a head line a day.

use tapio_core::unified::Severity;
use tapio_engine::read::Timeline;

use super::Screen;
use super::answer::date;
use super::table::{Overflow, Table};
use super::text::{clean, count, shorten};

/// Characters of one happening where not everything is wanted.
const SAYS: usize = 200;

/// The timeline as text.
pub(crate) fn lay_out(screen: &Screen, told: &Timeline, wide: bool) -> String {
    let Timeline { object, items, left_out } = told;
    let p = screen.paint;
    if items.is_empty() {
        return format!("nothing is known to have happened to {}", clean(&object.to_string()));
    }
    let mut out = String::new();
    if *left_out > 0 {
        out.push_str(&p.faint(&format!("{} before this; --limit 0 shows all", count(*left_out, "happening"))));
        out.push('\n');
    }
    let mut rest = items.as_slice();
    while let Some(first) = rest.first() {
        let day = date(first.at);
        let n = rest.iter().take_while(|i| date(i.at) == day).count();
        out.push_str(&format!("{}\n", p.strong(&format!("{day}, UTC"))));
        let mut t = Table::new(&[]).indented(2);
        for i in &rest[..n] {
            let mark = match i.severity {
                Severity::Info | Severity::Low => " ",
                Severity::Medium => "!",
                Severity::High | Severity::Critical => "!!",
            };
            let times = match (i.count, i.first) {
                (Some(n), Some(first)) => format!(" (×{n} since {})", first.clock()),
                _ => String::new(),
            };
            let about = if i.object.ns() == object.ns() {
                format!("{} {}", i.object.kind, i.object.name)
            } else {
                i.object.to_string()
            };
            let says = if wide { clean(&i.says) } else { shorten(&clean(&i.says), SAYS) };
            t.row([i.at.clock(), mark.to_owned(), i.what.clone(), about, says + &times]);
        }
        out.push_str(&t.lay_out(screen.width, Overflow::Wrap, p));
        rest = &rest[n..];
    }
    out
}
