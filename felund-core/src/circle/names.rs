//! Which names could be taken for one another.

use super::State;
use crate::{ids::NodeId, sorted::SortedMap};

/// Stands between a name and the id that tells its bearer from others. A name that has it already is not taken at its
/// word.
pub(crate) const MARK: &str = "#";

/// What people are called on their own screens.
const YOURSELF: &str = "you";

/// How many members bear each name, those that look alike being one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names(SortedMap<String, u32>);

impl Names {
    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        names.for_each(|name| all.add(name));
        all
    }

    pub(super) fn add(&mut self, name: &str) {
        *self.0.entry(look(name)).or_insert(0) += 1;
    }

    pub(super) fn remove(&mut self, name: &str) {
        let look = look(name);
        if let Some(bearers) = self.0.get_mut(&look) {
            *bearers -= 1;
            if *bearers == 0 {
                self.0.remove(&look);
            }
        }
    }

    fn is_shared(&self, name: &str) -> bool {
        self.0.get(&look(name)).is_some_and(|bearers| *bearers > 1)
    }

    /// A name, with the id behind it that tells its bearer from others if it needs one.
    pub(crate) fn label(&self, name: &str, short: &str) -> String {
        let seen = look(name);
        let like_an_id = seen.len() == short.len() && seen.bytes().all(|byte| byte.is_ascii_hexdigit());
        if like_an_id && name != short || name.contains(MARK) || self.is_shared(name) {
            marked(name, short)
        } else {
            name.to_owned()
        }
    }
}

fn marked(name: &str, short: &str) -> String {
    format!("{name}{MARK}{short}")
}

impl State {
    /// What a member is called, alike on every device: its display name, with the first eight digits of its id behind it
    /// where the name could be taken for another's or for whoever reads it; these digits alone before it has told a name.
    #[must_use]
    pub fn label(&self, id: &NodeId) -> String {
        let short = id.short();
        match self.member(id) {
            None => short,
            Some(hello) if look(&hello.name) == YOURSELF => marked(&hello.name, &short),
            Some(hello) => self.names.label(&hello.name, &short),
        }
    }

    /// What each channel is called, in their order: as members are, where its name could be taken for another's or for
    /// `general`.
    pub fn channel_labels(&self, general: &str) -> impl Iterator<Item = String> {
        let names = Names::of(self.channels().filter_map(|(_, channel)| channel.name()).chain([general]));
        self.channels().map(move |(id, channel)| names.label(channel.name().unwrap_or_default(), &id.short()))
    }
}

/// What two names have in common that are the same to the eye: their letters, without regard to case, spaces, or what
/// has no width.
pub(crate) fn look(name: &str) -> String {
    name.chars().filter(|c| !is_unseen(*c)).flat_map(char::to_lowercase).collect()
}

/// Whether a character shows nothing.
pub(super) const fn is_unseen(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{2064}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        circle::{Body, Hello},
        ids::MsgId,
        relay_api::Capabilities,
        view::Key,
    };

    const ALICE: NodeId = NodeId([0xa1; 32]);
    const MALLORY: NodeId = NodeId([0x3f; 32]);

    fn named(names: &[(NodeId, &str)]) -> State {
        let mut state = State::default();
        for (at, (id, name)) in names.iter().enumerate() {
            let key = Key { ts: at as u64 + 1, id: MsgId([1; 16]) };
            let hello =
                Hello { name: (*name).into(), wrap_key: [0; 32], capabilities: Capabilities::default() };
            state.apply(key, *id, Body::Hello(hello));
        }
        state
    }

    #[test]
    fn who_takes_anothers_name_is_told_apart_and_so_is_the_other() {
        for taken in ["alice", "Alice", "ali\u{200b}ce", "a lice"] {
            let state = named(&[(ALICE, "alice"), (MALLORY, taken)]);
            assert_eq!(state.label(&ALICE), "alice#a1a1a1a1");
            assert_eq!(state.label(&MALLORY), format!("{taken}#3f3f3f3f"));
        }
    }

    #[test]
    fn a_name_of_ones_own_stands_alone_again_once_it_is() {
        let state = named(&[(ALICE, "alice"), (MALLORY, "alice"), (MALLORY, "mallory")]);
        assert_eq!((state.label(&ALICE), state.label(&MALLORY)), ("alice".into(), "mallory".into()));
        assert_eq!(named(&[]).label(&ALICE), "a1a1a1a1");
    }

    #[test]
    fn a_name_made_to_look_like_a_label_or_an_id_is_marked() {
        let state = named(&[(ALICE, "alice"), (MALLORY, "alice#a1a1a1a1")]);
        assert_eq!(state.label(&MALLORY), "alice#a1a1a1a1#3f3f3f3f");
        for name in ["a1a1a1a1", "A1A1A1A1", "a1a1\u{200b}a1a1", "a1a1a1a1\u{ad}", "a1a1 a1a1"] {
            assert_eq!(named(&[(MALLORY, name)]).label(&MALLORY), format!("{name}#3f3f3f3f"));
        }
        assert_eq!(named(&[(ALICE, "a1a1a1a1")]).label(&ALICE), "a1a1a1a1", "its own may be");
    }

    #[test]
    fn nobody_is_called_what_people_are_called_on_their_own_screens() {
        for name in ["you", "You", "y ou\u{200b}"] {
            assert_eq!(named(&[(MALLORY, name)]).label(&MALLORY), format!("{name}#3f3f3f3f"));
        }
        assert_eq!(named(&[(MALLORY, "younes")]).label(&MALLORY), "younes");
    }

    #[test]
    fn what_is_forgotten_bears_no_name() {
        let mut state = named(&[(ALICE, "alice"), (MALLORY, "alice")]);
        state.forget(&[Key { ts: 2, id: MsgId([1; 16]) }].into_iter().collect());
        assert_eq!(state.label(&ALICE), "alice");
        assert_eq!(state, named(&[(ALICE, "alice")]));
    }
}
