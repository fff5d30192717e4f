//! The table of a linear model in training.

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

/// What a rule knows of a weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[repr(C, align(8))]
pub(super) struct Slot(pub(super) [f32; 2]);

impl Slot {
    #[inline(always)]
    pub(super) fn bits(self) -> u64 {
        let [first, second] = self.0.map(f32::to_bits);
        u64::from(first) | u64::from(second) << 32
    }

    /// Asks for the slot, which is to be read soon.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        forecart_nn::prefetch(&self.0);
    }
}

/// All slots, zero at first.
///
/// They are read all over the table: in pages of 4 KiB, finding where a page lies took as long as all else that a step does. So the memory
/// comes from the system, which is asked for large pages.
#[derive(Debug)]
pub(super) struct SlotTable {
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    Mapped(MmapMut),
    /// Where the system does not give any.
    Owned(Vec<Slot>),
}

impl SlotTable {
    pub(super) fn new(n_slots: usize) -> Self {
        let memory = match MmapMut::map_anon(n_slots * size_of::<Slot>()) {
            Ok(memory) => {
                // A hint: pages of any size hold the same.
                #[cfg(target_os = "linux")]
                let _ = memory.advise(memmap2::Advice::HugePage);
                Memory::Mapped(memory)
            }
            Err(_) => Memory::Owned(vec![Slot::default(); n_slots]),
        };
        Self { memory }
    }

    pub(super) fn as_slice(&self) -> &[Slot] {
        match &self.memory {
            Memory::Mapped(memory) => bytemuck::cast_slice(memory),
            Memory::Owned(slots) => slots,
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Slot] {
        match &mut self.memory {
            Memory::Mapped(memory) => bytemuck::cast_slice_mut(memory),
            Memory::Owned(slots) => slots,
        }
    }
}
