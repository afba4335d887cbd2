//! Finding web addresses in messages. Only http and https become links; everything else stays text.

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Plain.
    Text(String),
    /// An address to go to.
    Link(String),
}

/// What no address goes on after: what stands around it, and punctuation of scripts that put no space before it.
const AROUND: &str = "<>\"'`“”«»。，、！？；：（）「」『』【】";
/// What ends a sentence after an address, and may be within one.
const ENDS: &str = ".,;:!?…؟،";

/// Cuts a text into pieces, losing nothing of it.
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    // Of the same length: a scheme may be written in capitals.
    let lower = text.to_ascii_lowercase();
    let next = |rest: &str| {
        let rest = &lower[lower.len() - rest.len()..];
        ["https://", "http://"].iter().filter_map(|scheme| rest.find(scheme)).min()
    };
    while let Some(start) = next(rest) {
        let tail = &rest[start..];
        let end = tail
            .find(|c: char| c.is_whitespace() || c.is_control() || AROUND.contains(c))
            .unwrap_or(tail.len());
        let link = address(&tail[..end]);
        let bare = link.ends_with("//");
        let taken = if bare { end.max(1) } else { link.len() };
        if start > 0 {
            pieces.push(Piece::Text(rest[..start].into()));
        }
        let piece = &tail[..taken];
        pieces.push(if bare { Piece::Text(piece.into()) } else { Piece::Link(piece.into()) });
        rest = &tail[taken..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    pieces
}

/// The address in what looks like one: what ends a sentence, or closes a bracket that was opened before it, belongs to the
/// text around it.
fn address(found: &str) -> &str {
    let count = |bracket: char| found.matches(bracket).count();
    let brackets = [('(', ')'), ('[', ']'), ('{', '}')];
    let mut foreign = brackets.map(|(opening, closing)| count(closing).saturating_sub(count(opening)));
    let mut address = found;
    while let Some(last) = address.chars().next_back() {
        if let Some(kind) = brackets.iter().position(|(_, closing)| *closing == last) {
            if foreign[kind] == 0 {
                break;
            }
            foreign[kind] -= 1;
        } else if !ENDS.contains(last) {
            break;
        }
        address = &address[..address.len() - last.len_utf8()];
    }
    address
}

/// The text with control characters made visible, tabs and line breaks excepted, and overrides of the writing
/// direction taken out: neither may change how what stands around them reads.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\r'))
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn link(text: &str) -> Piece {
        Piece::Link(text.into())
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.into())
    }

    #[test]
    fn addresses_become_links_without_the_sentence_around_them() {
        assert_eq!(
            pieces("see https://a.example/b?c=d, or (http://x.example)."),
            [
                text("see "),
                link("https://a.example/b?c=d"),
                text(", or ("),
                link("http://x.example"),
                text(").")
            ]
        );
        assert_eq!(pieces("plain"), [text("plain")]);
    }

    #[test]
    fn brackets_of_an_address_stay_with_it_and_those_around_it_do_not() {
        let rust = "https://en.wikipedia.org/wiki/Rust_(programming_language)";
        assert_eq!(pieces(rust), [link(rust)]);
        assert_eq!(pieces(&["(", rust, ")."].concat()), [text("("), link(rust), text(").")]);
        assert_eq!(pieces(&[rust, ",)]"].concat()), [link(rust), text(",)]")]);
        assert_eq!(pieces("http://[::1]"), [link("http://[::1]")]);
        assert_eq!(
            pieces("[x](http://a.example/[b])"),
            [text("[x]("), link("http://a.example/[b]"), text(")")]
        );
        assert_eq!(pieces("(https://)"), [text("("), text("https://)")]);
    }

    #[test]
    fn schemes_in_capitals_are_schemes() {
        assert_eq!(
            pieces("Ä Https://a.example and HTTP://B.example/C"),
            [text("Ä "), link("Https://a.example"), text(" and "), link("HTTP://B.example/C")]
        );
    }

    #[test]
    fn punctuation_of_other_scripts_ends_an_address() {
        for (before, after) in [
            ("见", "。好"),
            ("（", "）"),
            ("「", "」"),
            ("«", "»"),
            ("", "，と"),
            ("", "…"),
            ("", "؟"),
            ("", "، و"),
        ] {
            let said = [before, "https://a.example/b", after].concat();
            let mut expected = vec![text(before), link("https://a.example/b"), text(after)];
            expected.retain(|piece| *piece != text(""));
            assert_eq!(pieces(&said), expected);
        }
        assert_eq!(pieces("https://a.example/ä/東京"), [link("https://a.example/ä/東京")]);
    }

    #[test]
    fn other_schemes_and_bare_schemes_stay_text() {
        assert_eq!(pieces("javascript:alert(1)"), [text("javascript:alert(1)")]);
        assert_eq!(pieces("https://"), [text("https://")]);
        assert_eq!(pieces("ahttps:// b"), [text("a"), text("https://"), text(" b")]);
    }

    #[test]
    fn control_characters_and_direction_overrides_cannot_deceive() {
        assert_eq!(printable("a\u{202e}b\u{7}\tc\n"), "ab\u{fffd}\tc\n");
    }
}
