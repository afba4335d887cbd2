//! Crashes, dead relays, refused sockets, full disks, wrong clocks: nothing a user saw as sent is lost.

use felund_core::{
    config::{MAX_FUTURE_MS, MAX_TEXT_LEN, MAX_UNWRITTEN_BYTES},
    ids::CircleId,
    io::{Command, Event, Input},
    node::Platform,
    sim::{Dice, Disk, Proxy, World},
    store::{MemoryStore, Query},
    view::{Access, Delivery, LinkView, Membership, Reply, Retention},
};

use crate::{live, send};

#[test]
fn a_message_sent_while_the_relay_is_down_arrives_when_it_is_back() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(1_000);
    world.set_relay_up(false);
    send(&mut world, 0, circle, "into the void");
    world.run(5_000);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Pending);
    let view = world.devices[0].model.circle(circle).unwrap();
    assert!(
        matches!(&view.link, LinkView::Down { reason, .. } if reason.contains("refused")),
        "{:?}",
        view.link
    );
    assert_eq!(view.unsent, 1);
    world.set_relay_up(true);
    world
        .run_until("arrival", |world| world.devices[1].model.circle(circle).unwrap().channels[0].unread == 1);
    assert_eq!(world.texts(1, circle, "general"), ["into the void"]);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Stored);
}

#[test]
fn who_sends_while_the_relay_is_away_has_it_tried_at_once() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    world.run(1_000);
    world.set_relay_up(false);
    // By now it is tried every half a minute.
    world.run(600_000);
    send(&mut world, 0, circle, "later");
    world.set_relay_up(true);
    world.run(1_000);
    send(&mut world, 0, circle, "now");
    world.run(2_000);
    assert!(world.history(0, circle, "general").iter().all(|message| message.delivery == Delivery::Stored));
}

#[test]
fn what_is_long_on_its_way_over_a_slow_line_comes_through_one_socket() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    world.crash(1, false);
    for i in 0..300 {
        send(&mut world, 0, circle, &i.to_string());
    }
    world.run(5_000);
    let before = world.relay.requests["POST /v1/relay/session"];
    world.relay.frame_ms = 100;
    world.start(1);
    let arriving = |world: &World| world.devices[1].model.circle(circle).and_then(|view| view.arriving);
    world.run(15_000);
    assert_eq!(arriving(&world), None, "what is soon here needs no words");
    world.run(10_000);
    assert!(arriving(&world).is_some_and(|so_far| (200..300).contains(&so_far)), "{:?}", arriving(&world));
    world.run(35_000);
    assert_eq!(arriving(&world), None);
    assert_eq!(world.texts(1, circle, "general").len(), 300);
    assert_eq!(world.relay.requests["POST /v1/relay/session"] - before, 1);
}

#[test]
fn what_was_confirmed_to_the_user_survives_a_crash_before_it_was_sent() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(1_000);
    world.set_relay_up(false);
    send(&mut world, 0, circle, "kept");
    world.restart(0);
    world.run(1_000);
    world.set_relay_up(true);
    world
        .run_until("arrival", |world| world.devices[1].model.circle(circle).unwrap().channels[0].unread == 1);
    assert_eq!(world.texts(1, circle, "general"), ["kept"]);
    world.run(5_000);
    assert_eq!(world.devices[0].model.circle(circle).unwrap().unsent, 0);
}

#[test]
fn what_was_not_durable_is_neither_shown_nor_sent() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(1_000);
    world.devices[0].disk.held = true;
    let channel = world.devices[0].model.circle(circle).unwrap().channels[0].id;
    world.tell(0, Command::Send { circle, channel, text: "lost with the power".into() });
    world.run(5_000);
    assert!(!world.events(0).any(|event| matches!(event, Event::Message(_))));
    assert!(world.texts(1, circle, "general").is_empty());
}

#[test]
fn a_full_disk_is_said_and_costs_nothing_already_stored() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    send(&mut world, 0, circle, "before");
    world.run(1_000);
    world.devices[0].disk.full = Some("the disk is full".into());
    let channel = world.devices[0].model.circle(circle).unwrap().channels[0].id;
    let refused = world.ask(0, Command::Send { circle, channel, text: "during".into() });
    assert!(refused.unwrap_err().contains("the disk is full"));
    world.devices[0].disk.full = None;
    send(&mut world, 0, circle, "after");
    world.run(1_000);
    for at in 0..2 {
        assert_eq!(world.texts(at, circle, "general"), ["before", "after"]);
    }
}

#[test]
fn a_passphrase_that_could_not_be_stored_is_not_said_to_be_set() {
    let mut world = World::new(1);
    let set = |world: &mut World| world.ask(0, Command::SetPassphrase { passphrase: Some("tulip".into()) });
    let protected = |world: &World| world.devices[0].model.identity.as_ref().unwrap().passphrase;
    world.devices[0].disk.full = Some("the disk is full".into());
    assert!(set(&mut world).unwrap_err().contains("the disk is full"));
    assert!(!protected(&world));
    world.devices[0].disk.full = None;
    set(&mut world).unwrap();
    assert!(protected(&world));
}

#[test]
fn settings_that_could_not_be_stored_are_as_they_were() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    for i in 0..9 {
        send(&mut world, 0, circle, &i.to_string());
    }
    world.run(5_000);
    let shown = |world: &World| {
        let model = &world.devices[0].model;
        let view = model.circle(circle).unwrap();
        (view.relay.clone(), view.retention, view.link.clone(), model.identity.clone().unwrap())
    };
    let before = shown(&world);
    let retention = Retention { messages: 1, days: 30 };
    for command in [
        Command::SetRetention { circle, retention },
        Command::SetRelay { circle, relay: None },
        Command::SetHideAddress { on: true },
        Command::SetAnchor { on: true },
        Command::SetIceServers { servers: "stun:mine.example".into() },
    ] {
        world.devices[0].disk.full = Some("the disk is full".into());
        let refused = world.ask(0, command.clone()).unwrap_err();
        assert!(refused.contains("Nothing was sent or changed"), "{refused}");
        world.devices[0].disk.full = None;
        world.run(5_000);
        assert_eq!(shown(&world), before, "{command:?}");
        assert_eq!(world.texts(0, circle, "general").len(), 9, "{command:?}");
    }
    world.restart(0);
    world.run(5_000);
    assert_eq!(shown(&world), before);
    assert_eq!(world.texts(0, circle, "general").len(), 9);
}

#[test]
fn a_channel_that_could_not_be_left_opens_as_before() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    let (access, passphrase) = (Access::Key, Some("tulip".into()));
    let made = world.ask(0, Command::CreateChannel { circle, name: "secret".into(), access, passphrase });
    let Ok(Reply::Channel { channel_id: channel }) = made else { panic!("{made:?}") };
    world.ask(0, Command::Send { circle, channel, text: "psst".into() }).unwrap();
    world.run(5_000);
    world.devices[0].disk.full = Some("the disk is full".into());
    world.ask(0, Command::LeaveChannel { circle, channel }).unwrap_err();
    world.devices[0].disk.full = None;
    for _ in 0..2 {
        world.run(5_000);
        let channels = &world.devices[0].model.circle(circle).unwrap().channels;
        assert!(channels.iter().all(|channel| channel.membership == Membership::Joined), "{channels:?}");
        assert_eq!(world.texts(0, circle, "secret"), ["psst"]);
        world.restart(0);
    }
    world.run(5_000);
    world.ask(0, Command::LeaveChannel { circle, channel }).unwrap();
    let again = world.ask(0, Command::JoinChannel { circle, channel, passphrase: None });
    assert!(again.unwrap_err().contains("passphrase"), "the key is deleted");
}

#[test]
fn settings_that_are_changed_at_the_same_time_are_all_kept() {
    let mut world = World::new(1);
    let at = world.add_device(Platform::default(), Disk::slow(MemoryStore::default()));
    world.devices[at].write_ms = 100;
    let circle = world.circle("garden club");
    world.run(5_000);
    let retention = Retention { messages: 7, days: 30 };
    world.tell(at, Command::SetRelay { circle, relay: None });
    world.ask(at, Command::SetRetention { circle, retention }).unwrap();
    for _ in 0..2 {
        let view = world.devices[at].model.circle(circle).unwrap();
        assert_eq!((view.relay.as_ref(), view.retention), (None, retention));
        world.restart(at);
        world.run(5_000);
    }
}

#[test]
fn the_doctor_writes_before_it_says_that_storage_works() {
    let mut world = World::new(1);
    let storage = |world: &mut World| {
        let Ok(Reply::Doctor { findings }) = world.ask(0, Command::Doctor) else { panic!("no findings") };
        findings.into_iter().find(|finding| finding.subject == "storage").expect("a finding")
    };
    assert!(storage(&mut world).ok);
    let before = world.devices[0].disk.read(Query::Records);
    world.devices[0].disk.full = Some("the disk is full".into());
    let finding = storage(&mut world);
    assert!(!finding.ok && finding.detail.contains("the disk is full"), "{finding:?}");
    world.devices[0].disk.full = None;
    assert!(storage(&mut world).ok);
    world.devices[0].disk.held = true;
    let finding = storage(&mut world);
    assert!(!finding.ok && finding.detail.contains("not answered"), "{finding:?}");
    assert_eq!(world.devices[0].disk.read(Query::Records), before, "nothing of it stays");
}

#[test]
fn polling_carries_the_chat_while_sockets_are_refused_and_the_socket_comes_back_by_itself() {
    let mut world = World::new(2);
    world.relay.sockets_allowed = false;
    let circle = world.circle("garden club");
    send(&mut world, 0, circle, "by post");
    world
        .run_until("arrival", |world| world.devices[1].model.circle(circle).unwrap().channels[0].unread == 1);
    assert_eq!(world.devices[0].model.circle(circle).unwrap().link, LinkView::Polling);
    world.run(5_000);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Stored);
    world.relay.sockets_allowed = true;
    world.run_until("the socket", |world| (0..2).all(|at| live(world, at, circle)));
    world.run(1_000);
    let polls = world.relay.requests["GET /v1/messages"];
    send(&mut world, 1, circle, "by wire");
    world.run(30_000);
    assert_eq!(world.relay.requests["GET /v1/messages"], polls, "polling has stopped");
    assert_eq!(world.texts(0, circle, "general"), ["by post", "by wire"]);
}

#[test]
fn a_relay_that_answers_wrongly_is_asked_no_more_often_than_one_that_answers() {
    let mut world = World::new(1);
    world.relay.sockets_allowed = false;
    world.relay.misanswers = true;
    let circle = world.circle("garden club");
    world.run(10_000);
    send(&mut world, 0, circle, "sooner or later");
    let before = world.relay.requests.clone();
    world.run(60_000);
    let asked = |what: &str| world.relay.requests[what] - before[what];
    assert!(asked("GET /v1/messages") <= 32, "{} polls in a minute", asked("GET /v1/messages"));
    assert!(asked("POST /v1/messages") <= 6, "{} posts in a minute", asked("POST /v1/messages"));
    let all: usize = world.relay.requests.values().sum::<usize>() - before.values().sum::<usize>();
    assert!(all <= 70, "{all} requests in a minute");
    world.run(180_000);
    let told = world
        .events(0)
        .filter(|event| matches!(event, Event::Notice { text, .. } if text.contains("takes no messages")));
    assert_eq!(told.count(), 1);
    world.relay.misanswers = false;
    world.run(61_000);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Stored);
}

#[test]
fn polling_carries_the_chat_while_sockets_open_and_nothing_passes_through_them() {
    for proxy in [Proxy::Swallows, Proxy::HangsUp] {
        let mut world = World::new(2);
        world.relay.proxy = proxy;
        let circle = world.circle("garden club");
        world.run(10_000);
        send(&mut world, 0, circle, "by post");
        world.run(5_000);
        assert_eq!(world.texts(1, circle, "general"), ["by post"], "{proxy:?}");
        assert_eq!(world.devices[0].model.circle(circle).unwrap().link, LinkView::Polling, "{proxy:?}");
        assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Stored);
        let sockets = world.relay.requests["POST /v1/relay/session"];
        world.run(60_000);
        // Each of the two tries it again every five to ten seconds.
        let tried = world.relay.requests["POST /v1/relay/session"] - sockets;
        assert!(tried <= 2 * 13, "{proxy:?}: {tried} sockets in a minute");
        world.relay.proxy = Proxy::Passes;
        world.run_until("the socket", |world| (0..2).all(|at| live(world, at, circle)));
    }
}

#[test]
fn what_is_left_of_a_quota_is_used() {
    for sockets in [true, false] {
        let mut world = World::new(2);
        world.relay.sockets_allowed = sockets;
        let circle = world.circle("garden club");
        world.run(10_000);
        world.set_relay_reachable(0, false);
        for i in 0..50 {
            send(&mut world, 0, circle, &i.to_string());
        }
        world.relay.room = 10;
        world.set_relay_reachable(0, true);
        world.run(60_000);
        let texts = |count: usize| (0..count).map(|i| i.to_string()).collect::<Vec<_>>();
        assert_eq!(world.texts(1, circle, "general"), texts(10), "sockets: {sockets}");
        assert_eq!(world.devices[0].model.circle(circle).unwrap().unsent, 40);
        let told = |event: &Event| matches!(event, Event::Notice { error: true, text } if text.contains("full") || text.contains("QuotaExceeded"));
        assert_eq!(world.events(0).filter(|event| told(event)).count(), 1, "it is said once");
        world.relay.room = usize::MAX;
        world.run(70_000);
        assert_eq!(world.texts(1, circle, "general"), texts(50), "sockets: {sockets}");
    }
}

#[test]
fn a_relay_that_lost_its_log_and_gives_out_lower_cursors_is_heard() {
    for sockets in [true, false] {
        let mut world = World::new(2);
        world.relay.sockets_allowed = sockets;
        let circle = world.circle("garden club");
        for i in 0..20 {
            send(&mut world, 0, circle, &i.to_string());
        }
        world.run(10_000);
        world.replace_relay();
        world.run(60_000);
        send(&mut world, 0, circle, "over here");
        world.run(20_000);
        assert_eq!(world.texts(1, circle, "general").len(), 21, "sockets: {sockets}");
        let polls = |world: &World| world.relay.requests.get("GET /v1/messages").copied().unwrap_or(0);
        let before = polls(&world);
        world.restart(1);
        world.run(20_000);
        send(&mut world, 0, circle, "and here");
        world.run(10_000);
        assert_eq!(world.texts(1, circle, "general").len(), 22, "sockets: {sockets}");
        assert!(polls(&world) - before < 60, "{} polls in half a minute", polls(&world) - before);
    }
}

#[test]
fn sockets_cut_again_and_again_lose_and_repeat_nothing() {
    let mut world = World::new(3);
    let circle = world.circle("garden club");
    for i in 0..60 {
        send(&mut world, i % 3, circle, &i.to_string());
        if i % 4 == 0 {
            world.drop_sockets();
        }
        if i % 10 == 9 {
            world.set_relay_up(false);
            world.run(700);
            world.set_relay_up(true);
        }
    }
    world.run_until("everyone has everything", |world| {
        (0..3).all(|at| {
            world.devices[at]
                .model
                .circle(circle)
                .is_some_and(|v| v.unsent == 0 && v.channels[0].unread == 40)
        })
    });
    let reference = world.texts(0, circle, "general");
    assert_eq!(reference.len(), 60);
    for at in 1..3 {
        assert_eq!(world.texts(at, circle, "general"), reference, "the same order everywhere");
    }
}

#[test]
fn waking_finds_a_dead_socket_within_two_seconds() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run_until("live", |world| live(world, 0, circle));
    // The network forgot the connection while the device slept: nothing says so.
    world.forget_sockets(0);
    world.input(0, Input::Wake);
    world.run(2_000);
    assert!(live(&world, 0, circle));
    send(&mut world, 1, circle, "good morning");
    world.run(500);
    assert_eq!(world.texts(0, circle, "general"), ["good morning"]);
}

#[test]
fn waking_does_not_wait_for_requests_that_went_into_dead_connections() {
    let mut world = World::new(2);
    world.relay.sockets_allowed = false;
    let circle = world.circle("garden club");
    world.run_until("polling", |world| {
        world.devices[0].model.circle(circle).is_some_and(|view| view.link == LinkView::Polling)
    });
    send(&mut world, 1, circle, "good morning");
    world.forget_sockets(0);
    world.input(0, Input::Wake);
    world.run(2_000);
    assert_eq!(world.texts(0, circle, "general"), ["good morning"]);
}

#[test]
fn waking_needs_no_request_where_every_one_goes_into_a_dead_connection() {
    let mut world = World::new(2);
    let circles = [world.circle("garden club"), world.circle("book club")];
    let all_live = |world: &World| circles.iter().all(|circle| live(world, 0, *circle));
    world.run_until("live", all_live);
    world.run(1_000);
    // As over HTTP/2, where a browser sends them all over one connection until it finds by itself that it is dead.
    world.forget_sockets(0);
    world.devices[0].kept = usize::MAX;
    world.input(0, Input::Wake);
    world.run(2_000);
    assert!(all_live(&world));
    for circle in circles {
        send(&mut world, 1, circle, "good morning");
    }
    world.run(500);
    for circle in circles {
        assert_eq!(world.texts(0, circle, "general"), ["good morning"]);
    }
    // What they fail with does not keep anything from being sent over the socket.
    world.run(60_000);
    send(&mut world, 0, circles[0], "slept well");
    world.run(500);
    assert_eq!(world.texts(1, circles[0], "general"), ["good morning", "slept well"]);
    assert!(all_live(&world));
}

#[test]
fn a_relay_that_is_away_when_the_device_wakes_is_called_so_soon() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    world.run_until("live", |world| live(world, 0, circle));
    world.set_relay_up(false);
    world.input(0, Input::Wake);
    world.run(5_000);
    let view = world.devices[0].model.circle(circle).unwrap();
    assert!(matches!(&view.link, LinkView::Down { .. }), "{:?}", view.link);
    world.set_relay_up(true);
    world.run_until("live again", |world| live(world, 0, circle));
}

#[test]
fn clients_with_wrong_clocks_correct_their_requests_by_the_relays_time() {
    let mut world = World::new(1);
    world.devices[0].skew = -3_600_000;
    let circle = world.circle("garden club");
    world.run_until("live", |world| live(world, 0, circle));
    send(&mut world, 0, circle, "from an hour ago");
    world.run_until("stored", |world| world.devices[0].model.circle(circle).unwrap().unsent == 0);
}

#[test]
fn messages_from_far_in_the_future_are_refused() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(1_000);
    world.devices[1].skew = i64::try_from(MAX_FUTURE_MS).unwrap() + 60_000;
    send(&mut world, 1, circle, "from tomorrow");
    world.run(5_000);
    assert!(world.texts(0, circle, "general").is_empty());
}

#[test]
fn what_the_relay_lost_before_it_was_durable_is_posted_again() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run_until("live", |world| (0..2).all(|at| live(world, at, circle)));
    world.run(1_000);
    world.relay.write_ms = 60_000;
    send(&mut world, 0, circle, "passed on, not written");
    world.run_until("it has come back", |world| {
        world.devices[1].model.circle(circle).unwrap().channels[0].unread == 1
    });
    world.run(100);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Pending);
    world.stop_relay(true);
    world.relay.write_ms = 0;
    world.set_relay_up(true);
    world.run_until("stored", |world| world.devices[0].model.circle(circle).unwrap().unsent == 0);
    let message = world.history(0, circle, "general").remove(0);
    assert!(world.relay.is_durable(&message.msg_id));
    assert_eq!(world.texts(1, circle, "general"), ["passed on, not written"]);
}

/// A member whose disk was full when something came in.
fn received_without_room() -> (World, CircleId) {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run_until("live", |world| (0..2).all(|at| live(world, at, circle)));
    world.devices[1].disk.full = Some("the disk is full".into());
    send(&mut world, 0, circle, "shown and not kept");
    world.run(5_000);
    (world, circle)
}

#[test]
fn what_comes_in_while_the_disk_is_full_is_kept_once_there_is_room() {
    let (mut world, circle) = received_without_room();
    assert!(world.events(1).any(|event| matches!(event, Event::Notice { error: true, .. })));
    world.devices[1].disk.full = None;
    world.run(3_000);
    assert_eq!(world.texts(1, circle, "general"), ["shown and not kept"]);
    world.restart(1);
    world.run(5_000);
    assert_eq!(world.texts(1, circle, "general"), ["shown and not kept"]);
}

#[test]
fn what_came_in_while_the_disk_was_full_comes_again_after_a_crash() {
    let (mut world, circle) = received_without_room();
    world.restart(1);
    world.devices[1].disk.full = None;
    world.run(5_000);
    assert_eq!(world.texts(1, circle, "general"), ["shown and not kept"]);
}

#[test]
fn what_could_not_even_be_kept_in_memory_is_had_once_there_is_room() {
    let mut world = World::new(3);
    world.listen(0);
    let circle = world.circle("garden club");
    world.run(5_000);
    // One has the relay alone, the other the author alone.
    world.set_reachable(0, 1, false);
    world.set_relay_reachable(2, false);
    for at in 1..3 {
        world.devices[at].disk.full = Some("the disk is full".into());
    }
    // Little of it can be compressed away.
    let mut dice = Dice::new(1);
    let noise: String = (0..MAX_TEXT_LEN - 8).map(|_| char::from(b'!' + dice.below(93) as u8)).collect();
    let count = MAX_UNWRITTEN_BYTES / 12_000;
    for i in 0..count {
        if i == count - 5 {
            // Storage is tried again, and has refused more than may be kept.
            world.run(5_000);
        }
        send(&mut world, 0, circle, &format!("{i:8}{noise}"));
    }
    world.run(5_000);
    let unread = |world: &World, at: usize| {
        world.devices[at].model.circle(circle).unwrap().channels[0].unread as usize
    };
    for at in 1..3 {
        assert!(unread(&world, at) < count, "memory is bounded");
        world.devices[at].disk.full = None;
    }
    world.run(60_000);
    assert_eq!([1, 2].map(|at| unread(&world, at)), [count; 2]);
}

#[test]
fn own_messages_go_out_although_the_clock_was_put_back() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(1_000);
    send(&mut world, 0, circle, "before");
    world.devices[0].skew = -3_600_000;
    send(&mut world, 0, circle, "after");
    world
        .run_until("arrival", |world| world.devices[1].model.circle(circle).unwrap().channels[0].unread == 2);
    for at in 0..2 {
        assert_eq!(world.texts(at, circle, "general"), ["before", "after"]);
    }
}

#[test]
fn a_circle_that_cannot_be_deleted_is_not_left_and_goes_on() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    send(&mut world, 1, circle, "before");
    world.run(1_000);
    world.devices[0].disk.full = Some("the disk is full".into());
    let refused = world.ask(0, Command::LeaveCircle { circle }).unwrap_err();
    assert!(refused.contains("was not left") && refused.contains("the disk is full"), "{refused}");
    let last = world.events(0).filter(|event| !matches!(event, Event::Circle(_))).last();
    assert!(matches!(last, Some(Event::Reply { .. })), "what became of it is said last: {last:?}");
    assert!(!world.events(0).any(|event| matches!(event, Event::CircleGone { .. })));
    send(&mut world, 1, circle, "during");
    world.run(5_000);
    world.devices[0].disk.full = None;
    world.run(5_000);
    assert_eq!(world.texts(0, circle, "general"), ["before", "during"]);
    world.restart(0);
    world.run(5_000);
    assert_eq!(world.texts(0, circle, "general"), ["before", "during"], "nothing of it was deleted");
    world.ask(0, Command::LeaveCircle { circle }).expect("there is room again");
    world.run(1_000);
    assert!(world.devices[0].model.circle(circle).is_none());
    assert_eq!(world.devices[0].disk.envelopes(circle), Vec::<Vec<u8>>::new());
}

#[test]
fn what_comes_in_while_a_circle_is_deleted_is_deleted_as_well() {
    let mut world = World::seeded(1);
    for disk in [Disk::slow, Disk::instant] {
        world.add_device(Platform::default(), disk(MemoryStore::default()));
    }
    let circle = world.circle("garden club");
    world.run(5_000);
    let asked = world.tell(0, Command::LeaveCircle { circle });
    for n in 0..20 {
        send(&mut world, 1, circle, &n.to_string());
    }
    world.run(5_000);
    assert!(world.events(0).any(|event| matches!(event, Event::Reply { id, result: Ok(_) } if *id == asked)));
    assert_eq!(world.devices[0].disk.envelopes(circle), Vec::<Vec<u8>>::new());
    world.restart(0);
    world.run(1_000);
    assert!(world.devices[0].model.circle(circle).is_none());
}
