//! A frozen encoder of sentences that the user supplies: the mean of vectors of subwords that were learned elsewhere.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

use forecart_text::Analyzed;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// What the folder of an encoder holds.
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";

/// Bounds, since files are of anyone.
const MOST_DIMS: usize = 1 << 12;
const MOST_ROWS: usize = 1 << 22;

/// A tokenizer and a vector of each token, in bfloat16.
///
/// A sentence is the mean of its tokens' vectors, scaled to length 1: static embeddings as model2vec and WordLlama make them of large
/// language models, and the recipe of Wieting et al., ICLR 2016.
pub(super) struct SentenceEncoder {
    tokenizer: Tokenizer,
    /// As it was read.
    tokenizer_json: Vec<u8>,
    /// `[n_tokens, n_dims]`.
    table: Vec<bf16>,
    n_dims: usize,
}

impl fmt::Debug for SentenceEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n_dims, n_tokens) = (self.n_dims, self.table.len() / self.n_dims);
        f.debug_struct("SentenceEncoder")
            .field("n_dims", &n_dims)
            .field("n_tokens", &n_tokens)
            .finish_non_exhaustive()
    }
}

/// A token of a text and what it adds to a sum over the vector's values.
pub(super) struct TokenShare {
    pub(super) span: Range<usize>,
    pub(super) value: f64,
}

impl SentenceEncoder {
    /// From a folder with `tokenizer.json` (of Hugging Face's tokenizers) and `model.safetensors`. Of the tensors, `embeddings` or
    /// `embedding.weight` is the table, `[n_rows, n_dims]`; those of model2vec may be beside it: `mapping`, the row of each token, and `weights`, what the
    /// row of each token is multiplied by.
    ///
    /// # Errors
    /// What is wrong, with the file: for the message of a hyperparameter.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            let path = folder.join(name);
            let told = |error| {
                format!(
                    "cannot read {path:?} ({error}); give a folder with {TOKENIZER} and {WEIGHTS}"
                )
            };
            fs::read(&path).map_err(told)
        };
        let (tokenizer, weights) = (read(TOKENIZER)?, read(WEIGHTS)?);
        let named = |name: &str, reason: String| format!("{:?}: {reason}", folder.join(name));
        let (table, n_dims) = table(&weights).map_err(|reason| named(WEIGHTS, reason))?;
        Self::new(tokenizer, table, n_dims).map_err(|reason| named(TOKENIZER, reason))
    }

    /// Memory to read the folder, at most: the files as they are, values in f32, the table, and the tokenizer's maps.
    pub(super) fn n_bytes(folder: &Path) -> Option<u64> {
        let n_bytes = |name| fs::metadata(folder.join(name)).ok().map(|file| file.len());
        Some(n_bytes(WEIGHTS)? * 4 + n_bytes(TOKENIZER)? * 20)
    }

    fn new(tokenizer_json: Vec<u8>, table: Vec<bf16>, n_dims: usize) -> Result<Self, String> {
        let mut tokenizer =
            Tokenizer::from_bytes(&tokenizer_json).map_err(|error| error.to_string())?;
        let refused = |error: tokenizers::Error| error.to_string();
        tokenizer.with_truncation(None).map_err(refused)?;
        tokenizer.with_padding(None);
        let (n_tokens, n_rows) = (tokenizer.get_vocab_size(true), table.len() / n_dims);
        if n_rows < n_tokens {
            return Err(format!("it has {n_tokens} tokens, and there are vectors of {n_rows}"));
        }
        Ok(Self { tokenizer, tokenizer_json, table, n_dims })
    }

    pub(super) fn n_dims(&self) -> usize {
        self.n_dims
    }

    /// What names it in a model file in place of its folder: the same files, the same name.
    pub(super) fn hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update((self.tokenizer_json.len() as u64).to_le_bytes());
        hash.update(&self.tokenizer_json);
        hash.update(self.table_bytes());
        let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    fn table_bytes(&self) -> Vec<u8> {
        self.table.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect()
    }

    fn vector(&self, token: u32) -> &[bf16] {
        let first = token as usize * self.n_dims;
        self.table.get(first..first + self.n_dims).unwrap_or_default()
    }

    /// The tokens of a text; none if it cannot be cut.
    fn tokens(&self, text: &str) -> Vec<(u32, Range<usize>)> {
        let Ok(found) = self.tokenizer.encode(text, false) else { return Vec::new() };
        let spans = found.get_offsets().iter().map(|(start, end)| *start..*end);
        found.get_ids().iter().copied().zip(spans).collect()
    }

    /// The vector of a text, of length 1; zeros for one without tokens.
    pub(super) fn vector_of(&self, text: &Analyzed) -> Vec<f32> {
        let sums = self.sums(&self.tokens(text.text()));
        let length = length(&sums);
        sums.into_iter().map(|sum| (sum / length) as f32).collect()
    }

    fn sums(&self, tokens: &[(u32, Range<usize>)]) -> Vec<f64> {
        let mut sums = vec![0.0; self.n_dims];
        for (token, _) in tokens {
            let terms = sums.iter_mut().zip(self.vector(*token));
            terms.for_each(|(sum, value)| *sum += f64::from(value.to_f32()));
        }
        sums
    }

    /// What each token adds to `Σ_d weights(d) vector_of(text)_d`.
    pub(super) fn shares(&self, text: &Analyzed, weight: impl Fn(usize) -> f64) -> Vec<TokenShare> {
        let tokens = self.tokens(text.text());
        let length = length(&self.sums(&tokens));
        let share = |(token, span): (u32, Range<usize>)| {
            let terms = self.vector(token).iter().enumerate();
            let sum: f64 = terms.map(|(dim, value)| weight(dim) * f64::from(value.to_f32())).sum();
            TokenShare { span, value: sum / length }
        };
        tokens.into_iter().map(share).collect()
    }

    pub(super) fn tensors(&self, tensors: &mut Tensors) {
        tensors.insert("encoder.tokenizer", TensorData::U8(self.tokenizer_json.clone()));
        tensors.insert("encoder.table", TensorData::U8(self.table_bytes()));
        tensors.insert("encoder.n_dims", TensorData::U32(vec![self.n_dims as u32]));
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<Self, ModelError> {
        let damaged = |reason: String| ModelError::damaged(format!("its encoder: {reason}"));
        let tokenizer = tensors.take_u8("encoder.tokenizer")?;
        let n_dims = tensors.take_u32("encoder.n_dims", Some(1))?[0] as usize;
        let bytes = tensors.take_u8("encoder.table")?;
        if !(1..=MOST_DIMS).contains(&n_dims) || bytes.len() % (2 * n_dims) != 0 {
            return Err(damaged(format!("{} bytes are no rows of {n_dims}", bytes.len())));
        }
        let value = |bytes: &[u8]| bf16::from_bits(u16::from_le_bytes([bytes[0], bytes[1]]));
        let table: Vec<bf16> = bytes.chunks_exact(2).map(value).collect();
        if !table.iter().all(|value| value.is_finite()) {
            return Err(damaged("a value is not finite".to_owned()));
        }
        Self::new(tokenizer, table, n_dims).map_err(damaged)
    }
}

fn length(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE)
}

/// The vector of each token from a file of tensors, and its length.
fn table(file: &[u8]) -> Result<(Vec<bf16>, usize), String> {
    let tensors = SafeTensors::deserialize(file).map_err(|error| error.to_string())?;
    let known = ["embeddings", "embedding.weight", "mapping", "weights"];
    if let Some(other) = tensors.names().into_iter().find(|name| !known.contains(name)) {
        return Err(format!(
            "tensor {other:?} belongs to no table of static embeddings, and an encoder with layers is not read"
        ));
    }
    let tensor = |name: &str| tensors.tensor(name).ok();
    let embeddings = tensor(known[0])
        .or(tensor(known[1]))
        .ok_or("there is no tensor \"embeddings\" or \"embedding.weight\"")?;
    let &[n_rows, n_dims] = embeddings.shape() else {
        return Err(format!(
            "the embeddings have the shape {:?}, not two axes",
            embeddings.shape()
        ));
    };
    if !(1..=MOST_DIMS).contains(&n_dims) || !(1..=MOST_ROWS).contains(&n_rows) {
        return Err(format!(
            "{n_rows} rows of {n_dims} values are not 1 to {MOST_ROWS} of 1 to {MOST_DIMS}"
        ));
    }
    let values = floats(embeddings.dtype(), embeddings.data())?;
    let mapping = match tensor("mapping") {
        Some(mapping) => indices(mapping.dtype(), mapping.data())?,
        None => (0..n_rows).collect(),
    };
    if let Some(row) = mapping.iter().find(|row| **row >= n_rows) {
        return Err(format!("the mapping has row {row} of {n_rows}"));
    }
    let weights = match tensor("weights") {
        Some(weights) => floats(weights.dtype(), weights.data())?,
        None => vec![1.0; mapping.len()],
    };
    if weights.len() != mapping.len() {
        return Err(format!("{} tokens have {} weights", mapping.len(), weights.len()));
    }
    let of_token = |(row, weight): (&usize, &f32)| {
        let weight = *weight;
        values[row * n_dims..(row + 1) * n_dims].iter().map(move |v| bf16::from_f32(v * weight))
    };
    let table: Vec<bf16> = mapping.iter().zip(&weights).flat_map(of_token).collect();
    if !table.iter().all(|value| value.is_finite()) {
        return Err("a value is not finite".to_owned());
    }
    Ok((table, n_dims))
}

fn floats(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, String> {
    let halves = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    Ok(match dtype {
        Dtype::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => halves().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        Dtype::F32 => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")))
            .collect(),
        Dtype::F64 => bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes")) as f32)
            .collect(),
        other => return Err(format!("values of the type {other:?}; give floats")),
    })
}

fn indices(dtype: Dtype, bytes: &[u8]) -> Result<Vec<usize>, String> {
    let wide: Vec<i64> = match dtype {
        Dtype::I32 => bytes
            .chunks_exact(4)
            .map(|b| i32::from_le_bytes(b.try_into().expect("four bytes")).into())
            .collect(),
        Dtype::I64 => bytes
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes")))
            .collect(),
        other => return Err(format!("a mapping of the type {other:?}; give integers")),
    };
    let index = |at: i64| usize::try_from(at).map_err(|_| format!("the mapping has row {at}"));
    wide.into_iter().map(index).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::support::testing::analyzed;
    use safetensors::tensor::TensorView;
    use serde_json::json;

    /// A tokenizer of whole words.
    fn tokenizer(words: &[&str]) -> Vec<u8> {
        let vocabulary: serde_json::Map<String, serde_json::Value> =
            words.iter().zip(0..).map(|(word, id)| (word.to_string(), json!(id))).collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
            "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": words[0]},
        });
        serde_json::to_vec(&tokenizer).unwrap()
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn write(folder: &Path, words: &[&str], tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) {
        let views: Vec<(String, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                (name.to_string(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
            })
            .collect();
        fs::write(folder.join(TOKENIZER), tokenizer(words)).unwrap();
        fs::write(folder.join(WEIGHTS), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    /// A folder with words that are near each other by their vectors alone.
    pub(in crate::support) fn folder() -> tempfile::TempDir {
        let words = ["[UNK]", "parcel", "package", "refund", "money"];
        let table = [0.0, 0.0, 1.0, 0.1, 1.0, 0.0, 0.0, 1.0, 0.1, 1.0];
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &words, &[("embeddings", Dtype::F32, vec![5, 2], bytes(&table))]);
        root
    }

    #[test]
    fn a_text_is_the_mean_of_its_tokens_at_length_one() {
        let root = folder();
        let encoder = SentenceEncoder::read(root.path()).unwrap();
        let texts = analyzed(&["package refund", "unheard of", ""]);
        let vector = encoder.vector_of(&texts[0]);
        let half = 0.5_f32.sqrt();
        assert!((vector[0] - half).abs() < 1e-6 && (vector[1] - half).abs() < 1e-6, "{vector:?}");
        assert_eq!(encoder.vector_of(&texts[1]), [0.0, 0.0]);
        assert_eq!(encoder.vector_of(&texts[2]), [0.0, 0.0]);
        let shares = encoder.shares(&texts[0], |dim| [2.0, -4.0][dim]);
        let of_word = |share: &TokenShare| &texts[0].text()[share.span.clone()];
        assert_eq!(shares.iter().map(of_word).collect::<Vec<_>>(), ["package", "refund"]);
        assert!((shares[0].value - 2.0 * f64::from(half)).abs() < 1e-6);
        assert!((shares[1].value + 4.0 * f64::from(half)).abs() < 1e-6);
    }

    #[test]
    fn tokens_may_share_rows_and_have_weights() {
        let root = tempfile::tempdir().unwrap();
        let halves = |values: &[f32]| -> Vec<u8> {
            let bits = values.iter().map(|value| f16::from_f32(*value).to_bits());
            bits.flat_map(u16::to_le_bytes).collect()
        };
        let mapping: Vec<u8> = [0_i64, 1, 1].into_iter().flat_map(i64::to_le_bytes).collect();
        let weights: Vec<u8> = [1.0_f64, 1.0, 0.5].into_iter().flat_map(f64::to_le_bytes).collect();
        write(
            root.path(),
            &["[UNK]", "a", "b"],
            &[
                ("embeddings", Dtype::F16, vec![2, 2], halves(&[0.0, 0.0, 2.0, 1.0])),
                ("mapping", Dtype::I64, vec![3], mapping),
                ("weights", Dtype::F64, vec![3], weights),
            ],
        );
        let encoder = SentenceEncoder::read(root.path()).unwrap();
        let row =
            |token| -> Vec<f32> { encoder.vector(token).iter().map(|v| v.to_f32()).collect() };
        assert_eq!((row(1), row(2)), (vec![2.0, 1.0], vec![1.0, 0.5]));
    }

    #[test]
    fn the_tensors_of_a_model_file_hold_all_of_it() {
        let root = folder();
        let encoder = SentenceEncoder::read(root.path()).unwrap();
        let mut tensors = Tensors::default();
        encoder.tensors(&mut tensors);
        let loaded = SentenceEncoder::load(&mut tensors).unwrap();
        tensors.expect_empty().unwrap();
        assert_eq!(loaded.hash(), encoder.hash());
        let text = &analyzed(&["my parcel"])[0];
        assert_eq!(loaded.vector_of(text), encoder.vector_of(text));
        encoder.tensors(&mut tensors);
        tensors.insert("encoder.n_dims", TensorData::U32(vec![3]));
        assert!(SentenceEncoder::load(&mut tensors).unwrap_err().to_string().contains("no rows"));
    }

    #[test]
    fn what_is_no_encoder_is_refused_and_named() {
        let root = tempfile::tempdir().unwrap();
        let refused = |root: &Path| SentenceEncoder::read(root).unwrap_err();
        assert!(refused(root.path()).contains("tokenizer.json"));
        let two = ["[UNK]", "a"];
        for (tensors, said) in [
            (vec![("embeddings", Dtype::F32, vec![1, 2], bytes(&[0.0; 2]))], "2 tokens"),
            (vec![("embeddings", Dtype::F32, vec![4], bytes(&[0.0; 4]))], "two axes"),
            (vec![("embeddings", Dtype::F32, vec![2, 1], bytes(&[0.0, f32::NAN]))], "finite"),
            (vec![("embeddings", Dtype::I8, vec![2, 1], vec![0, 1])], "floats"),
            (vec![("layer.0.weight", Dtype::F32, vec![1], bytes(&[0.0]))], "layers"),
        ] {
            write(root.path(), &two, &tensors);
            let message = refused(root.path());
            assert!(message.contains(said), "{message}");
        }
        write(root.path(), &two, &[("embeddings", Dtype::F32, vec![2, 1], bytes(&[0.0; 2]))]);
        fs::write(root.path().join(TOKENIZER), "{}").unwrap();
        assert!(refused(root.path()).contains("tokenizer.json"));
    }
}
