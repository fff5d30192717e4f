//! Keys and accounts of NATS, as its tools make them: a key is written in base 32 with a checksum, and an operator signs accounts, which sign users.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::crypto::ring::sign::any_eddsa_type;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::sign::SigningKey;

const BASE_32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE_64_URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a key is of: the first byte of what is public of it.
#[derive(Clone, Copy)]
enum Role {
    Operator = 14 << 3,
    Account = 0,
    User = 20 << 3,
}

/// A key pair (Ed25519).
pub(super) struct Nkey {
    role: Role,
    seed: [u8; 32],
    signing: Arc<dyn SigningKey>,
}

impl Nkey {
    pub(super) fn of_user() -> Self {
        Self::new(Role::User)
    }

    fn new(role: Role) -> Self {
        let seed: [u8; 32] = rand::random();
        // PKCS #8 of an Ed25519 key, up to its seed.
        let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        der.extend(seed);
        let signing = any_eddsa_type(&PrivatePkcs8KeyDer::from(der)).unwrap();
        Self { role, seed, signing }
    }

    pub(super) fn public(&self) -> String {
        let info = self.signing.public_key().unwrap();
        let key = &info[info.len() - 32..];
        with_checksum([&[self.role as u8], key].concat())
    }

    pub(super) fn seed(&self) -> String {
        let role = self.role as u8;
        let head = [18 << 3 | role >> 5, (role & 31) << 3];
        with_checksum([&head, &self.seed[..]].concat())
    }

    /// A token that says something of who has another key.
    fn token(&self, of: &Self, nats: &Value) -> String {
        let head = json!({"typ": "JWT", "alg": "ed25519-nkey"});
        let claims = json!({
            "iss": self.public(),
            "sub": of.public(),
            "name": "shop",
            "iat": 1_764_000_000,
            "jti": "shop",
            "nats": nats,
        });
        let base_64 = |bytes: &[u8]| in_base(bytes, 6, BASE_64_URL);
        let [head, claims] = [head, claims].map(|own| base_64(own.to_string().as_bytes()));
        let said = format!("{head}.{claims}");
        let signer = self.signing.choose_scheme(&[SignatureScheme::ED25519]).unwrap();
        let signature = base_64(&signer.sign(said.as_bytes()).unwrap());
        format!("{said}.{signature}")
    }
}

/// Writes the configuration of a server with accounts, and a file of credentials of one of its users and of a user of an account that it does not know.
pub(super) fn write(config: &Path, credentials: [&Path; 2]) {
    let [operator, system, account, stranger] =
        [Role::Operator, Role::Account, Role::Account, Role::Account].map(Nkey::new);
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1,
    });
    let with_streams = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1,
        "consumer": -1,
    });
    let of_account = |limits: &Value| json!({"limits": limits, "type": "account", "version": 2});
    let of_operator = operator.token(&operator, &json!({"type": "operator", "version": 2}));
    let text = format!(
        "operator: {of_operator}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n  {}: {}\n  {}: {}\n}}\n",
        system.public(),
        system.public(),
        operator.token(&system, &of_account(&limits)),
        account.public(),
        operator.token(&account, &of_account(&with_streams)),
    );
    std::fs::write(config, text).unwrap();
    for (account, path) in [account, stranger].iter().zip(credentials) {
        let user = Nkey::of_user();
        let said = json!({
            "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user",
            "version": 2,
        });
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            account.token(&user, &said),
            user.seed(),
        );
        std::fs::write(path, text).unwrap();
    }
}

fn with_checksum(mut bytes: Vec<u8>) -> String {
    // CRC-16/XMODEM.
    let crc = bytes.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    });
    bytes.extend(crc.to_le_bytes());
    in_base(&bytes, 5, BASE_32)
}

/// Bytes in digits of a few bits each, without padding.
fn in_base(bytes: &[u8], n_bits: usize, digits: &[u8]) -> String {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let n_digits = (bytes.len() * 8).div_ceil(n_bits);
    let digit = |place: usize| {
        let value = (0..n_bits).fold(0, |value, at| value << 1 | bit(place * n_bits + at));
        char::from(digits[usize::from(value)])
    };
    (0..n_digits).map(digit).collect()
}
