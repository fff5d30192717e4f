//! Traditional Chinese characters to simplified ones, character by character.

use std::collections::HashMap;
use std::sync::OnceLock;

/// A pair a line, by the traditional character: the first choice of `TSCharacters.txt` of OpenCC (Apache-2.0), where it differs.
const PAIRS: &str = include_str!("simplified.txt");

fn table() -> &'static HashMap<char, char> {
    static TABLE: OnceLock<HashMap<char, char>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let pair = |line: &str| {
            let mut chars = line.chars();
            Some((chars.next()?, chars.next()?))
        };
        PAIRS.lines().filter_map(pair).collect()
    })
}

/// The simplified form of a character; itself for all others.
pub(crate) fn simplified(c: char) -> char {
    match c {
        // The traditional characters all stand behind this one.
        '\0'..'\u{3400}' => c,
        _ => table().get(&c).copied().unwrap_or(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traditional_characters_become_simplified_and_others_stay() {
        let simple: String =
            "請問訂單什麼時候發貨？退貨怎麼辦 abc 退货".chars().map(simplified).collect();
        assert_eq!(simple, "请问订单什么时候发货？退货怎么办 abc 退货");
        assert!(table().len() > 4000);
        assert!(table().iter().all(|(from, to)| *from >= '\u{3400}' && from != to));
    }

    #[test]
    fn what_is_simplified_is_not_simplified_further() {
        let further: Vec<_> = table().values().filter(|to| simplified(**to) != **to).collect();
        assert!(further.is_empty(), "{further:?}");
    }
}
