//! A small process that outlives a killed `capstan` and removes its containers. On the host it is not
//! needed: an agent there dies with its stream, and takes everything of its job along.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::executor::docker;

/// What says that everything was removed in order.
const GOODBYE: u8 = b'.';
/// A container that was being made when its maker was killed may appear this much later.
const LATECOMERS: Duration = Duration::from_millis(1500);
/// After this the engine is not going to obey any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A guard at work. Dropping it after [`Guard::all_removed`] sends it home; dropping it before leaves the
/// rest to it.
#[derive(Debug)]
pub struct Guard {
    stdin: Option<ChildStdin>,
    child: Child,
    done: AtomicBool,
}

impl Guard {
    /// Starts a guard for the containers labelled with this run.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(run: &str) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["guard", run])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // A group of its own: what is sent to Capstan's group is not meant for it.
        let mut child = command.process_group(0).spawn()?;
        Ok(Self {
            stdin: child.stdin.take(),
            child,
            done: AtomicBool::new(false),
        })
    }

    /// Nothing is left for the guard to do.
    pub fn all_removed(&self) {
        self.done.store(true, Ordering::Release);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(mut stdin) = self.stdin.take() else {
            return;
        };
        if self.done.load(Ordering::Acquire) {
            // A guard that is gone needs no goodbye.
            let _ = stdin.write_all(&[GOODBYE]);
            drop(stdin);
            let _ = self.child.wait();
        }
    }
}

/// The guard as a program: `capstan guard RUN`.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let Some(run) = arguments.first().and_then(|word| word.to_str()) else {
        return ExitCode::from(2);
    };
    let mut said = Vec::new();
    // A broken pipe is an end as well.
    let _ = io::stdin().lock().read_to_end(&mut said);
    if said == [GOODBYE] {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(remove(run)),
        Err(_) => ExitCode::FAILURE,
    }
}

async fn remove(run: &str) -> ExitCode {
    let start = Instant::now();
    let mut clean = false;
    while start.elapsed() < LATECOMERS || (!clean && start.elapsed() < PATIENCE) {
        clean = docker::remove_run(run).await.is_ok();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
