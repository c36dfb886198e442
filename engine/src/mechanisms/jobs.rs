//! Jobs that fail, and CronJobs that do not start theirs.

use tapio_core::object::Body;

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{View, shorten};

manual! {
    /// A Job reached its back-off limit or deadline.
    ///
    /// Required: condition Failed of the Job.
    /// Refuted by: its pods fail for a cause of their own that is seen.
    /// Do: read the log of the Job's last pod.
    "job-failed": CapturedText [JobFailed];
    /// A CronJob does not start its runs.
    ///
    /// Required: MissSchedule for two runs (one, if startingDeadlineSeconds is below ten seconds), TooManyMissedTimes,
    /// FailedNeedsStart, or a schedule or time zone that cannot be read; or a Job that cannot be created for a reason that
    /// no other mechanism knows.
    /// Supports: a startingDeadlineSeconds below the ten seconds at which the controller looks.
    /// Refuted by: a run that began since; the CronJob is suspended. That a run waits for the one before
    /// (concurrencyPolicy Forbid) is no miss.
    /// Lag: a minute after the run was due.
    /// Do: correct schedule, time zone or startingDeadlineSeconds; look whether the controller-manager runs.
    "cronjob-missed": CapturedText [RunsMissed, FailedCreate];
}

/// Runs that did not begin.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| s.trouble == Trouble::RunsMissed) {
        let Some(entry) = view.world.entry(&s.object) else { continue };
        let Some(Body::CronJob(c)) = entry.live().map(|o| &o.body) else { continue };
        let why = why(&s.says, c.spec.starting_deadline_seconds);
        let last = c.status.last_schedule_time.map_or("never".to_owned(), |t| t.clock());
        let edits: Vec<_> = view.changes(&s.object).iter().map(|c| c.change.clone()).collect();
        let mut h = Hypothesis::new(
            "cronjob-missed",
            s.object.clone(),
            s.since,
            Proof::Stated,
            format!("{} does not start its runs: {why}", s.object),
        )
        .counting_from(s.counts_from)
        .via("schedule")
        .supported(u32::from(!edits.is_empty()) + u32::from(c.spec.starting_deadline_seconds.is_some_and(|s| s < 10)))
        .changed(edits)
        .with([view.state(&s.object, Some(s.since), format!("schedule {}, last run {last}", c.spec.schedule))])
        .unless("a run began since", false)
        .unless("it is suspended", c.spec.suspend)
        .next(kubectl("describe", &s.object));
        for n in entry.history.notes.iter().rev().filter(|n| n.warning).take(2) {
            h = h.with([view.noted(&s.object, n)]);
        }
        out.push(h);
    }
}

/// What keeps the runs from starting, by the words of the controller.
fn why(text: &str, deadline: Option<i64>) -> String {
    let has = |w: &str| text.to_lowercase().contains(w);
    match deadline {
        _ if has("schedule:") && (has("unparseable") || has("invalid schedule")) => {
            "its schedule cannot be read".to_owned()
        }
        _ if has("unparseable schedule") => "its schedule cannot be read".to_owned(),
        _ if has("timezone") || has("time zone") => "its time zone is not known".to_owned(),
        _ if has("too many missed start time") => "too many runs are missed".to_owned(),
        Some(s) if has("missed scheduled time") => format!("they come later than its deadline of {s} s"),
        _ => "they are missed".to_owned(),
    }
}

/// Jobs that failed or cannot be created, where nothing else says why.
pub fn residual(view: &View, left: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in left {
        let (id, refuter) = match s.trouble {
            Trouble::JobFailed => ("job-failed", "its pods fail for a cause that is seen"),
            Trouble::FailedCreate if s.object.kind == "CronJob" => ("cronjob-missed", "a run began since"),
            _ => continue,
        };
        out.push(
            Hypothesis::new(id, s.object.clone(), s.since, Proof::Residual, s.says.clone())
                .counting_from(s.counts_from)
                .with([view.state(&s.object, Some(s.since), shorten(&s.says, 300))])
                .unless(refuter, false)
                .next(kubectl(if id == "job-failed" { "logs" } else { "describe" }, &s.object)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controllers_words_of_several_versions_are_understood() {
        for (text, deadline, want) in [
            (
                "Missed scheduled time to start a job: Mon, 02 Mar 2026 10:05:00 UTC",
                Some(5),
                "they come later than its deadline of 5 s",
            ),
            // The first controller, up to 1.20.
            (
                "Cannot determine if job needs to be started: too many missed start time (> 100). Set or decrease .spec.startingDeadlineSeconds or check clock skew",
                None,
                "too many runs are missed",
            ),
            (
                "too many missed start times: 101. Set or decrease .spec.startingDeadlineSeconds or check clock skew",
                None,
                "too many runs are missed",
            ),
            (
                "unparseable schedule: \"61 * * * *\" : end of range (61) above maximum (59): 61",
                None,
                "its schedule cannot be read",
            ),
            (
                "unparseable schedule for cronjob: expected exactly 5 fields, found 4: [* * * *]",
                None,
                "its schedule cannot be read",
            ),
            (
                "invalid timeZone: \"Europe/Atlantis\": unknown time zone Europe/Atlantis",
                None,
                "its time zone is not known",
            ),
        ] {
            assert_eq!(why(text, deadline), want, "{text}");
        }
    }
}
