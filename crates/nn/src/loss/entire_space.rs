//! A click and what follows it, over all impressions.

use super::{check_mean_over, weight_of};
use crate::{
    Matrix, NnError,
    error::{check_finite, check_length, check_range, check_shape},
};

/// What came of each impression.
#[derive(Debug, Clone, Copy)]
pub struct EntireSpace<'a> {
    /// Whether it was clicked, 0 or 1, `[n]`.
    pub clicks: &'a [f32],
    /// Whether the click was followed by a conversion, 0 or 1, `[n]`; NaN where that is not known yet. Not read where there was no
    /// click: nothing converts without one.
    pub conversions: &'a [f32],
    /// What the losses of each are multiplied by, `[n]`; `None` for 1.
    pub weights: Option<&'a [f32]>,
}

impl EntireSpace<'_> {
    /// The log loss of clicks and that of clicks with a conversion, whose probability is the product `p q` of `p = sigmoid(click)` and
    /// `q = sigmoid(conversion)`, added up: `q`, the rate of conversions after a click, learns from all impressions and not from
    /// those alone that were clicked. A click whose conversion is not known yet has the first loss alone.
    ///
    /// `1 - p q` is computed as `(1 - p) + p (1 - q)`, of which no term cancels; only a product that is no number in f64 (logits
    /// past some -700 beside a conversion) is not finite.
    ///
    /// # Shapes
    /// `logits`: of clicks and of conversions after them, `[n, 1]` each; `d_logits` take their shapes.
    ///
    /// # Errors
    /// [`NnError::Shape`], [`NnError::Length`]; [`NnError::OutOfRange`] for a click that is neither 0 nor 1 or a conversion that is neither
    /// and not NaN; [`NnError::NonFinite`] if the loss is not finite.
    ///
    /// Source: Ma et al., "Entire Space Multi-Task Model", SIGIR 2018, equation 3.
    pub fn loss(
        self,
        logits: [&Matrix; 2],
        mean_over: f64,
        d_logits: [&mut Matrix; 2],
    ) -> Result<f64, NnError> {
        let n = self.clicks.len();
        check_length("conversions", n, self.conversions.len())?;
        check_length("weights", n, self.weights.map_or(n, <[f32]>::len))?;
        check_shape("logits of clicks", [n, 1], logits[0].shape())?;
        check_shape("logits of conversions", [n, 1], logits[1].shape())?;
        check_mean_over(mean_over)?;
        let [d_click, d_conversion] = d_logits;
        d_click.reshape(n, 1);
        d_conversion.reshape(n, 1);
        let mut sum = 0.0;
        for sample in 0..n {
            let (click, conversion) = (self.clicks[sample], self.conversions[sample]);
            let is_label = |label: f32| label == 0.0 || label == 1.0;
            check_range("click", f64::from(click), is_label(click), "0 or 1")?;
            let is_known = click == 0.0 || !conversion.is_nan();
            let inside = click == 0.0 || !is_known || is_label(conversion);
            check_range("conversion", f64::from(conversion), inside, "0 or 1")?;
            let [p, q] = logits.map(|logits| Probability::of(logits.as_slice()[sample]));
            let mut loss = if click == 1.0 { p.loss_of_yes } else { p.loss_of_no };
            let mut d = [p.yes - f64::from(click), 0.0];
            if is_known && click == 1.0 && conversion == 1.0 {
                loss += p.loss_of_yes + q.loss_of_yes;
                d = [d[0] - p.no, d[1] - q.no];
            } else if is_known {
                let neither = p.no + p.yes * q.no; // 1 - p q
                loss -= neither.ln();
                let odds = p.yes * q.yes / neither;
                d = [d[0] + odds * p.no, d[1] + odds * q.no];
            }
            let weight = weight_of(self.weights, sample);
            sum += weight * loss;
            d_click.as_mut_slice()[sample] = (weight * d[0] / mean_over) as f32;
            d_conversion.as_mut_slice()[sample] = (weight * d[1] / mean_over) as f32;
        }
        check_finite("loss over the entire space", sum / mean_over)
    }
}

/// `sigmoid(z)` and `1 - sigmoid(z)`, each with its digits, and their losses.
struct Probability {
    yes: f64,
    no: f64,
    loss_of_yes: f64,
    loss_of_no: f64,
}

impl Probability {
    fn of(logit: f32) -> Self {
        let z = f64::from(logit);
        let e = (-z.abs()).exp();
        let (large, small) = (1.0 / (1.0 + e), e / (1.0 + e));
        let (yes, no) = if z >= 0.0 { (large, small) } else { (small, large) };
        let rest = e.ln_1p();
        Self { yes, no, loss_of_yes: (-z).max(0.0) + rest, loss_of_no: z.max(0.0) + rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check;

    fn run(logits: [f32; 2], click: f32, conversion: f32) -> Result<(f64, [f32; 2]), NnError> {
        let [p, q] = logits.map(|logit| Matrix::from_rows(&[[logit]]));
        let [mut d_p, mut d_q] = [(); 2].map(|()| Matrix::default());
        let labels = EntireSpace { clicks: &[click], conversions: &[conversion], weights: None };
        let loss = labels.loss([&p, &q], 1.0, [&mut d_p, &mut d_q])?;
        Ok((loss, [d_p.as_slice()[0], d_q.as_slice()[0]]))
    }

    #[test]
    fn by_hand() {
        // p = 3/4, q = 1/4, p q = 3/16
        let logits = [3.0_f32.ln(), -(3.0_f32.ln())];
        let loss = |click, conversion| run(logits, click, conversion).unwrap().0;
        let close = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-6, "{found}");
        close(loss(0.0, 0.0), 4.0_f64.ln() - (13.0_f64 / 16.0).ln());
        close(loss(1.0, 0.0), -(0.75_f64.ln()) - (13.0_f64 / 16.0).ln());
        close(loss(1.0, 1.0), -(0.75_f64.ln()) - (3.0_f64 / 16.0).ln());
        close(loss(1.0, f32::NAN), -(0.75_f64.ln())); // not known yet
        assert_eq!(loss(0.0, f32::NAN), loss(0.0, 0.0)); // nothing converts without a click
        assert_eq!(run(logits, 1.0, f32::NAN).unwrap().1[1], 0.0);
    }

    #[test]
    fn losses_and_gradients_are_multiplied_by_the_weights() {
        let [p, q] =
            [[0.5, -1.0], [0.2, 0.4]].map(|column| Matrix::from_rows(&column.map(|x| [x])));
        let loss = |weights: Option<&[f32]>| {
            let [mut d_p, mut d_q] = [(); 2].map(|()| Matrix::default());
            let labels = EntireSpace { clicks: &[1.0, 0.0], conversions: &[1.0, 0.0], weights };
            let loss = labels.loss([&p, &q], 1.0, [&mut d_p, &mut d_q]).unwrap();
            (loss, [d_p, d_q].map(|d| [d.as_slice()[0], d.as_slice()[1]]))
        };
        let (one, d_one) = loss(None);
        let (first, _) = loss(Some(&[1.0, 0.0]));
        let (weighed, d_weighed) = loss(Some(&[3.0, 0.5]));
        assert!((weighed - (3.0 * first + 0.5 * (one - first))).abs() < 1e-12);
        for (d_one, d_weighed) in d_one.iter().zip(d_weighed) {
            assert!((d_weighed[0] - 3.0 * d_one[0]).abs() < 1e-6);
            assert!((d_weighed[1] - 0.5 * d_one[1]).abs() < 1e-6);
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for logits in [[0.5, -1.0], [-2.0, 1.5], [3.0, 2.5]] {
            for (click, conversion) in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (1.0, f32::NAN)] {
                let (_, analytic) = run(logits, click, conversion).unwrap();
                let report = gradient_check(&mut logits.clone(), &analytic, 0.02, 0.01, |at| {
                    run([at[0], at[1]], click, conversion).unwrap().0
                });
                assert!(report.error < 1e-4, "{report:?}");
            }
        }
    }

    #[test]
    fn extreme_logits_stay_finite_and_other_labels_are_errors() {
        for (first, second) in [(60.0, 60.0), (-300.0, 60.0), (60.0, -300.0), (-300.0, -300.0)] {
            for (click, conversion) in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)] {
                let (loss, d) = run([first, second], click, conversion).unwrap();
                assert!(loss >= 0.0 && d.iter().all(|d| d.is_finite()), "{first} {second}: {d:?}");
            }
        }
        // Both certain and wrong: 1 - p q is e^-60 twice.
        assert!((run([60.0, 60.0], 1.0, 0.0).unwrap().0 - (60.0 - 2.0_f64.ln())).abs() < 1e-6);
        assert!(run([0.0, 0.0], 0.5, 0.0).is_err());
        assert!(run([0.0, 0.0], f32::NAN, 0.0).is_err());
        assert!(run([0.0, 0.0], 1.0, 0.5).is_err());
        assert!(run([f32::NAN, 0.0], 1.0, 0.0).is_err());
    }
}
