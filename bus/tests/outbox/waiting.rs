//! What waits, and for what: sinks that fail, groups, silences, rates, bounds.

use std::sync::Mutex;

use tapio_bus::outbox::{GroupBy, Selection, SinkPlan, State};
use tapio_core::ports::SinkError;
use tapio_core::unified::Severity::High;

use super::fixture::*;

fn fails(n: usize, e: &SinkError) -> Told {
    Told { replies: Mutex::new(vec![Some(e.clone()); n].into()), ..Told::default() }
}

#[test]
fn a_sink_that_is_away_is_tried_later_and_later_by_a_schedule_without_chance() {
    let retry = SinkError::Retry { why: "away".to_owned() };
    let schedule = || {
        let desk = Desk::new(vec![SinkPlan::new("a")]);
        desk.take(&incident(1, "shop", High, START), secs(0));
        let (mut courier, got, _) = desk.courier(0, fails(12, &retry));
        let (mut now, mut times, mut told) = (secs(0), Vec::new(), 0);
        while got.lock().unwrap().is_empty() {
            let (again, notes) = desk.run(&mut courier, now);
            told += notes.len();
            if let Some(at) = again {
                times.push(at.since(now) / 1_000_000);
                now = at;
            }
        }
        (times, told)
    };
    let (times, told) = schedule();
    assert_eq!((times.clone(), told), schedule());
    let tries: i64 = times.iter().sum();
    assert!(times[..8] == [1, 1, 2, 2, 4, 4, 8, 8] && tries < 3_600, "{times:?}");
    assert_eq!(told, 2, "once that it is away, once that it is back");
}

#[test]
fn a_sink_that_says_when_to_come_back_is_left_alone_until_then() {
    let desk = Desk::new(vec![SinkPlan::new("a")]);
    desk.take(&incident(1, "shop", High, START), secs(0));
    let busy = SinkError::RetryAfter { why: "429".to_owned(), secs: 42 };
    let (mut courier, got, _) = desk.courier(0, fails(1, &busy));
    assert_eq!(desk.run(&mut courier, secs(0)).0, Some(secs(42)));
    assert_eq!(desk.run(&mut courier, secs(41)).0, Some(secs(42)));
    desk.run(&mut courier, secs(42));
    assert_eq!(words(&got), ["opened 1"]);
}

#[test]
fn one_alert_that_a_server_cannot_digest_does_not_hold_back_the_others() {
    let desk = Desk::new(vec![SinkPlan { give_up_millis: 600_000, ..SinkPlan::new("a") }]);
    for n in 1..=5 {
        desk.take(&incident(n, "shop", High, START), secs(0));
    }
    let (mut courier, got, _) = desk.courier(0, Told { poison: Some("app-1".to_owned()), ..Told::default() });
    let mut now = secs(0);
    while now < secs(1_200) {
        now = desk.run(&mut courier, now).0.unwrap_or(secs(1_200)).max(now.plus(1_000_000));
    }
    assert_eq!(words(&got), ["opened 2", "opened 3", "opened 4", "opened 5"]);
    let dead = desk.list(Some(State::Dead));
    assert_eq!((dead.len(), desk.count("a", "dead_gave_up")), (1, 1));
    assert!(dead[0].tries > 3, "{}", dead[0].tries);
}

#[test]
fn a_refused_alert_is_a_dead_letter_at_once_and_can_be_sent_again_with_what_followed() {
    let desk = Desk::new(vec![SinkPlan::new("a")]);
    let i = incident(1, "shop", High, START);
    desk.take(&i, secs(0));
    desk.take(&over(&i, secs(5)), secs(5));
    let refused = SinkError::Refused { why: "400".to_owned() };
    let (mut courier, got, _) = desk.courier(0, fails(1, &refused));
    desk.run(&mut courier, secs(6));
    assert_eq!(words(&got), ["resolved 1"]);
    assert_eq!(desk.list(Some(State::Dead))[0].reason, "400");
    assert_eq!(desk.outbox.resend(&Selection::default(), secs(9)).unwrap(), 1);
    desk.run(&mut courier, secs(9));
    assert_eq!(words(&got), ["resolved 1", "opened 1", "resolved 1"], "it does not end as open");
    assert_eq!(desk.outbox.resend(&Selection::default(), secs(9)).unwrap(), 0);
}

#[test]
fn a_group_goes_as_one_message_after_its_time_in_order() {
    let plan = SinkPlan { group_by: GroupBy::Namespace, group_wait_millis: 10_000, ..SinkPlan::new("a") };
    let desk = Desk::new(vec![plan]);
    let (mut courier, got, _) = desk.courier(0, Told::default());
    let one = incident(1, "shop", High, START);
    desk.take(&one, secs(0));
    desk.take(&incident(2, "bank", High, START), secs(2));
    desk.take(&incident(3, "shop", High, START), secs(4));
    desk.take(&over(&one, secs(5)), secs(5));
    assert_eq!(desk.run(&mut courier, secs(9)).0, Some(secs(10)));
    desk.run(&mut courier, secs(10));
    assert_eq!(words(&got), ["opened 1, opened 3, resolved 1"]);
    desk.run(&mut courier, secs(12));
    assert_eq!(words(&got).last().unwrap(), "opened 2");
}

#[test]
fn a_silence_holds_back_what_opens_tells_it_when_it_ends_and_nothing_of_what_ended_before() {
    let desk = Desk::new(vec![SinkPlan::new("a")]);
    let (mut courier, got, _) = desk.courier(0, Told::default());
    let told = incident(1, "shop", High, START);
    desk.take(&told, secs(0));
    desk.run(&mut courier, secs(0));
    let made = desk.outbox.silence(vec!["namespace=~sh.*".parse().unwrap()], secs(100), "me", "", secs(1)).unwrap();
    let (short, long) = (incident(2, "shop", High, START), incident(3, "shop", High, START));
    for i in [&short, &long, &incident(4, "bank", High, START)] {
        desk.take(i, secs(2));
    }
    desk.run(&mut courier, secs(2));
    desk.take(&over(&short, secs(50)), secs(50));
    desk.take(&over(&told, secs(50)), secs(50));
    desk.run(&mut courier, secs(51));
    assert_eq!(words(&got), ["opened 1", "opened 4", "resolved 1"], "what was told is told to be over");
    assert_eq!(desk.count("a", "silenced"), 1);
    desk.run(&mut courier, secs(100));
    assert_eq!(words(&got).last().unwrap(), "opened 3");
    // Another one, ended by hand.
    let made2 = desk.outbox.silence(vec!["severity=high".parse().unwrap()], secs(900), "", "", secs(101)).unwrap();
    assert!(made2.id > made.id && desk.outbox.unsilence(made.id, secs(102)).is_err());
    desk.take(&incident(5, "shop", High, START), secs(102));
    desk.run(&mut courier, secs(102));
    assert_eq!(words(&got).len(), 4);
    desk.outbox.unsilence(made2.id, secs(103)).unwrap();
    desk.run(&mut courier, secs(103));
    assert_eq!(words(&got).last().unwrap(), "opened 5");
}

#[test]
fn beyond_its_rate_a_sink_gets_one_summary_that_stands_for_the_rest() {
    let desk = Desk::new(vec![SinkPlan { max_per_minute: 5, ..SinkPlan::new("a") }]);
    let (mut courier, got, _) = desk.courier(0, Told::default());
    let all: Vec<_> = (1..=40).map(|n| incident(n, "shop", High, START)).collect();
    all.iter().for_each(|i| _ = desk.take(i, secs(0)));
    desk.run(&mut courier, secs(0));
    let said = words(&got);
    assert_eq!(said[..4], ["opened 1", "opened 2", "opened 3", "opened 4"]);
    assert_eq!(said[4..], ["summary: 36 alerts held back"]);
    assert!(got.lock().unwrap()[4][0].body.symptoms.last().unwrap().contains("more"));
    assert_eq!((desk.count("a", "summarised"), desk.count("a", "sent")), (36, 5));
    // New ones wait for room; the end of what was told does not.
    desk.take(&incident(41, "shop", High, START), secs(10));
    desk.take(&over(&all[0], secs(10)), secs(10));
    desk.run(&mut courier, secs(11));
    desk.run(&mut courier, secs(12));
    assert_eq!(words(&got)[5..], ["resolved 1"]);
    desk.run(&mut courier, secs(75));
    assert_eq!(words(&got)[6..], ["opened 41"]);
    assert_eq!(desk.list(Some(State::Pending)), []);
}

#[test]
fn what_waits_is_bounded_and_what_goes_is_counted() {
    let desk = Desk::new(vec![SinkPlan { max_pending: 10, ..SinkPlan::new("a") }, SinkPlan::new("b")]);
    for n in 1..=25 {
        desk.take(&incident(n, "shop", High, START), secs(n as i64));
    }
    let counts = desk.outbox.counts().unwrap();
    assert_eq!((counts["a"].pending, counts["b"].pending), (10, 25));
    assert_eq!(desk.count("a", "dropped_full"), 15);
    let (mut courier, got, _) = desk.courier(0, Told::default());
    desk.run(&mut courier, secs(30));
    assert_eq!(words(&got)[0], "opened 16", "the oldest went");
}

#[test]
fn a_sink_that_forgets_is_reminded_of_what_is_open_and_was_told() {
    let desk = Desk::new(vec![SinkPlan::new("a")]);
    let (mut courier, _, refreshed) = desk.courier(0, Told { refresh: Some(60), ..Told::default() });
    let (one, two) = (incident(1, "shop", High, START), incident(2, "shop", High, START));
    desk.take(&one, secs(0));
    desk.take(&two, secs(0));
    desk.run(&mut courier, secs(0));
    desk.take(&over(&one, secs(20)), secs(20));
    desk.run(&mut courier, secs(20));
    let (again, _) = desk.run(&mut courier, secs(61));
    assert_eq!(again, Some(secs(121)));
    assert_eq!(words(&refreshed).last().unwrap(), "opened 2");
    // A new courier, as after a restart, does so at once.
    let (mut courier, _, refreshed) = desk.courier(0, Told { refresh: Some(60), ..Told::default() });
    desk.run(&mut courier, secs(70));
    assert_eq!(words(&refreshed), ["opened 2"]);
}

#[test]
fn another_process_may_look_and_silence_while_the_log_is_in_use() {
    let desk = Desk::new(vec![SinkPlan::new("a")]);
    assert!(desk.log.is_some());
    let beside = tapio_bus::outbox::Outbox::open(&desk.path).unwrap();
    beside.silence(vec!["namespace=shop".parse().unwrap()], secs(10), "", "", secs(0)).unwrap();
    assert_eq!(desk.outbox.silences().unwrap().len(), 1);
    let dir = tempfile::tempdir().unwrap();
    assert!(tapio_bus::outbox::Outbox::open(&dir.path().join("none")).is_err());
    std::fs::write(dir.path().join("text"), "no database at all, but long enough to look like one".repeat(40)).unwrap();
    assert!(tapio_bus::outbox::Outbox::open(&dir.path().join("text")).is_err());
}
