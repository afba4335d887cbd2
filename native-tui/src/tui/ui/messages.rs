//! The list of messages: day dividers, the line above what is new, and wrapped texts with their delivery.
//!
//! Only blocks near the screen are laid out, from the bottom up; how many messages are loaded costs nothing.

use felund_core::{
    model::Timeline,
    view::{ChannelView, Key, Membership, MessageView},
};
use jiff::{Zoned, tz::TimeZone};
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    super::{
        app::App,
        scroll::{Measure, Scroll},
        theme::Theme,
    },
    words, wrap,
};
use crate::text::clean;

const CLOCK: usize = 6;
/// How far an own message got, of fewer than ten others: a column before it, the words, and one behind them.
const MARK: usize = 8;
const MAX_NAME: usize = 12;
/// Of names with ids behind them, where there is room for both.
const MAX_LABEL: usize = 16;
/// Fewer columns than this have no room for both.
const LABELS_FROM: usize = 60;

/// How blocks are laid out.
struct Layout<'a> {
    messages: &'a [MessageView],
    zone: &'a TimeZone,
    now: Zoned,
    new_after: Option<Key>,
    width: usize,
    name: usize,
    mark: usize,
}

/// One row of a block.
enum Row<'a> {
    Divider(String),
    New,
    Text { head: Option<&'a MessageView>, indent: usize, text: String, mark: Option<String> },
}

impl<'a> Layout<'a> {
    fn new(app: &'a App, timeline: &'a Timeline, width: u16) -> Self {
        let width = usize::from(width);
        let members = app.circle().map_or(&[][..], |circle| &circle.members);
        let longest = members.iter().map(|m| wrap::width(&clean(&m.label))).max();
        let most = match members.iter().any(|m| wrap::split_id(&m.label).is_some()) {
            true if width < LABELS_FROM => MAX_NAME,
            true => MAX_LABEL,
            false if width < 40 => 6,
            false => MAX_NAME,
        };
        Self {
            messages: timeline.messages(),
            zone: &app.zone,
            now: words::local(app.now, &app.zone),
            new_after: app.new_after,
            width,
            name: longest.unwrap_or(0).clamp(3, most),
            mark: mark(members.len()),
        }
    }

    fn block(&self, at: usize) -> Vec<Row<'a>> {
        let message = &self.messages[at];
        let before = at.checked_sub(1).map(|before| &self.messages[before]);
        let mut rows = Vec::with_capacity(2);
        let time = words::local(message.created_ts, self.zone);
        let same_day =
            before.is_some_and(|before| words::local(before.created_ts, self.zone).date() == time.date());
        if !same_day {
            rows.push(Row::Divider(words::day(&time, &self.now)));
        }
        if let Some(after) = self.new_after
            && message.key() > after
            && before.is_none_or(|before| before.key() <= after)
        {
            rows.push(Row::New);
        }
        let mark = message.mine.then(|| words::delivery(message.delivery));
        let indent = CLOCK + self.name + 1;
        let indent = if indent * 2 > self.width { 2 } else { indent };
        let room = self.width.saturating_sub(indent + if message.mine { self.mark } else { 0 });
        let mut head = Some(message);
        if indent == 2 {
            rows.push(Row::Text { head: head.take(), indent: self.width, text: String::new(), mark: None });
        }
        for line in message.text.split('\n') {
            for text in wrap::wrap(&clean(line), room) {
                rows.push(Row::Text { head: head.take(), indent, text, mark: None });
            }
        }
        if let Some(Row::Text { mark: last, .. }) = rows.last_mut() {
            *last = mark;
        }
        rows
    }
}

/// Columns for how far an own message got, in a circle of so many: two counts grow with it.
fn mark(members: usize) -> usize {
    let digits = members.saturating_sub(1).checked_ilog10().unwrap_or(0);
    MARK + 2 * digits as usize
}

/// Walks the open channel's messages as they are laid out in `width`.
pub(crate) fn measure(
    app: &App,
    width: u16,
    walk: impl Fn(&Measure<'_, &dyn Fn(usize) -> usize>) -> Scroll,
) -> Scroll {
    let timeline = app.open.and_then(|(circle, channel)| app.model.timeline(circle, channel));
    let Some(timeline) = timeline.filter(|_| width > 0) else { return Scroll::Follow };
    let layout = Layout::new(app, timeline, width);
    let rows = |at: usize| layout.block(at).len();
    walk(&Measure { messages: layout.messages, rows: &rows })
}

/// Draws the list; answers whether the oldest loaded and the newest message are on the screen.
pub(crate) fn draw(app: &App, area: Rect, buf: &mut Buffer) -> (bool, bool) {
    let Some(channel) = app.channel() else { return (false, false) };
    if channel.membership != Membership::Joined {
        empty(&outside(channel), app.theme, area, buf);
        return (false, false);
    }
    let timeline = app.open.and_then(|(circle, channel)| app.model.timeline(circle, channel));
    let Some(timeline) = timeline.filter(|timeline| timeline.loaded) else {
        empty(&["loading…".to_owned()], app.theme, area, buf);
        return (false, false);
    };
    if timeline.messages().is_empty() && !timeline.start_reached {
        empty(&["loading…".to_owned()], app.theme, area, buf);
        return (true, true);
    }
    if timeline.messages().is_empty() {
        let lines = ["No messages yet.", "Type one below and press Enter, or invite somebody with F2."];
        empty(&lines.map(str::to_owned), app.theme, area, buf);
        return (true, true);
    }
    let layout = Layout::new(app, timeline, area.width);
    let height = usize::from(area.height);
    let rows = |at: usize| layout.block(at).len();
    let measure = Measure { messages: layout.messages, rows };
    let Some((mut at, skip)) = measure.bottom(app.scroll) else { return (true, true) };
    let bottom = at + 1 == layout.messages.len() && skip == 0;
    let mut shown: Vec<Row<'_>> = Vec::with_capacity(height);
    let mut block = layout.block(at);
    block.truncate(block.len() - skip);
    loop {
        while let Some(row) = block.pop() {
            if shown.len() == height {
                break;
            }
            shown.push(row);
        }
        if shown.len() == height || at == 0 {
            break;
        }
        at -= 1;
        block = layout.block(at);
    }
    let top = at == 0;
    if top && shown.len() < height && app.is_loading() {
        shown.push(Row::Divider("loading older messages…".to_owned()));
    }
    // Few messages begin at the top, as on paper.
    for (y, row) in (area.y..).zip(shown.into_iter().rev()) {
        layout.draw(&row, app.theme, Rect { y, height: 1, ..area }, buf);
    }
    (top, bottom)
}

impl Layout<'_> {
    fn draw(&self, row: &Row<'_>, theme: Theme, area: Rect, buf: &mut Buffer) {
        let (x, y) = (area.x, area.y);
        match row {
            Row::Divider(day) => {
                put(buf, x, y, self.width, &format!("── {day} ──"), theme.dim());
            }
            Row::New => {
                put(buf, x, y, self.width, "── new messages ──", theme.accent());
            }
            Row::Text { head, indent, text, mark } => {
                if let Some(message) = head {
                    let clock = words::clock(&words::local(message.created_ts, self.zone));
                    put(buf, x, y, CLOCK, &clock, theme.dim());
                    let name = if message.mine { "you".into() } else { clean(&message.label) };
                    let room =
                        if *indent >= self.width { self.width - CLOCK.min(self.width) } else { self.name };
                    let style = theme.person(message.author);
                    put(buf, x + CLOCK as u16, y, room, &wrap::cut_label(&name, room), style);
                }
                let at = u16::try_from(*indent).unwrap_or(u16::MAX);
                put(buf, x.saturating_add(at), y, self.width.saturating_sub(*indent), text, Style::new());
                if let Some(mark) = mark {
                    let room = self.mark - 1;
                    let at = self.width.saturating_sub(room);
                    put(buf, x + u16::try_from(at).unwrap_or(0), y, room, mark, theme.dim());
                }
            }
        }
    }
}

fn outside(channel: &ChannelView) -> Vec<String> {
    use felund_core::view::Access;
    let name = clean(&channel.name);
    if channel.membership == Membership::Requested {
        return vec![
            format!("You asked to be let into #{name}."),
            "Its creator has not answered yet.".to_owned(),
        ];
    }
    let join = channel.joining();
    let how = match channel.access {
        Access::Public | Access::Key => clean(&join).into_owned(),
        Access::Invite => format!("{}   asks its creator to let you in", clean(&join)),
    };
    vec![format!("You are not in #{name}, which is {}.", channel.access.as_str()), how]
}

fn empty(lines: &[String], theme: Theme, area: Rect, buf: &mut Buffer) {
    let columns = usize::from(area.width);
    let rows = lines.iter().flat_map(|line| wrap::wrap(line, columns));
    for (y, row) in (area.y..area.bottom()).zip(rows) {
        put(buf, area.x, y, columns, &row, theme.dim());
    }
}

/// Writes a text that is safe already; what lies outside the buffer is left out.
pub(crate) fn put(buf: &mut Buffer, x: u16, y: u16, columns: usize, text: &str, style: Style) {
    if buf.area.contains((x, y).into()) {
        buf.set_stringn(x, y, text, columns, style);
    }
}
