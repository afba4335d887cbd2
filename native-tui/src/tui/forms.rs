//! The first minute's questions and the settings: what their keys do and what their answers mean.

use crossterm::event::{KeyCode, KeyEvent};
use felund_core::{io::Command, view::Retention};

use super::{
    app::{App, Pending},
    editor::Editor,
    input::edit,
    overlay::{Overlay, Setting, Settings, Step},
};

impl App {
    pub(crate) fn wizard_key(&mut self, key: KeyEvent) {
        let can_leave = !self.model.circles().is_empty();
        let Some(wizard) = &mut self.wizard else { return };
        if wizard.busy {
            return;
        }
        match (key.code, &wizard.step) {
            (KeyCode::Enter, _) | (KeyCode::Esc, Step::Overtaken(_)) => self.wizard_enter(),
            (KeyCode::Esc, Step::Code | Step::CircleName) => wizard.go(Step::Choice(false), ""),
            (KeyCode::Esc, Step::Relay(name)) => {
                let name = name.clone();
                wizard.go(Step::CircleName, &name);
            }
            (KeyCode::Esc, Step::Choice(_)) if can_leave => self.wizard = None,
            (
                KeyCode::Up
                | KeyCode::Down
                | KeyCode::Tab
                | KeyCode::BackTab
                | KeyCode::Left
                | KeyCode::Right,
                Step::Choice(join),
            ) => wizard.step = Step::Choice(!join),
            (KeyCode::Char('c'), Step::Choice(_)) => wizard.step = Step::Choice(false),
            (KeyCode::Char('j'), Step::Choice(_)) => wizard.step = Step::Choice(true),
            (_, Step::Choice(_) | Step::Overtaken(_)) => {}
            _ => {
                wizard.error = None;
                edit(&mut wizard.field, key);
            }
        }
    }

    fn wizard_enter(&mut self) {
        let given_relay = self.options.relay.clone();
        let Some(wizard) = &mut self.wizard else { return };
        let text = wizard.field.text().trim().to_owned();
        if text.is_empty() && !matches!(wizard.step, Step::Choice(_) | Step::Relay(_) | Step::Overtaken(_)) {
            wizard.error = Some("Type something first.".to_owned());
            return;
        }
        let (command, pending) = match &wizard.step {
            Step::Overtaken(_) => {
                self.wizard = None;
                return self.settle();
            }
            Step::Choice(join) => {
                let next = if *join { Step::Code } else { Step::CircleName };
                return wizard.go(next, "");
            }
            Step::CircleName => {
                return wizard.go(Step::Relay(text), given_relay.as_deref().unwrap_or_default());
            }
            Step::Passphrase => {
                // Spaces at the ends may belong to a passphrase.
                (Command::Unlock { passphrase: wizard.field.text().to_owned() }, Pending::Wizard)
            }
            Step::Name => (Command::SetName { name: text }, Pending::Wizard),
            Step::Code => {
                (Command::JoinCircle { invite: text, relay: given_relay }, Pending::Circle { made: false })
            }
            Step::Relay(name) => {
                let relay = (!text.is_empty()).then_some(text);
                (Command::CreateCircle { name: name.clone(), relay }, Pending::Circle { made: true })
            }
        };
        wizard.busy = true;
        wizard.error = None;
        self.ask(command, pending);
    }

    pub(crate) fn wizard_refused(&mut self, error: String) {
        if let Some(wizard) = &mut self.wizard {
            wizard.busy = false;
            wizard.error = Some(error);
            if wizard.step == Step::Passphrase {
                wizard.field.take();
            }
        }
    }

    pub(crate) fn wizard_went_on(&mut self) {
        match &mut self.wizard {
            // The keys are open, and what they open is not there yet.
            Some(wizard) if !wizard.busy || wizard.step == Step::Passphrase => {}
            Some(wizard) if wizard.step == Step::Name => wizard.go(Step::Choice(false), ""),
            _ => self.wizard = None,
        }
    }

    pub(crate) fn settings_key(&mut self, key: KeyEvent) {
        let (identity, circle) = (self.model.identity.clone(), self.circle().cloned());
        let Some(Overlay::Settings(settings)) = &mut self.overlay else { return };
        let last = Setting::ALL.len() - 1;
        match (&mut settings.field, key.code) {
            (Some(_), KeyCode::Esc) => {
                settings.field = None;
                settings.again = None;
            }
            (Some(_), KeyCode::Enter) => self.setting_enter(),
            (Some(field), _) => edit(field, key),
            (None, KeyCode::Up | KeyCode::BackTab) => {
                settings.at = settings.at.checked_sub(1).unwrap_or(last);
            }
            (None, KeyCode::Down | KeyCode::Tab) => settings.at = (settings.at + 1) % (last + 1),
            (None, KeyCode::Enter) => {
                settings.said = None;
                let setting = settings.setting();
                let value = match setting {
                    Setting::Passphrase => String::new(),
                    Setting::IceServers => {
                        identity.as_ref().map(|i| i.ice_servers.replace('\n', " ")).unwrap_or_default()
                    }
                    Setting::Relay => circle.and_then(|circle| circle.relay).unwrap_or_default(),
                    _ => setting.value(identity.as_ref(), circle.as_ref()),
                };
                settings.field = Some(Editor::new(value));
            }
            (None, KeyCode::Esc) => self.overlay = None,
            (None, _) => {}
        }
    }

    fn setting_enter(&mut self) {
        if !self.passphrase_is_certain() {
            return;
        }
        match self.setting_command() {
            Ok((setting, command)) => self.ask(command, Pending::Setting(setting)),
            Err(error) => self.setting_done(Err(error)),
        }
    }

    /// Whether a new passphrase was typed twice alike; anything else is certain at once.
    fn passphrase_is_certain(&mut self) -> bool {
        let Some(Overlay::Settings(settings)) = &mut self.overlay else { return true };
        let (Setting::Passphrase, Some(field)) = (settings.setting(), &mut settings.field) else {
            return true;
        };
        if field.is_empty() && settings.again.is_none() {
            return true;
        }
        match settings.again.take() {
            None => {
                settings.again = Some(field.take());
                settings.said = None;
                false
            }
            Some(first) if first == field.text() => true,
            Some(_) => {
                field.take();
                settings.said =
                    Some(Err("The two are not the same; nothing was changed. Type it anew.".to_owned()));
                false
            }
        }
    }

    fn setting_command(&self) -> Result<(Setting, Command), String> {
        let Some(Overlay::Settings(Settings { field: Some(field), .. })) = &self.overlay else {
            return Err("nothing is being changed".to_owned());
        };
        let Some(Overlay::Settings(settings)) = &self.overlay else {
            return Err("nothing is being changed".to_owned());
        };
        let text = field.text().trim().to_owned();
        let circle = self.circle().ok_or("open a circle first");
        let number =
            || text.parse::<u32>().map_err(|_| format!("“{text}” is not a number; nothing was changed"));
        let setting = settings.setting();
        let command = match setting {
            Setting::Name => Command::SetName { name: text },
            Setting::Passphrase => {
                let passphrase = field.text().to_owned();
                Command::SetPassphrase { passphrase: (!passphrase.is_empty()).then_some(passphrase) }
            }
            Setting::Anchor => Command::SetAnchor { on: on_or_off(&text)? },
            Setting::HideAddress => Command::SetHideAddress { on: on_or_off(&text)? },
            Setting::IceServers => Command::SetIceServers { servers: text },
            Setting::Relay => {
                Command::SetRelay { circle: circle?.id, relay: (!text.is_empty()).then_some(text) }
            }
            Setting::KeepMessages => {
                let circle = circle?;
                let retention = Retention { messages: number()?, ..circle.retention };
                Command::SetRetention { circle: circle.id, retention }
            }
            Setting::KeepDays => {
                let circle = circle?;
                let retention = Retention { days: number()?, ..circle.retention };
                Command::SetRetention { circle: circle.id, retention }
            }
        };
        Ok((setting, command))
    }

    pub(crate) fn setting_done(&mut self, said: Result<String, String>) {
        if let Some(Overlay::Settings(settings)) = &mut self.overlay {
            if said.is_ok() {
                settings.field = None;
            }
            settings.said = Some(said);
        }
    }
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "on" | "yes" => Ok(true),
        "off" | "no" => Ok(false),
        _ => Err(format!("“{text}” is neither on nor off; nothing was changed")),
    }
}
