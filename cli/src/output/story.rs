//! The incidents as they come and go, one after another.

use std::collections::BTreeMap;

use tapio_core::answer::Incident;
use tapio_core::id::Id;
use tapio_core::time::Time;
use tapio_engine::Outcome as EngineOutcome;
use tapio_engine::incidents::Transition;
use tapio_graph::rules::News;

use super::Screen;
use super::answer::date;
use super::incidents::short;
use super::rules::off;
use super::text::{clean, shorten};
use crate::cmd::Session;
use crate::error::Outcome;

/// The incidents as they come and go, for people.
pub(crate) struct Story<'a> {
    screen: &'a Screen,
    told: bool,
    wide: bool,
    day: String,
    last: BTreeMap<Id, String>,
    /// Lines that were told.
    pub(crate) events: u64,
    quiet: bool,
}

impl<'a> Story<'a> {
    /// Nothing told yet; `told`: whether anything is to be.
    pub(crate) fn new(session: &'a Session, told: bool, wide: bool) -> Self {
        let (screen, quiet) = (&session.screen, session.quiet);
        Story { screen, told, wide, day: String::new(), last: BTreeMap::new(), events: 0, quiet }
    }

    /// Tells what came of a batch.
    pub(crate) fn tell(&mut self, out: &EngineOutcome, news: &[News]) -> Outcome {
        // A rule that is off is told in every form of the output.
        for n in news {
            if let News::Fenced(f) = n
                && !self.quiet
            {
                eprintln!("{}", clean(&off(f)));
            }
        }
        if !self.told {
            return Ok(());
        }
        let mut news = news.iter().peekable();
        for (t, i) in &out.incidents {
            while let Some(n) = news.next_if(|n| time_of(n) < i.updated_at) {
                self.news(n)?;
            }
            self.line(*t, i)?;
        }
        news.try_for_each(|n| self.news(n))
    }

    /// A line for the day, where it is another one.
    fn day(&mut self, at: Time) -> Outcome {
        let day = date(at);
        if day != self.day {
            self.screen.print(&self.screen.paint.faint(&format!("{day}, UTC")))?;
            self.day = day;
        }
        Ok(())
    }

    fn news(&mut self, n: &News) -> Outcome {
        let p = self.screen.paint;
        let (f, word) = match n {
            News::Opened(f) => (f, p.bad("firing  ")),
            News::Resolved(f) => (f, p.good("over    ")),
            News::Fenced(_) => return Ok(()),
        };
        self.day(time_of(n))?;
        self.events += 1;
        let head = format!("{}  {word}  own rule  {:8}  ", time_of(n).clock(), f.severity.as_str());
        self.screen.print(&format!("{head}{}", p.strong(&format!("{}  {}", f.id, clean(&f.title)))))?;
        if matches!(n, News::Resolved(_)) {
            return Ok(());
        }
        self.screen.print(&format!("          {}", shorten(&clean(&f.message), self.room())))
    }

    /// An incident that was open before.
    pub(crate) fn open(&mut self, i: &Incident) -> Outcome {
        let word = self.screen.paint.doubtful("is open ");
        self.say(i.opened_at, &word, true, i)
    }

    /// Characters of a sentence.
    fn room(&self) -> usize {
        if self.wide { usize::MAX } else { self.screen.width.saturating_sub(10).max(40) }
    }

    fn line(&mut self, t: Transition, i: &Incident) -> Outcome {
        let p = self.screen.paint;
        // More of the same symptoms is no news to read.
        let state = format!("{} {} {:?}", what(i), i.severity, i.state);
        if t == Transition::Updated && self.last.get(&i.id) == Some(&state) {
            return Ok(());
        }
        self.last.insert(i.id, state);
        let word = match t {
            Transition::Opened => p.bad("opened  "),
            Transition::Updated => p.doubtful("changed "),
            Transition::Resolved => p.good("resolved"),
            Transition::Merged => p.faint("merged  "),
        };
        let told = t != Transition::Resolved && t != Transition::Merged;
        self.say(i.updated_at, &word, told, i)
    }

    fn say(&mut self, at: Time, word: &str, told: bool, i: &Incident) -> Outcome {
        let p = self.screen.paint;
        self.day(at)?;
        let head = format!("{}  {word}  {}  {:8}  ", at.clock(), short(i), i.severity.as_str());
        self.screen.print(&format!("{head}{}", p.strong(&clean(&what(i)))))?;
        if told {
            let says = match &i.root_cause {
                Some(c) => c.summary.clone(),
                None => i.symptoms.first().map(|s| s.says.clone()).unwrap_or_default(),
            };
            self.screen.print(&format!("          {}", shorten(&clean(&says), self.room())))?;
        }
        self.events += 1;
        Ok(())
    }
}

/// Cause and object.
fn what(i: &Incident) -> String {
    match &i.root_cause {
        Some(c) => format!("{}  {}", c.mechanism, c.object),
        None => {
            let first = i.symptoms.first().map(|s| format!("  {}", s.object)).unwrap_or_default();
            format!("unknown{first}")
        }
    }
}

/// When it came.
fn time_of(n: &News) -> Time {
    match n {
        News::Opened(f) => f.opened_at,
        News::Resolved(f) => f.resolved_at.unwrap_or(f.opened_at),
        News::Fenced(f) => f.at,
    }
}
