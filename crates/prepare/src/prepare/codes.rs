//! Item ids that are no products: postage, fees, samples, gift vouchers.

use super::config::{NamedCodes, NonProductCodes};
use crate::PrepareError;

/// Codes of order-line data that hold digits and are no products all the same.
const WITH_DIGITS: &[&str] = &["C2", "C3", "gift_0001_*"];

/// Which item ids are no products.
///
/// The automatic rule is for order lines (logs with order ids and quantities), in shops where at
/// least half of all different ids hold a digit: there an id without any digit (`POST`, `DOT`, `M`,
/// `D`, `S`, `B`, `PADS`, `CRUK`, `BANK CHARGES`, `AMAZONFEE`, `DCGSSBOY`) is no product, and
/// neither is `C2`, `C3` or a gift voucher `gift_0001_*`. In other data it says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CodeRule {
    Automatic,
    Patterns(Vec<String>),
}

impl CodeRule {
    pub(super) fn new(codes: &NonProductCodes) -> Result<Self, PrepareError> {
        match codes {
            NonProductCodes::Named(NamedCodes::Auto) => Ok(Self::Automatic),
            NonProductCodes::Named(NamedCodes::None) => Ok(Self::Patterns(Vec::new())),
            NonProductCodes::Patterns(patterns) => {
                if let Some(bad) = patterns.iter().find(|p| p.chars().all(|c| c == '*')) {
                    let reason = format!("pattern {bad:?} would drop every item");
                    return Err(PrepareError::config("prepare.non_product_codes", reason));
                }
                Ok(Self::Patterns(patterns.clone()))
            }
        }
    }

    /// For each of `ids`, in their order, whether it is no product.
    pub(crate) fn flags<'a>(
        &self,
        ids: impl Iterator<Item = &'a str> + Clone,
        has_order_lines: bool,
    ) -> Vec<bool> {
        let has_digit = |id: &str| id.bytes().any(|byte| byte.is_ascii_digit());
        match self {
            Self::Patterns(patterns) => {
                ids.map(|id| patterns.iter().any(|pattern| matches(pattern, id))).collect()
            }
            Self::Automatic => {
                let (n, n_with_digit) = ids
                    .clone()
                    .fold((0, 0), |(n, with), id| (n + 1, with + usize::from(has_digit(id))));
                let applies = has_order_lines && n_with_digit * 2 >= n;
                let known = |id: &str| WITH_DIGITS.iter().any(|pattern| matches(pattern, id));
                ids.map(|id| applies && (!has_digit(id) || known(id))).collect()
            }
        }
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The earliest place leaves the most for what follows.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_ids() {
        for (pattern, text, want) in [
            ("POST", "POST", true),
            ("POST", "POSTER", false),
            ("gift_*", "gift_0001_20", true),
            ("*fee", "AMAZONfee", true),
            ("a*b*c", "a-c-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*a", "a", false),
            ("茶*", "茶杯", true),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn the_automatic_rule_is_for_order_lines_of_shops_with_numbered_products() {
        let ids = ["85123A", "22423", "POST", "C2", "gift_0001_20", "m"];
        let flags = CodeRule::Automatic.flags(ids.into_iter(), true);
        assert_eq!(flags, [false, false, true, true, true, true]);
        assert!(!CodeRule::Automatic.flags(ids.into_iter(), false).contains(&true));
        let names = ["lamp", "mug", "sock", "mug 2"];
        assert!(!CodeRule::Automatic.flags(names.into_iter(), true).contains(&true));
    }

    #[test]
    fn a_pattern_that_drops_everything_is_refused() {
        assert!(CodeRule::new(&NonProductCodes::Patterns(vec!["**".into()])).is_err());
    }
}
