//! Where a signature stands in a file, and what it covers.
//!
//! It is the first entry of the file's `__metadata__`, always at the same place:
//!
//! ```text
//! 8 bytes of length, {"__metadata__":{"forecart-signature":"ed25519 KEY-ID SIGNATURE","forecart-model":"...
//! ```
//! The signed message is [`DOMAIN`] and the SHA-256 of the file without the digits of `SIGNATURE`. So it covers the key id, the header, the frame of
//! safetensors and every value, also what the content hash leaves out: places of tensors, blanks, how the JSON is written. Readers that know nothing
//! of signatures read the file as before.

use std::io::Read;
use std::path::Path;

use forecart_data::{DataError, storage};
use sha2::{Digest as _, Sha256};

use super::super::container;
use super::keys::{Hex, KeyId, SigningKey, VerifyingKey, from_hex};
use super::trust::Distrust;
use crate::error::ModelError;

/// What the JSON part of a model file begins with.
const BEGIN: &str = "{\"__metadata__\":{";
/// How an entry with a signature goes on.
const ENTRY: &str = "\"forecart-signature\":\"ed25519 ";
/// The end of the entry.
const END: &str = "\",";
/// Digits of a signature.
const N_DIGITS: usize = 128;

/// So that nothing else that is signed by the same key can be taken for a model file.
const DOMAIN: &[u8] = b"forecart model file, signature 1\n";

/// Bytes before the digits of the signature: of the length, the beginning, the entry, the key id and a blank.
const N_BEFORE: usize = 8 + BEGIN.len() + ENTRY.len() + KeyId::N_DIGITS + 1;
/// Bytes up to the end of the entry.
const N_HEAD: usize = N_BEFORE + N_DIGITS + END.len();

/// A signature as it stands in a file.
struct Found {
    key_id: KeyId,
    signature: [u8; 64],
}

/// The signature in the first bytes of a file; `None` if it has none.
fn found(head: &[u8]) -> Result<Option<Found>, Distrust> {
    let json = head.get(8..).unwrap_or_default();
    let Some(entry) =
        json.strip_prefix(BEGIN.as_bytes()).and_then(|own| own.strip_prefix(ENTRY.as_bytes()))
    else {
        return Ok(None);
    };
    let parts = || {
        let (key_id, rest) = entry.split_at_checked(KeyId::N_DIGITS)?;
        let (signature, rest) = rest.strip_prefix(b" ")?.split_at_checked(N_DIGITS)?;
        rest.starts_with(END.as_bytes()).then_some(())?;
        Some(Found { key_id: KeyId::from_digits(key_id)?, signature: from_hex(signature)? })
    };
    parts().map(Some).ok_or(Distrust::Illegible)
}

/// The key that a file says to be signed by, from its JSON part; nothing is verified.
pub(in super::super) fn signed_by(json: &[u8]) -> Option<KeyId> {
    let head = [&[0; 8], json.get(..N_HEAD - 8)?].concat();
    found(&head).ok().flatten().map(|own| own.key_id)
}

fn message(digest: Sha256) -> Vec<u8> {
    [DOMAIN, digest.finalize().as_slice()].concat()
}

/// Which of `keys` has signed what `file` reads; reads it to its end, in pieces.
pub(super) fn verified(
    file: &mut impl Read,
    keys: &[VerifyingKey],
) -> std::io::Result<Result<KeyId, Distrust>> {
    let mut head = Vec::with_capacity(N_HEAD);
    file.by_ref().take(N_HEAD as u64).read_to_end(&mut head)?;
    let Found { key_id, signature } = match found(&head) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Err(Distrust::Unsigned)),
        Err(illegible) => return Ok(Err(illegible)),
    };
    // Two keys may have one id, though nobody will find them.
    let mut of_id = keys.iter().filter(|key| key.id() == key_id).peekable();
    if of_id.peek().is_none() {
        return Ok(Err(Distrust::UnknownKey { key_id }));
    }
    let mut digest = Sha256::new();
    digest.update(&head[..N_BEFORE]);
    digest.update(&head[N_BEFORE + N_DIGITS..]);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => digest.update(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let message = message(digest);
    let is_signed = of_id.any(|key| key.is_of(&message, &signature));
    Ok(if is_signed { Ok(key_id) } else { Err(Distrust::Altered { key_id }) })
}

/// The bytes of a model file, signed; an older signature gives way. Otherwise nothing changes, so that the version stays what it was.
///
/// # Errors
/// [`ModelError::Damaged`] if they are not a whole model file as forecart writes it, [`ModelError::FormatVersion`].
pub(crate) fn signed(bytes: &[u8], key: &SigningKey) -> Result<Vec<u8>, ModelError> {
    container::check_whole(bytes)?;
    let (json, values) = container::split(bytes)?;
    let json = json.trim_ascii_end();
    let rest = json.strip_prefix(BEGIN.as_bytes()).ok_or_else(|| {
        ModelError::damaged("it was written by another program, which put something before its header; train it again, or copy the original")
    })?;
    let is_signed =
        found(bytes).map_err(|_| ModelError::damaged("its signature is illegible"))?.is_some();
    let rest = if is_signed { &rest[N_HEAD - 8 - BEGIN.len()..] } else { rest };
    let mut signed = vec![0; 8];
    signed.extend_from_slice(BEGIN.as_bytes());
    signed.extend_from_slice(format!("{ENTRY}{} ", key.verifying_key().id()).as_bytes());
    debug_assert_eq!(signed.len(), N_BEFORE);
    signed.extend_from_slice(&[b'0'; N_DIGITS]);
    signed.extend_from_slice(END.as_bytes());
    signed.extend_from_slice(rest);
    // Values begin at a multiple of 8, as safetensors has it.
    signed.resize(signed.len().next_multiple_of(8), b' ');
    let n_json = container::checked_json_len(signed.len() - 8)?;
    signed[..8].copy_from_slice(&n_json.to_le_bytes());
    signed.extend_from_slice(values);
    let mut digest = Sha256::new();
    digest.update(&signed[..N_BEFORE]);
    digest.update(&signed[N_BEFORE + N_DIGITS..]);
    let signature = key.sign(&message(digest));
    signed[N_BEFORE..][..N_DIGITS].copy_from_slice(Hex(&signature).to_string().as_bytes());
    Ok(signed)
}

/// Signs a model file in its place: a kill at any moment leaves the older file or the signed one.
///
/// # Errors
/// [`ModelError::Data`] if it cannot be read or written; [`ModelError::Damaged`] or [`ModelError::FormatVersion`] if it is no whole model file.
pub fn sign_file(path: &Path, key: &SigningKey) -> Result<(), ModelError> {
    let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
    let signed =
        signed(&bytes, key).map_err(|error| super::super::inspection::with_path(error, path))?;
    Ok(storage::write_file(path, &signed)?)
}
