//! `capstan orb pack` and `capstan config pack`: a folder of files into one.

use std::path::{Path, PathBuf};

use capstan_config::pack::{Include, PackFile, pack};
use capstan_scm::worktree::read_limited;
use clap::Args;

use crate::exit::{Code, Failure};
use crate::project::unreadable;
use crate::render::Out;
use crate::render::neutral::one_line;
use crate::render::out::complain;

/// How many files are packed.
const MAX_FILES: usize = 10_000;
/// How deep folders are looked into.
const MAX_DEPTH: usize = 32;
/// How much text is packed, in bytes.
const MAX_BYTES: usize = 32 << 20;

/// Arguments of both.
#[derive(Args, Clone, Debug)]
pub struct PackArgs {
    /// A folder of *.yml and *.yaml files, or one such file
    #[arg(value_name = "DIR")]
    path: PathBuf,
}

/// Packs an orb, with its includes.
///
/// # Errors
/// A file cannot be read, or the files do not fit together.
pub fn orb(args: &PackArgs) -> Result<Code, Failure> {
    let (root, files) = files(&args.path)?;
    let include = |path: &str| included(&root, path);
    print(&files, Some(&include))
}

/// Packs a config, in which nothing is included.
///
/// # Errors
/// A file cannot be read, or the files do not fit together.
pub fn config(args: &PackArgs) -> Result<Code, Failure> {
    let (_, files) = files(&args.path)?;
    print(&files, None)
}

fn print(files: &[PackFile], include: Option<Include<'_>>) -> Result<Code, Failure> {
    let text = pack(files, include).map_err(|wrong| {
        for wrong in &wrong {
            complain(&format!("error: {}", one_line(wrong)));
        }
        Failure::told(Code::Config)
    })?;
    Out::new().write(text.as_bytes());
    Ok(Code::Success)
}

/// The files to pack, sorted, and the folder their includes are looked up in.
fn files(path: &Path) -> Result<(PathBuf, Vec<PackFile>), Failure> {
    let real = path
        .canonicalize()
        .map_err(|error| Failure::config(format!("cannot read {}: {error}", path.display())))?;
    if real.is_file() {
        let name = real.file_name().unwrap_or_default().to_string_lossy();
        let file = PackFile {
            path: name.into_owned(),
            text: text(&real, &path.display().to_string())?,
        };
        let root = real.parent().map_or_else(PathBuf::new, Path::to_owned);
        return Ok((root, vec![file]));
    }
    let mut walk = Walk {
        root: &real,
        files: Vec::new(),
        bytes: 0,
    };
    walk.folder(&real, "", 0)?;
    Ok((real.clone(), walk.files))
}

struct Walk<'a> {
    root: &'a Path,
    files: Vec<PackFile>,
    bytes: usize,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, below: &str, depth: usize) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(Failure::config(format!(
                "{} lies more than {MAX_DEPTH} folders deep",
                folder.display()
            )));
        }
        let failed = |error: std::io::Error| {
            Failure::config(format!("cannot read {}: {error}", folder.display()))
        };
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is no text is nothing that a key could be made of.
            if let Ok(name) = entry.file_name().into_string() {
                entries.push((name, entry.file_type().map_err(failed)?));
            }
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, kind) in entries {
            let path = folder.join(&name);
            let shown = if below.is_empty() {
                name.clone()
            } else {
                format!("{below}/{name}")
            };
            let yaml = name.ends_with(".yml") || name.ends_with(".yaml");
            match () {
                () if name.starts_with('.') => {}
                // A link to a folder is not followed: it could lead in a circle.
                () if kind.is_dir() => self.folder(&path, &shown, depth + 1)?,
                () if yaml => self.file(&path, shown)?,
                () => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, shown: String) -> Result<(), Failure> {
        let real = inside(self.root, path)
            .map_err(|why| Failure::config(format!("cannot pack {shown}: {why}")))?;
        let text = text(&real, &shown)?;
        self.bytes = self.bytes.saturating_add(text.len());
        if self.files.len() >= MAX_FILES || self.bytes > MAX_BYTES {
            return Err(Failure::config(format!(
                "there is more to pack than {MAX_FILES} files or {} MiB",
                MAX_BYTES >> 20
            )));
        }
        self.files.push(PackFile { path: shown, text });
        Ok(())
    }
}

/// The text of a file that an orb includes. What somebody else wrote must not bring other files of this
/// machine into an orb, so the path stays below the orb, links and all.
fn included(root: &Path, path: &str) -> Result<String, String> {
    if Path::new(path).is_absolute() {
        return Err(String::from("a path in an orb is relative to its folder"));
    }
    let real = inside(root, &root.join(path))?;
    text(&real, path).map_err(|failure| failure.message)
}

fn inside(root: &Path, path: &Path) -> Result<PathBuf, String> {
    let real = path.canonicalize().map_err(|error| error.to_string())?;
    if real.starts_with(root) {
        Ok(real)
    } else {
        Err(String::from("it lies outside of the packed folder"))
    }
}

/// The text of a file, bounded; `name` is the path as the person knows it.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn text(path: &Path, name: &str) -> Result<String, Failure> {
    let bytes = read_limited(path, name).map_err(|error| unreadable(&error))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::config(format!("{name} is not UTF-8 text: bad byte at offset {at}"))
            .hint("save it as UTF-8")
    })
}
