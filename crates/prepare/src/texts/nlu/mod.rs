//! Training data of Rasa: `nlu.yml`, in the forms that its documentation gives.
//!
//! ```yaml
//! version: "3.1"
//! nlu:
//! - intent: check_order
//!   examples: |
//!     - where is my order
//!     - where is [my parcel](thing)
//! - synonym: parcel
//!   examples: |
//!     - package
//! ```
//! Intents and their examples are read, the latter as a block of `- ` lines or as a list of texts or of mappings with `text`. Entities lose their
//! marks. What else a file holds (synonyms, lookup tables, regular expressions, metadata, stories) is passed over and counted. Anything under `nlu:`
//! that is none of these is an error with its line.

mod yaml;

use std::collections::BTreeMap;
use std::path::Path;

use self::yaml::{Node, Value};
use crate::PrepareError;
use crate::error::Place;

/// An example of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Example {
    pub(super) text: String,
    pub(super) intent: String,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Nlu {
    pub(super) examples: Vec<Example>,
    /// What was passed over, and how often.
    pub(super) passed_over: BTreeMap<String, u64>,
}

/// Entries of `nlu:` that say something of entities, not of intents.
const OF_ENTITIES: [&str; 3] = ["synonym", "lookup", "regex"];

/// What Rasa calls the rest of its training data and its domain.
const NAMES: [&str; 17] = [
    "synonym",
    "lookup",
    "regex",
    "metadata",
    "responses",
    "stories",
    "rules",
    "intents",
    "entities",
    "slots",
    "actions",
    "forms",
    "e2e_actions",
    "session_config",
    "imports",
    "use_entities",
    "ignore_entities",
];

/// Whether a file is one by its name.
pub(super) fn is_nlu(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}

/// The examples of a file.
pub(super) fn parse(text: &str, path: &Path) -> Result<Nlu, PrepareError> {
    let documents = yaml::parse(text.trim_start_matches('\u{feff}'), path)?;
    let mut reader = Reader { path, found: Nlu::default() };
    let mut has_nlu = false;
    for document in documents {
        let Value::Map(sections) = document.value else {
            let fix = "begin with `nlu:`, and write the intents below it";
            return Err(reader.refuse(document.line, "no sections", fix));
        };
        for (name, section) in sections {
            match name.as_str() {
                "nlu" => {
                    has_nlu = true;
                    reader.section(section)?;
                }
                "version" => {}
                other => reader.pass_over("section", other),
            }
        }
    }
    match has_nlu {
        true => Ok(reader.found),
        false => Err(PrepareError::input(
            Place::file(path),
            "no section `nlu:`".to_owned(),
            "give a file of training data of Rasa 2 or 3, or a table with columns of texts and intents"
                .to_owned(),
        )),
    }
}

struct Reader<'a> {
    path: &'a Path,
    found: Nlu,
}

impl Reader<'_> {
    fn refuse(&self, line: u64, reason: &str, fix: &str) -> PrepareError {
        PrepareError::input(Place::file(self.path).line(line), reason.to_owned(), fix.to_owned())
    }

    /// Counts what is called `name`. A name that is not Rasa's may be what a customer wrote, and is not shown.
    fn pass_over(&mut self, what: &str, name: &str) {
        let name =
            if NAMES.contains(&name) { format!("`{name}`") } else { "of another name".to_owned() };
        *self.found.passed_over.entry(format!("{what} {name}")).or_default() += 1;
    }

    fn section(&mut self, section: Node) -> Result<(), PrepareError> {
        if section.is_empty() {
            return Ok(());
        }
        let Value::List(entries) = section.value else {
            let fix = "write each intent as `- intent: name`";
            return Err(self.refuse(section.line, "no list of intents", fix));
        };
        entries.into_iter().try_for_each(|entry| self.entry(entry))
    }

    fn entry(&mut self, entry: Node) -> Result<(), PrepareError> {
        let line = entry.line;
        let Value::Map(keys) = entry.value else {
            let fix = "write `- intent: name`, and its examples below";
            return Err(self.refuse(line, "no entry begins here", fix));
        };
        let of_entities = keys.iter().find(|(key, _)| OF_ENTITIES.contains(&key.as_str()));
        let intent = keys.iter().find(|(key, _)| key == "intent");
        let Some((_, intent)) = intent else {
            let Some((kind, _)) = of_entities else {
                let reason = "an entry that is none of intent, synonym, lookup and regex";
                let fix = "mend its name, or move it out of `nlu:`";
                return Err(self.refuse(line, reason, fix));
            };
            self.pass_over("entry", kind);
            return Ok(());
        };
        let name = match intent.text() {
            Some(name) if !intent.is_empty() => name.trim().to_owned(),
            _ => {
                let reason = "an intent without a name";
                return Err(self.refuse(intent.line, reason, "write `- intent: name`"));
            }
        };
        let n_before = self.found.examples.len();
        for (key, value) in keys {
            match key.as_str() {
                "intent" => {}
                "examples" => self.examples(&name, value)?,
                other => self.pass_over("an intent's", other),
            }
        }
        if self.found.examples.len() == n_before {
            *self.found.passed_over.entry("intent without an example".to_owned()).or_default() += 1;
        }
        Ok(())
    }

    fn examples(&mut self, intent: &str, examples: Node) -> Result<(), PrepareError> {
        if examples.is_empty() {
            return Ok(());
        }
        let line = examples.line;
        match examples.value {
            Value::Text { text, is_literal: true } => {
                // A block is said to begin where its first line with a text is.
                let n_blank = text.chars().take_while(|c| *c == '\n').count() as u64;
                for (content, line) in text.lines().zip(line.saturating_sub(n_blank)..) {
                    let content = content.trim();
                    let Some(item) = content.strip_prefix('-') else {
                        if content.is_empty() {
                            continue;
                        }
                        let reason = "no example begins here";
                        return Err(self.refuse(line, reason, "begin each with `- `"));
                    };
                    self.push(intent, item.trim_start());
                }
                Ok(())
            }
            Value::Text { .. } => {
                let fix = "write `examples: |`, and each example below, after `- `";
                Err(self.refuse(line, "examples in one line", fix))
            }
            Value::List(list) => list.into_iter().try_for_each(|one| self.example(intent, one)),
            Value::Map(_) => {
                let fix = "write each example after `- `";
                Err(self.refuse(line, "no list of examples", fix))
            }
        }
    }

    /// An example of a list.
    fn example(&mut self, intent: &str, example: Node) -> Result<(), PrepareError> {
        let line = example.line;
        match example.value {
            Value::Text { text, .. } => {
                self.push(intent, &text);
                Ok(())
            }
            Value::Map(keys) => {
                let mut has_text = false;
                for (key, value) in keys {
                    match (key.as_str(), value.text()) {
                        ("text", Some(text)) => {
                            has_text = true;
                            self.push(intent, text);
                        }
                        // The intent once more.
                        ("intent", Some(own)) if own == intent => {}
                        ("intent", _) => {
                            let reason = format!("an example of another intent than {intent:?}");
                            let fix = "move it below its intent";
                            return Err(self.refuse(value.line, &reason, fix));
                        }
                        ("metadata", _) => self.pass_over("an example's", "metadata"),
                        _ => {
                            let reason =
                                "an example with a key that is none of text, intent and metadata";
                            let fix = "put a text with `: ` in it in quotes";
                            return Err(self.refuse(value.line, reason, fix));
                        }
                    }
                }
                match has_text {
                    true => Ok(()),
                    false => {
                        Err(self.refuse(line, "an example without a text", "write `- text: ...`"))
                    }
                }
            }
            Value::List(_) => {
                let fix = "put a text that begins with `[` or `- ` in quotes";
                Err(self.refuse(line, "a list where an example should be", fix))
            }
        }
    }

    /// Lines of one example are one text.
    fn push(&mut self, intent: &str, text: &str) {
        let lines: Vec<&str> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let text = plain(&lines.join(" "));
        self.found.examples.push(Example { text, intent: intent.to_owned() });
    }
}

/// An example without the marks of its entities: `[shown](entity)`, `[shown]{"entity": "x"}`, `[shown][{"entity": "x"}]`.
fn plain(example: &str) -> String {
    let mut out = String::with_capacity(example.len());
    let mut rest = example;
    while let Some(start) = rest.find('[') {
        out.push_str(&rest[..start]);
        let marked = &rest[start + 1..];
        let found = marked.find(']').and_then(|end| {
            let after = &marked[end + 1..];
            Some((&marked[..end], &after[mark(after)?..]))
        });
        match found {
            Some((shown, after)) => {
                out.push_str(shown);
                rest = after;
            }
            None => {
                out.push('[');
                rest = marked;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Bytes of the mark that `after` begins with.
fn mark(after: &str) -> Option<usize> {
    match after.chars().next()? {
        '(' => Some(after.find(')')? + 1),
        '{' | '[' => {
            let mut values = serde_json::Deserializer::from_str(after).into_iter();
            let value: serde_json::Value = values.next()?.ok()?;
            let is_mark = match &value {
                serde_json::Value::Array(list) => list.iter().all(serde_json::Value::is_object),
                value => value.is_object(),
            };
            is_mark.then(|| values.byte_offset())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>, String> {
        let found = parse(text, Path::new("nlu.yml")).map_err(|error| error.to_string())?;
        Ok(found.examples.into_iter().map(|example| (example.intent, example.text)).collect())
    }

    fn own(intent: &str, text: &str) -> (String, String) {
        (intent.to_owned(), text.to_owned())
    }

    #[test]
    fn the_documented_forms_are_read() {
        let text = "version: \"3.1\"\n\nnlu:\n- intent: check_order\n  examples: |\n    - where is [my parcel](thing)?\n\
                    \x20   - in [SF]{\"entity\": \"city\", \"value\": \"San Francisco\"} [1] now\n\n- synonym: parcel\n  examples: |\n    - package\n\
                    - intent: 'greet'\n  metadata:\n    x: 1\n  examples:\n  - text: |\n      hi there\n    metadata:\n      y: 2\n  - text: \"hello\"\n\
                    stories:\n- story: x\n  steps:\n  - intent: greet\n";
        assert_eq!(
            parsed(text).unwrap(),
            [
                own("check_order", "where is my parcel?"),
                own("check_order", "in SF [1] now"),
                own("greet", "hi there"),
                own("greet", "hello"),
            ]
        );
    }

    #[test]
    fn entries_may_be_indented_and_blocks_have_all_their_lines() {
        let text = "\u{feff}nlu: # of the shop\n  - intent: a\n    examples: |\n      - one\n  - intent: b\n    examples:\n      - text: |-\n          #12345 is late\n\
                    \x20         and lost\n        metadata:\n          x: 1\n      - text: two\n";
        let want = [own("a", "one"), own("b", "#12345 is late and lost"), own("b", "two")];
        assert_eq!(parsed(text).unwrap(), want);
    }

    #[test]
    fn nothing_under_nlu_is_lost_without_a_word() {
        let after = |line: &str| {
            let text = format!("nlu:\n- intent: a\n  examples: |\n    - one\n{line}\n");
            parsed(&text).unwrap_err()
        };
        for (line, said) in [
            ("- intnt: b", "line 5: an entry that is none of intent"),
            ("- story: b", "none of intent"),
            ("    the rest of one", "line 5: no example begins here"),
            ("\n    - two\n    the rest", "line 7: no example begins here"),
            (
                "- intent: b\n  examples: | # c\n\n\n    - x\n\n    y",
                "line 11: no example begins here",
            ),
            ("- intent: b\n  examples: x, y", "line 6: examples in one line"),
            ("- intent: b\n  examples:\n  - metadata: 1", "line 7: an example without a text"),
            (
                "- intent: b\n  examples:\n  - text: x\n    intent: c",
                "line 8: an example of another",
            ),
            ("- intent: &x b\n- intent: *x", "line 6: an alias"),
            ("- intent: b\n  examples:\n  - call 139: now", "line 7: an example with a key"),
            ("- intent: [", "not YAML"),
        ] {
            let message = after(line);
            assert!(message.contains(said) && message.contains("nlu.yml"), "{line}: {message}");
        }
    }

    #[test]
    fn what_is_no_training_data_is_named_with_its_line() {
        assert!(parsed("rules:\n- rule: x\n").unwrap_err().contains("nlu:"));
        assert!(parsed("nlu:\n  - hello\n").unwrap_err().contains("line 2"));
        assert!(parsed("nlu:\n- intent:\n  examples: |\n").unwrap_err().contains("without a name"));
        assert!(parsed("nlu:\n\t- intent: x\n").unwrap_err().contains("line 2"));
        assert!(parsed("hello").unwrap_err().contains("line 1"));
        assert!(parsed("").unwrap_err().contains("nlu:"));
        let deep = format!("nlu:\n- intent: {}", "[".repeat(100_000));
        assert!(parsed(&deep).unwrap_err().contains("line 2"));
    }

    #[test]
    fn lists_of_texts_and_of_mappings_are_read_and_names_stay_as_they_are() {
        let text = "nlu:\n- intent: 0123\n  examples: [one, 'two: 2', \"drei\\n vier\"]\n- intent: yes\n  examples:\n  - a # b\n  - text: >\n      c\n      d\n\
                    \x20   intent: yes\n---\nnlu:\n- intent: chitchat/ask_name\n  examples: |\n    # - no\n";
        assert!(parsed(text).unwrap_err().contains("line 15: no example begins here"));
        let text = text.replace("# - no", "- wer bist du?");
        let want = [
            own("0123", "one"),
            own("0123", "two: 2"),
            own("0123", "drei vier"),
            own("yes", "a"),
            own("yes", "c d"),
            own("chitchat/ask_name", "wer bist du?"),
        ];
        assert_eq!(parsed(&text).unwrap(), want);
    }

    #[test]
    fn entities_lose_their_marks_whatever_they_hold() {
        for (typed, want) in [
            (
                "from [Paris](city:from) to [Rome]{\"entity\": \"city\", \"role\": \"a}b\"} now",
                "from Paris to Rome now",
            ),
            ("[x][{\"entity\": \"a\"}, {\"entity\": \"b\"}]!", "x!"),
            ("see [1], [2] and [3](", "see [1], [2] and [3]("),
            ("[a]{no json} [b][c]", "[a]{no json} [b][c]"),
            ("[我的包裹](thing)到哪了", "我的包裹到哪了"),
        ] {
            assert_eq!(plain(typed), want);
        }
    }

    #[test]
    fn what_is_passed_over_is_counted() {
        let text = "version: '3.1'\nnlu:\n- intent: a\n  metadata: {x: 1}\n  examples:\n  - text: b\n    metadata: {y: 2}\n- intent: none\n\
                    - regex: zip\n  examples: |\n    - \\d+\n- lookup: city\n  examples: |\n    - Rome\n- synonym: x\n- synonym: y\nresponses: {}\nstories: []\n139 000: []\n";
        let found = parse(text, Path::new("nlu.yml")).unwrap();
        let passed: Vec<(&str, u64)> =
            found.passed_over.iter().map(|(what, n)| (what.as_str(), *n)).collect();
        let want = [
            ("an example's `metadata`", 1),
            ("an intent's `metadata`", 1),
            ("entry `lookup`", 1),
            ("entry `regex`", 1),
            ("entry `synonym`", 2),
            ("intent without an example", 1),
            ("section `responses`", 1),
            ("section `stories`", 1),
            ("section of another name", 1),
        ];
        assert_eq!(passed, want);
        assert_eq!(found.examples.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(lines in proptest::collection::vec(
            "( {0,6})(- )?(nlu|intent|examples|text|version|synonym)?:? ?[|>\\[\\]{}&*!a-z\"'#\t\u{4e00}-]{0,12}", 0..24,
        )) {
            let _ = parse(&lines.join("\n"), Path::new("nlu.yml"));
        }
    }
}
