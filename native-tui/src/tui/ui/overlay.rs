//! Boxes over the chat: questions, settings, invites with their QR code, pages of text.

use qrcodegen::{QrCode, QrCodeEcc};
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::{Color, Style},
    widgets::{Clear, Widget},
};
use unicode_segmentation::UnicodeSegmentation;

use super::{
    super::{
        app::{App, Drawn},
        editor::Editor,
        overlay::{Overlay, Page, Setting, Settings, Step, Wizard},
    },
    messages::put,
    wrap,
};
use crate::text::clean;

/// A frame with a title in the middle of `area`; answers its inside.
fn panel(app: &App, title: &str, area: Rect, columns: u16, rows: u16, buf: &mut Buffer) -> Rect {
    let width = (columns + 4).min(area.width);
    let height = (rows + 2).min(area.height);
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
    let title = format!(" {} ", wrap::cut(&clean(title), usize::from(width).saturating_sub(6)));
    put(buf, outer.x + 2, outer.y, usize::from(width) - 4, &title, app.theme.bold());
    Rect { x: outer.x + 2, y: outer.y + 1, width: width.saturating_sub(4), height: height.saturating_sub(2) }
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

/// A one-line input that shows the part around its cursor; answers where that is.
fn field(buf: &mut Buffer, area: Rect, y: u16, editor: &Editor, hidden: bool) -> Position {
    let room = usize::from(area.width).saturating_sub(3);
    let shown =
        |text: &str| if hidden { "•".repeat(text.chars().count()) } else { clean(text).into_owned() };
    let (before, after) = editor.text().split_at(editor.cursor());
    let before = shown(before);
    let (mut from, mut used) = (before.len(), 0);
    for (at, cluster) in before.grapheme_indices(true).rev() {
        let wide = wrap::width(cluster);
        if used + wide > room {
            break;
        }
        (from, used) = (at, used + wide);
    }
    put(buf, area.x, y, 2, "> ", Style::new());
    put(buf, area.x + 2, y, room + 1, &format!("{}{}", &before[from..], shown(after)), Style::new());
    Position { x: area.x + 2 + u16::try_from(used).unwrap_or(0), y }
}

/// Draws a question; answers where typing goes.
pub(crate) fn wizard(app: &App, wizard: &Wizard, area: Rect, buf: &mut Buffer) -> Option<Position> {
    let inside = panel(app, "felund", area, 60, 12, buf);
    let bold = app.theme.bold();
    let (question, about) = match &wizard.step {
        Step::Passphrase => {
            ("Passphrase", "The keys on this device are locked. Nothing is sent or shown before it.")
        }
        Step::Name => ("What should others call you?", "You can change it at any time."),
        Step::Choice(_) => ("Where do you want to begin?", ""),
        Step::Code => {
            ("Paste the invite", "The code that begins with felund1. or the whole link. Esc goes back.")
        }
        Step::CircleName => ("What is the circle called?", "For example: garden club. Esc goes back."),
        Step::Relay(_) => (
            "Which relay carries its messages?",
            "The address of a felund-relay, such as https://chat.example. It sees only sealed messages. \
             Left empty, members reach each other only where one of them runs felund --listen. Esc goes back.",
        ),
    };
    let y = write(buf, inside, inside.y, question, bold);
    let y = if about.is_empty() { y } else { write(buf, inside, y, about, app.theme.dim()) };
    let y = y + 1;
    let (cursor, y) = if let Step::Choice(join) = wizard.step {
        let rows = ["Create a circle and invite others", "Join a circle: I have an invite"];
        for (n, row) in rows.iter().enumerate() {
            let chosen = join == (n == 1);
            let style = if chosen { app.theme.selected() } else { Style::new() };
            let row = format!(" {} {row} ", if chosen { "▸" } else { " " });
            write(buf, inside, y + n as u16, &row, style);
        }
        (None, write(buf, inside, y + 3, "Up and Down choose, Enter goes on, Ctrl+C quits.", app.theme.dim()))
    } else {
        let hidden = wizard.step == Step::Passphrase;
        (Some(field(buf, inside, y, &wizard.field, hidden)), y + 1)
    };
    if wizard.busy {
        write(buf, inside, y + 1, "one moment…", app.theme.dim());
        return None;
    }
    if let Some(error) = &wizard.error {
        write(buf, inside, y + 1, &format!("! {error}"), app.theme.error());
    }
    cursor
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
        Overlay::Settings(settings) => self::settings(app, settings, area, buf),
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

fn settings(app: &App, settings: &Settings, area: Rect, buf: &mut Buffer) -> Option<Position> {
    let inside = panel(app, "settings", area, 64, 13, buf);
    let mut y = inside.y;
    for (n, setting) in Setting::ALL.iter().enumerate() {
        let chosen = n == settings.at;
        let value = setting.value(app.model.identity.as_ref(), app.circle());
        let row = format!("{} {:<27}{}", if chosen { "▸" } else { " " }, setting.label(), clean(&value));
        let style = if chosen { app.theme.selected() } else { Style::new() };
        let row = wrap::cut(&row, usize::from(inside.width));
        if y < inside.bottom() {
            put(buf, inside.x, y, usize::from(inside.width), &row, style);
        }
        y += 1;
    }
    let about = if settings.again.is_some() { "Type it once more." } else { settings.setting().about() };
    y = write(buf, inside, y + 1, about, app.theme.dim());
    let mut cursor = None;
    if let Some(editor) = &settings.field {
        let hidden = settings.setting() == Setting::Passphrase;
        cursor = Some(field(buf, inside, y, editor, hidden)).filter(|at| at.y < inside.bottom());
        y += 1;
    }
    match &settings.said {
        Some(Ok(text)) => y = write(buf, inside, y, text, app.theme.accent()),
        Some(Err(text)) => y = write(buf, inside, y, &format!("! {text}"), app.theme.error()),
        None => {}
    }
    let keys = if settings.field.is_some() {
        "Enter saves · Esc leaves it"
    } else {
        "Up and Down choose · Enter changes · Esc closes"
    };
    write(buf, inside, y, keys, app.theme.dim());
    cursor
}
