//! A server and a runner in this process, for one run directory, from the first event to the last line.

pub mod approvals;
pub mod executors;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use capstan_model::{PipelineId, RunnerId, Secret, StepStatus, TaskId, WorkflowId, WorkflowStatus};
use capstan_runner::{Runner, RunnerSettings};
use capstan_scm::Worktree;
use capstan_server::live::{Update, UpdateKind};
use capstan_server::orbs::{NoOrbs, Orbs};
use capstan_server::{
    ApplyError, CancelScope, FollowError, OnDisconnect, Server, Settings, StoreError,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::ExecutionArgs;
use crate::data::{Run, now_ms};
use crate::dotenv::Variables;
use crate::exit::{Code, Failure};
use crate::project;
use crate::render::{Board, Out, Renderer, json, live, neutral, out, plain, summary};
use crate::sockets::{self, Socket};
use approvals::Approvals;
use executors::Executors;

/// Output is read in pieces of this size, however much there is.
const PIECE: usize = 256 << 10;
const CANCEL_GRACE_MS: u64 = 10_000;
const LEASE_MS: u64 = 60_000;
/// CircleCI's limit of a job on its larger plans.
const MAX_RUN_TIME_MS: u64 = 5 * 60 * 60 * 1000;

/// A server at work in this process.
pub struct Session {
    /// The server.
    pub server: Server,
    run: Run,
    /// How the run stood before.
    before: Option<String>,
    socket: Socket,
    execution: ExecutionArgs,
    stop: tokio::sync::watch::Sender<bool>,
    /// Answers when the runner's thread has nothing left to do.
    runner: Option<tokio::sync::oneshot::Receiver<()>>,
}

/// Waits for a future, on the runtime of commands that need one. It has one worker for the server, so that
/// a terminal which does not take any more output stops nobody but the main thread; the runner has a thread
/// of its own. Of what the future left running nothing is waited for: this process ends.
///
/// # Errors
/// The system gives no threads.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::setup(format!("cannot start threads: {error}")))?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

/// What a server is told of the world around it.
pub struct World {
    /// Contexts by name.
    pub contexts: BTreeMap<String, Vec<(String, Secret<String>)>>,
    /// Variables for every job.
    pub variables: Variables,
    /// Where orbs come from.
    pub orbs: Arc<dyn Orbs>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            contexts: BTreeMap::new(),
            variables: Variables::new(),
            orbs: Arc::new(NoOrbs),
        }
    }
}

impl World {
    /// Reads the files the arguments name.
    ///
    /// # Errors
    /// One of them is not what it should be.
    pub fn of(args: &ExecutionArgs, orbs: Arc<dyn Orbs>) -> Result<Self, Failure> {
        Ok(Self {
            orbs,
            contexts: project::contexts(args)?,
            variables: project::variables(args)?,
        })
    }
}

/// What of a pipeline is looked at.
#[derive(Default)]
pub struct View {
    /// Only these workflows.
    pub only: Option<Vec<WorkflowId>>,
    /// Only what comes after this position.
    pub seen: u64,
}

/// Starts a server on a run directory, without a runner.
///
/// # Errors
/// The directory belongs to another process, or the disk refuses.
pub async fn serve(
    worktree: Worktree,
    directory: &Path,
    socket: &Path,
    world: World,
) -> Result<Server, Failure> {
    let settings = Settings {
        data_dir: directory.to_owned(),
        blanks: Some(Run::shared(directory, "blanks")),
        socket: socket.to_owned(),
        config_path: worktree.config_path().to_owned(),
        forge: Arc::new(worktree),
        orbs: world.orbs,
        contexts: world.contexts,
        project_vars: world.variables,
        max_run_time_ms: MAX_RUN_TIME_MS,
        lease_ms: LEASE_MS,
        on_disconnect: OnDisconnect::Die,
    };
    Server::start(settings)
        .await
        .map_err(|error| Failure::setup(error.to_string()))
}

impl Session {
    /// Starts the server of a run.
    ///
    /// # Errors
    /// The directory belongs to another process, or the disk refuses.
    pub async fn start(
        worktree: Worktree,
        mut run: Run,
        socket: Socket,
        execution: &ExecutionArgs,
        world: World,
    ) -> Result<Self, Failure> {
        let server = serve(worktree, &run.directory, socket.path(), world).await?;
        let before = run.file.status.take();
        if run.file.socket != socket.path() {
            socket.path().clone_into(&mut run.file.socket);
            run.save()?;
        }
        let (stop, _) = tokio::sync::watch::channel(false);
        Ok(Self {
            server,
            run,
            before,
            socket,
            execution: execution.clone(),
            stop,
            runner: None,
        })
    }

    /// Starts the runner, on a thread and a runtime of its own: it meets the server over the wire only, and
    /// a busy server does not keep it from its heartbeats.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start_runner(&mut self, executors: Executors) -> Result<(), Failure> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let capacity = self
            .execution
            .jobs_at_once
            .and_then(|jobs| usize::try_from(jobs).ok())
            .unwrap_or(processors);
        let runner = Runner::new(RunnerSettings {
            socket: self.socket.path().to_owned(),
            id: RunnerId(uuid::Uuid::new_v4()),
            capacity,
            docker: executors.docker,
            machine: executors.machine,
            cancel_grace_ms: CANCEL_GRACE_MS,
        });
        let stopped = self.stop.subscribe();
        let (done, ended) = tokio::sync::oneshot::channel();
        let no_threads = |error| Failure::setup(format!("cannot start the runner: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(no_threads)?;
        std::thread::Builder::new()
            .name(String::from("runner"))
            .spawn(move || {
                if let Err(error) = runtime.block_on(runner.run(stopped)) {
                    out::complain(&format!("error: the runner stopped: {error}"));
                }
                // Whoever would wait for it has given up.
                let _ = done.send(());
            })
            .map_err(no_threads)?;
        self.runner = Some(ended);
        Ok(())
    }

    /// Shows a pipeline until it ends, cannot go on, or is canceled; then ends the session.
    ///
    /// # Errors
    /// The server fails.
    pub async fn follow(mut self, pipeline: PipelineId, view: View) -> Result<Code, Failure> {
        let started = std::time::Instant::now();
        let known = self.server.position(pipeline).map_err(server_failed)?;
        let board = Board::new(view.only);
        let terminal = Out::new();
        let live_view = terminal.terminal && !self.execution.json;
        let renderer: Box<dyn Renderer + Send> = if self.execution.json {
            Box::new(json::Json::new(terminal))
        } else if live_view {
            Box::new(live::Live::new(terminal))
        } else {
            Box::new(plain::Plain::new(terminal, self.execution.raw))
        };
        let mut watch = Watch {
            pipeline,
            directory: self.run.directory.clone(),
            board,
            renderer,
            read: HashMap::new(),
            approvals: Approvals::new(&self.execution, live_view),
            seq: 0,
            seen: view.seen,
            known,
            cancels: 0,
        };
        let ended = watch.until_the_end(&self.server).await;
        let code = match ended {
            Ok(End::Killed) => {
                self.save_status("canceled");
                drop(self.socket);
                // Every place dies with this process: that is what its guard is for.
                std::process::exit(i32::from(Code::Canceled.number()));
            }
            Ok(End::OnHold) => Code::OnHold,
            Ok(End::Finished) => watch.code(),
            Err(failure) => {
                self.give_up().await;
                return Err(failure);
            }
        };
        watch.renderer.pause();
        if !self.execution.json {
            let mut out = Out::new();
            if live_view || matches!(code, Code::JobFailed | Code::OnHold) {
                watch.print_failures(&self.server, &mut out, live_view, self.execution.raw)?;
            }
            let total_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
            summary::print(&mut out, &watch.board, total_ms, now_ms());
            if code == Code::JobFailed {
                out.line(&out.paint(
                    out::Style::Dim,
                    "again what failed: capstan rerun --from-failed    its output: capstan logs",
                ));
            }
        }
        if code == Code::OnHold {
            out::complain(&watch.approvals.on_hold_message(&watch.board));
        }
        self.save_status(watch.status_word(code));
        self.shut_down().await;
        Ok(code)
    }

    fn save_status(&mut self, status: &str) {
        if let Err(failure) = self.run.end(status) {
            out::complain(&format!("warning: {}", failure.message));
        }
    }

    /// Ends without having changed anything: the run stands as it stood.
    pub async fn keep_status(mut self) {
        if let Some(status) = self.before.take() {
            self.save_status(&status);
        }
        self.shut_down().await;
    }

    /// Why what was asked for did not happen.
    pub fn why_not(&self, error: &ApplyError) -> Failure {
        match error {
            ApplyError::Store(why) if why.is_of_the_disk() => {
                disk_refuses(&self.run.directory, why)
            }
            ApplyError::Store(why) => server_failed(why),
            ApplyError::Illegal(_) | ApplyError::UnknownPipeline(_) => {
                Failure::config(error.to_string())
            }
        }
    }

    /// Ends after a failure, of which everything that goes wrong from here on is a part.
    pub async fn give_up(self) {
        let _ = self.end().await;
    }

    /// Ends runner and server. Nothing that runs is waited for to be told: places are freed while the store
    /// closes.
    pub async fn shut_down(self) {
        if let Err(error) = self.end().await {
            out::complain(&format!("warning: {error}"));
        }
    }

    async fn end(self) -> Result<(), StoreError> {
        let _ = self.stop.send(true);
        let freed = async {
            if let Some(runner) = self.runner {
                let _ = runner.await;
            }
        };
        let ((), closed) = tokio::join!(freed, self.server.shutdown());
        drop(self.socket);
        sockets::sweep();
        closed
    }
}

/// A run that cannot be kept.
fn disk_refuses(directory: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::setup(format!(
        "the run cannot be stored in {}: {why}",
        directory.display()
    ))
    .hint("make room there, or set CAPSTAN_DATA to a directory with more")
}

/// A server that cannot go on.
pub fn server_failed(error: impl std::fmt::Display) -> Failure {
    Failure::setup(error.to_string())
}

/// Why the watching ended.
enum End {
    Finished,
    OnHold,
    Killed,
}

/// One pipeline being watched.
struct Watch {
    pipeline: PipelineId,
    /// Where the run is kept.
    directory: PathBuf,
    board: Board,
    renderer: Box<dyn Renderer + Send>,
    /// How far the output of each step was shown.
    read: HashMap<(TaskId, u32), u64>,
    approvals: Approvals,
    seq: u64,
    /// What happened up to here is known to whoever looks, and not shown again.
    seen: u64,
    /// What has happened already; before all of it was read nothing is concluded.
    known: u64,
    cancels: u32,
}

impl Watch {
    async fn until_the_end(&mut self, server: &Server) -> Result<End, Failure> {
        let mut interrupts = Interrupts::listen()?;
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                updates = server.follow(self.pipeline, self.seq), if !self.approvals.is_asking() => {
                    let updates = updates.map_err(|error| match error {
                        FollowError::Disk(why) => disk_refuses(&self.directory, why),
                        other => server_failed(other),
                    })?;
                    self.take(server, &updates)?;
                    if self.seq < self.known {
                        continue;
                    }
                    self.approvals.give(server, self.pipeline, &self.board).await?;
                    if self.is_finished() {
                        return Ok(End::Finished);
                    }
                    if self.cancels == 0 && self.cannot_go_on() {
                        return Ok(End::OnHold);
                    }
                }
                answered = self.approvals.answer() => {
                    if answered {
                        self.approvals.give(server, self.pipeline, &self.board).await?;
                    } else if self.cannot_go_on() {
                        return Ok(End::OnHold);
                    }
                }
                () = interrupts.next() => {
                    self.cancels += 1;
                    if self.cancels > 1 {
                        self.renderer.note("killed");
                        return Ok(End::Killed);
                    }
                    self.renderer.note("canceling: steps are asked to end; Ctrl-C again kills them at once");
                    server
                        .cancel(self.pipeline, CancelScope::Pipeline, &project::actor())
                        .await
                        .map_err(server_failed)?;
                }
                _ = ticks.tick() => {
                    if !self.approvals.is_asking() {
                        self.renderer.tick(&self.board);
                    }
                }
            }
        }
    }

    fn take(&mut self, server: &Server, updates: &[Update]) -> Result<(), Failure> {
        for update in updates {
            self.seq = self.seq.max(update.seq);
            if !self.board.concerns(update) {
                continue;
            }
            if update.seq <= self.seen {
                self.apply(server, update)?;
                continue;
            }
            match &update.kind {
                UpdateKind::Output {
                    task,
                    step,
                    offset,
                    bytes,
                } => {
                    self.read_output(server, *task, *step, Some(offset + bytes))?;
                }
                UpdateKind::StepFinished { task, step, .. } => {
                    self.read_output(server, *task, *step, None)?;
                }
                _ => {}
            }
            self.apply(server, update)?;
            self.renderer.update(update, &self.board);
        }
        self.renderer.tick(&self.board);
        Ok(())
    }

    /// Takes a change in; a new workflow comes with its plan.
    fn apply(&mut self, server: &Server, update: &Update) -> Result<(), Failure> {
        let new = match &update.kind {
            UpdateKind::Workflow { workflow, .. } if self.board.workflow(*workflow).is_none() => {
                Some(*workflow)
            }
            _ => None,
        };
        self.board.apply(update);
        if let Some(workflow) = new {
            let plan = server.plan_of(self.pipeline, workflow);
            self.board.explain(workflow, plan.map_err(server_failed)?);
        }
        Ok(())
    }

    /// Shows the output of a step up to an offset, or all there is.
    fn read_output(
        &mut self,
        server: &Server,
        task: TaskId,
        step: u32,
        until: Option<u64>,
    ) -> Result<(), Failure> {
        if !self.renderer.wants_output() {
            return Ok(());
        }
        let mut from = self.read.get(&(task, step)).copied().unwrap_or(0);
        while until.is_none_or(|until| from < until) {
            let bytes = server
                .output(task, step, from, PIECE)
                .map_err(server_failed)?;
            if bytes.is_empty() {
                break;
            }
            self.renderer.output(task, step, from, &bytes, &self.board);
            from += bytes.len() as u64;
            self.read.insert((task, step), from);
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        !self.board.workflows.is_empty()
            && self
                .board
                .workflows
                .iter()
                .all(|workflow| workflow.status.is_terminal())
    }

    /// Asks for what waits; whether nobody is left to ask and nothing else can happen.
    fn cannot_go_on(&mut self) -> bool {
        if self.approvals.ask(&self.board) {
            self.renderer.pause();
            return false;
        }
        self.is_stuck() && !self.approvals.anything_open(&self.board)
    }

    /// Whether nothing can happen any more unless somebody approves.
    fn is_stuck(&self) -> bool {
        use capstan_model::JobStatus::{NotRunning, OnHold, Queued, Running};
        let jobs = &self.board.jobs;
        jobs.iter().any(|job| job.status == OnHold)
            && !jobs
                .iter()
                .any(|job| matches!(job.status, Queued | NotRunning | Running))
    }

    fn code(&self) -> Code {
        let any = |wanted: &[WorkflowStatus]| {
            self.board
                .last_tries()
                .any(|workflow| wanted.contains(&workflow.status))
        };
        if self.cancels > 0 {
            Code::Canceled
        } else if any(&[
            WorkflowStatus::Failed,
            WorkflowStatus::Error,
            WorkflowStatus::Unauthorized,
        ]) {
            Code::JobFailed
        } else if any(&[WorkflowStatus::Canceled]) {
            Code::Canceled
        } else {
            Code::Success
        }
    }

    fn status_word(&self, code: Code) -> &'static str {
        match code {
            Code::OnHold => "on_hold",
            Code::Canceled => "canceled",
            Code::JobFailed => "failed",
            _ => "success",
        }
    }

    /// The failed steps: their place and how they ended, and on a terminal, where nothing of it was seen
    /// yet, all they wrote.
    fn print_failures(
        &self,
        server: &Server,
        out: &mut Out,
        with_output: bool,
        raw: bool,
    ) -> Result<(), Failure> {
        for (task, step, view) in self.board.failed_steps() {
            if view.status == StepStatus::Canceled {
                continue;
            }
            let head = summary::failure_head(&self.board, task, step, view);
            out.line("");
            out.line(&out.paint(out::Style::Bad, &head));
            if with_output {
                print_output(server, out, (task, step), raw)?;
            }
        }
        Ok(())
    }
}

/// Copies the output of a step to the terminal, a piece at a time.
///
/// # Errors
/// The server fails.
pub fn print_output(
    server: &Server,
    out: &mut Out,
    (task, step): (TaskId, u32),
    raw: bool,
) -> Result<(), Failure> {
    let mut clean = neutral::Neutralizer::new(out.color);
    let mut from = 0;
    let mut last = b'\n';
    loop {
        let bytes = server
            .output(task, step, from, PIECE)
            .map_err(server_failed)?;
        from += bytes.len() as u64;
        let mut text = Vec::with_capacity(bytes.len());
        if bytes.is_empty() && raw {
            // Byte for byte what was stored, an open last line included.
            return Ok(());
        }
        if bytes.is_empty() {
            clean.reset(&mut text);
            if last != b'\n' {
                text.push(b'\n');
            }
            out.write(&text);
            return Ok(());
        }
        if raw {
            text.extend_from_slice(&bytes);
        } else {
            clean.push(&bytes, &mut text);
        }
        last = text.last().copied().unwrap_or(last);
        out.write(&text);
    }
}

/// Ctrl-C, and being told to end.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupts {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::setup(format!("cannot listen to signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
