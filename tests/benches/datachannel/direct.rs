//! How long two terminal clients take from both being online to a direct connection: fresh devices each time, in
//! network namespaces, introduced by a relay, neither of them listening.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use felund_core::view::{LinkView, Reach};
use felund_tests::{
    control::Control,
    felund::{Circle, Felund},
    netns::{Host, Nat, Network},
    relay::Relay,
    turn::Turn,
    wait::PATIENCE,
};

/// How often both are looked at.
const STEP: Duration = Duration::from_millis(2);

/// Milliseconds of every pair; `None` where there are no network namespaces.
pub(crate) fn terminals(nats: Option<[Nat; 2]>, pairs: usize) -> Option<Vec<f64>> {
    let mut net = Network::new("the time to a direct connection")?;
    let server = net.server();
    let turn = Turn::start(&server);
    let relay = Relay::start_on(&server, turn.relay_options());
    let hosts = match nats {
        None => {
            let mut site = net.site(Nat::Cone);
            [net.host(&mut site), net.host(&mut site)]
        }
        Some(kinds) => kinds.map(|nat| {
            let mut site = net.site(nat);
            net.host(&mut site)
        }),
    };
    Some((0..pairs).map(|_| pair(&relay, &hosts)).collect())
}

fn pair(relay: &Relay, hosts: &[Host; 2]) -> f64 {
    let members = ["alice", "bob"].map(|name| Felund::new(name, Some(&relay.url())));
    let [alice, bob] = members;
    let members = [alice.on(&hosts[0]), bob.on(&hosts[1])];
    let circle = members[0].create("garden club");
    members[1].join(&circle.invite);
    let _tails = members.each_ref().map(|member| member.tail(None));
    let controls = members.each_ref().map(Felund::control);
    let online = both(&controls, &circle, |control, circle| {
        control.circle(&circle.id).is_some_and(|view| view.link == LinkView::Live)
    });
    let direct = both(&controls, &circle, |control, circle| {
        let view = control.circle(&circle.id);
        view.is_some_and(|view| view.members.iter().any(|member| member.reach == Reach::Direct))
    });
    (direct - online).as_secs_f64() * 1e3
}

/// When it is so at both.
fn both(controls: &[Control; 2], circle: &Circle, is: impl Fn(&Control, &Circle) -> bool) -> Instant {
    let begun = Instant::now();
    while !controls.iter().all(|control| is(control, circle)) {
        assert!(begun.elapsed() < PATIENCE, "the two did not get there within {PATIENCE:?}");
        sleep(STEP);
    }
    Instant::now()
}
