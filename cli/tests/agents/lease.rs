//! Two servers on one folder: one leads, the other one takes over with all that the first one knew.

use serde_json::json;

use super::fake_kubelet::{crashed, pod};
use super::place::{Place, Process, get, json};

/// Incidents that a leading server tells people of, as `id` and `state`.
fn incidents(server: &mut Process) -> Vec<(String, String)> {
    let people = server.word("API at http://").parse().unwrap();
    let all = json(&get(people, "/api/v1/incidents").unwrap().1);
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    all["incidents"].as_array().unwrap().iter().map(|i| (text(&i["id"]), text(&i["state"]))).collect()
}

#[test]
fn a_server_that_stands_by_takes_over_from_one_that_was_killed_and_from_one_that_ends() {
    let place = Place::new();
    place.kubelet.put(crashed(pod("shop", "cart", "uid-cart"), 7, "cannot open its file"));
    let mut first = place.candidate("first");
    first.until_ready();
    let second = place.candidate("second");
    second.until("its place behind the first", |s| {
        let (status, body) = s.get("/readyz");
        status == 503 && body.contains("first leads, this one stands by")
    });
    assert_eq!(second.get("/livez").0, 200, "who stands by lives");
    let request = "GET /v1/ingest?agent=node-1&spool=s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (status, body) = super::place::ask(second.address, request).unwrap();
    assert_eq!(status, 503, "{body}");

    let agent = place.agent(first.address);
    first.until("the pod's incident", |s| s.all().contains("\"transition\":\"opened\""));
    let known = incidents(&mut first);
    assert_eq!(known.len(), 1, "{known:?}");
    agent.kill();
    first.kill();
    let mut second = second;
    second.until("the Lease", |s| s.all().contains("this server leads"));
    second.until_ready();
    assert_eq!(incidents(&mut second), known, "the second knows what the first knew");
    // What was told and not yet committed when the first was killed is told again, as the same incident.
    let told = second.all();
    let again = told.lines().filter(|l| l.contains("\"transition\":\"opened\""));
    assert!(again.clone().count() <= 1 && again.clone().all(|l| l.contains(&known[0].0)), "opened anew: {told}");

    // One that ends gives the Lease back: the next one does not wait until it has run out.
    let third = place.candidate("third");
    third.until("its place behind the second", |s| s.get("/readyz").1.contains("second leads"));
    let (status, said) = second.end();
    assert!(status.success(), "{said}");
    let begun = std::time::Instant::now();
    third.until("the Lease", |s| s.all().contains("this server leads"));
    assert!(begun.elapsed().as_secs() < 10, "after {:?}", begun.elapsed());
    let agent = place.agent(third.address);
    agent.until("the third server", |a| a.metric("tapio_agent_connected") == Some(1.0));
    let lease = place.api.objects("/apis/coordination.k8s.io/v1/leases");
    assert_eq!(lease.len(), 1);
    assert_eq!(lease[0]["spec"]["holderIdentity"], json!("third"));
    assert!(agent.end().0.success());
    assert!(third.end().0.success());
}
