//! Whole nodes against a relay, in virtual time: what people are promised, checked through the public contract.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod anchors;
mod attacks;
mod channels;
mod clocks;
mod crowd;
mod damage;
mod faults;
mod history;
mod lan;
mod limping;
mod mesh;
mod observed;
mod privacy;
mod room;
mod rtc;
mod strangers;
mod unheard;
mod welcome;

use felund_core::{
    ids::CircleId,
    io::{Command, Event},
    node::Platform,
    sim::{Disk, World},
    store::{Batch, Loaded, MemoryStore, Op, Query},
    view::{Delivery, LinkView, Reach, Reply, Retention},
};

fn send(world: &mut World, at: usize, circle: felund_core::ids::CircleId, text: &str) {
    let channel = world.devices[at].model.circle(circle).unwrap().channels[0].id;
    world.ask(at, Command::Send { circle, channel, text: text.into() }).expect("sent");
}

/// So many members that all listen, in a circle without a relay.
fn mesh(members: usize) -> (World, felund_core::ids::CircleId) {
    let mut world = World::new(members);
    for at in 0..members {
        world.listen(at);
    }
    let circle = world.circle_at("garden club", None);
    (world, circle)
}

fn live(world: &World, at: usize, circle: felund_core::ids::CircleId) -> bool {
    world.devices[at].model.circle(circle).is_some_and(|view| view.link == LinkView::Live)
}

#[test]
fn two_members_chat_and_see_each_other() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    send(&mut world, 0, circle, "hey everyone");
    world.run(1_000);
    send(&mut world, 1, circle, "yo");
    world.run(1_000);
    for at in 0..2 {
        assert_eq!(world.texts(at, circle, "general"), ["hey everyone", "yo"]);
        let view = world.devices[at].model.circle(circle).unwrap();
        assert_eq!((view.name.as_str(), &view.link, view.unsent), ("garden club", &LinkView::Live, 0));
        let names: Vec<_> = view.members.iter().map(|member| (member.name.as_str(), member.reach)).collect();
        let other = format!("member {}", 1 - at);
        assert_eq!(names, [(format!("member {at}").as_str(), Reach::You), (&other, Reach::Relay)]);
    }
    let mine = world.history(0, circle, "general").remove(0);
    assert_eq!(
        (mine.mine, mine.delivery),
        (true, Delivery::Delivered { to: 1, of: 1 }),
        "a receipt came back"
    );
}

#[test]
fn a_member_that_was_offline_catches_up_in_order() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(2_000);
    let (store, snapshot) = (world.devices[1].disk.durable().clone(), world.now);
    for i in 0..300 {
        send(&mut world, 0, circle, &format!("message {i}"));
    }
    world.run_until("delivery", |world| {
        world.devices[1].model.circle(circle).unwrap().channels[0].unread == 300
    });
    let late = world.add(store);
    world.run_until("the late one", |world| {
        world.devices[late].model.circle(circle).is_some_and(|view| view.channels[0].unread == 300)
    });
    assert!(world.now > snapshot);
    let expected: Vec<String> = (0..300).map(|i| format!("message {i}")).collect();
    assert_eq!(world.texts(late, circle, "general"), expected);
}

#[test]
fn names_unread_counts_and_drafts_survive_a_restart() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    send(&mut world, 0, circle, "one");
    send(&mut world, 0, circle, "two");
    world.run(1_000);
    let general = world.devices[1].model.circle(circle).unwrap().channels[0].id;
    let first = world.history(1, circle, "general")[0].key();
    world.ask(1, Command::MarkRead { circle, channel: general, up_to: first }).unwrap();
    world.ask(1, Command::SaveDraft { circle, channel: general, text: "half a thou".into() }).unwrap();
    world.run(1_000);
    world.restart(1);
    world.run_until("ready", |world| world.devices[1].model.ready);
    let view = world.devices[1].model.circle(circle).unwrap();
    assert_eq!((view.channels[0].unread, view.channels[0].draft.as_str()), (1, "half a thou"));
    assert_eq!(world.devices[1].model.identity.as_ref().unwrap().name, "member 1");
    assert_eq!(world.texts(1, circle, "general"), ["one", "two"]);
}

#[test]
fn who_has_written_was_seen_then_also_after_a_restart() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    send(&mut world, 1, circle, "good night");
    world.run(5_000);
    let written = world.history(0, circle, "general")[0].created_ts;
    world.crash(1, false);
    world.run(3_600_000);
    world.restart(0);
    world.run_until("ready", |world| world.devices[0].model.ready);
    let view = world.devices[0].model.circle(circle).unwrap();
    let other = view.members.iter().find(|member| member.reach != Reach::You).unwrap();
    assert_eq!(other.reach, Reach::Offline { last_seen: Some(written) });
}

#[test]
fn retention_keeps_the_newest_and_says_what_went() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    world.ask(0, Command::SetRetention { circle, retention: Retention { messages: 5, days: 30 } }).unwrap();
    for i in 0..9 {
        send(&mut world, 0, circle, &i.to_string());
    }
    assert_eq!(world.texts(0, circle, "general"), ["4", "5", "6", "7", "8"]);
    assert!(world.events(0).any(|event| matches!(event, Event::Pruned { .. })));
    world.restart(0);
    world.run_until("ready", |world| world.devices[0].model.ready);
    world.run(5_000);
    // The relay still has all nine; what was pruned does not come back.
    assert_eq!(world.texts(0, circle, "general"), ["4", "5", "6", "7", "8"]);
}

#[test]
fn who_keeps_more_gets_what_there_was_no_room_for_from_the_relay() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    let keep = |world: &mut World, messages| {
        let retention = Retention { messages, days: 30 };
        world.ask(1, Command::SetRetention { circle, retention }).unwrap();
    };
    keep(&mut world, 5);
    for i in 0..9 {
        send(&mut world, 0, circle, &i.to_string());
    }
    world.run(5_000);
    assert_eq!(world.texts(1, circle, "general").len(), 5);
    keep(&mut world, 8);
    world.restart(1);
    world.run(60_000);
    assert_eq!(world.texts(1, circle, "general"), ["1", "2", "3", "4", "5", "6", "7", "8"]);
}

#[test]
fn what_is_filled_in_before_what_was_read_is_no_news_whenever_the_device_restarts() {
    let all =
        [false, true].map(|restarted| [(30, true, restarted), (30, false, restarted), (1, true, restarted)]);
    for (days, read_before, restarted) in all.into_iter().flatten() {
        let mut world = World::new(2);
        let circle = world.circle("garden club");
        let keep = |world: &mut World, messages, days| {
            world.ask(0, Command::SetRetention { circle, retention: Retention { messages, days } }).unwrap();
        };
        world.run(5_000);
        keep(&mut world, 3, days);
        for i in 0..9 {
            send(&mut world, 1, circle, &i.to_string());
        }
        world.run(5_000);
        let last = world.history(0, circle, "general").pop().unwrap();
        let (channel, up_to) = (last.channel_id, last.key());
        let read = |world: &mut World| world.ask(0, Command::MarkRead { circle, channel, up_to }).unwrap();
        if read_before {
            read(&mut world);
        }
        // All of it ages away where it is kept for a day.
        if days == 1 {
            world.run(2 * 86_400_000);
        }
        assert_eq!(world.texts(0, circle, "general").len(), if days == 1 { 0 } else { 3 });
        keep(&mut world, 100, 30);
        if !read_before {
            read(&mut world);
        }
        if restarted {
            // How far it was read nobody waits to be written.
            world.run(100);
            world.restart(0);
        }
        world.run(60_000);
        assert_eq!(world.texts(0, circle, "general").len(), 9);
        let unread = world.devices[0].model.circle(circle).unwrap().channels[0].unread;
        assert_eq!(unread, 0, "for {days} days, read before: {read_before}, restarted: {restarted}");
    }
}

#[test]
fn leaving_deletes_everything_this_device_held() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    send(&mut world, 0, circle, "one");
    world.ask(0, Command::LeaveCircle { circle }).unwrap();
    world.run(1_000);
    assert!(world.devices[0].model.circles().is_empty());
    world.restart(0);
    world.run_until("ready", |world| world.devices[0].model.ready);
    assert!(world.devices[0].model.circles().is_empty());
}

/// Records about a circle that are still on a device's disk.
fn records_of(world: &World, at: usize, circle: CircleId) -> Vec<String> {
    let Loaded::Records(records) = world.devices[at].disk.read(Query::Records) else { panic!("no records") };
    records.into_iter().map(|(name, _)| name).filter(|name| name.contains(&circle.to_string())).collect()
}

#[test]
fn what_was_being_published_while_a_circle_was_left_is_deleted_too() {
    let mut world = World::new(1);
    let disk = Disk::slow(MemoryStore::default());
    let at = world.add_device(Platform { dials: true, ..Platform::default() }, disk);
    world.devices[at].write_ms = 100;
    let circle = world.circle("garden club");
    world.run(5_000);
    world.tell(at, Command::LeaveCircle { circle });
    world.ask(at, Command::SetName { name: "somebody else".into() }).unwrap();
    world.run(5_000);
    assert!(world.devices[at].model.circles().is_empty());
    assert_eq!(records_of(&world, at, circle), [""; 0]);
    assert!(world.devices[at].disk.envelopes(circle).is_empty());
}

#[test]
fn a_circle_that_is_being_left_is_not_joined_before_it_is_gone() {
    let mut world = World::new(1);
    let at = world.add_device(Platform::default(), Disk::slow(MemoryStore::default()));
    world.devices[at].write_ms = 100;
    let circle = world.circle("garden club");
    let Ok(Reply::Invite { invite, .. }) = world.ask(0, Command::Invite { circle }) else {
        panic!("no invite")
    };
    world.run(5_000);
    let join = || Command::JoinCircle { invite: invite.clone(), relay: None };
    let too_early = |world: &mut World| {
        let refused = world.ask(at, join()).unwrap_err();
        assert!(refused.contains("just being left"), "{refused}");
    };
    for last_is_refused in [false, true] {
        world.tell(at, Command::LeaveCircle { circle });
        too_early(&mut world);
        if last_is_refused {
            world.devices[at].disk.full = Some("the disk is full".into());
            world.run(200);
            world.devices[at].disk.full = None;
            too_early(&mut world);
        }
        world.run(10_000);
        assert!(world.devices[at].model.circle(circle).is_none());
        world.ask(at, join()).unwrap();
        world.run(10_000);
        assert!(live(&world, at, circle));
        world.restart(at);
        world.run(10_000);
        assert!(live(&world, at, circle));
        assert!(!world.devices[at].disk.envelopes(circle).is_empty());
    }
}

#[test]
fn what_is_unsent_in_a_circle_that_is_not_here_is_deleted_at_the_start_unless_its_record_is_damaged() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    world.set_relay_up(false);
    send(&mut world, 0, circle, "one");
    let unsent = |world: &World, at| {
        let records = records_of(world, at, circle);
        let outbox = records.iter().filter(|name| name.starts_with("outbox/")).count();
        (outbox, world.devices[at].disk.envelopes(circle).len())
    };
    let (outbox, envelopes) = unsent(&world, 0);
    assert!(outbox > 0 && envelopes >= outbox);
    let record = format!("circle/{circle}");
    for (op, left) in [
        (Op::PutRecord(record.clone(), vec![7; 40]), (outbox, envelopes)),
        (Op::DeleteRecord(record), (0, envelopes - outbox)),
    ] {
        let mut store = world.devices[0].disk.durable().clone();
        store.write(Batch { ops: vec![op], strict: true });
        let at = world.add(store);
        world.run_until("ready", |world| world.devices[at].model.ready);
        world.run(1_000);
        assert_eq!(unsent(&world, at), left);
    }
}

#[test]
fn a_passphrase_locks_the_keys_at_rest() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    send(&mut world, 0, circle, "one");
    world.ask(0, Command::SetPassphrase { passphrase: Some("tulip".into()) }).unwrap();
    world.restart(0);
    world.run(1_000);
    assert!(world.devices[0].model.locked && world.devices[0].model.circles().is_empty());
    assert!(world.ask(0, Command::Invite { circle }).is_err());
    assert!(world.ask(0, Command::Unlock { passphrase: "rose".into() }).is_err());
    world.ask(0, Command::Unlock { passphrase: "tulip".into() }).unwrap();
    world.run_until("ready", |world| world.devices[0].model.ready);
    assert_eq!(world.texts(0, circle, "general"), ["one"]);
}

#[test]
fn a_quiet_network_stays_quiet() {
    let mut world = World::new(3);
    let circle = world.circle("garden club");
    world.run_until("everyone live", |world| (0..3).all(|at| live(world, at, circle)));
    world.run(10_000);
    let before: usize = world.relay.requests.values().sum();
    let events: usize = world.told.len();
    world.run(600_000);
    let asked = world.relay.requests.values().sum::<usize>() - before;
    // Presence is renewed once a minute; nothing else is asked, and no view is told that did not change.
    assert!(asked <= 3 * 11, "{asked} requests in ten quiet minutes");
    assert_eq!(world.told.len(), events);
}

#[test]
fn an_invite_to_a_circle_one_is_in_brings_its_newer_ways() {
    let mut world = World::new(2);
    let circle = world.circle_at("garden club", None);
    world.ask(0, Command::SetRelay { circle, relay: Some(felund_core::sim::RELAY.into()) }).unwrap();
    send(&mut world, 0, circle, "over here");
    world.run(60_000);
    assert!(world.texts(1, circle, "general").is_empty(), "nothing leads there");
    let Ok(Reply::Invite { invite, .. }) = world.ask(0, Command::Invite { circle }) else {
        panic!("no invite")
    };
    let joined = world.ask(1, Command::JoinCircle { invite, relay: None });
    assert!(matches!(joined, Ok(Reply::Circle { circle_id, .. }) if circle_id == circle), "{joined:?}");
    world.run(10_000);
    assert_eq!(world.texts(1, circle, "general"), ["over here"]);
    // Also after a restart.
    world.restart(1);
    world.run(5_000);
    assert!(live(&world, 1, circle));
}

#[test]
fn an_invite_that_names_another_relay_moves_nobody_and_says_so() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    let elsewhere = "https://elsewhere.example";
    world.ask(0, Command::SetRelay { circle, relay: Some(elsewhere.into()) }).unwrap();
    let Ok(Reply::Invite { invite, .. }) = world.ask(0, Command::Invite { circle }) else {
        panic!("no invite")
    };
    world.ask(1, Command::JoinCircle { invite, relay: None }).unwrap();
    let stays = felund_core::sim::RELAY;
    assert_eq!(world.devices[1].model.circle(circle).unwrap().relay.as_deref(), Some(stays));
    let told = |event: &Event| matches!(event, Event::Notice { error: false, text } if text.contains(stays) && text.contains(elsewhere));
    assert_eq!(world.events(1).filter(|event| told(event)).count(), 1);
}

#[test]
fn a_name_that_could_not_be_stored_is_told_when_it_is_given_again() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(1_000);
    world.devices[0].disk.full = Some("the disk is full".into());
    let name = || Command::SetName { name: "alice".into() };
    assert!(world.ask(0, name()).is_err());
    world.devices[0].disk.full = None;
    world.ask(0, name()).unwrap();
    world.run(5_000);
    let members = &world.devices[1].model.circle(circle).unwrap().members;
    assert!(members.iter().any(|member| member.name == "alice"), "{members:?}");
}

#[test]
fn what_is_given_up_before_anybody_got_it_is_said_and_waits_no_more() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    world.set_relay_up(false);
    world.ask(0, Command::SetRetention { circle, retention: Retention { messages: 3, days: 30 } }).unwrap();
    for i in 0..5 {
        send(&mut world, 0, circle, &i.to_string());
    }
    world.run(1_000);
    let told = |event: &Event| matches!(event, Event::Notice { error: true, text } if text.contains("before anybody got"));
    assert_eq!(world.events(0).filter(|event| told(event)).count(), 2);
    world.restart(0);
    world.run(5_000);
    assert_eq!(world.texts(0, circle, "general"), ["2", "3", "4"]);
    assert!(world.devices[0].model.circle(circle).unwrap().unsent <= 5);
    world.set_relay_up(true);
    world.run(120_000);
    assert_eq!(world.devices[0].model.circle(circle).unwrap().unsent, 0);
}

/// Whether a device was told that some of its messages are given up.
fn told_given_up(world: &World, at: usize) -> bool {
    world.events(at).any(
        |event| matches!(event, Event::Notice { error: true, text } if text.contains("before anybody got")),
    )
}

#[test]
fn control_events_that_were_given_up_are_not_waited_for() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    world.run(5_000);
    world.set_relay_up(false);
    for i in 0..4_400 {
        world.ask(0, Command::SetName { name: i.to_string() }).unwrap();
    }
    let unsent = |world: &World| world.devices[0].model.circle(circle).unwrap().unsent;
    assert!(unsent(&world) < 4_353, "{}", unsent(&world));
    let waits = records_of(&world, 0, circle).iter().filter(|name| name.starts_with("outbox/")).count();
    assert_eq!(waits, unsent(&world) as usize);
    assert!(!told_given_up(&world, 0), "nobody misses them");
}

#[test]
fn what_is_not_on_this_device_any_more_is_not_waited_for_after_a_restart() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    world.set_relay_up(false);
    send(&mut world, 0, circle, "one");
    let unsent = world.devices[0].model.circle(circle).unwrap().unsent;
    let mut store = world.devices[0].disk.durable().clone();
    let gone = format!("outbox/{circle}/{:016x}/{}", 7, "07".repeat(16));
    store.write(Batch { ops: vec![Op::PutRecord(gone.clone(), Vec::new())], strict: true });
    let at = world.add(store);
    world.run_until("ready", |world| world.devices[at].model.ready);
    world.run(1_000);
    assert_eq!(world.devices[at].model.circle(circle).unwrap().unsent, unsent);
    assert!(!records_of(&world, at, circle).contains(&gone));
}

#[test]
fn what_is_overtaken_while_it_is_being_written_is_said_to_be_given_up() {
    let mut world = World::new(1);
    let at = world.add_device(Platform::default(), Disk::slow(MemoryStore::default()));
    world.devices[at].write_ms = 100;
    let circle = world.circle("garden club");
    world.run(5_000);
    let retention = Retention { messages: 1, days: 30 };
    world.ask(at, Command::SetRetention { circle, retention }).unwrap();
    send(&mut world, 0, circle, "before");
    world.run(5_000);
    // Of what is written at the same time its is the later one.
    world.devices[0].skew = 2_000;
    world.devices[at].write_ms = 1_000;
    let channel = world.devices[at].model.circle(circle).unwrap().channels[0].id;
    world.tell(at, Command::Send { circle, channel, text: "mine".into() });
    world.run(100);
    send(&mut world, 0, circle, "meanwhile");
    world.run(30_000);
    assert_eq!(world.texts(at, circle, "general"), ["meanwhile"]);
    assert!(told_given_up(&world, at));
    assert_eq!(world.devices[at].model.circle(circle).unwrap().unsent, 0);
    world.restart(at);
    world.run(5_000);
    assert_eq!(world.texts(at, circle, "general"), ["meanwhile"], "nothing of it is left");
    assert_eq!(world.devices[at].model.circle(circle).unwrap().unsent, 0);
}

#[test]
fn what_was_said_to_be_given_up_is_not_posted_after_that() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    world.run(5_000);
    world.set_relay_up(false);
    world.ask(0, Command::SetRetention { circle, retention: Retention { messages: 3, days: 30 } }).unwrap();
    for i in 0..5 {
        send(&mut world, 0, circle, &i.to_string());
        // Some wait for the relay, the last ones for members.
        world.run(if i < 3 { 2_000 } else { 1 });
    }
    world.set_relay_up(true);
    world.run(120_000);
    let sent = world.events(0).filter_map(|event| match event {
        Event::Message(message) => Some(message.msg_id),
        _ => None,
    });
    let held: Vec<bool> = sent.map(|id| world.relay.holds(&id)).collect();
    assert_eq!(held, [false, false, true, true, true]);
}

#[test]
fn what_nobody_had_confirmed_before_a_restart_is_counted_after_it() {
    let (mut world, circle) = mesh(2);
    world.run(5_000);
    world.crash(1, true);
    send(&mut world, 0, circle, "hello?");
    world.run(60_000);
    world.restart(0);
    world.run(5_000);
    world.start(1);
    world.run(60_000);
    assert_eq!(world.texts(1, circle, "general"), ["hello?"]);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Delivered { to: 1, of: 1 });
}

#[test]
fn what_only_the_relay_had_before_a_restart_is_counted_after_it() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    world.crash(1, true);
    send(&mut world, 0, circle, "hello?");
    world.run(10_000);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Stored);
    world.restart(0);
    world.run(5_000);
    world.start(1);
    world.run(30_000);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Delivered { to: 1, of: 1 });
}

#[test]
fn what_comes_late_is_unread_until_the_channel_is_read_again() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    world.set_relay_up(false);
    send(&mut world, 1, circle, "are you there?");
    world.run(1_000);
    send(&mut world, 0, circle, "newer");
    let (channel, up_to) = {
        let newer = world.history(0, circle, "general").remove(0);
        (newer.channel_id, newer.key())
    };
    let read = |world: &mut World| world.ask(0, Command::MarkRead { circle, channel, up_to }).unwrap();
    let unread = |world: &World| world.devices[0].model.circle(circle).unwrap().channels[0].unread;
    read(&mut world);
    world.set_relay_up(true);
    world.run(120_000);
    assert_eq!(world.texts(0, circle, "general"), ["are you there?", "newer"]);
    assert_eq!(unread(&world), 1);
    world.restart(0);
    world.run(5_000);
    assert_eq!(unread(&world), 1);
    read(&mut world);
    assert_eq!(unread(&world), 0);
    world.restart(0);
    world.run(5_000);
    assert_eq!(unread(&world), 0);
}

#[test]
fn what_is_filled_in_because_more_is_kept_is_no_news() {
    let (mut world, circle) = mesh(2);
    world.run(5_000);
    let keep = |world: &mut World, messages| {
        let retention = Retention { messages, days: 30 };
        world.ask(0, Command::SetRetention { circle, retention }).unwrap();
    };
    // It was raised once before, when there was less.
    send(&mut world, 1, circle, "0");
    world.run(5_000);
    keep(&mut world, 2_000);
    keep(&mut world, 3);
    for i in 1..9 {
        send(&mut world, 1, circle, &i.to_string());
    }
    world.run(5_000);
    let last = world.history(0, circle, "general").pop().unwrap();
    let (channel, up_to) = (last.channel_id, last.key());
    world.ask(0, Command::MarkRead { circle, channel, up_to }).unwrap();
    keep(&mut world, 100);
    world.crash(1, true);
    world.run(60_000);
    world.start(1);
    world.run(60_000);
    assert_eq!(world.texts(0, circle, "general").len(), 9);
    assert_eq!(world.devices[0].model.circle(circle).unwrap().channels[0].unread, 0);
}
