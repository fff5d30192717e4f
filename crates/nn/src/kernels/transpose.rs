//! Exchange of rows and columns.

/// Columns copied at a time: what is written fills whole cache lines.
const BLOCK: usize = 16;

/// Writes the transpose of `cols` columns of a row-major matrix whose rows are `row_stride` values apart: value
/// `(row, col)` goes to `to[col * to_stride + row]`.
///
/// # Panics
/// If a row of `to` cannot hold a column.
pub(crate) fn transpose(
    from: &[f32],
    row_stride: usize,
    cols: usize,
    to: &mut [f32],
    to_stride: usize,
) {
    if cols == 0 || from.len() < cols {
        return;
    }
    let rows = (from.len() - cols) / row_stride + 1;
    assert!(rows <= to_stride, "a row of the transpose holds a column");
    let row = |row: usize| &from[row * row_stride..][..cols];
    let n_whole = rows - rows % BLOCK;
    for first in (0..n_whole).step_by(BLOCK) {
        let block: [&[f32]; BLOCK] = std::array::from_fn(|i| row(first + i));
        for (col, to) in to.chunks_mut(to_stride).take(cols).enumerate() {
            let to: &mut [f32; BLOCK] =
                (&mut to[first..first + BLOCK]).try_into().expect("a block is 16 long");
            *to = block.map(|row| row[col]);
        }
    }
    for first in n_whole..rows {
        for (to, value) in to.chunks_mut(to_stride).zip(row(first)) {
            to[first] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_changes_its_place() {
        for (rows, cols, row_stride, to_stride) in [(1, 1, 1, 1), (16, 3, 5, 16), (37, 20, 20, 48)]
        {
            let from: Vec<f32> = (0..(rows - 1) * row_stride + cols).map(|i| i as f32).collect();
            let mut to = vec![-1.0; cols * to_stride];
            transpose(&from, row_stride, cols, &mut to, to_stride);
            for col in 0..cols {
                for row in 0..to_stride {
                    let want = if row < rows { from[row * row_stride + col] } else { -1.0 };
                    assert_eq!(to[col * to_stride + row], want, "{rows} {cols}: {row} {col}");
                }
            }
        }
        transpose(&[], 4, 4, &mut [], 0);
    }
}
