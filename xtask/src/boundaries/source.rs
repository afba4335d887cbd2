//! Just enough reading of Rust source to tell which paths it names: comments and strings are left out, `use` trees are
//! spelled out. Not a parser; what macros build from pieces escapes it, and the compiler holds those cases.

/// The source with comments and the contents of string literals replaced by spaces.
pub(super) fn stripped(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if c == '"' {
            string(rest)
        } else if c == 'r' && !ends_in_word(&code) {
            raw_string(rest)
        } else if c == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped > 0 {
            code.push(' ');
            rest = &rest[skipped..];
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// `r"…"` and `r#"…"#`; zero for an identifier that starts with `r`.
fn raw_string(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    text[body..].find(&end).map_or(text.len(), |at| body + at + end.len())
}

/// `'x'` and `'\n'`; zero for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, c))) => {
            let after = escaped + c.len_utf8();
            text[after..].find('\'').map_or(0, |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn ends_in_word(text: &str) -> bool {
    text.chars().next_back().is_some_and(is_word)
}

/// Whether `word` stands in the code by itself.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word)
        .any(|(at, _)| !ends_in_word(&code[..at]) && !code[at + word.len()..].starts_with(is_word))
}

/// Cuts out every item under `#[cfg(test)]`.
pub(super) fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut depth = 0_usize;
        let end = rest.char_indices().find(|(_, c)| match c {
            '{' => {
                depth += 1;
                false
            }
            '}' => {
                depth = depth.saturating_sub(1);
                depth == 0
            }
            ';' => depth == 0,
            _ => false,
        });
        rest = end.map_or("", |(at, _)| &rest[at + 1..]);
    }
    kept + rest
}

/// Every path that the code names below the crate `root`, without that first part: `a::b` and `a::c` for
/// `use root::a::{b, c}`, `a::*` for a glob.
pub(super) fn paths_below(code: &str, root: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(root) {
        let after = code[at + root.len()..].trim_start();
        if ends_in_word(&code[..at]) {
            continue;
        }
        if let Some(tree) = after.strip_prefix("::") {
            spell_out(tree, "", &mut paths);
        }
    }
    paths
}

/// Reads one use tree; answers what is left of the text behind it.
fn spell_out<'a>(text: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut group) = text.strip_prefix('{') {
        loop {
            group = group.trim_start();
            if group.is_empty() || group.starts_with('}') {
                return group.strip_prefix('}').unwrap_or(group);
            }
            let rest = spell_out(group, prefix, paths);
            // Behind an element: ` as name`, a comma, or the end of the group.
            let next = rest.find([',', '}']).unwrap_or(rest.len());
            group = rest[next..].strip_prefix(',').unwrap_or(&rest[next..]);
        }
    }
    let end = text.find(|c: char| !is_word(c) && c != '*').unwrap_or(text.len());
    let join = if prefix.is_empty() { "" } else { "::" };
    let path = format!("{prefix}{join}{}", &text[..end]);
    let rest = text[end..].trim_start();
    match rest.strip_prefix("::") {
        // A turbofish ends the path.
        Some(more) if end > 0 && !more.trim_start().starts_with('<') => spell_out(more, &path, paths),
        _ => {
            if end > 0 && path != "self" {
                paths.push(path.trim_end_matches("::self").to_owned());
            }
            rest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_trees_are_spelled_out() {
        let code = "use std::{a::{self, b as c, d::e}, f};\nlet x = std::g::<u8>();\nstd::h::i::j(1)";
        assert_eq!(paths_below(code, "std"), ["a", "a::b", "a::d::e", "f", "g", "h::i::j"]);
    }

    #[test]
    fn strings_comments_and_characters_are_left_out_and_lifetimes_stay() {
        let code = "a /* b /* c */ d */ 'e' '\\'' \"f \\\" g\" r#\"h \" i\"# &'static j // k\nl '\"' m";
        let words: Vec<_> = stripped(code).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["a", "&'static", "j", "l", "m"]);
    }

    #[test]
    fn a_word_inside_another_does_not_count() {
        assert!(has_word("let x: Opened = y;", "Opened"));
        assert!(!has_word("let x: ReOpened = OpenedAt;", "Opened"));
    }
}
