//! The only file that knows which database it is.

use std::path::Path;
use std::str::FromStr;

use sqlx::AnyConnection;
use sqlx::any::{AnyConnectOptions, AnyRow};
use sqlx::{ConnectOptions, Connection};

use crate::error::StoreError;

/// The schema this program writes.
pub(crate) const SCHEMA: i64 = 1;

pub(crate) const INIT: &str = include_str!("migrations/0001_init.sql");

/// Takes the write lock at once, so that a transaction never fails half-way for want of it.
pub(crate) const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";

/// How far what is written goes before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writes {
    /// To the system, which writes it within the minute. It outlives every process, and is for the record
    /// of a new run on a laptop: the run itself does not outlive a loss of power either.
    ToTheSystem,
    /// To the disk: it outlives a loss of power.
    ToTheDisk,
}

impl Writes {
    fn pragma(self) -> &'static str {
        match self {
            Self::ToTheDisk => "PRAGMA synchronous=FULL",
            Self::ToTheSystem => "PRAGMA synchronous=OFF",
        }
    }
}

pub(crate) fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| StoreError::Database {
        what,
        cause: error.to_string(),
    }
}

/// Opens a connection to the file of a run directory.
pub(crate) async fn connect(file: &Path, writes: Writes) -> Result<AnyConnection, StoreError> {
    sqlx::any::install_default_drivers();
    let options = AnyConnectOptions::from_str(&url(file)?)
        .map_err(database("reading the database's address"))?;
    let mut connection = options
        .connect()
        .await
        .map_err(database("opening the database"))?;
    // What a savepoint needs to be undone stays in memory, and the log of writes may grow to 16 MiB before
    // it is worked into the database.
    let setup = format!(
        "SELECT sqlite_version(); {}; PRAGMA busy_timeout=5000; PRAGMA foreign_keys=ON; \
         PRAGMA trusted_schema=OFF; \
         PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=4000;",
        writes.pragma()
    );
    let answers = sqlx::raw_sql(sqlx::AssertSqlSafe(setup))
        .fetch_all(&mut connection)
        .await
        .map_err(database("setting up the database"))?;
    check_version(answers.first())?;
    Ok(connection)
}

/// Makes the tables of a new database.
pub(crate) async fn create(connection: &mut AnyConnection) -> Result<(), StoreError> {
    // One batch in one transaction: a run starts in milliseconds, and a kill in between leaves nothing.
    let batch = format!("PRAGMA journal_mode=WAL; {BEGIN_WRITE};\n{INIT}\nCOMMIT;");
    sqlx::raw_sql(sqlx::AssertSqlSafe(batch))
        .execute(connection)
        .await
        .map_err(database("making the tables"))?;
    Ok(())
}

/// The schema of an existing database; `None` when its tables were never made.
pub(crate) async fn schema(connection: &mut AnyConnection) -> Result<Option<i64>, StoreError> {
    use sqlx::Row;
    let made = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'meta'")
        .fetch_optional(&mut *connection)
        .await
        .map_err(database("reading the schema"))?;
    if made.is_none() {
        return Ok(None);
    }
    let row = sqlx::query("SELECT value FROM meta WHERE key = 'schema'")
        .fetch_one(connection)
        .await
        .map_err(database("reading the schema version"))?;
    let text: String = row
        .try_get(0)
        .map_err(database("reading the schema version"))?;
    text.parse()
        .map(Some)
        .map_err(|error| StoreError::corrupt("the schema version", error))
}

/// Refuses a SQLite older than the one that mended a data loss in WAL mode.
fn check_version(answer: Option<&AnyRow>) -> Result<(), StoreError> {
    use sqlx::Row;
    let text: String = answer
        .ok_or(sqlx::Error::RowNotFound)
        .and_then(|row| row.try_get(0))
        .map_err(database("asking SQLite for its version"))?;
    let parts: Vec<u32> = text
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect();
    if parts.as_slice() < [3, 51, 3].as_slice() {
        return Err(StoreError::Database {
            what: "checking SQLite",
            cause: format!("version {text} can lose data in WAL mode; 3.51.3 or newer is needed"),
        });
    }
    Ok(())
}

/// Closes a connection that was opened with `writes`. The last connection works the log of writes into the
/// database, and waits for the disk if `at_end` says so.
pub(crate) async fn close(mut connection: AnyConnection, writes: Writes, at_end: Writes) {
    // Everything was committed; a failure from here on changes nothing of that.
    if at_end > writes {
        let _ = sqlx::raw_sql(at_end.pragma())
            .execute(&mut connection)
            .await;
    }
    let _ = connection.close().await;
}

fn url(file: &Path) -> Result<String, StoreError> {
    use std::fmt::Write;
    let text = file.to_str().ok_or_else(|| StoreError::Database {
        what: "opening the database",
        cause: format!("the path {} is not UTF-8", file.display()),
    })?;
    let mut url = String::from("sqlite://");
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url.push_str("?mode=rwc");
    Ok(url)
}
