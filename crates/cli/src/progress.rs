//! Progress for people (bars on a terminal) and for machines (JSON lines on standard error).

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forecart_data::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// How long work that was cancelled may take to clean up after itself.
const GRACE: Duration = Duration::from_secs(5);

static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Ends long work cleanly on the first interrupt; a second one ends the process at once.
pub(crate) fn cancel_on_interrupt() {
    // Without a handler an interrupt still leaves the last good files, so a failure here is no
    // reason to stop.
    let _ = ctrlc::set_handler(|| {
        if CANCELLED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
}

/// Ends long work cleanly when standard input ends, and the process [`GRACE`] later if it has not ended by itself.
///
/// # Errors
/// Where no thread can be started that waits for it.
pub(crate) fn cancel_with_stdin() -> std::io::Result<()> {
    let wait = || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        CANCELLED.store(true, Ordering::SeqCst);
        std::thread::sleep(GRACE);
        std::process::exit(130);
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(wait).map(drop)
}

/// Draws on standard error: bars on a terminal, a JSON line per stage otherwise.
pub(crate) struct Display {
    terminal: bool,
    verbose: bool,
    stage: Mutex<Option<Stage>>,
}

struct Stage {
    name: String,
    bar: ProgressBar,
    started: Instant,
}

impl Display {
    pub(crate) fn new(verbose: bool) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), verbose, stage: Mutex::new(None) }
    }

    /// Ends the last stage's bar or line.
    pub(crate) fn end(&self) {
        if let Some(stage) = self.lock().take() {
            self.close(&stage);
        }
    }

    fn close(&self, stage: &Stage) {
        stage.bar.finish_and_clear();
        let seconds = stage.started.elapsed().as_secs_f64();
        if self.terminal {
            if self.verbose || seconds > 1.0 {
                line(&format!("  {:<28} {seconds:>6.1} s", stage.name));
            }
        } else if self.verbose {
            log(&serde_json::json!({"stage": stage.name, "seconds": seconds}));
        }
    }

    fn say(&self, message: &str) {
        if !self.terminal {
            log(&serde_json::json!({ "note": message }));
        } else if let Some(stage) = &*self.lock() {
            stage.bar.suspend(|| line(&format!("    {message}")));
        } else {
            line(&format!("    {message}"));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Stage>> {
        self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Progress for Display {
    fn begin(&self, stage: &str, n_steps: Option<u64>) {
        self.end();
        let bar = match (self.terminal, n_steps) {
            (false, _) => ProgressBar::hidden(),
            (true, Some(n)) => ProgressBar::new(n).with_style(style(
                "  {msg:<28} {wide_bar:.cyan/blue} {human_pos}/{human_len} {eta}",
            )),
            (true, None) => {
                let bar = ProgressBar::new_spinner()
                    .with_style(style("  {msg:<28} {spinner} {human_pos} {elapsed}"));
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            }
        };
        bar.set_message(stage.to_owned());
        *self.lock() = Some(Stage { name: stage.to_owned(), bar, started: Instant::now() });
    }

    fn advance(&self, n: u64) {
        if let Some(stage) = &*self.lock() {
            stage.bar.inc(n);
        }
    }

    fn skip(&self, n: u64) {
        if let Some(stage) = &*self.lock() {
            stage.bar.inc(n);
            stage.bar.reset_eta();
        }
    }

    fn note(&self, message: &str) {
        if self.verbose {
            self.say(message);
        }
    }

    fn announce(&self, message: &str) {
        self.say(message);
    }

    fn is_cancelled(&self) -> bool {
        CANCELLED.load(Ordering::SeqCst)
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.end();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants of this file")
}

fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn log(object: &serde_json::Value) {
    line(&object.to_string());
}
