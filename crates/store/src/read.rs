//! What can be asked of the database.

use capstan_engine::event::Timer;
use capstan_engine::{Effect, Row};
use capstan_model::{JobId, PipelineId, StepStatus, TaskId};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::db::database;
use crate::error::StoreError;
use crate::unit::StepRow;
use crate::{Store, db};

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number in the pipeline, from 1.
    pub version: u64,
    /// When it was applied.
    pub at_ms: i64,
    /// Its JSON.
    pub json: String,
}

const READING: &str = "reading the database";

impl Store {
    /// All pipelines, oldest first.
    pub async fn pipelines(&self) -> Result<Vec<PipelineId>, StoreError> {
        let sql = "SELECT id FROM pipelines ORDER BY created_at_ms, id";
        self.fetch(sql, &[])
            .await?
            .iter()
            .map(|row| parsed(&text(row, 0)?))
            .collect()
    }

    /// The events of a pipeline, in order.
    pub async fn events(&self, pipeline: PipelineId) -> Result<Vec<StoredEvent>, StoreError> {
        let sql = "SELECT version, at_ms, json FROM events WHERE pipeline = $1 ORDER BY version";
        let rows = self.fetch(sql, &[&pipeline.to_string()]).await?;
        rows.iter()
            .map(|row| {
                Ok(StoredEvent {
                    version: unsigned(row, 0)?,
                    at_ms: row.try_get(1).map_err(database(READING))?,
                    json: text(row, 2)?,
                })
            })
            .collect()
    }

    /// The rows of a pipeline: itself, its workflows and their jobs in order, its tasks.
    pub async fn rows(&self, pipeline: PipelineId) -> Result<Vec<Row>, StoreError> {
        let id = pipeline.to_string();
        let mut rows = Vec::new();
        for sql in [
            "SELECT json FROM pipelines WHERE id = $1",
            "SELECT json FROM workflows WHERE pipeline = $1 ORDER BY ordinal",
            "SELECT j.json FROM jobs j JOIN workflows w ON w.id = j.workflow \
             WHERE j.pipeline = $1 ORDER BY w.ordinal, j.ordinal",
            "SELECT json FROM tasks WHERE pipeline = $1 ORDER BY id",
        ] {
            for row in self.fetch(sql, &[&id]).await? {
                rows.push(from_json("a row", &text(&row, 0)?)?);
            }
        }
        Ok(rows)
    }

    /// The steps of a task, in order.
    pub async fn steps(&self, task: TaskId) -> Result<Vec<StepRow>, StoreError> {
        let sql = "SELECT step, name, status, exit_code, reason, started_at_ms, ended_at_ms, \
                   log_bytes FROM steps WHERE task = $1 ORDER BY step";
        let rows = self.fetch(sql, &[&task.to_string()]).await?;
        rows.iter().map(|row| step(task, row)).collect()
    }

    /// The numbers of the jobs of a pipeline that have one.
    pub async fn job_numbers(&self, pipeline: PipelineId) -> Result<Vec<(JobId, u64)>, StoreError> {
        let sql = "SELECT DISTINCT n.job, n.number FROM job_numbers n \
                   JOIN jobs j ON j.id = n.job WHERE j.pipeline = $1";
        let rows = self.fetch(sql, &[&pipeline.to_string()]).await?;
        rows.iter()
            .map(|row| Ok((parsed(&text(row, 0)?)?, unsigned(row, 1)?)))
            .collect()
    }

    /// The timers of a pipeline with their times.
    pub async fn timers(&self, pipeline: PipelineId) -> Result<Vec<(Timer, i64)>, StoreError> {
        let sql = "SELECT json, at_ms FROM timers WHERE pipeline = $1 ORDER BY at_ms";
        let rows = self.fetch(sql, &[&pipeline.to_string()]).await?;
        rows.iter()
            .map(|row| {
                let at_ms = row.try_get(1).map_err(database(READING))?;
                Ok((from_json("a timer", &text(row, 0)?)?, at_ms))
            })
            .collect()
    }

    /// Outbox entries of a pipeline that were not performed, oldest first.
    pub async fn outbox(
        &self,
        pipeline: PipelineId,
    ) -> Result<Vec<(String, Vec<Effect>)>, StoreError> {
        let sql = "SELECT o.id, o.json FROM outbox o JOIN events e \
                   ON e.pipeline = o.pipeline AND o.id = e.pipeline || ':' || CAST(e.version AS TEXT) \
                   WHERE o.pipeline = $1 AND o.done = 0 ORDER BY e.version";
        let rows = self.fetch(sql, &[&pipeline.to_string()]).await?;
        rows.iter()
            .map(|row| Ok((text(row, 0)?, from_json("an outbox entry", &text(row, 1)?)?)))
            .collect()
    }

    /// Stored updates after a position, at most `limit`, as JSON.
    pub async fn updates(
        &self,
        pipeline: PipelineId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT json FROM updates WHERE pipeline = $1 AND seq > $2 ORDER BY seq LIMIT $3";
        let mut reader = self.reader().await?;
        let Some(connection) = reader.as_mut() else {
            return Err(StoreError::Closed);
        };
        let rows = sqlx::query(sql)
            .bind(pipeline.to_string())
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await
            .map_err(database(READING))?;
        rows.iter().map(|row| text(row, 0)).collect()
    }

    async fn fetch(&self, sql: &'static str, args: &[&String]) -> Result<Vec<AnyRow>, StoreError> {
        let mut reader = self.reader().await?;
        let Some(connection) = reader.as_mut() else {
            return Err(StoreError::Closed);
        };
        let mut query = sqlx::query(sql);
        for arg in args {
            query = query.bind((*arg).clone());
        }
        query.fetch_all(connection).await.map_err(database(READING))
    }

    /// The connection for questions, opened by the first one: a run that goes well asks none.
    async fn reader(
        &self,
    ) -> Result<tokio::sync::MutexGuard<'_, Option<sqlx::AnyConnection>>, StoreError> {
        let mut reader = self.inner.reader.lock().await;
        if reader.is_none() {
            *reader = Some(db::connect(&self.inner.file, db::Writes::ToTheSystem).await?);
        }
        Ok(reader)
    }
}

fn step(task: TaskId, row: &AnyRow) -> Result<StepRow, StoreError> {
    let status = text(row, 2)?;
    let exit_code: Option<i64> = row.try_get(3).map_err(database(READING))?;
    Ok(StepRow {
        task,
        step: u32::try_from(unsigned(row, 0)?)
            .map_err(|error| StoreError::corrupt("a step number", error))?,
        name: text(row, 1)?,
        status: from_json::<StepStatus>("a step status", &format!("\"{status}\""))?,
        exit_code: exit_code
            .map(i32::try_from)
            .transpose()
            .map_err(|error| StoreError::corrupt("an exit code", error))?,
        reason: row.try_get(4).map_err(database(READING))?,
        started_at_ms: row.try_get(5).map_err(database(READING))?,
        ended_at_ms: row.try_get(6).map_err(database(READING))?,
        log_bytes: unsigned(row, 7)?,
    })
}

fn text(row: &AnyRow, column: usize) -> Result<String, StoreError> {
    row.try_get(column).map_err(database(READING))
}

fn unsigned(row: &AnyRow, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column).map_err(database(READING))?;
    u64::try_from(number).map_err(|error| StoreError::corrupt("a number", error))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, StoreError> {
    text.parse()
        .map_err(|error| StoreError::corrupt(format!("id {text:?}"), error))
}

fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::corrupt(what, error))
}
