//! Members that hold the same envelopes show the same circle: merging, folding and retention together, over
//! envelopes that were really sealed, in any order, with repetitions and in any partition.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::LazyLock;

use felund_core::{
    circle::{Access, Body, Hello, NewChannel, State, channel_id},
    envelope::{Draft, Verified, open, receive, seal_with},
    ids::{ChannelId, MsgId},
    keys::{CircleSecret, NodeKey},
    log::{Log, Merge},
    redact::Secret,
    relay_api::Capabilities,
    view::{Key, Retention},
};
use proptest::prelude::*;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const WALL: u64 = 1_780_000_000_000;

struct Cast {
    secret: CircleSecret,
    nodes: Vec<NodeKey>,
    channels: Vec<ChannelId>,
}

static CAST: LazyLock<Cast> = LazyLock::new(|| {
    let node = |seed: u8| NodeKey::from_seed(Secret::new([seed; 32]));
    let nodes: Vec<NodeKey> = (1..4).map(node).collect();
    let channels = nodes.iter().map(|node| channel_id(&node.id(), &[7; 16])).collect();
    Cast { secret: CircleSecret::from_secret(Secret::new([9; 32])), nodes, channels }
});

fn body(what: u8, which: usize, whom: usize, name: &str) -> Body {
    let (channel, member) = (CAST.channels[which], CAST.nodes[whom].id());
    let access = [Access::Public, Access::Key, Access::Invite][whom];
    match what {
        0 => Body::CircleName(name.into()),
        1 => Body::Hello(Hello {
            name: name.into(),
            wrap_key: [whom as u8; 32],
            capabilities: Capabilities::default(),
        }),
        2 => {
            let check = (access == Access::Key).then_some([1; 16]);
            Body::Create(NewChannel { nonce: [7; 16], name: name.into(), access, check })
        }
        3 => Body::Join(channel),
        4 => Body::Leave(channel),
        5 => Body::Request(channel),
        6 => Body::Approve(channel, member, vec![what; 80]),
        7 => Body::Rename(channel, name.into()),
        _ => Body::Text(name.into()),
    }
}

/// What one author did at one time; `at` makes ids unique and clocks tie now and then.
fn envelope(
    at: usize,
    (author, what, which, whom, name, age): (usize, u8, usize, usize, String, u64),
) -> Verified {
    let body = body(what, which, whom, &name);
    let secret = &CAST.secret;
    let channel_id = match (&body, which) {
        (Body::Text(_), 0) => secret.general(),
        (Body::Text(_), _) => CAST.channels[which],
        _ => secret.control(),
    };
    let draft = Draft {
        circle_id: secret.circle_id(),
        channel_id,
        created_ts: WALL - age * DAY_MS / 4,
        kind: body.kind(),
        key_id: "epoch-0",
        body: &body.to_cbor(),
    };
    let (id, iv) = ([at as u8; 16], [at as u8; 12]);
    let sealed = seal_with(draft, &secret.epoch_0(), &CAST.nodes[author], MsgId(id), iv).unwrap();
    receive(&sealed.envelope().to_cbor()).unwrap()
}

fn envelopes() -> impl Strategy<Value = Vec<Verified>> {
    let event = (0..3_usize, 0..11_u8, 0..3_usize, 0..3_usize, "[abc]", 0..20_u64);
    prop::collection::vec(event, 1..24)
        .prop_map(|events| events.into_iter().enumerate().map(|(at, event)| envelope(at, event)).collect())
}

struct Replica {
    log: Log,
    state: State,
}

impl Replica {
    fn new(retention: Retention) -> Self {
        let log = Log::new(CAST.nodes[0].id(), CAST.secret.control(), retention);
        Self { log, state: State::default() }
    }

    fn take(&mut self, verified: &Verified) {
        if self.log.merge(verified, true, WALL, WALL) != Merge::New {
            return;
        }
        let header = verified.header();
        if header.channel_id == CAST.secret.control() {
            let cbor = open(verified, &CAST.secret.epoch_0()).unwrap();
            let key = Key { ts: header.created_ts, id: header.msg_id };
            self.state.apply(key, header.author_node_id, Body::from_cbor(&header.kind, &cbor).unwrap());
        }
        self.log.prune(WALL);
    }

    /// Everything that can be seen of it, asked after each of `envelopes`.
    fn seen(&self, envelopes: &[Verified]) -> impl PartialEq + std::fmt::Debug + use<> {
        let place = |v: &Verified| Key { ts: v.header().created_ts, id: v.header().msg_id };
        let kept: Vec<_> = envelopes.iter().map(|v| self.log.channel_of(&place(v))).collect();
        let unread: Vec<_> =
            CAST.channels.iter().map(|channel| self.log.unread(channel, None, &[])).collect();
        (kept, unread, self.log.len(), self.log.latest_ts(), self.state.clone())
    }
}

fn replica(retention: Retention, envelopes: &[Verified]) -> Replica {
    let mut replica = Replica::new(retention);
    envelopes.iter().for_each(|verified| replica.take(verified));
    replica
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_order_repetition_and_partition_show_the_same_circle(
        (envelopes, shuffled) in envelopes().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        cut in any::<prop::sample::Index>(),
        messages in 1..12_u32,
        days in 1..5_u32,
    ) {
        let retention = Retention { messages, days };
        let expected = replica(retention, &envelopes).seen(&envelopes);
        prop_assert_eq!(&replica(retention, &shuffled).seen(&envelopes), &expected);
        // Two halves that overlap, the later one first, and everything once more.
        let at = cut.index(envelopes.len());
        let parts = [&shuffled[at..], &shuffled[..at], &envelopes[..at], &envelopes[..]].concat();
        prop_assert_eq!(&replica(retention, &parts).seen(&envelopes), &expected);
    }

    #[test]
    fn nobody_but_its_rightful_writer_moves_a_slot(envelopes in envelopes(), owner in 0..3_usize) {
        let retention = Retention { messages: 1_000, days: 30 };
        let (me, channel) = (CAST.nodes[owner].id(), CAST.channels[owner]);
        let mine = |verified: &&Verified| verified.header().author_node_id == me;
        let only_mine: Vec<Verified> = envelopes.iter().filter(mine).cloned().collect();
        let (all, own) = (replica(retention, &envelopes).state, replica(retention, &only_mine).state);
        prop_assert_eq!(all.member(&me), own.member(&me));
        let facts = |state: &State| {
            let channel = state.channel(&channel)?;
            let approvals = CAST.nodes.iter().map(|node| channel.approval(&node.id()).map(<[u8]>::to_vec));
            let name = channel.name().map(str::to_owned);
            Some((channel.owner(), name, channel.access(), channel.standing(&me), approvals.collect::<Vec<_>>()))
        };
        prop_assert_eq!(facts(&all), facts(&own));
    }
}

#[test]
fn clocks_that_tie_are_ordered_by_id_on_every_member() {
    let rename = |at: usize, name: &str| envelope(at, (0, 0, 0, 0, name.into(), 1));
    let (low, high) = (rename(1, "a"), rename(2, "b"));
    assert_eq!(low.header().created_ts, high.header().created_ts);
    let retention = Retention { messages: 10, days: 10 };
    for order in [[low.clone(), high.clone()], [high, low]] {
        assert_eq!(replica(retention, &order).state.name(), Some("b"));
    }
}
