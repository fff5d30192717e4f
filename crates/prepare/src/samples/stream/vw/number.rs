//! Numbers as they stand in a text.

/// Powers of ten that stand below a number of up to 8 characters.
const POWERS: [f64; 8] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const ZEROS: u64 = LOW * 0x30;

/// The number that stands from `at` to `stop`, and whether it is other than 0; `None` if it is none, not finite, or followed by a colon.
///
/// Up to 8 characters are one word. The point is taken out of it (the first zero byte of the word less points is where the lowest bit of
/// the usual test is, see "Determine if a word has a zero byte" in Anderson, Bit Twiddling Hacks), and neighbors are joined to pairs, fours and
/// eights (Lemire, "Quickly parsing eight digits", 2018). A quotient of two numbers that an `f64` holds exactly is rounded once, as
/// a parser rounds it.
#[inline(always)]
pub(super) fn number(bytes: &[u8], at: usize, stop: usize) -> Option<(f64, bool)> {
    if bytes.get(stop) == Some(&b':') {
        return None;
    }
    let is_negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(is_negative);
    let n_bits = 8 * stop.saturating_sub(first) as u32;
    let Some(word) = bytes.get(first..).and_then(|rest| rest.first_chunk::<8>()) else {
        return parsed(&bytes[at..stop]);
    };
    if !(8..=64).contains(&n_bits) {
        return parsed(&bytes[at..stop]);
    }
    // The characters at the high end, the first one lowest; zero bytes below.
    let text = u64::from_le_bytes(*word) << (64 - n_bits);
    let less_points = text ^ (LOW * 0x2e);
    let points = less_points.wrapping_sub(LOW) & !less_points & HIGH;
    let (mut digits, mut n_after, mut n_digit_bits) = (text, 0, n_bits);
    if points != 0 {
        let point = points.trailing_zeros() & !7;
        let below = (1 << point) - 1;
        digits = (text & !below & !(0xff << point)) | ((text & below) << 8);
        n_after = (56 - point) / 8;
        n_digit_bits -= 8;
    }
    if n_digit_bits == 0 {
        return None;
    }
    // Two shifts, for one by 64 is none.
    let digits = (digits | (ZEROS >> (n_digit_bits - 1) >> 1)).wrapping_sub(ZEROS);
    if (digits.wrapping_add(LOW * 0x76) | digits) & HIGH != 0 {
        return parsed(&bytes[at..stop]);
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let odd = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let even = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    let whole = odd.wrapping_add(even) >> 32;
    let number = whole as f64 / POWERS[n_after as usize];
    Some((if is_negative { -number } else { number }, whole != 0))
}

#[inline(never)]
fn parsed(text: &[u8]) -> Option<(f64, bool)> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some((number, number != 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// With something behind it, as in a line, and alone.
    fn read(text: &str) -> Option<f64> {
        let longer = format!("{text} more of a line");
        let alone = number(text.as_bytes(), 0, text.len());
        assert_eq!(number(longer.as_bytes(), 0, text.len()), alone, "{text}");
        alone.map(|(number, is_some)| {
            assert_eq!(is_some, number != 0.0, "{text}");
            number
        })
    }

    #[test]
    fn numbers_are_those_of_the_standard_parser() {
        for text in [
            "1",
            "0",
            "-0",
            "2.50",
            ".5",
            "3.",
            "1e-5",
            "12345678901234567890",
            "0.1",
            "-7.125",
            "+2",
            "0.0000",
            "12.34567",
            "12345678",
            "-1234.567",
            "9007199254740993",
            "0.000000000000000000001",
            "123456.789012345678",
        ] {
            let expected = text.parse::<f64>().unwrap().to_bits();
            assert_eq!(read(text).map(f64::to_bits), Some(expected), "{text}");
        }
        for text in
            ["", "-", ".", "1e999", "nan", "inf", "a", "1_0", "1.2.3", "--1", "1-2", "12/4", "1;0"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(number(b"1:2", 0, 1), None);
    }

    proptest! {
        #[test]
        fn any_number_is_that_of_the_standard_parser(text in "-?[0-9]{0,9}\\.?[0-9]{0,6}") {
            prop_assert_eq!(read(&text), text.parse::<f64>().ok());
        }

        #[test]
        fn any_text_is_the_number_of_the_standard_parser_or_none(text in "[0-9.e+\\-/;a]{0,9}") {
            prop_assert_eq!(read(&text), text.parse::<f64>().ok().filter(|number| number.is_finite()));
        }
    }
}
