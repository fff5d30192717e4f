//! A product of matrices: what is multiplied, what is added to it, which part is needed, and where it goes. The arithmetic
//! is in `matmul` and, in bf16, in `bf16`.

/// A matrix to multiply with: a slice read as it lies, by blocks of columns, or transposed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a> Operand<'a> {
    /// `values` is row-major `[rows, cols]`.
    ///
    /// # Panics
    /// If there are other than `rows * cols` values.
    pub(crate) fn new(values: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(values.len(), rows * cols, "an operand holds rows * cols values");
        Self { values, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// `cols` columns of a row-major matrix whose rows are `row_stride` values apart, from the first value on.
    ///
    /// # Panics
    /// If the last row ends past `values`, or rows overlap.
    pub(crate) fn strided(values: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(cols <= row_stride || rows <= 1, "rows do not overlap");
        assert!(values.len() >= extent(rows, cols, row_stride), "an operand ends within its slice");
        Self { values, rows, cols, row_stride, col_stride: 1 }
    }

    /// The same values read as `[cols, rows]`.
    pub(crate) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// Where a product goes: `cols` columns of rows that are `row_stride` values apart.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) row_stride: usize,
}

impl<'a> Target<'a> {
    /// From the first value of the first row on.
    pub(crate) fn strided(values: &'a mut [f32], row_stride: usize) -> Self {
        Self { values, row_stride }
    }
}

/// Values from the first of the first row to the last of the last.
pub(super) fn extent(rows: usize, cols: usize, row_stride: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols }
}

/// A product `a b` and what is added to it on its way out of the registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) a: Operand<'a>,
    pub(crate) b: Operand<'a>,
    pub(crate) part: Part,
    /// Added to each row, `[n]`.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) plus: Plus<'a>,
}

/// Which part of a product is worth computing: those of causal attention are half empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    All,
    /// Row `i` of `a` is 0 past column `i + .0`.
    LowerLeft(usize),
    /// Row `i` of `a` is 0 before column `i`.
    UpperLeft,
    /// Row `i` of the product is not needed past column `i + .0`: what stands there is not specified.
    LowerResult(usize),
}

/// A matrix that a product is added to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plus<'a> {
    /// None: the target is overwritten.
    Nothing,
    /// What stands in the target.
    Target,
    /// `[m, n]`, with rows that are so many values apart.
    Matrix(&'a [f32], usize),
}

impl<'a> Product<'a> {
    /// The whole product of two matrices alone.
    pub(crate) fn new(a: Operand<'a>, b: Operand<'a>) -> Self {
        Self { a, b, part: Part::All, bias: None, plus: Plus::Nothing }
    }

    /// Whether there is nothing to write.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub(super) fn is_empty(&self, c: &Target<'_>) -> bool {
        let Self { a, b, bias, plus, .. } = *self;
        assert_eq!(b.rows, a.cols, "inner dimensions agree");
        assert!(
            c.values.len() >= extent(a.rows, b.cols, c.row_stride),
            "the product fits its target"
        );
        assert!(b.cols <= c.row_stride || a.rows <= 1, "rows of the product do not overlap");
        assert!(bias.is_none_or(|bias| bias.len() == b.cols), "a bias has a value a column");
        if let Plus::Matrix(values, stride) = plus {
            assert!(
                values.len() >= extent(a.rows, b.cols, stride),
                "the addend has the same shape"
            );
        }
        a.rows == 0 || b.cols == 0
    }
}
