//! Styles. Colour only ever repeats what words and signs say, so that `NO_COLOR` takes nothing away.

use felund_core::ids::NodeId;
use ratatui::style::{Color, Modifier, Style};

/// Colours of the middle, each at least 4:1 against both black and white or close to it.
const PEOPLE: [u8; 10] = [31, 64, 97, 130, 132, 61, 29, 166, 94, 69];

/// How things look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Theme {
    colour: bool,
}

impl Theme {
    pub(crate) const fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// As <https://no-color.org> wants it.
    pub(crate) fn from_env() -> Self {
        Self::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    pub(crate) const fn has_colour(self) -> bool {
        self.colour
    }

    fn fg(self, index: u8) -> Style {
        if self.colour { Style::new().fg(Color::Indexed(index)) } else { Style::new() }
    }

    /// Frames and what matters less.
    pub(crate) fn dim(self) -> Style {
        if self.colour {
            Style::new().fg(Color::Indexed(244))
        } else {
            Style::new().add_modifier(Modifier::DIM)
        }
    }

    pub(crate) const fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Where the user is.
    pub(crate) const fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(crate) fn accent(self) -> Style {
        self.fg(31).add_modifier(Modifier::BOLD)
    }

    pub(crate) fn error(self) -> Style {
        self.fg(160).add_modifier(Modifier::BOLD)
    }

    pub(crate) fn person(self, id: NodeId) -> Style {
        let at = usize::from(id.0[0]) + usize::from(id.0[7]);
        self.fg(PEOPLE[at % PEOPLE.len()]).add_modifier(Modifier::BOLD)
    }
}
