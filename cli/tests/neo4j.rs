//! The graph of a replay in a real Neo4j: the same graph as in the folder, also when server or replay are killed, and
//! what is said when something is wrong with the server.
//!
//! `TAPIO_NEO4J_TEST` names a server whose content may go, as for the graph's conformance suite;
//! `TAPIO_NEO4J_TEST_HOME` is its folder, where it can be killed, started again and given other settings.
//! `cargo xtask ci neo4j` gives both. Without them the cases are shown as ignored, with the reason.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "neo4j/graphs.rs"]
mod graphs;
#[path = "neo4j/kills.rs"]
mod kills;
#[path = "neo4j/replays.rs"]
mod replays;
#[path = "cli/running.rs"]
mod running;
#[path = "neo4j/server.rs"]
mod server;
#[path = "neo4j/wrong.rs"]
mod wrong;

use libtest_mimic::{Arguments, Failed, Trial};

use server::{HOME, SERVER};

/// What a case needs.
enum Needs {
    Nothing,
    Server,
    /// Its folder, too.
    Home,
    /// That a small file system can be mounted in the place of its data.
    Mount,
}

type Case = (&'static str, fn(), Needs);

const CASES: &[Case] = &[
    ("a_replay_makes_the_graph_that_the_folder_would_hold", replays::same, Needs::Server),
    ("a_folder_finds_its_server_again_and_fills_an_empty_one", replays::again, Needs::Server),
    ("a_graph_that_moves_to_a_server_is_built_whole_also_when_killed", replays::moved, Needs::Server),
    ("a_graph_travels_by_backup_and_export_also_when_killed", graphs::travels, Needs::Server),
    ("a_server_is_asked_for_incidents_and_impact_like_a_folder", graphs::asked, Needs::Server),
    ("what_is_wrong_with_a_server_is_said_with_exit_code_3", wrong::credentials, Needs::Server),
    ("half_an_answer_ends_a_replay_with_its_log_intact", wrong::half, Needs::Server),
    ("a_graph_of_a_newer_tapio_stays_untouched", wrong::newer, Needs::Server),
    ("addresses_and_credentials_that_cannot_be_are_refused", wrong::refused, Needs::Nothing),
    ("a_certificate_of_an_authority_that_is_told_is_trusted_and_no_other", wrong::certificates, Needs::Home),
    ("a_read_only_server_can_be_asked_and_not_written", wrong::read_only, Needs::Home),
    ("a_full_disk_is_said_and_the_replay_goes_on_with_space", wrong::full, Needs::Mount),
    ("server_and_replay_killed_in_turn_cost_nothing", kills::in_turn, Needs::Home),
];

fn main() {
    let mut args = Arguments::from_args();
    // One server for all.
    args.test_threads = Some(1);
    let trials = CASES.iter().map(|(name, case, needs)| {
        let case = *case;
        match lacks(needs) {
            Some(why) => {
                Trial::test(format!("{name} ({why})"), || Err(Failed::from("not there"))).with_ignored_flag(true)
            }
            None => Trial::test(*name, move || {
                case();
                Ok(())
            }),
        }
    });
    libtest_mimic::run(&args, trials.collect()).exit();
}

/// Why a case cannot run here.
fn lacks(needs: &Needs) -> Option<String> {
    let unset = |name: &str| std::env::var_os(name).is_none().then(|| format!("{name} is not set"));
    match needs {
        Needs::Nothing => None,
        Needs::Server => unset(SERVER),
        Needs::Home => unset(SERVER).or_else(|| unset(HOME)),
        Needs::Mount => unset(SERVER).or_else(|| unset(HOME)).or_else(server::no_mounting),
    }
}
