//! Rows, logs and blobs. One directory is one store: `run.db`, `logs/`, `blobs/`. SQL stays in here.
//!
//! What is stored of a pipeline is its events; the rows are a cache of them, which [`Store::check`]
//! proves. An event goes in with the rows it touched and the effects it asked for as one [`Unit`].

mod blank;
pub mod blobs;
mod db;
mod error;
pub mod logs;
mod network;
mod read;
mod replay;
mod script;
mod unit;
mod writer;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::AnyConnection;
use tokio::sync::{mpsc, oneshot};

pub use blobs::Blobs;
pub use db::Writes;
pub use error::StoreError;
pub use logs::Logs;
pub use read::StoredEvent;
pub use replay::Replayed;
pub use unit::{Committed, StepRow, Telemetry, Unit};

use writer::Command;

/// A store. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    file: PathBuf,
    fresh: bool,
    writes: Writes,
    writer: mpsc::Sender<Command>,
    reader: tokio::sync::Mutex<Option<AnyConnection>>,
    logs: Logs,
    blobs: Blobs,
    /// Held, never used: the lock ends with it, or with `close`.
    lock: std::sync::Mutex<Option<File>>,
}

impl Store {
    /// Opens the store of a directory, which is made when absent. With a folder for a blank database,
    /// which many stores may share, a new store begins as a copy of that.
    ///
    /// # Errors
    /// Another process holds it, a newer program wrote it, or the system refuses.
    pub async fn open(
        dir: &Path,
        writes: Writes,
        blanks: Option<&Path>,
    ) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("making", dir))?;
        let lock = lock(dir)?;
        let file = dir.join("run.db");
        let fresh = !file.exists();
        let copied = match blanks {
            Some(blanks) if fresh => blank::copy(blanks, &file).await,
            _ => false,
        };
        // What is there already does not become less safe by being opened.
        let writes = match fresh {
            true => writes,
            false => Writes::ToTheDisk,
        };
        let mut connection = db::connect(&file, writes).await?;
        let blobs = Blobs::new(dir.join("blobs"));
        if fresh && !copied {
            db::create(&mut connection).await?;
        } else if !fresh {
            match db::schema(&mut connection).await? {
                // Killed before the tables were made.
                None => db::create(&mut connection).await?,
                Some(found) if found > db::SCHEMA => {
                    return Err(StoreError::NewerSchema {
                        dir: dir.to_owned(),
                        found,
                        known: db::SCHEMA,
                    });
                }
                Some(_) => {}
            }
            blobs.sweep()?;
        }
        let (writer, commands) = mpsc::channel(1024);
        tokio::spawn(writer::run(connection, writes, commands));
        Ok(Self {
            inner: Arc::new(Inner {
                file,
                fresh,
                writes,
                writer,
                reader: tokio::sync::Mutex::new(None),
                logs: Logs::new(dir.join("logs")),
                blobs,
                lock: std::sync::Mutex::new(Some(lock)),
            }),
        })
    }

    /// Whether the directory held no store before.
    pub fn is_fresh(&self) -> bool {
        self.inner.fresh
    }

    /// The logs.
    pub fn logs(&self) -> &Logs {
        &self.inner.logs
    }

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// Stores a unit, whole or not at all; answered when it is stored.
    pub async fn commit_unit(&self, unit: Unit) -> Result<Committed, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Unit(Box::new(unit), reply)).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Hands over telemetry. It is stored with the next unit, or shortly.
    pub async fn telemetry(&self, items: Vec<Telemetry>) -> Result<(), StoreError> {
        self.send(Command::Telemetry(items)).await
    }

    /// Waits until everything handed over so far is stored.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Flush(reply)).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Writes what is pending and closes the database. Later writes are refused.
    pub async fn close(&self, writes: Writes) -> Result<(), StoreError> {
        let writes = writes.max(self.inner.writes);
        if let Some(connection) = self.inner.reader.lock().await.take() {
            db::close(connection, Writes::ToTheSystem, writes).await;
        }
        let (reply, answer) = oneshot::channel();
        self.send(Command::Close(writes, reply)).await?;
        let mut closed = answer.await.map_err(|_| StoreError::Closed)?;
        if writes == Writes::ToTheDisk {
            // What the rows speak of goes along: plans and sources, and the names of all of it.
            closed = closed.and(self.inner.blobs.sync()).and_then(|()| {
                let dir = self.inner.file.parent().unwrap_or(&self.inner.file);
                blobs::sync_path(dir)?;
                dir.parent().map_or(Ok(()), blobs::sync_path)
            });
        }
        // Somebody may hold a clone for a while yet; the directory is free now.
        drop(
            self.inner
                .lock
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .take(),
        );
        closed
    }

    async fn send(&self, command: Command) -> Result<(), StoreError> {
        self.inner
            .writer
            .send(command)
            .await
            .map_err(|_| StoreError::Closed)
    }
}

/// Takes the instance lock, that of the directory itself, which the system frees with the process, however
/// it ends.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let directory = File::open(dir).map_err(StoreError::io("opening", dir))?;
    if network::holds(&directory) {
        return Err(StoreError::Network {
            dir: dir.to_owned(),
        });
    }
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked {
            dir: dir.to_owned(),
            holder: holder(&directory).map_or_else(
                || String::from("another process"),
                |id| format!("process {id}"),
            ),
        }),
        Err(fs::TryLockError::Error(error)) => Err(StoreError::io("locking", dir)(error)),
    }
}

/// Who holds the lock of a directory. It is told for people, where the system lists its locks: one a line,
/// `1: FLOCK ADVISORY WRITE 4711 fe:00:246951 0 EOF`.
fn holder(directory: &File) -> Option<String> {
    let found = directory.metadata().ok()?;
    let (device, inode) = (found.dev(), found.ino());
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let here = format!("{major:02x}:{minor:02x}:{inode}");
    let inode = format!(":{inode}");
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let by = |is_it: &dyn Fn(&str) -> bool| {
        locks.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let is_lock = words.nth(1)? == "FLOCK";
            let id = words.nth(2)?;
            (is_lock && is_it(words.next()?)).then(|| id.to_owned())
        })
    };
    // Some file systems tell another device here than there.
    by(&|place| place == here).or_else(|| by(&|place| place.ends_with(&inode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn synchronous(file: &Path, writes: Writes) -> i64 {
        use sqlx::Row;
        let mut connection = db::connect(file, writes).await.unwrap();
        let row = sqlx::query("PRAGMA synchronous")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        db::close(connection, writes, writes).await;
        row.get(0)
    }

    #[tokio::test]
    async fn only_a_new_store_may_leave_its_writes_to_the_system() {
        let dir = tempfile::tempdir().unwrap();
        for expected in [Writes::ToTheSystem, Writes::ToTheDisk] {
            let store = Store::open(dir.path(), Writes::ToTheSystem, None)
                .await
                .unwrap();
            assert_eq!(store.inner.writes, expected);
            store.close(Writes::ToTheSystem).await.unwrap();
        }
        let file = dir.path().join("run.db");
        assert_eq!(synchronous(&file, Writes::ToTheSystem).await, 0, "OFF");
        assert_eq!(synchronous(&file, Writes::ToTheDisk).await, 2, "FULL");
    }

    #[tokio::test]
    async fn a_store_in_use_is_refused_and_says_by_whom() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), Writes::ToTheSystem, None);
        let store = open().await.unwrap();
        let Err(error @ StoreError::Locked { .. }) = open().await else {
            panic!("opened twice");
        };
        if Path::new("/proc/locks").exists() {
            let holder = format!("in use by process {};", std::process::id());
            assert!(error.to_string().contains(&holder), "{error}");
        }
        store.close(Writes::ToTheSystem).await.unwrap();
        open().await.unwrap();
    }
}
