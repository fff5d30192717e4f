//! The machine a report was made on.

use serde::{Deserialize, Serialize};

/// Where a report was made; left out of a report that must be the same bytes everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Model of the processor, if the system tells.
    pub cpu: Option<String>,
    /// Cores that the program may use.
    pub n_cores: usize,
    /// Threads that it did use.
    pub n_threads: usize,
    /// Memory of the machine in bytes, if the system tells.
    pub memory_bytes: Option<u64>,
    /// Operating system and architecture.
    pub system: String,
    /// When the report was made, if the caller says so; this crate reads no clock.
    pub made_at: Option<String>,
}

impl Environment {
    /// Asks the system. What cannot be found out is left open.
    pub fn detect(n_threads: usize) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").map(str::to_owned),
            n_cores: std::thread::available_parallelism().map_or(1, usize::from),
            n_threads,
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            made_at: None,
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let cpu = self.cpu.as_deref().unwrap_or("unknown processor");
        let memory = self.memory_bytes.map_or_else(String::new, |bytes| {
            format!(", {:.1} GiB memory", bytes as f64 / f64::from(1 << 30))
        });
        let at = self.made_at.as_deref().map_or_else(String::new, |at| format!(", {at}"));
        let (cores, threads) = (self.n_cores, self.n_threads);
        format!("{cpu}, {cores} cores, {threads} threads{memory}, {}{at}", self.system)
    }
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_linux_are_read_and_others_left_open() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC 9R14\n";
        assert_eq!(field(cpuinfo, "model name"), Some("AMD EPYC 9R14"));
        assert_eq!(memory_bytes("MemTotal:       1024 kB\n"), Some(1 << 20));
        assert_eq!(memory_bytes("MemTotal: a lot\n"), None);
        assert_eq!(field("", "model name"), None);
    }
}
