//! Breaking text into rows of a width, by words where they fit and by characters where they do not.

use std::iter;

use ratatui::buffer::CellWidth;
use unicode_segmentation::UnicodeSegmentation;

/// Marks on one character beyond this are not drawn: stacks of them run over the rows around.
const MAX_CLUSTER: usize = 32;

/// Columns a text takes.
pub(crate) fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.graphemes(true).map(cluster_width).sum() }
}

/// As it is drawn: letters of some scripts are one cluster and take several columns.
fn cluster_width(cluster: &str) -> usize {
    if cluster.len() == 1 { 1 } else { usize::from(cluster.cell_width()) }
}

/// Rows of a text without line breaks; always at least one.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    if width(text) <= columns && text.len() <= columns * MAX_CLUSTER {
        return vec![text.to_owned()];
    }
    let (mut rows, mut row, mut used) = (Vec::new(), String::new(), 0);
    for word in units(text) {
        let wide = width(word);
        let blank = word.chars().all(char::is_whitespace);
        if used + wide > columns && used > 0 && wide <= columns {
            rows.push(std::mem::take(&mut row));
            used = 0;
            if blank {
                continue;
            }
        }
        if wide <= columns && word.len() <= MAX_CLUSTER {
            row.push_str(word);
            used += wide;
            continue;
        }
        for part in word.graphemes(true).flat_map(|cluster| parts(cluster, columns)) {
            let wide = width(part);
            if used + wide > columns && used > 0 {
                rows.push(std::mem::take(&mut row));
                used = 0;
            }
            row.push_str(part);
            used += wide;
        }
    }
    rows.push(row);
    rows
}

/// Words with the punctuation that belongs to them, and blanks: marks stay with the word that they follow, and with the one
/// behind them where none is before or they open something.
fn units(text: &str) -> impl Iterator<Item = &str> {
    let mut pieces = text.split_word_bound_indices().peekable();
    iter::from_fn(move || {
        let (start, first) = pieces.next()?;
        let mut end = start + first.len();
        let mut has_word = !first.chars().all(is_mark);
        let blank = first.starts_with(char::is_whitespace);
        while let Some((at, piece)) =
            pieces.peek().filter(|(_, piece)| !blank && !piece.starts_with(char::is_whitespace))
        {
            let mark = piece.chars().all(is_mark);
            if has_word && (!mark || piece.starts_with(OPENING)) {
                break;
            }
            has_word |= !mark;
            end = at + piece.len();
            pieces.next();
        }
        Some(&text[start..end])
    })
}

/// Marks that close nothing in any language. Quotation marks do, in some.
const OPENING: [char; 7] = ['(', '[', '{', '„', '‚', '¿', '¡'];

/// Punctuation of scripts that put blanks between words.
fn is_mark(c: char) -> bool {
    let other =
        matches!(c, '¡' | '§' | '«' | '·' | '»' | '¿' | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}');
    c.is_ascii_punctuation() || other
}

/// A cluster, or its letters where they are several and have no room beside each other.
pub(crate) fn parts(cluster: &str, columns: usize) -> impl Iterator<Item = &str> {
    let wide = width(cluster);
    let whole = wide <= 2 || (wide <= columns && cluster.len() <= MAX_CLUSTER);
    let mut rest = Some(cluster);
    iter::from_fn(move || {
        let text = rest.take()?;
        let letter = |c: char| cluster_width(c.encode_utf8(&mut [0; 4])) > 0;
        let next = text.char_indices().skip(1).find(|(_, c)| !whole && letter(*c));
        let (part, after) = next.map_or((text, None), |(at, _)| (&text[..at], Some(&text[at..])));
        rest = after;
        Some(short(part))
    })
}

/// The text, cut with `…` where it is wider than `columns`.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 0);
    for cluster in text.graphemes(true) {
        let wide = cluster_width(cluster);
        if used + wide + 1 > columns {
            break;
        }
        kept.push_str(short(cluster));
        used += wide;
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// Columns of an id behind a name, its `#` among them.
const ID: usize = 9;

/// A name and the beginning of an id that tells its bearer from another's, where there is one.
pub(crate) fn split_id(label: &str) -> Option<(&str, &str)> {
    let (name, id) = label.rsplit_once('#')?;
    (id.len() + 1 == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some((name, id))
}

/// The same for what somebody or something is called: what tells it from another is not cut while there is any room.
pub(crate) fn cut_label(label: &str, columns: usize) -> String {
    match split_id(label) {
        Some((name, id)) if width(label) > columns && columns > ID => {
            [&cut(name, columns - ID), "#", id].concat()
        }
        _ => cut(label, columns),
    }
}

fn short(cluster: &str) -> &str {
    if cluster.len() <= MAX_CLUSTER {
        return cluster;
    }
    let end = (0..=MAX_CLUSTER).rev().find(|at| cluster.is_char_boundary(*at)).unwrap_or(0);
    &cluster[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_words_then_by_characters() {
        assert_eq!(wrap("seed swap on saturday", 10), ["seed swap ", "on ", "saturday"]);
        assert_eq!(wrap("abcdefghijkl", 5), ["abcde", "fghij", "kl"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn punctuation_stays_with_its_word() {
        for (text, columns, rows) in [
            ("come to the garden.", 18, &["come to the ", "garden."][..]),
            ("see you (or not) there", 10, &["see you ", "(or not) ", "there"]),
            ("she said: “yes”, twice", 14, &["she said: ", "“yes”, twice"]),
            ("er sagt „ja“ dazu", 10, &["er sagt ", "„ja“ dazu"]),
            ("really?! \"no\"...", 15, &["really?! ", "\"no\"..."]),
            ("add it to #general", 14, &["add it to ", "#general"]),
            ("a well-known thing", 9, &["a well-", "known ", "thing"]),
            ("call(it) now", 6, &["call", "(it) ", "now"]),
            ("漢字漢字。漢", 8, &["漢字漢字", "。漢"]),
            ("wait... what?", 4, &["wait", "... ", "what", "?"]),
        ] {
            assert_eq!(wrap(text, columns), rows, "{text} in {columns}");
        }
    }

    #[test]
    fn an_address_breaks_behind_its_marks() {
        let link = "at https://chat.example/garden/seeds?kind=tulip&n=9 it is";
        let rows = ["at https://", "chat.example/garden/", "seeds?kind=tulip&n=9", "it is"];
        assert_eq!(wrap(link, 20), rows);
    }

    #[test]
    fn wide_characters_never_hang_over_the_edge() {
        for columns in 2..9 {
            for row in wrap("漢字漢字 かな 👩\u{200d}👩\u{200d}👧👍🏽 x", columns) {
                assert!(width(&row) <= columns, "{row} in {columns}");
            }
        }
    }

    #[test]
    fn letters_that_are_one_cluster_are_all_in_a_row_that_holds_them() {
        let drawn = |text: &str| text.graphemes(true).map(|c| usize::from(c.cell_width())).sum::<usize>();
        let conjunct = "क्".repeat(20);
        for word in ["स्त्री", "ক্ষ্ম্য", "ｶﾞｷﾟ", "र्त्स्न्य", &conjunct]
        {
            let text = [word; 7].join(" ");
            for columns in 2..30 {
                let rows = wrap(&text, columns);
                assert!(rows.iter().all(|row| drawn(row) <= columns), "{rows:?} in {columns}");
                let blank = |text: &str| text.replace(' ', "");
                assert_eq!(blank(&rows.concat()), blank(&text), "in {columns}");
            }
        }
    }

    #[test]
    fn a_stack_of_marks_is_cut() {
        let tower = format!("e{}", "\u{301}".repeat(5_000));
        assert!(wrap(&tower, 10).iter().map(String::len).sum::<usize>() < 100);
    }

    #[test]
    fn cutting_says_so() {
        assert_eq!(cut("garden club", 8), "garden …");
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut("ab", 2), "ab");
    }

    #[test]
    fn an_id_is_cut_last() {
        for (label, columns, shown) in [
            ("Christine#15f7f2dd", 18, "Christine#15f7f2dd"),
            ("Christine#15f7f2dd", 13, "Chr…#15f7f2dd"),
            ("Christine#15f7f2dd", 10, "…#15f7f2dd"),
            ("alice#b44c2f55#1f653320", 12, "al…#1f653320"),
            ("Christine#15f7", 12, "Christine#1…"),
            ("Christine", 4, "Chr…"),
        ] {
            assert_eq!(cut_label(label, columns), shown);
        }
    }
}
