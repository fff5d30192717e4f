//! Learning rates over the steps of a run.

use std::f64::consts::PI;

/// The learning rate as a share of its peak: a pure function of the step, so that a restored run goes on as it would have.
///
/// It rises in a line over `n_warm_up` steps, reaches 1 at the last of them, and then follows `decay`.
///
/// ```
/// use forecart_nn::optim::{Decay, Schedule};
/// let schedule = Schedule { n_warm_up: 2, decay: Decay::Linear { n_steps: 6, floor: 0.0 } };
/// let shares: Vec<f32> = (0..7).map(|step| schedule.share(step)).collect();
/// assert_eq!(shares, [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]);
/// // Before each step: optimizer.set_learning_rate(peak * schedule.share(step))?;
/// ```
///
/// Source: warm-up as in Goyal et al., arXiv:1706.02677, section 2.2; cosine as in Loshchilov and Hutter, ICLR 2017,
/// equation 5, without restarts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Schedule {
    /// Steps of warm-up; 0 for none.
    pub n_warm_up: u64,
    /// What follows the warm-up.
    pub decay: Decay,
}

/// How a learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Decay {
    /// It does not.
    #[default]
    Constant,
    /// In a line.
    Linear {
        /// Step, counted from the start of the run, at which `floor` is reached, to stay.
        n_steps: u64,
        /// Last share of the peak.
        floor: f32,
    },
    /// Along half a cosine.
    Cosine {
        /// Step, counted from the start of the run, at which `floor` is reached, to stay.
        n_steps: u64,
        /// Last share of the peak.
        floor: f32,
    },
}

impl Schedule {
    /// The share of the peak at a step, counted from 0.
    pub fn share(&self, step: u64) -> f32 {
        if step < self.n_warm_up {
            return ((step + 1) as f64 / self.n_warm_up as f64) as f32;
        }
        let progress = |n_steps: u64| {
            let n_decay = n_steps.saturating_sub(self.n_warm_up).max(1);
            ((step - self.n_warm_up) as f64 / n_decay as f64).min(1.0)
        };
        let above = |floor: f32, share: f64| {
            let floor = f64::from(floor);
            (floor + (1.0 - floor) * share) as f32
        };
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear { n_steps, floor } => above(floor, 1.0 - progress(n_steps)),
            Decay::Cosine { n_steps, floor } => {
                above(floor, (1.0 + (PI * progress(n_steps)).cos()) / 2.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares<const N: usize>(schedule: Schedule, steps: [u64; N]) -> [f32; N] {
        steps.map(|step| schedule.share(step))
    }

    #[test]
    fn warm_up_is_never_zero_and_ends_at_the_peak() {
        let schedule = Schedule { n_warm_up: 4, decay: Decay::Constant };
        assert_eq!(shares(schedule, [0, 1, 2, 3, 4, u64::MAX]), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        assert_eq!(shares(Schedule::default(), [0, 1, 1000]), [1.0; 3]);
    }

    #[test]
    fn decay_runs_from_the_peak_to_the_floor_and_stays() {
        let decay = Decay::Cosine { n_steps: 14, floor: 0.5 };
        let got = shares(Schedule { n_warm_up: 2, decay }, [1, 2, 6, 8, 14, 15, 10_000]);
        // Thirds of half a cosine: cos(π / 3) = 1/2, cos(π / 2) = 0.
        assert_eq!(got, [1.0, 1.0, 0.875, 0.75, 0.5, 0.5, 0.5]);
        let decay = Decay::Linear { n_steps: 10, floor: 0.2 };
        let got = shares(Schedule { n_warm_up: 0, decay }, [0, 5, 10, 11]);
        assert_eq!(got, [1.0, 0.6, 0.2, 0.2]);
    }

    #[test]
    fn a_run_shorter_than_its_warm_up_is_defined() {
        let decay = Decay::Linear { n_steps: 3, floor: 0.0 };
        assert_eq!(shares(Schedule { n_warm_up: 4, decay }, [3, 4, 5]), [1.0, 1.0, 0.0]);
    }
}
