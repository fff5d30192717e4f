//! Writes an intent table, text by text.

use std::path::Path;

use super::manifest::{FORMAT, FORMAT_VERSION, IntentCounts, IntentDescription, IntentManifest};
use crate::background::{BackgroundFile, WrittenFile};
use crate::error::DataError;
use crate::folder::{self, FileEntry, Files};
use crate::split::Part;
use crate::storage::Replacement;
use crate::texts::TextTable;

/// Streams an intent table into a temporary folder and puts it in place at the end.
#[derive(Debug)]
pub struct IntentWriter {
    replacement: Replacement,
    intents: TextTable,
    texts: BackgroundFile,
    ends: BackgroundFile,
    labels: BackgroundFile,
    parts: BackgroundFile,
    n_bytes: u64,
    counts: [IntentCounts; 3],
}

impl IntentWriter {
    /// Starts a table of these intents that will stand in `folder`.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] unless the names ascend, [`DataError::Io`] if the files cannot be made.
    pub fn new(folder: &Path, intents: TextTable) -> Result<Self, DataError> {
        if !intents.iter().collect::<Vec<_>>().is_sorted_by(|a, b| a < b) {
            return Err(DataError::Inconsistent { reason: "the intents do not ascend".into() });
        }
        let replacement = Replacement::folder(folder)?;
        let file = |name: &str| BackgroundFile::create(&replacement.path().join(name), true);
        Ok(Self {
            texts: file("texts.u8")?,
            ends: file("ends.u64")?,
            labels: file("labels.u32")?,
            parts: file("parts.u8")?,
            intents,
            n_bytes: 0,
            counts: Default::default(),
            replacement,
        })
    }

    /// Adds a clean text; `label` is a place in the intents, `None` for none of them.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] for a label that is no intent, [`DataError::Io`].
    pub fn push(&mut self, text: &str, label: Option<u32>, part: Part) -> Result<(), DataError> {
        if label.is_some_and(|label| label as usize >= self.intents.len()) {
            let reason = format!("a label is not one of {} intents", self.intents.len());
            return Err(DataError::Inconsistent { reason });
        }
        let part = match part {
            Part::Train => 0,
            Part::Validation => 1,
            Part::Test => 2,
        };
        self.n_bytes += text.len() as u64;
        self.texts.push(text.as_bytes())?;
        self.ends.push(&[self.n_bytes])?;
        self.labels.push(&[label.map_or(0, |label| label + 1)])?;
        self.parts.push(&[part as u8])?;
        self.counts[part].n_texts += 1;
        self.counts[part].n_out_of_scope += u64::from(label.is_none());
        Ok(())
    }

    /// Writes names and manifest, syncs, and puts the folder in place of an older one.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn finish(self, description: IntentDescription) -> Result<IntentManifest, DataError> {
        let Self { replacement, intents, texts, ends, labels, parts, counts, .. } = self;
        let root = replacement.path().to_owned();
        let mut files = Files::new();
        for (name, file) in
            [("texts.u8", texts), ("ends.u64", ends), ("labels.u32", labels), ("parts.u8", parts)]
        {
            let WrittenFile { n_bytes, sha256 } = file.finish()?;
            let entry = FileEntry { n_bytes, sha256: sha256.unwrap_or_default() };
            files.insert(name.to_owned(), entry);
        }
        folder::write(&root, "intents.texts", &intents.to_bytes(), &mut files)?;
        let manifest = IntentManifest {
            format: FORMAT.into(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").into(),
            content_hash: folder::content_hash(&files),
            n_intents: intents.len() as u64,
            parts: counts,
            description,
            files,
        };
        folder::write_manifest(&root, &manifest)?;
        replacement.commit()?;
        Ok(manifest)
    }
}
