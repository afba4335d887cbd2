//! The frame: header, the sidebar's edge, the input and what is said above it, the footer.

use felund_core::{
    model::Model,
    slash,
    view::{CircleView, LinkView},
};
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::Style,
};
use unicode_segmentation::UnicodeSegmentation;

use super::{
    super::app::{App, Drawn, Hit},
    NARROW,
    messages::{self, put},
    sidebar, words, wrap,
};
use crate::text::{clean, held, plural};

/// Rows the input may grow to.
const MAX_INPUT: usize = 6;

pub(crate) fn draw(app: &App, area: Rect, buf: &mut Buffer) -> (Drawn, Option<Position>) {
    let dim = app.theme.dim();
    let (right, bottom) = (area.right() - 1, area.bottom() - 1);
    let input = Input::new(app, usize::from(area.width) - 2, usize::from(area.height));
    let said = said(app, usize::from(area.width) - 4);
    let input_rows = u16::try_from(input.rows.len()).unwrap_or(1);
    let said_rows = u16::try_from(said.len()).unwrap_or(0).min(area.height.saturating_sub(input_rows + 4));
    let edge = bottom - input_rows - said_rows - 1;

    for y in area.y + 1..bottom {
        put(buf, area.x, y, 1, "│", dim);
        put(buf, right, y, 1, "│", dim);
    }
    line(buf, area, area.y, "┌", "┐", dim);
    line(buf, area, edge, "├", "┤", dim);
    line(buf, area, bottom, "└", "┘", dim);
    header(app, area, buf);
    footer(app, Rect { y: bottom, ..area }, buf);

    let body = Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: edge - area.y - 1 };
    let mut drawn = Drawn::default();
    let wide = area.width >= NARROW;
    let bar = if area.width >= 110 { 26 } else { 18 };
    let list = if wide {
        for y in body.y..body.bottom() {
            put(buf, body.x + bar, y, 1, "│", dim);
        }
        put(buf, body.x + bar, edge, 1, "┴", dim);
        let side = Rect { x: body.x + 1, width: bar - 2, ..body };
        sidebar::draw(app, side, buf, &mut drawn.hits);
        Rect { x: body.x + bar + 2, width: body.width - bar - 3, ..body }
    } else {
        Rect { x: body.x, ..body }
    };
    drawn.messages = list;
    if !wide && app.drawer {
        sidebar::draw(app, Rect { x: body.x + 1, width: body.width - 2, ..body }, buf, &mut drawn.hits);
    } else {
        (drawn.top, drawn.bottom) = messages::draw(app, list, buf);
        drawn.hits.push((list, Hit::Messages));
    }

    for (y, (text, error)) in (edge + 1..bottom).zip(said.iter().take(usize::from(said_rows))) {
        let style = if *error { app.theme.error() } else { dim };
        put(buf, area.x + 2, y, usize::from(area.width) - 4, text, style);
    }
    let top = bottom - input_rows;
    for (y, row) in (top..bottom).zip(&input.rows) {
        put(buf, area.x + 2, y, usize::from(area.width) - 3, row, Style::new());
    }
    let (x, y) = input.cursor;
    let cursor = Position { x: (area.x + 2).saturating_add(x).min(right - 1), y: top + y };
    (drawn, Some(cursor))
}

fn line(buf: &mut Buffer, area: Rect, y: u16, left: &str, right: &str, style: Style) {
    let middle = "─".repeat(usize::from(area.width) - 2);
    put(buf, area.x, y, usize::from(area.width), &format!("{left}{middle}{right}"), style);
}

fn header(app: &App, area: Rect, buf: &mut Buffer) {
    let room = usize::from(area.width) - 4;
    let place = match (app.circle(), app.channel()) {
        (Some(circle), Some(channel)) => {
            format!(" ─ {} ▸ #{} ", clean(&app.label(circle.id)), clean(&channel.name))
        }
        _ => " ".to_owned(),
    };
    let state = app.circle().map(|circle| state(app, circle)).unwrap_or_default();
    let title = wrap::cut(&format!(" felund{place}"), room);
    let left = wrap::width(&title);
    put(buf, area.x + 1, area.y, left, &title, app.theme.bold());
    let space = room.saturating_sub(left + 2);
    if space >= 8 && !state.is_empty() {
        let state = format!(" {} ", wrap::cut(&state, space - 2));
        let columns = wrap::width(&state);
        let x = area.right().saturating_sub(2 + u16::try_from(columns).unwrap_or(0));
        let style = match app.circle().map(|circle| &circle.link) {
            Some(LinkView::Down { .. }) => app.theme.error(),
            _ if app.circle().is_some_and(|circle| circle.held.is_some()) => app.theme.error(),
            _ => Style::new(),
        };
        put(buf, x, area.y, columns, &state, style);
    }
}

/// How the members are reached, and what stands in the way.
fn state(app: &App, circle: &CircleView) -> String {
    let (direct, anchor, relay) = Model::reach_counts(circle);
    let mut parts = Vec::new();
    for (count, how) in [(direct, "direct"), (anchor, "via anchor"), (relay, "via relay")] {
        if count > 0 {
            parts.push(format!("{count} {how}"));
        }
    }
    match &circle.link {
        LinkView::Live if !parts.is_empty() => {}
        LinkView::Live => parts.push("relay live, nobody else here".to_owned()),
        other => parts.push(words::link(other)),
    }
    if let Some(so_far) = circle.arriving {
        parts.insert(0, format!("catching up, {so_far} so far"));
    }
    if let Some(reason) = &circle.held {
        parts.insert(0, held(reason));
    }
    if circle.unsent > 0 && (circle.held.is_some() || circle.link != LinkView::Live) {
        parts.insert(0, format!("{} unsent", circle.unsent));
    }
    let elsewhere = app.model.unread() - circle.channels.iter().map(|channel| channel.unread).sum::<u32>();
    if elsewhere > 0 && app.drawn.messages.x <= 1 {
        parts.push(format!("{} elsewhere", plural(elsewhere as usize, "new message")));
    }
    parts.join(" · ")
}

fn footer(app: &App, area: Rect, buf: &mut Buffer) {
    let tab = if area.width < NARROW { "Tab circles" } else { "Tab switch" };
    let all = ["F1 help", "F2 invite", "F3 settings", tab, "Esc back to input"];
    let mut text = String::from(" ");
    for part in all {
        if wrap::width(&text) + part.len() + 2 > usize::from(area.width) - 3 {
            break;
        }
        text.push_str(part);
        text.push_str("  ");
    }
    let text = format!("{} ", text.trim_end());
    put(buf, area.x + 1, area.y, usize::from(area.width) - 2, &text, app.theme.dim());
}

/// What is said above the input: the notice, or a hint for what is being typed.
fn said(app: &App, columns: usize) -> Vec<(String, bool)> {
    if let Some(notice) = &app.notice {
        let text = clean(&notice.text);
        let text = if notice.error { format!("! {text}") } else { text.into_owned() };
        return wrap::wrap(&text, columns).into_iter().take(4).map(|row| (row, notice.error)).collect();
    }
    match slash::hint(app.editor.text()) {
        Some(hint) => vec![(wrap::cut(&clean(&hint), columns), false)],
        None => Vec::new(),
    }
}

/// The input as rows, and the cursor among them.
struct Input {
    rows: Vec<String>,
    cursor: (u16, u16),
}

impl Input {
    fn new(app: &App, columns: usize, height: usize) -> Self {
        let (text, cursor) = (app.editor.text(), app.editor.cursor());
        // Two for the prompt, one for the cursor behind the last character.
        let room = columns.saturating_sub(4).max(2);
        let (mut rows, mut row, mut used) = (Vec::new(), String::new(), 0);
        let mut place = None;
        let mut at = 0;
        for cluster in text.graphemes(true) {
            let shown = if cluster == "\n" { std::borrow::Cow::Borrowed("") } else { clean(cluster) };
            for (n, part) in wrap::parts(&shown, room).enumerate() {
                let wide = wrap::width(part);
                if used + wide > room {
                    rows.push(std::mem::take(&mut row));
                    used = 0;
                }
                if n == 0 && at == cursor {
                    place = Some((used, rows.len()));
                }
                row.push_str(part);
                used += wide;
            }
            if cluster == "\n" {
                rows.push(std::mem::take(&mut row));
                used = 0;
            }
            at += cluster.len();
        }
        let (x, y) = place.unwrap_or((used, rows.len()));
        rows.push(row);
        let most = MAX_INPUT.min(height.saturating_sub(5)).max(1);
        let first = (y + 1).saturating_sub(most).min(rows.len() - rows.len().min(most));
        let rows = rows
            .into_iter()
            .enumerate()
            .skip(first)
            .take(most)
            .map(|(n, row)| format!("{} {row}", if n == 0 { ">" } else { " " }))
            .collect();
        let cursor = (u16::try_from(x + 2).unwrap_or(u16::MAX), u16::try_from(y - first).unwrap_or(0));
        Self { rows, cursor }
    }
}
