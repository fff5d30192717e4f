//! What measured points say about sizes that were not measured.

use serde::{Deserialize, Serialize};

use super::power_law::PowerLaw;
use super::{StepCurve, StepPoint, Training};

/// A law of one curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Law {
    /// What grows or falls.
    pub y: String,
    /// With what.
    pub x: String,
    /// What else was fixed.
    pub of: String,
    /// The law.
    pub law: PowerLaw,
}

/// What one day of this machine is enough for. All but the speed is extrapolated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Day {
    /// Operations a second of the training that had most of them.
    pub flop_per_sec: f64,
    /// As many in a day.
    pub flop: f64,
    /// `d_model` of a training on this data that takes a day, layers growing as in the sizes measured, by the law of
    /// seconds; `None` where three sizes do not give one, or a day lies past a hundred times the largest.
    pub d_model: Option<f64>,
    /// The largest `d_model` that was measured.
    pub d_model_measured: u32,
    /// Events to learn from with which the largest size that was measured takes a day: as many epochs and items, and
    /// seconds proportional to events.
    pub n_events: f64,
    /// Events that it was measured on.
    pub n_events_measured: u64,
}

/// Seconds of a day.
pub(super) const DAY_SECS: f64 = 86_400.0;

/// How many times the largest size a law may be asked about.
const FARTHEST: f64 = 100.0;

impl Day {
    /// `None` without a training that took time.
    pub(super) fn of(trainings: &[Training], n_events: u64) -> Option<Self> {
        let flop_per_sec =
            trainings.iter().filter_map(Training::flop_per_sec).max_by(f64::total_cmp)?;
        let largest = trainings.iter().max_by(|a, b| a.secs.total_cmp(&b.secs))?;
        let points: Vec<_> =
            trainings.iter().map(|size| (f64::from(size.d_model), size.secs)).collect();
        let law = PowerLaw::fit(&points).filter(|law| law.exponent > 0.0 && law.n_points > 2);
        let d_model_measured = trainings.iter().map(|size| size.d_model).max()?;
        let is_near = |d_model: &f64| *d_model < FARTHEST * f64::from(d_model_measured);
        Some(Self {
            flop_per_sec,
            flop: flop_per_sec * DAY_SECS,
            d_model: law.and_then(|law| law.x_of(DAY_SECS)).filter(is_near),
            d_model_measured,
            n_events: n_events as f64 * DAY_SECS / largest.secs,
            n_events_measured: n_events,
        })
    }
}

/// Of each curve that has two sizes or more.
pub(super) fn all(trainings: &[Training], steps: &[StepCurve]) -> Vec<Law> {
    let mut laws = Vec::new();
    let mut add = |y: &str, x: &str, of: &str, points: Vec<(f64, f64)>| {
        if let Some(law) = PowerLaw::fit(&points) {
            laws.push(Law { y: y.into(), x: x.into(), of: of.into(), law });
        }
    };
    let of_sizes = |value: &dyn Fn(&Training) -> Option<f64>| -> Vec<(f64, f64)> {
        let point = |size: &Training| Some((size.chosen()?.flop, value(size)?));
        trainings.iter().filter_map(point).collect()
    };
    let kept = "weights that were kept";
    add("validation loss", "FLOP", kept, of_sizes(&|size| Some(size.validation_loss)));
    add("training loss", "FLOP", kept, of_sizes(&|size| Some(size.chosen()?.train_loss)));
    let ndcg = |size: &Training| size.chosen()?.validation_ndcg_at_10;
    add("validation NDCG@10", "FLOP", kept, of_sizes(&ndcg));
    add("seconds", "FLOP", kept, of_sizes(&|size| Some(size.chosen()?.secs)));
    let by_width = trainings.iter().map(|size| (f64::from(size.d_model), size.secs)).collect();
    add("seconds", "d_model", "whole trainings", by_width);
    for curve in steps {
        let points = |value: &dyn Fn(&StepPoint) -> Option<f64>| {
            let point = |point: &StepPoint| Some((point.size as f64, value(point)?));
            curve.points.iter().filter_map(point).collect()
        };
        let x = curve.axis.name();
        add("time of a step", x, &curve.row, points(&|point| Some(point.step_ms)));
        let memory = |point: &StepPoint| point.memory_bytes.map(|bytes| bytes as f64);
        add("memory", x, &curve.row, points(&memory));
    }
    laws
}

#[cfg(test)]
mod tests {
    use super::super::{ScalingPoint, StepAxis};
    use super::*;

    /// Seconds grow with the square of `d_model`.
    fn training(d_model: u32) -> Training {
        let size = f64::from(d_model);
        let point = |epoch: usize, secs: f64| ScalingPoint {
            epoch,
            flop: 1e9 * secs,
            secs,
            train_loss: 8.0 / size,
            validation_ndcg_at_10: None,
        };
        Training {
            name: format!("d {d_model}"),
            d_model,
            n_layers: 1,
            n_parameters: 1,
            epoch_flop: 1.0,
            points: vec![point(1, size * size / 2.0), point(2, size * size)],
            chosen_epoch: 1,
            validation_loss: 9.0,
            secs: size * size,
        }
    }

    #[test]
    fn a_day_is_where_the_law_says() {
        let day = Day::of(&[training(5), training(10), training(20)], 1000).unwrap();
        assert!((day.flop_per_sec - 1e9).abs() < 1.0);
        assert!((day.d_model.unwrap() - 86_400f64.sqrt()).abs() < 1e-6, "{day:?}");
        assert!((day.n_events - 1000.0 * 86_400.0 / 400.0).abs() < 1e-6);
        assert_eq!((day.d_model_measured, day.n_events_measured), (20, 1000));
        assert_eq!(Day::of(&[training(10), training(20)], 1000).unwrap().d_model, None);
        let too_small = [training(1), training(2), training(2)];
        assert_eq!(Day::of(&too_small, 1000).unwrap().d_model, None);
        assert_eq!(Day::of(&[], 1000), None);
    }

    #[test]
    fn every_curve_with_numbers_has_a_law() {
        let point = |size, bytes| StepPoint {
            size,
            step_ms: size as f64 * 3.0,
            memory_bytes: bytes,
            flop: 1.0,
        };
        let curve = StepCurve {
            axis: StepAxis::Length,
            row: "sasrec-50".into(),
            about: "SASRec".into(),
            points: vec![point(50, None), point(100, None)],
        };
        let laws = all(&[training(10), training(20)], &[curve]);
        let named = |y: &str, x: &str| laws.iter().find(|law| law.y == y && law.x == x);
        assert!((named("training loss", "FLOP").unwrap().law.exponent + 0.5).abs() < 1e-9);
        assert!((named("seconds", "d_model").unwrap().law.exponent - 2.0).abs() < 1e-9);
        let step = named("time of a step", "sequence length").unwrap();
        assert!((step.law.exponent - 1.0).abs() < 1e-9 && step.of == "sasrec-50");
        assert!(named("memory", "sequence length").is_none(), "no memory was measured");
        assert!(named("validation NDCG@10", "FLOP").is_none(), "no NDCG was measured");
    }
}
