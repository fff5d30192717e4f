//! Signed model files: every kind of model, what is refused and what it says, and that no bit may differ.

use std::path::Path;
use std::sync::OnceLock;

use forecart_models::ModelError;
use forecart_models::model_file::{
    DemandModelFile, Distrust, IntentModelFile, LoadedModel, OutcomeModelFile, QuestionModelFile,
    SigningKey, Trust, VerifyingKey, inspect, sign_file,
};
use forecart_models::purchase::demand::DemandView;
use forecart_models::recommend::FitOn;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{demand_orders, intents, model_file, outcomes, questions};

/// A file of rules, once unsigned and once signed, and the key.
struct Files {
    _folder: TempDir,
    unsigned: Vec<u8>,
    signed: Vec<u8>,
    key: SigningKey,
}

impl Files {
    fn trust(&self) -> Trust {
        Trust::of(vec![self.key.verifying_key()])
    }
}

fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.forecart");
        let (model, key) = (model_file::rules(), SigningKey::generate());
        model.save(&path).unwrap();
        let unsigned = std::fs::read(&path).unwrap();
        sign_file(&path, &key).unwrap();
        Files { unsigned, signed: std::fs::read(&path).unwrap(), key, _folder: folder }
    })
}

fn distrust(error: ModelError) -> Distrust {
    match error {
        ModelError::Refused { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

fn key_ids(keys: &[&SigningKey]) -> Trust {
    Trust::of(keys.iter().map(|key| key.verifying_key()).collect())
}

/// Places of the JSON part and of the values.
fn parts(bytes: &[u8]) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (8..end, end..bytes.len())
}

/// Each kind of model is signed while it is saved and after it, and is loaded for those who trust the key and for those who trust anybody.
#[test]
fn every_kind_of_model_is_signed_and_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (key, other) = (SigningKey::generate(), SigningKey::generate());
    macro_rules! check {
        ($kind:ty, $file:expr) => {{
            let file = $file;
            let path = folder.path().join(stringify!($kind));
            file.save(&path).unwrap();
            assert_eq!(inspect(&path).unwrap().signed_by, None);
            let unsigned = std::fs::read(&path).unwrap();
            let error = <$kind>::open_trusted(&path, &key_ids(&[&key])).unwrap_err();
            assert_eq!(distrust(error), Distrust::Unsigned);
            sign_file(&path, &key).unwrap();
            let signed = std::fs::read(&path).unwrap();
            file.save_signed(&path, Some(&key)).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), signed, "two ways to sign");
            assert_eq!(
                inspect(&path).unwrap().signed_by,
                Some(key.verifying_key().id().to_string())
            );
            let (_, values) = parts(&signed);
            assert_eq!(values.start % 8, 0, "values are where they may be mapped");
            for trust in [Trust::Any, key_ids(&[&key]), key_ids(&[&other, &key])] {
                let back = <$kind>::open_trusted(&path, &trust).unwrap();
                assert_eq!(back.header(), file.header());
                assert_eq!(
                    back.to_bytes().unwrap(),
                    unsigned,
                    "a signature changes nothing of a model"
                );
            }
            let error = <$kind>::open_trusted(&path, &key_ids(&[&other])).unwrap_err();
            let key_id = key.verifying_key().id();
            assert_eq!(distrust(error), Distrust::UnknownKey { key_id });
        }};
    }
    check!(LoadedModel, model_file::rules());
    check!(OutcomeModelFile, outcomes::fit("lr", 1));
    check!(IntentModelFile, intents::fitted("tfidf-lr", intents::table(), 1, FitOn::Train));
    check!(QuestionModelFile, questions::model("popularity"));
    let orders = folder.path().join("orders");
    let table = demand_orders::table(&orders, 30, &demand_orders::shop(8, 30, 1));
    let spec = demand_orders::specs().remove(0);
    let fitted = spec.fit(DemandView::new(&table, 30)).unwrap();
    check!(DemandModelFile, DemandModelFile::new(&spec, fitted, &table).unwrap());
}

#[test]
fn a_signature_is_of_one_file_and_one_key() {
    let files = files();
    let trust = files.trust();
    let key_id = files.key.verifying_key().id();
    assert_eq!(trust.check(&files.signed).unwrap(), Some(key_id));
    assert_eq!(Trust::Any.check(&files.unsigned).unwrap(), None);
    assert_eq!(distrust(trust.check(&files.unsigned).unwrap_err()), Distrust::Unsigned);
    assert_eq!(distrust(trust.check(b"").unwrap_err()), Distrust::Unsigned);

    // A header, a value, the frame around them, what comes after them: whatever differs.
    let (json, values) = parts(&files.signed);
    let text = String::from_utf8(files.signed[json.clone()].to_vec()).unwrap();
    let hyperparameter = json.start + text.find("window").unwrap();
    let offset = json.start + text.rfind("data_offsets").unwrap();
    let longer = [&files.signed[..], b"\0"].concat();
    let changed = |at: usize| {
        let mut bytes = files.signed.clone();
        bytes[at] ^= 1;
        bytes
    };
    for bytes in [
        changed(hyperparameter),
        changed(offset),
        changed(values.start),
        changed(values.end - 1),
        longer,
    ] {
        assert_eq!(distrust(trust.check(&bytes).unwrap_err()), Distrust::Altered { key_id });
    }
    // Its content hash is right again, which anybody can do.
    let read = |bytes: &[u8]| LoadedModel::from_bytes(bytes).map(drop);
    let change = [r#""window":2"#.to_owned(), r#""window":3"#.to_owned()];
    let forged = model_file::forged(&files.unsigned, &change, read);
    LoadedModel::from_bytes(&forged).unwrap();
    let n_head = files.signed.windows(16).position(|own| own == b"\"forecart-model\"").unwrap();
    let moved = |onto: &[u8]| {
        let begin = b"{\"__metadata__\":{".len() + 8;
        let (json, values) = parts(onto);
        let json = [&files.signed[8..n_head], &onto[begin..json.end]].concat();
        [&(json.len() as u64).to_le_bytes()[..], &json, &onto[values]].concat()
    };
    let with_signature_of_another = moved(&forged);
    LoadedModel::from_bytes(&with_signature_of_another).unwrap();
    assert_eq!(
        distrust(trust.check(&with_signature_of_another).unwrap_err()),
        Distrust::Altered { key_id }
    );
    // Cut anywhere, it is not what was signed.
    for n in (0..files.signed.len()).step_by(61) {
        trust.check(&files.signed[..n]).unwrap_err();
    }
    // Another key under the id of a trusted one.
    let other = SigningKey::generate();
    let by_other = {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        std::fs::write(&path, &files.unsigned).unwrap();
        sign_file(&path, &other).unwrap();
        std::fs::read(&path).unwrap()
    };
    assert_eq!(
        distrust(trust.check(&by_other).unwrap_err()),
        Distrust::UnknownKey { key_id: other.verifying_key().id() }
    );
    let id = other.verifying_key().id().to_string();
    let at = by_other.windows(id.len()).position(|own| own == id.as_bytes()).unwrap();
    let mut disguised = by_other.clone();
    disguised[at..at + 16].copy_from_slice(key_id.to_string().as_bytes());
    assert_eq!(distrust(trust.check(&disguised).unwrap_err()), Distrust::Altered { key_id });
    // Digits in upper case mean the same and are not what was written.
    let digits = at + 17..at + 17 + 128;
    let mut upper = by_other.clone();
    upper[digits.clone()].make_ascii_uppercase();
    assert_ne!(upper, by_other);
    let by_key = key_ids(&[&other]);
    assert_eq!(distrust(by_key.check(&upper).unwrap_err()), Distrust::Illegible);
    by_key.check(&by_other).unwrap();
    // The same digits for another scalar: 2^252 + ... is added to it.
    let mut malleable = by_other.clone();
    let scalar: Vec<u8> = (0..32)
        .map(|n| {
            u8::from_str_radix(
                std::str::from_utf8(&by_other[digits.start + 64 + 2 * n..][..2]).unwrap(),
                16,
            )
            .unwrap()
        })
        .collect();
    let mut carry = 0;
    for (n, (byte, order)) in scalar.iter().zip(ORDER).enumerate() {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        carry = sum >> 8;
        let hex = format!("{:02x}", sum & 0xff);
        malleable[digits.start + 64 + 2 * n..][..2].copy_from_slice(hex.as_bytes());
    }
    assert!(matches!(distrust(by_key.check(&malleable).unwrap_err()), Distrust::Altered { .. }));
}

/// The order of the group of Ed25519, the least byte first.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn a_refused_file_says_which_and_what_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.forecart");
    let files = files();
    std::fs::write(&path, &files.unsigned).unwrap();
    let unsigned = LoadedModel::open_trusted(&path, &files.trust()).unwrap_err().to_string();
    assert!(
        unsigned.contains("rules.forecart") && unsigned.contains("forecart model sign"),
        "{unsigned}"
    );
    let mut altered = files.signed.clone();
    *altered.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &altered).unwrap();
    let of_file = files.trust().check_file(&path).unwrap_err().to_string();
    assert_eq!(LoadedModel::open_trusted(&path, &files.trust()).unwrap_err().to_string(), of_file);
    assert!(of_file.contains("altered") && of_file.contains("rules.forecart"), "{of_file}");
    let missing = folder.path().join("missing");
    assert!(matches!(files.trust().check_file(&missing), Err(ModelError::Data(_))));
}

#[test]
fn a_file_is_signed_anew_and_only_if_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let files = files();
    std::fs::write(&path, &files.unsigned).unwrap();
    let keys = [SigningKey::generate(), SigningKey::generate()];
    for key in [&keys[0], &keys[1], &keys[0]] {
        sign_file(&path, key).unwrap();
        key_ids(&[key]).check_file(&path).unwrap();
    }
    let resigned = std::fs::read(&path).unwrap();
    std::fs::write(&path, &files.unsigned).unwrap();
    sign_file(&path, &keys[0]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), resigned, "what was signed before leaves no trace");
    let mut damaged = files.unsigned.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for bytes in [&damaged[..], &files.unsigned[..200], b"", b"no model"] {
        std::fs::write(&path, bytes).unwrap();
        let error = sign_file(&path, &keys[0]).unwrap_err();
        assert!(matches!(error, ModelError::Damaged { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "what cannot be signed stays as it was");
    }
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn files_of_version_1_are_signed_too() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::generate();
    for name in ["seq-rules.v1.forecart", "mlp.v1.forecart"] {
        let path = folder.path().join(name);
        let old: &Path = &model_file::fixture(name);
        std::fs::copy(old, &path).unwrap();
        LoadedModel::open_trusted(&path, &Trust::Any).unwrap();
        sign_file(&path, &key).unwrap();
        let signed = LoadedModel::open_trusted(&path, &key_ids(&[&key])).unwrap();
        assert_eq!(signed.header(), LoadedModel::open(old).unwrap().header());
    }
}

#[test]
fn a_public_key_that_went_through_text_trusts_the_same_files() {
    let files = files();
    let text = files.key.verifying_key().to_string();
    let keys = VerifyingKey::read_all(&text).unwrap();
    Trust::of(keys).check(&files.signed).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn any_flipped_bit_of_a_signed_file_is_refused(
        anywhere in any::<prop::sample::Index>(),
        in_head in 0usize..240,
        is_in_head: bool,
        bit in 0u32..8,
    ) {
        let files = files();
        let mut bytes = files.signed.clone();
        let at = if is_in_head { in_head } else { anywhere.index(bytes.len()) };
        bytes[at] ^= 1 << bit;
        prop_assert!(files.trust().check(&bytes).is_err(), "byte {}, bit {}", at, bit);
    }

    #[test]
    fn any_bytes_are_checked_without_a_panic(
        prefix in 0usize..300,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let files = files();
        let bytes = [&files.signed[..prefix], &bytes].concat();
        prop_assert!(files.trust().check(&bytes).is_err());
    }
}
