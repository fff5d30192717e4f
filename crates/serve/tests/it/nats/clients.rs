//! The ways in which a server knows its clients, each with a client that it knows and one that it does not.

use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use forecart_serve::RawNatsConfig;

use super::accounts::{self, Nkey};
use super::server::NatsServer;

/// Who a client says it is.
#[derive(Clone, Default)]
pub(crate) struct Client {
    /// In the address, before `@`.
    in_url: Option<String>,
    credentials: Option<PathBuf>,
}

impl Client {
    fn of_url(text: &str) -> Self {
        Self { in_url: Some(text.to_owned()), credentials: None }
    }

    fn of_file(path: &Path) -> Self {
        Self { in_url: None, credentials: Some(path.to_owned()) }
    }

    pub(crate) fn of(&self, nats: &NatsServer) -> RawNatsConfig {
        let url = match &self.in_url {
            Some(own) => nats.url().replace("://", &format!("://{own}@")),
            None => nats.url(),
        };
        let credentials = self.credentials.clone();
        RawNatsConfig { url: Some(url), credentials, ..RawNatsConfig::default() }
    }
}

/// A way to know clients.
pub(crate) struct Way {
    /// Arguments of a server that knows its clients so.
    pub(crate) arguments: Vec<String>,
    pub(crate) known: Client,
    pub(crate) unknown: Client,
    /// As the known one.
    pub(super) options: ConnectOptions,
    /// What an error of the unknown one tells to look at.
    pub(super) advice: &'static str,
    /// What must be in no log.
    pub(crate) secrets: Vec<String>,
}

/// All of them, with their files in a folder.
pub(crate) async fn ways(folder: &Path) -> Vec<Way> {
    let path = |name: &str| folder.join(name);
    let arguments = |own: &[&str]| own.iter().map(|&own| own.to_owned()).collect();
    let secret = || format!("s3cr3t-{}", uuid::Uuid::new_v4().simple());
    let [password, other, token, other_token] = [(); 4].map(|()| secret());

    accounts::write(&path("accounts.conf"), [&path("shop.creds"), &path("stranger.creds")]);
    let (shop, stranger) = (Nkey::of_user(), Nkey::of_user());
    let config = format!("authorization: {{ users: [ {{ nkey: {} }} ] }}", shop.public());
    std::fs::write(path("nkeys.conf"), config).unwrap();
    std::fs::write(path("shop.nk"), format!("# the shop's\n{}\n", shop.seed())).unwrap();
    std::fs::write(path("stranger.nk"), stranger.seed()).unwrap();
    let seeds_of = |name: &str| {
        let text = std::fs::read_to_string(path(name)).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("SU"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let seeds = [seeds_of("shop.creds"), seeds_of("stranger.creds")].concat();
    let config = |name: &str| path(name).display().to_string();
    vec![
        Way {
            arguments: arguments(&["--user", "shop", "--pass", &password]),
            known: Client::of_url(&format!("shop:{password}")),
            unknown: Client::of_url(&format!("shop:{other}")),
            options: ConnectOptions::with_user_and_password("shop".to_owned(), password.clone()),
            advice: "user:password@",
            secrets: vec![password, other],
        },
        Way {
            arguments: arguments(&["--auth", &token]),
            known: Client::of_url(&token),
            unknown: Client::of_url(&other_token),
            options: ConnectOptions::with_token(token.clone()),
            advice: "token@",
            secrets: vec![token, other_token],
        },
        Way {
            arguments: arguments(&["-c", &config("accounts.conf")]),
            known: Client::of_file(&path("shop.creds")),
            unknown: Client::of_file(&path("stranger.creds")),
            options: ConnectOptions::with_credentials_file(path("shop.creds")).await.unwrap(),
            advice: "serve.nats.credentials",
            secrets: seeds,
        },
        Way {
            arguments: arguments(&["-c", &config("nkeys.conf")]),
            known: Client::of_file(&path("shop.nk")),
            unknown: Client::of_file(&path("stranger.nk")),
            options: ConnectOptions::with_nkey(shop.seed()),
            advice: "serve.nats.credentials",
            secrets: vec![shop.seed(), stranger.seed()],
        },
    ]
}
