//! Which items will this user want next: one contract, and a file for each model.
//!
//! - [`ModelSpec`] is a model with checked hyperparameters that can be fitted on a
//!   [`TrainingView`];
//! - [`Recommender`] is a fitted model: it scores items for a history, so that users it has never
//!   seen
//!   are answered like any other;
//! - [`registry`] finds specs by name, from the command line or a configuration file.
//!
//! Models that learn by gradient steps share the loop of [`crate::training`].
//! Models know dense indices alone; [`crate::model_file::LoadedModel`] answers for external ids.
//!
//! ```
//! use forecart_models::recommend::registry;
//!
//! let spec = registry::spec("seq-rules", &serde_json::json!({"window": 5})).unwrap();
//! assert_eq!(spec.hyperparameters()["window"], 5);
//! let error = registry::spec("seq-rule", &serde_json::json!({})).unwrap_err();
//! assert!(error.to_string().contains("did you mean \"seq-rules\""));
//! ```

mod choices;
mod contract;
mod search_space;
mod top_k;
mod view;

mod bpr;
mod buy_again;
mod ease;
mod fusion;
mod ials;
mod latest;
mod mlp;
mod neighbors;
mod neumf;
mod popularity;
mod seq_rules;
pub(crate) mod sequence;
mod sessions;
mod slim;
mod trending;
mod two_tower;

mod asked_events;
mod attributes;
mod candidates;
mod early_stopping;
mod interactions;
mod item_table;
mod leave_one_out;
mod ranking;
mod related_items;
mod sparse;
mod trained;
mod vector_model;

pub mod registry;

pub use bpr::{Bpr, BprConfig, BprNegatives, BprOptimizer};
pub use buy_again::{BuyAgain, BuyAgainConfig};
pub use contract::{
    EpochRecord, Fallback, FitContext, FitRecord, Fitted, MemberRecord, ModelSpec, Reason,
    Recommender, ScoreScale,
};
pub use ease::{Ease, EaseConfig};
pub use fusion::{Fusion, FusionConfig, FusionMethod, MemberConfig};
pub use ials::{Confidence, Ials, IalsConfig, IalsSolver};
pub use latest::{Latest, LatestConfig, LatestKeys};
pub use mlp::{HiddenActivation, Mlp, MlpConfig, SoftmaxLoss};
pub use neighbors::{
    Content, ContentConfig, ItemKnn, ItemKnnConfig, NeighborKeys, RuleMeasure, Similarity,
    Together, TogetherConfig, UserKnn, UserKnnConfig, Weighting,
};
pub use neumf::{NeuMf, NeuMfConfig};
pub use popularity::{Popularity, PopularityConfig, Window};
pub use ranking::{Ranking, RankingSpec};
pub use related_items::RelatedItems;
pub use search_space::{Parameter, Range};
pub use seq_rules::{SeqRules, SeqRulesConfig};
pub use sequence::{
    FeedForwardKind, ItemUpdates, Mixer, Objective, Precision, Preset, Sequence, SequenceConfig,
    SequenceLoss, SequenceSpec,
};
pub use sessions::{
    PositionDecay, SessionNeighbors, SessionSpec, Stan, StanConfig, StanKeys, Vsknn, VsknnConfig,
    VsknnKeys, Vstan, VstanConfig, VstanKeys,
};
pub use slim::{Slim, SlimConfig};
pub use top_k::{Scored, TopK, top_k};
pub use trending::{Trending, TrendingConfig, TrendingKeys};
pub use two_tower::{TwoTower, TwoTowerConfig};
pub use view::{FitOn, Holdout, TrainingView};
