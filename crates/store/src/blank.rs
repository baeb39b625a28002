//! A blank database that is made once and copied from then on. Making tables and indices costs more than
//! everything else that opening a new store takes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use capstan_model::Digest;
use sha2::{Digest as _, Sha256};

use crate::db;
use crate::error::StoreError;

/// Every database begins with these bytes. Its size in pages follows at byte 28, that of a page at 16.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Copies the blank database of `folder` to `file`, which does not exist, and makes the blank one first
/// if need be. Whether `file` is there now: a folder that cannot be written to, or a blank database that
/// is none, is no reason not to open a store, which then makes its own tables.
pub(crate) async fn copy(folder: &Path, file: &Path) -> bool {
    let blank = folder.join(name());
    if place(&blank, file).is_ok() {
        return true;
    }
    // Not needed any further where it cannot be made.
    make(folder, &blank).await.is_ok() && place(&blank, file).is_ok()
}

/// One name for one set of tables: another version of Capstan has another blank database.
fn name() -> String {
    let digest = Digest::of(Sha256::digest(db::INIT).into());
    format!("{}.db", digest.as_str())
}

/// Puts the blank database where the new one goes, whole or not at all.
fn place(blank: &Path, file: &Path) -> io::Result<()> {
    let bytes = fs::read(blank)?;
    if !is_whole(&bytes) {
        return Err(io::Error::other("no database"));
    }
    let next = file.with_extension("db.next");
    fs::write(&next, bytes)?;
    fs::rename(next, file)
}

/// Whether this is a database with more than its first page, all of which is here. One whose tables never
/// left its log of writes has nothing but that page.
fn is_whole(bytes: &[u8]) -> bool {
    let number = |at: usize, length: usize| {
        let bytes = bytes.get(at..at + length).unwrap_or_default();
        bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
    };
    let (page, pages) = (number(16, 2), number(28, 4));
    bytes.starts_with(MAGIC) && pages > 1 && page.checked_mul(pages) == Some(bytes.len())
}

/// Makes the blank database beside its place, then moves it there. It reaches the disk before it has its
/// name: half of one would spoil every store to come.
async fn make(folder: &Path, blank: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(folder).map_err(StoreError::io("making", folder))?;
    let next = Next(folder.join(format!("{}.{}", name(), uuid::Uuid::new_v4())));
    let mut connection = db::connect(&next.0, db::Writes::ToTheDisk).await?;
    db::create(&mut connection).await?;
    db::close(connection, db::Writes::ToTheDisk, db::Writes::ToTheDisk).await;
    let bytes = fs::read(&next.0).map_err(StoreError::io("reading", &next.0))?;
    if !is_whole(&bytes) {
        return Err(StoreError::corrupt(
            "a new database",
            "its tables are not in it",
        ));
    }
    File::open(&next.0)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::io("writing", &next.0))?;
    fs::rename(&next.0, blank).map_err(StoreError::io("making", blank))
}

/// A database being made, with what SQLite keeps beside it. Gone when dropped.
struct Next(PathBuf);

impl Drop for Next {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.0.clone().into_os_string();
            name.push(suffix);
            // After it was moved there is nothing to remove.
            let _ = fs::remove_file(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tables(file: &Path) -> Vec<String> {
        use sqlx::Row;
        let mut connection = db::connect(file, db::Writes::ToTheSystem).await.unwrap();
        let rows = sqlx::query("SELECT name FROM sqlite_master ORDER BY name")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        db::close(connection, db::Writes::ToTheSystem, db::Writes::ToTheSystem).await;
        rows.iter().map(|row| row.get(0)).collect()
    }

    #[tokio::test]
    async fn a_copy_has_the_tables_that_making_gives() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made.db");
        let mut connection = db::connect(&made, db::Writes::ToTheSystem).await.unwrap();
        db::create(&mut connection).await.unwrap();
        db::close(connection, db::Writes::ToTheSystem, db::Writes::ToTheSystem).await;
        let folder = dir.path().join("blanks");
        for copied in ["first.db", "second.db"] {
            let copied = dir.path().join(copied);
            assert!(copy(&folder, &copied).await);
            assert_eq!(tables(&copied).await, tables(&made).await);
        }
        let left: Vec<_> = fs::read_dir(&folder).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[tokio::test]
    async fn what_is_no_database_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let blank = dir.path().join(name());
        assert!(copy(dir.path(), &dir.path().join("first.db")).await);
        let whole = fs::read(&blank).unwrap();
        let mut one_page = whole[..4096].to_vec();
        one_page[28..32].copy_from_slice(&1_u32.to_be_bytes());
        let torn = [
            &b"torn"[..],
            &whole[..whole.len() - 1],
            &whole[..4096],
            &one_page,
        ];
        for (at, torn) in torn.into_iter().enumerate() {
            fs::write(&blank, torn).unwrap();
            let file = dir.path().join(format!("run{at}.db"));
            assert!(copy(dir.path(), &file).await);
            assert!(tables(&file).await.contains(&String::from("events")));
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_is_no_reason_to_fail() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("file");
        fs::write(&folder, "").unwrap();
        assert!(!copy(&folder, &dir.path().join("run.db")).await);
    }
}
