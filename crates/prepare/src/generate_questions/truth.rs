//! The probabilities that a generated log was drawn by: what no model can beat.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::causes::{Cause, INTENTS, base_per_day};
use super::process::{Action, State, Step};

/// A row of a generated log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behavior<'a> {
    /// The event's name.
    pub event: &'a str,
    /// The item; empty where there is none.
    pub object: &'a str,
    /// Milliseconds UTC.
    pub timestamp_ms: i64,
}

/// What made a question likely.
#[derive(Debug, Clone, PartialEq)]
pub struct PlantedCause {
    /// Event and object of the behavior that set it off.
    pub trigger: (String, String),
    /// Event and object of the earlier behavior without which it would not have.
    pub needs: Option<(String, String)>,
    /// Its share of the questions of the intent that are to be expected in the window, `0.0..=1.0`: the others come of no cause, of other
    /// causes or of what has not happened yet.
    pub share: f64,
}

/// The process behind [`generate_questions`](super::generate_questions), asked for what a history makes likely.
///
/// ```
/// use forecart_prepare::generate_questions::{Behavior, INTENTS, Truth};
///
/// let truth = Truth::new(24 * 3_600_000);
/// let did = |event, object, minutes: i64| Behavior { event, object, timestamp_ms: minutes * 60_000 };
/// let history = [did("purchase", "i7", 0), did("view_page", "delivery", 900), did("view_item", "i3", 902)];
/// let probabilities = truth.probabilities(&history, 1);
/// let at = |intent: &str| INTENTS.iter().position(|own| *own == intent).unwrap();
/// let (parcel, size) = (at("where_is_my_parcel"), at("size_advice"));
/// assert!(probabilities[parcel] > 3.0 * probabilities[size]);
/// let cause = truth.cause(&history, parcel, 1).unwrap();
/// assert_eq!(cause.trigger, ("view_page".into(), "delivery".into()));
/// assert_eq!(cause.needs, Some(("purchase".into(), "i7".into())));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truth {
    /// Length of the window after a moment.
    pub horizon_ms: i64,
    /// Futures that are simulated for a moment. 200 leave an error of a few thousandths.
    pub n_futures: u32,
}

/// Expected numbers of questions in one simulated future.
struct Expected {
    /// By intent.
    total: [f64; INTENTS.len()],
    /// Of each cause of the history.
    by_cause: Vec<f64>,
}

impl Truth {
    /// For windows of this length.
    pub fn new(horizon_ms: i64) -> Self {
        Self { horizon_ms, n_futures: 200 }
    }

    /// The probability of each of [`INTENTS`] to be asked in the window after the last behavior of `history`, oldest first.
    ///
    /// # Formula
    /// `1 - E[exp(-integral of the intent's rate over the window)]`, the mean over simulated futures: given what is done, questions are a Poisson
    /// process, and they change nothing themselves.
    pub fn probabilities(&self, history: &[Behavior<'_>], seed: u64) -> Vec<f64> {
        let mut none = [0.0; INTENTS.len()];
        self.for_each_future(history, seed, |expected| {
            none.iter_mut().zip(expected.total).for_each(|(sum, total)| *sum += (-total).exp());
        });
        none.iter().map(|sum| 1.0 - sum / f64::from(self.n_futures)).collect()
    }

    /// The planted cause that has the largest share in what is expected of `intent` (a place in [`INTENTS`]) in the window after the last behavior; repeated
    /// behaviors are one cause. `None` if there is no cause.
    pub fn cause(
        &self,
        history: &[Behavior<'_>],
        intent: usize,
        seed: u64,
    ) -> Option<PlantedCause> {
        let (state, _) = known(history);
        let mut total = 0.0;
        let mut sums = vec![0.0; state.causes.len()];
        self.for_each_future(history, seed, |expected| {
            total += expected.total[intent];
            sums.iter_mut().zip(&expected.by_cause).for_each(|(sum, own)| *sum += own);
        });
        let of_intent = |cause: &&Cause| cause.intent == intent;
        let share = |trigger: Action| {
            let own = state.causes.iter().zip(&sums);
            let own = own.filter(|(cause, _)| cause.intent == intent && cause.trigger == trigger);
            own.map(|(_, sum)| sum).sum::<f64>() / total
        };
        let causes = state.causes.iter().filter(of_intent);
        // The newest of equals.
        let (cause, share) = causes
            .map(|cause| (cause, share(cause.trigger)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .filter(|(_, share)| *share > 0.0)?;
        let named = |action: Action| {
            let (event, object) = action.names();
            (event.to_owned(), object)
        };
        Some(PlantedCause { trigger: named(cause.trigger), needs: cause.needs.map(named), share })
    }

    fn for_each_future(
        &self,
        history: &[Behavior<'_>],
        seed: u64,
        mut each: impl FnMut(&Expected),
    ) {
        let (known, now_ms) = known(history);
        let end_ms = now_ms + self.horizon_ms;
        let days = self.horizon_ms as f64 / 86_400_000.0;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..self.n_futures {
            let mut state = known.clone();
            let mut from_ms = now_ms;
            let mut expected = Expected {
                total: std::array::from_fn(|intent| base_per_day(intent) * days),
                by_cause: vec![0.0; known.causes.len()],
            };
            loop {
                let step = state.next(from_ms, &mut rng);
                let to_ms = step.at_ms.min(end_ms);
                for (at, cause) in state.causes.iter().enumerate() {
                    let own = cause.expected(from_ms, to_ms);
                    expected.total[cause.intent] += own;
                    if let Some(sum) = expected.by_cause.get_mut(at) {
                        *sum += own;
                    }
                }
                if step.at_ms > end_ms {
                    break;
                }
                state.apply(step);
                from_ms = step.at_ms;
            }
            each(&expected);
        }
    }
}

/// The state after a history, and its last moment.
fn known(history: &[Behavior<'_>]) -> (State, i64) {
    let mut state = State::default();
    for Behavior { event, object, timestamp_ms: at_ms } in history {
        if let Some(action) = Action::of(event, object) {
            state.apply(Step { at_ms: *at_ms, action });
        }
    }
    let now_ms = history.last().map_or(0, |last| last.timestamp_ms);
    state.forget(now_ms);
    (state, now_ms)
}
