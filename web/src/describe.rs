//! States in words: a colour or a symbol alone explains nothing.

use felund_wasm::core::{
    model::Model,
    view::{CircleView, Delivery, LinkView, Reach},
};

use crate::when;

/// How the circle's members are reached, for the header.
pub(crate) fn link(circle: &CircleView) -> String {
    let (direct, anchor, relay) = Model::reach_counts(circle);
    let mut parts: Vec<String> = [(direct, " direct"), (anchor, " via anchor"), (relay, " via relay")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, how)| [&*count.to_string(), how].concat())
        .collect();
    match &circle.link {
        LinkView::Live if parts.is_empty() => {
            let alone = if circle.members.len() < 2 { "only you so far" } else { "nobody else online" };
            parts.extend(["relay connected".into(), alone.into()]);
        }
        LinkView::Live => {}
        LinkView::Polling => parts.push("relay by polling".into()),
        LinkView::Connecting => parts.push("connecting…".into()),
        LinkView::Down { .. } => parts.push("relay unavailable, trying again".into()),
        LinkView::None if parts.is_empty() => parts.push("no relay".into()),
        LinkView::None => {}
    }
    if let Some(so_far) = circle.arriving {
        parts.push(["catching up, ", &*so_far.to_string(), " so far"].concat());
    }
    if circle.held.is_some() {
        parts.push("relay takes no messages, trying again".into());
    }
    if circle.unsent > 0 {
        parts.push([&*circle.unsent.to_string(), " waiting to be sent"].concat());
    }
    parts.join(" · ")
}

/// More about the link, for whoever points at it.
pub(crate) fn link_detail(circle: &CircleView) -> String {
    let relay = circle.relay.as_deref().unwrap_or("none");
    if let Some(reason) = &circle.held {
        return ["Relay ", relay, ": ", reason, ". Messages wait on this device until then."].concat();
    }
    match &circle.link {
        LinkView::Down { reason, retry_in_s } => {
            format!(
                "Relay {relay}: {reason}. Next try in {retry_in_s} s. Messages wait on this device until then."
            )
        }
        LinkView::Polling => {
            format!(
                "Relay {relay}: the network refuses WebSockets, so messages are fetched every few seconds."
            )
        }
        _ => ["Relay ", relay].concat(),
    }
}

/// Symbol and words for how a member is reached.
pub(crate) fn reach(reach: Reach) -> (&'static str, String) {
    match reach {
        Reach::You => ("●", "you".into()),
        Reach::Direct => ("●", "direct".into()),
        Reach::Anchor => ("◐", "anchor".into()),
        Reach::Relay => ("◐", "relay".into()),
        Reach::Offline { last_seen } => ("○", last_seen.map_or("not seen yet".into(), when::ago)),
    }
}

/// Mark and words for how far an own message got.
pub(crate) fn delivery(delivery: Delivery) -> Option<(String, String)> {
    Some(match delivery {
        Delivery::Received => return None,
        Delivery::Pending => ("…".into(), "kept on this device, not sent yet".into()),
        Delivery::Stored => ("✓".into(), "stored at the relay or an anchor".into()),
        Delivery::Delivered { to, of } => {
            let count = [&*to.to_string(), "/", &of.to_string()].concat();
            let mark = if to >= of { "✓✓ " } else { "✓ " };
            ([mark, &count].concat(), ["reached ", &to.to_string(), " of ", &of.to_string()].concat())
        }
    })
}
