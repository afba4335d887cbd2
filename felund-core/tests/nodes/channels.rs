//! The three access modes: whoever lacks the key has nothing to read, whatever client they run.

use felund_core::{
    ids::{ChannelId, CircleId},
    io::Command,
    model::Model,
    sim::World,
    view::{Access, ChannelView, Delivery, Membership, Reply},
};

use crate::send;

fn channel<'a>(world: &'a World, at: usize, circle: CircleId, name: &str) -> Option<&'a ChannelView> {
    world.devices[at].model.circle(circle)?.channels.iter().find(|channel| channel.name == name)
}

fn create(
    world: &mut World,
    circle: CircleId,
    name: &str,
    access: Access,
    passphrase: Option<&str>,
) -> ChannelId {
    let passphrase = passphrase.map(str::to_owned);
    match world.ask(0, Command::CreateChannel { circle, name: name.into(), access, passphrase }) {
        Ok(Reply::Channel { channel_id }) => channel_id,
        other => panic!("{other:?}"),
    }
}

fn say(
    world: &mut World,
    at: usize,
    circle: CircleId,
    channel: ChannelId,
    text: &str,
) -> Result<Reply, String> {
    world.ask(at, Command::Send { circle, channel, text: text.into() })
}

#[test]
fn public_channels_are_everyones_until_left() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    let seeds = create(&mut world, circle, "seeds", Access::Public, None);
    say(&mut world, 0, circle, seeds, "swap?").unwrap();
    world.run(1_000);
    assert_eq!(world.texts(1, circle, "seeds"), ["swap?"]);
    world.ask(1, Command::LeaveChannel { circle, channel: seeds }).unwrap();
    assert_eq!(channel(&world, 1, circle, "seeds").unwrap().membership, Membership::Outside);
    assert!(say(&mut world, 1, circle, seeds, "x").unwrap_err().contains("/channel join seeds"));
    let taken =
        Command::CreateChannel { circle, name: "SEEDS".into(), access: Access::Public, passphrase: None };
    assert!(world.ask(1, taken).is_err());
}

#[test]
fn who_takes_anothers_name_cannot_be_taken_for_them() {
    let mut world = World::new(3);
    let circle = world.circle("garden club");
    world.ask(2, Command::SetName { name: "Member 1".into() }).unwrap();
    send(&mut world, 2, circle, "it is me");
    world.run(1_000);
    let view = world.devices[0].model.circle(circle).unwrap();
    let named = |at: usize| {
        let of = |model: &Model| model.identity.as_ref().map(|identity| identity.node_id);
        let id = of(&world.devices[at].model).unwrap();
        view.members.iter().find(|member| member.id == id).unwrap()
    };
    let (one, two) = (named(1), named(2));
    assert_eq!((&*one.name, &*two.name), ("member 1", "Member 1"));
    assert_eq!(one.label, format!("member 1#{}", one.id.short()));
    assert_eq!(two.label, format!("Member 1#{}", two.id.short()));
    let refused = view.member_named("member 1").unwrap_err();
    assert!(refused.contains(&one.label) && refused.contains(&two.label), "{refused}");
    assert_eq!(view.member_named(&one.label), Ok(one));
    assert_eq!(view.member_named(&two.id.short()), Ok(two));
    assert!(view.member_named("member").unwrap_err().contains("no member called “member”"));
    let label = two.label.clone();
    let mut twins = view.clone();
    twins.members.iter_mut().for_each(|member| member.label.clone_from(&label));
    assert!(twins.member_named(&label).is_err(), "of two labels that are the same neither is meant");
    assert_eq!(world.history(0, circle, "general")[0].label, label);
}

#[test]
fn key_channels_open_with_the_passphrase_only() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    let secret = create(&mut world, circle, "secret", Access::Key, Some("tulip"));
    say(&mut world, 0, circle, secret, "psst").unwrap();
    world.run(1_000);
    assert!(world.texts(1, circle, "secret").is_empty());
    let join = |passphrase: Option<&str>| Command::JoinChannel {
        circle,
        channel: secret,
        passphrase: passphrase.map(str::to_owned),
    };
    assert!(world.ask(1, join(None)).is_err());
    assert!(world.ask(1, join(Some("rose"))).unwrap_err().contains("not the passphrase"));
    world.ask(1, join(Some("tulip"))).unwrap();
    assert_eq!(world.texts(1, circle, "secret"), ["psst"]);
    say(&mut world, 1, circle, secret, "hi").unwrap();
    world.run(1_000);
    assert_eq!(world.texts(0, circle, "secret"), ["psst", "hi"]);
    world.restart(1);
    world.run_until("ready", |world| world.devices[1].model.ready);
    assert_eq!(world.texts(1, circle, "secret"), ["psst", "hi"]);
}

#[test]
fn invite_channels_open_for_approved_members_only() {
    let mut world = World::new(3);
    let circle = world.circle("garden club");
    let board = create(&mut world, circle, "board", Access::Invite, None);
    say(&mut world, 0, circle, board, "minutes").unwrap();
    world.run(1_000);
    for at in 1..3 {
        assert!(world.texts(at, circle, "board").is_empty());
        world.ask(at, Command::JoinChannel { circle, channel: board, passphrase: None }).unwrap();
    }
    world.run(1_000);
    assert_eq!(channel(&world, 1, circle, "board").unwrap().membership, Membership::Requested);
    let requests = channel(&world, 0, circle, "board").unwrap().requests.clone();
    assert_eq!(requests.len(), 2);
    let first = world.devices[1].model.identity.as_ref().unwrap().node_id;
    world.ask(0, Command::ApproveMember { circle, channel: board, member: first }).unwrap();
    world.run(1_000);
    assert_eq!(channel(&world, 1, circle, "board").unwrap().membership, Membership::Joined);
    assert_eq!(world.texts(1, circle, "board"), ["minutes"]);
    assert!(world.texts(2, circle, "board").is_empty());
    assert!(say(&mut world, 2, circle, board, "me too").is_err());
    // Only the creator approves, even for itself.
    let third = world.devices[2].model.identity.as_ref().unwrap().node_id;
    assert!(world.ask(2, Command::ApproveMember { circle, channel: board, member: third }).is_err());
    world.restart(1);
    world.run_until("ready", |world| world.devices[1].model.ready);
    assert_eq!(world.texts(1, circle, "board"), ["minutes"]);
}

#[test]
fn only_the_creator_renames_and_history_follows() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    let seeds = create(&mut world, circle, "seeds", Access::Public, None);
    say(&mut world, 0, circle, seeds, "swap?").unwrap();
    world.run(1_000);
    let rename = Command::RenameChannel { circle, channel: seeds, name: "bulbs".into() };
    assert!(world.ask(1, rename.clone()).is_err());
    world.ask(0, rename).unwrap();
    world.run(1_000);
    assert_eq!(world.texts(1, circle, "bulbs"), ["swap?"]);
}

#[test]
fn channels_that_could_be_taken_for_one_another_are_told_apart() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.set_relay_up(false);
    let seeds = create(&mut world, circle, "seeds", Access::Invite, None);
    let made = world.ask(
        1,
        Command::CreateChannel {
            circle,
            name: "SEE\u{200b}DS".into(),
            access: Access::Public,
            passphrase: None,
        },
    );
    let Ok(Reply::Channel { channel_id: other }) = made else { panic!("{made:?}") };
    world.set_relay_up(true);
    world.run(60_000);
    for at in 0..2 {
        let view = world.devices[at].model.circle(circle).unwrap();
        let name = |id: ChannelId| view.channel(id).unwrap().name.clone();
        assert_eq!(name(seeds), format!("seeds#{}", seeds.short()));
        assert_eq!(name(other), format!("SEE\u{200b}DS#{}", other.short()));
    }
    for taken in ["Gen\u{200b}eral", " s e e d s "] {
        let again =
            Command::CreateChannel { circle, name: taken.into(), access: Access::Public, passphrase: None };
        assert!(world.ask(0, again).unwrap_err().contains("Choose another name"), "{taken}");
    }
    world.ask(1, Command::RenameChannel { circle, channel: other, name: "bulbs".into() }).unwrap();
    world.run(60_000);
    assert!(channel(&world, 0, circle, "seeds").is_some() && channel(&world, 0, circle, "bulbs").is_some());
}

#[test]
fn who_is_let_in_counts_among_those_whom_messages_reach() {
    let mut world = World::new(3);
    let circle = world.circle("garden club");
    let board = create(&mut world, circle, "board", Access::Invite, None);
    world.run(1_000);
    let bob = world.devices[1].model.identity.as_ref().unwrap().node_id;
    world.ask(1, Command::JoinChannel { circle, channel: board, passphrase: None }).unwrap();
    world.run(1_000);
    world.ask(0, Command::ApproveMember { circle, channel: board, member: bob }).unwrap();
    world.run(1_000);
    say(&mut world, 0, circle, board, "between us").unwrap();
    world.run(10_000);
    assert_eq!(world.texts(1, circle, "board"), ["between us"]);
    let mine = world.history(0, circle, "board").remove(0);
    assert_eq!(mine.delivery, Delivery::Delivered { to: 1, of: 1 });
}
