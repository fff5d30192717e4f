//! A tight memory limit: what does not fit goes to disk, and the results stay what they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use forecart_data::{Manifest, Silent};
use forecart_prepare::prepare::SplitKind;
use forecart_prepare::{
    DataConfig, GenerateConfig, PrepareConfig, PrepareError, RawPrepareConfig, RawSplitConfig,
    Resources, ValidateConfig, ValidationReport, generate, import, prepare, validate,
};

/// 50 MB in the engine's narrow form, more than three quarters of the smallest limit.
const N_EVENTS: u64 = 1_000_000;

struct Log {
    root: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let csv = root.path().join("events.csv");
        generate(&GenerateConfig::of(N_EVENTS, 1), fs::File::create(&csv).unwrap()).unwrap();
        let log = root.path().join("log");
        let resources = resources(root.path().join("scratch"), 2, None);
        import(&[csv], &DataConfig::default(), &log, &resources, &Silent).unwrap();
        Self { root }
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("log")
    }

    /// Runs `job` with a scratch folder of its own; returns what it returns and the most bytes
    /// that the engine spilled at one moment.
    fn watched<T>(
        &self,
        n_threads: usize,
        limit: Option<u64>,
        job: impl FnOnce(&Resources) -> Result<T, PrepareError>,
    ) -> (Result<T, PrepareError>, u64) {
        let scratch = self.root.path().join(format!("scratch-{n_threads}-{limit:?}"));
        fs::create_dir_all(&scratch).unwrap();
        let watch = Watch::new(scratch.clone());
        let result = job(&resources(scratch, n_threads, limit));
        (result, watch.most_bytes())
    }

    fn validate(
        &self,
        n_threads: usize,
        limit: Option<u64>,
    ) -> (Result<ValidationReport, PrepareError>, u64) {
        let config = ValidateConfig { now_ms: Some(i64::MAX), ..ValidateConfig::default() };
        self.watched(n_threads, limit, |resources| validate(&self.log(), &config, resources))
    }

    fn prepare(
        &self,
        n_threads: usize,
        limit: Option<u64>,
    ) -> (Result<Manifest, PrepareError>, u64) {
        let split = RawSplitConfig { kind: SplitKind::LooFull, ..RawSplitConfig::default() };
        let config = PrepareConfig::new(RawPrepareConfig::default(), split).unwrap();
        let out = self.root.path().join("dataset");
        self.watched(n_threads, limit, |resources| {
            prepare(&self.log(), &config, &out, resources, &Silent)
        })
    }
}

fn resources(scratch: PathBuf, n_threads: usize, memory_limit_bytes: Option<u64>) -> Resources {
    Resources { memory_limit_bytes, n_threads, scratch }
}

/// Looks at a folder again and again, until it is asked for the most bytes it saw.
struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<u64>,
}

impl Watch {
    fn new(folder: PathBuf) -> Self {
        let (stop, stopped): (_, Receiver<()>) = channel();
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while stopped.recv_timeout(Duration::from_millis(2)).is_err() {
                most = most.max(spilled_bytes(&folder));
            }
            most
        });
        Self { stop, thread }
    }

    fn most_bytes(self) -> u64 {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

/// Bytes in files below a folder, beside the rows that `prepare` keeps there by design. Files come
/// and go meanwhile.
fn spilled_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => spilled_bytes(&entry.path()),
        Ok(data) if entry.file_name() != "cleaned.rows" => data.len(),
        _ => 0,
    });
    sizes.sum()
}

#[test]
fn the_smallest_limit_spills_and_changes_no_result() {
    let least = Some(Resources::MIN_MEMORY_LIMIT_BYTES);
    let log = Log::new();
    let (report, spilled) = log.validate(2, None);
    let report = report.unwrap();
    assert_eq!(spilled, 0, "without a limit nothing is spilled");
    let (manifest, spilled) = log.prepare(2, None);
    let manifest = manifest.unwrap();
    assert_eq!(spilled, 0, "without a limit nothing is spilled");
    // Many threads share the limit: each partition must still get what it needs.
    for n_threads in [2, 16] {
        let (limited, spilled) = log.validate(n_threads, least);
        assert_eq!(limited.unwrap(), report);
        assert!(spilled > 1 << 20, "validate spilled {spilled} bytes");
        let (limited, spilled) = log.prepare(n_threads, least);
        assert_eq!(limited.unwrap(), manifest);
        assert!(spilled > 1 << 20, "prepare spilled {spilled} bytes");
    }
    let too_small = least.map(|limit| limit - 1);
    for error in
        [log.validate(1, too_small).0.unwrap_err(), log.prepare(1, too_small).0.unwrap_err()]
    {
        assert!(error.is_usage());
        assert!(error.to_string().contains("the smallest limit that works is 64MiB"), "{error}");
    }
}
