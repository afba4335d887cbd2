//! Stories in the simulator: whatever goes wrong, people are told the truth and lose nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::panic;

use felund_core::sim::{CirclePlan, DevicePlan, Part, Path, Report, Scenario, Step, run};

/// Seeds in all, unless `FELUND_SIM_SEEDS` says otherwise: `cargo xtask test` runs a thousand, with the core optimised.
const SEEDS: u64 = if cfg!(target_arch = "wasm32") { 8 } else { 80 };

fn seeds() -> u64 {
    let asked = std::env::var("FELUND_SIM_SEEDS").ok();
    asked.map_or(SEEDS, |seeds| seeds.parse().expect("FELUND_SIM_SEEDS is a number"))
}

fn replay(seed: u64) -> String {
    format!("replay it with: cargo xtask sim --seed {seed}")
}

fn judged(seed: u64) -> Report {
    let report = panic::catch_unwind(|| run(&Scenario::generate(seed), false));
    report.unwrap_or_else(|_| panic!("seed {seed} panicked; {}", replay(seed)))
}

/// Runs one eighth of the seeds: the test harness has a thread for each.
fn eighth(which: u64) {
    let (mut failures, mut crashes) = (Vec::new(), 0);
    let seeds = which * seeds() / 8..(which + 1) * seeds() / 8;
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let report = judged(seed);
        crashes += report.crashes;
        if !report.violations.is_empty() {
            failures.push(format!("seed {seed}: {:#?}; {}", report.violations, replay(seed)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // A thousand seeds come with more than a thousand kills.
    assert!(crashes >= count, "only {crashes} crashes in {count} seeds");
}

macro_rules! eighths {
    ($($name:ident = $which:literal),*) => {
        $(#[test]
        fn $name() {
            eighth($which);
        })*
    };
}

eighths! {
    seeds_of_the_first_eighth_hold = 0,
    seeds_of_the_second_eighth_hold = 1,
    seeds_of_the_third_eighth_hold = 2,
    seeds_of_the_fourth_eighth_hold = 3,
    seeds_of_the_fifth_eighth_hold = 4,
    seeds_of_the_sixth_eighth_hold = 5,
    seeds_of_the_seventh_eighth_hold = 6,
    seeds_of_the_last_eighth_hold = 7
}

#[test]
fn a_seed_happens_the_same_way_every_time() {
    for seed in 0..3 {
        let (first, second) = (judged(seed), judged(seed));
        assert_eq!(first.hash.len(), 64);
        assert_eq!(first, second, "seed {seed}");
    }
    assert_ne!(judged(0).hash, judged(1).hash);
}

/// Devices that reach each other, in a circle without a relay, and what happens to them.
fn calm(parts: &[Part], timeline: Vec<(u64, Step)>) -> Scenario {
    let device =
        |part| DevicePlan { part, listens: true, dials: true, mobile: false, skew_ms: 0, write_ms: 20 };
    let members = (0..parts.len()).collect();
    Scenario {
        seed: 0,
        devices: parts.iter().copied().map(device).collect(),
        circles: vec![CirclePlan { members, relay: false, channels: Vec::new() }],
        between: Path::CALM,
        pairs: Vec::new(),
        to_relay: Path::CALM,
        relay_write_ms: 1,
        no_dial: Vec::new(),
        timeline,
    }
}

#[test]
fn what_is_said_when_everyone_else_is_lost_for_ever_may_stay_unsent() {
    let say = Step::Say { device: 0, circle: 0, channel: None, length: 20 };
    // The last step does nothing here, but to let time pass until everything is to have converged.
    let timeline = vec![(1_000, Step::Lose { device: 1 }), (5_000, say), (20_000, Step::DropSockets)];
    let report = run(&calm(&[Part::Person, Part::Person], timeline), false);
    assert_eq!((report.sent, report.violations), (1, Vec::new()));
}

#[test]
fn an_anchor_that_falls_silent_is_succeeded_in_time_where_there_is_another() {
    let successions = |parts: &[Part]| {
        let report = run(&calm(parts, Vec::new()), false);
        assert_eq!(report.violations, Vec::<String>::new());
        report.successions
    };
    assert_eq!(successions(&[Part::Person, Part::Person, Part::Anchor, Part::Helper]), 1);
    assert_eq!(successions(&[Part::Person, Part::Person, Part::Anchor]), 0, "nobody could succeed");
}
