//! What is wrong with labeled texts: contradictions, intents of few texts, test texts among those that are learned from.

use std::collections::BTreeMap;

use forecart_data::{IntentTable, Part};
use forecart_text::{Analyzed, Pipeline, near_duplicates};
use serde::{Deserialize, Serialize};

/// Examples that are kept of a finding.
const N_EXAMPLES: usize = 5;

/// Two texts that say almost the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextPair {
    /// Both, as they stand in the table: masked.
    pub texts: [String; 2],
    /// What they ask; `None` for none of the intents.
    pub intents: [Option<String>; 2],
    /// Share of their n-grams that both have.
    pub similarity: f64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TextFindings {
    /// Pairs of texts that say almost the same and ask for different intents.
    pub n_contradictions: u64,
    /// The first few, the most similar first.
    pub contradictions: Vec<TextPair>,
    /// Test texts that say almost the same as one that is learned from or chosen by.
    pub n_leaked: u64,
    /// The first few, the most similar first.
    pub leaked: Vec<TextPair>,
    /// Intents of few training texts, and how many they have.
    pub few: BTreeMap<String, u64>,
}

impl TextFindings {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// One line for each finding and example.
    pub fn lines(&self) -> Vec<String> {
        let name = |intent: &Option<String>| intent.clone().unwrap_or_else(|| "none".to_owned());
        let pair = |pair: &TextPair| {
            let TextPair { texts: [a, b], intents: [of_a, of_b], similarity } = pair;
            let (of_a, of_b) = (name(of_a), name(of_b));
            format!("    {a:?} ({of_a}), {b:?} ({of_b}): {similarity:.2}")
        };
        let mut lines = Vec::new();
        if self.n_contradictions > 0 {
            lines.push(format!(
                "  {} pairs of texts say almost the same and ask for different intents; decide which is right, or join the intents",
                self.n_contradictions
            ));
            lines.extend(self.contradictions.iter().map(pair));
        }
        if self.n_leaked > 0 {
            lines.push(format!(
                "  {} test texts say almost the same as one that is learned from: the test is easier than service will be",
                self.n_leaked
            ));
            lines.extend(self.leaked.iter().map(pair));
        }
        for (intent, n) in &self.few {
            lines.push(format!(
                "  intent {intent:?} has {n} training texts; write more, or join it with another"
            ));
        }
        lines
    }
}

/// Looks through a table. Texts of a `near` share of common n-grams say the same; intents of fewer than `min_texts` training texts are few.
pub fn find_in_texts(
    table: &IntentTable,
    pipeline: &Pipeline,
    near: f64,
    min_texts: usize,
) -> TextFindings {
    let texts: Vec<Analyzed> =
        (0..table.n_texts()).map(|row| pipeline.analyze(table.text(row))).collect();
    let name = |row: usize| table.label(row).map(|at| table.intents.get(at as usize).to_owned());
    let mut pairs = near_duplicates(&texts, near);
    pairs.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.places.cmp(&b.places)));
    let mut findings = TextFindings::default();
    let mut is_leaked = vec![false; table.n_texts()];
    for pair in pairs {
        let [a, b] = pair.places;
        let shown = || TextPair {
            texts: [a, b].map(|row| table.text(row).to_owned()),
            intents: [a, b].map(name),
            similarity: pair.similarity,
        };
        if table.label(a) != table.label(b) {
            findings.n_contradictions += 1;
            if findings.contradictions.len() < N_EXAMPLES {
                findings.contradictions.push(shown());
            }
        }
        let test = match [a, b].map(|row| table.part(row) == Part::Test) {
            [true, false] => a,
            [false, true] => b,
            _ => continue,
        };
        if !std::mem::replace(&mut is_leaked[test], true) {
            findings.n_leaked += 1;
            if findings.leaked.len() < N_EXAMPLES {
                findings.leaked.push(shown());
            }
        }
    }
    let mut counts = vec![0u64; table.intents.len()];
    for label in table.rows(Part::Train).into_iter().filter_map(|row| table.label(row)) {
        counts[label as usize] += 1;
    }
    for (intent, n) in table.intents.iter().zip(counts) {
        if n < min_texts as u64 {
            findings.few.insert(intent.to_owned(), n);
        }
    }
    findings
}
