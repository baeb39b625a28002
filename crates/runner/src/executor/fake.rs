//! Places in memory, for tests of what uses an executor. Their agent is a task that understands the few
//! commands of a shell that the contract needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use capstan_model::wire::PinnedImage;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::task::JoinHandle;

use super::{
    AgentStream, Executor, Exit, Place, PlaceError, PlaceRequest, SpinUpLog, refuse_kernel_folders,
};

/// Makes places in memory.
#[derive(Default)]
pub(super) struct FakeExecutor {
    world: World,
}

/// Which places there are, by their number, and their agents.
type World = Arc<Mutex<BTreeMap<u32, Option<Agent>>>>;

/// A process, so to speak.
struct Agent {
    task: JoinHandle<()>,
    exit: tokio::sync::watch::Sender<Option<Exit>>,
}

fn lock(world: &World) -> std::sync::MutexGuard<'_, BTreeMap<u32, Option<Agent>>> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove(world: &World, number: u32) {
    if let Some(Some(agent)) = lock(world).remove(&number) {
        agent.task.abort();
    }
}

impl Executor for FakeExecutor {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn prepare<'a>(
        &'a self,
        request: &'a PlaceRequest,
        log: &'a SpinUpLog,
    ) -> BoxFuture<'a, Result<Box<dyn Place>, PlaceError>> {
        Box::pin(async move {
            refuse_kernel_folders(&request.working_directory)?;
            log.line("Running in memory");
            let mut world = lock(&self.world);
            let number = world.last_key_value().map_or(1, |(last, _)| last + 1);
            world.insert(number, None);
            let place: Box<dyn Place> = Box::new(FakePlace {
                world: Arc::clone(&self.world),
                number,
                exit: None,
            });
            Ok(place)
        })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<(), PlaceError>> {
        Box::pin(async move {
            let all: Vec<u32> = lock(&self.world).keys().copied().collect();
            for number in all {
                remove(&self.world, number);
            }
            Ok(())
        })
    }
}

struct FakePlace {
    world: World,
    number: u32,
    exit: Option<tokio::sync::watch::Receiver<Option<Exit>>>,
}

impl Place for FakePlace {
    fn start(&mut self) -> BoxFuture<'_, Result<AgentStream, PlaceError>> {
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(64 << 10);
            let (report, exit) = tokio::sync::watch::channel(None);
            let (input, output) = tokio::io::split(far);
            let (end, pid) = (report.clone(), self.number);
            let task = tokio::spawn(async move {
                let code = shell(input, output, pid).await;
                let cause = format!("the agent ended with exit code {code}");
                end.send_replace(Some(Exit {
                    code: Some(code),
                    ..Exit::unknown(cause)
                }));
            });
            lock(&self.world).insert(self.number, Some(Agent { task, exit: report }));
            self.exit = Some(exit);
            let (reader, writer) = tokio::io::split(near);
            Ok(AgentStream {
                reader: Box::pin(reader),
                writer: Box::pin(writer),
            })
        })
    }

    fn watch(&mut self) -> BoxFuture<'_, Exit> {
        Box::pin(async move {
            let Some(exit) = &mut self.exit else {
                return Exit::unknown("the agent was never started");
            };
            match exit.wait_for(Option::is_some).await {
                Ok(exit) => exit.clone().unwrap_or_else(|| Exit::unknown("unknown")),
                Err(_) => Exit::unknown("the place was removed"),
            }
        })
    }

    fn images(&self) -> Vec<PinnedImage> {
        Vec::new()
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { remove(&self.world, self.number) })
    }
}

/// Reads commands until `exit` or the end of its input; returns the exit code.
async fn shell(
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    pid: u32,
) -> i32 {
    let mut lines = BufReader::new(input).lines();
    let mut files = BTreeSet::new();
    while let Ok(Some(line)) = lines.next_line().await {
        for command in line.split(';').map(str::trim) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let said = match words.as_slice() {
                ["exit"] => return 0,
                ["exit", code] => return code.parse().unwrap_or(2),
                ["echo", "$$"] => format!("{pid}\n"),
                ["echo", "mine", ">mark"] => {
                    files.insert("mark");
                    String::new()
                }
                ["cat", "mark", ..] if files.contains("mark") => String::from("mine\n"),
                ["cat", "mark", ..] => String::from("none\n"),
                ["echo", words @ ..] => format!("{}\n", words.join(" ")),
                ["seq", first, last] => match (first.parse::<u32>(), last.parse::<u32>()) {
                    (Ok(first), Ok(last)) => (first..=last).map(|n| format!("{n}\n")).collect(),
                    _ => return 1,
                },
                // There are no processes to be started.
                _ => String::new(),
            };
            if output.write_all(said.as_bytes()).await.is_err() {
                return 141;
            }
        }
    }
    0
}

mod tests {
    use capstan_model::plan;
    use futures_util::future::BoxFuture;

    use super::super::contract::{Subject, contract};
    use super::super::{Executor, Exit, PlaceRequest};
    use super::{FakeExecutor, lock};

    struct Fake(FakeExecutor);

    async fn fake() -> Option<Fake> {
        Some(Fake(FakeExecutor::default()))
    }

    contract!(fake());

    impl Subject for Fake {
        fn executor(&self) -> &dyn Executor {
            &self.0
        }

        fn request(&self) -> PlaceRequest {
            PlaceRequest {
                task: "00000000-0000-4000-8000-000000000001.0.1".parse().unwrap(),
                lease_epoch: 1,
                job_name: "build".to_owned(),
                executor: plan::Executor::Docker(Vec::new()),
                resource_class: None,
                working_directory: "~/project".to_owned(),
            }
        }

        fn kill<'a>(&'a self, pid: &'a str) -> BoxFuture<'a, ()> {
            Box::pin(async move {
                let mut world = lock(&self.0.world);
                let agent = world
                    .get_mut(&pid.parse().unwrap())
                    .unwrap()
                    .take()
                    .unwrap();
                agent.task.abort();
                agent.exit.send_replace(Some(Exit {
                    code: Some(137),
                    ..Exit::unknown("the agent was killed by signal 9")
                }));
            })
        }

        fn remains(&self) -> BoxFuture<'_, Vec<String>> {
            let all: Vec<String> = lock(&self.0.world).keys().map(u32::to_string).collect();
            Box::pin(async move { all })
        }
    }
}
