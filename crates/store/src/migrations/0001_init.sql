-- One dialect for every database: TEXT for ids and JSON, BIGINT for numbers and milliseconds.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    pipeline TEXT NOT NULL, version BIGINT NOT NULL, at_ms BIGINT NOT NULL, json TEXT NOT NULL,
    PRIMARY KEY (pipeline, version)
) WITHOUT ROWID;
CREATE TABLE pipelines (
    id TEXT PRIMARY KEY, number BIGINT NOT NULL, state TEXT NOT NULL, created_at_ms BIGINT NOT NULL,
    json TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE workflows (
    id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, ordinal BIGINT NOT NULL, status TEXT NOT NULL,
    json TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX workflows_of_pipeline ON workflows (pipeline, ordinal);
CREATE TABLE jobs (
    workflow TEXT NOT NULL, id TEXT NOT NULL, pipeline TEXT NOT NULL, ordinal BIGINT NOT NULL,
    status TEXT NOT NULL, json TEXT NOT NULL,
    PRIMARY KEY (workflow, id)
) WITHOUT ROWID;
CREATE INDEX jobs_of_pipeline ON jobs (pipeline);
CREATE TABLE tasks (
    id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, workflow TEXT NOT NULL, state TEXT NOT NULL,
    json TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX tasks_of_pipeline ON tasks (pipeline);
CREATE TABLE outbox (
    id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, json TEXT NOT NULL, done BIGINT NOT NULL
) WITHOUT ROWID;
CREATE TABLE timers (
    id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, task TEXT NOT NULL, at_ms BIGINT NOT NULL,
    json TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX timers_of_task ON timers (task);
CREATE TABLE steps (
    task TEXT NOT NULL, step BIGINT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL,
    exit_code BIGINT, reason TEXT, started_at_ms BIGINT NOT NULL, ended_at_ms BIGINT,
    log_bytes BIGINT NOT NULL,
    PRIMARY KEY (task, step)
) WITHOUT ROWID;
CREATE TABLE updates (
    pipeline TEXT NOT NULL, seq BIGINT NOT NULL, json TEXT NOT NULL,
    PRIMARY KEY (pipeline, seq)
) WITHOUT ROWID;
CREATE TABLE job_numbers (job TEXT PRIMARY KEY, project TEXT NOT NULL, number BIGINT NOT NULL) WITHOUT ROWID;
CREATE UNIQUE INDEX job_numbers_of_project ON job_numbers (project, number);
INSERT INTO meta (key, value) VALUES ('schema', '1');
