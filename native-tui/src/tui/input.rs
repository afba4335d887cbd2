//! What keys, mouse and pasting do to the [`App`].

use crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use felund_core::{config::MAX_TEXT_LEN, io::Command, slash};

use super::{
    app::{App, Effect, Hit, Pending, Place},
    editor::Editor,
    overlay::{Overlay, Step},
    scroll::Scroll,
    ui::messages,
};

/// Rows a turn of the wheel moves.
const WHEEL: usize = 3;

impl App {
    /// Takes in what the terminal said.
    pub(crate) fn terminal(&mut self, event: Event) {
        let moved = matches!(&event, Event::Mouse(mouse) if mouse.kind == MouseEventKind::Moved);
        if matches!(event, Event::Key(_) | Event::Mouse(_) | Event::Paste(_)) && !moved {
            self.to_start = false;
        }
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(key),
            Event::Paste(text) => self.paste(&text),
            Event::Mouse(mouse) => self.mouse(mouse),
            Event::FocusGained => self.focus(true),
            Event::FocusLost => self.focus(false),
            Event::Key(_) | Event::Resize(..) => {}
        }
    }

    fn key(&mut self, key: KeyEvent) {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'q') if control => return self.quit(),
            _ if self.wizard.is_some() => return self.wizard_key(key),
            KeyCode::F(1) => return self.show_help(None),
            KeyCode::F(2) => return self.ask_invite(),
            KeyCode::F(3) => return self.show_settings(),
            _ if self.overlay.is_some() => return self.overlay_key(key),
            _ => {}
        }
        if key.code != KeyCode::Enter {
            self.hush();
        }
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Esc => self.back(),
            KeyCode::Tab if self.editor.text().starts_with('/') => self.complete(),
            KeyCode::Tab if self.is_narrow() && !self.drawer => self.drawer = true,
            KeyCode::Tab => self.step_channel(1),
            KeyCode::BackTab => self.step_channel(-1),
            KeyCode::Down if alt => self.step_channel(1),
            KeyCode::Up if alt => self.step_channel(-1),
            KeyCode::PageUp => self.scroll_up(self.page()),
            KeyCode::PageDown => self.scroll_down(self.page()),
            KeyCode::Up => self.scroll_up(1),
            KeyCode::Down => self.scroll_down(1),
            KeyCode::Home if control => {
                self.to_start = true;
                self.scroll_to_top();
            }
            KeyCode::End if control => self.scroll = Scroll::Follow,
            KeyCode::Enter if alt || key.modifiers.contains(KeyModifiers::SHIFT) => self.editor.insert("\n"),
            KeyCode::Enter if self.drawer => self.drawer = false,
            KeyCode::Enter => self.submit(),
            KeyCode::Char('j') if control => self.editor.insert("\n"),
            _ => edit(&mut self.editor, key),
        }
    }

    fn paste(&mut self, text: &str) {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        if let Some(wizard) = &mut self.wizard {
            if let Step::Overtaken(_) = wizard.step {
                return;
            }
            if let Step::Choice(_) = wizard.step {
                wizard.go(Step::Code, "");
            }
            wizard.error = paste_line(&mut wizard.field, &text).err();
        } else if let Some(Overlay::Settings(settings)) = &mut self.overlay {
            if let Some(field) = &mut settings.field {
                settings.said = paste_line(field, &text).err().map(Err);
            }
        } else {
            self.overlay = None;
            if self.editor.text().len() + text.len() > MAX_TEXT_LEN {
                self.fail(format!(
                    "that is longer than a message may be ({} KiB); nothing was pasted",
                    MAX_TEXT_LEN / 1024
                ));
                return;
            }
            self.hush();
            self.editor.insert(&text);
        }
    }

    fn mouse(&mut self, mouse: MouseEvent) {
        match mouse.kind {
            MouseEventKind::ScrollUp => match &mut self.overlay {
                Some(Overlay::Page(page)) => page.top = page.top.saturating_sub(WHEEL),
                None => self.scroll_up(WHEEL),
                Some(_) => {}
            },
            MouseEventKind::ScrollDown => match &mut self.overlay {
                Some(Overlay::Page(page)) => page.top += WHEEL,
                None => self.scroll_down(WHEEL),
                Some(_) => {}
            },
            MouseEventKind::Down(MouseButton::Left) if self.wizard.is_none() && self.overlay.is_none() => {
                self.click(mouse.column, mouse.row);
            }
            _ => {}
        }
    }

    fn click(&mut self, x: u16, y: u16) {
        let hit = self.drawn.hits.iter().find(|(area, _)| area.contains((x, y).into())).map(|(_, hit)| *hit);
        match hit {
            Some(Hit::Circle(circle)) => {
                if let Some(place) = self.first_channel(circle) {
                    self.go(place);
                }
                self.drawer = false;
            }
            Some(Hit::Channel(circle, channel)) => {
                self.go((circle, channel));
                self.drawer = false;
            }
            Some(Hit::Messages) => self.drawer = false,
            None => {}
        }
    }

    pub(crate) fn quit(&mut self) {
        self.keep_draft();
        self.effects.push(Effect::Quit);
    }

    fn back(&mut self) {
        if self.drawer {
            self.drawer = false;
        } else {
            self.scroll = Scroll::Follow;
        }
    }

    fn overlay_key(&mut self, key: KeyEvent) {
        let page = self.page();
        match &mut self.overlay {
            Some(Overlay::Settings(_)) => self.settings_key(key),
            Some(Overlay::Page(text)) => match key.code {
                KeyCode::Up => text.top = text.top.saturating_sub(1),
                KeyCode::Down => text.top += 1,
                KeyCode::PageUp => text.top = text.top.saturating_sub(page),
                KeyCode::PageDown | KeyCode::Char(' ') => text.top += page,
                KeyCode::Home => text.top = 0,
                _ => self.leave_overlay(key),
            },
            Some(Overlay::Invite { link, code, copied, .. }) => match key.code {
                KeyCode::Char('c') => {
                    *copied = true;
                    let text = link.clone().unwrap_or_else(|| code.clone());
                    self.effects.push(Effect::Copy(text));
                }
                _ => self.leave_overlay(key),
            },
            None => {}
        }
    }

    /// Closes what is only read. Whoever types on meant the message.
    fn leave_overlay(&mut self, key: KeyEvent) {
        self.overlay = None;
        if let KeyCode::Char(_) = key.code {
            self.key(key);
        }
    }

    fn submit(&mut self) {
        if self.editor.text().trim().is_empty() {
            return;
        }
        match slash::parse(self.editor.text()) {
            // Whoever copies whole lines pastes a break with them.
            Ok(slash::Line::Message(text)) => self.send(text.trim_end_matches('\n').to_owned()),
            Ok(slash::Line::Command(command)) => {
                self.hush();
                let line = self.editor.take();
                if let Err(error) = self.command(command) {
                    self.editor.set(line);
                    self.fail(error);
                }
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn send(&mut self, text: String) {
        let Some(place @ (circle, channel)) = self.open else {
            let why = self.unready("nothing was sent");
            return self.fail(why.unwrap_or_else(|| "open a channel first; nothing was sent".to_owned()));
        };
        self.hush();
        self.editor.take();
        self.scroll = Scroll::Follow;
        self.new_after = None;
        let pending = Pending::Send(place, text.clone());
        self.ask(Command::Send { circle, channel, text }, pending);
        self.drop_draft(place);
    }

    fn complete(&mut self) {
        let names = self.names();
        let ways = slash::complete(self.editor.text(), &names);
        if let [only] = &ways[..] {
            self.editor.set(only.line.clone());
            return;
        }
        // As far as all ways agree.
        let Some(first) = ways.first() else { return };
        let line = first.line.trim_end();
        let common = line
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .take_while(|end| ways.iter().all(|way| way.line.get(..*end) == Some(&line[..*end])))
            .last()
            .unwrap_or(0);
        if common > self.editor.text().len() {
            self.editor.set(&line[..common]);
        }
    }

    /// The channels in the order of the sidebar.
    fn places(&self) -> Vec<Place> {
        let circles = self.model.circles().iter();
        circles.flat_map(|circle| circle.channels.iter().map(|channel| (circle.id, channel.id))).collect()
    }

    fn step_channel(&mut self, step: isize) {
        let places = self.places();
        let here = self.open.and_then(|open| places.iter().position(|place| *place == open));
        let next = match here {
            Some(at) => at.checked_add_signed(step).filter(|at| *at < places.len()),
            None => None,
        };
        let wrapped = if step > 0 { places.first() } else { places.last() };
        if let Some(place) = next.and_then(|at| places.get(at)).or(wrapped) {
            self.go(*place);
        }
    }

    fn page(&self) -> usize {
        usize::from(self.drawn.messages.height).saturating_sub(2).max(1)
    }

    fn is_narrow(&self) -> bool {
        // The list takes the whole screen but the frame only when there is no room for a sidebar.
        self.drawn.messages.x <= 1
    }

    fn scroll_up(&mut self, rows: usize) {
        let height = usize::from(self.drawn.messages.height);
        self.scroll = messages::measure(self, self.drawn.messages.width, |m| m.up(self.scroll, rows, height));
    }

    /// To the first of the messages that are loaded.
    pub(super) fn scroll_to_top(&mut self) {
        self.scroll_up(usize::MAX / 2);
    }

    fn scroll_down(&mut self, rows: usize) {
        self.scroll = messages::measure(self, self.drawn.messages.width, |m| m.down(self.scroll, rows));
    }
}

/// Pastes as one line where there is room for one.
fn paste_line(field: &mut Editor, text: &str) -> Result<(), String> {
    let line = text.trim().replace('\n', " ");
    if field.text().len() + line.len() > MAX_TEXT_LEN {
        return Err("That is too long for this; nothing was pasted.".to_owned());
    }
    field.insert(&line);
    Ok(())
}

/// The keys of every input field.
pub(crate) fn edit(editor: &mut Editor, key: KeyEvent) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    match key.code {
        KeyCode::Char('a') if control => editor.home(),
        KeyCode::Char('e') if control => editor.end(),
        KeyCode::Char('u') if control => editor.delete_to_start(),
        KeyCode::Char('k') if control => editor.delete_to_end(),
        KeyCode::Char('w') if control => editor.delete_word(),
        KeyCode::Char('b') if alt => editor.word_left(),
        KeyCode::Char('f') if alt => editor.word_right(),
        KeyCode::Char(_) if control || alt => {}
        KeyCode::Char(c) if !c.is_control() && editor.text().len() < MAX_TEXT_LEN => {
            editor.insert(c.encode_utf8(&mut [0; 4]));
        }
        KeyCode::Backspace if control || alt => editor.delete_word(),
        KeyCode::Backspace => editor.backspace(),
        KeyCode::Delete => editor.delete(),
        KeyCode::Left if control || alt => editor.word_left(),
        KeyCode::Right if control || alt => editor.word_right(),
        KeyCode::Left => editor.left(),
        KeyCode::Right => editor.right(),
        KeyCode::Home => editor.home(),
        KeyCode::End => editor.end(),
        _ => {}
    }
}
