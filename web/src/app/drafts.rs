//! What was typed and not sent: the node keeps it, and until it has, this tab.

use felund_wasm::core::io::{Command, LOCKED};
use leptos::prelude::*;

use super::{App, Place};

impl App {
    /// What was typed in a channel and not sent, if there is that channel.
    pub(crate) fn draft(self, place: Place) -> Option<String> {
        let channel = self.channel_at(place)?;
        let unkept = self
            .unkept
            .with_value(|unkept| unkept.iter().find(|(of, _)| *of == place).map(|(_, text)| text.clone()));
        Some(unkept.unwrap_or(channel.draft))
    }

    /// Keeps it, in this tab until the node has.
    pub(crate) fn save_draft(self, place: Place, text: String) {
        self.hold_draft(place, text.clone());
        let Place { circle, channel } = place;
        let command = Command::SaveDraft { circle, channel, text: text.clone() };
        let over = text.clone();
        self.ask_or(
            command,
            move |app, _| app.let_go(place, &over),
            move |app, error| {
                if error != LOCKED {
                    app.let_go(place, &text);
                    app.note(true, error);
                }
            },
        );
    }

    /// Keeps it in this tab.
    pub(crate) fn hold_draft(self, place: Place, text: String) {
        self.unkept.try_update_value(|unkept| {
            unkept.retain(|(of, _)| *of != place);
            unkept.push((place, text));
        });
    }

    /// The node has answered of a draft; a later one may be on its way.
    fn let_go(self, place: Place, text: &str) {
        self.unkept
            .try_update_value(|unkept| unkept.retain(|(of, held)| *of != place || held.as_str() != text));
    }
}
