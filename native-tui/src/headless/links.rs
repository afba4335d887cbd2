//! What commands that run on say of their relays: that nothing can come through one, and that it can again.

use std::collections::HashSet;

use felund_core::{
    ids::CircleId,
    view::{CircleView, LinkView},
};

/// Circles whose relay was said to be unavailable.
#[derive(Debug, Default)]
pub(super) struct Links(HashSet<CircleId>);

impl Links {
    /// What is to be said of these circles now, once for every time that it changes.
    pub(super) fn news<'a>(&mut self, circles: impl Iterator<Item = &'a CircleView>) -> Vec<String> {
        circles.filter_map(|circle| self.news_of(circle)).collect()
    }

    fn news_of(&mut self, circle: &CircleView) -> Option<String> {
        let name = &circle.name;
        match &circle.link {
            LinkView::Down { reason, .. } if self.0.insert(circle.id) => Some(format!(
                "the relay of {name} is unavailable ({reason}). It is tried again and again; what others send \
                 through it comes then"
            )),
            LinkView::Live | LinkView::Polling if self.0.remove(&circle.id) => {
                Some(format!("the relay of {name} is available again"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use felund_core::view::Retention;

    use super::*;

    fn circle(link: LinkView) -> CircleView {
        CircleView {
            id: CircleId([1; 16]),
            name: "garden club".into(),
            relay: Some("http://relay.example".into()),
            link,
            channels: vec![],
            members: vec![],
            anchor: None,
            unsent: 0,
            retention: Retention { messages: 1, days: 1 },
            held: None,
            arriving: None,
        }
    }

    #[test]
    fn a_relay_that_is_lost_or_back_is_told_of_once() {
        let mut links = Links::default();
        let mut said = |link: LinkView| links.news([&circle(link)].into_iter());
        let down = |reason: &str| LinkView::Down { reason: reason.into(), retry_in_s: 1 };
        assert_eq!(said(LinkView::Connecting), Vec::<String>::new());
        assert_eq!(said(LinkView::Live), Vec::<String>::new(), "as everybody expects");
        assert!(said(down("refused"))[0].contains("garden club is unavailable (refused)"));
        for link in [down("no answer"), LinkView::Connecting, down("refused")] {
            assert_eq!(said(link), Vec::<String>::new());
        }
        assert!(said(LinkView::Polling)[0].contains("available again"));
        assert_eq!(said(LinkView::Live), Vec::<String>::new());
    }
}
