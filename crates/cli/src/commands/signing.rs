//! `keygen --signing`, `model sign`, `model verify`, and the key that `train` and `evaluate` sign by.

use std::path::Path;

use anyhow::Context as _;
use forecart_models::model_file::{SigningKey, Trust, VerifyingKey, sign_file};

use super::Context;
use crate::args::SignFlag;
use crate::failure::UsageError;
use crate::output;

/// The key that model files are signed by, where one is named. Read before anything is fitted: a key that is none should not cost an hour.
pub(super) fn key(flag: &SignFlag) -> anyhow::Result<Option<SigningKey>> {
    let key = flag.sign_key.as_deref().map(SigningKey::read).transpose();
    key.context("--sign-key")
}

/// Makes a key. No file is written over: what was signed by a lost key has to be signed again.
pub(super) fn keygen(context: &Context, path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        let message =
            format!("--out {path:?}: there is a file already, and no key is written over");
        return Err(UsageError(message).into());
    }
    let key = SigningKey::generate();
    key.write_new(path)?;
    let public = key.verifying_key();
    if context.json {
        return output::json(&serde_json::json!({
            "key_id": public.id().to_string(), "public": public.to_string(), "file": path,
        }));
    }
    output::line(&format!(
        "{public}\nis the public key {}, for serve.trusted_keys; the secret is in {}: keep it where models are trained, and a copy in a safe place",
        public.id(),
        path.display(),
    ))
}

pub(super) fn sign(context: &Context, file: &Path, key: &Path) -> anyhow::Result<()> {
    let key = SigningKey::read(key).context("--key")?;
    sign_file(file, &key)?;
    let public = key.verifying_key();
    if context.json {
        return output::json(&serde_json::json!({
            "file": file, "key_id": public.id().to_string(), "public": public.to_string(),
        }));
    }
    output::line(&format!(
        "{} is signed by {}, whose public key is {public}",
        file.display(),
        public.id()
    ))
}

pub(super) fn verify(context: &Context, file: &Path, public: &[String]) -> anyhow::Result<()> {
    let configured = context.config.serve().trusted_keys;
    let entries = if public.is_empty() { &configured } else { public };
    let keys = entries.iter().map(|entry| VerifyingKey::read_all(entry));
    let keys = keys.collect::<Result<Vec<_>, _>>().context("--public")?.concat();
    let Trust::Keys(_) = Trust::of(keys.clone()) else {
        let message = "--public KEY says whose signature is looked for, or serve.trusted_keys does";
        return Err(UsageError(message.to_owned()).into());
    };
    let key_id = Trust::of(keys).check_file(file)?;
    let key_id = key_id.map(|id| id.to_string()).unwrap_or_default();
    if context.json {
        return output::json(&serde_json::json!({"file": file, "signed_by": key_id}));
    }
    output::line(&format!("{} is signed by {key_id}, and is what was signed", file.display()))
}
