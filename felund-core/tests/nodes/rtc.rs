//! DataChannels between nodes, over a pretended WebRTC that insists on the order a real one needs.

use std::collections::BTreeSet;

use felund_core::{
    config::RTC_BURST,
    ids::CircleId,
    io::Command,
    node::Platform,
    sim::{Disk, RELAY, World},
    store::MemoryStore,
    view::{Delivery, Reach, Reply},
};

use super::{live, send};

/// A browser: it cannot dial.
const BROWSER: Platform = Platform {
    dials: false,
    rtc: true,
    announces: false,
    anchor: false,
    probes: false,
    turn_streams: true,
    hide_address: false,
    mobile: false,
};

/// So many devices that can do this.
fn world(platform: Platform, devices: usize) -> World {
    let mut world = World::seeded(1);
    for _ in 0..devices {
        world.add_device(platform, Disk::instant(MemoryStore::default()));
    }
    world
}

/// Names of the members that a device reaches directly.
fn reach(world: &World, at: usize, circle: CircleId) -> BTreeSet<String> {
    let view = world.devices[at].model.circle(circle).unwrap();
    view.members.iter().filter(|m| m.reach == Reach::Direct).map(|m| m.name.clone()).collect()
}

/// Everyone reaches everyone directly, and WebRTC was used as it wants to be.
fn connected(world: &World, circle: CircleId) -> bool {
    assert!(world.rtc.faults.is_empty() && world.relay.faults.is_empty(), "{:?}", world.rtc.faults);
    let all = world.devices.len() - 1;
    (0..world.devices.len())
        .all(|at| world.devices[at].model.circle(circle).is_some() && reach(world, at, circle).len() == all)
}

#[test]
fn two_browsers_open_a_channel_and_the_relay_sees_no_message_any_more() {
    let mut world = world(BROWSER, 2);
    let circle = world.circle("garden club");
    world.run_until("a channel", |world| connected(world, circle));
    assert_eq!((world.rtc.created, world.rtc.open()), (2, 2), "one peer connection each");
    world.run(2_000);
    let stored = world.relay.bytes().len();
    for text in ["one", "two", &"long ".repeat(3_000)] {
        send(&mut world, 0, circle, text);
        send(&mut world, 1, circle, text);
    }
    world.run(5_000);
    assert_eq!(world.relay.bytes().len(), stored, "no envelope went through the relay");
    assert_eq!(world.texts(0, circle, "general").len(), 6);
    assert_eq!(world.texts(0, circle, "general"), world.texts(1, circle, "general"));
    let mine = world.history(0, circle, "general").remove(0);
    assert_eq!(mine.delivery, Delivery::Delivered { to: 1, of: 1 });
}

#[test]
fn the_relay_carries_chat_while_a_channel_is_made_and_when_none_can_be() {
    let mut world = world(BROWSER, 2);
    let circle = world.circle("garden club");
    world.rtc.blocked = true;
    world.run_until("the relay", |world| live(world, 0, circle) && live(world, 1, circle));
    for hour in 1..=6 {
        send(&mut world, 0, circle, &format!("hour {hour}"));
        world.run(3_600_000);
    }
    assert_eq!(world.texts(1, circle, "general").len(), 6);
    // Ten minutes at most lie between tries, and each takes one peer connection of each side.
    assert!((2..=2 * (6 * 12 + 10)).contains(&world.rtc.created), "{} created", world.rtc.created);
    world.rtc.blocked = false;
    world.run_until("a channel", |world| connected(world, circle));
}

#[test]
fn a_tab_spares_the_connections_it_can_create_and_others_go_on_trying() {
    const HOURS: usize = 4;
    let created = [BROWSER, Platform { dials: true, ..BROWSER }].map(|platform| {
        let mut world = world(platform, 7);
        world.circle("garden club");
        world.rtc.blocked = true;
        world.run(HOURS as u64 * 3_600_000);
        world.rtc.created
    });
    let most = 7 * (RTC_BURST as usize + HOURS * 30);
    assert!(created[0] <= most, "some at once and 30 an hour: {created:?}");
    assert!(created[1] > most, "{created:?}");
}

#[test]
fn lost_signals_delay_a_channel_and_leave_nothing_behind() {
    for lost in 1..12 {
        let mut world = world(BROWSER, 2);
        let circle = world.circle("garden club");
        world.relay.lose_signals = lost;
        world.run_until("a channel", |world| connected(world, circle));
        world.run(60_000);
        assert_eq!(world.rtc.count(), 2, "{lost} lost");
    }
}

#[test]
fn first_messages_that_a_channel_loses_are_said_again() {
    // HELLO once and more often, CHALLENGE, and one of each.
    for lost in 1..8 {
        let mut world = world(BROWSER, 2);
        let circle = world.circle("garden club");
        world.rtc.swallow = lost;
        world.run_until("a channel", |world| connected(world, circle));
        assert_eq!(world.rtc.created, 2, "{lost} lost");
        assert_eq!(world.rtc.swallow, 0);
    }
}

#[test]
fn a_path_that_breaks_is_found_again_without_a_new_session() {
    let mut world = world(BROWSER, 2);
    let circle = world.circle("garden club");
    world.run_until("a channel", |world| connected(world, circle));
    world.run(5_000);
    world.cut_channels();
    world.run(10_000);
    assert!(connected(&world, circle), "the session outlives its path");
    assert_eq!(world.rtc.created, 2, "ICE was restarted");
    let stored = world.relay.bytes().len();
    send(&mut world, 1, circle, "still here");
    world.run(5_000);
    assert_eq!((world.texts(0, circle, "general").len(), world.relay.bytes().len()), (1, stored));
}

#[test]
fn a_message_sent_into_a_dead_path_arrives_through_the_relay_once() {
    let mut world = world(BROWSER, 2);
    let circle = world.circle("garden club");
    world.run_until("a channel", |world| connected(world, circle));
    world.rtc.blocked = true;
    world.cut_channels();
    send(&mut world, 0, circle, "into the dark");
    world.run(3_000);
    assert_eq!(world.texts(1, circle, "general"), ["into the dark"]);
    world.run(60_000);
    assert_eq!(reach(&world, 0, circle).len(), 0, "the path is given up");
    world.rtc.blocked = false;
    world.run_until("a channel again", |world| connected(world, circle));
    assert_eq!(world.texts(1, circle, "general"), ["into the dark"]);
}

#[test]
fn signals_that_a_relay_alters_are_dropped_and_chat_goes_on() {
    let mut world = world(BROWSER, 2);
    let circle = world.circle("garden club");
    world.relay.alter_signals = true;
    world.run_until("the relay", |world| live(world, 0, circle) && live(world, 1, circle));
    world.run(600_000);
    assert_eq!(world.rtc.created, 0);
    let Ok(Reply::Doctor { findings }) = world.ask(0, Command::Doctor) else { panic!("no findings") };
    let signals = findings.iter().find(|finding| finding.subject == "signals").unwrap();
    assert!(!signals.ok && signals.detail.contains("altered"), "{signals:?}");
    send(&mut world, 0, circle, "through the relay");
    world.run(2_000);
    assert_eq!(world.texts(1, circle, "general"), ["through the relay"]);
}

#[test]
fn signals_said_again_do_nothing() {
    let mut world = world(BROWSER, 2);
    let circle = world.circle("garden club");
    world.run_until("a channel", |world| connected(world, circle));
    world.run(1_000);
    world.rtc.blocked = true;
    world.cut_channels();
    world.run(120_000);
    let (created, open) = (world.rtc.created, world.rtc.count());
    world.relay.lose_signals = usize::MAX;
    world.repeat_signals();
    world.run(2_000);
    assert!(world.rtc.created <= created && world.rtc.count() <= open, "an old signal made a connection");
}

#[test]
fn a_platform_without_webrtc_chats_through_the_relay() {
    let mut world = world(BROWSER, 1);
    world.add_device(Platform { rtc: false, ..BROWSER }, Disk::instant(MemoryStore::default()));
    let circle = world.circle("garden club");
    world.run(600_000);
    assert_eq!(world.rtc.created, 0, "no peer connection is made for a member that cannot answer");
    send(&mut world, 0, circle, "hey");
    send(&mut world, 1, circle, "yo");
    world.run(2_000);
    assert_eq!(world.texts(0, circle, "general"), world.texts(1, circle, "general"));
}

#[test]
fn two_members_without_a_relay_meet_through_a_third() {
    let mut world = world(Platform { dials: true, ..BROWSER }, 3);
    world.listen(0);
    let circle = world.circle_at("garden club", None);
    world.run_until("a channel between the two that cannot be dialed", |world| connected(world, circle));
    assert_eq!(world.rtc.created, 2);
    // What they say to each other needs the third no more.
    world.set_reachable(0, 1, false);
    world.set_reachable(0, 2, false);
    world.run(30_000);
    send(&mut world, 1, circle, "just us");
    world.run(1_000);
    assert_eq!(world.texts(2, circle, "general"), ["just us"]);
}

#[test]
fn a_stream_takes_the_place_of_a_channel_where_an_address_gives_one() {
    let mut world = world(Platform { dials: true, ..BROWSER }, 2);
    let circle = world.circle("garden club");
    world.run_until("a channel", |world| connected(world, circle));
    assert_eq!(world.rtc.open(), 2);
    world.listen(0);
    world.run_until("a stream", |world| world.rtc.open() == 0 && connected(world, circle));
    world.run(120_000);
    assert!(connected(&world, circle));
    assert_eq!((world.rtc.created, world.rtc.open()), (2, 0), "and no channel is made beside it");
    send(&mut world, 1, circle, "faster now");
    world.run(1_000);
    assert_eq!(world.texts(0, circle, "general"), ["faster now"]);
}

#[test]
fn a_channel_stays_where_an_address_gives_no_stream() {
    let mut world = world(Platform { dials: true, ..BROWSER }, 2);
    let circle = world.circle("garden club");
    world.network.forbid_dialing(1, 0);
    world.run_until("a channel", |world| connected(world, circle));
    world.listen(0);
    for _ in 0..60 {
        world.run(10_000);
        assert!(connected(&world, circle));
    }
    assert_eq!((world.rtc.created, world.rtc.open()), (2, 2));
}

#[test]
fn mirrors_that_join_at_the_start_do_not_keep_members_apart() {
    let mut before = world(BROWSER, 2);
    let circle = before.circle("garden club");
    before.run_until("a channel", |world| connected(world, circle));
    // Changed circles are told at intervals. A mirror that joins in the first of them is told everything at once, and
    // then nothing is left to tell: who was found there meanwhile is wanted all the same.
    let mut world = World::seeded(2);
    world.network.relay.latency = 1;
    for at in 0..2 {
        world.add_device(BROWSER, Disk::instant(before.devices[at].disk.durable().clone()));
    }
    for _ in 0..48 {
        world.run(1);
        for at in 0..2 {
            world.tell(at, Command::Snapshot);
        }
    }
    world.run(30_000);
    assert!(connected(&world, circle));
}

#[test]
fn a_circle_joined_later_costs_a_channel_only_where_it_is_shared() {
    let mut world = world(BROWSER, 3);
    let first = world.circle("garden club");
    world.run_until("channels", |world| connected(world, first));
    world.run(5_000);
    assert_eq!(world.rtc.created, 6);
    let made = world.ask(0, Command::CreateCircle { name: "book club".into(), relay: Some(RELAY.into()) });
    let Ok(Reply::Circle { circle_id: second, invite, .. }) = made else { panic!("{made:?}") };
    world.run(5_000);
    assert_eq!(world.rtc.created, 6, "nobody else is in it");
    world.ask(1, Command::JoinCircle { invite, relay: None }).unwrap();
    world.run_until("a channel of both", |world| {
        (0..2)
            .all(|at| world.devices[at].model.circle(second).is_some() && reach(world, at, second).len() == 1)
    });
    world.run_until("channels", |world| connected(world, first));
    assert_eq!(world.rtc.created, 8, "the one between the two was made anew");
}

/// What doctor says of the connections of a device.
fn paths(world: &mut World, at: usize) -> Vec<String> {
    let Ok(Reply::Doctor { findings }) = world.ask(at, Command::Doctor) else { panic!("no findings") };
    let of = findings.into_iter().filter(|finding| finding.subject.starts_with("connection to "));
    of.map(|finding| finding.detail).collect()
}

/// Two members whose channel leads through a TURN server, as does every other until the test says otherwise.
fn met_through_turn() -> (World, CircleId) {
    let mut world = world(BROWSER, 2);
    world.rtc.through_turn = true;
    let circle = world.circle("garden club");
    world.run_until("a channel", |world| connected(world, circle));
    (world, circle)
}

#[test]
fn a_path_through_turn_gives_way_to_a_direct_one_without_a_gap() {
    let (mut world, circle) = met_through_turn();
    assert!(paths(&mut world, 0)[0].contains("TURN"));
    let stored = world.relay.bytes().len();
    world.rtc.through_turn = false;
    for second in 0..20 {
        send(&mut world, second % 2, circle, &format!("second {second}"));
        world.run(1_000);
        assert!(connected(&world, circle), "in second {second}");
    }
    for at in 0..2 {
        let paths = paths(&mut world, at);
        assert!(paths.len() == 1 && !paths[0].contains("TURN"), "{paths:?}");
        assert_eq!(world.texts(at, circle, "general").len(), 20);
    }
    assert_eq!((world.rtc.created, world.rtc.open()), (4, 2), "the first pair made way for the second");
    assert_eq!(world.relay.bytes().len(), stored, "nothing needed the relay meanwhile");
}

#[test]
fn a_connection_that_took_the_place_of_one_through_turn_goes_through_turn_again_where_nothing_else_is_left() {
    let (mut world, circle) = met_through_turn();
    world.rtc.through_turn = false;
    world.run(20_000);
    assert!(!paths(&mut world, 0)[0].contains("TURN"));
    world.rtc.through_turn = true;
    world.cut_channels();
    world.run(10_000);
    assert!(connected(&world, circle) && paths(&mut world, 0)[0].contains("TURN"));
    assert_eq!(world.rtc.created, 4, "ICE was restarted");
}

#[test]
fn where_only_turn_leads_a_better_path_is_looked_for_ever_more_rarely() {
    let (mut world, circle) = met_through_turn();
    world.run(24 * 3_600_000);
    assert!(connected(&world, circle) && world.rtc.count() == 2, "each look in vain leaves what there is");
    let looks = world.rtc.created / 2 - 1;
    assert!((20..=32).contains(&looks), "{looks} looks in a day");
}

#[test]
fn channels_that_stand_are_quiet() {
    let mut world = world(BROWSER, 3);
    let circle = world.circle("garden club");
    world.run_until("channels", |world| connected(world, circle));
    world.run(10_000);
    let (asked, signals) = (world.relay.requests.values().sum::<usize>(), world.relay.signals.len());
    world.run(600_000);
    assert_eq!(world.relay.signals.len(), signals, "nothing is signaled");
    // Presence once a minute, ICE servers once in half an hour.
    assert!(world.relay.requests.values().sum::<usize>() - asked <= 3 * 12);
}

#[test]
fn a_circle_of_a_hundred_browsers_takes_few_channels_of_each_and_tells_everyone() {
    // Unoptimised WebAssembly crawls through a hundred handshakes of each.
    const MEMBERS: usize = if cfg!(target_arch = "wasm32") { 20 } else { 100 };
    let mut world = world(BROWSER, MEMBERS);
    let circle = world.circle("town hall");
    let spanned = |world: &World| (0..MEMBERS).all(|at| reach(world, at, circle).len() >= 3);
    world.run_until("a mesh", spanned);
    world.run(60_000);
    assert!(world.rtc.faults.is_empty(), "{:?}", world.rtc.faults);
    let most = (0..MEMBERS).map(|at| reach(&world, at, circle).len()).max().unwrap();
    assert!(most <= 16, "{most} channels of one browser");
    // The relay is gone: what is said goes from member to member.
    world.set_relay_up(false);
    send(&mut world, 0, circle, "can everybody hear me");
    world.run(20_000);
    for at in 0..MEMBERS {
        assert_eq!(world.texts(at, circle, "general"), ["can everybody hear me"], "member {at}");
    }
}
