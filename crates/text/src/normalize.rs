//! One form for what looks the same: NFKC, no invisible characters, single spaces.

use unicode_normalization::UnicodeNormalization;

/// NFKC of the text (full width becomes half width, ligatures their letters), without characters that show nothing, with one space for
/// each run of white space and none at the ends. Applying it twice changes nothing more.
pub(crate) fn normalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Twice: a mark between a letter and its accent goes first, then they compose.
    let visible = text.nfkc().filter(|c| !is_invisible(*c)).collect::<String>();
    let mut is_space = true;
    for c in visible.nfkc() {
        if c.is_whitespace() || c.is_control() {
            if !is_space {
                out.push(' ');
            }
            is_space = true;
        } else {
            out.push(c);
            is_space = false;
        }
    }
    if is_space && !out.is_empty() {
        out.pop();
    }
    out
}

/// Format characters and others that show nothing themselves: zero width, marks of direction, soft hyphens, variation selectors, tags,
/// byte order marks, and the character that stands for undecodable bytes. Digits with such between them are still a phone number.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{fffd}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_looks_the_same_is_the_same() {
        assert_eq!(normalize("　ＡＢＣ１２３\r\n\tﬁne "), "ABC123 fine");
        assert_eq!(normalize("1\u{200b}2\u{202e}3\u{ad}4"), "1234");
        assert_eq!(normalize("cafe\u{200d}\u{301}"), "café");
        assert_eq!(normalize(" \u{200f} "), "");
        assert_eq!(normalize("a\0b"), "a b");
    }

    proptest! {
        #[test]
        fn twice_is_once(text in "(\\PC|[\u{0}-\u{ff}\u{200b}-\u{206f}\u{300}-\u{36f}\u{fe00}\u{ff00}-\u{fffd}]){0,40}") {
            let once = normalize(&text);
            prop_assert_eq!(normalize(&once), once);
        }
    }
}
