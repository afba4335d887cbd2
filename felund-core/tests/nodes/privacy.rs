//! Hiding this device's address from members, and which STUN and TURN servers are used.

use felund_core::{
    ice::{Filtering, Gathered, IceReport},
    ids::CircleId,
    invite::Invite,
    io::{CandidateKind, Command},
    node::Platform,
    relay_api::IceServer,
    sim::{Disk, World, own_address},
    store::MemoryStore,
    view::{Finding, Reach, Reply},
};

use super::{live, send};

/// A terminal client, as far as this goes.
const CLIENT: Platform = Platform {
    dials: true,
    rtc: true,
    announces: true,
    anchor: false,
    probes: true,
    turn_streams: false,
    hide_address: false,
    mobile: false,
};
const HIDDEN: Platform = Platform { hide_address: true, ..CLIENT };

fn turn(url: &str) -> IceServer {
    IceServer { urls: vec![url.into()], username: Some(String::new()), credential: Some("x".into()) }
}

/// A device of each kind that listens, in a circle at a relay that names these servers.
fn world(platforms: &[Platform], ice: Vec<IceServer>) -> (World, CircleId) {
    let mut world = World::seeded(1);
    world.relay.ice = ice;
    for platform in platforms {
        let at = world.add_device(*platform, Disk::instant(MemoryStore::default()));
        world.listen(at);
    }
    let circle = world.circle("garden club");
    world.run_until("everyone live", |world| (0..platforms.len()).all(|at| live(world, at, circle)));
    (world, circle)
}

fn is_direct(world: &World, at: usize, circle: CircleId) -> bool {
    let view = world.devices[at].model.circle(circle).unwrap();
    view.members.iter().any(|member| member.reach == Reach::Direct)
}

/// Whether anything that came to a member by signaling shows where a device is.
fn shown(world: &World, device: usize) -> Vec<&String> {
    let own = own_address(device);
    world
        .rtc
        .told
        .iter()
        .filter(|(at, told)| *at != device && told.contains(&own))
        .map(|(_, told)| told)
        .collect()
}

fn doctor(world: &mut World, at: usize) -> Vec<Finding> {
    let Ok(Reply::Doctor { findings }) = world.ask(at, Command::Doctor) else { panic!("no findings") };
    findings
}

fn finding<'a>(findings: &'a [Finding], subject: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.subject == subject).expect(subject)
}

#[test]
fn a_device_that_hides_is_reached_through_turn_and_shows_members_nothing_of_itself() {
    let (mut world, circle) = world(&[HIDDEN, CLIENT], vec![turn("turn:turn.example")]);
    world.run_until("a channel", |world| is_direct(world, 0, circle) && is_direct(world, 1, circle));
    assert_eq!(world.rtc.open(), 2);
    assert_eq!(shown(&world, 0), Vec::<&String>::new());
    assert!(!shown(&world, 1).is_empty(), "the other does not hide, and the simulation would show it");
    assert!(world.devices[0].dialed.is_empty(), "it dials nobody");
    assert!(world.devices[1].dialed.is_empty(), "nobody knows where to dial it");
    assert!(!world.devices[0].reachable && world.devices[1].reachable);
    assert_eq!(world.devices[0].announced, []);
    let Ok(Reply::Invite { invite, .. }) = world.ask(0, Command::Invite { circle }) else {
        panic!("no invite")
    };
    let invite = Invite::parse(&invite).unwrap();
    let listens = world.devices[1].model.identity.is_some();
    assert!(listens && invite.peers.iter().all(|peer| *peer != World::address(0)), "{:?}", invite.peers);
    send(&mut world, 0, circle, "from nowhere");
    world.run(2_000);
    assert_eq!(world.texts(1, circle, "general"), ["from nowhere"]);
}

#[test]
fn without_a_turn_server_a_device_that_hides_makes_no_connection_and_chats_through_the_relay() {
    let stun = IceServer { urls: vec!["stun:stun.example".into()], username: None, credential: None };
    // The last is of no use to a platform that speaks TURN over UDP only.
    let (mut world, circle) = world(&[HIDDEN, CLIENT], vec![stun, turn("turns:turn.example")]);
    world.run(120_000);
    assert_eq!((world.rtc.created, world.rtc.told.len()), (0, 0));
    assert!(world.devices.iter().all(|device| device.dialed.is_empty() && device.connections() == 0));
    send(&mut world, 0, circle, "hey");
    send(&mut world, 1, circle, "yo");
    world.run(2_000);
    assert_eq!(world.texts(0, circle, "general"), ["hey", "yo"]);
    assert_eq!(world.texts(1, circle, "general"), ["hey", "yo"]);
    let told = doctor(&mut world, 0);
    let address = finding(&told, "this device's address");
    assert!(address.detail.contains("garden club") && address.advice.is_some(), "{address:?}");
}

#[test]
fn connections_that_show_an_address_end_when_hiding_is_switched_on() {
    let (mut world, circle) = world(&[CLIENT, CLIENT], Vec::new());
    world.run_until("a session", |world| is_direct(world, 0, circle));
    assert!(world.devices[0].announced.iter().any(Option::is_some));
    world.ask(0, Command::SetHideAddress { on: true }).unwrap();
    world.run(1);
    assert!(!is_direct(&world, 0, circle) && world.devices[0].connections() == 0);
    assert!(!world.devices[0].reachable);
    assert_eq!(world.devices[0].announced.last(), Some(&None), "what was announced is taken back");
    let (dialed, created) = (world.devices[0].dialed.len(), world.rtc.created);
    world.run(600_000);
    assert!(!is_direct(&world, 0, circle) && !is_direct(&world, 1, circle));
    assert_eq!((world.devices[0].dialed.len(), world.rtc.created), (dialed, created));
    // It outlasts the process, and can be taken back.
    world.restart(0);
    world.run_until("the relay", |world| live(world, 0, circle));
    assert!(world.devices[0].model.identity.as_ref().unwrap().hide_address && !world.devices[0].reachable);
    world.ask(0, Command::SetHideAddress { on: false }).unwrap();
    world.run_until("a session", |world| is_direct(world, 0, circle));
}

#[test]
fn who_hides_puts_no_address_of_its_own_into_invites_though_it_was_invited_by_it() {
    for leaves in [false, true] {
        let (mut world, circle) = world(&[CLIENT, CLIENT], Vec::new());
        world.run(20_000);
        let invite = |world: &mut World, at| {
            let Ok(Reply::Invite { invite, .. }) = world.ask(at, Command::Invite { circle }) else {
                panic!("no invite")
            };
            (Invite::parse(&invite).unwrap().peers, invite)
        };
        let (peers, code) = invite(&mut world, 1);
        assert!(peers.contains(&World::address(0)), "{peers:?}");
        if leaves {
            world.ask(0, Command::LeaveCircle { circle }).unwrap();
            world.run(1_000);
        }
        world.ask(0, Command::JoinCircle { invite: code.clone(), relay: None }).unwrap();
        world.run(20_000);
        world.ask(0, Command::SetHideAddress { on: true }).unwrap();
        // What invites name is not its own for as long as it hides.
        world.ask(0, Command::JoinCircle { invite: code, relay: None }).unwrap();
        world.run(20_000);
        world.restart(0);
        world.run(60_000);
        let (peers, _) = invite(&mut world, 0);
        assert!(!peers.contains(&World::address(0)), "left before: {leaves}, {peers:?}");
    }
}

#[test]
fn a_channel_is_made_anew_when_hiding_is_switched_on_and_off() {
    let silent = Platform { dials: false, announces: false, ..CLIENT };
    let mut world = World::seeded(3);
    world.relay.ice = vec![turn("turn:turn.example")];
    for _ in 0..2 {
        world.add_device(silent, Disk::instant(MemoryStore::default()));
    }
    let circle = world.circle("garden club");
    world.run_until("a channel", |world| is_direct(world, 0, circle) && is_direct(world, 1, circle));
    for (on, created) in [(true, 4), (false, 6)] {
        world.rtc.told.clear();
        world.ask(0, Command::SetHideAddress { on }).unwrap();
        world.run_until("another", |world| {
            world.rtc.created == created && is_direct(world, 0, circle) && is_direct(world, 1, circle)
        });
        assert_eq!(shown(&world, 0).is_empty(), on);
    }
}

#[test]
fn devices_that_hide_look_for_no_path_but_turn() {
    let (mut world, circle) = world(&[HIDDEN, HIDDEN], vec![turn("turn:turn.example")]);
    world.rtc.through_turn = true;
    world.run_until("a channel", |world| is_direct(world, 0, circle) && is_direct(world, 1, circle));
    world.run(2 * 3_600_000);
    assert_eq!(world.rtc.created, 2, "there is no better one to be found");
}

#[test]
fn what_a_member_offers_to_look_up_is_not_looked_up_by_a_device_that_hides() {
    let (mut world, circle) = world(&[HIDDEN, CLIENT], vec![turn("turn:turn.example")]);
    world.rtc.names = true;
    world.run_until("an attempt", |world| world.rtc.told.iter().any(|(at, _)| *at == 0));
    world.run(5_000);
    assert!(world.rtc.told.iter().all(|(at, told)| *at != 0 || !told.contains(".local")));
    assert!(world.devices[0].model.circle(circle).is_some());
}

#[test]
fn turn_credentials_are_fresh_whenever_they_are_used() {
    let (mut world, circle) = world(&[CLIENT, CLIENT], vec![turn("turn:turn.example")]);
    world.run_until("a session", |world| is_direct(world, 0, circle));
    world.set_reachable(0, 1, false);
    world.rtc.servers.clear();
    for _ in 0..6 {
        world.run(40 * 60 * 1_000);
        world.cut_channels();
        world.run(10_000);
    }
    assert!(world.rtc.servers.len() >= 4, "restarts were given new credentials");
    let mut last = 0;
    for servers in &world.rtc.servers {
        let until: u64 = servers[0].username.as_ref().unwrap().split(':').next().unwrap().parse().unwrap();
        assert!(until >= last);
        last = until;
    }
    assert!(last * 1_000 > felund_core::sim::EPOCH_MS + world.now, "the last are still good");
}

#[test]
fn own_servers_replace_those_of_the_relay_are_kept_and_refused_with_the_culprit_named() {
    let (mut world, circle) = world(&[CLIENT], vec![turn("turn:turn.example")]);
    let set = |servers: &str| Command::SetIceServers { servers: servers.into() };
    let refused = world.ask(0, set("stun:good.example turn:bad.example alice")).unwrap_err();
    assert!(refused.contains("turn:bad.example") && refused.contains("Nothing was changed"), "{refused}");
    world.ask(0, set("  stun:mine.example   turn:mine.example alice secret ")).unwrap();
    world.restart(0);
    world.run_until("the relay", |world| live(world, 0, circle));
    let kept = world.devices[0].model.identity.as_ref().unwrap().ice_servers.clone();
    assert_eq!(kept, "stun:mine.example\nturn:mine.example alice secret");
    doctor(&mut world, 0);
    let asked = world.devices[0].probed.last().unwrap();
    let urls: Vec<&String> = asked.servers.iter().flat_map(|server| &server.urls).collect();
    assert_eq!(urls, ["stun:mine.example", "turn:mine.example"]);
    world.ask(0, set("")).unwrap();
    doctor(&mut world, 0);
    assert_eq!(world.devices[0].probed.last().unwrap().servers[0].urls, ["turn:turn.example"]);
    let disk = world.devices[0].disk.durable().clone();
    let plain = format!("{:?}", b"mine.example");
    assert!(!format!("{disk:?}").contains(plain.trim_matches(['[', ']'])), "sealed at rest");
}

#[test]
fn the_doctor_checks_what_relays_name_and_says_what_the_nat_does() {
    let stun = IceServer {
        urls: vec!["stun:a.example".into(), "stun:b.example".into()],
        username: None,
        credential: None,
    };
    let (mut world, _) = world(&[CLIENT], vec![stun, turn("turn:turn.example")]);
    let srflx = |port: u16, url: &str| Gathered {
        kind: CandidateKind::Srflx,
        address: format!("203.0.113.7:{port}"),
        base: Some("192.168.1.1:4000".into()),
        url: Some(url.into()),
        server: None,
        took_ms: Some(21),
    };
    let found = IceReport {
        found: vec![srflx(5_000, "stun:a.example"), srflx(5_001, "stun:b.example")],
        failed: vec![("turn:turn.example".into(), "401: Unauthorized".into())],
        filtering: Some(Filtering::AddressAndPortDependent),
        complete: true,
        distinct: false,
    };
    world.devices[0].ice = Some(found);
    let told = doctor(&mut world, 0);
    let nat = finding(&told, "NAT");
    assert!(!nat.ok && nat.detail.contains("relay carries it"), "{nat:?}");
    let figures = nat.figures.as_ref().unwrap();
    let names = (figures.mapping.as_deref(), figures.filtering.as_deref());
    assert_eq!(names, (Some("address-dependent"), Some("address-and-port-dependent")));
    assert!(finding(&told, "TURN server turn:turn.example").detail.contains("401"));
    assert_eq!(finding(&told, "STUN server stun:a.example").figures.as_ref().unwrap().rtt_ms, Some(21));
}

#[test]
fn servers_are_not_asked_again_at_once_and_a_platform_that_never_answers_holds_nobody_up() {
    let (mut world, _) = world(&[CLIENT], vec![turn("turn:turn.example")]);
    for _ in 0..5 {
        finding(&doctor(&mut world, 0), "NAT");
    }
    assert_eq!(world.devices[0].probed.len(), 1);
    world.run(5_000);
    world.devices[0].ice = None;
    assert!(!finding(&doctor(&mut world, 0), "TURN server turn:turn.example").ok);
    assert_eq!(world.devices[0].probed.len(), 2);
}

#[test]
fn the_doctor_answers_where_nothing_can_be_probed_and_when_a_relay_never_names_servers() {
    let (mut world, circle) = world(&[Platform { rtc: false, probes: false, ..CLIENT }], Vec::new());
    assert!(doctor(&mut world, 0).iter().all(|finding| finding.subject != "NAT"));
    assert!(world.devices[0].probed.is_empty());
    let mut world = World::seeded(2);
    world.add_device(CLIENT, Disk::instant(MemoryStore::default()));
    let alone = world.circle_at("alone", None);
    assert_ne!(alone, circle);
    finding(&doctor(&mut world, 0), "NAT");
}
