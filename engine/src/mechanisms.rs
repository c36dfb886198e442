//! The mechanisms: how one thing breaks another. One room a family, one manual section an id.
//!
//! A family has two entries: `find` proposes hypotheses whose required evidence is present; `residual` is asked only
//! for symptoms that no `find` explains. A family that panics is fenced alone: the others go on.

pub mod access;
pub mod autoscaling;
pub mod certificates;
pub mod config;
pub mod containers;
pub mod control_plane;
pub mod dependencies;
pub mod disruption;
pub mod images;
pub mod ingress;
pub mod injected;
pub mod jobs;
pub mod machine;
pub mod mesh;
pub mod network;
pub mod node_pressure;
pub mod nodes;
pub mod performance;
pub mod probes;
pub mod quota;
pub mod releases;
pub mod rollout;
pub mod routes;
pub mod scheduling;
pub mod services;
pub mod storage;

use std::panic::{AssertUnwindSafe, catch_unwind};

use tapio_core::object::ObjectRef;

use crate::diagnosis::hypothesis::Hypothesis;
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::View;

/// What a mechanism's proof rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rests {
    /// A recording or a case of a real cluster.
    Recorded,
    /// Real texts in a built story.
    CapturedText,
    /// The documentation of the parts involved.
    Documented,
}

impl Rests {
    /// The words in the manual.
    pub fn as_str(self) -> &'static str {
        match self {
            Rests::Recorded => "recorded",
            Rests::CapturedText => "captured text",
            Rests::Documented => "documented",
        }
    }
}

/// The manual section of one mechanism, from its doc comment.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Id of the vocabulary.
    pub id: &'static str,
    /// The doc comment: first line what it is, then required and supporting evidence, refuters, lag, what to do.
    pub text: &'static str,
    /// What its proof rests on.
    pub rests: Rests,
    /// Symptoms that it can explain by itself.
    pub explains: &'static [Trouble],
}

impl Section {
    /// What it is, in one line.
    pub fn title(&self) -> &'static str {
        self.text.trim_start().lines().next().unwrap_or("").trim()
    }

    /// The paragraph that begins with `word:`.
    pub fn part(&self, word: &str) -> Option<String> {
        let mut lines = self.text.lines().map(str::trim).skip_while(|l| !l.starts_with(&format!("{word}:")));
        let first = lines.next()?.split_once(':')?.1.trim().to_owned();
        let is_head =
            |l: &str| ["Required:", "Supports:", "Refuted by:", "Lag:", "Do:"].iter().any(|h| l.starts_with(h));
        let rest: Vec<&str> = lines.take_while(|l| !l.is_empty() && !is_head(l)).collect();
        Some(std::iter::once(first.as_str()).chain(rest).collect::<Vec<_>>().join(" "))
    }
}

/// A room of near relatives.
#[derive(Clone, Copy)]
pub struct Family {
    /// Its name, as the file's.
    pub name: &'static str,
    /// A section for every id.
    pub manual: &'static [Section],
    find: fn(&View, &[Symptom], &mut Vec<Hypothesis>),
    residual: fn(&View, &[Symptom], &mut Vec<Hypothesis>),
}

/// Declares a family's manual: doc comment, id, what its proof rests on, which symptoms it explains by itself.
macro_rules! manual {
    ($($(#[doc = $doc:literal])+ $id:literal: $rests:ident [$($trouble:ident),*];)+) => {
        /// One section for every id of this family.
        pub const MANUAL: &[crate::mechanisms::Section] = &[$(crate::mechanisms::Section {
            id: $id,
            text: concat!($($doc, "\n"),+),
            rests: crate::mechanisms::Rests::$rests,
            explains: &[$(crate::diagnosis::symptom::Trouble::$trouble),*],
        }),+];
    };
}
pub(crate) use manual;

fn nothing(_: &View, _: &[Symptom], _: &mut Vec<Hypothesis>) {}

/// Every family, in the order of the vocabulary.
pub const FAMILIES: &[Family] = &[
    Family { name: "images", manual: images::MANUAL, find: images::find, residual: nothing },
    Family { name: "quota", manual: quota::MANUAL, find: quota::find, residual: nothing },
    Family { name: "access", manual: access::MANUAL, find: access::find, residual: nothing },
    Family { name: "scheduling", manual: scheduling::MANUAL, find: scheduling::find, residual: nothing },
    Family { name: "storage", manual: storage::MANUAL, find: storage::find, residual: storage::residual },
    Family { name: "config", manual: config::MANUAL, find: config::find, residual: nothing },
    Family { name: "containers", manual: containers::MANUAL, find: containers::find, residual: containers::residual },
    Family { name: "probes", manual: probes::MANUAL, find: probes::find, residual: probes::residual },
    Family { name: "jobs", manual: jobs::MANUAL, find: jobs::find, residual: jobs::residual },
    Family { name: "rollout", manual: rollout::MANUAL, find: rollout::find, residual: rollout::residual },
    Family { name: "autoscaling", manual: autoscaling::MANUAL, find: autoscaling::find, residual: nothing },
    Family { name: "disruption", manual: disruption::MANUAL, find: disruption::find, residual: nothing },
    Family { name: "releases", manual: releases::MANUAL, find: releases::find, residual: nothing },
    Family { name: "services", manual: services::MANUAL, find: services::find, residual: nothing },
    Family {
        name: "dependencies",
        manual: dependencies::MANUAL,
        find: dependencies::find,
        residual: dependencies::residual,
    },
    Family { name: "network", manual: network::MANUAL, find: network::find, residual: network::residual },
    Family { name: "mesh", manual: mesh::MANUAL, find: mesh::find, residual: nothing },
    Family { name: "certificates", manual: certificates::MANUAL, find: certificates::find, residual: nothing },
    Family { name: "ingress", manual: ingress::MANUAL, find: ingress::find, residual: nothing },
    Family { name: "routes", manual: routes::MANUAL, find: routes::find, residual: nothing },
    Family { name: "performance", manual: performance::MANUAL, find: nothing, residual: performance::residual },
    Family { name: "nodes", manual: nodes::MANUAL, find: nodes::find, residual: nodes::residual },
    Family { name: "node_pressure", manual: node_pressure::MANUAL, find: node_pressure::find, residual: nothing },
    Family { name: "machine", manual: machine::MANUAL, find: machine::find, residual: nothing },
    Family { name: "control_plane", manual: control_plane::MANUAL, find: control_plane::find, residual: nothing },
    Family { name: "injected", manual: injected::MANUAL, find: injected::find, residual: nothing },
];

/// Ids of the vocabulary that no mechanism shows yet, and what is missing for each.
pub const NOT_YET: &[(&str, &str)] = &[];

/// Every section, in the order of the vocabulary.
pub fn sections() -> impl Iterator<Item = &'static Section> {
    FAMILIES.iter().flat_map(|f| f.manual)
}

/// The section of an id.
pub fn section(id: &str) -> Option<&'static Section> {
    sections().find(|s| s.id == id)
}

/// All direct hypotheses, and how many families had to be fenced.
pub fn find_all(view: &View, symptoms: &[Symptom]) -> (Vec<Hypothesis>, u64) {
    run(view, symptoms, |f| f.find)
}

/// All residual hypotheses for symptoms that are left.
pub fn residual_all(view: &View, left: &[Symptom]) -> (Vec<Hypothesis>, u64) {
    run(view, left, |f| f.residual)
}

type Find = fn(&View, &[Symptom], &mut Vec<Hypothesis>);

fn run(view: &View, symptoms: &[Symptom], part: impl Fn(&Family) -> Find) -> (Vec<Hypothesis>, u64) {
    let (mut all, mut fenced) = (Vec::new(), 0);
    for family in FAMILIES {
        let find = part(family);
        let found = catch_unwind(AssertUnwindSafe(|| {
            let mut out = Vec::new();
            find(view, symptoms, &mut out);
            out
        }));
        match found {
            Ok(mut list) => all.append(&mut list),
            Err(_) => fenced += 1,
        }
    }
    (all, fenced)
}

/// The word that kubectl takes for an object, with its namespace flag first: `-n shop … deployment/cart`.
pub fn kubectl(verb: &str, o: &ObjectRef) -> String {
    let ns = o.namespace.as_ref().map(|n| format!(" -n {n}")).unwrap_or_default();
    format!("kubectl{ns} {verb} {}/{}", o.kind.to_lowercase(), o.name)
}

/// The command that takes back the last rollout; a look at the object where there is none.
pub fn undo(o: &ObjectRef) -> String {
    match o.kind.as_str() {
        "Deployment" | "StatefulSet" | "DaemonSet" => kubectl("rollout undo", o),
        _ => kubectl("describe", o),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_says_what_it_is_what_it_needs_and_what_to_do() {
        let mut seen: std::collections::BTreeSet<&str> = NOT_YET.iter().map(|(id, _)| *id).collect();
        for s in sections() {
            assert!(seen.insert(s.id), "{} twice", s.id);
            assert!(!s.title().is_empty(), "{} has no title", s.id);
            for part in ["Required", "Refuted by", "Do"] {
                assert!(s.part(part).is_some_and(|p| !p.is_empty()), "{} lacks `{part}:`", s.id);
            }
        }
    }
}
