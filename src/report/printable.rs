//! Names as a terminal may get them.

use std::borrow::Cow;

/// Escapes control characters and those that change the direction of writing: names come from
/// models and files, and could clear the screen, forge a line or end a row of a table.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match is_escaped(letter) {
            true if letter.is_ascii() => safe.extend(letter.escape_default()),
            true => safe.extend(letter.escape_unicode()),
            false => safe.push(letter),
        }
    }
    Cow::Owned(safe)
}

fn is_escaped(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_acts_on_a_terminal_is_escaped() {
        let name = "fc.\u{1b}[2J\u{7}\n\u{85}\u{202e}w\u{fc}";
        assert_eq!(
            printable(name),
            "fc.\\u{1b}[2J\\u{7}\\n\\u{85}\\u{202e}w\u{fc}"
        );
        assert!(matches!(printable("a b\\c"), Cow::Borrowed(_)));
    }
}
