//! A NATS server of a test's own, that may be killed and started again.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long anything may take.
const LONGEST: Duration = Duration::from_secs(60);

/// The program that `FORECART_TEST_NATS` names; without it tests are left out, and say so (`.ci/run` gets one and fails without it).
fn program() -> Option<PathBuf> {
    match std::env::var_os("FORECART_TEST_NATS") {
        Some(path) => Some(path.into()),
        None if std::env::var_os("FORECART_TEST_ALL").is_some() => {
            panic!("FORECART_TEST_ALL is set, but FORECART_TEST_NATS names no nats-server")
        }
        None => {
            // Not by a macro of the test's own output, which nobody sees of a test that passes.
            let said = "left out: NATS, as FORECART_TEST_NATS names no nats-server\n";
            std::io::stderr().write_all(said.as_bytes()).unwrap();
            None
        }
    }
}

pub(crate) struct NatsServer {
    program: PathBuf,
    arguments: Vec<String>,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl NatsServer {
    /// A server that runs; `None` where there is no program.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(arguments: &[&str]) -> Option<Self> {
        let mut server = Self::new(arguments)?;
        server.run().await;
        Some(server)
    }

    /// One that does not run yet.
    pub(crate) fn new(arguments: &[&str]) -> Option<Self> {
        let program = program()?;
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Some(Self {
            program,
            arguments: arguments.iter().map(|&own| own.to_owned()).collect(),
            folder: tempfile::tempdir().unwrap(),
            port: free.local_addr().unwrap().port(),
            child: None,
        })
    }

    pub(crate) async fn run(&mut self) {
        let child = Command::new(&self.program)
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"])
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.child = Some(child);
        until("the server listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
        })
        .await;
    }

    /// As by `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn context(&self) -> Context {
        self.context_by(async_nats::ConnectOptions::new()).await
    }

    /// As a client that says who it is, and whom it trusts.
    pub(crate) async fn context_by(&self, options: async_nats::ConnectOptions) -> Context {
        let options = options.retry_on_initial_connect();
        jetstream::new(options.connect(self.url()).await.unwrap())
    }
}

/// Waits for something to hold.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < LONGEST, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
