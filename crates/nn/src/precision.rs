//! The arithmetic of matrix products.

use crate::kernels::has_bf16_arithmetic;

/// How a layer multiplies matrices.
///
/// Whatever it is, weights, activations, gradients and the state of the optimizer are f32, and so are model files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// In f32.
    #[default]
    F32,
    /// Both operands rounded to bfloat16 (8 significant bits) on their way into the product, sums in f32: twice as fast where
    /// the processor [has such instructions](Self::is_fast). A product differs from that in f32 by at most `2⁻⁷` of the sum of the
    /// magnitudes of its terms.
    ///
    /// Source: Kalamkar et al., arXiv:1905.12322, whose weights for the update are f32 as here.
    Bf16,
}

impl Precision {
    /// Whether this processor has instructions for it (for [`Self::Bf16`]: AVX512-BF16). Without them the products are those of the
    /// same rounded values, at the speed of f32 or below.
    pub fn is_fast(self) -> bool {
        match self {
            Self::F32 => true,
            Self::Bf16 => has_bf16_arithmetic(),
        }
    }
}
