//! Signatures of model files: by which keys they are made ([`keys`]), where they stand and what they cover ([`signature`]), and who is believed
//! ([`trust`]).
//!
//! A signature is Ed25519 over the SHA-256 of all bytes of the file but its own digits. It says that the holder of a key wrote this file; the content
//! hash, which anybody can compute, says that it is whole.

mod keys;
mod signature;
mod trust;

pub use keys::{KeyId, SigningKey, VerifyingKey};
pub use signature::sign_file;
pub(crate) use signature::signed;
pub(super) use signature::signed_by;
pub use trust::{Distrust, Trust};
