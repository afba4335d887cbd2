//! The sidebar: circles, the channels of the open one, its members and how each is reached.

use felund_core::view::{Access, ChannelView, CircleView, Membership, circle_labels};
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    super::app::{App, Hit},
    messages::put,
    words, wrap,
};
use crate::text::clean;

/// A sign, some of a name, and its id.
const WITH_ID: usize = 14;

struct Row {
    left: String,
    right: String,
    style: Style,
    /// Of `left`'s part after the sign.
    hit: Option<Hit>,
}

/// Draws it, noting what a click hits.
pub(crate) fn draw(app: &App, area: Rect, buf: &mut Buffer, hits: &mut Vec<(Rect, Hit)>) {
    let (places, open) = places(app);
    let members = members(app);
    let height = usize::from(area.height);
    // The members keep at least a third when there is not room for all.
    let for_members = members.len().min((height / 3).max(height.saturating_sub(places.len())));
    let for_places = height - for_members;
    let first = (open + 2).saturating_sub(for_places).min(places.len().saturating_sub(for_places));
    let mut y = area.y;
    for row in section(&places[first.min(places.len())..], for_places) {
        draw_row(row, Rect { y, height: 1, ..area }, buf, hits);
        y += 1;
    }
    for row in section(&members, usize::from(area.bottom() - y)) {
        draw_row(row, Rect { y, height: 1, ..area }, buf, hits);
        y += 1;
    }
    if members.len() > usize::from(area.bottom()) - usize::from(y)
        && y == area.bottom()
        && members.len() > for_members
    {
        let more = members.len() - for_members + 1;
        let row = Row {
            left: format!("… {more} more (/who)"),
            right: String::new(),
            style: app.theme.dim(),
            hit: None,
        };
        draw_row(&row, Rect { y: y - 1, height: 1, ..area }, buf, hits);
    }
}

fn section(rows: &[Row], height: usize) -> &[Row] {
    &rows[..rows.len().min(height)]
}

/// Circles and channels, and the index of the open channel's row.
fn places(app: &App) -> (Vec<Row>, usize) {
    let heading = app.theme.dim().patch(app.theme.bold());
    let mut rows = vec![Row { left: "Circles".into(), right: String::new(), style: heading, hit: None }];
    let mut open = 0;
    for (circle, name) in app.model.circles().iter().zip(circle_labels(app.model.circles())) {
        let here = app.open.is_some_and(|(id, _)| id == circle.id);
        let unread: u32 = circle.channels.iter().map(|channel| channel.unread).sum();
        let sign = if here { "●" } else { "○" };
        rows.push(Row {
            left: format!("{sign} {}", clean(&name)),
            right: if here { String::new() } else { count(unread) },
            style: if here || unread > 0 { app.theme.bold() } else { Style::new() },
            hit: Some(Hit::Circle(circle.id)),
        });
        if here {
            for channel in &circle.channels {
                if app.open.is_some_and(|(_, id)| id == channel.id) {
                    open = rows.len();
                }
                rows.push(channel_row(app, circle, channel));
            }
        }
    }
    (rows, open)
}

fn channel_row(app: &App, circle: &CircleView, channel: &ChannelView) -> Row {
    let here = app.open.is_some_and(|(_, id)| id == channel.id);
    let right = match (channel.membership, channel.access) {
        (Membership::Joined, _) if !channel.requests.is_empty() => format!("{} ask", channel.requests.len()),
        (Membership::Joined, _) => count(channel.unread),
        (Membership::Requested, _) => "asked".to_owned(),
        (Membership::Outside, Access::Public) => "join".to_owned(),
        (Membership::Outside, access) => access.as_str().to_owned(),
    };
    let style = if here {
        app.theme.selected()
    } else if channel.unread > 0 {
        app.theme.bold()
    } else if channel.membership == Membership::Joined {
        Style::new()
    } else {
        app.theme.dim()
    };
    Row {
        left: format!("   # {}", clean(&channel.name)),
        right,
        style,
        hit: Some(Hit::Channel(circle.id, channel.id)),
    }
}

fn members(app: &App) -> Vec<Row> {
    let Some(circle) = app.circle() else { return Vec::new() };
    let heading = app.theme.dim().patch(app.theme.bold());
    let mut rows = vec![Row { left: "Members".into(), right: String::new(), style: heading, hit: None }];
    rows.extend(circle.members.iter().map(|member| Row {
        left: format!("{} {}", words::dot(member.reach), clean(&member.label)),
        right: words::reach(member.reach, app.now),
        style: app.theme.person(member.id),
        hit: None,
    }));
    rows
}

fn count(unread: u32) -> String {
    match unread {
        0 => String::new(),
        1..=999 => format!("({unread})"),
        _ => "(999+)".to_owned(),
    }
}

fn draw_row(row: &Row, area: Rect, buf: &mut Buffer, hits: &mut Vec<(Rect, Hit)>) {
    let columns = usize::from(area.width);
    let right = wrap::width(&row.right);
    let gap = usize::from(right > 0);
    let left = columns.saturating_sub(right + gap);
    // Whose row it is matters most.
    let needs = wrap::split_id(&row.left).map_or(0, |_| wrap::width(&row.left).min(WITH_ID));
    let (left, right) = if left < needs { (columns, 0) } else { (left, right) };
    if row.style.add_modifier.contains(ratatui::style::Modifier::REVERSED) {
        buf.set_style(area, row.style);
    }
    put(buf, area.x, area.y, left, &wrap::cut_label(&row.left, left), row.style);
    let at = area.right().saturating_sub(u16::try_from(right).unwrap_or(0));
    let style = if row.hit.is_some() { row.style } else { Style::new() };
    put(buf, at, area.y, right, &row.right, style);
    if let Some(hit) = row.hit {
        hits.push((area, hit));
    }
}
