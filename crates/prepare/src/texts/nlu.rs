//! Training data of Rasa: `nlu.yml`, in the form that its documentation gives.
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
//! Read line by line: the intents and their examples, the latter as a block of `- ` lines or as a list of `text:`. Entities lose their marks. Synonyms,
//! lookup tables, regular expressions and other sections are passed over. Anything else under `nlu:` is an error with its line.

use std::path::Path;

use crate::PrepareError;
use crate::error::Place;

/// An example of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Example {
    pub(super) text: String,
    pub(super) intent: String,
}

/// What the lines below are.
enum Within {
    /// No entry of `nlu:`.
    Nothing,
    /// An entry that is no intent.
    Other,
    /// An intent, before its examples.
    Intent,
    /// The examples of an intent; the indentation of a `text: |` whose lines are one example, or of a `metadata:`, whose lines are passed over.
    Examples { block: Option<usize>, metadata: Option<usize> },
}

/// Whether a file is one by its name.
pub(super) fn is_nlu(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}

/// The examples of a file.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Example>, PrepareError> {
    let mut examples: Vec<Example> = Vec::new();
    let (mut within, mut intent, mut is_nlu, mut has_nlu) = (Within::Nothing, "", false, false);
    let mut entry_indent = None;
    for (line, whole) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let content = whole.trim();
        let indent = whole.len() - whole.trim_start().len();
        let is_in_block =
            matches!(within, Within::Examples { block: Some(depth), .. } if indent > depth);
        if content.is_empty() || content.starts_with('#') && !is_in_block {
            continue;
        }
        let refuse = |reason: &str, fix: &str| {
            Err(PrepareError::input(
                Place::file(path).line(line),
                reason.to_owned(),
                fix.to_owned(),
            ))
        };
        if whole.starts_with('\t') {
            return refuse("indented by a tab", "YAML is indented by spaces");
        }
        if indent == 0 && !content.starts_with('-') {
            is_nlu = without_comment(content) == "nlu:";
            has_nlu |= is_nlu;
            entry_indent = None;
            within = Within::Nothing;
            continue;
        }
        if !is_nlu {
            continue;
        }
        let entry = content.strip_prefix("- ").unwrap_or(content).trim_start();
        let is_key = |name: &str| entry.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
        if content.starts_with("- ") && indent == *entry_indent.get_or_insert(indent) {
            match is_key("intent") {
                Some(name) if unquoted(name).is_empty() => {
                    return refuse("an intent without a name", "write `- intent: name`");
                }
                Some(name) => {
                    intent = unquoted(name);
                    within = Within::Intent;
                }
                None if ["synonym", "lookup", "regex"]
                    .iter()
                    .any(|name| is_key(name).is_some()) =>
                {
                    within = Within::Other;
                }
                None => {
                    return refuse(
                        "an entry that is none of intent, synonym, lookup and regex",
                        "mend its name, or move it out of `nlu:`",
                    );
                }
            }
            continue;
        }
        match &mut within {
            Within::Other => {}
            Within::Nothing => {
                return refuse("no entry begins here", "write `- intent: name` above its examples");
            }
            Within::Intent => {
                // What else there is says something about the intent.
                match is_key("examples").map(without_comment) {
                    Some(rest) if rest.is_empty() || is_block(rest) => {
                        within = Within::Examples { block: None, metadata: None };
                    }
                    Some(_) => {
                        return refuse("examples in one line", "write each below, after `- `");
                    }
                    None => {}
                }
            }
            Within::Examples { block, metadata } => {
                if let Some(depth) = *block
                    && indent > depth
                {
                    let text = plain(content);
                    match examples.last_mut() {
                        Some(last) if !last.text.is_empty() => {
                            last.text.push(' ');
                            last.text.push_str(&text);
                        }
                        Some(last) => last.text = text,
                        None => {}
                    }
                    continue;
                }
                *block = None;
                if metadata.is_some_and(|depth| indent > depth) {
                    continue;
                }
                *metadata = content.starts_with("metadata:").then_some(indent);
                if metadata.is_some() {
                    continue;
                }
                let Some(item) = content.strip_prefix('-') else {
                    return refuse("no example begins here", "begin each with `- `");
                };
                let item = item.trim_start();
                let text = match item.strip_prefix("text:") {
                    Some(rest) if is_block(without_comment(rest)) => {
                        // The text is indented further than its key.
                        *block = Some(indent + content.len() - item.len());
                        String::new()
                    }
                    Some(rest) => plain(unquoted(rest)),
                    None => plain(item),
                };
                examples.push(Example { text, intent: intent.to_owned() });
            }
        }
    }
    match has_nlu {
        true => Ok(examples),
        false => Err(PrepareError::input(
            Place::file(path),
            "no section `nlu:`".to_owned(),
            "give a file of training data of Rasa 2 or 3, or a table with columns of texts and intents"
                .to_owned(),
        )),
    }
}

/// Whether a value is the beginning of a block of lines.
fn is_block(value: &str) -> bool {
    let rest = value.strip_prefix(['|', '>']);
    rest.is_some_and(|rest| ["", "-", "+"].contains(&rest))
}

/// A line without what stands behind ` #`.
fn without_comment(content: &str) -> &str {
    content.split(" #").next().unwrap_or(content).trim()
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

/// An example without the marks of its entities: `[shown](entity)`, `[shown]{"entity": "x"}`.
fn plain(example: &str) -> String {
    let mut out = String::with_capacity(example.len());
    let mut rest = example;
    while let Some(start) = rest.find('[') {
        out.push_str(&rest[..start]);
        let marked = &rest[start + 1..];
        let found = marked.find(']').and_then(|end| {
            let after = &marked[end + 1..];
            let close = match after.chars().next()? {
                '(' => after.find(')')?,
                '{' => after.find('}')?,
                _ => return None,
            };
            Some((&marked[..end], &after[close + 1..]))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>, String> {
        let found = parse(text, Path::new("nlu.yml")).map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|example| (example.intent, example.text)).collect())
    }

    #[test]
    fn the_documented_forms_are_read() {
        let text = "version: \"3.1\"\n\nnlu:\n- intent: check_order\n  examples: |\n    - where is [my parcel](thing)?\n\
                    \x20   - in [SF]{\"entity\": \"city\", \"value\": \"San Francisco\"} [1] now\n\n- synonym: parcel\n  examples: |\n    - package\n\
                    - intent: 'greet'\n  metadata:\n    x: 1\n  examples:\n  - text: |\n      hi there\n    metadata:\n      y: 2\n  - text: \"hello\"\n\
                    stories:\n- story: x\n  steps:\n  - intent: greet\n";
        let own = |intent: &str, text: &str| (intent.to_owned(), text.to_owned());
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
        let own = |intent: &str, text: &str| (intent.to_owned(), text.to_owned());
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
            ("- intnt: b", "none of intent"),
            ("- story: b", "none of intent"),
            ("    the rest of one", "no example begins here"),
            ("- intent: b\n  examples: [x, y]", "in one line"),
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
        assert!(parsed("nlu:\n\t- intent: x\n").unwrap_err().contains("tab"));
    }
}
