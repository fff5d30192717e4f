//! Keys of signatures, as files and lines of text.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;

use ed25519_dalek as dalek;
use ed25519_dalek::Signer as _;
use forecart_data::DataError;
use sha2::{Digest as _, Sha256};

use crate::error::ModelError;

/// What secret keys begin with, so that scanners of repositories find one that was committed.
const SECRET_PREFIX: &str = "forecart-sign-";
const PUBLIC_PREFIX: &str = "forecart-verify-";
/// Bytes of a [`KeyId`].
const N_ID_BYTES: usize = 8;

/// Which key made a signature: the first bytes of the SHA-256 of its public part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; N_ID_BYTES]);

impl KeyId {
    /// Digits of its text.
    pub(super) const N_DIGITS: usize = 2 * N_ID_BYTES;

    fn of(key: &dalek::VerifyingKey) -> Self {
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        Self(*digest.first_chunk().expect("a SHA-256 has 32 bytes"))
    }

    /// Reads the digits of [`Display`](fmt::Display), which are lower-case.
    pub(super) fn from_digits(digits: &[u8]) -> Option<Self> {
        from_hex(digits).map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// The secret that signs. Its memory is overwritten when it is dropped, and nothing prints it.
pub struct SigningKey(dalek::SigningKey);

impl SigningKey {
    /// A new key of random bytes of the system.
    ///
    /// # Panics
    /// If the system gives none, which it always does once it has started.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        rand::rand_core::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut bytes)
            .expect("the system gives random bytes");
        let key = Self(dalek::SigningKey::from_bytes(&bytes));
        wipe(&mut bytes);
        key
    }

    /// The part that verifies, which is no secret.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::new(self.0.verifying_key())
    }

    /// Writes the key to a new file that its owner alone may read.
    ///
    /// # Errors
    /// [`ModelError::Data`] if it cannot be written, also where a file is there already: no key takes the place of another.
    pub fn write_new(&self, path: &Path) -> Result<(), ModelError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(DataError::io("create", path))?;
        let mut text = format!("{SECRET_PREFIX}{}\n", Hex(self.0.as_bytes())).into_bytes();
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        wipe(&mut text);
        written.map_err(|error| {
            // Half a key is none, and would refuse the next try.
            let _ = std::fs::remove_file(path);
            DataError::io("write", path)(error).into()
        })
    }

    /// Reads the file of a key.
    ///
    /// # Errors
    /// [`ModelError::Data`] if it cannot be read, [`ModelError::Key`] if it holds no signing key.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let mut text = std::fs::read(path).map_err(DataError::io("read", path))?;
        let key = Self::from_text(text.trim_ascii());
        wipe(&mut text);
        key.ok_or_else(|| ModelError::Key {
            source_of: path.display().to_string(),
            reason: format!(
                "a signing key is {SECRET_PREFIX} and 64 digits of 0-9a-f, as `forecart keygen --signing --out FILE` writes it"
            ),
        })
    }

    fn from_text(text: &[u8]) -> Option<Self> {
        let mut bytes: [u8; 32] = from_hex(text.strip_prefix(SECRET_PREFIX.as_bytes())?)?;
        let key = Self(dalek::SigningKey::from_bytes(&bytes));
        wipe(&mut bytes);
        Some(key)
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifying_key().id())
    }
}

/// The public part of a [`SigningKey`]: `forecart-verify-` and 64 digits.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    key: dalek::VerifyingKey,
    id: KeyId,
}

impl VerifyingKey {
    fn new(key: dalek::VerifyingKey) -> Self {
        Self { id: KeyId::of(&key), key }
    }

    /// What signatures name it by.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The keys that `entry` names: one as text, or a file with one a line; lines that begin with `#` say something to people.
    ///
    /// # Errors
    /// [`ModelError::Key`] for what is no key, for a file without one, and for a secret key, which has no place here; [`ModelError::Data`] if a file
    /// cannot be read.
    pub fn read_all(entry: &str) -> Result<Vec<Self>, ModelError> {
        if entry.starts_with(PUBLIC_PREFIX) || entry.starts_with(SECRET_PREFIX) {
            return Ok(vec![entry.parse()?]);
        }
        let path = Path::new(entry);
        let text = std::fs::read_to_string(path).map_err(DataError::io("read", path))?;
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = keys.map(|line| {
            line.parse::<Self>().map_err(|error| match error {
                ModelError::Key { reason, .. } => {
                    ModelError::Key { source_of: entry.to_owned(), reason }
                }
                other => other,
            })
        });
        let keys: Vec<Self> = keys.collect::<Result<_, ModelError>>()?;
        if keys.is_empty() {
            let reason = "it holds no key; `forecart keygen --signing` prints the public key that belongs here";
            return Err(ModelError::Key { source_of: entry.to_owned(), reason: reason.to_owned() });
        }
        Ok(keys)
    }

    /// Strictly: a signature has one form alone, and a key of low order signs nothing.
    pub(super) fn is_of(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl FromStr for VerifyingKey {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let refused =
            |reason: String| ModelError::Key { source_of: "the public key".to_owned(), reason };
        if text.starts_with(SECRET_PREFIX) {
            // What was given is not repeated: messages are logged.
            let reason = "this is a signing key, which is secret and stays with who signs; here its public key is needed";
            return Err(refused(reason.to_owned()));
        }
        let bytes: Option<[u8; 32]> =
            text.strip_prefix(PUBLIC_PREFIX).and_then(|digits| from_hex(digits.as_bytes()));
        let key = bytes.and_then(|bytes| dalek::VerifyingKey::from_bytes(&bytes).ok());
        let key = key.filter(|key| !key.is_weak()).ok_or_else(|| {
            refused(format!("it is not {PUBLIC_PREFIX} and the 64 digits of an Ed25519 key"))
        })?;
        Ok(Self::new(key))
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", Hex(self.key.as_bytes()))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.id)
    }
}

/// Bytes as lower-case digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.0)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Exactly `N` bytes from lower-case digits: bytes have one text.
pub(super) fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

/// Overwrites what held a secret.
fn wipe(secret: &mut [u8]) {
    secret.fill(0);
    // So that the writing, whose result nobody reads, is not left out.
    std::hint::black_box(secret);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first test vector of RFC 8032, 7.1.
    const SECRET: &str =
        "forecart-sign-9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC: &str =
        "forecart-verify-d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn keys_and_signatures_are_those_of_ed25519() {
        let key = SigningKey::from_text(SECRET.as_bytes()).unwrap();
        let public = key.verifying_key();
        assert_eq!(public.to_string(), PUBLIC);
        assert_eq!(PUBLIC.parse::<VerifyingKey>().unwrap(), public);
        let signature = key.sign(b"");
        assert!(
            Hex(&signature)
                .to_string()
                .starts_with("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")
        );
        assert!(public.is_of(b"", &signature) && !public.is_of(b"x", &signature));
        let digest = forecart_data::storage::sha256(public.key.as_bytes());
        assert_eq!(public.id().to_string(), digest[..16]);
        assert_eq!(KeyId::from_digits(&digest.as_bytes()[..16]), Some(public.id()));
    }

    #[test]
    fn a_secret_key_is_written_once_for_its_owner_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let key = SigningKey::generate();
        key.write_new(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let read = SigningKey::read(&path).unwrap();
        assert_eq!(read.verifying_key(), key.verifying_key());
        assert!(SigningKey::generate().write_new(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let digits = text.trim().strip_prefix(SECRET_PREFIX).unwrap();
        assert!(!format!("{key:?}").contains(&digits[..8]), "{key:?}");
        // Given where a public key belongs, it is refused without being repeated.
        for error in [
            text.trim().parse::<VerifyingKey>().unwrap_err(),
            VerifyingKey::read_all(path.to_str().unwrap()).unwrap_err(),
        ] {
            assert!(!error.to_string().contains(&digits[..8]), "{error}");
            assert!(error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_in_words() {
        let upper = PUBLIC.to_uppercase().replace("FORECART-VERIFY-", PUBLIC_PREFIX);
        // A point of low order, which would take signatures that nobody made.
        let weak = format!("{PUBLIC_PREFIX}01{}", "00".repeat(31));
        for text in [&PUBLIC[..40], "forecart-verify-", &upper, &weak, &format!("{PUBLIC}0")] {
            assert!(matches!(text.parse::<VerifyingKey>(), Err(ModelError::Key { .. })), "{text}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let entry = path.to_str().unwrap();
        assert!(matches!(VerifyingKey::read_all(entry), Err(ModelError::Data(_))));
        std::fs::write(&path, "# nobody\n\n").unwrap();
        assert!(VerifyingKey::read_all(entry).unwrap_err().to_string().contains("no key"));
        std::fs::write(&path, format!("# ours\n{PUBLIC}\n\n  {PUBLIC}\r\n")).unwrap();
        assert_eq!(VerifyingKey::read_all(entry).unwrap().len(), 2);
        let error = SigningKey::read(&path).unwrap_err().to_string();
        assert!(error.contains("keygen --signing"), "{error}");
    }
}
