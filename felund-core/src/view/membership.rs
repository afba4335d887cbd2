//! What is said of a channel that one is not in.

use super::{Access, ChannelView, Membership};

/// How the notice begins that one waits to be let in, before the channel's name.
pub(crate) const ASKED: &str = "Asked to be let into #";
/// How the one begins that one was.
pub(crate) const LET_IN: &str = "You were let into #";

/// Whether a notice takes the place of an earlier one: who was let in need not read any more that they wait for it.
#[must_use]
pub fn outdates(notice: &str, earlier: &str) -> bool {
    let (channel, asked) = (notice.strip_prefix(LET_IN), earlier.strip_prefix(ASKED));
    channel.zip(asked).is_some_and(|(channel, asked)| asked.starts_with(channel))
}

impl ChannelView {
    /// The line of the chat that joins it.
    #[must_use]
    pub fn joining(&self) -> String {
        let quote = if self.name.contains(char::is_whitespace) { "\"" } else { "" };
        let passphrase = if self.access == Access::Key { " PASSPHRASE" } else { "" };
        ["/channel join ", quote, &self.name, quote, passphrase].concat()
    }

    /// That one is not in it, and what comes of that; none for who is.
    #[must_use]
    pub fn not_in(&self, so: &str) -> Option<String> {
        match self.membership {
            Membership::Joined => None,
            Membership::Outside => Some(
                ["You are not in #", &self.name, ", so ", so, ". Join it with ", &self.joining()].concat(),
            ),
            Membership::Requested => Some(
                [
                    "You have asked to be let into #",
                    &self.name,
                    ", and its creator has not answered yet, so ",
                    so,
                    ".",
                ]
                .concat(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ChannelId;

    #[test]
    fn being_let_in_outdates_having_asked_for_that_channel_alone() {
        let asked = [ASKED, "board", ". Its creator has to approve."].concat();
        let outdated = |name: &str| outdates(&[LET_IN, name, "."].concat(), &asked);
        assert_eq!(["board", "boar", "boards"].map(outdated), [true, false, false]);
        assert!(!outdates(&asked, &asked));
    }

    #[test]
    fn who_is_not_in_a_channel_is_told_why_and_how_to_come_in() {
        let of = |name: &str, membership| {
            let channel = ChannelView {
                id: ChannelId([2; 16]),
                name: name.into(),
                access: Access::Key,
                membership,
                owned: false,
                unread: 0,
                read_up_to: None,
                requests: vec![],
                members: vec![],
                draft: String::new(),
            };
            channel.not_in("nothing was sent")
        };
        assert_eq!(of("locked", Membership::Joined), None);
        assert_eq!(
            of("seed vault", Membership::Outside).as_deref(),
            Some(
                "You are not in #seed vault, so nothing was sent. Join it with /channel join \"seed vault\" \
                 PASSPHRASE"
            )
        );
        assert!(of("locked", Membership::Requested).is_some_and(|why| why.contains("has not answered")));
    }
}
