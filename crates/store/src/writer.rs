//! One task writes. Units that wait share a commit, each in a savepoint of its own; each is answered
//! after the commit.

use std::collections::BTreeMap;
use std::time::Duration;

use capstan_engine::event::Timer;
use capstan_engine::{Effect, Row, TaskState};
use capstan_model::StepStatus;
use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::Row as _;
use tokio::sync::{mpsc, oneshot};

use crate::db::{BEGIN_WRITE, Writes, close, database};
use crate::error::StoreError;
use crate::script::Value::{MaybeNumber, MaybeText, Number, Text};
use crate::script::{Script, Statement, Value};
use crate::unit::{Committed, Telemetry, Unit};

/// Units that share one commit at most.
const BATCH: usize = 256;
/// How long telemetry waits for company.
const LINGER: Duration = Duration::from_millis(20);

const TIMERS: Statement = Statement {
    before: "INSERT INTO timers (id, pipeline, task, at_ms, json) VALUES",
    after: " ON CONFLICT (id) DO UPDATE SET at_ms = excluded.at_ms",
};
const OUTBOX: Statement = Statement {
    before: "INSERT INTO outbox (id, pipeline, json, done) VALUES",
    after: " ON CONFLICT (id) DO NOTHING",
};
const PIPELINES: Statement = Statement {
    before: "INSERT INTO pipelines (id, number, state, created_at_ms, json) VALUES",
    after: " ON CONFLICT (id) DO UPDATE SET state = excluded.state, json = excluded.json",
};
const WORKFLOWS: Statement = Statement {
    before: "INSERT INTO workflows (id, pipeline, ordinal, status, json) VALUES",
    after: " ON CONFLICT (id) DO UPDATE SET status = excluded.status, json = excluded.json",
};
const JOBS: Statement = Statement {
    before: "INSERT INTO jobs (workflow, id, pipeline, ordinal, status, json) VALUES",
    after: " ON CONFLICT (workflow, id) DO UPDATE SET status = excluded.status, \
            json = excluded.json",
};
const TASKS: Statement = Statement {
    before: "INSERT INTO tasks (id, pipeline, workflow, state, json) VALUES",
    after: " ON CONFLICT (id) DO UPDATE SET state = excluded.state, json = excluded.json",
};
const STEPS: Statement = Statement {
    before: "INSERT INTO steps (task, step, name, status, exit_code, reason, started_at_ms, \
             ended_at_ms, log_bytes) VALUES",
    after: " ON CONFLICT (task, step) DO UPDATE SET name = excluded.name, \
            status = excluded.status, exit_code = excluded.exit_code, reason = excluded.reason, \
            started_at_ms = excluded.started_at_ms, ended_at_ms = excluded.ended_at_ms, \
            log_bytes = excluded.log_bytes",
};
const UPDATES: Statement = Statement {
    before: "INSERT INTO updates (pipeline, seq, json) VALUES",
    after: " ON CONFLICT (pipeline, seq) DO UPDATE SET json = excluded.json",
};
const OUTBOX_DONE: Statement = Statement {
    before: "UPDATE outbox SET done = 1 WHERE (id) IN (VALUES",
    after: ")",
};
const TIMERS_DONE: Statement = Statement {
    before: "DELETE FROM timers WHERE (task) IN (VALUES",
    after: ")",
};

pub(crate) enum Command {
    Unit(Box<Unit>, oneshot::Sender<Result<Committed, StoreError>>),
    Telemetry(Vec<Telemetry>),
    Flush(oneshot::Sender<Result<(), StoreError>>),
    Close(Writes, oneshot::Sender<Result<(), StoreError>>),
}

/// Answers to be given once the commit stands.
enum Answer {
    Unit(oneshot::Sender<Result<Committed, StoreError>>, Committed),
    Plain(oneshot::Sender<Result<(), StoreError>>),
}

/// Writes until told to close. The connection was opened with `writes`.
pub(crate) async fn run(
    mut connection: AnyConnection,
    writes: Writes,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut broken: Option<String> = None;
    let mut lazy: Vec<Telemetry> = Vec::new();
    let mut closer = None;
    while closer.is_none() {
        let Some(first) = next(&mut commands, !lazy.is_empty()).await else {
            break;
        };
        let mut batch = Vec::new();
        let mut hurry = lazy.len() >= BATCH;
        let mut take =
            |command: Option<Command>, batch: &mut Vec<Command>, lazy: &mut Vec<_>| match command {
                None => hurry = true,
                Some(Command::Telemetry(items)) => lazy.extend(items),
                Some(other) => {
                    hurry = true;
                    batch.push(other);
                }
            };
        take(first, &mut batch, &mut lazy);
        while batch.len() < BATCH && lazy.len() < 4 * BATCH {
            let Ok(command) = commands.try_recv() else {
                break;
            };
            take(Some(command), &mut batch, &mut lazy);
        }
        if !hurry {
            continue;
        }
        if let Some(cause) = &broken {
            lazy.clear();
            closer = refuse(batch, cause);
            continue;
        }
        match write(&mut connection, std::mem::take(&mut lazy), batch).await {
            Ok(end) => closer = end,
            Err((cause, end)) => {
                broken = Some(cause);
                closer = end;
            }
        }
    }
    if !lazy.is_empty() && broken.is_none() {
        // Every sender is gone, so there is nobody left to hear of a failure.
        let _ = write(&mut connection, lazy, Vec::new()).await;
    }
    let last = closer.as_ref().map_or(Writes::ToTheDisk, |(last, _)| *last);
    close(connection, writes, last).await;
    if let Some((_, closer)) = closer {
        // The one who closes may have stopped waiting.
        let _ = closer.send(broken.map_or(Ok(()), |cause| Err(StoreError::Broken(cause))));
    }
}

/// The next command; `Some(None)` when telemetry has lingered long enough, `None` when nobody can send
/// any more.
async fn next(commands: &mut mpsc::Receiver<Command>, waiting: bool) -> Option<Option<Command>> {
    if !waiting {
        return commands.recv().await.map(Some);
    }
    match tokio::time::timeout(LINGER, commands.recv()).await {
        Ok(Some(command)) => Some(Some(command)),
        Ok(None) => None,
        Err(_) => Some(None),
    }
}

type Closer = Option<(Writes, oneshot::Sender<Result<(), StoreError>>)>;

fn refuse(batch: Vec<Command>, cause: &str) -> Closer {
    let mut closer = None;
    for command in batch {
        // Whoever stopped waiting does not need the refusal.
        match command {
            Command::Unit(_, reply) => drop(reply.send(Err(StoreError::Broken(cause.to_owned())))),
            Command::Flush(reply) => drop(reply.send(Err(StoreError::Broken(cause.to_owned())))),
            Command::Close(last, reply) => closer = Some((last, reply)),
            Command::Telemetry(_) => {}
        }
    }
    closer
}

/// Writes one batch. An error means that the outcome is unknown and nothing more may be accepted.
async fn write(
    connection: &mut AnyConnection,
    lazy: Vec<Telemetry>,
    batch: Vec<Command>,
) -> Result<Closer, (String, Closer)> {
    let mut answers = Vec::new();
    let mut closer = None;
    let mut failed = None;
    // Telemetry and whoever waits for it come first; without any, the first unit begins the transaction.
    let mut begun = !lazy.is_empty();
    let mut committed = false;
    if begun {
        let mut begin = Script::default();
        begin.say(BEGIN_WRITE);
        telemetry(&mut begin, lazy);
        if let Err(error) = begin.run(connection, "storing telemetry").await {
            failed = Some(error.to_string());
        }
    }
    let is_unit = |command: &Command| matches!(command, Command::Unit(..));
    let mut units = batch.iter().filter(|command| is_unit(command)).count();
    for command in batch {
        match command {
            Command::Unit(unit, reply) => {
                units -= 1;
                if let Some(cause) = &failed {
                    drop(reply.send(Err(StoreError::Broken(cause.clone()))));
                    continue;
                }
                let around = Around {
                    begins: !begun,
                    commits: units == 0,
                };
                begun = true;
                match savepoint(connection, &unit, around).await {
                    Ok(Ok(stored)) => {
                        committed = around.commits;
                        answers.push(Answer::Unit(reply, stored));
                    }
                    // This unit alone was rolled back; the others of the batch stand.
                    Ok(Err(error)) => drop(reply.send(Err(error))),
                    Err(error) => {
                        failed = Some(error.to_string());
                        drop(reply.send(Err(error)));
                    }
                }
            }
            Command::Flush(reply) => answers.push(Answer::Plain(reply)),
            Command::Close(writes, reply) => closer = Some((writes, reply)),
            Command::Telemetry(_) => {}
        }
    }
    if failed.is_none()
        && begun
        && !committed
        && let Err(error) = execute(connection, "COMMIT").await
    {
        failed = Some(error.to_string());
    }
    for answer in answers {
        // Whoever stopped waiting learns of it from the store itself.
        match (answer, &failed) {
            (Answer::Unit(reply, committed), None) => drop(reply.send(Ok(committed))),
            (Answer::Unit(reply, _), Some(cause)) => {
                drop(reply.send(Err(StoreError::Broken(cause.clone()))));
            }
            (Answer::Plain(reply), None) => drop(reply.send(Ok(()))),
            (Answer::Plain(reply), Some(cause)) => {
                drop(reply.send(Err(StoreError::Broken(cause.clone()))));
            }
        }
    }
    match failed {
        None => Ok(closer),
        Some(cause) => Err((cause, closer)),
    }
}

async fn execute(connection: &mut AnyConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::raw_sql(sql)
        .execute(connection)
        .await
        .map_err(database(sql))?;
    Ok(())
}

/// What a unit does for its batch in the trips it makes anyway.
#[derive(Clone, Copy)]
struct Around {
    /// It begins the transaction.
    begins: bool,
    /// It commits it, if all goes well.
    commits: bool,
}

/// Stores a unit in a savepoint of its own. The outer error means that the savepoint could not be ended, or
/// that the commit failed.
async fn savepoint(
    connection: &mut AnyConnection,
    unit: &Unit,
    around: Around,
) -> Result<Result<Committed, StoreError>, StoreError> {
    let stored = store_unit(connection, unit, around).await;
    let undo = "ROLLBACK TO SAVEPOINT unit; RELEASE SAVEPOINT unit";
    match stored {
        Err(error) if execute(connection, undo).await.is_err() => Err(error),
        stored => Ok(stored),
    }
}

/// Begins a savepoint, and ends it when all went well.
async fn store_unit(
    c: &mut AnyConnection,
    unit: &Unit,
    around: Around,
) -> Result<Committed, StoreError> {
    let pipeline = unit.pipeline.to_string();
    let expected = big(unit.expected_version);
    let begin = match around.begins {
        true => format!("{BEGIN_WRITE}; "),
        false => String::new(),
    };
    // `RETURNING` says whether there was a row; a count of rows would be that of all statements.
    let sql = format!(
        "{begin}SAVEPOINT unit; \
         INSERT INTO events (pipeline, version, at_ms, json) SELECT $1, $2, $3, $4 WHERE \
         (SELECT COALESCE(MAX(version), 0) FROM events WHERE pipeline = $1) = $5 \
         RETURNING version"
    );
    let stored = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&pipeline)
        .bind(expected + 1)
        .bind(unit.at_ms)
        .bind(&unit.event)
        .bind(expected)
        .fetch_all(&mut *c)
        .await
        .map_err(database("storing an event"))?;
    if stored.is_empty() {
        return Err(StoreError::Conflict {
            pipeline: unit.pipeline,
            expected: unit.expected_version,
        });
    }
    let mut script = Script::default();
    rows(&mut script, &pipeline, &unit.rows)?;
    let mut timers = Vec::new();
    for effect in &unit.effects {
        if let Effect::SetTimer { timer, at_ms } = effect {
            timers.push(timer_row(&pipeline, timer, *at_ms)?);
        }
    }
    // One statement for each: an event may set the same timer twice.
    for timer in timers {
        script.rows(&TIMERS, vec![timer]);
    }
    let mut outbox = None;
    if !unit.effects.is_empty() {
        // One entry for all effects of an event: they are performed together, in order, and the key
        // says which event they belong to however often that happens.
        let id = format!("{pipeline}:{}", expected + 1);
        let entry = [
            Text(id.clone()),
            Text(pipeline.clone()),
            Text(json(&unit.effects)?),
            Number(0),
        ];
        script.rows(&OUTBOX, vec![entry]);
        outbox = Some(id);
    }
    let mut numbers = Vec::new();
    for job in &unit.number {
        numbers.push((*job, number(c, &unit.project, &job.to_string()).await?));
    }
    script.say("RELEASE SAVEPOINT unit");
    if around.commits {
        script.say("COMMIT");
    }
    script.run(c, "storing rows").await?;
    Ok(Committed { numbers, outbox })
}

fn rows(script: &mut Script, owner: &str, rows: &[Row]) -> Result<(), StoreError> {
    let (mut pipelines, mut workflows, mut jobs, mut tasks) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let json = json(row)?;
        match row {
            Row::Pipeline(row) => pipelines.push([
                Text(owner.to_owned()),
                Number(big(row.number)),
                Text(word(&row.state)?),
                Number(row.created_at_ms),
                Text(json),
            ]),
            Row::Workflow(row) => workflows.push([
                Text(row.id.to_string()),
                Text(owner.to_owned()),
                Number(i64::from(row.ordinal)),
                Text(word(&row.status)?),
                Text(json),
            ]),
            Row::Job(row) => jobs.push([
                Text(row.workflow.to_string()),
                Text(row.id.to_string()),
                Text(owner.to_owned()),
                Number(i64::from(row.ordinal)),
                Text(word(&row.status)?),
                Text(json),
            ]),
            Row::Task(row) => tasks.push([
                Text(row.id.to_string()),
                Text(owner.to_owned()),
                Text(row.workflow.to_string()),
                Text(state_word(&row.state).to_owned()),
                Text(json),
            ]),
        }
    }
    script.rows(&PIPELINES, pipelines);
    script.rows(&WORKFLOWS, workflows);
    script.rows(&JOBS, jobs);
    script.rows(&TASKS, tasks);
    Ok(())
}

/// The number of a job: the next one of its project, or the one it has.
async fn number(c: &mut AnyConnection, project: &str, job: &str) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "INSERT INTO job_numbers (job, project, number) \
         SELECT $1, $2, COALESCE(MAX(number), 0) + 1 FROM job_numbers WHERE project = $2 \
         ON CONFLICT (job) DO UPDATE SET project = job_numbers.project RETURNING number",
    )
    .bind(job)
    .bind(project)
    .fetch_one(c)
    .await
    .map_err(database("numbering a job"))?;
    let number: i64 = row.try_get(0).map_err(database("numbering a job"))?;
    u64::try_from(number).map_err(|error| StoreError::corrupt("a job number", error))
}

fn timer_row(pipeline: &str, timer: &Timer, at_ms: i64) -> Result<[Value; 5], StoreError> {
    let (kind, task, epoch) = match timer {
        Timer::Lease { task, lease_epoch } => ("lease", task, lease_epoch),
        Timer::CancelGrace { task, lease_epoch } => ("grace", task, lease_epoch),
    };
    Ok([
        Text(format!("{kind}:{task}:{epoch}")),
        Text(pipeline.to_owned()),
        Text(task.to_string()),
        Number(at_ms),
        Text(json(timer)?),
    ])
}

fn telemetry(script: &mut Script, items: Vec<Telemetry>) {
    let mut steps = BTreeMap::new();
    let (mut updates, mut outbox, mut timers) = (Vec::new(), Vec::new(), Vec::new());
    for item in items {
        match item {
            // Of a step the last word counts.
            Telemetry::Step(step) => drop(steps.insert((step.task, step.step), step)),
            Telemetry::Update {
                pipeline,
                seq,
                json,
            } => updates.push([Text(pipeline.to_string()), Number(big(seq)), Text(json)]),
            Telemetry::OutboxDone(id) => outbox.push([Text(id)]),
            Telemetry::TimersDone(task) => timers.push([Text(task.to_string())]),
        }
    }
    let steps = steps.into_values().map(|step| {
        [
            Text(step.task.to_string()),
            Number(i64::from(step.step)),
            Text(step.name),
            Text(status_word(step.status).to_owned()),
            MaybeNumber(step.exit_code.map(i64::from)),
            MaybeText(step.reason),
            Number(step.started_at_ms),
            MaybeNumber(step.ended_at_ms),
            Number(big(step.log_bytes)),
        ]
    });
    script.rows(&STEPS, steps.collect());
    script.rows(&UPDATES, updates);
    script.rows(&OUTBOX_DONE, outbox);
    script.rows(&TIMERS_DONE, timers);
}

fn state_word(state: &TaskState) -> &'static str {
    match state {
        TaskState::Queued { .. } => "queued",
        TaskState::Claimed { .. } => "claimed",
        TaskState::Running { .. } => "running",
        TaskState::Finished { .. } => "finished",
    }
}

pub(crate) fn status_word(status: StepStatus) -> &'static str {
    status.as_str()
}

/// Numbers of the store are counts of things that happened, far below the limit.
fn big(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::corrupt("a value to store", error))
}

/// The snake_case word of an enum without fields.
fn word<T: Serialize>(value: &T) -> Result<String, StoreError> {
    Ok(json(value)?.trim_matches('"').to_owned())
}
