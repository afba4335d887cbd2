//! What is said of a channel that one is not in.

use super::{Access, ChannelView, Membership};

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
