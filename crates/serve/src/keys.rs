//! API keys: shown once, kept by their hash, looked up by their public part.

use std::fmt::Write as _;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::store::{self, KeyRecord, Scope, Store, StoreError};

/// What every key begins with, so that scanners of repositories find one that was committed.
const PREFIX: &str = "forecart";
/// Random bytes of the public part.
const ID_BYTES: usize = 6;
/// Random bytes of the secret part.
const SECRET_BYTES: usize = 32;

/// A new key, to be shown once, and what is kept of it.
#[derive(Debug)]
pub struct NewKey {
    /// What a client sends.
    pub token: String,
    /// What the store keeps.
    pub record: KeyRecord,
}

/// Makes a key of 256 random bits from the system's generator.
pub fn generate(scope: Scope, made_ms: i64) -> NewKey {
    let key_id = random_hex(ID_BYTES);
    let secret = random_hex(SECRET_BYTES);
    let record = KeyRecord {
        key_id: key_id.clone(),
        secret_hash: hash(&secret),
        scope,
        made_ms,
        ends_ms: None,
    };
    NewKey { token: format!("{PREFIX}_{key_id}_{secret}"), record }
}

fn random_hex(n_bytes: usize) -> String {
    let mut rng = rand::rngs::SysRng;
    let mut bytes = vec![0; n_bytes];
    rand::rand_core::TryRng::try_fill_bytes(&mut rng, &mut bytes)
        .expect("the system gives random bytes");
    hex(&bytes)
}

/// Two characters for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A key has 256 random bits, so that nothing slower than one SHA-256 is needed against guessing.
fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Why a request may not do what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No key, or none that is known and not ended: 401.
    NoKey,
    /// A key that may not do this: 403.
    Scope(Scope),
}

/// The keys of a store.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    known: ArcSwap<FxHashMap<String, KeyRecord>>,
}

impl Keys {
    /// Reads them again: a key that was made or revoked elsewhere holds from then on.
    pub(crate) async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let keys = store::in_time(store, 0, store.keys()).await?;
        let known = keys.into_iter().map(|key| (key.key_id.clone(), key)).collect();
        self.known.store(Arc::new(known));
        Ok(())
    }

    /// Whether there are any: without, everybody may do everything.
    pub(crate) fn is_open(&self) -> bool {
        self.known.load().is_empty()
    }

    /// The id of the key if `token` may do what needs `scope`; `None` where no key is needed. The time that it takes says nothing of the secret.
    pub(crate) fn check(
        &self,
        token: Option<&str>,
        scope: Scope,
        now_ms: i64,
    ) -> Result<Option<String>, Refused> {
        if self.is_open() {
            return Ok(None);
        }
        let parts =
            token.and_then(|token| token.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_'));
        let (key_id, secret) = parts.ok_or(Refused::NoKey)?;
        let known = self.known.load();
        let key = known.get(key_id).ok_or(Refused::NoKey)?;
        let is_equal: bool = hash(secret).as_bytes().ct_eq(key.secret_hash.as_bytes()).into();
        if !is_equal || key.ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms) {
            return Err(Refused::NoKey);
        }
        if key.scope < scope {
            Err(Refused::Scope(key.scope))
        } else {
            Ok(Some(key.key_id.clone()))
        }
    }
}
