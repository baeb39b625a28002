//! `circleci` and `circleci-agent` inside a job (platform 2.9). They find the agent's directory by
//! `CIRCLE_INTERNAL_TASK_DATA`, so they work wherever a job copies them.

mod glob;
mod split;
mod subst;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use split::{By, Kind, Timings};

const HELP: &str = "\
usage: circleci <command>

  tests glob PATTERN...        print the files that the patterns name, one a line:
                               * and ? within a folder, ** through folders, [abc], {a,b}
  tests split [FLAGS] [FILE]   print this node's share of the names in FILE or standard input
  tests run --command=COMMAND [FLAGS]
                               run a command with this node's share on its standard input
    --split-by=name|filesize|timings     what makes a test much work (name)
    --timings-type=autodetect|classname|filename|testname
    --timings-file=FILE                  earlier results: {\"tests\": [{\"file\", \"run_time\"}]}
    --time-default=TIME                  for a test without a timing, such as 10s
    --index=N --total=N                  CIRCLE_NODE_INDEX and CIRCLE_NODE_TOTAL
    --show-counts                        say on standard error how many there are
  env subst [TEXT]             put variables into TEXT or standard input: $A ${A} ${A:-default}
  step halt                    end the job after this step, successfully (also: task halt)
  version                      print the version (also: --version)
";

/// Name of the file that tells the agent to halt.
pub(crate) const HALT: &str = "halt";
/// What an unknown test counts as, in microseconds: little beside one that is known.
const UNKNOWN: u64 = 10_000;

/// Runs a command; `words` are its arguments.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| *word != "--verbose")
        .collect();
    let done = match words.as_slice() {
        [] | ["--help" | "-h" | "help", ..] | [.., "--help" | "-h"] => say(HELP),
        ["--version" | "version", ..] => say(&format!("{}\n", env!("CARGO_PKG_VERSION"))),
        ["step" | "task", "halt"] => halt(),
        ["tests", "glob", patterns @ ..] => tests_glob(patterns),
        ["tests", "split", flags @ ..] => tests_split(flags),
        ["tests", "run", flags @ ..] => tests_run(flags),
        ["env", "subst", text @ ..] => env_subst(text),
        other => Err(format!(
            "`{}` is not supported inside a Capstan job yet\n{HELP}",
            other.join(" ")
        )),
    };
    done.unwrap_or_else(|why| {
        note(&format!("circleci: {}", why.trim_end()));
        ExitCode::from(2)
    })
}

/// How a command ended, or why it could not do what it was told.
type Done = Result<ExitCode, String>;

/// Prints. A reader that has enough is no failure.
fn say(text: &str) -> Done {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write: {error}"))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Says something beside the output. One who does not listen is no failure either.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn halt() -> Done {
    let folder = std::env::var_os("CIRCLE_INTERNAL_TASK_DATA")
        .map(PathBuf::from)
        .ok_or("CIRCLE_INTERNAL_TASK_DATA is not set: this is not a job")?;
    std::fs::write(folder.join(HALT), "")
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| format!("cannot write to {}: {error}", folder.display()))
}

/// Whether a job has asked to halt.
pub(crate) fn halted(folder: &Path) -> bool {
    folder.join(HALT).exists()
}

fn tests_glob(patterns: &[&str]) -> Done {
    if patterns.is_empty() {
        return Err(String::from(
            "tests glob needs a pattern, such as \"tests/**/*.py\" in quotes",
        ));
    }
    let mut found = Vec::new();
    for pattern in patterns {
        found.extend(glob::find(pattern)?);
    }
    found.sort();
    found.dedup();
    say(&lines(&found))
}

fn tests_split(flags: &[&str]) -> Done {
    let flags = Flags::parse(flags, Kind::AutoDetect)?;
    if flags.command.is_some() {
        return Err(String::from("--command belongs to `tests run`"));
    }
    let mine = flags.share(flags.names()?)?;
    say(&lines(&mine))
}

fn tests_run(flags: &[&str]) -> Done {
    let flags = Flags::parse(flags, Kind::File)?;
    let command = flags
        .command
        .as_deref()
        .ok_or("tests run needs --command=\"…\"")?;
    let mine = flags.share(flags.names()?)?;
    if mine.is_empty() {
        // A command that gets no names would often take all of them.
        note("No tests for this node; the command is not run.");
        return Ok(ExitCode::SUCCESS);
    }
    let words = crate::shell::words(None)?;
    let (shell, options) = words.split_first().ok_or("there is no shell")?;
    let mut child = Command::new(shell)
        .args(options)
        .args(["-c", command])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {shell}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command may know its tests without reading them.
        let _ = stdin.write_all(format!("{}\n", mine.join(" ")).as_bytes());
    }
    let status = child
        .wait()
        .map_err(|error| format!("cannot wait for {shell}: {error}"))?;
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = signal.map(|signal| 128 + signal).or(status.code());
    let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

fn env_subst(text: &[&str]) -> Done {
    let find =
        |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    match text {
        [] => {
            let text = read_all(None)?;
            say(&subst::substitute(&text, &find)?)
        }
        [text] => say(&format!("{}\n", subst::substitute(text, &find)?)),
        _ => Err(String::from("env subst takes one text; put it in quotes")),
    }
}

fn lines(names: &[String]) -> String {
    let mut text = names.join("\n");
    if !names.is_empty() {
        text.push('\n');
    }
    text
}

fn read_all(file: Option<&str>) -> Result<String, String> {
    let bytes = match file {
        Some(file) => {
            std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?
        }
        None => {
            let mut bytes = Vec::new();
            io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|error| format!("cannot read standard input: {error}"))?;
            bytes
        }
    };
    String::from_utf8(bytes)
        .map_err(|_| format!("{} is not UTF-8 text", file.unwrap_or("standard input")))
}

/// The flags of `tests split` and `tests run`.
#[derive(Debug, Default)]
struct Flags {
    by: By,
    kind: Kind,
    index: usize,
    total: usize,
    show_counts: bool,
    unknown: Option<u64>,
    timings: Option<String>,
    command: Option<String>,
    file: Option<String>,
}

impl Flags {
    fn parse(words: &[&str], kind: Kind) -> Result<Self, String> {
        let of_node = |name: &str, otherwise: usize| {
            let value = std::env::var(name).ok();
            value
                .and_then(|value| value.parse().ok())
                .unwrap_or(otherwise)
        };
        let mut flags = Self {
            kind,
            index: of_node("CIRCLE_NODE_INDEX", 0),
            total: of_node("CIRCLE_NODE_TOTAL", 1),
            ..Self::default()
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) if word.starts_with("--") => (name, Some(value)),
                _ => (*word, None),
            };
            match name {
                "--show-counts" => {
                    flags.show_counts = value != Some("false");
                    continue;
                }
                "-v" => continue,
                name if !name.starts_with('-') => {
                    if flags.file.replace(name.to_owned()).is_some() {
                        return Err(format!("one file at most, and {name} is a second one"));
                    }
                    continue;
                }
                _ => {}
            }
            let value = value
                .or_else(|| words.next().copied())
                .ok_or_else(|| format!("{name} needs a value"))?;
            flags.set(name, value)?;
        }
        if flags.index >= flags.total {
            let Self { index, total, .. } = flags;
            return Err(format!(
                "there is no node {index} of {total}: they are counted from 0"
            ));
        }
        Ok(flags)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let unknown = || format!("{name} cannot be {value:?}");
        match name {
            "--split-by" => {
                self.by = match value {
                    "name" => By::Name,
                    "filesize" => By::FileSize,
                    "timings" => By::Timings,
                    _ => return Err(unknown()),
                }
            }
            "--timings-type" => {
                self.kind = match value {
                    "autodetect" => Kind::AutoDetect,
                    "classname" => Kind::Class,
                    "filename" | "file" => Kind::File,
                    "testname" | "name" => Kind::Test,
                    _ => return Err(unknown()),
                }
            }
            "--index" => self.index = value.parse().map_err(|_| unknown())?,
            "--total" => self.total = value.parse().map_err(|_| unknown())?,
            "--time-default" => self.unknown = Some(micros(value).ok_or_else(unknown)?),
            "--timings-file" => self.timings = Some(value.to_owned()),
            "--command" => self.command = Some(value.to_owned()),
            _ => return Err(format!("there is no flag {name}\n{HELP}")),
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, String> {
        let text = read_all(self.file.as_deref())?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    fn share(&self, names: Vec<String>) -> Result<Vec<String>, String> {
        let weights = match self.by {
            _ if self.total <= 1 => None,
            By::Name => None,
            By::FileSize => {
                let size = |name: &String| {
                    std::fs::metadata(name).map_or_else(
                        |error| {
                            note(&format!(
                                "circleci: {name} counts as an empty file: {error}"
                            ));
                            0
                        },
                        |metadata| metadata.len(),
                    )
                };
                Some(names.iter().map(size).collect())
            }
            By::Timings => {
                let unknown = self.unknown.unwrap_or(UNKNOWN);
                let weights = self.timings()?.weights(&names, self.kind, unknown);
                if weights.is_none() {
                    note("Error auto-detecting timing type, falling back to weighting by name.");
                }
                weights
            }
        };
        let all = names.len();
        let mine = split::share(names, weights, self.index, self.total);
        if self.show_counts {
            note(&format!(
                "{} of {all} tests are for node {}",
                mine.len(),
                self.index
            ));
        }
        Ok(mine)
    }

    /// Those of a file that was named, else those that came with the task, if any did.
    fn timings(&self) -> Result<Timings, String> {
        let file = match &self.timings {
            Some(file) => file.clone(),
            None => {
                let folder = std::env::var_os("CIRCLE_INTERNAL_TASK_DATA").unwrap_or_default();
                let file = Path::new(&folder).join("circle-test-results/results.json");
                if !file.is_file() {
                    return Ok(Timings::default());
                }
                file.to_string_lossy().into_owned()
            }
        };
        Timings::parse(&read_all(Some(&file))?)
            .map_err(|why| format!("{file} holds no timings: {why}"))
    }
}

/// `10s`, `1.5s`, `200ms`, `1m`.
fn micros(text: &str) -> Option<u64> {
    let start = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.get(start.len()..)? {
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds = start.parse::<f64>().ok()? * unit;
    let time = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(time.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::micros;

    #[test]
    fn times_have_units() {
        for (text, expected) in [
            ("10s", Some(10_000_000)),
            ("1.5s", Some(1_500_000)),
            ("200ms", Some(200_000)),
            ("2m", Some(120_000_000)),
            ("-1s", None),
            ("s", None),
            ("1d", None),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
    }
}
