//! Which files an import reads.

use std::fs;
use std::path::{Path, PathBuf};

use crate::PrepareError;
use crate::error::Place;

/// Files of events, and tables that stand beside them.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) events: Vec<PathBuf>,
    pub(crate) items: Vec<PathBuf>,
    pub(crate) users: Vec<PathBuf>,
    pub(crate) decisions: Vec<String>,
}

const EXTENSIONS: &[&str] =
    &["csv", "tsv", "txt", "dat", "json", "jsonl", "ndjson", "parquet", "pq", "inter"];

/// Files as given; of folders, the files with a data file's name, in order of their names.
pub(crate) fn find(paths: &[PathBuf]) -> Result<Inputs, PrepareError> {
    let mut inputs = Inputs::default();
    for path in paths {
        let metadata = fs::metadata(path).map_err(PrepareError::io("read", path))?;
        if metadata.is_dir() {
            let n_before = inputs.events.len();
            add_folder(path, &mut inputs)?;
            if inputs.events.len() == n_before {
                let reason = "the folder holds no data file";
                let fix = format!("data files end in {} (also .gz, .zst)", EXTENSIONS.join(", "));
                return Err(PrepareError::input(Place::file(path), reason, fix));
            }
        } else {
            inputs.events.push(path.clone());
        }
    }
    if inputs.events.is_empty() {
        return Err(PrepareError::config("inputs", "give at least one file or folder"));
    }
    for path in &inputs.events {
        if extension(path).as_deref() == Some("inter") {
            add_beside(path, "item", &mut inputs.items);
            add_beside(path, "user", &mut inputs.users);
        }
    }
    Ok(inputs)
}

/// RecBole's table `data.item` of a file `data.inter`, or of a part of it such as `data.train.inter`; each
/// may be compressed.
fn add_beside(inter: &Path, kind: &str, to: &mut Vec<PathBuf>) {
    let name = super::super::import::file_name(inter);
    let stem = name.rsplit_once(".inter").map_or(name.as_str(), |(stem, _)| stem);
    let stems = [stem, stem.split('.').next().unwrap_or(stem)];
    let names = stems.iter().flat_map(|stem| {
        ["", ".gz", ".zst"].map(|packed| inter.with_file_name(format!("{stem}.{kind}{packed}")))
    });
    if let Some(found) = names.into_iter().find(|path| path.is_file())
        && !to.contains(&found)
    {
        to.push(found);
    }
}

fn add_folder(folder: &Path, inputs: &mut Inputs) -> Result<(), PrepareError> {
    let entries = fs::read_dir(folder).map_err(PrepareError::io("read", folder))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(PrepareError::io("read", folder))?;
    paths.sort();
    for path in paths {
        let name = super::super::import::file_name(&path);
        if name.starts_with(['.', '_']) {
            continue;
        }
        if path.is_dir() {
            add_folder(&path, inputs)?;
        } else if extension(&path).is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
            inputs.events.push(path);
        } else if !matches!(extension(&path).as_deref(), Some("item" | "user")) {
            inputs.decisions.push(format!("{name} is not read: no data file by its name"));
        }
    }
    Ok(())
}

/// What a name ends in, without a compression's ending.
fn extension(path: &Path) -> Option<String> {
    let of = |path: &Path| Some(path.extension()?.to_str()?.to_ascii_lowercase());
    match of(path)?.as_str() {
        "gz" | "zst" => of(Path::new(path.file_stem()?)),
        other => Some(other.to_owned()),
    }
}
