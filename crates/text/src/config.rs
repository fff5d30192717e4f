//! The configuration of a pipeline: all that it is made of, for the model file.

use serde::{Deserialize, Serialize};

/// What is masked in texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mask {
    /// E-mail addresses.
    Email,
    /// Phone numbers: seven or more digits that begin with `+` or `0`, stand in groups, or are a Chinese mobile number.
    Phone,
    /// Order ids and other codes: `#` before digits, letters and digits with four digits or more, seven or more digits in a row, and what
    /// [`PipelineConfig::order_ids`] adds.
    Order,
    /// All other numbers.
    Number,
}

impl Mask {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Email, Self::Phone, Self::Order, Self::Number];

    /// What stands in the text instead.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Email => "<email>",
            Self::Phone => "<phone>",
            Self::Order => "<order>",
            Self::Number => "<number>",
        }
    }
}

/// A list of words that say little of what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopList {
    /// Articles, pronouns, prepositions and auxiliary verbs of English. Question words and negations are not among them: they ask.
    English,
    /// Particles, pronouns and courtesies of Chinese. Question words and negations are not among them.
    Chinese,
}

impl StopList {
    /// Its words, in lower case and simplified characters.
    pub(crate) fn words(self) -> impl Iterator<Item = &'static str> {
        const ENGLISH: &str = "a an the i me my mine we us our you your he him his she her it its they them their this that these those \
            am is are was were be been being do does did have has had will would shall should may might must \
            of in on at by for with to from into and or if so as than then there here please hello hi thanks thank";
        const CHINESE: &str = "的 了 着 过 地 得 啊 吧 呢 吗 嘛 呀 哦 嗯 哈 呵 我 你 您 他 她 它 我们 你们 他们 这 那 这个 那个 是 \
            在 和 与 或 及 就 都 也 还 又 很 请 请问 您好 你好 谢谢 麻烦 亲";
        match self {
            Self::English => ENGLISH.split_ascii_whitespace(),
            Self::Chinese => CHINESE.split_ascii_whitespace(),
        }
    }
}

/// All that a pipeline is made of. Every key is optional.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineConfig {
    /// What is masked. Order does not matter.
    pub mask: Vec<Mask>,
    /// More patterns of order ids: regular expressions of the crate `regex`, on text in NFKC.
    pub order_ids: Vec<String>,
    /// Whether traditional Chinese characters are read as simplified ones.
    pub simplify: bool,
    /// Words that Chinese text is cut into beside those of the dictionary: `word`, `word count` or `word count tag`.
    pub user_words: Vec<String>,
    /// Lists of words that are no features by themselves.
    pub stop_lists: Vec<StopList>,
    /// More such words.
    pub stop_words: Vec<String>,
    /// Characters of a clean text that are read; the rest is cut off.
    pub max_chars: usize,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            mask: Mask::ALL.to_vec(),
            order_ids: Vec::new(),
            simplify: true,
            user_words: Vec::new(),
            stop_lists: Vec::new(),
            stop_words: Vec::new(),
            // Some 1,500 English words: a long e-mail.
            max_chars: 10_000,
        }
    }
}
