//! What lies over the chat: questions of the first minute, settings, invites, and pages of text.

use felund_core::view::{CircleView, IdentityView};

use super::editor::Editor;

/// Something that takes the keys until it is closed.
#[derive(Debug, Clone)]
pub(crate) enum Overlay {
    /// Text to read.
    Page(Page),
    /// An invite with its QR code.
    Invite {
        /// The circle's name.
        name: String,
        /// `https://relay/#code` where there is a relay.
        link: Option<String>,
        code: String,
        /// Whether it was handed to the clipboard.
        copied: bool,
    },
    Settings(Settings),
}

/// Lines to read, with the first one shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) lines: Vec<String>,
    pub(crate) top: usize,
}

/// Questions that come before there is a chat.
#[derive(Debug, Clone)]
pub(crate) struct Wizard {
    pub(crate) step: Step,
    pub(crate) field: Editor,
    pub(crate) error: Option<String>,
    /// Waiting for an answer of the node.
    pub(crate) busy: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Passphrase,
    Name,
    /// Create or join; whether join is chosen.
    Choice(bool),
    Code,
    CircleName,
    /// Of the circle with this name.
    Relay(String),
    /// Another process of this data directory answered what was asked here, as these words say. What is typed is nothing until
    /// somebody has read them: the rest of a passphrase is no message.
    Overtaken(&'static str),
}

const UNLOCKED: &str = "Another command unlocked Felund: press Enter.";
const IN_A_CIRCLE: &str = "Another command took this device into a circle: press Enter.";

impl Wizard {
    pub(crate) fn new(step: Step) -> Self {
        Self { step, field: Editor::default(), error: None, busy: false }
    }

    pub(crate) fn go(&mut self, step: Step, text: &str) {
        *self = Self { field: Editor::new(text), ..Self::new(step) };
    }

    /// The keys are open, and there may be circles: drops what is typed where that was asked for, unless it was this that did it.
    pub(crate) fn overtake(&mut self, circles: bool) {
        let by = if self.step == Step::Passphrase { UNLOCKED } else { IN_A_CIRCLE };
        let answered = circles || self.step == Step::Passphrase;
        if answered && !self.busy && !matches!(self.step, Step::Overtaken(_)) {
            self.go(Step::Overtaken(by), "");
        }
    }
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Name,
    Passphrase,
    Anchor,
    HideAddress,
    IceServers,
    Relay,
    KeepMessages,
    KeepDays,
}

impl Setting {
    pub(crate) const ALL: [Self; 8] = [
        Self::Name,
        Self::Passphrase,
        Self::Anchor,
        Self::HideAddress,
        Self::IceServers,
        Self::Relay,
        Self::KeepMessages,
        Self::KeepDays,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Name => "Your name",
            Self::Passphrase => "Passphrase",
            Self::Anchor => "Anchor",
            Self::HideAddress => "Hide my address",
            Self::IceServers => "STUN and TURN servers",
            Self::Relay => "Relay of this circle",
            Self::KeepMessages => "Messages kept per channel",
            Self::KeepDays => "Days kept",
        }
    }

    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Name => "What others see. 1 to 64 characters.",
            Self::Passphrase => {
                "Locks the keys on this device; asked for at every start. Empty removes it. It cannot be recovered."
            }
            Self::Anchor => {
                "on or off: whether this device stores and forwards for its circles while it runs. It helps most where \
                 others can connect to it."
            }
            Self::HideAddress => {
                "on or off: members do not get to know where you are. Connections go through TURN servers or the relay, \
                 which see it; without a TURN server everything goes through the relay."
            }
            Self::IceServers => {
                "Used instead of those your relays name, such as: stun:stun.example turn:turn.example USER CREDENTIAL. \
                 Empty for the relays' own."
            }
            Self::Relay => {
                "What carries sealed messages, such as https://chat.example. On this device only: every member has to set \
                 the same, or you do not read each other. Empty for none."
            }
            Self::KeepMessages => {
                "The newest ones stay, 1 to 1,000,000; older ones are deleted from this device."
            }
            Self::KeepDays => "Older messages are deleted from this device, 1 to 3,650.",
        }
    }

    /// What is said once it is changed.
    pub(crate) const fn changed(self) -> &'static str {
        match self {
            Self::Relay => "changed on this device; tell the others, who have to set the same",
            _ => "saved",
        }
    }

    /// What it is now.
    pub(crate) fn value(self, identity: Option<&IdentityView>, circle: Option<&CircleView>) -> String {
        match self {
            Self::Name => identity.map(|i| i.name.clone()).unwrap_or_default(),
            Self::Passphrase if identity.is_some_and(|i| i.passphrase) => "set".to_owned(),
            Self::Passphrase => "not set".to_owned(),
            Self::Anchor if identity.is_some_and(|i| i.anchor) => "on".to_owned(),
            Self::Anchor => "off".to_owned(),
            Self::HideAddress if identity.is_some_and(|i| i.hide_address) => "on".to_owned(),
            Self::HideAddress => "off".to_owned(),
            Self::IceServers => match identity.map_or("", |i| &i.ice_servers) {
                "" => "as the relays name them".to_owned(),
                // Credentials are for the field in which they are changed.
                servers => {
                    let urls = servers.lines().filter_map(|server| server.split(' ').next());
                    urls.collect::<Vec<_>>().join(" ")
                }
            },
            Self::Relay => circle.and_then(|c| c.relay.clone()).unwrap_or_else(|| "none".to_owned()),
            Self::KeepMessages => circle.map(|c| c.retention.messages.to_string()).unwrap_or_default(),
            Self::KeepDays => circle.map(|c| c.retention.days.to_string()).unwrap_or_default(),
        }
    }
}

/// The settings page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Index into [`Setting::ALL`].
    pub(crate) at: usize,
    /// The value being typed.
    pub(crate) field: Option<Editor>,
    /// A new passphrase that must be typed once more: a slip in what is not shown would lock its user out.
    pub(crate) again: Option<String>,
    /// What came of the last change: a fault, or that it is done.
    pub(crate) said: Option<Result<String, String>>,
}

impl Settings {
    pub(crate) fn setting(&self) -> Setting {
        Setting::ALL[self.at % Setting::ALL.len()]
    }
}
