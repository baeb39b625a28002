//! `cargo run --release -p capstan-benches [WORD…]`: what Capstan costs, each as a ratio to a limit
//! measured beside it in the same run. Words pick rows by their names. Nothing here fails for being
//! slow; it fails when something does not run.

mod config;
mod inputs;
mod measure;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use inputs::Project;
use measure::{Peak, median_of, once, pair};

type Outcome = Result<Row, String>;

/// One line of the table.
struct Row {
    /// Capstan's figure, ready to print.
    ours: String,
    /// The limit's figure.
    limit: String,
    /// Ours over the limit's.
    ratio: f64,
    /// What else there is to say.
    note: String,
}

struct Bench {
    name: &'static str,
    limit: &'static str,
    must: f64,
    run: fn(&Tools) -> Outcome,
}

const BENCHES: [Bench; 12] = [
    Bench {
        name: "hello, host",
        limit: "bash -c",
        must: 8.0,
        run: hello_host,
    },
    Bench {
        name: "a step, host",
        limit: "bash -c",
        must: 1.5,
        run: steps_host,
    },
    Bench {
        name: "40 jobs, host",
        limit: "make -j2",
        must: 4.0,
        run: fan_host,
    },
    Bench {
        name: "a job of 2,000",
        limit: "a job of 40",
        must: 1.5,
        run: many_jobs,
    },
    Bench {
        name: "hello, docker",
        limit: "docker run --rm",
        must: 1.2,
        run: hello_docker,
    },
    Bench {
        name: "a step, docker",
        limit: "bash -c inside",
        must: 2.0,
        run: steps_docker,
    },
    Bench {
        name: "200 MB, host",
        limit: "bash | cat > file",
        must: 4.0,
        run: output_host,
    },
    Bench {
        name: "200 MB, docker",
        limit: "attached stdio",
        must: 1.5,
        run: output_docker,
    },
    Bench {
        name: "config validate",
        limit: "libyaml scan",
        must: 3.0,
        run: config::validate,
    },
    Bench {
        name: "config process",
        limit: "libyaml scan",
        must: 5.0,
        run: config::process,
    },
    Bench {
        name: "config, 10k jobs",
        limit: "the clock",
        must: 1.0,
        run: config::many_jobs,
    },
    Bench {
        name: "config corpus",
        limit: "the clock",
        must: 1.0,
        run: config::corpus,
    },
];

/// What the rows need.
struct Tools {
    capstan: PathBuf,
    scratch: PathBuf,
    image: Option<String>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == [config::MANY] {
        return match config::compile_many_jobs() {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("capstan-benches: {why}");
                ExitCode::FAILURE
            }
        };
    }
    let wanted = |bench: &&Bench| {
        words.is_empty() || words.iter().any(|word| bench.name.contains(word.as_str()))
    };
    let program = BENCHES
        .iter()
        .filter(wanted)
        .any(|bench| !bench.name.starts_with("config"));
    let tools = match Tools::find(program) {
        Ok(tools) => tools,
        Err(why) => {
            eprintln!("capstan-benches: {why}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "{:<16} {:>11} {:>11} {:<18} {:>6} {:>6}",
        "work", "capstan", "limit", "is", "ratio", "must"
    );
    let mut broken = false;
    for bench in BENCHES.iter().filter(wanted) {
        broken |= !print(bench, (bench.run)(&tools));
    }
    // Leftovers in the temporary directory are no reason to call the figures wrong.
    let _ = std::fs::remove_dir_all(&tools.scratch);
    if broken {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn print(bench: &Bench, outcome: Outcome) -> bool {
    match outcome {
        Ok(row) => {
            let mark = if row.ratio <= bench.must {
                ""
            } else {
                "  OVER"
            };
            println!(
                "{:<16} {:>11} {:>11} {:<18} {:>5.2}x {:>5.1}x{mark} {}",
                bench.name, row.ours, row.limit, bench.limit, row.ratio, bench.must, row.note
            );
            true
        }
        Err(why) => {
            println!("{:<16} not measured: {why}", bench.name);
            why.starts_with("no ")
        }
    }
}

impl Tools {
    /// Builds `program` first, if rows are asked for that run it.
    fn find(program: bool) -> Result<Self, String> {
        if cfg!(debug_assertions) {
            return Err(String::from(
                "measure a release build: cargo run --release -p capstan-benches",
            ));
        }
        if program {
            build()?;
        }
        let exe = std::env::current_exe().map_err(|error| error.to_string())?;
        let capstan = exe.with_file_name("capstan");
        if program && !capstan.exists() {
            return Err(format!("{} does not exist", capstan.display()));
        }
        let scratch = std::env::temp_dir().join(format!("capstan-benches-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
        Ok(Self {
            capstan,
            scratch,
            image: image(),
        })
    }

    fn project(&self, name: &str, config: &str) -> Result<Project, String> {
        Project::make(&self.scratch.join(name), config)
    }

    fn run(&self, project: &Project, executor: &str) -> Command {
        let mut command = Command::new(&self.capstan);
        command
            .args(["run", "--executor", executor, "--config"])
            .arg(project.config())
            .current_dir(project.root())
            .env("CAPSTAN_DATA", self.scratch.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn image(&self) -> Result<&str, String> {
        self.image.as_deref().ok_or_else(|| {
            String::from("no Docker, or no image cimg/base:stable: see scripts/make-test-images.sh")
        })
    }
}

/// The programs under measurement must be of this tree and of this profile.
fn build() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--quiet",
            "--package",
            "capstan",
            "--package",
            "capstan-agent",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(String::from("the build failed"))
    }
}

fn image() -> Option<String> {
    let name = "cimg/base:stable";
    let mut inspect = Command::new("docker");
    inspect
        .args(["image", "inspect", name])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    inspect
        .status()
        .ok()
        .filter(|status| status.success())
        .map(|_| name.to_owned())
}

fn bash(script: &str) -> Command {
    let mut command = Command::new("bash");
    command
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn docker_run(image: &str, script: &str) -> Command {
    let mut command = Command::new("docker");
    command
        .args(["run", "--rm", image, "bash", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn compare(ours: Duration, limit: Duration, note: String) -> Row {
    Row {
        ours: measure::show(ours),
        limit: measure::show(limit),
        ratio: ours.as_secs_f64() / limit.as_secs_f64().max(1e-9),
        note,
    }
}

fn hello_host(tools: &Tools) -> Outcome {
    let project = tools.project("hello", &inputs::steps(1))?;
    let (ours, limit) = pair(30, || tools.run(&project, "host"), || bash("echo hello"))?;
    Ok(compare(ours, limit, String::new()))
}

const STEPS: u32 = 50;

/// Cost of a step: a job of 51 steps less a job of one.
fn step_cost(
    rounds: usize,
    long: impl Fn() -> Command,
    short: impl Fn() -> Command,
) -> Result<Duration, String> {
    let (long, short) = pair(rounds, long, short)?;
    Ok(long.saturating_sub(short) / STEPS)
}

fn steps_host(tools: &Tools) -> Outcome {
    let one = tools.project("one-step", &inputs::steps(1))?;
    let many = tools.project("many-steps", &inputs::steps(STEPS + 1))?;
    let ours = step_cost(15, || tools.run(&many, "host"), || tools.run(&one, "host"))?;
    let limit = median_of(60, || bash("true"))?;
    Ok(compare(ours, limit, String::new()))
}

fn fan_host(tools: &Tools) -> Outcome {
    let project = tools.project("fan", &inputs::fan(40))?;
    let makefile = inputs::makefile(&tools.scratch.join("make"), 40)?;
    let make = || {
        let mut command = Command::new("make");
        command
            .args(["-s", "-j2", "-f"])
            .arg(&makefile)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let ours = || {
        let mut command = tools.run(&project, "host");
        command.args(["--jobs", "2"]);
        command
    };
    let (ours, limit) = pair(9, ours, make)?;
    Ok(compare(ours, limit, String::new()))
}

fn many_jobs(tools: &Tools) -> Outcome {
    let few = tools.project("fan-40", &inputs::fan(40))?;
    let many = tools.project("fan-2000", &inputs::fan(2000))?;
    let of_many = median_of(1, || tools.run(&many, "host"))? / 2000;
    let of_few = median_of(7, || tools.run(&few, "host"))? / 40;
    Ok(compare(of_many, of_few, String::new()))
}

fn hello_docker(tools: &Tools) -> Outcome {
    let image = tools.image()?;
    let project = tools.project("hello-docker", &inputs::steps(1))?;
    let (ours, limit) = pair(
        11,
        || tools.run(&project, "docker"),
        || docker_run(image, "echo hello"),
    )?;
    Ok(compare(ours, limit, String::new()))
}

fn steps_docker(tools: &Tools) -> Outcome {
    let image = tools.image()?;
    let one = tools.project("one-step-docker", &inputs::steps(1))?;
    let many = tools.project("many-steps-docker", &inputs::steps(STEPS + 1))?;
    let ours = step_cost(
        7,
        || tools.run(&many, "docker"),
        || tools.run(&one, "docker"),
    )?;
    let script = "for i in $(seq 51); do bash -c true; done";
    let limit = step_cost(
        7,
        || docker_run(image, script),
        || docker_run(image, "bash -c true"),
    )?;
    Ok(compare(ours, limit, String::new()))
}

/// Two hundred million bytes of lines, made by one awk so that making them is cheap on both sides.
const LINES: &str = "yes 'the quick brown fox jumps over the lazy dog 0123456789 abcdefghijklmnop' \
                     | head -c 200000000";

fn output_host(tools: &Tools) -> Outcome {
    let file = tools.scratch.join("limit.out");
    let script = format!("bash -c \"{LINES}\" | cat > '{}'", file.display());
    let limit = median_of(5, || bash(&script))?;
    let sum = once(&mut checksum(&file))?;
    let (row, peak, ours) = output(tools, "host", limit)?;
    let hello = tools.project("hello-memory", &inputs::steps(1))?;
    let idle = measure::peak(&mut tools.run(&hello, "host"))?.1;
    let extra = peak.0.saturating_sub(idle.0) >> 20;
    let equal = if ours == sum {
        "SHA-256 equal"
    } else {
        "SHA-256 DIFFERS"
    };
    Ok(Row {
        note: format!("{extra} MiB over hello's peak (48 at most), {equal}"),
        ..row
    })
}

fn output_docker(tools: &Tools) -> Outcome {
    let image = tools.image()?.to_owned();
    let attached = || {
        let mut command = Command::new("docker");
        command
            .args([
                "run",
                "--rm",
                "--log-driver",
                "none",
                &image,
                "bash",
                "-c",
                LINES,
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let limit = median_of(3, attached)?;
    output(tools, "docker", limit).map(|(row, _, _)| row)
}

/// Runs the big job, and reads its log back for the checksum.
fn output(tools: &Tools, executor: &str, limit: Duration) -> Result<(Row, Peak, String), String> {
    let project = tools.project(&format!("output-{executor}"), &inputs::output(LINES))?;
    let secrets = inputs::secrets(project.root(), 20)?;
    let data = tools.scratch.join(format!("data-{executor}"));
    let command = || {
        let mut command = tools.run(&project, executor);
        command
            .arg("--env-file")
            .arg(&secrets)
            .env("CAPSTAN_DATA", &data);
        command
    };
    let mut times = Vec::new();
    let mut highest = Peak(0);
    for _ in 0..3 {
        let (time, peak) = measure::peak(&mut command())?;
        times.push(time);
        highest = highest.max(peak);
    }
    let mut logs = Command::new(&tools.capstan);
    logs.args(["logs", "latest", "build", "--step", "101", "--raw"])
        .current_dir(project.root())
        .env("CAPSTAN_DATA", &data)
        .stderr(Stdio::null());
    let sum = measure::sha256(&mut logs)?;
    let row = compare(measure::median(&mut times), limit, String::new());
    Ok((row, highest, sum))
}

fn checksum(file: &Path) -> Command {
    let mut command = Command::new("sha256sum");
    command.arg(file);
    command
}
