//! A client is killed fifty times at random points: what it said it keeps is kept, and everybody has it once.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Duration,
};

use felund_core::{io::Command, view::Reply};
use felund_tests::{
    api,
    felund::{Felund, Tail},
    member::Member,
    wait,
};
use rand_core::Rng;

const CIRCLE: &str = "garden club";
const KILLS: usize = 50;
/// What the killed client says in one of its lives, at most: all lives together stay below what a channel keeps.
const PER_LIFE: usize = 10;
/// A life is over somewhere in this time, whatever it is doing: starting, connecting, comparing, storing, sending.
const LIFE_MS: u64 = 250;

fn pause() {
    thread::sleep(Duration::from_millis(api::rng().next_u64() % LIFE_MS));
}

/// What became of a text, as its sender was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It is kept, stored or delivered.
    Kept,
    /// Nothing: the client died before it answered.
    Nothing,
}

/// Each text at most once, and every one that was said to be kept.
fn check(who: &str, texts: &[String], told: &BTreeMap<String, Told>) {
    let unique: BTreeSet<&String> = texts.iter().collect();
    assert_eq!(unique.len(), texts.len(), "{who} has something twice");
    let lost: Vec<_> =
        told.iter().filter(|(text, told)| **told == Told::Kept && !unique.contains(text)).collect();
    assert!(lost.is_empty(), "{who} lacks {lost:?}");
    let invented: Vec<_> = unique.iter().filter(|text| !told.contains_key(**text)).collect();
    assert!(invented.is_empty(), "{who} has {invented:?}");
}

#[test]
fn fifty_kills_lose_and_repeat_nothing() {
    let (bob, at_bob, invite) = Felund::listening("bob", CIRCLE);
    let alice = Felund::new("alice", None);
    let circle = alice.join(&invite.encode());
    let (circle, channel) = (circle.id.parse().expect("an id"), Member::general_of(&invite.encode()));
    let mut bob_says = bob.control();
    let mut told = BTreeMap::new();
    for life in 0..KILLS {
        let says = |who: &str, n: usize| format!("{who}, life {life}, {n}");
        let text = says("bob", 0);
        let reply = bob_says.ask(Command::Send { circle, channel, text: text.clone() });
        assert!(matches!(reply, Reply::Sent { .. }), "{reply:?}");
        told.insert(text, Told::Kept);
        if life % 5 == 4 {
            // Killed while it starts.
            let mut process = alice.start(&["tail"]);
            pause();
            process.kill();
            continue;
        }
        let mut owner: Tail = alice.tail(None);
        let mut inside = alice.control();
        let more = thread::scope(|scope| {
            let fast = scope.spawn(|| {
                let mut told = Vec::new();
                for n in 0..PER_LIFE {
                    let text = says("alice", n);
                    let reply = inside.ask_mortal(Command::Send { circle, channel, text: text.clone() });
                    let kept = matches!(reply, Some(Ok(Reply::Sent { .. })));
                    told.push((text, if kept { Told::Kept } else { Told::Nothing }));
                    if !kept {
                        break;
                    }
                }
                told
            });
            let command = scope.spawn(|| {
                let text = says("a command of alice", 0);
                let done = alice.run(&["send", CIRCLE, &text]);
                // Exit status 3 says that the message is kept here.
                vec![(text, if matches!(done.code, 0 | 3) { Told::Kept } else { Told::Nothing })]
            });
            pause();
            owner.process().kill();
            [fast, command].map(|thread| thread.join().expect("ends"))
        });
        told.extend(more.into_iter().flatten());
    }

    let _owner = alice.tail(None);
    let kept = told.values().filter(|told| **told == Told::Kept).count();
    let mut seen = (Vec::new(), Vec::new());
    let same = wait::within(2 * wait::PATIENCE, || {
        seen = (alice.texts(CIRCLE), bob.texts(CIRCLE));
        (seen.0 == seen.1 && seen.0.len() >= kept).then_some(())
    });
    let (at_alice, at_bobs) = seen;
    check("alice", &at_alice, &told);
    check("bob", &at_bobs, &told);
    assert!(same.is_some(), "alice has {} messages and bob {}", at_alice.len(), at_bobs.len());
    // Bob's screen showed each of them once, too.
    let shown: Vec<String> = felund_tests::felund::texts(&at_bob.messages());
    check("bob's screen", &shown, &told);
    println!("{} texts, {kept} said to be kept, {} there", told.len(), at_alice.len());
    // The lives were neither all too short nor all long enough.
    assert!(kept > KILLS + 50, "only {kept} of {} texts got anywhere", told.len());
}
