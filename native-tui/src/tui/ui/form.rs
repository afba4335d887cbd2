//! The first minute's questions and the settings: rows of which those go that matter least where not all have room. The field in
//! which somebody types is always there.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::Style,
};
use unicode_segmentation::UnicodeSegmentation;

use super::{
    super::{
        app::App,
        editor::Editor,
        overlay::{Setting, Settings, Step, Wizard},
    },
    messages::put,
    overlay::{columns_in, panel},
    wrap,
};
use crate::text::clean;

/// Where typing goes, or what is chosen.
const FOCUS: u8 = 0;
/// What came of it.
const SAID: u8 = 1;
/// What is asked.
const QUESTION: u8 = 2;
/// What it is about.
const ABOUT: u8 = 3;
/// What else could be chosen, the farthest first.
const OTHERS: u8 = 4;
const OTHERS_ABOUT: u8 = 100;
const KEYS: u8 = 101;
const GAP: u8 = 102;
/// Fewer columns than this are all for what is typed.
const PROMPT_FROM: usize = 8;

/// The row with the greatest rank goes first.
struct Row {
    rank: u8,
    text: String,
    style: Style,
    /// The column where typing goes.
    cursor: Option<u16>,
}

struct Form {
    columns: usize,
    rows: Vec<Row>,
}

impl Form {
    const fn new(columns: u16) -> Self {
        Self { columns: columns as usize, rows: Vec::new() }
    }

    fn row(&mut self, rank: u8, text: String, style: Style) {
        self.rows.push(Row { rank, text, style, cursor: None });
    }

    /// A choice, in one row.
    fn line(&mut self, rank: u8, text: &str, style: Style) {
        self.row(rank, wrap::cut(&clean(text), self.columns), style);
    }

    /// A text, in as many rows as it takes.
    fn text(&mut self, rank: u8, text: &str, style: Style) {
        for line in text.split('\n') {
            for row in wrap::wrap(&clean(line), self.columns) {
                self.row(rank, row, style);
            }
        }
    }

    fn gap(&mut self) {
        self.row(GAP, String::new(), Style::new());
    }

    /// A one-line input that shows the part around its cursor.
    fn field(&mut self, editor: &Editor, hidden: bool) {
        let prompt = if self.columns < PROMPT_FROM { "" } else { "> " };
        let room = self.columns.saturating_sub(prompt.len() + 1);
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
        let text = [prompt, &before[from..], &shown(after)].concat();
        let cursor = u16::try_from(prompt.len() + used).ok();
        self.rows.push(Row { rank: FOCUS, text, style: Style::new(), cursor });
    }

    /// Drops what has no room.
    fn fit(&mut self, room: usize) {
        while self.rows.len() > room {
            let last = self.rows.iter().enumerate().max_by_key(|(_, row)| row.rank);
            let Some((at, _)) = last else { return };
            self.rows.remove(at);
        }
    }

    /// Draws into a panel of at least so many rows, if there is room for them; answers where typing goes.
    fn draw(
        mut self,
        app: &App,
        title: &str,
        area: Rect,
        columns: u16,
        rows: u16,
        buf: &mut Buffer,
    ) -> Option<Position> {
        let rows = u16::try_from(self.rows.len()).unwrap_or(u16::MAX).max(rows);
        let inside = panel(app, title, area, columns, rows, buf);
        self.fit(usize::from(inside.height));
        let mut cursor = None;
        for (y, row) in (inside.y..inside.bottom()).zip(&self.rows) {
            put(buf, inside.x, y, usize::from(inside.width), &row.text, row.style);
            let at = row.cursor.filter(|at| *at < inside.width);
            cursor = at.map(|at| Position { x: inside.x + at, y }).or(cursor);
        }
        cursor
    }
}

/// Draws a question; answers where typing goes.
pub(super) fn wizard(app: &App, wizard: &Wizard, area: Rect, buf: &mut Buffer) -> Option<Position> {
    const COLUMNS: u16 = 60;
    let mut form = Form::new(columns_in(area, COLUMNS));
    let dim = app.theme.dim();
    let (question, about) = question(&wizard.step);
    form.text(QUESTION, question, app.theme.bold());
    if !about.is_empty() {
        form.text(ABOUT, about, dim);
    }
    form.gap();
    if let Step::Choice(join) = wizard.step {
        let rows = ["Create a circle and invite others", "Join a circle: I have an invite"];
        for (n, row) in rows.iter().enumerate() {
            let chosen = join == (n == 1);
            let (mark, rank, style) =
                if chosen { ("▸", FOCUS, app.theme.selected()) } else { (" ", OTHERS, Style::new()) };
            form.line(rank, &format!(" {mark} {row} "), style);
        }
        form.gap();
        form.text(KEYS, "Up and Down choose, Enter goes on, Ctrl+C quits.", dim);
    } else if !matches!(wizard.step, Step::Overtaken(_)) {
        form.field(&wizard.field, wizard.step == Step::Passphrase);
    }
    form.gap();
    if wizard.busy {
        form.text(SAID, "one moment…", dim);
    } else if let Some(error) = &wizard.error {
        form.text(SAID, &format!("! {error}"), app.theme.error());
    }
    form.draw(app, "felund", area, COLUMNS, 12, buf).filter(|_| !wizard.busy)
}

fn question(step: &Step) -> (&'static str, &'static str) {
    match step {
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
        Step::Overtaken(by) => (by, "What you typed here is dropped; nothing of it was sent."),
    }
}

/// Draws the settings; answers where typing goes.
pub(super) fn settings(app: &App, settings: &Settings, area: Rect, buf: &mut Buffer) -> Option<Position> {
    const COLUMNS: u16 = 64;
    let mut form = Form::new(columns_in(area, COLUMNS));
    let dim = app.theme.dim();
    let typing = settings.field.is_some();
    for (n, setting) in Setting::ALL.iter().enumerate() {
        let value = setting.value(app.model.identity.as_ref(), app.circle());
        let away = u8::try_from(n.abs_diff(settings.at)).unwrap_or(u8::MAX);
        let (mark, rank, style) = match (n == settings.at, typing) {
            (true, false) => ("▸", FOCUS, app.theme.selected()),
            (true, true) => ("▸", QUESTION, app.theme.selected()),
            (false, _) => (" ", OTHERS + away, Style::new()),
        };
        form.line(rank, &format!("{mark} {:<27}{value}", setting.label()), style);
    }
    form.gap();
    if settings.again.is_some() {
        form.text(QUESTION, "Type it once more.", dim);
    } else {
        let rank = if typing { ABOUT } else { OTHERS_ABOUT };
        form.text(rank, settings.setting().about(), dim);
    }
    if let Some(editor) = &settings.field {
        form.field(editor, settings.setting() == Setting::Passphrase);
    }
    match &settings.said {
        Some(Ok(text)) => form.text(SAID, text, app.theme.accent()),
        Some(Err(text)) => form.text(SAID, &format!("! {text}"), app.theme.error()),
        None => {}
    }
    let keys = if typing {
        "Enter saves · Esc leaves it"
    } else {
        "Up and Down choose · Enter changes · Esc closes"
    };
    form.text(KEYS, keys, dim);
    form.draw(app, "settings", area, COLUMNS, 13, buf)
}
