//! Models by name. A new model is a file and one entry of [`MODELS`].

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::bpr::{Bpr, BprConfig};
use super::buy_again::{BuyAgain, BuyAgainConfig};
use super::contract::{ModelSpec, Recommender};
use super::ease::{Ease, EaseConfig};
use super::fusion::{Fusion, FusionConfig};
use super::ials::{Ials, IalsConfig};
use super::latest::{Latest, LatestConfig};
use super::mlp::{Mlp, MlpConfig};
use super::neighbors::{
    Content, ContentConfig, ItemKnn, ItemKnnConfig, Together, TogetherConfig, UserKnn,
    UserKnnConfig,
};
use super::neumf::{NeuMf, NeuMfConfig};
use super::popularity::{Popularity, PopularityConfig, Window};
use super::related_items::RelatedItemsConfig;
use super::seq_rules::{SeqRules, SeqRulesConfig};
use super::sequence::{Preset, Sequence, SequenceSpec};
use super::sessions::{Stan, StanConfig, Vsknn, VsknnConfig, Vstan, VstanConfig};
use super::slim::{Slim, SlimConfig};
use super::trending::{Trending, TrendingConfig};
use super::two_tower::{TwoTower, TwoTowerConfig};
use crate::error::{ModelError, nearest};
use crate::tensors::Tensors;

/// Stands for [`DEFAULT_MODEL`] wherever a name is asked for.
pub const DEFAULT: &str = "default";

/// The model that is trained when none is named: three networks and the rules, weighted on validation. On the test parts of
/// Amazon Beauty and Sports its NDCG@10 is 0.0638 and 0.0394 against 0.0478 and 0.0215 of `seq-rules`, for minutes of
/// training in place of a second.
pub const DEFAULT_MODEL: &str = "fusion";

/// A model that can be asked for by name.
#[derive(Debug)]
pub struct Entry {
    /// The name.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// From the keys of a configuration file (a JSON object or null) to a checked spec.
    spec: fn(&Value) -> Result<Box<dyn ModelSpec>, ModelError>,
    /// From hyperparameters, what [`Recommender::tensors`] gave, and the number of item rows.
    load: Load,
}

type Load = fn(&Value, &mut Tensors, usize) -> Result<Box<dyn Recommender>, ModelError>;

macro_rules! popularity {
    ($name:literal, $about:literal, $window:expr) => {
        Entry {
            name: $name,
            about: $about,
            spec: |keys| Ok(Box::new(PopularityConfig::from_keys($window, keys)?)),
            load: |keys, tensors, n_item_rows| {
                let config = PopularityConfig::from_keys($window, keys)?;
                Ok(Box::new(Popularity::load(config, tensors, n_item_rows)?))
            },
        }
    };
}
macro_rules! entry {
    ($name:literal, $about:literal, $config:ty, $model:ty) => {
        Entry {
            name: $name,
            about: $about,
            spec: |keys| {
                let config: $config = parse_keys($name, keys)?;
                config.check()?;
                Ok(Box::new(config))
            },
            load: |keys, tensors, n_item_rows| {
                let config: $config = parse_keys($name, keys)?;
                config.check()?;
                Ok(Box::new(<$model>::load(config, tensors, n_item_rows)?))
            },
        }
    };
}

macro_rules! sequence {
    ($about:literal, $preset:ident, $name:literal) => {
        Entry {
            name: $name,
            about: $about,
            spec: |keys| Ok(Box::new(SequenceSpec::from_keys(Preset::$preset, keys)?)),
            load: |keys, tensors, n_item_rows| {
                let spec = SequenceSpec::from_keys(Preset::$preset, keys)?;
                Ok(Box::new(Sequence::load(spec, tensors, n_item_rows)?))
            },
        }
    };
}

/// All models, simplest first.
pub static MODELS: &[Entry] = &[
    popularity!("popularity", "most chosen items of all time", Window::AllTime),
    popularity!("popularity-7d", "most chosen items of the last 7 days", Window::Last7Days),
    popularity!("popularity-30d", "most chosen items of the last 30 days", Window::Last30Days),
    popularity!(
        "popularity-decay",
        "most chosen items, recent events counting more",
        Window::Decay { half_life_days: 7.0 }
    ),
    entry!("trending", "what is chosen more often now than before", TrendingConfig, Trending),
    entry!("latest", "the newest items first", LatestConfig, Latest),
    entry!("buy-again", "what was bought before and is due", BuyAgainConfig, BuyAgain),
    entry!("together", "what the same baskets hold", TogetherConfig, Together),
    entry!(
        "seq-rules",
        "what followed what, by distance; fast, explains itself",
        SeqRulesConfig,
        SeqRules
    ),
    entry!("ials", "factors of users and items, alternating least squares", IalsConfig, Ials),
    entry!("bpr", "factors that rank what was chosen above what was not", BprConfig, Bpr),
    entry!("ease", "linear weights between all items, in closed form", EaseConfig, Ease),
    entry!("slim", "sparse linear weights between items, not negative", SlimConfig, Slim),
    entry!("item-knn", "items that the same users chose", ItemKnnConfig, ItemKnn),
    entry!("user-knn", "what users with like histories chose", UserKnnConfig, UserKnn),
    entry!("content", "items alike by the catalog, new ones too", ContentConfig, Content),
    entry!("v-sknn", "what happened in sessions like this one", VsknnConfig, Vsknn),
    entry!("stan", "the same with decays by position and age", StanConfig, Stan),
    entry!("vstan", "the same with rare items raised", VstanConfig, Vstan),
    entry!("mlp", "multi-layer perceptron on the history and the items' features", MlpConfig, Mlp),
    entry!("neumf", "product of factors and a perceptron on them, joined", NeuMfConfig, NeuMf),
    entry!(
        "two-tower",
        "a network for histories, one for items, new ones too",
        TwoTowerConfig,
        TwoTower
    ),
    sequence!("gated recurrent unit over the history", Gru4Rec, "gru4rec"),
    sequence!("causal self-attention over the history", SasRec, "sasrec"),
    sequence!("self-attention both ways, trained on masked items", Bert4Rec, "bert4rec"),
    sequence!("pointwise gated attention with distance and time gap", Hstu, "hstu"),
    sequence!("self-attention with gated residuals and sampled softmax", ESasRec, "esasrec"),
    Entry {
        name: "fusion",
        about: "several models as one, weighted on the validation part",
        spec: |keys| {
            let config: FusionConfig = parse_keys("fusion", keys)?;
            Ok(Box::new(config.checked()?))
        },
        load: |keys, tensors, n_item_rows| {
            let config: FusionConfig = parse_keys("fusion", keys)?;
            Ok(Box::new(Fusion::load(config.checked()?, tensors, n_item_rows)?))
        },
    },
];

/// The entry called `name`; [`DEFAULT`] is the one of [`DEFAULT_MODEL`].
///
/// # Errors
/// [`ModelError::UnknownModel`].
pub fn entry(name: &str) -> Result<&'static Entry, ModelError> {
    let name = if name == DEFAULT { DEFAULT_MODEL } else { name };
    MODELS.iter().find(|entry| entry.name == name).ok_or_else(|| ModelError::UnknownModel {
        name: name.to_owned(),
        suggestion: nearest(name, MODELS.iter().map(|entry| entry.name)),
        known: MODELS.iter().map(|entry| entry.name).collect(),
    })
}

/// The model called `name` with `keys` in place of its defaults; `keys` is a JSON object or null.
///
/// # Errors
/// [`ModelError::UnknownModel`], [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`].
pub fn spec(name: &str, keys: &Value) -> Result<Box<dyn ModelSpec>, ModelError> {
    (entry(name)?.spec)(keys)
}

/// A fitted model from what its [`Recommender::hyperparameters`] and [`Recommender::tensors`] gave.
///
/// # Errors
/// [`ModelError::UnknownModel`], [`ModelError::Damaged`] if a tensor is missing, left over or does
/// not fit.
pub fn load(
    name: &str,
    hyperparameters: &Value,
    mut tensors: Tensors,
    n_item_rows: usize,
) -> Result<Box<dyn Recommender>, ModelError> {
    let model = (entry(name)?.load)(hyperparameters, &mut tensors, n_item_rows)?;
    tensors.expect_empty()?;
    Ok(model)
}

/// `T` from its defaults and `keys`; the error names the key.
pub(crate) fn parse_keys<T>(model: &'static str, keys: &Value) -> Result<T, ModelError>
where
    T: Default + Serialize + DeserializeOwned,
{
    parse_keys_of(model, &T::default(), keys)
}

/// The same from other defaults.
pub(crate) fn parse_keys_of<T>(
    model: &'static str,
    defaults: &T,
    keys: &Value,
) -> Result<T, ModelError>
where
    T: Serialize + DeserializeOwned,
{
    let none = Map::new();
    let keys = match keys {
        Value::Object(keys) => keys,
        Value::Null => &none,
        _ => return Err(ModelError::hyperparameter(model, "", "not a table of names and values")),
    };
    let unreadable = |name: &str, error: serde_json::Error| {
        ModelError::hyperparameter(model, name, error.to_string())
    };
    let defaults = serde_json::to_value(defaults).map_err(|error| unreadable("", error))?;
    let Value::Object(defaults) = defaults else {
        return serde_json::from_value(defaults).map_err(|error| unreadable("", error));
    };
    for (key, value) in keys {
        if !defaults.contains_key(key) {
            let known: Vec<String> = defaults.keys().cloned().collect();
            let suggestion = nearest(key, known.iter().map(String::as_str));
            return Err(ModelError::UnknownKey { model, key: key.clone(), suggestion, known });
        }
        // One key at a time, so that the error can name it.
        let mut one = defaults.clone();
        one.insert(key.clone(), value.clone());
        serde_json::from_value::<T>(Value::Object(one)).map_err(|error| unreadable(key, error))?;
    }
    let mut all = defaults;
    all.extend(keys.iter().map(|(key, value)| (key.clone(), value.clone())));
    serde_json::from_value(Value::Object(all)).map_err(|error| unreadable("", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_entry_makes_a_spec_of_its_own_name_whose_hyperparameters_it_reads_back() {
        for entry in MODELS {
            let spec = spec(entry.name, &Value::Null).unwrap();
            assert_eq!(spec.name(), entry.name);
            let again = super::spec(entry.name, &spec.hyperparameters()).unwrap();
            assert_eq!(again.hyperparameters(), spec.hyperparameters());
            assert!(!entry.about.is_empty());
        }
        assert_eq!(spec(DEFAULT, &Value::Null).unwrap().name(), DEFAULT_MODEL);
    }

    #[test]
    fn mistakes_are_named_with_the_nearest_right_name() {
        let error = spec("popularty", &Value::Null).unwrap_err().to_string();
        assert!(error.contains("did you mean \"popularity\""), "{error}");
        let error = spec("popularity-decay", &json!({"half_life": 2})).unwrap_err().to_string();
        assert!(error.contains("did you mean \"half_life_days\""), "{error}");
        let error = spec("popularity-decay", &json!({"half_life_days": "x"})).unwrap_err();
        assert!(
            matches!(&error, ModelError::Hyperparameter { name, .. } if name == "half_life_days"),
            "{error}"
        );
        assert!(spec("popularity", &json!(3)).is_err());
        let error = spec("popularity", &json!({"zzz": 1})).unwrap_err().to_string();
        assert!(error.ends_with("it has: none"), "{error}");
    }
}
