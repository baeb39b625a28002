//! Content by its SHA-256: sources and plans. Written beside, then renamed; checked when read.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use capstan_model::Digest;
use sha2::{Digest as _, Sha256};

use crate::error::StoreError;

/// All blobs of a store.
pub struct Blobs {
    dir: PathBuf,
    next: AtomicU64,
}

/// A blob being written. Dropped before [`BlobWriter::finish`], it leaves nothing.
pub struct BlobWriter {
    dir: PathBuf,
    temporary: PathBuf,
    file: File,
    hasher: Sha256,
}

/// Reads a blob and compares its digest at the end.
pub struct BlobReader {
    digest: Digest,
    file: File,
    hasher: Sha256,
}

impl Blobs {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            next: AtomicU64::new(0),
        }
    }

    /// Removes what a killed process was still writing.
    pub(crate) fn sweep(&self) -> Result<(), StoreError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("reading", &self.dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::io("reading", &self.dir))?;
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(b"writing-")
            {
                fs::remove_file(entry.path()).map_err(StoreError::io("removing", entry.path()))?;
            }
        }
        Ok(())
    }

    /// Waits until every blob is on the disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(StoreError::io("reading", &self.dir))?,
        };
        for entry in entries {
            let path = entry.map_err(StoreError::io("reading", &self.dir))?.path();
            sync_path(&path)?;
        }
        sync_path(&self.dir)
    }

    /// Stores bytes.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let mut writer = self.writer()?;
        writer.write(bytes)?;
        writer.finish()
    }

    /// Begins a blob that comes in parts.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        // The instance lock makes a counter enough to be alone.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!("writing-{number}"));
        let file = File::create(&temporary).or_else(|error| {
            if error.kind() != std::io::ErrorKind::NotFound {
                return Err(error);
            }
            fs::create_dir_all(&self.dir)?;
            File::create(&temporary)
        });
        let file = file.map_err(StoreError::io("making", &temporary))?;
        Ok(BlobWriter {
            dir: self.dir.clone(),
            temporary,
            file,
            hasher: Sha256::new(),
        })
    }

    /// Opens a blob for reading in parts.
    pub fn open(&self, digest: &Digest) -> Result<BlobReader, StoreError> {
        let path = self.dir.join(digest.as_str());
        let file = File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::NoBlob(digest.clone()),
            _ => StoreError::io("opening", path)(error),
        })?;
        Ok(BlobReader {
            digest: digest.clone(),
            file,
            hasher: Sha256::new(),
        })
    }

    /// A whole blob.
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let mut reader = self.open(digest)?;
        let mut bytes = Vec::new();
        while let Some(part) = reader.read(1 << 20)? {
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }
}

impl BlobWriter {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(StoreError::io("writing", &self.temporary))
    }

    /// Puts the blob in its place and returns its address.
    pub fn finish(self) -> Result<Digest, StoreError> {
        // A run directory is not synced to the disk: the rename is atomic for every process, and after
        // a loss of power the digest tells a torn blob from a whole one.
        let digest = digest_of(self.hasher.clone())?;
        let path = self.dir.join(digest.as_str());
        fs::rename(&self.temporary, &path).map_err(StoreError::io("renaming to", path))?;
        Ok(digest)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name; before it, the next sweep takes what stays.
        let _ = fs::remove_file(Path::new(&self.temporary));
    }
}

impl BlobReader {
    /// The next part, at most `max` bytes; `None` after the last. The whole was right only when `None`
    /// has come.
    pub fn read(&mut self, max: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let mut bytes = Vec::new();
        (&self.file)
            .take(max as u64)
            .read_to_end(&mut bytes)
            .map_err(StoreError::io("reading blob", self.digest.as_str()))?;
        if !bytes.is_empty() {
            self.hasher.update(&bytes);
            return Ok(Some(bytes));
        }
        let found = digest_of(self.hasher.clone())?;
        if found == self.digest {
            Ok(None)
        } else {
            Err(StoreError::corrupt(
                format!("blob {}", self.digest),
                "its content has changed",
            ))
        }
    }
}

fn digest_of(hasher: Sha256) -> Result<Digest, StoreError> {
    use std::fmt::Write;
    let mut text = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Digest::try_from(text).map_err(|error| StoreError::corrupt("a digest", error))
}

/// The address that bytes have.
pub fn digest(bytes: &[u8]) -> Digest {
    match digest_of(Sha256::new_with_prefix(bytes)) {
        Ok(digest) => digest,
        Err(_) => unreachable!("a SHA-256 always has 64 hex digits"),
    }
}
/// Waits until a file, or the names in a folder, are on the disk.
pub(crate) fn sync_path(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::io("writing", path))
}
