//! The fold itself: last writer wins per slot, and only the rightful writer has a slot that counts.
//!
//! The fold refuses nothing, or members that heard the same in another order would differ; how much there is to fold
//! is bounded by the log.

use super::{Access, Body, Hello, channel_id, names::Names};
use crate::{
    ids::{ChannelId, NodeId},
    sorted::{SortedMap, SortedSet},
    view::Key,
};

/// A value and when it was written: the later write wins, whatever order they come in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot<T> {
    key: Key,
    value: T,
}

fn write<T>(slot: &mut Option<Slot<T>>, key: Key, value: T) -> bool {
    let newer = slot.as_ref().is_none_or(|slot| slot.key < key);
    if newer {
        *slot = Some(Slot { key, value });
    }
    newer
}

/// How a member stands to a channel, by its own latest word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Joined.
    Joined,
    /// Left.
    Left,
    /// Asked to be let in.
    Requested,
}

/// A member, by its own latest `member.hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    hello: Option<Slot<Hello>>,
}

/// What a `channel.create` event fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    owner: NodeId,
    name: String,
    access: Access,
    check: Option<[u8; 16]>,
}

/// A channel: made by one member, who alone renames it and approves others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Channel {
    made: Option<Slot<Made>>,
    // Kept by author and judged when asked: a rename may come before the event that says who may rename.
    renames: SortedMap<NodeId, Option<Slot<String>>>,
    approvals: SortedMap<(NodeId, NodeId), Option<Slot<Vec<u8>>>>,
    standings: SortedMap<NodeId, Option<Slot<Standing>>>,
}

impl Channel {
    /// Who made it; `None` while that event has not come.
    #[must_use]
    pub fn owner(&self) -> Option<NodeId> {
        self.made.as_ref().map(|made| made.value.owner)
    }

    /// Its name: the owner's last rename, or the one it was made with.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let made = self.made.as_ref()?;
        let renamed = self.renames.get(&made.value.owner).and_then(Option::as_ref);
        Some(renamed.map_or(&made.value.name, |slot| &slot.value))
    }

    /// Who may read it.
    #[must_use]
    pub fn access(&self) -> Option<Access> {
        self.made.as_ref().map(|made| made.value.access)
    }

    /// What the right key's check value is, for `key` channels.
    #[must_use]
    pub fn check(&self) -> Option<[u8; 16]> {
        self.made.as_ref()?.value.check
    }

    /// The key its owner wrapped for `member`; what anyone else wrapped does not count.
    #[must_use]
    pub fn approval(&self, member: &NodeId) -> Option<&[u8]> {
        let slot = self.approvals.get(&(self.owner()?, *member))?.as_ref()?;
        Some(&slot.value)
    }

    /// Members for whom its owner has wrapped the key.
    pub fn approved(&self) -> impl Iterator<Item = NodeId> {
        let owner = self.owner();
        let by_owner =
            self.approvals.iter().filter(move |((by, _), slot)| Some(*by) == owner && slot.is_some());
        by_owner.map(|((_, member), _)| *member)
    }

    /// A member's own latest word.
    #[must_use]
    pub fn standing(&self, member: &NodeId) -> Option<Standing> {
        self.standings.get(member)?.as_ref().map(|slot| slot.value)
    }

    /// Members whose latest word is `standing`.
    pub fn members(&self, standing: Standing) -> impl Iterator<Item = NodeId> {
        let says = move |slot: &Option<Slot<Standing>>| slot.as_ref().is_some_and(|s| s.value == standing);
        self.standings.iter().filter(move |(_, slot)| says(slot)).map(|(id, _)| *id)
    }
}

/// A circle's state: equal on every member that holds the same control events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    name: Option<Slot<String>>,
    members: SortedMap<NodeId, Member>,
    pub(super) names: Names,
    channels: SortedMap<ChannelId, Channel>,
}

impl State {
    /// Takes in one control event of a verified author; says whether anything changed.
    pub fn apply(&mut self, key: Key, author: NodeId, body: Body) -> bool {
        match body {
            Body::CircleName(name) => write(&mut self.name, key, name),
            Body::Hello(hello) => {
                let slot = &mut self.members.entry(author).or_insert(Member { hello: None }).hello;
                let (before, name) = (slot.as_ref().map(|slot| slot.value.name.clone()), hello.name.clone());
                let newer = write(slot, key, hello);
                if newer {
                    before.iter().for_each(|before| self.names.remove(before));
                    self.names.add(&name);
                }
                newer
            }
            Body::Create(new) => {
                let id = channel_id(&author, &new.nonce);
                let channel = self.channels.entry(id).or_default();
                // The id fixes author and nonce; of several such events the first counts, as nobody renames by them.
                let first = channel.made.as_ref().is_none_or(|made| key < made.key);
                if first {
                    channel.made = Some(Slot {
                        key,
                        value: Made { owner: author, name: new.name, access: new.access, check: new.check },
                    });
                }
                first
            }
            Body::Join(id) => self.stand(id, author, key, Standing::Joined),
            Body::Leave(id) => self.stand(id, author, key, Standing::Left),
            Body::Request(id) => self.stand(id, author, key, Standing::Requested),
            Body::Approve(id, member, wrapped) => {
                let channel = self.channels.entry(id).or_default();
                write(channel.approvals.entry((author, member)).or_default(), key, wrapped)
            }
            Body::Rename(id, name) => {
                let channel = self.channels.entry(id).or_default();
                write(channel.renames.entry(author).or_default(), key, name)
            }
            Body::Text(_) | Body::Announce(_) | Body::Receipt(_) | Body::Unknown => false,
        }
    }

    fn stand(&mut self, id: ChannelId, author: NodeId, key: Key, standing: Standing) -> bool {
        let channel = self.channels.entry(id).or_default();
        write(channel.standings.entry(author).or_default(), key, standing)
    }

    /// The events this state rests on, and whether each is about a channel that nobody has made. All others could be
    /// dropped without a change.
    pub fn live(&self) -> impl Iterator<Item = (Key, bool)> {
        let name = self.name.iter().map(|slot| (slot.key, false));
        let members = self.members.values().filter_map(|member| Some((member.hello.as_ref()?.key, false)));
        let channels = self.channels.values().flat_map(|channel| {
            let owner = channel.owner();
            let orphan = owner.is_none();
            // Once it is known who has made the channel nobody else's count.
            let counts = move |by: &NodeId| owner.is_none_or(|owner| owner == *by);
            let made = channel.made.iter().map(|slot| slot.key);
            let renames = channel.renames.iter().filter(move |(by, _)| counts(by));
            let renames = renames.filter_map(|(_, slot)| Some(slot.as_ref()?.key));
            let approvals = channel.approvals.iter().filter(move |((by, _), _)| counts(by));
            let approvals = approvals.filter_map(|(_, slot)| Some(slot.as_ref()?.key));
            let standings = channel.standings.values().flatten().map(|slot| slot.key);
            made.chain(renames).chain(approvals).chain(standings).map(move |key| (key, orphan))
        });
        name.chain(members).chain(channels)
    }

    /// Takes out what rests on these events, which are not kept any more.
    pub fn forget(&mut self, dropped: &SortedSet<Key>) {
        fn keep<T>(slot: &mut Option<Slot<T>>, dropped: &SortedSet<Key>) -> bool {
            if slot.as_ref().is_some_and(|slot| dropped.contains(&slot.key)) {
                *slot = None;
            }
            slot.is_some()
        }
        keep(&mut self.name, dropped);
        self.members.retain(|_, member| keep(&mut member.hello, dropped));
        self.names = Names::of(self.members().map(|(_, hello)| &*hello.name));
        self.channels.retain(|_, channel| {
            let made = keep(&mut channel.made, dropped);
            channel.renames.retain(|_, slot| keep(slot, dropped));
            channel.approvals.retain(|_, slot| keep(slot, dropped));
            channel.standings.retain(|_, slot| keep(slot, dropped));
            made || !channel.renames.is_empty()
                || !channel.approvals.is_empty()
                || !channel.standings.is_empty()
        });
    }

    /// The circle's name, once an event has told it.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(|slot| slot.value.as_str())
    }

    /// The place in the order at which a member said hello last.
    #[must_use]
    pub fn joined(&self, member: &NodeId) -> Option<Key> {
        self.members.get(member)?.hello.as_ref().map(|hello| hello.key)
    }

    /// Members that have said hello.
    pub fn members(&self) -> impl Iterator<Item = (&NodeId, &Hello)> {
        self.members.iter().filter_map(|(id, member)| Some((id, &member.hello.as_ref()?.value)))
    }

    /// How many members are known, at once; some may not have said hello.
    #[must_use]
    pub fn known_members(&self) -> usize {
        self.members.len()
    }

    /// One member's hello.
    #[must_use]
    pub fn member(&self, id: &NodeId) -> Option<&Hello> {
        self.members.get(id)?.hello.as_ref().map(|slot| &slot.value)
    }

    /// Channels whose making is known, not counting general.
    pub fn channels(&self) -> impl Iterator<Item = (&ChannelId, &Channel)> {
        self.channels.iter().filter(|(_, channel)| channel.made.is_some())
    }

    /// One channel whose making is known.
    #[must_use]
    pub fn channel(&self, id: &ChannelId) -> Option<&Channel> {
        self.channels.get(id).filter(|channel| channel.made.is_some())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::NewChannel, *};
    use crate::{ids::MsgId, relay_api::Capabilities};

    const OWNER: NodeId = NodeId([1; 32]);
    const MALLORY: NodeId = NodeId([2; 32]);

    fn key(ts: u64) -> Key {
        Key { ts, id: MsgId([ts as u8; 16]) }
    }

    fn create(name: &str) -> Body {
        Body::Create(NewChannel { nonce: [7; 16], name: name.into(), access: Access::Invite, check: None })
    }

    #[test]
    fn only_the_creator_renames_and_approves() {
        let id = channel_id(&OWNER, &[7; 16]);
        let mut state = State::default();
        state.apply(key(5), MALLORY, Body::Approve(id, MALLORY, vec![0; 80]));
        state.apply(key(6), MALLORY, Body::Rename(id, "mine now".into()));
        state.apply(key(2), OWNER, create("seeds"));
        let channel = state.channel(&id).unwrap();
        assert_eq!((channel.name(), channel.approval(&MALLORY)), (Some("seeds"), None));
        state.apply(key(7), OWNER, Body::Approve(id, MALLORY, vec![1; 80]));
        assert_eq!(state.channel(&id).unwrap().approval(&MALLORY), Some(&[1; 80][..]));
    }

    #[test]
    fn a_channel_cannot_be_taken_over_by_an_older_creation() {
        let mut state = State::default();
        state.apply(key(5), OWNER, create("seeds"));
        state.apply(key(1), MALLORY, create("seeds"));
        assert_eq!(state.channel(&channel_id(&OWNER, &[7; 16])).unwrap().owner(), Some(OWNER));
    }

    #[test]
    fn a_member_names_itself_only() {
        let hello = |name: &str| {
            Body::Hello(Hello { name: name.into(), wrap_key: [0; 32], capabilities: Capabilities::default() })
        };
        let mut state = State::default();
        state.apply(key(1), OWNER, hello("alice"));
        state.apply(key(2), MALLORY, hello("alice"));
        state.apply(key(3), MALLORY, hello("mallory"));
        assert_eq!(state.member(&OWNER).unwrap().name, "alice");
        assert_eq!(state.member(&MALLORY).unwrap().name, "mallory");
    }

    #[test]
    fn a_state_does_not_rest_on_what_counts_for_nothing() {
        let id = channel_id(&OWNER, &[7; 16]);
        let mut state = State::default();
        for (ts, author) in [(2, MALLORY), (4, OWNER)] {
            state.apply(key(ts), author, Body::Rename(id, "mine".into()));
            state.apply(key(ts + 1), author, Body::Approve(id, MALLORY, vec![0; 80]));
        }
        let live = |state: &State| state.live().map(|(key, orphan)| (key.ts, orphan)).collect::<Vec<_>>();
        assert_eq!(live(&state).len(), 4, "before it is known who has made the channel any may count");
        state.apply(key(1), OWNER, create("seeds"));
        assert_eq!(live(&state), [(1, false), (4, false), (5, false)]);
    }

    fn event() -> impl Strategy<Value = (Key, NodeId, Body)> {
        let node = prop::sample::select(vec![OWNER, MALLORY, NodeId([3; 32])]);
        let id = prop::sample::select(vec![channel_id(&OWNER, &[7; 16]), channel_id(&MALLORY, &[7; 16])]);
        let name = prop::sample::select(vec!["a", "b", "c"]);
        let body = (0..8_u8, id, node.clone(), name).prop_map(|(what, id, member, name)| match what {
            0 => Body::CircleName(name.into()),
            1 => Body::Hello(Hello {
                name: name.into(),
                wrap_key: [0; 32],
                capabilities: Capabilities::default(),
            }),
            2 => create(name),
            3 => Body::Join(id),
            4 => Body::Leave(id),
            5 => Body::Request(id),
            6 => Body::Approve(id, member, vec![name.as_bytes()[0]; 80]),
            _ => Body::Rename(id, name.into()),
        });
        // Distinct keys, as msg_ids are unique: the index is the key.
        (node, body).prop_map(|(author, body)| (key(0), author, body))
    }

    proptest! {
        #[test]
        fn folding_is_commutative_and_idempotent(
            mut events in prop::collection::vec(event(), 0..40),
            order in any::<prop::sample::Index>(),
        ) {
            for (i, event) in events.iter_mut().enumerate() {
                event.0 = key(i as u64);
            }
            let fold = |events: &[(Key, NodeId, Body)]| {
                let mut state = State::default();
                for (key, author, body) in events.iter().chain(events) {
                    state.apply(*key, *author, body.clone());
                }
                state
            };
            let expected = fold(&events);
            if !events.is_empty() {
                let at = order.index(events.len());
                events.rotate_left(at);
                let half = events.len() / 2;
                events[..half].reverse();
            }
            prop_assert_eq!(fold(&events), expected);
        }
    }
}
