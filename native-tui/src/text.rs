//! Texts of other people, made safe and measured for a terminal.

use std::borrow::Cow;

use unicode_segmentation::GraphemeCursor;

/// Whether a character could steer the terminal or disguise what is written: controls, escape sequences and
/// bidirectional overrides.
pub(crate) fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}' | '\u{fff9}'..='\u{fffb}' | '\u{61c}')
}

/// Whether a joiner or a non-joiner is where no script and no emoji has it. Terminals put what follows a joiner into the cell
/// before it, and all that is behind is shifted.
fn is_stray(text: &str, at: usize, c: char) -> bool {
    let end = at + c.len_utf8();
    let next = text[end..].chars().next();
    match c {
        '\u{200d}' => {
            let ends = |at| GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0) != Ok(false);
            ends(at) || ends(end) || next == Some(c)
        }
        '\u{200c}' => [text[..at].chars().next_back(), next].iter().any(|c| c.is_none_or(|c| c.is_ascii())),
        _ => false,
    }
}

/// One line of text with every dangerous character made visible.
#[must_use]
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let is_unsafe = |(at, c): (usize, char)| is_dangerous(c) || is_stray(text, at, c);
    if text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_control())
        || !text.char_indices().any(is_unsafe)
    {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for (at, c) in text.char_indices() {
        match c {
            '\n' => safe.push('⏎'),
            '\t' => safe.push_str("    "),
            '\u{0}'..='\u{1f}' => {
                safe.push('^');
                safe.push(char::from(b'@' + c as u8));
            }
            '\u{7f}' => safe.push_str("^?"),
            c if is_unsafe((at, c)) => safe.push_str(&format!("<{:04X}>", u32::from(c))),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Why own messages wait, although the relay is reached.
#[must_use]
pub(crate) fn held(reason: &str) -> String {
    format!("the relay takes no messages: {}", clean(reason))
}

/// “1 member”, “2 members”.
#[must_use]
pub(crate) fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Year, month and day of a day counted from 1970-01-01 (proleptic Gregorian).
#[must_use]
pub(crate) fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // Both are small by construction: 1–12 and 1–31.
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

/// `2026-02-24 10:32 UTC` of unix milliseconds.
#[must_use]
pub(crate) fn utc(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", of_day / 3600, of_day / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_steer_the_terminal() {
        let evil = "a\u{1b}]0;owned\u{7}\u{9b}31m\r\u{202e}b\u{7f}\u{85}\u{200b}";
        let safe = clean(evil);
        assert_eq!(safe, "a^[]0;owned^G<009B>31m^M<202E>b^?<0085><200B>");
        assert!(!safe.chars().any(is_dangerous));
    }

    #[test]
    fn a_joiner_that_joins_nothing_is_shown() {
        for (text, shown) in [
            ("\u{200d}mm", "<200D>mm"),
            ("x\u{200d}y", "x<200D>y"),
            ("né\u{200d}", "né<200D>"),
            ("a\u{200d}👩", "a<200D>👩"),
            ("👩\u{200d}\u{200d}👧", "👩<200D><200D>👧"),
            ("a\u{200c}b", "a<200C>b"),
            ("\u{200c}", "<200C>"),
        ] {
            assert_eq!(clean(text), shown);
        }
        for text in ["❤\u{fe0f}\u{200d}🔥", "می\u{200c}خواهم", "ക്\u{200d}ഷ"] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn harmless_text_stays_as_it_is() {
        let text = "Grüße 👩\u{200d}👩\u{200d}👧 e\u{301} 漢字 ✓";
        assert!(matches!(clean(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(1_771_929_120_000), "2026-02-24 10:32 UTC");
        assert_eq!(civil(19_782), (2024, 2, 29));
    }
}
