//! Drawing: pure functions from the [`App`] to a buffer.

mod form;
mod frame;
pub(crate) mod messages;
mod overlay;
mod sidebar;
pub(crate) mod words;
pub(crate) mod wrap;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Position, Rect},
};

use super::app::{App, Drawn};

/// Below this many columns the sidebar is a drawer.
pub(crate) const NARROW: u16 = 60;

/// Draws everything; the cursor is where typing goes.
pub(crate) fn draw(app: &App, screen: &mut Frame<'_>) -> Drawn {
    let area = screen.area();
    let (drawn, cursor) = render(app, area, screen.buffer_mut());
    if let Some(cursor) = cursor {
        screen.set_cursor_position(cursor);
    }
    drawn
}

/// Draws into any buffer.
pub(crate) fn render(app: &App, area: Rect, buf: &mut Buffer) -> (Drawn, Option<Position>) {
    let (mut drawn, cursor, inside) = if area.width < 20 || area.height < 6 {
        messages::put(buf, area.x, area.y, usize::from(area.width), "felund: enlarge", app.theme.bold());
        (Drawn::default(), None, area)
    } else {
        let (drawn, cursor) = frame::draw(app, area, buf);
        let inside = Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 2 };
        (drawn, cursor, inside)
    };
    if let Some(wizard) = &app.wizard {
        drawn.hits.clear();
        return (drawn, form::wizard(app, wizard, inside, buf));
    }
    if let Some(over) = &app.overlay {
        drawn.hits.clear();
        let cursor = overlay::draw(app, over, inside, buf, &mut drawn);
        return (drawn, cursor);
    }
    (drawn, cursor)
}
