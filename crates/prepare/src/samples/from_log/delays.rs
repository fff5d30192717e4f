//! Samples whose window is still open at the end of their part: what they count, so that what comes late is not learned as none.
//!
//! Of a sample that is `e` old at the end of its part, an outcome that will come has come already with the probability `F(e)`, the share of
//! outcomes whose delay is at most `e`: counted over the samples whose window had closed by then, with no shape assumed.
//!
//! - An outcome that has come stands for those that have not yet: its weight is `1 / F(e)`.
//! - A sample without one is a negative with the probability `(1 - p) / (1 - p F(e))`, its weight, with `p` the share of open samples that will
//!   have an outcome: the sum of `1 / F(e)` over those that have one, divided by the number of all.
//!
//! Both sums are right on average if the delay does not depend on the sample. Of samples whose own share is `q` and not `p`, negatives are
//! off by `(q - p)(1 - F(e))` of one, which is little where outcomes are seldom.
//!
//! Sources: Chapelle, "Modeling delayed feedback in display advertising", KDD 2014 (the probability that what has not come will; there
//! with exponential delays); Ktena et al., "Addressing delayed feedback for continuous training", RecSys 2019 (weights of the
//! rows). We differ: `F` is the empirical distribution and `p` one number for all open samples of a part.

use super::outcomes::Sample;

/// Fewer outcomes than this say nothing of how long they take.
const MIN_KNOWN: usize = 30;

/// With a smaller share of the outcomes by then a sample says next to nothing, and its weight would be large: it is left out.
const MIN_SHARE: f64 = 0.1;

/// How long outcomes take.
#[derive(Debug)]
pub(super) struct Delays {
    /// Of samples whose window had closed, ascending.
    delays_ms: Vec<i64>,
}

/// What an open sample counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weighed {
    /// Its place among all samples.
    pub(super) sample: usize,
    /// Whether its outcome has come.
    pub(super) has_come: bool,
    pub(super) weight: f64,
}

impl Delays {
    /// What is known of delays when all events before `end_ms` are. How many outcomes there are, if they are too few.
    pub(super) fn known(samples: &[Sample], end_ms: i64) -> Result<Self, usize> {
        let closed = samples.iter().filter(|sample| sample.outcome.label(end_ms) == 1.0);
        let mut delays_ms: Vec<i64> =
            closed.map(|sample| sample.outcome.at_ms() - sample.time_ms).collect();
        delays_ms.sort_unstable();
        if delays_ms.len() < MIN_KNOWN {
            return Err(delays_ms.len());
        }
        Ok(Self { delays_ms })
    }

    /// `F(e)`.
    fn share_by(&self, elapsed_ms: i64) -> f64 {
        let n = self.delays_ms.partition_point(|delay| *delay <= elapsed_ms);
        n as f64 / self.delays_ms.len() as f64
    }

    /// What the samples at `open`, whose windows are open at `end_ms`, count; those that would say next to nothing are not among them.
    pub(super) fn weigh(&self, samples: &[Sample], open: &[usize], end_ms: i64) -> Vec<Weighed> {
        let known = open.iter().filter_map(|at| {
            let sample = &samples[*at];
            // What is known ends one millisecond before.
            let share = self.share_by(end_ms - 1 - sample.time_ms);
            (share >= MIN_SHARE).then(|| (*at, sample.outcome.is_early(end_ms), share))
        });
        let known: Vec<(usize, bool, f64)> = known.collect();
        let will_come: f64 =
            known.iter().map(|(_, has_come, share)| f64::from(u8::from(*has_come)) / share).sum();
        let p = (will_come / known.len().max(1) as f64).min(1.0);
        let weighed = known.into_iter().map(|(sample, has_come, share)| {
            let weight = match has_come {
                true => 1.0 / share,
                // Where all will come, one of which all must have come counts as the negative that it is.
                false if share < 1.0 => (1.0 - p) / (1.0 - p * share),
                false => 1.0,
            };
            Weighed { sample, has_come, weight }
        });
        weighed.collect()
    }

    /// How many outcomes it rests on, and by when half of them have come.
    pub(super) fn summary(&self) -> (usize, i64) {
        (self.delays_ms.len(), self.delays_ms[self.delays_ms.len() / 2])
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::outcomes::Outcome;
    use super::*;

    const DAY: i64 = 86_400_000;
    const WINDOW: i64 = 7 * DAY;

    fn sample(time_ms: i64, delay_ms: Option<i64>) -> Sample {
        let mut outcome = Outcome::open(time_ms + WINDOW);
        if let Some(delay) = delay_ms {
            outcome.happened(time_ms + delay);
        }
        Sample { row: 0, time_ms, outcome, converted: outcome }
    }

    #[test]
    fn weights_by_hand() {
        // Thirty-two outcomes: half after one day, half after five.
        let mut samples: Vec<Sample> =
            (0..32).map(|at| sample(at, Some(if at < 16 { DAY } else { 5 * DAY }))).collect();
        let end = 20 * DAY;
        assert_eq!(Delays::known(&samples[..29], end).unwrap_err(), 29);
        // Of windows that are open nothing is known.
        assert_eq!(Delays::known(&samples, WINDOW).unwrap_err(), 0);
        let delays = Delays::known(&samples, end).unwrap();
        assert_eq!(delays.summary(), (32, 5 * DAY));
        samples.extend([
            sample(end - 2 * DAY, Some(DAY)), // half have come: it stands for two
            sample(end - 2 * DAY, None),
            sample(end - 2 * DAY, Some(5 * DAY)), // will come
            sample(end - 6 * DAY, None),          // all have come
            sample(end - DAY / 2, Some(DAY)),     // none can have come
            sample(end - DAY, None),              // the day is over at the end, not before
        ]);
        let found = delays.weigh(&samples, &[32, 33, 34, 35, 36, 37], end);
        // Of four samples two will come.
        let (p, share) = (0.5, 0.5);
        let open = (1.0 - p) / (1.0 - p * share);
        let wanted = [(32, true, 2.0), (33, false, open), (34, false, open), (35, false, 1.0)];
        let wanted = wanted.map(|(sample, has_come, weight)| Weighed { sample, has_come, weight });
        assert_eq!(found, wanted);
    }

    #[test]
    fn weighed_samples_have_the_share_that_will_come_where_counting_does_not() {
        let rng = &mut ChaCha8Rng::seed_from_u64(4);
        // A sixth of the samples have an outcome until day 50, a third after it; delays are exponential with a mean of three days.
        let samples: Vec<Sample> = (0..57_000)
            .map(|at| {
                let time_ms = at * DAY / 1000;
                let rate = if time_ms < 50 * DAY { 1.0 / 6.0 } else { 1.0 / 3.0 };
                let delay = loop {
                    let drawn = -3.0 * (1.0 - rng.random::<f64>()).ln();
                    if drawn < 7.0 {
                        break (drawn * DAY as f64) as i64;
                    }
                };
                sample(time_ms, (rng.random::<f64>() < rate).then_some(delay))
            })
            .collect();
        let end = 57 * DAY;
        let open: Vec<usize> =
            (0..samples.len()).filter(|at| samples[*at].outcome.until_ms >= end).collect();
        assert_eq!(open.len(), 7000);
        let delays = Delays::known(&samples, end).unwrap();
        let found = delays.weigh(&samples, &open, end);
        assert!(found.len() > 6500, "{}", found.len());
        let sum = |of: bool| -> f64 {
            found.iter().filter(|one| one.has_come == of).map(|one| one.weight).sum()
        };
        let corrected = sum(true) / (sum(true) + sum(false));
        // The standard error of a share of .333 of 7,000 is .006, with these weights about .009.
        assert!((corrected - 1.0 / 3.0).abs() < 0.025, "{corrected}");
        assert!((sum(true) + sum(false) - found.len() as f64).abs() < 0.03 * found.len() as f64);
        let naive = found.iter().filter(|one| one.has_come).count() as f64 / found.len() as f64;
        assert!(naive < 0.26, "{naive}");
    }
}
