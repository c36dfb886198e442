//! What is told, and in which order.

use tapio_bus::outbox::{Sighting, SinkPlan, State};
use tapio_core::ports::SinkError;
use tapio_core::unified::Severity::{Critical, High, Low, Medium};

use super::fixture::*;

#[test]
fn an_incident_is_told_when_it_opens_gets_worse_and_is_over_and_never_else() {
    let desk = Desk::new(vec![SinkPlan::new("a")]);
    let (mut courier, got, _) = desk.courier(0, Told::default());
    let i = incident(1, "shop", Medium, START);
    assert_eq!(desk.take(&i, secs(0)), 1);
    assert_eq!(desk.take(&i, secs(0)), 0, "the same evidence once more");
    let mut changed = i.clone();
    changed.updated_at = secs(5);
    changed.symptoms.push(changed.symptoms[0].clone());
    assert_eq!(desk.take(&changed, secs(5)), 0, "an update is not told");
    let mut worse = changed.clone();
    (worse.severity, worse.updated_at) = (Critical, secs(9));
    assert_eq!(desk.take(&worse, secs(9)), 1);
    assert_eq!(desk.take(&worse, secs(9)), 0);
    assert_eq!(desk.take(&over(&worse, secs(60)), secs(90)), 1);
    assert_eq!(desk.take(&over(&worse, secs(60)), secs(90)), 0);
    // Back again within its time: a new beginning.
    let mut back = worse.clone();
    back.updated_at = secs(120);
    assert_eq!(desk.take(&back, secs(120)), 1);
    desk.run(&mut courier, secs(121));
    assert_eq!(words(&got), ["opened 1", "escalated 1", "resolved 1", "opened 1"]);
    let keys: std::collections::BTreeSet<_> = got.lock().unwrap().iter().map(|m| m[0].key).collect();
    assert_eq!(keys.len(), 4);
}

#[test]
fn what_is_over_before_anything_was_sent_is_told_in_order_all_the_same() {
    let desk = Desk::new(vec![SinkPlan::new("a")]);
    let (mut courier, got, _) = desk.courier(
        0,
        Told { replies: std::sync::Mutex::new([Some(SinkError::Retry { why: "x".into() })].into()), ..Told::default() },
    );
    let (one, two) = (incident(1, "shop", High, START), incident(2, "shop", High, START));
    desk.outbox
        .take(&desk.plan, &[seen(&one), seen(&two), seen(&over(&one, secs(2))), seen(&over(&two, secs(2)))], secs(3))
        .unwrap();
    let (again, notes) = desk.run(&mut courier, secs(3));
    assert_eq!(again, Some(secs(4)), "the sink rests for a second");
    assert_eq!(notes.len(), 1);
    let (_, notes) = desk.run(&mut courier, secs(4));
    desk.run(&mut courier, secs(5));
    assert_eq!(words(&got), ["opened 2", "resolved 2", "opened 1", "resolved 1"], "in order within an incident");
    assert!(notes[0].says.contains("again"), "{notes:?}");
}

#[test]
fn an_incident_that_becomes_part_of_another_is_closed() {
    let desk = Desk::new(vec![SinkPlan::new("a")]);
    let i = incident(1, "shop", High, START);
    desk.take(&i, secs(0));
    let gone = Sighting { incident: i, merged: true, uid: None };
    assert_eq!(desk.outbox.take(&desk.plan, &[gone], secs(9)).unwrap(), 1);
    let last = desk.list(None).pop().unwrap();
    assert_eq!(last.alert.transition.as_str(), "resolved");
    assert!(last.alert.body.what.contains("part of another incident"));
}

#[test]
fn a_sink_hears_only_of_what_is_bad_enough_and_of_its_end() {
    let desk = Desk::new(vec![SinkPlan { min_severity: High, ..SinkPlan::new("a") }, SinkPlan::new("b")]);
    let small = incident(1, "shop", Low, START);
    let grows = incident(2, "shop", Medium, START);
    let mut grown = grows.clone();
    (grown.severity, grown.updated_at) = (Critical, secs(5));
    for i in [&small, &grows, &grown, &over(&small, secs(9)), &over(&grown, secs(9))] {
        desk.take(i, secs(9));
    }
    let (mut a, got_a, _) = desk.courier(0, Told::default());
    let (mut b, got_b, _) = desk.courier(1, Told::default());
    desk.run(&mut a, secs(9));
    desk.run(&mut b, secs(9));
    assert_eq!(words(&got_a), ["escalated 2", "resolved 2"]);
    assert_eq!(words(&got_b).len(), 5);
}

#[test]
fn after_a_restart_nothing_is_doubled_new_sinks_learn_what_is_open_and_what_is_unknown_is_closed() {
    let mut desk = Desk::new(vec![SinkPlan::new("a")]);
    let (kept, lost) = (incident(1, "shop", High, START), incident(2, "shop", High, START));
    desk.take(&kept, secs(0));
    desk.take(&lost, secs(0));
    let never = incident(3, "shop", High, START);
    desk.plan.sinks.push(SinkPlan::new("b"));
    let known = [kept.clone(), never.clone(), over(&incident(4, "shop", High, START), secs(5))];
    // `b` learns of one that was told; both of one that never was; both that another is gone, where they knew of it.
    assert_eq!(desk.outbox.reconcile(&desk.plan, &known, secs(60)).unwrap(), 4);
    assert_eq!(desk.outbox.reconcile(&desk.plan, &known, secs(61)).unwrap(), 0);
    let (mut a, got_a, _) = desk.courier(0, Told::default());
    let (mut b, got_b, _) = desk.courier(1, Told::default());
    desk.run(&mut a, secs(61));
    desk.run(&mut b, secs(61));
    assert_eq!(words(&got_a), ["opened 1", "opened 2", "opened 3", "resolved 2"]);
    assert_eq!(words(&got_b), ["opened 3", "opened 1"]);
    // A sink that is gone from the settings has nothing to wait for.
    desk.take(&over(&kept, secs(70)), secs(70));
    desk.plan.sinks.remove(0);
    desk.outbox.reconcile(&desk.plan, &[], secs(71)).unwrap();
    assert_eq!(desk.count("a", "dropped_no_sink"), 1);
    assert!(desk.list(Some(State::Pending)).iter().all(|e| e.sink == "b"));
}

#[test]
fn what_was_told_is_forgotten_in_time_but_not_while_it_is_open() {
    let desk = Desk::new(vec![SinkPlan::new("a")]);
    let (open, done) = (incident(1, "shop", High, START), incident(2, "shop", High, START));
    desk.take(&open, secs(0));
    desk.take(&done, secs(0));
    desk.take(&over(&done, secs(5)), secs(5));
    let (mut courier, ..) = desk.courier(0, Told::default());
    desk.run(&mut courier, secs(6));
    assert_eq!(desk.outbox.prune(&desk.plan, secs(60)).unwrap(), 0);
    assert_eq!(desk.outbox.prune(&desk.plan, secs(4_000)).unwrap(), 2);
    assert_eq!(desk.take(&open, secs(4_001)), 0, "still known as told");
}
