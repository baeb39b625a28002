//! Orbs that were fetched, on disk.
//!
//! `blobs/<sha256>` holds texts; `refs/<sha256 of registry and reference>` says, as JSON, which text a
//! reference led to at a registry. Both are written beside and renamed into place, so that two processes
//! may share the directory; a text is checked against its name whenever it is read, and one that does
//! not match counts as absent.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use capstan_store::blobs::digest;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Found;
use super::folder::read;

/// Fetched orbs.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
}

/// What a reference led to.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    registry: String,
    reference: String,
    exact: String,
    digest: String,
    fetched_at_ms: u64,
}

/// What the cache holds of a reference.
#[derive(Debug)]
pub enum Cached {
    /// Nothing.
    Absent,
    /// Something that is no longer what was written.
    Damaged,
    /// The orb, and how long ago it was fetched.
    Found(Found, Duration),
}

impl Cache {
    /// Takes a directory; it is made when something is to be kept.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// What was kept for a reference of a registry.
    pub fn get(&self, registry: &str, reference: &str) -> Cached {
        let entry = match read(&self.entry(registry, reference)) {
            Ok(Some(text)) => text,
            Ok(None) => return Cached::Absent,
            Err(_) => return Cached::Damaged,
        };
        let Ok(entry) = serde_json::from_str::<Entry>(&entry) else {
            return Cached::Damaged;
        };
        let meant = entry.registry == registry && entry.reference == reference;
        // A digest is used as a file name: nothing but one may be.
        let named = entry.digest.len() == 64 && entry.digest.bytes().all(|b| b.is_ascii_hexdigit());
        if !meant || !named {
            return Cached::Damaged;
        }
        match read(&self.directory.join("blobs").join(&entry.digest)) {
            Ok(Some(text)) if digest(text.as_bytes()).as_str() == entry.digest => Cached::Found(
                Found {
                    exact: entry.exact,
                    text,
                },
                // One from the future says nothing of its age.
                now_ms()
                    .checked_sub(entry.fetched_at_ms)
                    .map_or(Duration::MAX, Duration::from_millis),
            ),
            _ => Cached::Damaged,
        }
    }

    /// Keeps what a reference of a registry led to.
    ///
    /// # Errors
    /// The disk refuses; nothing that was there before is lost.
    pub fn put(&self, registry: &str, reference: &str, found: &Found) -> std::io::Result<()> {
        let digest = digest(found.text.as_bytes());
        let entry = Entry {
            registry: registry.to_owned(),
            reference: reference.to_owned(),
            exact: found.exact.clone(),
            digest: digest.as_str().to_owned(),
            fetched_at_ms: now_ms(),
        };
        let blob = self.directory.join("blobs").join(digest.as_str());
        write(&blob, found.text.as_bytes())?;
        // Only now may anything point to it.
        write(
            &self.entry(registry, reference),
            &serde_json::to_vec(&entry)?,
        )
    }

    fn entry(&self, registry: &str, reference: &str) -> PathBuf {
        let key = digest(format!("{registry}\n{reference}").as_bytes());
        self.directory.join("refs").join(key.as_str())
    }
}

/// Writes a file whole or not at all, whoever else writes it, and whenever the power goes.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)?;
    let temporary = parent.join(format!(".writing-{}", Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = File::create_new(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(parent)?.sync_all()
    })();
    if written.is_err() {
        // After the rename there is nothing of this name.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orb(text: &str) -> Found {
        Found {
            exact: String::from("acme/x@1.0.0"),
            text: text.to_owned(),
        }
    }

    fn text(cached: Cached) -> Option<String> {
        match cached {
            Cached::Found(found, age) => {
                assert!(age < Duration::from_secs(60));
                Some(found.text)
            }
            Cached::Absent | Cached::Damaged => None,
        }
    }

    #[test]
    fn each_registry_has_its_own_orbs() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("not/made/yet"));
        assert!(matches!(cache.get("r", "acme/x@1"), Cached::Absent));
        cache.put("r", "acme/x@1", &orb("one")).unwrap();
        cache.put("s", "acme/x@1", &orb("two")).unwrap();
        assert_eq!(text(cache.get("r", "acme/x@1")).as_deref(), Some("one"));
        assert_eq!(text(cache.get("s", "acme/x@1")).as_deref(), Some("two"));
        assert_eq!(text(cache.get("r", "acme/x@2")), None);
        cache.put("r", "acme/x@1", &orb("three")).unwrap();
        assert_eq!(text(cache.get("r", "acme/x@1")).as_deref(), Some("three"));
    }

    #[test]
    fn a_changed_text_or_entry_is_never_used() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path());
        cache.put("r", "acme/x@1", &orb("one")).unwrap();
        let blob = directory.path().join("blobs").join(digest(b"one").as_str());
        for broken in [&b"One"[..], b"", b"\xff"] {
            fs::write(&blob, broken).unwrap();
            assert!(matches!(cache.get("r", "acme/x@1"), Cached::Damaged));
        }
        fs::remove_file(&blob).unwrap();
        assert!(matches!(cache.get("r", "acme/x@1"), Cached::Damaged));
        cache.put("r", "acme/x@1", &orb("one")).unwrap();
        assert_eq!(text(cache.get("r", "acme/x@1")).as_deref(), Some("one"));

        let entry = cache.entry("r", "acme/x@1");
        let good = fs::read_to_string(&entry).unwrap();
        let elsewhere = good.replace(digest(b"one").as_str(), "../../../etc/passwd");
        for broken in [
            elsewhere.as_str(),
            "{",
            "{}",
            &good.replace("acme/x@1\"", "acme/y@1\""),
        ] {
            fs::write(&entry, broken).unwrap();
            assert!(
                matches!(cache.get("r", "acme/x@1"), Cached::Damaged),
                "{broken}"
            );
        }
    }

    #[test]
    fn writers_at_the_same_time_leave_one_whole_orb_and_no_rest() {
        let directory = tempfile::tempdir().unwrap();
        let texts: Vec<String> = (0..4).map(|n| format!("{n}").repeat(50_000)).collect();
        std::thread::scope(|scope| {
            for text in &texts {
                let cache = Cache::new(directory.path());
                scope.spawn(move || {
                    for _ in 0..20 {
                        cache.put("r", "acme/x@1", &orb(text)).unwrap();
                        let read = super::tests::text(cache.get("r", "acme/x@1"));
                        // Whoever wrote last: it is whole.
                        assert!(read.is_some_and(|read| read.len() == 50_000));
                    }
                });
            }
        });
        for folder in ["blobs", "refs"] {
            for entry in fs::read_dir(directory.path().join(folder)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert_eq!(name.len(), 64, "{name}");
            }
        }
    }
}
