//! Logistic regression that learns from one row after the other: its two rules.

use std::ops::Range;

use forecart_data::encode::{HashedFeature, HashedRow, HashedRows};

use super::ftrl::{Ftrl, FtrlConfig, Rule};
use super::slots::{Slot, SlotTable};

/// Rows between a row and the one whose slots are asked for meanwhile.
const AHEAD: usize = 2;

/// Features that are computed side by side: a vector of the widest instructions.
const LANES: usize = 16;

/// Sums of products that are added side by side. Part of what a model is, to the last bit.
const N_SUMS: usize = 4;

/// The loss of rows that were predicted before they were learned from.
///
/// Source: Blum, Kalai and Langford, COLT 1999: as good an estimate of the error as a set of rows that is held out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProgressiveLoss {
    /// Rows.
    pub n_rows: u64,
    /// Those whose label is 1.
    pub n_positive: u64,
    /// The sum of their importances.
    pub importance: f64,
    /// The sum of their log losses, in nats, each times its importance.
    pub sum: f64,
}

impl ProgressiveLoss {
    /// The mean log loss in nats; 0 of no rows.
    pub fn mean(&self) -> f64 {
        if self.importance > 0.0 { self.sum / self.importance } else { 0.0 }
    }

    /// Adds those of other rows.
    pub fn add(&mut self, other: Self) {
        self.n_rows += other.n_rows;
        self.n_positive += other.n_positive;
        self.importance += other.importance;
        self.sum += other.sum;
    }

    /// Adds a row of this logit; returns the derivative of its loss by the logit.
    #[inline(always)]
    fn add_row(&mut self, logit: f64, label: f32, importance: f32, logs: &mut Logarithms) -> f64 {
        let (label, importance) = (f64::from(label), f64::from(importance));
        let small = (-logit.abs()).exp();
        // The loss is the logarithm of 1 + `small` and what is added here.
        self.sum += importance * (logit.max(0.0) - logit * label);
        match importance == 1.0 {
            true => self.sum += logs.add(1.0 + small),
            false => self.sum += importance * (1.0 + small).ln(),
        }
        let probability = if logit >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) };
        self.n_rows += 1;
        self.n_positive += u64::from(label > 0.5);
        self.importance += importance;
        importance * (probability - label)
    }
}

/// A sum of logarithms of numbers of 1 to 2, as logarithms of products of many.
#[derive(Debug)]
struct Logarithms {
    product: f64,
}

impl Default for Logarithms {
    fn default() -> Self {
        Self { product: 1.0 }
    }
}

impl Logarithms {
    /// Adds a number of 1 to 2; returns what can be added to the sum so far, mostly nothing.
    #[inline(always)]
    fn add(&mut self, number: f64) -> f64 {
        // What is lost beside 1 is nothing beside other rows' losses.
        self.product *= number;
        if self.product < MANY {
            return 0.0;
        }
        self.take()
    }

    /// What is left to add to the sum.
    fn take(&mut self) -> f64 {
        std::mem::replace(&mut self.product, 1.0).ln()
    }
}

/// A product whose logarithm is taken; twice as much is far from the largest `f64`.
const MANY: f64 = 1e100;

/// How a slot learns from a gradient.
trait Step: Copy {
    /// The weight that a slot says.
    fn weight(self, slot: Slot) -> f32;

    /// The slot after a gradient, which was computed at `weight`.
    fn next(self, slot: Slot, weight: f32, gradient: f32) -> Slot;
}

/// McMahan et al., KDD 2013, Algorithm 1; a slot holds `z` and, in place of `n`, its root.
#[derive(Clone, Copy)]
struct FtrlStep {
    inverse_alpha: f32,
    beta: f32,
    l1: f32,
    l2: f32,
}

impl Step for FtrlStep {
    #[inline(always)]
    fn weight(self, Slot([z, root]): Slot) -> f32 {
        let shrunk = (z.abs() - self.l1).max(0.0).copysign(z);
        -shrunk / ((self.beta + root) * self.inverse_alpha + self.l2)
    }

    #[inline(always)]
    fn next(self, Slot([z, root]): Slot, weight: f32, gradient: f32) -> Slot {
        let next_root = (root * root + gradient * gradient).sqrt();
        let sigma = (next_root - root) * self.inverse_alpha;
        Slot([z + (gradient - sigma * weight), next_root])
    }
}

/// Duchi, Hazan and Singer, JMLR 2011, Figure 1 with the composite mirror descent of equation 4 and a diagonal matrix; the regularizers
/// act on a weight when its feature is met. A slot holds the weight and the root of the sum of squared gradients.
#[derive(Clone, Copy)]
struct AdaGradStep {
    alpha: f32,
    beta: f32,
    l1: f32,
    l2: f32,
}

impl Step for AdaGradStep {
    #[inline(always)]
    fn weight(self, Slot([weight, _]): Slot) -> f32 {
        weight
    }

    #[inline(always)]
    fn next(self, Slot([_, root]): Slot, weight: f32, gradient: f32) -> Slot {
        let next_root = (root * root + gradient * gradient).sqrt();
        let rate = self.alpha / (self.beta + next_root);
        let moved = weight - rate * gradient;
        let shrunk = (moved.abs() - rate * self.l1).max(0.0).copysign(moved);
        Slot([shrunk / (1.0 + rate * self.l2), next_root])
    }
}

/// What a row's features say, `LANES` side by side; the last ones may be no features, with the value 0.
#[derive(Debug, Default)]
struct Lanes {
    values: Vec<[f32; LANES]>,
    /// The two numbers of each slot, apart.
    slots: [Vec<[f32; LANES]>; 2],
    weights: Vec<[f32; LANES]>,
    next: [Vec<[f32; LANES]>; 2],
}

impl Lanes {
    /// Takes the slots of a row from the table.
    #[inline(always)]
    fn gather(&mut self, features: &[HashedFeature], table: &[Slot]) {
        let n = features.len().div_ceil(LANES);
        if n > self.values.len() {
            let [first, second] = &mut self.slots;
            let [next_first, next_second] = &mut self.next;
            let all = [&mut self.values, &mut self.weights, first, second, next_first, next_second];
            all.into_iter().for_each(|lanes| lanes.resize(n, [0.0; LANES]));
        }
        let values = &mut self.values.as_flattened_mut()[..n * LANES];
        let [first, second] = &mut self.slots;
        let first = &mut first.as_flattened_mut()[..n * LANES];
        let second = &mut second.as_flattened_mut()[..n * LANES];
        for (at, HashedFeature { slot, value }) in features.iter().enumerate() {
            values[at] = *value;
            Slot([first[at], second[at]]) = table[*slot as usize];
        }
        for lanes in [values, first, second] {
            lanes[features.len()..].fill(0.0);
        }
    }

    /// The sum of the products of weights and values, in f64: in whichever order, the same for all but the last digits.
    #[inline(always)]
    fn dot<S: Step>(&mut self, n: usize, step: S) -> f64 {
        let mut sums = [0.0; N_SUMS];
        let [first, second] = &self.slots;
        let rows = first[..n].iter().zip(&second[..n]).zip(&self.values[..n]);
        for (((first, second), values), weights) in rows.zip(&mut self.weights[..n]) {
            let mut products = [0.0; LANES];
            for lane in 0..LANES {
                weights[lane] = step.weight(Slot([first[lane], second[lane]]));
                products[lane] = f64::from(weights[lane]) * f64::from(values[lane]);
            }
            for products in products.as_chunks::<N_SUMS>().0 {
                for lane in 0..N_SUMS {
                    sums[lane] += products[lane];
                }
            }
        }
        (sums[0] + sums[1]) + (sums[2] + sums[3])
    }

    /// What becomes of each slot.
    #[inline(always)]
    fn advance<S: Step>(&mut self, n: usize, step: S, slope: f32) {
        let ([first, second], [to_first, to_second]) = (&self.slots, &mut self.next);
        let rows = first[..n].iter().zip(&second[..n]).zip(&self.values[..n]);
        let to = to_first[..n].iter_mut().zip(&mut to_second[..n]);
        for ((((first, second), values), weights), (to_first, to_second)) in
            rows.zip(&self.weights[..n]).zip(to)
        {
            for lane in 0..LANES {
                let slot = Slot([first[lane], second[lane]]);
                let next = step.next(slot, weights[lane], slope * values[lane]);
                [to_first[lane], to_second[lane]] = next.0;
            }
        }
    }

    /// Puts the slots of a row into the table. One that an earlier feature of the row has moved moves on from there.
    #[inline(always)]
    fn scatter<S: Step>(
        &self,
        features: &[HashedFeature],
        table: &mut [Slot],
        step: S,
        slope: f32,
    ) {
        let n = features.len();
        let [first, second] = &self.slots;
        let (first, second) = (&first.as_flattened()[..n], &second.as_flattened()[..n]);
        let [to_first, to_second] = &self.next;
        let (to_first, to_second) = (&to_first.as_flattened()[..n], &to_second.as_flattened()[..n]);
        for (at, HashedFeature { slot, value }) in features.iter().enumerate() {
            let slot = &mut table[*slot as usize];
            *slot = match slot.bits() == Slot([first[at], second[at]]).bits() {
                true => Slot([to_first[at], to_second[at]]),
                false => step.next(*slot, step.weight(*slot), slope * value),
            };
        }
    }
}

/// Learning from rows, compiled for the instructions of the processor: no instruction rounds otherwise than its neighbors of
/// other widths.
struct Learning<'a, S> {
    /// Of a feature, and of the bias.
    steps: [S; 2],
    lanes: &'a mut Lanes,
    table: &'a mut [Slot],
    bias: &'a mut Slot,
    rows: &'a HashedRows,
    range: Range<usize>,
}

impl<S: Step> pulp::NullaryFnOnce for Learning<'_, S> {
    type Output = ProgressiveLoss;

    #[inline(always)]
    fn call(self) -> ProgressiveLoss {
        let Self { steps: [step, step_of_bias], lanes, table, bias, rows, range } = self;
        let (mut loss, mut logs) = (ProgressiveLoss::default(), Logarithms::default());
        for at in range {
            if at + AHEAD < rows.len() {
                for feature in rows.features(at + AHEAD) {
                    table[feature.slot as usize].prefetch();
                }
            }
            let HashedRow { features, label, importance, .. } = rows.row(at);
            let n = features.len().div_ceil(LANES);
            lanes.gather(features, table);
            let weight = step_of_bias.weight(*bias);
            let logit = f64::from(weight) + lanes.dot(n, step);
            let slope = loss.add_row(logit, label, importance, &mut logs) as f32;
            lanes.advance(n, step, slope);
            lanes.scatter(features, table, step, slope);
            *bias = step_of_bias.next(*bias, weight, slope);
        }
        loss.sum += logs.take();
        loss
    }
}

/// A linear model in training.
#[derive(Debug)]
pub struct OnlineLearner {
    config: FtrlConfig,
    table: SlotTable,
    bias: Slot,
    lanes: Lanes,
}

impl OnlineLearner {
    /// Nothing has been learned yet; every probability is 1/2.
    pub fn new(config: &FtrlConfig) -> Self {
        Self {
            config: config.clone(),
            table: SlotTable::new(config.space().n_slots()),
            bias: Slot::default(),
            lanes: Lanes::default(),
        }
    }

    /// Its hyperparameters.
    pub fn config(&self) -> &FtrlConfig {
        &self.config
    }

    /// Learns from rows in order, each after it was predicted. Features of a row that share a slot move it one after the
    /// other.
    ///
    /// # Panics
    /// If a slot is not of the model's table.
    pub fn learn(&mut self, rows: &HashedRows) -> ProgressiveLoss {
        self.learn_range(rows, 0..rows.len())
    }

    /// The same for some of the rows.
    ///
    /// # Panics
    /// As [`Self::learn`], and if there are no such rows.
    pub fn learn_range(&mut self, rows: &HashedRows, range: Range<usize>) -> ProgressiveLoss {
        match self.config.rule {
            Rule::Ftrl => self.learn_by(self.config.ftrl(), rows, range),
            Rule::AdaGrad => self.learn_by(self.config.adagrad(), rows, range),
        }
    }

    /// `steps`: of a feature, and of the bias.
    fn learn_by<S: Step>(
        &mut self,
        steps: [S; 2],
        rows: &HashedRows,
        range: Range<usize>,
    ) -> ProgressiveLoss {
        let (lanes, table, bias) = (&mut self.lanes, self.table.as_mut_slice(), &mut self.bias);
        pulp::Arch::new().dispatch(Learning { steps, lanes, table, bias, rows, range })
    }

    fn weight(&self, slot: Slot) -> f32 {
        match self.config.rule {
            Rule::Ftrl => self.config.ftrl()[0].weight(slot),
            Rule::AdaGrad => self.config.adagrad()[0].weight(slot),
        }
    }

    fn bias(&self) -> f32 {
        match self.config.rule {
            Rule::Ftrl => self.config.ftrl()[1].weight(self.bias),
            Rule::AdaGrad => self.config.adagrad()[1].weight(self.bias),
        }
    }

    /// The logit of a row by what has been learned so far.
    ///
    /// # Panics
    /// If a slot is not of the model's table.
    pub fn logit(&self, features: &[HashedFeature]) -> f64 {
        let table = self.table.as_slice();
        let weighted = features.iter().map(|HashedFeature { slot, value }| {
            f64::from(self.weight(table[*slot as usize])) * f64::from(*value)
        });
        f64::from(self.bias()) + weighted.sum::<f64>()
    }

    /// The loss of rows that are not learned from.
    ///
    /// # Panics
    /// As [`Self::logit`].
    pub fn loss(&self, row: HashedRow<'_>) -> ProgressiveLoss {
        let mut loss = ProgressiveLoss::default();
        let mut logs = Logarithms::default();
        loss.add_row(self.logit(row.features), row.label, row.importance, &mut logs);
        loss.sum += logs.take();
        loss
    }

    /// What has been learned so far, for answers.
    pub fn model(&self) -> Ftrl {
        let weights = self.table.as_slice().iter().map(|slot| self.weight(*slot)).collect();
        Ftrl { config: self.config.clone(), weights, bias: self.bias() }
    }

    /// The same, without what only learning needs.
    pub fn into_model(self) -> Ftrl {
        self.model()
    }
}

impl FtrlConfig {
    /// The steps of a feature and of the bias, which is not regularized.
    fn ftrl(&self) -> [FtrlStep; 2] {
        let (inverse_alpha, beta) = (1.0 / self.alpha as f32, self.beta as f32);
        let step = FtrlStep { inverse_alpha, beta, l1: self.l1 as f32, l2: self.l2 as f32 };
        [step, FtrlStep { l1: 0.0, l2: 0.0, ..step }]
    }

    fn adagrad(&self) -> [AdaGradStep; 2] {
        let (alpha, beta) = (self.alpha as f32, self.beta as f32);
        let step = AdaGradStep { alpha, beta, l1: self.l1 as f32, l2: self.l2 as f32 };
        [step, AdaGradStep { l1: 0.0, l2: 0.0, ..step }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(rule: Rule) -> FtrlConfig {
        FtrlConfig {
            rule,
            alpha: 0.5,
            beta: 1.0,
            l1: 0.1,
            l2: 0.2,
            bits: 4,
            ..FtrlConfig::default()
        }
    }

    /// Slots with values, a label and an importance.
    type Given<'a> = (&'a [(u32, f32)], f32, f32);

    fn rows(given: &[Given<'_>]) -> HashedRows {
        let mut rows = HashedRows::default();
        for (features, label, importance) in given {
            for (slot, value) in *features {
                rows.push(HashedFeature { slot: *slot, value: *value });
            }
            rows.end_row(*label, *importance, 1);
        }
        rows
    }

    fn assert_close(got: f32, want: f64) {
        // A few roundings of f32.
        assert!((f64::from(got) - want).abs() <= 1e-6 * want.abs().max(1e-3), "{got}, not {want}");
    }

    /// One feature of value 2 and label 1, twice, by hand.
    #[test]
    fn two_steps_of_ftrl_by_hand() {
        let mut learner = OnlineLearner::new(&config(Rule::Ftrl));
        let row = rows(&[(&[(3, 2.0)], 1.0, 1.0)]);
        let loss = learner.learn(&row);
        assert_eq!((loss.n_rows, loss.n_positive), (1, 1));
        assert!((loss.mean() - 2.0_f64.ln()).abs() < 1e-12);
        // p = 1/2, g = (1/2 - 1) 2 = -1, n = 1, sigma = 1 / 0.5 = 2, z = -1 - 2 · 0 = -1,
        // w = -(-1 + 0.1) / ((1 + 1) / 0.5 + 0.2) = 0.9 / 4.2
        let w1 = 0.9 / 4.2;
        assert_close(learner.model().weights[3], w1);
        // Of the bias: g = -1/2, n = 1/4, z = -1/2, w = 1/2 / ((1 + 1/2) / 0.5) = 1/6, not regularized.
        assert_close(learner.model().bias, 1.0 / 6.0);
        learner.learn(&row);
        let p = 1.0 / (1.0 + (-(2.0 * w1 + 1.0 / 6.0)).exp());
        let g = (p - 1.0) * 2.0;
        let root = (1.0 + g * g).sqrt();
        let z = -1.0 + g - (root - 1.0) / 0.5 * w1;
        assert_close(learner.model().weights[3], -(z + 0.1) / ((1.0 + root) / 0.5 + 0.2));
        assert_eq!(learner.model().weights.iter().filter(|weight| **weight != 0.0).count(), 1);
    }

    #[test]
    fn a_step_of_adagrad_by_hand_and_what_l1_leaves_at_zero() {
        let mut learner = OnlineLearner::new(&config(Rule::AdaGrad));
        // The second feature's gradient is too small for l1.
        learner.learn(&rows(&[(&[(3, 2.0), (5, 0.1)], 1.0, 3.0)]));
        // g = (1/2 - 1) 3 · 2 = -3, rate = 0.5 / (1 + 3) = 1/8: w = (3/8 - 1/80) / (1 + 0.2 / 8)
        assert_close(learner.model().weights[3], (3.0 / 8.0 - 0.1 / 8.0) / 1.025);
        let (g, rate) = (0.15, 0.5 / 1.15);
        assert_close(learner.model().weights[5], (rate * g - rate * 0.1) / (1.0 + rate * 0.2));
        let mut learner = OnlineLearner::new(&FtrlConfig { l1: 0.2, ..config(Rule::Ftrl) });
        learner.learn(&rows(&[(&[(5, 0.1)], 1.0, 3.0)]));
        assert_eq!(learner.model().weights[5], 0.0);
    }

    #[test]
    fn importances_are_weights_and_zero_learns_nothing() {
        for rule in [Rule::Ftrl, Rule::AdaGrad] {
            let mut learner = OnlineLearner::new(&config(rule));
            let loss = learner.learn(&rows(&[(&[(1, 1.0)], 1.0, 0.0), (&[(1, 1.0)], 0.0, 2.0)]));
            let mut alone = OnlineLearner::new(&config(rule));
            alone.learn(&rows(&[(&[(1, 1.0)], 0.0, 2.0)]));
            assert_eq!(learner.model().weights, alone.model().weights);
            assert_eq!((loss.importance, loss.n_rows), (2.0, 2));
        }
    }

    /// The algorithm as the paper writes it, in f64, with dense vectors: `z` and `n`, weights computed when they are needed.
    fn reference(config: &FtrlConfig, rows: &HashedRows) -> (Vec<f64>, f64) {
        let n_slots = config.space().n_slots();
        // The last is the bias.
        let (mut z, mut n) = (vec![0.0; n_slots + 1], vec![0.0; n_slots + 1]);
        let mut w = vec![0.0; n_slots + 1];
        let mut total = 0.0;
        for row in rows.iter() {
            let mut x = vec![0.0; n_slots + 1];
            row.features.iter().for_each(|f| x[f.slot as usize] += f64::from(f.value));
            x[n_slots] = 1.0;
            let score: f64 = w.iter().zip(&x).map(|(w, x): (&f64, &f64)| w * x).sum();
            let (p, y) = (1.0 / (1.0 + (-score).exp()), f64::from(row.label));
            let importance = f64::from(row.importance);
            total -= importance * (y * p.ln() + (1.0 - y) * (1.0 - p).ln());
            for i in (0..=n_slots).filter(|i| x[*i] != 0.0) {
                let (l1, l2) = if i == n_slots { (0.0, 0.0) } else { (config.l1, config.l2) };
                let g = importance * (p - y) * x[i];
                let before: f64 = n[i];
                n[i] += g * g;
                if config.rule == Rule::AdaGrad {
                    let rate = config.alpha / (config.beta + n[i].sqrt());
                    let moved: f64 = w[i] - rate * g;
                    let shrunk = (moved.abs() - rate * l1).max(0.0) * moved.signum();
                    w[i] = shrunk / (1.0 + rate * l2);
                    continue;
                }
                let sigma = (n[i].sqrt() - before.sqrt()) / config.alpha;
                z[i] += g - sigma * w[i];
                w[i] = if z[i].abs() <= l1 {
                    0.0
                } else {
                    -(z[i] - z[i].signum() * l1) / ((config.beta + n[i].sqrt()) / config.alpha + l2)
                };
            }
        }
        (w, total)
    }

    #[test]
    fn features_that_share_a_slot_move_it_one_after_the_other() {
        fn moved<S: Step>(step: S) -> Slot {
            // The second gradient of the slot is computed from where the first has moved it.
            let after = |slot, gradient| step.next(slot, step.weight(slot), gradient);
            after(after(Slot::default(), -0.5 * 2.0), -0.5 * -1.0)
        }
        for rule in [Rule::Ftrl, Rule::AdaGrad] {
            let mut learner = OnlineLearner::new(&config(rule));
            learner.learn(&rows(&[(&[(3, 2.0), (4, 1.0), (3, -1.0)], 1.0, 1.0)]));
            let expected = match rule {
                Rule::Ftrl => moved(config(rule).ftrl()[0]),
                Rule::AdaGrad => moved(config(rule).adagrad()[0]),
            };
            assert_eq!(learner.table.as_slice()[3], expected);
        }
    }

    proptest! {
        #[test]
        fn learns_what_the_plain_dense_algorithm_learns(
            given in proptest::collection::vec(
                (proptest::collection::btree_map(0_u32..16, -3.0_f32..3.0, 0..6), any::<bool>(), 0.0_f32..3.0),
                1..60,
            ),
            is_adagrad in any::<bool>(),
        ) {
            let config = config(if is_adagrad { Rule::AdaGrad } else { Rule::Ftrl });
            let mut rows = HashedRows::default();
            for (features, label, importance) in given {
                for (slot, value) in features {
                    rows.push(HashedFeature { slot, value });
                }
                rows.end_row(f32::from(u8::from(label)), importance, 1);
            }
            let (weights, total) = reference(&config, &rows);
            let mut learner = OnlineLearner::new(&config);
            let loss = learner.learn(&rows);
            prop_assert!((loss.sum - total).abs() < 1e-4 * total.max(1.0), "{} {total}", loss.sum);
            let model = learner.model();
            for (got, want) in model.weights.iter().chain([&model.bias]).zip(weights) {
                // f32 against f64, over sixty steps.
                prop_assert!((f64::from(*got) - want).abs() < 1e-4, "{got} {want}");
            }
            // Any cut of the rows gives the same bits.
            let mut cut = OnlineLearner::new(&config);
            let middle = rows.len() / 2;
            cut.learn_range(&rows, 0..middle);
            cut.learn_range(&rows, middle..rows.len());
            prop_assert_eq!(cut.model().weights, model.weights);
        }
    }
}
