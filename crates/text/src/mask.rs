//! E-mail addresses, phone numbers, order ids and numbers become words that say nothing of whose they are.
//!
//! Masking errs on the side of masking. What it cannot see: numbers in words ("double four", 一三八), addresses that are spelled out
//! ("john at example dot com"), names of people.

use std::borrow::Cow;

use regex::{Captures, Regex, RegexBuilder};

use crate::config::Mask;
use crate::error::TextError;

/// Letters of scripts whose words are set apart by spaces: those that may be glued to an address or a code without being part of it are
/// not among them.
const SPACED: &str = r"[[\p{L}\p{M}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}]]";

/// Most bytes that a pattern of the configuration may compile to.
const MAX_PATTERN_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Masker {
    masks: Vec<Mask>,
    emails: [Regex; 2],
    orders: Vec<Regex>,
    codes: Regex,
    digits: Regex,
    numbers: Regex,
}

impl Masker {
    pub(crate) fn new(masks: &[Mask], order_ids: &[String]) -> Result<Self, TextError> {
        let compile = |pattern: &str| Regex::new(pattern).expect("a constant pattern compiles");
        let orders = order_ids.iter().map(|pattern| {
            let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build();
            let regex = built.map_err(|error| TextError::Pattern {
                pattern: pattern.clone(),
                reason: error.to_string(),
            })?;
            match regex.is_match("") {
                true => Err(TextError::EmptyMatch { pattern: pattern.clone() }),
                false => Ok(regex),
            }
        });
        // An address glued to Chinese words is cut out of them first; then those that are Chinese words themselves.
        let email = |letter: &str| {
            format!(
                r"(?:{letter}|[.!#$%&'*+/=?^_`{{|}}~\-])+@{letter}(?:{letter}|-)*(?:\.(?:{letter}|-)+)+"
            )
        };
        Ok(Self {
            masks: masks.to_vec(),
            emails: [compile(&email(SPACED)), compile(&email(r"[\p{L}\p{M}\p{N}]"))],
            orders: orders.collect::<Result<_, _>>()?,
            codes: compile(&format!(r"#?{SPACED}+(?:[-_/]{SPACED}+)*")),
            digits: compile(r"\+?\(?\d(?:[ .,\-()/]{0,2}\d)*"),
            numbers: compile(r"\d+(?:[.,:/\-]\d+)*"),
        })
    }

    fn masks(&self, mask: Mask) -> bool {
        self.masks.contains(&mask)
    }

    /// A normalized text with all that is to be masked replaced. Applying it twice changes nothing more.
    pub(crate) fn apply(&self, text: String) -> String {
        let mut text = text;
        if self.masks(Mask::Email) && text.contains('@') {
            for email in &self.emails {
                text = replaced(text, email, |_| Some(Mask::Email));
            }
        }
        if self.masks(Mask::Order) {
            for order in &self.orders {
                text = replaced(text, order, |_| Some(Mask::Order));
            }
        }
        if !text.contains(|c: char| c.is_numeric()) {
            return text;
        }
        if self.masks(Mask::Order) {
            text = replaced(text, &self.codes, |found| is_code(found).then_some(Mask::Order));
        }
        text = replaced(text, &self.digits, |found| {
            self.kind_of_digits(found).filter(|mask| self.masks(*mask))
        });
        if self.masks(Mask::Number) {
            text = replaced(text, &self.numbers, |_| Some(Mask::Number));
        }
        text
    }

    /// What seven or more digits are, with what stands between them.
    fn kind_of_digits(&self, found: &str) -> Option<Mask> {
        // Commas part thousands and lists, not the groups of a phone number.
        if found.contains(',') {
            return found.split(',').find_map(|part| self.kind_of_digits(part));
        }
        let n_digits = found.chars().filter(|c| is_digit(*c)).count();
        if n_digits < 7 {
            return None;
        }
        let is_plain = found.chars().all(is_digit);
        let is_mobile = n_digits == 11 && found.starts_with('1') && !found.starts_with("10");
        let is_phone = !is_plain || found.starts_with('0') || is_mobile;
        let (kind, other) =
            if is_phone { (Mask::Phone, Mask::Order) } else { (Mask::Order, Mask::Phone) };
        // Of the two kinds nobody can be sure: where one alone is masked, both are.
        Some(if self.masks(kind) { kind } else { other })
    }
}

fn is_digit(c: char) -> bool {
    c.is_numeric()
}

/// Whether letters and digits are a code that says whose order it is.
fn is_code(found: &str) -> bool {
    let digits = found.chars().filter(|c| is_digit(*c)).count();
    let has_letter = found.chars().any(char::is_alphabetic);
    digits >= 1 && found.starts_with('#') || digits >= 4 && has_letter
}

fn replaced(text: String, pattern: &Regex, mask: impl Fn(&str) -> Option<Mask>) -> String {
    let new = pattern.replace_all(&text, |found: &Captures<'_>| match mask(&found[0]) {
        Some(mask) => mask.token().to_owned(),
        None => found[0].to_owned(),
    });
    match new {
        Cow::Borrowed(_) => text,
        Cow::Owned(new) => new,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::normalize::normalize;
    use proptest::prelude::*;

    fn masked(text: &str) -> String {
        static MASKER: OnceLock<Masker> = OnceLock::new();
        MASKER.get_or_init(|| Masker::new(&Mask::ALL, &[]).unwrap()).apply(normalize(text))
    }

    #[test]
    fn each_kind_is_known_wherever_it_stands() {
        for (typed, want) in [
            ("write to John.Doe+shop@mail.example.co.uk, please", "write to <email>, please"),
            ("邮箱john@example.com谢谢", "邮箱<email>谢谢"),
            ("张三@例子.中国", "<email>"),
            ("ｊｏｈｎ＠ｅｘａｍｐｌｅ．ｃｏｍ", "<email>"),
            ("call +44 20 7946 0958 now", "call <phone> now"),
            ("(555) 123-4567", "<phone>"),
            ("电话13800138000打不通", "电话<phone>打不通"),
            ("1 3 8 0 0 1 3 8 0 0 0", "<phone>"),
            ("138\u{200b}0013\u{200b}8000", "<phone>"),
            ("٠١٢٣٤٥٦٧٨٩", "<order>"),
            ("order #42 is late", "order <order> is late"),
            ("订单号202311110001234还没到", "订单号<order>还没到"),
            ("ORD-2023-00123, AB1234X", "<order>, <order>"),
            ("Заказ20231234 где?", "<order> где?"),
            ("I paid 1,299.50 on 12/11", "I paid <number> on <number>"),
            ("iphone15 for 2 weeks", "iphone<number> for <number> weeks"),
            ("① ½", "<number> <number>⁄<number>"),
            ("no digits at all @ home", "no digits at all @ home"),
        ] {
            assert_eq!(masked(typed), want, "{typed:?}");
        }
    }

    #[test]
    fn a_kind_that_is_not_asked_for_stays_and_long_digits_never_do() {
        let masker = |masks: &[Mask]| Masker::new(masks, &[]).unwrap();
        let text = "2 of a@b.cd 5551234".to_owned();
        assert_eq!(masker(&[]).apply(text.clone()), text);
        assert_eq!(masker(&[Mask::Phone]).apply(text.clone()), "2 of a@b.cd <phone>");
        assert_eq!(masker(&[Mask::Number]).apply(text), "<number> of a@b.cd <number>");
    }

    #[test]
    fn patterns_of_the_shop_are_masked_and_bad_ones_refused() {
        let own = Masker::new(&[Mask::Order], &["W[A-Z]{3}".to_owned()]).unwrap();
        assert_eq!(own.apply("order WXYZ".to_owned()), "order <order>");
        let refused =
            |pattern: &str| Masker::new(&Mask::ALL, &[pattern.to_owned()]).unwrap_err().to_string();
        assert!(refused("a(").contains("no regular expression"));
        assert!(refused("a*").contains("empty text"));
        assert!(refused("(a{1000}){1000}").contains("no regular expression"));
    }

    proptest! {
        #[test]
        fn twice_is_once_and_no_digit_is_left(text in "([0-9a-z@#.,+() -]|\\PC){0,60}") {
            let once = masked(&text);
            prop_assert_eq!(&masked(&once), &once);
            prop_assert!(!once.contains(|c: char| c.is_ascii_digit()), "{}", once);
        }

        #[test]
        fn planted_secrets_never_survive(before in "[ a-z订单]{0,12}", after in "[ a-z谢。]{0,12}", digits in "[1-9][0-9]{6,14}") {
            let text = masked(&format!("{before}{digits}{after} {before}ann{digits}@shop.example{after}"));
            prop_assert!(!text.contains(&digits), "{}", text);
            prop_assert!(!text.contains('@'), "{}", text);
        }
    }
}
