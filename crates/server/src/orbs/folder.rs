//! Orbs in a folder of files: `namespace/name/1.2.3.yml`, and `namespace/name/dev:label.yml`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::reference::{Release, Version};
use super::{Found, MAX_TEXT};

/// How many entries of a folder are looked at.
const MAX_ENTRIES: usize = 100_000;

/// A folder of orbs.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Takes a folder; it is looked at when an orb is asked for.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The orb of the highest version that is meant; `None` when there is none.
    ///
    /// # Errors
    /// It is there, or may be, and cannot be read.
    pub fn find(
        &self,
        namespace: &str,
        name: &str,
        version: &Version,
    ) -> Result<Option<Found>, String> {
        self.exists()?;
        let stem = match version {
            Version::Exact(_) | Version::Dev(_) => Some(version.to_string()),
            Version::Minor(..) | Version::Major(_) | Version::Volatile => self
                .releases(namespace, name)?
                .into_iter()
                .filter(|release| version.admits(*release))
                .max()
                .map(|release| release.to_string()),
        };
        let Some(stem) = stem else { return Ok(None) };
        let path = self.orb(namespace, name).join(format!("{stem}.yml"));
        let text = read(&path)?;
        Ok(text.map(|text| Found {
            exact: format!("{namespace}/{name}@{stem}"),
            text,
        }))
    }

    /// The published versions of an orb, in no order.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn releases(&self, namespace: &str, name: &str) -> Result<Vec<Release>, String> {
        self.exists()?;
        let names = names(&self.orb(namespace, name))?;
        Ok(names
            .iter()
            .filter_map(|name| name.strip_suffix(".yml")?.parse().ok())
            .collect())
    }

    /// Every orb of a namespace, or of all, as `namespace/name`, sorted.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn orbs(&self, namespace: Option<&str>) -> Result<Vec<(String, String)>, String> {
        self.exists()?;
        let namespaces = match namespace {
            Some(namespace) => vec![namespace.to_owned()],
            None => names(&self.root)?,
        };
        let mut orbs = Vec::new();
        for namespace in namespaces {
            for name in names(&self.root.join(&namespace))? {
                if self.root.join(&namespace).join(&name).is_dir() {
                    orbs.push((namespace.clone(), name));
                }
            }
        }
        orbs.sort();
        Ok(orbs)
    }

    fn exists(&self) -> Result<(), String> {
        if self.root.is_dir() {
            return Ok(());
        }
        Err(format!(
            "the orb folder {} does not exist; --orb-dir names a folder with files NAMESPACE/NAME/1.2.3.yml",
            self.root.display()
        ))
    }

    fn orb(&self, namespace: &str, name: &str) -> PathBuf {
        self.root.join(namespace).join(name)
    }
}

/// The names in a folder; none when it is not there or is no folder.
fn names(folder: &Path) -> Result<Vec<String>, String> {
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut names = Vec::new();
    for entry in entries.take(MAX_ENTRIES) {
        let entry = entry.map_err(unreadable)?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// The text of a file; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    match std::fs::metadata(path) {
        // A pipe would be waited for.
        Ok(metadata) if !metadata.is_file() => return Err(failed(&"it is no file")),
        Ok(_) => {}
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(&error)),
    }
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_TEXT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    if bytes.len() > MAX_TEXT {
        return Err(format!(
            "{} is larger than {} MiB",
            path.display(),
            MAX_TEXT >> 20
        ));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        format!(
            "{} is not UTF-8 text: bad byte at offset {}",
            path.display(),
            error.utf8_error().valid_up_to()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Folder) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let folder = Folder::new(directory.path());
        (directory, folder)
    }

    #[test]
    fn the_highest_version_that_is_meant_is_taken() {
        let (_keep, folder) = folder(&[
            ("acme/x/1.2.3.yml", b"a"),
            ("acme/x/1.10.0.yml", b"b"),
            ("acme/x/2.0.0.yml", b"c"),
            ("acme/x/README.md", b"no orb"),
            ("acme/x/3.yml", b"no version"),
            ("acme/x/dev:first.yml", b"d"),
        ]);
        let cases = [
            ("1", Some("acme/x@1.10.0")),
            ("1.2", Some("acme/x@1.2.3")),
            ("volatile", Some("acme/x@2.0.0")),
            ("2.0.0", Some("acme/x@2.0.0")),
            ("dev:first", Some("acme/x@dev:first")),
            ("dev:second", None),
            ("3", None),
            ("1.2.4", None),
        ];
        for (version, exact) in cases {
            let found = folder.find("acme", "x", &version.parse().unwrap()).unwrap();
            assert_eq!(
                found.map(|found| found.exact).as_deref(),
                exact,
                "{version}"
            );
        }
        assert!(
            folder
                .find("acme", "y", &Version::Volatile)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn what_is_no_text_or_too_long_is_said() {
        let long = vec![b'x'; MAX_TEXT + 1];
        let (keep, folder) = folder(&[("acme/x/1.0.0.yml", b"\xff"), ("acme/x/2.0.0.yml", &long)]);
        let error = |version: &str| {
            folder
                .find("acme", "x", &version.parse().unwrap())
                .unwrap_err()
        };
        assert!(error("1.0.0").contains("not UTF-8"), "{}", error("1.0.0"));
        assert!(error("2.0.0").contains("4 MiB"), "{}", error("2.0.0"));
        std::fs::create_dir(keep.path().join("acme/x/3.0.0.yml")).unwrap();
        assert!(error("3.0.0").contains("it is no file"));
        drop(keep);
        assert!(error("1.0.0").contains("does not exist"));
        assert!(folder.orbs(None).unwrap_err().contains("does not exist"));
    }
}
