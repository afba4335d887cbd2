//! Boxes over the chat: invites with their QR code, pages of text, and the panel that all of them are drawn in.

use qrcodegen::{QrCode, QrCodeEcc};
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::{Color, Style},
    widgets::{Clear, Widget},
};

use super::{
    super::{
        app::{App, Drawn},
        overlay::{Overlay, Page},
    },
    form,
    messages::put,
    wrap,
};
use crate::text::clean;

/// Whether there is room for a frame and for something in it.
const fn has_frame(area: Rect) -> bool {
    area.width >= 12 && area.height >= 6
}

/// Columns inside a panel that is to have so many.
pub(super) fn columns_in(area: Rect, columns: u16) -> u16 {
    if has_frame(area) { columns.min(area.width - 4) } else { area.width }
}

/// A frame with a title in the middle of `area`, or all of it where that is small; answers its inside.
pub(super) fn panel(app: &App, title: &str, area: Rect, columns: u16, rows: u16, buf: &mut Buffer) -> Rect {
    if !has_frame(area) {
        Clear.render(area, buf);
        return area;
    }
    let width = (columns + 4).min(area.width);
    let height = rows.saturating_add(2).min(area.height);
    let outer =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(outer, buf);
    let dim = app.theme.dim();
    let across = "─".repeat(usize::from(width) - 2);
    put(buf, outer.x, outer.y, usize::from(width), &format!("┌{across}┐"), dim);
    put(buf, outer.x, outer.bottom() - 1, usize::from(width), &format!("└{across}┘"), dim);
    for y in outer.y + 1..outer.bottom() - 1 {
        put(buf, outer.x, y, 1, "│", dim);
        put(buf, outer.right() - 1, y, 1, "│", dim);
    }
    let title = format!(" {} ", wrap::cut(&clean(title), usize::from(width) - 6));
    put(buf, outer.x + 2, outer.y, usize::from(width) - 4, &title, app.theme.bold());
    Rect { x: outer.x + 2, y: outer.y + 1, width: width - 4, height: height - 2 }
}

/// Writes rows from the top; answers the row after them.
fn write(buf: &mut Buffer, area: Rect, y: u16, text: &str, style: Style) -> u16 {
    let mut y = y;
    for line in text.split('\n') {
        for row in wrap::wrap(&clean(line), usize::from(area.width)) {
            if y >= area.bottom() {
                return y;
            }
            put(buf, area.x, y, usize::from(area.width), &row, style);
            y += 1;
        }
    }
    y
}

/// Draws an overlay; answers where typing goes.
pub(crate) fn draw(
    app: &App,
    overlay: &Overlay,
    area: Rect,
    buf: &mut Buffer,
    drawn: &mut Drawn,
) -> Option<Position> {
    match overlay {
        Overlay::Page(page) => {
            drawn.page_top = self::page(app, page, area, buf);
            None
        }
        Overlay::Invite { name, link, code, copied } => {
            invite(app, name, link.as_deref().unwrap_or(code), *copied, area, buf);
            None
        }
        Overlay::Settings(settings) => form::settings(app, settings, area, buf),
    }
}

/// Draws a page from where it stands, or from as far down as it goes; answers from where.
fn page(app: &App, page: &Page, area: Rect, buf: &mut Buffer) -> usize {
    let columns = 76.min(area.width.saturating_sub(4));
    let rows: Vec<_> = page
        .lines
        .iter()
        .flat_map(|line| line.split('\n'))
        .flat_map(|line| wrap::wrap(&clean(line), usize::from(columns)))
        .collect();
    let height = u16::try_from(rows.len() + 2).unwrap_or(u16::MAX).min(area.height.saturating_sub(2));
    let inside = panel(app, &page.title, area, columns, height, buf);
    let room = usize::from(inside.height).saturating_sub(2);
    let top = page.top.min(rows.len().saturating_sub(room));
    for (y, row) in (inside.y..).zip(rows.iter().skip(top).take(room)) {
        put(buf, inside.x, y, usize::from(inside.width), row, Style::new());
    }
    let more = rows.len().saturating_sub(top + room);
    let foot =
        if more > 0 { format!("{more} more rows: PgDn · Esc closes") } else { "Esc closes".to_owned() };
    put(buf, inside.x, inside.bottom().saturating_sub(1), usize::from(inside.width), &foot, app.theme.dim());
    top
}

fn invite(app: &App, name: &str, text: &str, copied: bool, area: Rect, buf: &mut Buffer) {
    let columns = 72.min(area.width.saturating_sub(4));
    let text_rows = wrap::wrap(text, usize::from(columns));
    // Two for the hints, one gap.
    let used = u16::try_from(text_rows.len()).unwrap_or(u16::MAX).saturating_add(4);
    let qr = QrCode::encode_text(text, QrCodeEcc::Low).ok();
    let side = qr.as_ref().map_or(0, |qr| u16::try_from(qr.size() + 4).unwrap_or(u16::MAX));
    let fits = side > 0 && side <= columns && side.div_ceil(2).saturating_add(used + 2) <= area.height;
    let rows = used + if fits { side.div_ceil(2) } else { 1 };
    let inside = panel(app, &format!("invite to {name}"), area, columns, rows, buf);
    let mut y = inside.y;
    match qr.filter(|_| fits) {
        Some(qr) => {
            draw_qr(app, &qr, Rect { width: side, height: side.div_ceil(2), ..inside }, buf);
            y += side.div_ceil(2);
        }
        None => {
            let wanted = format!(
                "A window of {} × {} would have room for the QR code.",
                side.saturating_add(6).max(24),
                side.div_ceil(2).saturating_add(used + 4)
            );
            y = write(buf, inside, y, &wanted, app.theme.dim());
        }
    }
    for row in &text_rows {
        if y < inside.bottom() {
            put(buf, inside.x, y, usize::from(inside.width), row, app.theme.accent());
        }
        y += 1;
    }
    y = write(
        buf,
        inside,
        y + 1,
        "Who has this can join and read: hand it to people you trust.",
        app.theme.dim(),
    );
    let keys =
        if copied { "handed to your terminal's clipboard · Esc closes" } else { "c copies · Esc closes" };
    write(buf, inside, y, keys, app.theme.dim());
}

/// Two modules a character, dark on light whatever the terminal's colours, with a quiet zone.
fn draw_qr(app: &App, qr: &QrCode, area: Rect, buf: &mut Buffer) {
    let style = if app.theme.has_colour() {
        Style::new().fg(Color::Indexed(16)).bg(Color::Indexed(231))
    } else {
        Style::new()
    };
    for row in 0..i32::from(area.height) {
        let mut line = String::new();
        for x in -2..qr.size() + 2 {
            let dark = |y: i32| qr.get_module(x, y);
            let (upper, lower) = (dark(row * 2 - 2), dark(row * 2 - 1));
            // Without colours a light module is what is drawn, which suits the usual dark background.
            let (upper, lower) = if app.theme.has_colour() { (upper, lower) } else { (!upper, !lower) };
            line.push(match (upper, lower) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        let y = area.y + u16::try_from(row).unwrap_or(0);
        put(buf, area.x, y, usize::from(area.width), &line, style);
    }
}
