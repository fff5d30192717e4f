//! Reciprocal ranks in place of scores.

/// `1 / (k + rank)` in place of each score but that of row 0: rank 1 is the largest, equal ones share the mean of their
/// ranks. Where scores are weights, one of 0 says nothing of an item, and stays 0.
///
/// `order` is a buffer.
pub(super) fn to_reciprocal_ranks(
    k: f64,
    is_weight: bool,
    scores: &mut [f32],
    order: &mut Vec<u32>,
) {
    order.clear();
    let says = |row: &u32| !is_weight || scores[*row as usize] > 0.0;
    order.extend((1..scores.len() as u32).filter(says));
    // Equal ones are treated alike, so that their order does not matter.
    order.sort_unstable_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
    let mut n_before = 0;
    let ranked: Vec<(usize, f32)> = order
        .chunk_by(|a, b| scores[*a as usize] == scores[*b as usize])
        .map(|equal| {
            let rank = n_before as f64 + (equal.len() as f64 + 1.0) / 2.0;
            n_before += equal.len();
            (n_before, (1.0 / (k + rank)) as f32)
        })
        .collect();
    scores.fill(0.0);
    let mut start = 0;
    for (end, share) in ranked {
        for row in &order[start..end] {
            scores[*row as usize] = share;
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_by_hand() {
        let mut order = Vec::new();
        let mut weights = [9.0, 0.0, 3.0, 5.0, 3.0, 0.0];
        to_reciprocal_ranks(60.0, true, &mut weights, &mut order);
        assert_eq!(weights, [0.0, 0.0, 1.0 / 62.5, 1.0 / 61.0, 1.0 / 62.5, 0.0]);
        let mut logits = [0.0, -1.0, 0.0, -7.0];
        to_reciprocal_ranks(1.0, false, &mut logits, &mut order);
        assert_eq!(logits, [0.0, 1.0 / 3.0, 0.5, 0.25]);
    }
}
