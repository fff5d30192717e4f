//! In place of `avx512` where there is no such processor: a value that cannot be made.

use super::super::product::{Product, Target};
use super::Bf16Panels;
use super::pack::{Left, PackLeft, PackRight};

/// See `avx512`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Avx512Bf16 {}

impl Avx512Bf16 {
    pub(super) fn active() -> Option<Self> {
        None
    }

    #[cfg(test)]
    pub(super) fn try_new() -> Option<Self> {
        None
    }

    pub(super) fn pack_left<'a>(self, _: PackLeft<'a>) -> Left<'a> {
        match self {}
    }

    pub(super) fn pack_right(self, _: PackRight<'_>) {
        match self {}
    }

    pub(super) fn multiply(self, _: Product<'_>, _: Left<'_>, _: &Bf16Panels, _: Target<'_>) {
        match self {}
    }
}
