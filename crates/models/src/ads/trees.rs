//! Boosted trees that have been grown: arrays of nodes, and a walk through them.

use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// Binary trees whose leaves add up to a logit.
///
/// # Shapes
/// `roots: [n_trees]`, the node at which each tree begins; the others `[n_nodes]`. The children of a node stand after it, so that
/// every walk ends; a leaf has 0 for both.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Trees {
    base: f64,
    roots: Vec<u32>,
    features: Vec<u32>,
    /// Values below it go left.
    thresholds: Vec<f64>,
    left: Vec<u32>,
    right: Vec<u32>,
    /// Of leaves.
    values: Vec<f32>,
}

/// A node of a tree on its way into [`Trees`], with children by their places in the same tree.
pub(super) enum Grown {
    /// Adds to the logit.
    Leaf(f32),
    /// Goes left where `feature` is below `threshold`.
    Split { feature: usize, threshold: f64, left: usize, right: usize },
}

impl Trees {
    /// No tree: the logit is `base`.
    pub(super) fn new(base: f64) -> Self {
        Self { base, ..Self::default() }
    }

    /// Adds a tree, given what stands at each place of it; place 0 is its root.
    pub(super) fn push(&mut self, node: impl Fn(usize) -> Grown) {
        self.roots.push(self.values.len() as u32);
        // A parent is numbered before its children.
        let mut waiting = std::collections::VecDeque::from([(0usize, None::<(usize, bool)>)]);
        while let Some((place, parent)) = waiting.pop_front() {
            let own = self.values.len();
            match parent {
                Some((parent, true)) => self.left[parent] = own as u32,
                Some((parent, false)) => self.right[parent] = own as u32,
                None => {}
            }
            let (feature, threshold, value) = match node(place) {
                Grown::Leaf(value) => (0, 0.0, value),
                Grown::Split { feature, threshold, left, right } => {
                    waiting.push_back((left, Some((own, true))));
                    waiting.push_back((right, Some((own, false))));
                    (feature as u32, threshold, 0.0)
                }
            };
            self.features.push(feature);
            self.thresholds.push(threshold);
            self.left.push(0);
            self.right.push(0);
            self.values.push(value);
        }
    }

    /// Number of trees.
    pub(super) fn len(&self) -> usize {
        self.roots.len()
    }

    /// The sum of the base and of the leaf that `row: [n_features]` comes to in each tree.
    pub(super) fn logit(&self, row: &[f64]) -> f32 {
        let leaves = self.roots.iter().map(|root| {
            let mut node = *root as usize;
            while self.left[node] != 0 {
                let goes_left = row[self.features[node] as usize] < self.thresholds[node];
                node = if goes_left { self.left[node] } else { self.right[node] } as usize;
            }
            f64::from(self.values[node])
        });
        (self.base + leaves.sum::<f64>()) as f32
    }

    /// Adds to `sums: [n_players]` what each player adds to the logit of `row` over that of `reference`: the Shapley values of the game in
    /// which a player who takes part brings its features' values in `row` and one who does not those in `reference`.
    /// `player_of: [n_features]`. They sum to the difference of the two logits.
    ///
    /// Only players whose features stand on the way to a leaf matter to it: a leaf of value `v` that asks for `a` of them to take part
    /// and `b` not to gives `v (a - 1)! b! / (a + b)!` to each of the former and takes `v a! (b - 1)! / (a + b)!` from each of the latter.
    ///
    /// # Cost
    /// Linear in the leaves, however many players there are.
    ///
    /// Source: Lundberg et al., "From local explanations to global understanding with explainable AI for trees", Nature Machine
    /// Intelligence 2, 2020: TreeSHAP with one background sample ("interventional"). We differ: features of one player move together.
    pub(super) fn shapley(
        &self,
        row: &[f64],
        reference: &[f64],
        player_of: &[usize],
        sums: &mut [f64],
    ) {
        let goes_left =
            |node: usize, row: &[f64]| row[self.features[node] as usize] < self.thresholds[node];
        let child = |node: usize, left: bool| {
            (if left { self.left[node] } else { self.right[node] }) as usize
        };
        let mut takes_part: Vec<Option<bool>> = vec![None; sums.len()];
        let mut players: Vec<usize> = Vec::new(); // on the way to where the walk stands
        let mut steps: Vec<Step> =
            self.roots.iter().map(|root| Step::Visit(*root as usize)).collect();
        while let Some(step) = steps.pop() {
            match step {
                Step::Split { player, takes, to } => {
                    takes_part[player] = Some(takes);
                    players.push(player);
                    steps.push(Step::Leave);
                    steps.push(Step::Visit(to));
                }
                Step::Leave => {
                    let player = players.pop().expect("each player on the way is left once");
                    takes_part[player] = None;
                }
                Step::Visit(node) if self.left[node] == 0 => {
                    let n_with = players.iter().filter(|player| takes_part[**player] == Some(true));
                    let n_with = n_with.count();
                    let n_without = players.len() - n_with;
                    let value = f64::from(self.values[node]);
                    for player in &players {
                        sums[*player] += match takes_part[*player] {
                            Some(true) => value * share(n_with - 1, n_without),
                            _ => -value * share(n_with, n_without - 1),
                        };
                    }
                }
                Step::Visit(node) => {
                    let player = player_of[self.features[node] as usize];
                    let [with, without] =
                        [row, reference].map(|row| child(node, goes_left(node, row)));
                    match takes_part[player] {
                        Some(true) => steps.push(Step::Visit(with)),
                        Some(false) => steps.push(Step::Visit(without)),
                        None if with == without => steps.push(Step::Visit(with)),
                        None => {
                            steps.push(Step::Split { player, takes: false, to: without });
                            steps.push(Step::Split { player, takes: true, to: with });
                        }
                    }
                }
            }
        }
    }

    pub(super) fn tensors(&self) -> Tensors {
        let bits = |values: &[f64]| TensorData::U64(values.iter().map(|x| x.to_bits()).collect());
        let mut tensors = Tensors::default();
        tensors.insert("base", bits(&[self.base]));
        tensors.insert("roots", TensorData::U32(self.roots.clone()));
        tensors.insert("features", TensorData::U32(self.features.clone()));
        tensors.insert("thresholds", bits(&self.thresholds));
        tensors.insert("left", TensorData::U32(self.left.clone()));
        tensors.insert("right", TensorData::U32(self.right.clone()));
        tensors.insert("values", TensorData::F32(self.values.clone()));
        tensors
    }

    /// What [`Self::tensors`] gave, over rows of `n_features`.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] for anything through which a walk could not be trusted to end within the arrays.
    pub(super) fn load(tensors: &mut Tensors, n_features: usize) -> Result<Self, ModelError> {
        let values = tensors.take_f32("values", None)?;
        let n = Some(values.len());
        let numbers = |bits: Vec<u64>| -> Result<Vec<f64>, ModelError> {
            let numbers: Vec<f64> = bits.into_iter().map(f64::from_bits).collect();
            match numbers.iter().all(|number| number.is_finite()) {
                true => Ok(numbers),
                false => Err(ModelError::damaged("a number of the trees is not finite")),
            }
        };
        let base = numbers(tensors.take_u64("base", Some(1))?)?[0];
        let trees = Self {
            base,
            roots: tensors.take_u32("roots", None)?,
            features: tensors.take_u32("features", n)?,
            thresholds: numbers(tensors.take_u64("thresholds", n)?)?,
            left: tensors.take_u32("left", n)?,
            right: tensors.take_u32("right", n)?,
            values,
        };
        let n = trees.values.len();
        let is_child = |node: usize, child: u32| child as usize > node && (child as usize) < n;
        let is_sound = |node: usize| match (trees.left[node], trees.right[node]) {
            (0, 0) => true,
            (left, right) => {
                is_child(node, left)
                    && is_child(node, right)
                    && (trees.features[node] as usize) < n_features
            }
        };
        let are_roots = trees.roots.iter().all(|root| (*root as usize) < n);
        match are_roots && (0..n).all(is_sound) {
            true => Ok(trees),
            false => Err(ModelError::damaged("a node of the trees leads out of them")),
        }
    }
}

/// A step of the walk of [`Trees::shapley`].
enum Step {
    Visit(usize),
    /// From here on the player takes part, or does not.
    Split {
        player: usize,
        takes: bool,
        to: usize,
    },
    /// The last player that came in goes out.
    Leave,
}

/// `a! b! / (a + b + 1)!`.
fn share(a: usize, b: usize) -> f64 {
    // 1 / ((a + b + 1) C(a + b, b)), whose binomial grows by one factor at a time.
    let choices = (1..=b).fold(1.0, |product, k| product * (a + k) as f64 / k as f64);
    1.0 / ((a + b + 1) as f64 * choices)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn shapley_values_are_those_of_all_orders_of_the_players() {
        const N_FEATURES: usize = 6;
        const N_PLAYERS: usize = 4;
        let rng = &mut ChaCha8Rng::seed_from_u64(7);
        let mut trees = Trees::new(0.3);
        for _ in 0..5 {
            // Whole trees of depth 5 over random features, so that players come again on a way.
            let nodes: Vec<(usize, f64, f32)> = (0..63)
                .map(|_| (rng.random_range(0..N_FEATURES), rng.random(), rng.random::<f32>() - 0.5))
                .collect();
            trees.push(|place| match place < 31 {
                true => Grown::Split {
                    feature: nodes[place].0,
                    threshold: nodes[place].1,
                    left: 2 * place + 1,
                    right: 2 * place + 2,
                },
                false => Grown::Leaf(nodes[place].2),
            });
        }
        let player_of = [0, 1, 1, 2, 3, 3];
        for _ in 0..20 {
            let [row, reference] =
                [(); 2].map(|()| (0..N_FEATURES).map(|_| rng.random()).collect::<Vec<f64>>());
            let logit = |players: usize| {
                let features = (0..N_FEATURES).map(|feature| {
                    let takes_part = players >> player_of[feature] & 1 == 1;
                    if takes_part { row[feature] } else { reference[feature] }
                });
                f64::from(trees.logit(&features.collect::<Vec<_>>()))
            };
            let mut found = vec![0.0; N_PLAYERS];
            trees.shapley(&row, &reference, &player_of, &mut found);
            for (player, found) in found.iter().enumerate() {
                let others = (0..1 << N_PLAYERS).filter(|players| players >> player & 1 == 0);
                let wanted: f64 = others
                    .map(|players: usize| {
                        let n = players.count_ones() as usize;
                        let orders = |n: usize| (1..=n).product::<usize>() as f64;
                        let weight = orders(n) * orders(N_PLAYERS - n - 1) / orders(N_PLAYERS);
                        weight * (logit(players | 1 << player) - logit(players))
                    })
                    .sum();
                assert!((found - wanted).abs() < 1e-6, "{player}: {found}, {wanted}");
            }
            let all = logit((1 << N_PLAYERS) - 1) - logit(0);
            assert!((found.iter().sum::<f64>() - all).abs() < 1e-6);
        }
    }

    /// One split and one leaf alone.
    fn trees() -> Trees {
        let mut trees = Trees::new(-1.0);
        trees.push(|place| match place {
            0 => Grown::Split { feature: 1, threshold: 0.5, left: 2, right: 1 },
            1 => Grown::Leaf(10.0),
            _ => Grown::Leaf(20.0),
        });
        trees.push(|_| Grown::Leaf(0.25));
        trees
    }

    #[test]
    fn walks_by_hand() {
        let trees = trees();
        assert_eq!(trees.logit(&[9.0, 0.4]), -1.0 + 20.0 + 0.25);
        assert_eq!(trees.logit(&[0.0, 0.5]), -1.0 + 10.0 + 0.25); // not below
        assert_eq!(Trees::new(-1.0).logit(&[]), -1.0);
    }

    #[test]
    fn what_would_not_end_or_leaves_the_arrays_does_not_load() {
        let trees = trees();
        assert_eq!(Trees::load(&mut trees.tensors(), 2).unwrap(), trees);
        Trees::load(&mut trees.tensors(), 1).unwrap_err(); // feature 1 of one
        for (name, place, value) in
            [("left", 0, 0), ("left", 0, 4), ("right", 1, 1), ("roots", 1, 4)]
        {
            let mut tensors = trees.tensors();
            let mut values = tensors.take_u32(name, None).unwrap();
            values[place] = value;
            tensors.insert(name, TensorData::U32(values));
            Trees::load(&mut tensors, 2).unwrap_err();
        }
        let mut tensors = trees.tensors();
        tensors.insert("base", TensorData::U64(vec![f64::NAN.to_bits()]));
        Trees::load(&mut tensors, 2).unwrap_err();
    }
}
