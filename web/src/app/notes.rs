//! What the app has to tell the user, above the message input.

use felund_wasm::core::view::outdates;
use leptos::prelude::*;

use super::App;

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) id: u32,
    pub(crate) error: bool,
    /// Of what the user asked just now.
    answer: bool,
    pub(crate) text: String,
}

/// Notes shown at once; older ones give way.
const MAX_NOTES: usize = 4;

impl App {
    /// Tells the user something until they dismiss it.
    pub(crate) fn note(self, error: bool, text: impl Into<String>) {
        self.tell_note(error, false, text.into());
    }

    /// Answers what the user asked, until the next answer or [`App::forget_answers`].
    pub(crate) fn answer(self, text: impl Into<String>) {
        self.tell_note(false, true, text.into());
    }

    fn tell_note(self, error: bool, answer: bool, text: String) {
        let id = self.next_note.try_update_value(|next| {
            *next += 1;
            *next
        });
        let Some(id) = id else { return };
        self.notes.update(|notes| {
            notes
                .retain(|note| note.text != text && !(answer && note.answer) && !outdates(&text, &note.text));
            if notes.len() >= MAX_NOTES {
                notes.remove(0);
            }
            notes.push(Note { id, error, answer, text });
        });
    }

    /// The number of the newest note.
    pub(crate) fn last_note(self) -> u32 {
        self.next_note.get_value()
    }

    /// The user has gone on: takes away the answers up to a note.
    pub(crate) fn forget_answers(self, up_to: u32) {
        self.notes.update(|notes| notes.retain(|note| !note.answer || note.id > up_to));
    }

    pub(crate) fn dismiss(self, id: u32) {
        self.notes.update(|notes| notes.retain(|note| note.id != id));
    }
}
