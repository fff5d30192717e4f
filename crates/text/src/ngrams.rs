//! Features of a text: n-grams of its words and of its characters, named by a hash of 64 bits.
//!
//! A hash stands for the n-gram itself: among a million of them two share one with a probability of 3 in 10^8. So a model keeps no word of
//! any text, and no n-gram is a string of its own while it is counted.

use std::ops::{Range, RangeInclusive};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::tokens::Analyzed;

/// An n-gram of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ngram {
    /// What it is, with its kind.
    pub hash: u64,
    /// From its first byte to its last in [`Analyzed::text`].
    pub span: Range<usize>,
}

const WORDS: u64 = 1;
const CHARACTERS: u64 = 2;
const SUBWORDS: u64 = 3;

/// Calls `visit` for each n-gram of the text's words, for each length in `n`, by place and length.
pub fn words(text: &Analyzed, n: RangeInclusive<usize>, mut visit: impl FnMut(Ngram)) {
    let places: Vec<usize> = text.word_places().collect();
    let longest = *n.end();
    for first in 0..places.len() {
        // Each word by the hash of those before it.
        let mut hash = WORDS;
        for (length, at) in (1..=longest).zip(&places[first..]) {
            hash = xxh3_64_with_seed(text.token(*at).as_bytes(), hash);
            if n.contains(&length) {
                let span = text.tokens()[places[first]].span.start..text.tokens()[*at].span.end;
                visit(Ngram { hash, span });
            }
        }
    }
}

/// Calls `visit` for each n-gram of characters that does not cross white space, for each length in `n`; a space stands before and after each
/// piece, and a piece that is shorter than a length is one n-gram of it, once (`char_wb` of scikit-learn, but that such a space alone is none).
///
/// N-grams that hold a sign of [`is_of_ideographs`] have `longest_of_ideographs` characters at most: two of them are a word.
pub fn characters(
    text: &Analyzed,
    n: RangeInclusive<usize>,
    longest_of_ideographs: usize,
    mut visit: impl FnMut(Ngram),
) {
    let mut padded = String::new();
    for (start, piece) in pieces(text.text()) {
        padded.clear();
        padded.push(' ');
        padded.push_str(piece);
        padded.push(' ');
        let inside = |at: usize| start + at.clamp(1, piece.len() + 1) - 1;
        let has_ideographs = piece.chars().any(is_of_ideographs);
        grams(&padded, n.clone(), |bytes| {
            let is_long = |ngram: &str| {
                ngram.chars().nth(longest_of_ideographs).is_some()
                    && ngram.chars().any(is_of_ideographs)
            };
            if has_ideographs && is_long(&padded[bytes.clone()]) {
                return;
            }
            let hash = xxh3_64_with_seed(&padded.as_bytes()[bytes.clone()], CHARACTERS);
            let span = inside(bytes.start)..inside(bytes.end);
            if !span.is_empty() {
                visit(Ngram { hash, span });
            }
        });
    }
}

/// Calls `visit` with the place of a word and each of its subwords: n-grams of characters of the word between `<` and `>`, without the whole
/// (Bojanowski et al., TACL 5, 2017). Masks have none.
pub fn subwords(text: &Analyzed, n: RangeInclusive<usize>, mut visit: impl FnMut(usize, u64)) {
    let mut padded = String::new();
    for at in text.word_places() {
        if text.tokens()[at].kind == crate::TokenKind::Mask {
            continue;
        }
        padded.clear();
        padded.push('<');
        padded.push_str(text.token(at));
        padded.push('>');
        grams(&padded, n.clone(), |bytes| {
            if bytes.len() < padded.len() {
                visit(at, xxh3_64_with_seed(&padded.as_bytes()[bytes], SUBWORDS));
            }
        });
    }
}

/// Whether a character stands for a syllable or a word, as Chinese characters, kana and hangul do: alphabets are all before.
pub fn is_of_ideographs(c: char) -> bool {
    c >= '\u{2e80}'
}

fn pieces(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let offset = |piece: &str| piece.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace().map(move |piece| (offset(piece), piece))
}

/// The bytes of each n-gram of characters; a text that is shorter than a length is one of it, once.
fn grams(text: &str, n: RangeInclusive<usize>, mut visit: impl FnMut(Range<usize>)) {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let n_chars = starts.len() - 1;
    for length in n {
        if length == 0 {
            continue;
        }
        if length >= n_chars {
            visit(0..text.len());
            return;
        }
        for first in 0..=n_chars - length {
            visit(starts[first]..starts[first + length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pipeline, PipelineConfig};

    fn text(typed: &str) -> Analyzed {
        Pipeline::new(PipelineConfig::default()).unwrap().analyze(typed)
    }

    #[test]
    fn words_and_pairs_of_words() {
        let text = text("my card, my card");
        let mut found = Vec::new();
        words(&text, 1..=2, |ngram| found.push((text.text()[ngram.span].to_owned(), ngram.hash)));
        let shown: Vec<&str> = found.iter().map(|(shown, _)| shown.as_str()).collect();
        assert_eq!(shown, ["my", "my card", "card", "card, my", "my", "my card", "card"]);
        assert_eq!((found[0].1, found[1].1, found[2].1), (found[4].1, found[5].1, found[6].1));
        let mut hashes: Vec<u64> = found.iter().map(|(_, hash)| *hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 4);
        let mut pairs = 0;
        words(&text, 2..=2, |_| pairs += 1);
        assert_eq!(pairs, 3);
    }

    #[test]
    fn n_grams_with_ideographs_are_shorter() {
        let text = text("abc打开qq");
        let mut found = Vec::new();
        characters(&text, 1..=3, 2, |ngram| found.push(text.text()[ngram.span].to_owned()));
        found.sort_unstable();
        let mut want = [
            "a", "a", "ab", "ab", "abc", "b", "bc", "c", "c打", "q", "q", "q", "qq", "qq", "开",
            "开q", "打", "打开",
        ];
        want.sort_unstable();
        assert_eq!(found, want);
    }

    #[test]
    fn characters_are_those_of_char_wb() {
        // CountVectorizer(analyzer="char_wb", ngram_range=(2, 4)).build_analyzer()("ab 卡?") of scikit-learn 1.7:
        // [' a', 'ab', 'b ', ' ab', 'ab ', ' ab ', ' 卡', '卡?', '? ', ' 卡?', '卡? ', ' 卡? ']
        let text = text("ab 卡?");
        let mut spans = Vec::new();
        characters(&text, 2..=4, 4, |ngram| spans.push(text.text()[ngram.span].to_owned()));
        assert_eq!(
            spans,
            ["a", "ab", "b", "ab", "ab", "ab", "卡", "卡?", "?", "卡?", "卡?", "卡?"]
        );
        let mut hashes = Vec::new();
        characters(&text, 2..=9, 9, |ngram| hashes.push(ngram.hash));
        let n = hashes.len();
        assert_eq!(n, 12);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), n);
    }

    #[test]
    fn subwords_are_those_of_fast_text() {
        let text = text("where <order>");
        let mut found = Vec::new();
        subwords(&text, 3..=3, |at, hash| found.push((at, hash)));
        let want = ["<wh", "whe", "her", "ere", "re>"];
        let want: Vec<_> =
            want.iter().map(|gram| (0, xxh3_64_with_seed(gram.as_bytes(), SUBWORDS))).collect();
        assert_eq!(found, want);
    }
}
