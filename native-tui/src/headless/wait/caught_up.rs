//! Waiting until what there was at the relay and at members has arrived.

use std::time::{Duration, Instant};

use felund_core::{
    ids::{ChannelId, CircleId},
    view::{Access, ChannelView, CircleView, LinkView, Membership, Reach},
};

use super::{super::CATCH_UP_PATIENCE, Client};

/// How long members of a circle without a relay have to be reached directly.
pub(super) const DIRECT_PATIENCE: Duration = Duration::from_secs(3);
/// Nothing new for this long after the relay was reached: what there was has arrived.
const QUIET: Duration = Duration::from_millis(250);

impl Client {
    /// Waits until the circle's relay has told everything new, cannot be reached, or patience ends.
    pub(crate) fn until_caught_up(&mut self, circle: CircleId, patience: Duration) {
        if self.session.is_mirror() && self.model.circle(circle).is_some_and(|c| is_up(&c.link)) {
            return;
        }
        let mut end = Instant::now() + patience;
        if self.model.circle(circle).is_some_and(|c| c.link == LinkView::None) {
            end = end.min(Instant::now() + DIRECT_PATIENCE);
        }
        let mut quiet_until: Option<Instant> = None;
        loop {
            let Some(view) = self.model.circle(circle) else { return };
            match &view.link {
                _ if has_direct(view) => {
                    quiet_until.get_or_insert_with(|| Instant::now() + QUIET);
                }
                LinkView::Down { .. } => return,
                LinkView::None | LinkView::Connecting => quiet_until = None,
                LinkView::Live | LinkView::Polling if view.name.is_empty() => quiet_until = None,
                LinkView::Live | LinkView::Polling => {
                    quiet_until.get_or_insert_with(|| Instant::now() + QUIET);
                }
            }
            match self.step(quiet_until.unwrap_or(end).min(end)) {
                Ok(true) => quiet_until = None,
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// The same for every circle; they connect at the same time.
    pub(crate) fn until_all_caught_up(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        let circles: Vec<_> = self.model.circles().iter().map(|circle| circle.id).collect();
        for circle in circles {
            self.until_caught_up(circle, end.saturating_duration_since(Instant::now()));
        }
    }

    /// Catches up with the circle of a channel that one may have been let into meanwhile.
    pub(crate) fn until_let_in(&mut self, circle: CircleId, channel: ChannelId) {
        let waits = |it: &ChannelView| it.access == Access::Invite && it.membership != Membership::Joined;
        let known = self.model.circle(circle).and_then(|it| it.channel(channel));
        if known.is_some_and(waits) {
            self.until_caught_up(circle, CATCH_UP_PATIENCE);
        }
    }
}

/// What keeps a circle from its relay, in the words that follow "the relay". One that has not answered yet is missed only where
/// no member serves as well.
pub(crate) fn trouble(circle: &CircleView) -> Option<String> {
    match &circle.link {
        LinkView::Down { reason, .. } => Some(format!("is unavailable ({reason})")),
        LinkView::Connecting if !has_direct(circle) => Some("has not answered so far".to_owned()),
        LinkView::Connecting | LinkView::None | LinkView::Live | LinkView::Polling => None,
    }
}

/// Nobody is reached, and there is no relay that would be.
pub(crate) fn is_alone(circle: &CircleView) -> bool {
    circle.link == LinkView::None && !has_direct(circle)
}

fn has_direct(circle: &CircleView) -> bool {
    circle.members.iter().any(|member| member.reach == Reach::Direct)
}

fn is_up(link: &LinkView) -> bool {
    matches!(link, LinkView::Live | LinkView::Polling)
}
