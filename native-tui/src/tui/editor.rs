//! The text being typed: one string and a cursor that stands between grapheme clusters.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

/// An editable text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Editor {
    text: String,
    cursor: usize,
}

impl Editor {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cursor: text.len(), text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// In bytes, at a boundary.
    pub(crate) fn cursor(&self) -> usize {
        self.cursor
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn set(&mut self, text: impl Into<String>) {
        *self = Self::new(text);
    }

    /// The text, leaving nothing.
    pub(crate) fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    pub(crate) fn insert(&mut self, text: &str) {
        self.text.insert_str(self.cursor, text);
        self.cursor += text.len();
        self.settle();
    }

    pub(crate) fn backspace(&mut self) {
        let end = self.cursor;
        self.left();
        self.text.replace_range(self.cursor..end, "");
        self.settle();
    }

    pub(crate) fn delete(&mut self) {
        let end = self.after(self.cursor);
        self.text.replace_range(self.cursor..end, "");
        self.settle();
    }

    pub(crate) fn left(&mut self) {
        self.cursor = self.before(self.cursor);
    }

    pub(crate) fn right(&mut self) {
        self.cursor = self.after(self.cursor);
    }

    /// To the beginning of the line.
    pub(crate) fn home(&mut self) {
        self.cursor = self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1);
    }

    /// To the end of the line.
    pub(crate) fn end(&mut self) {
        self.cursor = self.text[self.cursor..].find('\n').map_or(self.text.len(), |at| self.cursor + at);
    }

    pub(crate) fn word_left(&mut self) {
        let mut words = self.text[..self.cursor].unicode_word_indices();
        self.cursor = words.next_back().map_or(0, |(at, _)| at);
    }

    pub(crate) fn word_right(&mut self) {
        let rest = &self.text[self.cursor..];
        let word = rest.unicode_word_indices().next();
        self.cursor = word.map_or(self.text.len(), |(at, word)| self.cursor + at + word.len());
    }

    pub(crate) fn delete_word(&mut self) {
        let end = self.cursor;
        self.word_left();
        self.text.replace_range(self.cursor..end, "");
        self.settle();
    }

    pub(crate) fn delete_to_start(&mut self) {
        let end = self.cursor;
        self.home();
        self.text.replace_range(self.cursor..end, "");
        self.settle();
    }

    pub(crate) fn delete_to_end(&mut self) {
        let start = self.cursor;
        self.end();
        let end = std::mem::replace(&mut self.cursor, start);
        self.text.replace_range(start..end, "");
        self.settle();
    }

    fn before(&self, at: usize) -> usize {
        let mut cursor = GraphemeCursor::new(at, self.text.len(), true);
        cursor.prev_boundary(&self.text, 0).ok().flatten().unwrap_or(0)
    }

    fn after(&self, at: usize) -> usize {
        let mut cursor = GraphemeCursor::new(at, self.text.len(), true);
        cursor.next_boundary(&self.text, 0).ok().flatten().unwrap_or(self.text.len())
    }

    /// What was typed or removed may have joined clusters around the cursor: step behind them.
    fn settle(&mut self) {
        let mut cursor = GraphemeCursor::new(self.cursor, self.text.len(), true);
        if !cursor.is_boundary(&self.text, 0).unwrap_or(true) {
            self.cursor = self.after(self.cursor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_and_deletes_by_what_people_see_as_a_character() {
        let mut editor = Editor::new("a👩\u{200d}👩\u{200d}👧e\u{301}");
        editor.left();
        editor.backspace();
        assert_eq!(editor.text(), "ae\u{301}");
        editor.right();
        editor.backspace();
        assert_eq!((editor.text(), editor.cursor()), ("a", 1));
        editor.right();
        editor.delete();
        editor.backspace();
        editor.backspace();
        assert!(editor.is_empty());
    }

    #[test]
    fn a_combining_mark_joins_what_is_before_it() {
        let mut editor = Editor::new("xe");
        editor.insert("\u{301}");
        editor.left();
        assert_eq!(editor.cursor(), 1);
    }

    #[test]
    fn words_and_lines() {
        let mut editor = Editor::new("one two\nthree four");
        editor.delete_word();
        assert_eq!(editor.text(), "one two\nthree ");
        editor.home();
        assert_eq!(editor.cursor(), 8);
        editor.delete_to_end();
        assert_eq!(editor.text(), "one two\n");
        editor.word_left();
        assert_eq!(editor.cursor(), 4);
        editor.delete_to_start();
        assert_eq!(editor.text(), "two\n");
    }
}
