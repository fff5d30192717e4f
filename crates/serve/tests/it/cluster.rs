//! A PostgreSQL of a test's own, which it may end.
//!
//! Where `FORECART_TEST_POSTGRES_BIN` names the folder of `initdb` and `pg_ctl`; elsewhere the test is left out, unless `FORECART_TEST_ALL` is
//! set.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A server on a port of its own, which ends with this.
pub(crate) struct Cluster {
    bin: PathBuf,
    folder: TempDir,
    port: u16,
}

/// Says that a test is left out, or fails where none may be.
pub(crate) fn left_out(why: &str) {
    assert!(std::env::var_os("FORECART_TEST_ALL").is_none(), "FORECART_TEST_ALL is set, but {why}");
    // Not by a macro of the test's own output, which nobody sees of a test that passes.
    std::io::stderr().write_all(format!("left out: {why}\n").as_bytes()).unwrap();
}

/// Whether the test may mount, and must not run PostgreSQL as itself.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

impl Cluster {
    /// Makes one and starts it.
    pub(crate) fn new() -> Option<Self> {
        let Some(bin) = std::env::var_os("FORECART_TEST_POSTGRES_BIN") else {
            left_out("FORECART_TEST_POSTGRES_BIN names no folder of initdb and pg_ctl");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let cluster = Self { bin: bin.into(), folder, port };
        let data = cluster.data();
        cluster.tool("initdb", &["-D", &data, "-A", "trust", "-U", "forecart", "--no-sync"]);
        cluster.start();
        Some(cluster)
    }

    pub(crate) fn address(&self) -> String {
        format!("postgres://forecart@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn start(&self) {
        let folder = self.folder.path().display();
        let options = format!("-p {} -k {folder} -c listen_addresses=127.0.0.1", self.port);
        let log = format!("{folder}/log");
        self.tool("pg_ctl", &["-D", &self.data(), "-o", &options, "-l", &log, "-w", "start"]);
    }

    /// As if it was killed.
    pub(crate) fn kill(&self) {
        self.tool("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn tool(&self, name: &str, arguments: &[&str]) {
        run(self.command(name).args(arguments));
    }

    fn command(&self, name: &str) -> Command {
        let tool = self.bin.join(name);
        if !is_root() {
            return Command::new(tool);
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(tool);
        command
    }
}

/// Runs a program to its end. What it says is not held open by what it leaves running.
pub(crate) fn run(command: &mut Command) {
    let silent = || std::process::Stdio::null();
    let status = command.stdin(silent()).stdout(silent()).stderr(silent()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        // It may have ended already.
        let _ = stop.args(["-D", &self.data(), "-m", "immediate", "-w", "stop"]).output();
    }
}
