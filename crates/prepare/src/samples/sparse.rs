//! Lines of a label and features: libsvm, libffm and Vowpal Wabbit.
//!
//! A feature has a space (a field, a namespace), a name and a value. A space becomes one column of texts, the names of its features
//! whose value is 1; a feature that has another value anywhere becomes a column of numbers, `space:name`, which is 0 where
//! a line does not have it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

pub(super) use forecart_data::encode::hashed::FEATURES;
use forecart_data::samples::ColumnKind;

use super::value::Given;
use crate::PrepareError;
use crate::config::Format;
use crate::error::Place;
use crate::import::rejects::{Code, Fault};

/// Columns of numbers that are made at most: a table has 1000, one of them the label's.
const MAX_NUMBERS: usize = 999;

/// One feature of a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Feature<'a> {
    pub(super) space: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) value: f64,
}

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) label: Option<&'a str>,
    /// How much it counts where a stream is learned from; tables do not hold it.
    pub(super) importance: f64,
    pub(super) features: Vec<Feature<'a>>,
}

impl Default for Line<'_> {
    fn default() -> Self {
        Self { label: None, importance: 1.0, features: Vec::new() }
    }
}

/// The field and name of each feature of a libsvm file.
#[derive(Debug, Default)]
pub(super) struct FeatureNames {
    by_index: HashMap<u64, (String, String)>,
}

impl FeatureNames {
    /// Reads `field:name<TAB>index` or `name<TAB>index` lines.
    pub(super) fn read(path: &Path) -> Result<Self, PrepareError> {
        let text = fs::read(path).map_err(PrepareError::io("read", path))?;
        let mut names = Self::default();
        for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let bad = |reason: &str| {
                let fix = "write `field:name<TAB>index` or `name<TAB>index`, each index once";
                PrepareError::input(Place::file(path).line(line), reason, fix)
            };
            let text = std::str::from_utf8(text).map_err(|_| bad("not UTF-8"))?;
            let text = text.trim_end_matches('\r');
            if text.is_empty() {
                continue;
            }
            let (name, index) = text.rsplit_once('\t').ok_or_else(|| bad("no tab"))?;
            let index = whole(index.trim()).ok_or_else(|| bad("the index is no whole number"))?;
            let (field, name) = name.split_once(':').unwrap_or((FEATURES, name));
            let named = (field.trim().to_owned(), name.trim().to_owned());
            if names.by_index.insert(index, named).is_some() {
                return Err(bad("an index that an earlier line names"));
            }
        }
        Ok(names)
    }
}

fn whole(text: &str) -> Option<u64> {
    let is_whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then(|| text.parse().ok()).flatten()
}

/// An index as it is written without leading zeros.
fn index(text: &str) -> Result<(u64, Cow<'_, str>), String> {
    let number = whole(text).ok_or_else(|| format!("index {text:?} is no whole number"))?;
    let is_plain = text.len() == 1 || !text.starts_with('0');
    Ok((number, if is_plain { Cow::Borrowed(text) } else { Cow::Owned(number.to_string()) }))
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| format!("{text:?} is no number"))
}

/// Reads one line.
pub(super) fn parse<'a>(
    format: Format,
    line: &'a str,
    names: Option<&'a FeatureNames>,
) -> Result<Line<'a>, Fault> {
    let bad = |code, found: String| Fault { code, column: None, found };
    if format == Format::Vw {
        return vw(line).map_err(|(code, found)| bad(code, found));
    }
    let mut read = Line::default();
    let text = line.split_once('#').map_or(line, |(text, _)| text);
    for (at, token) in text.split_ascii_whitespace().enumerate() {
        if at == 0 && !token.contains(':') {
            read.label = Some(token);
            continue;
        }
        let feature = match format {
            Format::LibFfm => ffm_feature(token),
            _ => svm_feature(token, names),
        };
        read.features.push(feature.map_err(|found| bad(Code::BadFeature, found))?);
    }
    Ok(read)
}

fn svm_feature<'a>(token: &'a str, names: Option<&'a FeatureNames>) -> Result<Feature<'a>, String> {
    let (name, value) = token.split_once(':').ok_or_else(|| format!("no colon in {token:?}"))?;
    let (number_of, name) = index(name)?;
    let value = number(value)?;
    let Some(names) = names else {
        return Ok(Feature { space: FEATURES.into(), name, value });
    };
    let named = names.by_index.get(&number_of);
    let (space, name) =
        named.ok_or_else(|| format!("index {number_of} is not in samples.feature_names"))?;
    Ok(Feature { space: space.into(), name: name.into(), value })
}

fn ffm_feature(token: &str) -> Result<Feature<'_>, String> {
    let mut parts = token.splitn(3, ':');
    let (Some(field), Some(name), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(format!("not two colons in {token:?}"));
    };
    let (field, _) = index(field).map_err(|error| error.replacen("index", "field", 1))?;
    let (_, name) = index(name)?;
    Ok(Feature { space: format!("field_{field}").into(), name, value: number(value)? })
}

/// Label and importance of what stands before the first bar.
pub(super) fn vw_head(head: &str) -> Result<(Option<&str>, f64), String> {
    let mut numbers = head.split_ascii_whitespace().filter(|token| !token.starts_with('\''));
    let label = numbers.next();
    // A text right before the bar is a tag, with or without its apostrophe.
    let is_tag = |token: &str| !head.ends_with([' ', '\t']) && token.parse::<f64>().is_err();
    let importance = match numbers.next().filter(|token| !is_tag(token)) {
        Some(importance) => number(importance)?,
        None => 1.0,
    };
    Ok((label, importance))
}

fn vw(line: &str) -> Result<Line<'_>, (Code, String)> {
    let bad = |found: String| (Code::BadFeature, found);
    let mut spaces = line.split('|');
    let head = spaces.next().unwrap_or_default();
    if head.len() == line.len() {
        return Err((Code::NoBar, line.to_owned()));
    }
    let (label, importance) = vw_head(head).map_err(bad)?;
    let mut read = Line { label, importance, features: Vec::new() };
    for space in spaces {
        let mut tokens = space.split_ascii_whitespace();
        let is_named = space.starts_with(|c: char| !c.is_ascii_whitespace());
        let named = if is_named { tokens.next() } else { None };
        let (name, weight) = match named.and_then(|name| name.rsplit_once(':')) {
            Some((name, weight)) => (name, number(weight).map_err(bad)?),
            None => (named.unwrap_or(FEATURES), 1.0),
        };
        for token in tokens {
            let (feature, value) = match token.rsplit_once(':') {
                Some((feature, value)) => (feature, number(value).map_err(bad)?),
                None => (token, 1.0),
            };
            if feature.is_empty() {
                return Err(bad(format!("no name in {token:?}")));
            }
            let value = value * weight;
            read.features.push(Feature { space: name.into(), name: feature.into(), value });
        }
    }
    Ok(read)
}

/// What the features of whole files are.
#[derive(Debug, Default)]
pub(super) struct SparseLook {
    spaces: Vec<Space>,
    by_name: HashMap<String, usize>,
    numbers: BTreeSet<(usize, u64, String)>,
    /// Of libsvm without names: all features, as long as they are few.
    few: BTreeSet<(usize, u64, String)>,
    n_seen: HashMap<usize, usize>,
    pub(super) n_rows: u64,
    pub(super) n_weighted: u64,
}

#[derive(Debug)]
struct Space {
    name: String,
    n_rows: u64,
    max_in_row: usize,
    has_texts: bool,
    examples: Vec<String>,
}

/// A column that features become.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SparseColumn {
    pub(super) name: String,
    pub(super) kind: ColumnKind,
    pub(super) reason: String,
    pub(super) n_missing: u64,
    pub(super) examples: Vec<String>,
}

impl SparseLook {
    /// Adds a line.
    pub(super) fn add(&mut self, line: &Line<'_>) {
        self.n_rows += 1;
        self.n_weighted += u64::from(line.importance != 1.0);
        self.n_seen.clear();
        for feature in &line.features {
            let at = match self.by_name.get(feature.space.as_ref()) {
                Some(at) => *at,
                None => {
                    let at = self.spaces.len();
                    self.by_name.insert(feature.space.to_string(), at);
                    self.spaces.push(Space {
                        name: feature.space.to_string(),
                        n_rows: 0,
                        max_in_row: 0,
                        has_texts: false,
                        examples: Vec::new(),
                    });
                    at
                }
            };
            let key = || {
                let number = feature.name.parse().unwrap_or(u64::MAX);
                (at, number, feature.name.to_string())
            };
            if self.few.len() <= MAX_NUMBERS {
                self.few.insert(key());
            }
            if feature.value != 1.0 {
                if self.numbers.len() <= MAX_NUMBERS {
                    self.numbers.insert(key());
                }
                continue;
            }
            let space = &mut self.spaces[at];
            space.has_texts = true;
            let is_new = space.examples.len() < 3
                && !space.examples.iter().any(|known| *known == feature.name);
            if is_new {
                space.examples.push(feature.name.to_string());
            }
            *self.n_seen.entry(at).or_default() += 1;
        }
        for (at, n) in &self.n_seen {
            let space = &mut self.spaces[*at];
            space.n_rows += 1;
            space.max_in_row = space.max_in_row.max(*n);
        }
    }

    /// The columns, in the order of the first feature of each. Of a table they are at most as many as a table has; of a stream the
    /// further ones are not among them.
    pub(super) fn columns(
        &self,
        format: Format,
        has_names: bool,
        path: &Path,
        is_stream: bool,
    ) -> Result<Vec<SparseColumn>, PrepareError> {
        let is_plain_svm = format == Format::LibSvm && !has_names;
        // Indices without names are all of one kind: one list, or numbers.
        let all_numbers = is_plain_svm && !self.numbers.is_empty();
        let numbers = if all_numbers { &self.few } else { &self.numbers };
        let is_text = |space: &&Space| space.has_texts && !all_numbers;
        let n_texts = self.spaces.iter().filter(is_text).count();
        if numbers.len() + n_texts > MAX_NUMBERS && !is_stream {
            let reason = format!(
                "values other than 1 and more than {MAX_NUMBERS} columns; a table has no more"
            );
            let fix = "write 1 for features that are there (numbers in buckets), or name their \
                       fields with `samples.feature_names`";
            return Err(PrepareError::input(Place::file(path), reason, fix));
        }
        let mut columns = Vec::new();
        for (at, space) in self.spaces.iter().enumerate() {
            if is_text(&space) {
                let is_list = format == Format::Vw || is_plain_svm || space.max_in_row > 1;
                let kind = if is_list { ColumnKind::List } else { ColumnKind::Category };
                let reason = match (format, space.max_in_row) {
                    (Format::Vw, _) => "a namespace".to_owned(),
                    _ if is_plain_svm => "indices whose value is always 1".to_owned(),
                    (_, n) if n > 1 => format!("a field with up to {n} features in a row"),
                    _ => "a field with at most one feature in each row".to_owned(),
                };
                columns.push(SparseColumn {
                    name: space.name.clone(),
                    kind,
                    reason,
                    n_missing: self.n_rows - space.n_rows,
                    examples: space.examples.clone(),
                });
            }
            for (_, _, name) in numbers.iter().filter(|(space, _, _)| *space == at) {
                columns.push(SparseColumn {
                    name: format!("{}:{name}", space.name),
                    kind: ColumnKind::Number,
                    reason: "values other than 1; 0 where a line does not have it".into(),
                    n_missing: 0,
                    examples: Vec::new(),
                });
            }
        }
        Ok(columns)
    }
}

/// Where the features of a line go.
#[derive(Debug)]
pub(super) struct SparsePlan {
    spaces: HashMap<String, Targets>,
    empty: Vec<Given<'static>>,
}

#[derive(Debug, Default)]
struct Targets {
    texts: Option<usize>,
    is_list: bool,
    numbers: HashMap<String, usize>,
}

impl SparsePlan {
    /// A plan for these columns by name and kind; the place of each is its number here.
    pub(super) fn new<'a>(columns: impl Iterator<Item = (&'a str, ColumnKind)>) -> Self {
        let mut plan = Self { spaces: HashMap::new(), empty: Vec::new() };
        for (at, (name, kind)) in columns.enumerate() {
            plan.empty.push(match kind {
                ColumnKind::Number => Given::Number(0.0),
                ColumnKind::List => Given::List(Vec::new()),
                _ => Given::Missing,
            });
            if kind == ColumnKind::Number {
                let Some((space, name)) = name.split_once(':') else { continue };
                let space = plan.spaces.entry(space.to_owned()).or_default();
                space.numbers.insert(name.to_owned(), at);
            } else if kind != ColumnKind::Time {
                let space = plan.spaces.entry(name.to_owned()).or_default();
                space.texts = Some(at);
                space.is_list = kind == ColumnKind::List;
            }
        }
        plan
    }

    /// The values of a line; features that no column holds are passed over, as a model does not know them.
    pub(super) fn values<'a>(&self, line: Line<'a>) -> Result<Vec<Given<'a>>, Fault> {
        let mut values: Vec<Given<'a>> = self.empty.clone();
        for Feature { space, name, value } in line.features {
            let Some(targets) = self.spaces.get(space.as_ref()) else { continue };
            if let Some(at) = targets.numbers.get(name.as_ref()) {
                let Given::Number(before) = values[*at] else { continue };
                values[*at] = Given::Number(before + value);
                continue;
            }
            let Some(at) = targets.texts.filter(|_| value == 1.0) else { continue };
            match &mut values[at] {
                Given::List(texts) => texts.push(name),
                Given::Missing => values[at] = Given::Text(name),
                _ => {
                    let found = format!("two features of {space:?}, which has one in a row");
                    return Err(Fault { code: Code::BadFeature, column: None, found });
                }
            }
        }
        Ok(values)
    }
}

/// The format of a text whose first lines are a label and features.
pub(super) fn sniffed(head: &str) -> Option<Format> {
    let lines = || head.lines().filter(|line| !line.trim().is_empty()).take(20);
    let all = |is: fn(&str) -> bool| lines().next().is_some() && lines().all(is);
    let features = |line: &str, n_colons: usize| {
        let mut tokens = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let is_label = tokens.next().is_some_and(|label| label.parse::<f64>().is_ok());
        let is_feature = |token: &str| {
            token.matches(':').count() == n_colons
                && token.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        };
        let mut tokens = tokens.peekable();
        is_label && tokens.peek().is_some() && tokens.all(is_feature)
    };
    let is_vw = |line: &str| {
        let Some((head, after)) = line.split_once('|') else { return false };
        let mut tokens = head.split_ascii_whitespace();
        let label = tokens.next().is_none_or(|label| label.parse::<f64>().is_ok());
        let is_spaced = head.is_empty() || head.ends_with(' ') || head.contains('\'');
        label && is_spaced && tokens.count() <= 2 && after.split('|').all(|s| s.contains(' '))
    };
    // The first line decides between them; others may be broken.
    let first = lines().next()?;
    if features(first, 1) {
        Some(Format::LibSvm)
    } else if features(first, 2) {
        Some(Format::LibFfm)
    } else if is_vw(first) || (all(|line| line.contains('|')) && lines().any(is_vw)) {
        Some(Format::Vw)
    } else {
        None
    }
}
