//! DataChannels through every pair of kinds of NAT: direct wherever the two permit it, through TURN where they do not.
//!
//! That a pair is direct is read from the candidates that both sides say they use, and from the relay's counter: while
//! they chat it stores nothing.

use felund_tests::{
    browser::{Browser, Engine},
    felund::{Circle, Felund},
    internet::{Helps, Internet, Person},
    netns::Nat,
    page::Page,
    wait,
};

/// The kinds that browsers are put behind; each takes a browser of its own.
const KINDS: [Nat; 4] = [Nat::Open, Nat::Cone, Nat::AddressRestricted, Nat::Symmetric];

/// Whether hole punching can work: a symmetric router's port is unknown to whoever has not been sent to from it.
fn permitted(one: Nat, other: Nat) -> bool {
    let closed = |nat| matches!(nat, Nat::Symmetric | Nat::PortRestricted);
    !(one == Nat::Symmetric && closed(other) || closed(one) && other == Nat::Symmetric)
}

/// Whether the candidates in use are, or soon become, as they should be between somebody and all of these: on a busy
/// machine a path through TURN may be found first, and a better one is looked for from then on.
fn assert_paths<'a>(
    nat: Nat,
    others: impl Iterator<Item = (Nat, &'a str)>,
    look: impl Fn() -> Vec<(String, String)>,
) {
    let others: Vec<(Nat, &str)> = others.collect();
    let mut wrong = Vec::new();
    let right = wait::within(5 * wait::PATIENCE, || {
        let paths = look();
        let judge = |(other, name): &(Nat, &str)| {
            let said: Vec<&str> =
                paths.iter().filter(|(to, _)| to == name).map(|(_, said)| said.as_str()).collect();
            let right = matches!(said[..], [path] if path.contains("here through")
                && path.contains("TURN") != permitted(nat, *other));
            (!right).then(|| format!("{other:?}: {said:?}"))
        };
        wrong = others.iter().filter_map(judge).collect();
        wrong.is_empty().then_some(())
    });
    assert!(right.is_some(), "{nat:?} to {wrong:#?}");
}

fn person(internet: &mut Internet, nat: Nat, nth: usize) -> Person {
    Person::start(internet, nat, &format!("{nat:?}{nth}").to_lowercase())
}

/// Every two of them.
fn pairs<T>(of: &[T]) -> impl Iterator<Item = (&T, &T)> {
    of.iter().enumerate().flat_map(|(at, one)| of[at + 1..].iter().map(move |other| (one, other)))
}

#[test]
fn terminals_meet_wherever_their_nats_permit_it_and_through_turn_elsewhere() {
    let Some(mut internet) = Internet::new("terminals behind NATs", Helps::Turn) else { return };
    let kinds = Nat::ALL.into_iter().flat_map(|nat| [(nat, 1), (nat, 2)]);
    let terminals: Vec<Person> = kinds.map(|(nat, nth)| person(&mut internet, nat, nth)).collect();
    let circles: Vec<(&Person, &Person, Circle)> = pairs(&terminals)
        .map(|(one, other)| {
            let circle = one.felund.create(&format!("{} and {}", one.name, other.name));
            other.felund.join(&circle.invite);
            (one, other, circle)
        })
        .collect();
    for (one, other, circle) in &circles {
        one.until_direct(circle, 1);
        other.until_direct(circle, 1);
    }
    let stored = internet.relay.stored();
    for (one, other, circle) in &circles {
        let (there, back) = (format!("from {}", circle.name), format!("back to {}", circle.name));
        one.says(circle, &there);
        other.tail.wait_for(&there);
        other.says(circle, &back);
        one.tail.wait_for(&back);
    }
    assert_eq!(internet.relay.stored(), stored, "the relay got envelopes although all are connected");
    for one in &terminals {
        let others = terminals.iter().filter(|other| other.name != one.name);
        assert_paths(one.nat, others.map(|other| (other.nat, &*other.name)), || one.paths());
    }
}

/// A page behind a router, and who it says it is.
struct Guest {
    nat: Nat,
    name: String,
    browser: Browser,
}

impl Guest {
    fn open(internet: &mut Internet, nat: Nat, nth: usize) -> Self {
        let (_, host) = internet.home(nat);
        let browser = Browser::open_on(&host, Engine::Chromium, &internet.relay.url());
        Self { nat, name: format!("{nat:?} page {nth}").to_lowercase(), browser }
    }

    fn page(&self) -> Page<'_> {
        Page::new(&self.browser)
    }
}

#[test]
fn pages_meet_each_other_and_terminals_wherever_their_nats_permit_it_and_through_turn_elsewhere() {
    let Some(mut internet) = Internet::new("pages behind NATs", Helps::Turn) else { return };
    let relay = internet.relay.url();
    let founder = Felund::new("founder", Some(&relay)).on(&internet.home(Nat::Open).1);
    let among_pages = founder.create("pages");
    let guests: Vec<Guest> = KINDS.map(|nat| Guest::open(&mut internet, nat, 1)).into();
    let more: Vec<Guest> = KINDS[1..].iter().map(|nat| Guest::open(&mut internet, *nat, 2)).collect();
    let terminals: Vec<Person> = KINDS.map(|nat| person(&mut internet, nat, 1)).into();
    for guest in guests.iter().chain(&more) {
        guest.page().join_by_link(&relay, &among_pages.invite, &guest.name);
    }
    for guest in guests.iter().chain(&more) {
        guest.page().until_direct(6);
    }
    // Circles of seven at most, in which everybody is to meet everybody.
    for (name, terminals) in [("two open ones", &terminals[..2]), ("two closed ones", &terminals[2..])] {
        let circle = terminals[0].felund.create(name);
        terminals[1].felund.join(&circle.invite);
        for guest in &guests {
            guest.page().join_another(&circle.invite, &circle.name);
        }
        for guest in &guests {
            guest.page().until_direct(5);
        }
        for terminal in terminals {
            terminal.until_direct(&circle, 5);
        }
        let stored = internet.relay.stored();
        for terminal in terminals {
            let text = format!("from {}", terminal.name);
            terminal.says(&circle, &text);
            for guest in &guests {
                guest.page().wait_message(&text);
            }
        }
        for guest in &guests {
            let text = format!("from {} to {}", guest.name, circle.name);
            guest.page().send(&text);
            for terminal in terminals {
                terminal.tail.wait_for(&text);
            }
        }
        assert_eq!(internet.relay.stored(), stored, "the relay got envelopes although all are connected");
    }
    for guest in &guests {
        let pages = guests.iter().chain(&more).map(|other| (other.nat, &*other.name));
        let reached = terminals.iter().map(|terminal| (terminal.nat, &*terminal.name));
        let others = pages.chain(reached).filter(|(_, name)| *name != guest.name);
        assert_paths(guest.nat, others, || guest.page().paths());
    }
    for terminal in &terminals {
        let others = guests.iter().map(|guest| (guest.nat, &*guest.name));
        assert_paths(terminal.nat, others, || terminal.paths());
    }
}
