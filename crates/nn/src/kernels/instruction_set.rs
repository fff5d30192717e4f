//! Which instructions the kernels are built from, chosen once a process.

use std::sync::atomic::{AtomicU8, Ordering};

#[cfg(target_arch = "aarch64")]
use pulp::aarch64::Neon;
#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};
use pulp::{Scalar, Simd, WithSimd};

/// A set of vector instructions that kernels are compiled for.
///
/// The widest that the processor has is used unless [`InstructionSet::select`] says otherwise. Results of
/// two sets differ in the last bits, since sums are taken in another order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum InstructionSet {
    /// 512-bit vectors on x86-64 (x86-64-v4).
    Avx512 = 1,
    /// 256-bit vectors with fused multiply-add on x86-64 (x86-64-v3).
    Avx2 = 2,
    /// 128-bit vectors on 64-bit ARM.
    Neon = 3,
    /// One value at a time: every processor, and what the others are tested against.
    Scalar = 4,
}

/// 0 until the first kernel runs.
static ACTIVE: AtomicU8 = AtomicU8::new(0);

impl InstructionSet {
    const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Scalar];

    /// The sets that this processor has, widest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|set| set.is_available())
    }

    /// The set in use.
    pub fn active() -> Self {
        match ACTIVE.load(Ordering::Relaxed) {
            1 => Self::Avx512,
            2 => Self::Avx2,
            3 => Self::Neon,
            4 => Self::Scalar,
            _ => {
                let widest = Self::available().next().unwrap_or(Self::Scalar);
                ACTIVE.store(widest as u8, Ordering::Relaxed);
                widest
            }
        }
    }

    /// Uses this set from now on, in the whole process; false, and no change, if the processor lacks it.
    ///
    /// For benches and for results that must be equal on machines of different width.
    pub fn select(self) -> bool {
        let is_available = self.is_available();
        if is_available {
            ACTIVE.store(self as u8, Ordering::Relaxed);
        }
        is_available
    }

    fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => V4::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => V3::is_available(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::is_available(),
            Self::Scalar => true,
            #[allow(unreachable_patterns, reason = "every set has an arm on some processor")]
            _ => false,
        }
    }

    /// Runs `op` compiled for this set, or for single values if the processor lacks it.
    pub(crate) fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => match V4::try_new() {
                Some(simd) => Simd::vectorize(simd, op),
                None => Simd::vectorize(Scalar::new(), op),
            },
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => match V3::try_new() {
                Some(simd) => Simd::vectorize(simd, op),
                None => Simd::vectorize(Scalar::new(), op),
            },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => match Neon::try_new() {
                Some(simd) => Simd::vectorize(simd, op),
                None => Simd::vectorize(Scalar::new(), op),
            },
            _ => Simd::vectorize(Scalar::new(), op),
        }
    }
}

/// Runs `op` compiled for the active set.
pub(crate) fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    InstructionSet::active().run(op)
}
