//! What was typed and not sent, channel by channel. The node keeps it; until it says so, this does.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use felund_core::{io::Command, slash, view::CircleView};

use super::app::{App, Pending, Place};

/// What is typed is kept this long after it has changed.
pub(super) const KEEP_AFTER: Duration = Duration::from_millis(600);

#[derive(Debug, Default)]
pub(super) struct Drafts {
    /// What the editor held when it was set or last kept.
    kept: String,
    /// When what it holds now is to be kept.
    due: Option<Instant>,
    /// What the node was asked to keep, until the model shows that.
    asked: BTreeMap<Place, String>,
    /// Whether the session is another than that which was asked.
    pub(super) anew: bool,
    /// Messages that were not sent from channels that are not open, until they can be kept as drafts.
    pub(super) returned: Vec<(Place, String)>,
}

impl Drafts {
    /// The model shows a circle's drafts.
    pub(super) fn shown(&mut self, circle: &CircleView) {
        self.asked.retain(|(id, channel), text| {
            let mut channels = circle.channels.iter();
            *id != circle.id || !channels.any(|it| it.id == *channel && it.draft == *text)
        });
    }
}

impl App {
    /// Keeps what was not sent before what is typed in its channel, and what another session may not have kept.
    pub(super) fn give_back(&mut self) {
        if !self.model.ready {
            return;
        }
        if std::mem::take(&mut self.drafts.anew) {
            let mut drafts = self.drafts.asked.clone();
            drafts.retain(|place, _| self.draft(*place).is_some());
            drafts.into_iter().for_each(|(place, text)| self.keep(place, text));
        }
        for (place, text) in std::mem::take(&mut self.drafts.returned) {
            if let Some(draft) = self.draft(place) {
                let text = before(&text, draft);
                self.keep(place, text);
            }
        }
    }

    /// What was typed in a channel and not sent; `None` when there is no such channel.
    fn draft(&self, place: Place) -> Option<&str> {
        let channel = self.model.circle(place.0)?.channel(place.1)?;
        Some(self.drafts.asked.get(&place).unwrap_or(&channel.draft))
    }

    fn keep(&mut self, place: Place, text: String) {
        self.drafts.asked.insert(place, text.clone());
        let (circle, channel) = place;
        let pending = Pending::Draft(place, text.clone());
        self.ask(Command::SaveDraft { circle, channel, text }, pending);
    }

    /// A draft was kept: from when the model shows it on, it goes by that.
    pub(super) fn draft_kept(&mut self, place: Place, text: &str) {
        let asked = self.drafts.asked.remove(&place);
        if let Some(asked) = asked.filter(|asked| asked != text || self.draft(place) != Some(text)) {
            self.drafts.asked.insert(place, asked);
        }
    }

    /// Goes on with what was typed in a channel, and with what was typed before that could be shown. A command comes first and
    /// is part of no message.
    pub(super) fn take_up_draft(&mut self, place: Place, typed: String) {
        if slash::draft(&typed).len() < typed.len() {
            self.drafts.kept.clear();
            return self.editor.set(typed);
        }
        self.drafts.kept = self.draft(place).unwrap_or_default().to_owned();
        self.editor.set(before(&self.drafts.kept, &typed));
    }

    /// What was typed here and is not kept.
    fn changed_draft(&self) -> Option<(Place, &str)> {
        let place = self.open.filter(|place| self.draft(*place).is_some())?;
        let text = slash::draft(self.editor.text());
        (text != self.drafts.kept).then_some((place, text))
    }

    /// Keeps what was typed here. What was not touched may be newer in another window.
    pub(super) fn keep_draft(&mut self) {
        let Some((place, text)) = self.changed_draft() else { return };
        let text = text.to_owned();
        self.drafts.kept.clone_from(&text);
        self.keep(place, text);
    }

    /// Keeps what was typed when its time has come; answers when there is something to be kept. Who types on and on is not
    /// waited for.
    pub(super) fn tend_draft(&mut self, now: Instant) -> Option<Instant> {
        let due = self.drafts.due.unwrap_or(now + KEEP_AFTER);
        if due <= now {
            self.keep_draft();
        }
        self.drafts.due = self.changed_draft().map(|_| due);
        self.drafts.due
    }

    /// The text was sent and is no draft any more.
    pub(super) fn drop_draft(&mut self, place: Place) {
        self.drafts.kept.clear();
        if self.draft(place).is_some_and(|draft| !draft.is_empty()) {
            self.keep(place, String::new());
        }
    }
}

/// What was not sent, before what was typed since.
pub(super) fn before(unsent: &str, typed: &str) -> String {
    let gap = if unsent.is_empty() || typed.is_empty() { "" } else { "\n" };
    [unsent, typed].join(gap)
}
