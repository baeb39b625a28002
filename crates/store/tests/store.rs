//! A run directory: what was answered is there after a kill, and what was not is whole or not at all.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use capstan_engine::rows::{PipelineRow, PipelineState};
use capstan_engine::{Effect, JobRow, Row, WorkflowRow};
use capstan_model::{
    Digest, JobId, JobStatus, PipelineId, StepStatus, TaskId, WorkflowId, WorkflowStatus,
};
use capstan_store::{StepRow, Store, StoreError, Telemetry, Unit, Writes};
use uuid::Uuid;

fn workflow(pipeline: PipelineId) -> WorkflowRow {
    WorkflowRow {
        id: WorkflowId(Uuid::new_v4()),
        pipeline,
        plan: Digest::try_from("0".repeat(64)).unwrap(),
        setup: false,
        name: "w".into(),
        ordinal: 0,
        status: WorkflowStatus::Running,
        rerun_of: None,
        auto_rerun_number: None,
        max_auto_reruns: 0,
        started_by: "ann".into(),
        canceled_by: None,
        created_at_ms: 5,
        stopped_at_ms: None,
    }
}

fn job(workflow: WorkflowId, ordinal: u32, status: JobStatus) -> JobRow {
    JobRow {
        id: JobId(Uuid::new_v4()),
        workflow,
        carried_from: None,
        name: format!("j{ordinal}"),
        ordinal,
        kind: "build".into(),
        parallelism: 1,
        status,
        reason: String::new(),
        decision: String::new(),
        approved_by: None,
        started_at_ms: None,
        stopped_at_ms: None,
    }
}

fn unit(pipeline: PipelineId, version: u64, rows: Vec<Row>, number: Vec<JobId>) -> Unit {
    Unit {
        pipeline,
        expected_version: version,
        at_ms: 10,
        event: format!("{{\"n\":{version}}}"),
        rows,
        effects: Vec::new(),
        project: "local/x".into(),
        number,
    }
}

fn pipeline_row(id: PipelineId) -> Row {
    Row::Pipeline(PipelineRow {
        id,
        number: 1,
        state: PipelineState::Created,
        plan: None,
        continued: None,
        errors: Vec::new(),
        canceled_by: None,
        created_at_ms: 5,
    })
}

/// What a kill leaves: the files as they are, without anything being closed.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // The index of the log of writes is rebuilt from it.
        if entry.file_type().unwrap().is_file() && entry.file_name() != "run.db-shm" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("a"), Writes::ToTheSystem, None)
        .await
        .unwrap();
    assert!(store.is_fresh());
    let pipeline = PipelineId(Uuid::new_v4());
    let w = workflow(pipeline);
    let mut j = job(w.id, 0, JobStatus::Queued);
    let rows = vec![
        pipeline_row(pipeline),
        Row::Workflow(w.clone()),
        Row::Job(j.clone()),
    ];
    let mut first = unit(pipeline, 0, rows, vec![j.id]);
    first.effects = vec![Effect::Notify { workflow: w.id }];
    let done = store.commit_unit(first).await.unwrap();
    assert_eq!(done.numbers, [(j.id, 1)]);
    for version in 1..20 {
        j.reason = format!("reason {version}");
        store
            .commit_unit(unit(
                pipeline,
                version,
                vec![Row::Job(j.clone())],
                vec![j.id],
            ))
            .await
            .unwrap();
        let moment = dir.path().join(version.to_string());
        copy(&dir.path().join("a"), &moment);
        let killed = Store::open(&moment, Writes::ToTheSystem, None)
            .await
            .unwrap();
        assert!(!killed.is_fresh());
        let rows = killed.rows(pipeline).await.unwrap();
        let wanted = [
            pipeline_row(pipeline),
            Row::Workflow(w.clone()),
            Row::Job(j.clone()),
        ];
        assert_eq!(rows, wanted, "after version {version}");
        assert_eq!(
            killed.events(pipeline).await.unwrap().len() as u64,
            version + 1
        );
        assert_eq!(killed.job_numbers(pipeline).await.unwrap(), [(j.id, 1)]);
        let outbox = killed.outbox(pipeline).await.unwrap();
        assert_eq!(outbox.len(), 1);
        assert_eq!(Some(&outbox[0].0), done.outbox.as_ref());
        assert_eq!(outbox[0].1, [Effect::Notify { workflow: w.id }]);
    }
    store
        .telemetry(done.outbox.map(Telemetry::OutboxDone).into_iter().collect())
        .await
        .unwrap();
    store.flush().await.unwrap();
    assert!(store.outbox(pipeline).await.unwrap().is_empty());
    store.close(Writes::ToTheSystem).await.unwrap();
    assert!(matches!(store.flush().await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_refused_unit_leaves_nothing_and_its_neighbours_stand() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Writes::ToTheSystem, None)
        .await
        .unwrap();
    let ids: Vec<_> = (0..30).map(|_| PipelineId(Uuid::new_v4())).collect();
    let waiting = ids.iter().enumerate().map(|(n, id)| {
        let w = workflow(*id);
        let jobs = vec![JobId(Uuid::new_v4())];
        // Every third one was made from a state that never was.
        let version = u64::from(n % 3 == 0);
        let rows = vec![pipeline_row(*id), Row::Workflow(w)];
        let unit = unit(*id, version, rows, jobs);
        let store = store.clone();
        tokio::spawn(async move { store.commit_unit(unit).await })
    });
    let waiting: Vec<_> = waiting.collect();
    let mut numbers = Vec::new();
    for (n, task) in waiting.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(done) => {
                assert_ne!(n % 3, 0);
                numbers.push(done.numbers[0].1);
            }
            Err(error) => assert!(n % 3 == 0 && matches!(error, StoreError::Conflict { .. })),
        }
    }
    numbers.sort_unstable();
    assert_eq!(
        numbers,
        (1..=20).collect::<Vec<_>>(),
        "no number is used twice or skipped"
    );
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(store.rows(*id).await.unwrap().is_empty(), n % 3 == 0);
    }
}

#[tokio::test]
async fn steps_and_updates_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Writes::ToTheSystem, None)
        .await
        .unwrap();
    let pipeline = PipelineId(Uuid::new_v4());
    let task = TaskId {
        job: JobId(Uuid::new_v4()),
        node: 0,
        attempt: 1,
    };
    let mut step = StepRow {
        task,
        step: 101,
        name: "Größe".into(),
        status: StepStatus::Running,
        exit_code: None,
        reason: None,
        started_at_ms: 1,
        ended_at_ms: None,
        log_bytes: 0,
    };
    store
        .telemetry(vec![Telemetry::Step(step.clone())])
        .await
        .unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.steps(task).await.unwrap(), [step.clone()]);
    step.status = StepStatus::InfrastructureFail;
    step.exit_code = Some(137);
    step.reason = Some("gone".into());
    step.ended_at_ms = Some(9);
    step.log_bytes = 1 << 40;
    let update = |seq| Telemetry::Update {
        pipeline,
        seq,
        json: format!("{{\"seq\":{seq}}}"),
    };
    store
        .telemetry(vec![
            Telemetry::Step(step.clone()),
            update(1),
            update(2),
            update(4),
        ])
        .await
        .unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.steps(task).await.unwrap(), [step]);
    assert_eq!(
        store.updates(pipeline, 1, 10).await.unwrap(),
        ["{\"seq\":2}", "{\"seq\":4}"]
    );
    assert_eq!(
        store.updates(pipeline, 0, 1).await.unwrap(),
        ["{\"seq\":1}"]
    );
}

/// Rows share statements of several sizes; the last word about a step counts, also within one batch.
#[tokio::test]
async fn telemetry_of_any_length_is_kept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Writes::ToTheSystem, None)
        .await
        .unwrap();
    let pipeline = PipelineId(Uuid::new_v4());
    let task = TaskId {
        job: JobId(Uuid::new_v4()),
        node: 0,
        attempt: 1,
    };
    let step = |step, status| {
        Telemetry::Step(StepRow {
            task,
            step,
            name: format!("step {step}"),
            status,
            exit_code: None,
            reason: None,
            started_at_ms: 1,
            ended_at_ms: None,
            log_bytes: 0,
        })
    };
    let mut wanted = Vec::new();
    for count in [1, 3, 4, 21, 85, 130] {
        let first = wanted.len() as u64 + 1;
        let mut batch = Vec::new();
        for n in 0..count {
            let json = format!("{{\"n\":{n}}}");
            wanted.push(json.clone());
            batch.push(Telemetry::Update {
                pipeline,
                seq: first + n,
                json,
            });
            let number = u32::try_from(n).unwrap();
            batch.push(step(number, StepStatus::Running));
            batch.push(step(number, StepStatus::Success));
        }
        store.telemetry(batch).await.unwrap();
        store.flush().await.unwrap();
    }
    assert_eq!(store.updates(pipeline, 0, 1000).await.unwrap(), wanted);
    let steps = store.steps(task).await.unwrap();
    assert_eq!(steps.len(), 130);
    assert!(steps.iter().all(|step| step.status == StepStatus::Success));
}

#[tokio::test]
async fn blobs_are_checked_when_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Writes::ToTheSystem, None)
        .await
        .unwrap();
    let digest = store.blobs().put(b"hello").unwrap();
    assert_eq!(
        digest.as_str(),
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    assert_eq!(digest, capstan_store::blobs::digest(b"hello"));
    assert_eq!(store.blobs().get(&digest).unwrap(), b"hello");
    assert_eq!(
        std::fs::read_dir(dir.path().join("blobs")).unwrap().count(),
        1
    );
    drop(store.blobs().writer().unwrap());
    assert_eq!(
        std::fs::read_dir(dir.path().join("blobs")).unwrap().count(),
        1
    );
    std::fs::write(dir.path().join("blobs").join(digest.as_str()), b"jello").unwrap();
    assert!(matches!(
        store.blobs().get(&digest),
        Err(StoreError::Corrupt { .. })
    ));
    let other = capstan_store::blobs::digest(b"other");
    assert!(matches!(
        store.blobs().get(&other),
        Err(StoreError::NoBlob(_))
    ));
}

#[tokio::test]
async fn odd_paths_are_opened_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a b%20?c#d'ü");
    Store::open(&odd, Writes::ToTheSystem, None)
        .await
        .unwrap()
        .close(Writes::ToTheSystem)
        .await
        .unwrap();
    assert!(odd.join("run.db").exists());
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path(), Writes::ToTheSystem, None)
        .await
        .unwrap()
        .close(Writes::ToTheSystem)
        .await
        .unwrap();
    let url = format!("sqlite://{}", dir.path().join("run.db").display());
    let mut raw = <sqlx::AnyConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    sqlx::query("UPDATE meta SET value = '99'")
        .execute(&mut raw)
        .await
        .unwrap();
    let Err(error) = Store::open(dir.path(), Writes::ToTheSystem, None).await else {
        panic!("opened")
    };
    assert!(
        matches!(error, StoreError::NewerSchema { found: 99, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_unit_that_fails_half_way_leaves_nothing_and_its_neighbours_stand() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(dir.path(), Writes::ToTheSystem, None);
    open()
        .await
        .unwrap()
        .close(Writes::ToTheSystem)
        .await
        .unwrap();
    let url = format!("sqlite://{}", dir.path().join("run.db").display());
    let mut raw = <sqlx::AnyConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    // Its event is stored by then.
    sqlx::query(
        "CREATE TRIGGER no BEFORE INSERT ON pipelines WHEN NEW.number = 7 \
         BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    sqlx::Connection::close(raw).await.unwrap();
    let store = open().await.unwrap();
    let ids: Vec<_> = (0..12).map(|_| PipelineId(Uuid::new_v4())).collect();
    let waiting: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            let mut row = pipeline_row(*id);
            if let Row::Pipeline(row) = &mut row
                && n % 3 == 2
            {
                row.number = 7;
            }
            let unit = unit(*id, 0, vec![row], Vec::new());
            let store = store.clone();
            tokio::spawn(async move { store.commit_unit(unit).await })
        })
        .collect();
    for (n, task) in waiting.into_iter().enumerate() {
        assert_eq!(task.await.unwrap().is_ok(), n % 3 != 2, "unit {n}");
    }
    for (n, id) in ids.iter().enumerate() {
        let expected = usize::from(n % 3 != 2);
        assert_eq!(store.events(*id).await.unwrap().len(), expected, "{n}");
        assert_eq!(store.rows(*id).await.unwrap().len(), expected, "{n}");
    }
    store.close(Writes::ToTheSystem).await.unwrap();
}
