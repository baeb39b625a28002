//! What every executor promises, as tests that each of them passes, the fake too.
//!
//! The agent of these tests is a shell that reads commands from its stream: what they look at is the
//! place, not what an agent does in it.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{AgentStream, Executor, Place, PlaceError, PlaceRequest, SpinUpLog};

/// An executor under test, and what the tests must do behind its back.
pub(super) trait Subject: Send + Sync {
    /// The executor.
    fn executor(&self) -> &dyn Executor;

    /// Asks for a place; every call asks for another one.
    fn request(&self) -> PlaceRequest;

    /// Kills the agent, which said that this is its process id, with signal 9.
    fn kill<'a>(&'a self, pid: &'a str) -> BoxFuture<'a, ()>;

    /// Everything that is left of places: processes, folders, containers.
    fn remains(&self) -> BoxFuture<'_, Vec<String>>;
}

/// Makes a test of each promise for the subject that an expression gives, or skips it where there is
/// none.
macro_rules! contract {
    ($subject:expr) => {
        crate::executor::contract::contract!(@each $subject;
            an_agent_is_talked_to_until_it_ends,
            the_end_of_its_input_reaches_an_agent,
            an_agent_that_is_killed_is_known_to_be,
            nothing_outlives_a_place,
            nothing_outlives_a_place_that_was_forgotten,
            a_place_that_was_never_started_is_removed,
            places_are_apart,
            much_output_comes_through_in_order,
            the_folders_of_the_kernel_are_refused,
            what_was_made_ready_is_a_place_or_nothing,
        );
    };
    (@each $subject:expr; $($name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if let Some(subject) = $subject.await {
                    crate::executor::contract::$name(&subject).await;
                    crate::executor::contract::nothing_remains(&subject).await;
                }
            }
        )*
    };
}
pub(super) use contract;

/// A place with a shell in it.
pub(super) struct Session {
    pub(super) place: Box<dyn Place>,
    pub(super) stream: AgentStream,
}

impl Session {
    pub(super) async fn open(subject: &dyn Subject) -> Self {
        let mut place = prepare(subject, &subject.request()).await.unwrap();
        let stream = place.start().await.unwrap();
        Self { place, stream }
    }

    /// Gives the shell a command and returns the next line that it says.
    pub(super) async fn ask(&mut self, command: &str) -> String {
        self.say(command).await;
        let mut line = Vec::new();
        loop {
            let byte = in_time(self.stream.reader.read_u8()).await.unwrap();
            if byte == b'\n' {
                return String::from_utf8(line).unwrap();
            }
            line.push(byte);
        }
    }

    pub(super) async fn say(&mut self, command: &str) {
        let line = format!("{command}\n");
        self.stream.writer.write_all(line.as_bytes()).await.unwrap();
        self.stream.writer.flush().await.unwrap();
    }

    /// Reads to the end of the stream. That it was cut is an end as well.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = in_time(self.stream.reader.read_to_end(&mut rest)).await;
        rest
    }

    pub(super) async fn stop(self) {
        drop(self.stream);
        in_time(self.place.stop()).await;
    }
}

/// Getting ready changes nothing of the places that come, and leaves nothing when none does.
pub(super) async fn what_was_made_ready_is_a_place_or_nothing(subject: &dyn Subject) {
    subject.executor().warm_up();
    let mut first = Session::open(subject).await;
    let mut second = Session::open(subject).await;
    for session in [&mut first, &mut second] {
        assert_eq!(session.ask("echo ready").await, "ready");
    }
    first.stop().await;
    second.stop().await;
    subject.executor().warm_up();
}

pub(super) async fn prepare(
    subject: &dyn Subject,
    request: &PlaceRequest,
) -> Result<Box<dyn Place>, PlaceError> {
    let (lines, _log) = tokio::sync::mpsc::unbounded_channel();
    in_time(subject.executor().prepare(request, &SpinUpLog(lines))).await
}

/// Nothing of these tests may hang.
pub(super) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what)
        .await
        .expect("an answer within a minute")
}

/// Sweeping is the last word, however often it is said.
pub(super) async fn nothing_remains(subject: &dyn Subject) {
    for _ in 0..2 {
        in_time(subject.executor().sweep()).await.unwrap();
        assert_eq!(subject.remains().await, [""; 0]);
    }
}

pub(super) async fn an_agent_is_talked_to_until_it_ends(subject: &dyn Subject) {
    let (lines, mut log) = tokio::sync::mpsc::unbounded_channel();
    let preparing = subject
        .executor()
        .prepare(&subject.request(), &SpinUpLog(lines))
        .await;
    let mut place = preparing.unwrap();
    assert!(
        log.try_recv().is_ok(),
        "a person is told where the job runs"
    );
    let stream = place.start().await.unwrap();
    let mut session = Session { place, stream };
    assert_eq!(session.ask("echo hello").await, "hello");
    session.say("exit 7").await;
    assert!(session.rest().await.is_empty());
    // However often it is asked.
    for _ in 0..2 {
        let exit = in_time(session.place.watch()).await;
        assert_eq!((exit.code, exit.out_of_memory), (Some(7), false));
        assert!(!exit.by_job && exit.cause.contains('7'), "{exit:?}");
    }
    session.stop().await;
}

pub(super) async fn the_end_of_its_input_reaches_an_agent(subject: &dyn Subject) {
    let mut session = Session::open(subject).await;
    assert_eq!(session.ask("echo ready").await, "ready");
    session.stream.writer.shutdown().await.unwrap();
    assert!(session.rest().await.is_empty());
    assert_eq!(in_time(session.place.watch()).await.code, Some(0));
    session.stop().await;
}

pub(super) async fn an_agent_that_is_killed_is_known_to_be(subject: &dyn Subject) {
    let mut session = Session::open(subject).await;
    let pid = session.ask("echo $$").await;
    subject.kill(&pid).await;
    session.rest().await;
    let exit = in_time(session.place.watch()).await;
    assert_eq!((exit.code, exit.by_job), (Some(137), false), "{exit:?}");
    assert!(exit.cause.contains("signal 9"), "{exit:?}");
    session.stop().await;
}

/// Leaves the session and the process group of the agent in every way there is.
const STRAYS: &str = "setsid sleep 997 >/dev/null 2>&1 </dev/null & \
     (setsid sh -c 'sleep 998 & sleep 999 &' >/dev/null 2>&1 </dev/null &) ; echo started";

pub(super) async fn nothing_outlives_a_place(subject: &dyn Subject) {
    let mut session = Session::open(subject).await;
    assert_eq!(session.ask(STRAYS).await, "started");
    assert_ne!(subject.remains().await, [""; 0]);
    session.stop().await;
    // What a stop leaves to the background is done soon, without a sweep.
    let began = Instant::now();
    while !subject.remains().await.is_empty() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            subject.remains().await
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) async fn nothing_outlives_a_place_that_was_forgotten(subject: &dyn Subject) {
    let mut session = Session::open(subject).await;
    assert_eq!(session.ask(STRAYS).await, "started");
    // As when the task of a runner panics.
    drop(session);
    nothing_remains(subject).await;
}

pub(super) async fn a_place_that_was_never_started_is_removed(subject: &dyn Subject) {
    let mut place = prepare(subject, &subject.request()).await.unwrap();
    let exit = in_time(place.watch()).await;
    assert_eq!(exit.code, None, "{exit:?}");
    in_time(place.stop()).await;
}

pub(super) async fn places_are_apart(subject: &dyn Subject) {
    let mut one = Session::open(subject).await;
    let mut other = Session::open(subject).await;
    assert_eq!(one.ask("echo mine >mark; cat mark").await, "mine");
    assert_eq!(other.ask("cat mark 2>/dev/null || echo none").await, "none");
    one.stop().await;
    assert_eq!(other.ask("echo still here").await, "still here");
    other.stop().await;
}

pub(super) async fn much_output_comes_through_in_order(subject: &dyn Subject) {
    let mut session = Session::open(subject).await;
    session.say("seq 1 200000; exit").await;
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(session.rest().await == expected.as_bytes());
    session.stop().await;
}

pub(super) async fn the_folders_of_the_kernel_are_refused(subject: &dyn Subject) {
    for folder in [
        "/proc",
        "/sys/kernel",
        "//dev/shm",
        "/tmp/../proc/self",
        "~/../../../../../dev",
    ] {
        let request = PlaceRequest {
            working_directory: folder.to_owned(),
            ..subject.request()
        };
        match prepare(subject, &request).await {
            Err(PlaceError::Job(why)) => assert!(why.contains(folder), "{why}"),
            Err(other) => panic!("{folder}: {other}"),
            Ok(_) => panic!("{folder} became a place"),
        }
    }
}
