//! What the process has used of the machine's memory, where the system says so (Linux).

/// Highest resident memory of this process so far, in bytes.
pub fn peak_memory_bytes() -> Option<u64> {
    status("VmHWM:")
}

/// Resident memory of this process now, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    status("VmRSS:")
}

/// Sets the highest resident memory back to what it is now, so that one stage can be measured.
/// Where that is not allowed, the peak of the whole run stands.
pub(crate) fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn status(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_peak_is_not_below_what_was_touched() {
        let touched = vec![1_u8; 64 << 20];
        let peak = super::peak_memory_bytes().unwrap();
        assert!(peak > 64 << 20, "{peak}");
        assert_eq!(touched.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 64 << 20);
    }
}
