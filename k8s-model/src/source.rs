//! Files and directories to manifests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::{Decoder, Manifests, Stranger};
use crate::error::{InputError, InputErrors};
use crate::yaml::Limits;

/// Files of one directory tree; more are refused.
const MAX_FILES: usize = 100_000;
/// Directories inside one another; deeper ones are refused.
const MAX_DIRECTORIES_DEEP: usize = 32;

/// Reads manifests from files and directories, in the order given.
///
/// Directories are read with all below them, sorted by name, `.yaml`, `.yml` and `.json` only; one without any such
/// file is an error. All errors of all files are reported together.
pub fn load_paths(paths: &[PathBuf]) -> Result<Manifests, InputErrors> {
    let limits = Limits::default();
    let mut decoder = Decoder::default();
    for path in paths {
        let stranger = if path.is_dir() { Stranger::Warn } else { Stranger::Refuse };
        match manifest_files(path) {
            Ok(files) => {
                for file in files {
                    match read_file(&file, limits) {
                        Ok(text) => decoder.read(&Arc::from(file.to_string_lossy()), &text, limits, stranger),
                        Err(error) => decoder.errors.push(error),
                    }
                }
            }
            Err(error) => decoder.errors.push(error),
        }
    }
    finish(decoder)
}

/// Reads manifests from text, under the name of a file.
pub fn load_text(file: &str, text: &str) -> Result<Manifests, InputErrors> {
    let mut decoder = Decoder::default();
    decoder.read(&Arc::from(file), text, Limits::default(), Stranger::Refuse);
    finish(decoder)
}

fn finish(decoder: Decoder) -> Result<Manifests, InputErrors> {
    if decoder.errors.is_empty() { Ok(decoder.manifests) } else { Err(InputErrors(decoder.errors)) }
}

/// The manifest files that a path stands for: itself, or those below it.
pub fn manifest_files(path: &Path) -> Result<Vec<PathBuf>, InputError> {
    let name = path.to_string_lossy();
    let metadata = fs::metadata(path)
        .map_err(|error| InputError::whole(&*name, format!("cannot be read: {}", reason(&error))).help("is the path right?"))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    walk(path, 0, &mut files)?;
    if files.is_empty() {
        let error = InputError::whole(&*name, "the directory holds no manifest");
        return Err(error.help("files that end in .yaml, .yml or .json are read, in directories below too"));
    }
    Ok(files)
}

fn walk(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), InputError> {
    let name = directory.to_string_lossy();
    if depth > MAX_DIRECTORIES_DEEP {
        return Err(InputError::whole(&*name, format!("directories are more than {MAX_DIRECTORIES_DEEP} deep")));
    }
    let cannot = |error: std::io::Error| InputError::whole(&*name, format!("cannot be read: {}", reason(&error)));
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(cannot)? {
        entries.push(entry.map_err(cannot)?.path());
    }
    entries.sort();
    for path in entries {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json") {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(InputError::whole(&*name, format!("more than {MAX_FILES} files")));
        }
    }
    Ok(())
}

fn read_file(path: &Path, limits: Limits) -> Result<String, InputError> {
    let name = path.to_string_lossy();
    let cannot = |error: std::io::Error| InputError::whole(&*name, format!("cannot be read: {}", reason(&error)));
    let size = fs::metadata(path).map_err(cannot)?.len();
    if size > limits.bytes {
        let message = format!("the file has {size} bytes, more than the limit of {}", limits.bytes);
        return Err(InputError::whole(&*name, message));
    }
    let bytes = fs::read(path).map_err(cannot)?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
        InputError::whole(&*name, format!("line {line} is not UTF-8 text"))
    })
}

/// The reason in the system's words, without its number.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
