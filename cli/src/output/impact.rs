//! What a change hits, for people who are about to make one.

use tapio_core::object::ObjectRef;
use tapio_engine::read::Impact;

use super::Screen;
use super::table::{Overflow, Table};
use super::text::{clean, count, wrap};

/// Names shown where not everything is wanted.
const NAMES: usize = 8;

/// The impact as text.
pub(crate) fn lay_out(screen: &Screen, impact: &Impact, wide: bool) -> String {
    let p = screen.paint;
    let object = clean(&impact.object.to_string());
    let mut out = String::new();
    if impact.readers.is_empty() {
        out.push_str(&format!("{}\n", p.good(&format!("nobody depends on {object}"))));
    } else {
        let hit = [
            (impact.workloads.len(), "workload"),
            (impact.pods.len(), "pod"),
            (impact.services.len(), "Service"),
            (impact.ingresses.len(), "Ingress"),
        ];
        let hit: Vec<String> = hit.iter().filter(|(n, _)| *n > 0).map(|(n, what)| count(*n, what)).collect();
        let hit = if hit.is_empty() { count(impact.readers.len(), "reader") } else { hit.join(", ") };
        out.push_str(&format!("{}\n", p.strong(&format!("a change of {object} hits {hit}"))));
    }
    if !impact.exists {
        out.push_str(&format!("  {}\n", p.doubtful("it is not there; this is who refers to it")));
    }
    if !impact.readers.is_empty() {
        out.push('\n');
        let mut t = Table::new(&["WHO", "CONTAINER", "HOW", "KEYS", "TAKES EFFECT", "PODS"]).indented(2);
        for r in &impact.readers {
            let how = if r.optional { format!("{}, optional", r.how) } else { r.how.clone() };
            let keys = match (r.keys.is_empty(), r.container.is_some()) {
                (true, true) => "all".to_owned(),
                _ => r.keys.join(","),
            };
            let pods = match (wide, r.pods.len()) {
                (false, n) => n.to_string(),
                (true, _) => r.pods.join(","),
            };
            let who = r.object.to_string();
            t.row([who, r.container.clone().unwrap_or_default(), how, keys, r.effect.says().to_owned(), pods]);
        }
        let overflow = if wide { Overflow::Keep } else { Overflow::Cut };
        out.push_str(&t.lay_out(screen.width, overflow, p));
    }
    let mut part = |title: &str, list: &[ObjectRef]| {
        if list.is_empty() {
            return;
        }
        out.push_str(&format!("\n{}\n", p.strong(title)));
        let most = if wide { usize::MAX } else { NAMES };
        let names: Vec<String> = list.iter().take(most).map(|o| clean(&o.to_string())).collect();
        let rest = if list.len() > most { format!(", and {} more", list.len() - most) } else { String::new() };
        for l in wrap(&(names.join(", ") + &rest), screen.width.saturating_sub(2)) {
            out.push_str(&format!("  {l}\n"));
        }
    };
    part("Services behind which they stand", &impact.services);
    part("Ingresses that lead there", &impact.ingresses);
    part("workloads that call them", &impact.callers);
    if wide {
        part("pods", &impact.pods);
    }
    out
}
