//! States as words: how a member is reached, where a relay stands, what day it is.

use felund_core::view::{Delivery, LinkView, Reach};
use jiff::{Timestamp, Zoned, tz::TimeZone};

use crate::text::clean;

/// The sign before a member: full, half or empty for reached directly, through others, or not at all.
pub(crate) const fn dot(reach: Reach) -> &'static str {
    match reach {
        Reach::You | Reach::Direct => "●",
        Reach::Anchor | Reach::Relay => "◐",
        Reach::Offline { .. } => "○",
    }
}

/// The word after a member.
pub(crate) fn reach(reach: Reach, now: u64) -> String {
    match reach {
        Reach::You => "you".to_owned(),
        Reach::Direct => "direct".to_owned(),
        Reach::Anchor => "anchor".to_owned(),
        Reach::Relay => "relay".to_owned(),
        Reach::Offline { last_seen: None } => "offline".to_owned(),
        Reach::Offline { last_seen: Some(at) } => ago(now.saturating_sub(at)),
    }
}

fn ago(ms: u64) -> String {
    let minutes = ms / 60_000;
    match minutes {
        0 => "just left".to_owned(),
        1..60 => format!("{minutes} m ago"),
        60..1_440 => format!("{} h ago", minutes / 60),
        _ => format!("{} d ago", minutes / 1_440),
    }
}

/// Where a circle stands with its relay.
pub(crate) fn link(link: &LinkView) -> String {
    match link {
        LinkView::None => "no relay".to_owned(),
        LinkView::Connecting => "connecting…".to_owned(),
        LinkView::Live => "relay live".to_owned(),
        LinkView::Polling => "polling relay".to_owned(),
        LinkView::Down { reason, .. } => format!("relay unavailable: {}", clean(reason)),
    }
}

/// The mark of an own message.
pub(crate) fn delivery(delivery: Delivery) -> String {
    match delivery {
        Delivery::Received => String::new(),
        Delivery::Pending => "…".to_owned(),
        Delivery::Stored => "✓".to_owned(),
        Delivery::Delivered { to, of } if to < of => format!("✓  {to}/{of}"),
        Delivery::Delivered { to, of } => format!("✓✓ {to}/{of}"),
    }
}

/// A time in the user's zone; the epoch for one that no calendar holds.
pub(crate) fn local(ms: u64, zone: &TimeZone) -> Zoned {
    let ms = i64::try_from(ms).unwrap_or(0);
    Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(zone.clone())
}

/// `Tue 24 Feb`, with the year when it is not this one.
pub(crate) fn day(time: &Zoned, now: &Zoned) -> String {
    let form = if time.year() == now.year() { "%a %-d %b" } else { "%a %-d %b %Y" };
    time.strftime(form).to_string()
}

/// `10:32`
pub(crate) fn clock(time: &Zoned) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_ago() {
        let gone = |ago: u64| reach(Reach::Offline { last_seen: Some(1_000_000_000 - ago) }, 1_000_000_000);
        assert_eq!(gone(10_000), "just left");
        assert_eq!(gone(59 * 60_000), "59 m ago");
        assert_eq!(gone(2 * 3_600_000), "2 h ago");
        assert_eq!(gone(3 * 86_400_000), "3 d ago");
    }

    #[test]
    fn a_relay_that_refuses_a_circle_is_not_called_unreachable() {
        let reason = "this relay takes no further circles".to_owned();
        let said = link(&LinkView::Down { reason, retry_in_s: 1 });
        assert_eq!(said, "relay unavailable: this relay takes no further circles");
    }

    #[test]
    fn a_clock_beyond_any_calendar_is_no_panic() {
        assert_eq!(local(u64::MAX, &TimeZone::UTC).year(), 1970);
        assert_eq!(local(i64::MAX as u64, &TimeZone::UTC).year(), 1970);
    }
}
