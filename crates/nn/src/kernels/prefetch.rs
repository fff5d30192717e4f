//! Asking for memory before it is needed.

/// Asks for the cache lines of `values`, which are to be read soon. A hint without any effect on results; nothing where the
/// processor has no such instruction for stable Rust.
#[inline]
pub fn prefetch(values: &[f32]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in values.chunks(16) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        #[expect(unsafe_code, reason = "the only way to ask for a cache line")]
        // SAFETY: a hint, which reads nothing, for an address within a slice; part of every x86-64 processor.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = values;
}
