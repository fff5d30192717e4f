//! Which models have a color of their own.

use plotters::style::RGBColor;

use super::canvas::{BASELINE, color_of};
use super::page;

/// Models that have a color of their own where there are more than colors: the best, and the strongest baseline.
const N_COLORED: usize = 6;

/// The models that are told apart by color, of `n_models` in the order of a report, and their colors. All, where there are colors enough.
pub(super) fn colored(n_models: usize, strongest: Option<usize>) -> Vec<(usize, RGBColor)> {
    let mut shown: Vec<usize> = (0..n_models).collect();
    if n_models > N_COLORED + 2 {
        shown.retain(|index| *index < N_COLORED || strongest == Some(*index));
    }
    shown.into_iter().enumerate().map(|(place, index)| (index, color_of(place))).collect()
}

/// What each model is drawn in, and those that share the gray first, so that the others lie above them.
pub(super) fn drawn(n_models: usize, strongest: Option<usize>) -> Vec<(usize, RGBColor)> {
    let colored = colored(n_models, strongest);
    let has_own = |index: &usize| colored.iter().any(|(own, _)| own == index);
    let others = (0..n_models).filter(|index| !has_own(index));
    let others: Vec<(usize, RGBColor)> = others.map(|index| (index, BASELINE)).collect();
    others.into_iter().chain(colored.into_iter().rev()).collect()
}

/// The models that have a color, and that the others are gray; `name` is markup.
pub(super) fn push_legend(
    page: &mut String,
    n_models: usize,
    strongest: Option<usize>,
    name: impl Fn(usize) -> String,
) {
    let colored = colored(n_models, strongest);
    let n_others = n_models - colored.len();
    let names = colored.iter().map(|(index, color)| (*color, name(*index)));
    let others = (n_others > 0).then(|| (BASELINE, format!("{n_others} others")));
    page::push_colors(page, names.chain(others));
}
