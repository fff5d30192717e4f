//! The way of a text: cleaned before it is stored, analyzed before it is learned from or answered.

use std::collections::HashSet;
use std::sync::OnceLock;

use jieba_rs::Jieba;
use unicode_segmentation::UnicodeSegmentation;

use crate::config::{Mask, PipelineConfig};
use crate::error::TextError;
use crate::language::{self, Language, Script};
use crate::mask::Masker;
use crate::normalize::normalize;
use crate::simplify::simplified;
use crate::tokens::{Analyzed, Token, TokenKind};

/// What texts go through, in training and in service. Made from its configuration alone: the same configuration does the same, on any
/// machine.
///
/// # Cost
/// The Chinese dictionary (349,000 words) is unpacked when the first text with Chinese characters is cut, which takes some tenths of a second.
pub struct Pipeline {
    config: PipelineConfig,
    masker: Masker,
    user_words: Vec<UserWord>,
    stop_words: HashSet<String>,
    chinese: OnceLock<Jieba>,
}

#[derive(Debug)]
struct UserWord {
    word: String,
    count: Option<usize>,
    tag: Option<String>,
}

impl UserWord {
    fn parse(line: &str) -> Result<Self, TextError> {
        let refuse = |reason| TextError::UserWord { line: line.to_owned(), reason };
        let mut parts = line.split_whitespace();
        let word = parts.next().ok_or_else(|| refuse("there is no word"))?.to_owned();
        if !word.chars().all(is_han) {
            return Err(refuse("only words of Chinese characters are cut by a dictionary"));
        }
        let count = parts.next().map(str::parse).transpose();
        let count = count.map_err(|_| refuse("the count is no whole number"))?;
        let tag = parts.next().map(str::to_owned);
        match parts.next() {
            None => Ok(Self { word, count, tag }),
            Some(_) => Err(refuse("there is more than a word, a count and a tag")),
        }
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// A pipeline of this configuration.
    ///
    /// # Errors
    /// [`TextError`] names the key that does not fit.
    pub fn new(config: PipelineConfig) -> Result<Self, TextError> {
        if config.max_chars == 0 {
            return Err(TextError::MaxChars);
        }
        let user_words =
            config.user_words.iter().map(|line| UserWord::parse(line)).collect::<Result<_, _>>()?;
        let mut stop_words = HashSet::new();
        let mut add = |word: &str| {
            let mut folded = String::new();
            fold(word, config.simplify, &mut folded);
            stop_words.insert(folded);
        };
        config.stop_lists.iter().flat_map(|list| list.words()).for_each(&mut add);
        config.stop_words.iter().for_each(|word| add(word));
        Ok(Self {
            masker: Masker::new(&config.mask, &config.order_ids)?,
            user_words,
            stop_words,
            chinese: OnceLock::new(),
            config,
        })
    }

    /// What it was made of.
    pub fn config(&self) -> &PipelineConfig {
        &self.config
    }

    /// A text as it may be stored: in NFKC, without characters that show nothing, with what is to be masked replaced, cut to
    /// [`PipelineConfig::max_chars`]. Empty for a text that shows nothing. Cleaning a clean text changes nothing.
    ///
    /// # Cost
    /// O(bytes of the text), all of it: what is cut off is cut after masking, so that half a phone number is never left.
    pub fn clean(&self, typed: &str) -> String {
        let mut text = self.masker.apply(normalize(typed));
        if let Some((end, _)) = text.char_indices().nth(self.config.max_chars) {
            let mut end = end;
            // Not through a mask: what is left of one would be read as words.
            if let Some(start) = text[..end].rfind('<') {
                let is_cut = |mask: Mask| {
                    text[start..].starts_with(mask.token()) && start + mask.token().len() > end
                };
                if Mask::ALL.into_iter().any(is_cut) {
                    end = start;
                }
            }
            text.truncate(text[..end].trim_end().len());
        }
        text
    }

    /// A clean text cut into tokens, in lower case and simplified characters.
    pub fn analyze(&self, clean: &str) -> Analyzed {
        let mut out = Analyzed::default();
        fold(clean, self.config.simplify, &mut out.text);
        let text = out.text.as_str();
        let mut start = 0;
        while start < text.len() {
            let end = start + run_len(&text[start..]);
            match text[start..].chars().next() {
                Some(c) if is_han(c) => {
                    for token in self.chinese().cut(&text[start..end], true) {
                        let span = start + token.byte_start..start + token.byte_end;
                        out.tokens.push(self.token(text, span, TokenKind::Word));
                    }
                }
                _ => match Mask::ALL.iter().find(|mask| text[start..end] == *mask.token()) {
                    Some(_) => out.tokens.push(self.token(text, start..end, TokenKind::Mask)),
                    None => self.push_words(text, start..end, &mut out.tokens),
                },
            }
            start = end;
        }
        out
    }

    /// Words by the boundaries of Unicode (UAX 29), and marks one by one.
    fn push_words(&self, text: &str, run: std::ops::Range<usize>, tokens: &mut Vec<Token>) {
        for (at, word) in text[run.clone()].split_word_bound_indices() {
            if word.chars().all(char::is_whitespace) {
                continue;
            }
            let kind = match word.contains(char::is_alphanumeric) {
                true => TokenKind::Word,
                false => TokenKind::Mark,
            };
            let start = run.start + at;
            tokens.push(self.token(text, start..start + word.len(), kind));
        }
    }

    fn token(&self, text: &str, span: std::ops::Range<usize>, kind: TokenKind) -> Token {
        Token { is_stop: self.stop_words.contains(&text[span.clone()]), span, kind }
    }

    fn chinese(&self) -> &Jieba {
        self.chinese.get_or_init(|| {
            let mut jieba = Jieba::new();
            let mut folded = String::new();
            for UserWord { word, count, tag } in &self.user_words {
                fold(word, self.config.simplify, &mut folded);
                jieba.add_word(&folded, *count, tag.as_deref());
            }
            jieba
        })
    }

    /// What each token is, `[n_tokens]`: of Chinese words the part of speech by the dictionary's tags (`n` noun, `v` verb, `r` pronoun, ..),
    /// of others `word`, `mask` or `mark`.
    pub fn tags(&self, text: &Analyzed) -> Vec<String> {
        let tag = |token: &Token| match token.kind {
            TokenKind::Mask => "mask".to_owned(),
            TokenKind::Mark => "mark".to_owned(),
            TokenKind::Word => {
                let word = &text.text[token.span.clone()];
                match word.chars().all(is_han) {
                    // A token is one word of the same dictionary: alone it is cut as one, or else its first part speaks for it.
                    true => {
                        let tags = self.chinese().tag(word, true);
                        tags.first().map_or_else(|| "x".to_owned(), |tag| tag.tag.to_owned())
                    }
                    false => "word".to_owned(),
                }
            }
        };
        text.tokens.iter().map(tag).collect()
    }

    /// Which language a clean text is in, as far as that can be told; `None` for one without letters. Masks say nothing of it.
    pub fn language(&self, clean: &str) -> Option<Language> {
        Language::of(&without_masks(clean))
    }

    /// The script of most letters of a clean text; `None` for one without letters. Masks say nothing of it.
    pub fn script(&self, clean: &str) -> Option<Script> {
        language::script(&without_masks(clean))
    }
}

fn without_masks(clean: &str) -> String {
    let mut text = clean.to_owned();
    for mask in Mask::ALL {
        if text.contains(mask.token()) {
            text = text.replace(mask.token(), " ");
        }
    }
    text
}

/// Whether a character is one of those that Chinese is written in.
fn is_han(c: char) -> bool {
    matches!(c, '\u{3005}' | '\u{3007}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Bytes of what a text begins with: Chinese characters, a mask, or neither.
fn run_len(text: &str) -> usize {
    let starts_han = text.chars().next().is_some_and(is_han);
    if let Some(mask) = Mask::ALL.iter().find(|mask| text.starts_with(mask.token())) {
        return mask.token().len();
    }
    let ends = |(at, c): &(usize, char)| {
        is_han(*c) != starts_han
            || *at > 0
                && *c == '<'
                && Mask::ALL.iter().any(|mask| text[*at..].starts_with(mask.token()))
    };
    text.char_indices().find(ends).map_or(text.len(), |(at, _)| at)
}

/// Lower case and, if asked, simplified characters.
fn fold(text: &str, simplify: bool, out: &mut String) {
    out.clear();
    out.reserve(text.len());
    for c in text.chars() {
        match c.is_ascii() {
            true => out.push(c.to_ascii_lowercase()),
            false if simplify => out.extend(c.to_lowercase().map(simplified)),
            false => out.extend(c.to_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(config: PipelineConfig, typed: &str) -> Vec<String> {
        let pipeline = Pipeline::new(config).unwrap();
        pipeline.analyze(&pipeline.clean(typed)).words().map(str::to_owned).collect()
    }

    #[test]
    fn languages_are_cut_by_their_own_rules() {
        let config = PipelineConfig::default;
        assert_eq!(
            words(config(), "I can't find it - where's my card?!"),
            ["i", "can't", "find", "it", "where's", "my", "card"]
        );
        assert_eq!(
            words(config(), "我的訂單什麼時候發貨？Order #12345"),
            ["我", "的", "订单", "什么", "时候", "发货", "order", "<order>"]
        );
        let as_typed = PipelineConfig { simplify: false, ..config() };
        assert!(words(as_typed, "訂單").concat().contains('訂'));
        assert_eq!(words(config(), "🙂👍 ... \u{200f}"), [""; 0]);
    }

    #[test]
    fn words_of_the_shop_stay_whole_and_stop_words_are_no_features() {
        let plain = words(PipelineConfig::default(), "满减券怎么用");
        assert_ne!(plain[0], "满减券");
        let config = PipelineConfig {
            user_words: vec!["滿減券 100000 n".into()],
            stop_words: vec!["用".into()],
            stop_lists: vec![crate::StopList::English, crate::StopList::Chinese],
            ..PipelineConfig::default()
        };
        assert_eq!(words(config.clone(), "我的满减券怎么用"), ["满减券", "怎么"]);
        assert_eq!(words(config.clone(), "Where is my card"), ["where", "card"]);
        let pipeline = Pipeline::new(config).unwrap();
        let text = pipeline.analyze("满减券 退货 card <phone> !");
        assert_eq!(pipeline.tags(&text), ["n", "v", "word", "mask", "mark"]);
    }

    #[test]
    fn long_texts_are_cut_after_masking_and_not_through_a_mask() {
        let config = PipelineConfig { max_chars: 8, ..PipelineConfig::default() };
        let pipeline = Pipeline::new(config).unwrap();
        assert_eq!(pipeline.clean("abcd 13800138000"), "abcd");
        assert_eq!(pipeline.clean("a 13800138000 b"), "a");
        assert_eq!(pipeline.clean("13800138000 b"), "<phone>");
        assert_eq!(pipeline.clean("日本日本日本日本日本"), "日本日本日本日本");
        let whole = Pipeline::new(PipelineConfig::default()).unwrap();
        assert_eq!(whole.clean(&"ab ".repeat(400_000)).len(), 10_000);
    }

    #[test]
    fn languages_and_scripts_are_told_apart() {
        let pipeline = Pipeline::new(PipelineConfig::default()).unwrap();
        let code = |text| pipeline.language(text).map(|language| language.code);
        assert_eq!(code("Where is the parcel that I have ordered last week?"), Some("eng"));
        assert_eq!(code("我的订单什么时候发货"), Some("cmn"));
        assert_eq!(code("Wo ist mein Paket, das ich letzte Woche bestellt habe?"), Some("deu"));
        assert_eq!(code("注文した商品はいつ届きますか"), Some("jpn"));
        assert_eq!(code("<phone> 🙂 <email>"), None);
        assert_eq!(code("สินค้าของฉันอยู่ที่ไหน"), None);
        assert_eq!(pipeline.script("Где мой заказ <order>"), Some(Script::Cyrillic));
    }

    #[test]
    fn bad_settings_are_named() {
        let refused =
            |text: &str| Pipeline::new(toml::from_str(text).unwrap()).unwrap_err().to_string();
        assert!(refused("max_chars = 0").contains("max_chars"));
        assert!(refused("user_words = ['card']").contains("Chinese"));
        assert!(refused("user_words = ['退货 many']").contains("count"));
        toml::from_str::<PipelineConfig>("masks = []").unwrap_err();
    }

    proptest! {
        #[test]
        fn any_text_is_analyzed_and_clean_texts_stay(typed in "(\\PC|[\u{0}-\u{10ffff}]|<phone>|[0-9@.]){0,60}") {
            let pipeline = pipeline();
            let clean = pipeline.clean(&typed);
            prop_assert_eq!(&pipeline.clean(&clean), &clean);
            let text = pipeline.analyze(&clean);
            let mut end = 0;
            for (at, token) in text.tokens().iter().enumerate() {
                prop_assert!(token.span.start >= end && token.span.end > token.span.start);
                prop_assert!(text.text()[end..token.span.start].trim().is_empty());
                prop_assert!(!text.token(at).trim().is_empty());
                end = token.span.end;
            }
            prop_assert!(text.text()[end..].trim().is_empty());
            let _ = pipeline.language(&clean);
        }
    }

    fn pipeline() -> &'static Pipeline {
        static PIPELINE: OnceLock<Pipeline> = OnceLock::new();
        PIPELINE.get_or_init(|| Pipeline::new(PipelineConfig::default()).unwrap())
    }
}
