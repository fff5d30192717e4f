//! The hyperparameters of the session models, with their formulas.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::super::search_space::Parameter;
use super::spec::{Rules, SessionKeys};

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("a default is not 0")
}

/// What `tune` varies; the scales from a step that alone counts to one after which nothing falls.
const N_NEIGHBORS: Parameter = Parameter::log_int("n_neighbors", 20, 2000);
const N_RECENT: Parameter = Parameter::log_int("n_recent", 200, 20_000);
const LAMBDA_SPW: Parameter = Parameter::log("lambda_spw", 0.2, 50.0);
const LAMBDA_SNH: Parameter = Parameter::log("lambda_snh", 0.5, 500.0);
const LAMBDA_INH: Parameter = Parameter::log("lambda_inh", 0.2, 50.0);
const DECAYS: &[&str] = &["same", "linear", "div", "log", "quadratic"];

/// How the weight of an event falls with its distance from the end of a session.
///
/// Source of all: the program of Ludewig and Jannach, UMUAI 28, 2018, section 3.2.3. We differ: `linear` ends at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PositionDecay {
    /// 1 for all.
    Same,
    /// A tenth less with each step.
    Linear,
    /// In the current session the position from the start by the length, else 1 by the steps.
    Div,
    /// `1 / log10(steps + 1.7)`.
    Log,
    /// The square of `div`.
    Quadratic,
}

impl PositionDecay {
    /// Of an event of the current session, `steps` before the newest of `length`.
    fn of_current(self, steps: usize, length: usize) -> f64 {
        let div = (length - steps) as f64 / length as f64;
        match self {
            Self::Same => 1.0,
            Self::Linear => (1.0 - 0.1 * steps as f64).max(0.0),
            Self::Div => div,
            Self::Log => 1.0 / (steps as f64 + 1.7).log10(),
            Self::Quadratic => div * div,
        }
    }

    /// Of a neighbor whose newest shared event is `steps` before the newest one; the newest counts as step 1.
    fn of_match(self, steps: usize) -> f64 {
        let step = steps as f64 + 1.0;
        match self {
            Self::Same => 1.0,
            Self::Linear => (1.0 - 0.1 * step).max(0.0),
            Self::Div => 1.0 / step,
            Self::Log => 1.0 / (step + 1.7).log10(),
            Self::Quadratic => 1.0 / (step * step),
        }
    }
}

/// V-SKNN: vector multiplication session-based kNN.
///
/// Of the `n_recent` newest sessions that share an item with the current session `s`, the `n_neighbors` most similar
/// speak. `similarity(s, n) = Σ_{i in both} d(i)` with `d` the `position_decay` of the item's newest event in `s`.
/// `score(i) = Σ_n similarity(s, n) · m(n) · 1_n(i) · (1 + idf_weight · idf(i))` with `m` the `match_decay` of the newest item
/// of `s` that `n` has, `idf(i) = ln(sessions / sessions with i)`.
///
/// Source: Ludewig and Jannach, UMUAI 28, 2018, section 3.2.3; `idf_weight` from their program.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VsknnKeys {
    /// Neighbors that speak (`k`).
    pub n_neighbors: NonZeroU32,
    /// Newest sessions that are compared (`sample_size`).
    pub n_recent: NonZeroU32,
    /// How much an item of the current session counts (`weighting`).
    pub position_decay: PositionDecay,
    /// How much a neighbor counts by its newest shared item (`weighting_score`).
    pub match_decay: PositionDecay,
    /// How much rare items gain (`idf_weighting`); 0 is off.
    pub idf_weight: f64,
    /// Whether items of the current session are recommended again, where the request lets them.
    pub remind: bool,
    /// Newest events of the history that are the current session (`last_n_clicks`). 50: longer ones are no session.
    pub max_history: NonZeroU32,
}

impl Default for VsknnKeys {
    fn default() -> Self {
        Self {
            n_neighbors: count(100),
            n_recent: count(1000),
            position_decay: PositionDecay::Div,
            match_decay: PositionDecay::Div,
            idf_weight: 0.0,
            remind: true,
            max_history: count(50),
        }
    }
}

impl SessionKeys for VsknnKeys {
    const NAME: &'static str = "v-sknn";
    const SEARCH_SPACE: &'static [Parameter] = &[
        N_NEIGHBORS,
        N_RECENT,
        Parameter::choice("position_decay", DECAYS),
        Parameter::choice("match_decay", DECAYS),
        Parameter::float("idf_weight", 0.0, 10.0),
    ];

    fn rules(&self) -> Rules {
        Rules {
            max_history: self.max_history.get() as usize,
            n_recent: self.n_recent.get() as usize,
            n_neighbors: self.n_neighbors.get() as usize,
            is_cosine: false,
            days: None,
            neighbor_distance: None,
            idf: self.idf_weight,
            remind: self.remind,
        }
    }

    fn positive(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    fn of_current(&self, steps: usize, length: usize) -> f64 {
        self.position_decay.of_current(steps, length)
    }

    fn of_match(&self, steps: usize) -> f64 {
        self.match_decay.of_match(steps)
    }
}

/// STAN: sequence and time aware neighborhood.
///
/// With `d(i) = exp(-steps / lambda_spw)` for an item `steps` before the end of the current session `s`:
/// `similarity(s, n) = Σ_{i in both} d(i) / (|d| √|n|) · exp(-days / lambda_snh)`, the days between the end of `n` and
/// now (without times 1; counted from the newest session that is compared, a factor that all share). `score(i) = Σ_n similarity(s, n) · exp(-|p(i) - p(i*)| / lambda_inh)`, with `p` the place in `n`
/// and `i*` the newest item of `s` that `n` has.
///
/// Source: Garg et al., SIGIR 2019, equations 1 to 6; the defaults are those of the program of Ludewig et al., UMUAI 31,
/// 2021.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StanKeys {
    /// Neighbors that speak (`k`).
    pub n_neighbors: NonZeroU32,
    /// Newest sessions that are compared (`sample_size`).
    pub n_recent: NonZeroU32,
    /// Steps over which an item of the current session counts less by the factor e.
    pub lambda_spw: f64,
    /// Days over which a neighbor counts less by the factor e.
    pub lambda_snh: f64,
    /// Places over which an item of a neighbor counts less by the factor e.
    pub lambda_inh: f64,
    /// Whether items of the current session are recommended again, where the request lets them.
    pub remind: bool,
    /// Newest events of the history that are the current session.
    pub max_history: NonZeroU32,
}

impl Default for StanKeys {
    fn default() -> Self {
        Self {
            n_neighbors: count(500),
            n_recent: count(5000),
            lambda_spw: 1.02,
            lambda_snh: 5.0,
            lambda_inh: 2.05,
            remind: true,
            max_history: count(50),
        }
    }
}

impl SessionKeys for StanKeys {
    const NAME: &'static str = "stan";
    const SEARCH_SPACE: &'static [Parameter] =
        &[N_NEIGHBORS, N_RECENT, LAMBDA_SPW, LAMBDA_SNH, LAMBDA_INH];

    fn rules(&self) -> Rules {
        Rules {
            max_history: self.max_history.get() as usize,
            n_recent: self.n_recent.get() as usize,
            n_neighbors: self.n_neighbors.get() as usize,
            is_cosine: true,
            days: Some(self.lambda_snh),
            neighbor_distance: Some(self.lambda_inh),
            idf: 0.0,
            remind: self.remind,
        }
    }

    fn positive(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("lambda_spw", self.lambda_spw),
            ("lambda_snh", self.lambda_snh),
            ("lambda_inh", self.lambda_inh),
        ]
    }

    fn of_current(&self, steps: usize, _: usize) -> f64 {
        (-(steps as f64) / self.lambda_spw).exp()
    }

    fn of_match(&self, _: usize) -> f64 {
        1.0
    }
}

/// VSTAN: STAN with two weights of V-SKNN.
///
/// As [`StanKeys`], and each neighbor counts `exp(-steps / lambda_ipw)` for the newest item of the current session that it
/// has, each item `1 + idf_weight · idf(i)` with `idf(i) = ln(sessions / sessions with i)`.
///
/// Source: Ludewig et al., UMUAI 31, 2021, section 2.2, whose program has these defaults (`lambda_idf` is `idf_weight`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VstanKeys {
    /// What it shares with STAN.
    #[serde(flatten)]
    pub stan: StanKeys,
    /// Steps over which a neighbor counts less by the factor e, by its newest shared item.
    pub lambda_ipw: f64,
    /// How much rare items gain; 0 is off.
    pub idf_weight: f64,
}

impl Default for VstanKeys {
    fn default() -> Self {
        Self { stan: StanKeys::default(), lambda_ipw: 1.02, idf_weight: 5.0 }
    }
}

impl SessionKeys for VstanKeys {
    const NAME: &'static str = "vstan";
    const SEARCH_SPACE: &'static [Parameter] = &[
        N_NEIGHBORS,
        N_RECENT,
        LAMBDA_SPW,
        LAMBDA_SNH,
        LAMBDA_INH,
        Parameter::log("lambda_ipw", 0.2, 50.0),
        Parameter::float("idf_weight", 0.0, 10.0),
    ];

    fn rules(&self) -> Rules {
        Rules { idf: self.idf_weight, ..self.stan.rules() }
    }

    fn positive(&self) -> Vec<(&'static str, f64)> {
        let mut positive = self.stan.positive();
        positive.push(("lambda_ipw", self.lambda_ipw));
        positive
    }

    fn of_current(&self, steps: usize, length: usize) -> f64 {
        self.stan.of_current(steps, length)
    }

    fn of_match(&self, steps: usize) -> f64 {
        (-(steps as f64) / self.lambda_ipw).exp()
    }
}
