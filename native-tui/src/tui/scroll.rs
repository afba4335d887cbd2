//! Where in a channel's messages the screen stands, and walking there.
//!
//! The place is a message, not a count of lines: what comes in below or is loaded above moves nothing, and only
//! what is near the place is ever measured.

use felund_core::view::{Key, MessageView};

/// Where the bottom row of the list is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Scroll {
    /// At the newest message, going along with new ones.
    #[default]
    Follow,
    /// `skip` rows above the end of this message's block.
    At { key: Key, skip: usize },
}

/// The messages of a channel and how many rows each takes.
pub(crate) struct Measure<'a, F: Fn(usize) -> usize> {
    pub(crate) messages: &'a [MessageView],
    /// Rows of the block with this index, at least one.
    pub(crate) rows: F,
}

impl<F: Fn(usize) -> usize> Measure<'_, F> {
    /// Index of the bottom block and rows of it that are below the screen; `None` without messages.
    pub(crate) fn bottom(&self, scroll: Scroll) -> Option<(usize, usize)> {
        let last = self.messages.len().checked_sub(1)?;
        Some(match scroll {
            Scroll::Follow => (last, 0),
            Scroll::At { key, skip } => {
                // A pruned message leaves its successor.
                let at = self.messages.partition_point(|m| m.key() < key).min(last);
                (at, skip.min((self.rows)(at).saturating_sub(1)))
            }
        })
    }

    /// `lines` further up, but not so far that rows stay empty.
    pub(crate) fn up(&self, scroll: Scroll, lines: usize, height: usize) -> Scroll {
        let Some((mut at, mut skip)) = self.bottom(scroll) else { return Scroll::Follow };
        skip += lines;
        while skip >= (self.rows)(at) {
            if at == 0 {
                break;
            }
            skip -= (self.rows)(at);
            at -= 1;
        }
        let skip = skip.min((self.rows)(at).saturating_sub(1));
        self.clamp(at, skip, height)
    }

    /// `lines` further down.
    pub(crate) fn down(&self, scroll: Scroll, lines: usize) -> Scroll {
        let Some((mut at, mut skip)) = self.bottom(scroll) else { return Scroll::Follow };
        let mut lines = lines;
        while lines > skip {
            lines -= skip + 1;
            at += 1;
            if at >= self.messages.len() {
                return Scroll::Follow;
            }
            skip = (self.rows)(at) - 1;
        }
        self.place(at, skip - lines)
    }

    fn clamp(&self, at: usize, skip: usize, height: usize) -> Scroll {
        let mut above = (self.rows)(at) - skip;
        for earlier in (0..at).rev() {
            if above >= height {
                break;
            }
            above += (self.rows)(earlier);
        }
        if above >= height {
            return self.place(at, skip);
        }
        self.down(self.place(at, skip), height - above)
    }

    fn place(&self, at: usize, skip: usize) -> Scroll {
        if skip == 0 && at + 1 == self.messages.len() {
            return Scroll::Follow;
        }
        Scroll::At { key: self.messages[at].key(), skip }
    }
}

#[cfg(test)]
mod tests {
    use felund_core::{
        ids::{ChannelId, CircleId, MsgId, NodeId},
        view::Delivery,
    };

    use super::*;

    fn messages(count: u64) -> Vec<MessageView> {
        (0..count)
            .map(|ts| MessageView {
                circle_id: CircleId([0; 16]),
                channel_id: ChannelId([0; 16]),
                channel: String::new(),
                msg_id: MsgId([0; 16]),
                author: NodeId([0; 32]),
                name: String::new(),
                label: String::new(),
                created_ts: ts,
                text: String::new(),
                mine: false,
                delivery: Delivery::Received,
            })
            .collect()
    }

    #[test]
    fn up_and_down_again_is_where_it_was() {
        let messages = messages(30);
        let measure = Measure { messages: &messages, rows: |at| at % 3 + 1 };
        for lines in 0..50 {
            let up = measure.up(Scroll::Follow, lines, 5);
            assert_eq!(measure.down(up, lines), Scroll::Follow, "{lines}");
        }
        assert_eq!(measure.down(Scroll::Follow, 3), Scroll::Follow);
    }

    #[test]
    fn the_top_is_where_the_first_row_is_on_the_screen() {
        let messages = messages(30);
        let measure = Measure { messages: &messages, rows: |_| 2 };
        let top = measure.up(Scroll::Follow, 10_000, 7);
        assert_eq!(measure.bottom(top), Some((3, 1)));
        assert_eq!(measure.up(top, 1, 7), top);
    }

    #[test]
    fn few_messages_do_not_scroll() {
        let messages = messages(3);
        let measure = Measure { messages: &messages, rows: |_| 1 };
        assert_eq!(measure.up(Scroll::Follow, 2, 10), Scroll::Follow);
        let none = Measure { messages: &messages[..0], rows: |_: usize| 1 };
        assert_eq!(none.up(Scroll::Follow, 2, 10), Scroll::Follow);
    }
}
