//! Where runs are kept: one directory each, named by its pipeline's id.
//!
//! `<data>/runs/<pipeline>/` belongs to the server that wrote it, apart from `run.json`: what it takes
//! to list the runs of a project, and to run one again, without opening its store.

use std::fs;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use capstan_model::PipelineId;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// What `run.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunFile {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// Its number in the project.
    pub number: u64,
    /// The project root.
    pub root: PathBuf,
    /// Path of the config, relative to the root.
    pub config_path: String,
    /// The branch or tag it ran as.
    pub label: String,
    /// When it was started, in milliseconds since 1970 UTC.
    pub started_at_ms: i64,
    /// How it stood when its process ended; `None` while it runs, or when the process was killed.
    pub status: Option<String>,
    /// The socket of the process that runs it.
    pub socket: PathBuf,
}

/// The line that is added when a run's process ends.
#[derive(Serialize, Deserialize)]
struct EndLine {
    status: String,
}

/// A run on disk.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its directory.
    pub directory: PathBuf,
    /// What its `run.json` says.
    pub file: RunFile,
}

impl Run {
    /// The word for where it stands.
    pub fn status(&self) -> &str {
        match &self.file.status {
            Some(status) => status,
            None if self.is_live() => "running",
            None => "interrupted",
        }
    }

    /// Whether a process is at it right now.
    pub fn is_live(&self) -> bool {
        std::os::unix::net::UnixStream::connect(&self.file.socket).is_ok()
    }

    /// A folder that the run in `directory` shares with all others.
    pub fn shared(directory: &Path, name: &str) -> PathBuf {
        // `<data>/runs/<pipeline>`.
        let data = directory.ancestors().nth(2).unwrap_or(directory);
        data.join(name)
    }

    /// Reads a `run.json`: the run as it was started, and a line for how it ended.
    fn read(directory: PathBuf) -> Option<Self> {
        let text = fs::read(directory.join("run.json")).ok()?;
        let mut lines = text.split(|byte| *byte == b'\n');
        let mut file: RunFile = serde_json::from_slice(lines.next()?).ok()?;
        // Half a line is none.
        if let Some(end) = lines.find_map(|line| serde_json::from_slice::<EndLine>(line).ok()) {
            file.status = Some(end.status);
        }
        Some(Self { directory, file })
    }

    /// Adds how it ended.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn end(&mut self, status: &str) -> Result<(), Failure> {
        let path = self.directory.join("run.json");
        let end = EndLine {
            status: status.to_owned(),
        };
        serde_json::to_string(&end)
            .map_err(std::io::Error::from)
            .and_then(|line| {
                let mut file = fs::OpenOptions::new().append(true).open(&path)?;
                file.write_all(format!("\n{line}\n").as_bytes())?;
                // Somebody comes back to one that waits.
                if status == "on_hold" {
                    file.sync_all()?;
                }
                Ok(())
            })
            .map_err(|error| cannot("write", &path, &error))?;
        self.file.status = Some(end.status);
        Ok(())
    }

    /// Writes `run.json`, whole or not at all.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save(&self) -> Result<(), Failure> {
        let path = self.directory.join("run.json");
        let next = self.directory.join("run.json.next");
        serde_json::to_vec(&self.file)
            .map_err(std::io::Error::from)
            .and_then(|text| fs::write(&next, text))
            .and_then(|()| fs::rename(next, &path))
            .map_err(|error| cannot("write", &path, &error))
    }
}

/// The directory everything is kept in.
pub struct Data {
    directory: PathBuf,
}

impl Data {
    /// `$CAPSTAN_DATA`, else `$XDG_DATA_HOME/capstan`, else `~/.local/share/capstan`.
    ///
    /// # Errors
    /// None of these is set.
    pub fn locate() -> Result<Self, Failure> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let directory = set("CAPSTAN_DATA")
            .or_else(|| set("XDG_DATA_HOME").map(|home| home.join("capstan")))
            .or_else(|| set("HOME").map(|home| home.join(".local/share/capstan")))
            .ok_or_else(|| {
                Failure::setup("there is no directory to keep runs in: HOME is not set")
                    .hint("set CAPSTAN_DATA to a directory")
            })?;
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        Ok(Self { directory })
    }

    /// Where orbs that were fetched are kept.
    pub fn orbs(&self) -> PathBuf {
        self.directory.join("orbs")
    }

    /// Makes the directory of a new run.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn create(&self, file: RunFile) -> Result<Run, Failure> {
        let directory = self.runs().join(file.pipeline.to_string());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|error| cannot("create", &directory, &error))?;
        let run = Run { directory, file };
        run.save()?;
        Ok(run)
    }

    /// The next number of a project.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn next_number(&self, root: &Path) -> Result<u64, Failure> {
        let directory = self.directory.join("projects");
        let path = directory.join(format!("{:016x}", fingerprint(root)));
        let count = || -> std::io::Result<u64> {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)?;
            let mut file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            // Two runs that start at once take turns.
            file.lock()?;
            let mut text = String::new();
            let before = file.read_to_string(&mut text)?;
            let number = text.trim().parse::<u64>().unwrap_or(0).saturating_add(1);
            let text = number.to_string();
            file.rewind()?;
            file.write_all(text.as_bytes())?;
            // A number is as long as the one before it or longer; only what was no number is cut.
            if before > text.len() {
                file.set_len(text.len() as u64)?;
            }
            Ok(number)
        };
        count().map_err(|error| cannot("write to", &path, &error))
    }

    /// The runs of a project, newest first.
    pub fn runs_of(&self, root: &Path) -> Vec<Run> {
        self.all(|file| file.root == root)
    }

    fn all(&self, wanted: impl Fn(&RunFile) -> bool) -> Vec<Run> {
        let Ok(entries) = fs::read_dir(self.runs()) else {
            return Vec::new();
        };
        let mut runs: Vec<Run> = entries
            .flatten()
            .filter_map(|entry| Run::read(entry.path()))
            .filter(|run| wanted(&run.file))
            .collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.file.started_at_ms, run.file.number)));
        runs
    }

    /// The run a person names: `latest`, `#` and its number, or the beginning of its id, all in this project;
    /// or a whole id, wherever it is.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn find(&self, root: &Path, name: &str) -> Result<Run, Failure> {
        // What is short may be meant for something else, and a run of elsewhere is not to be run by accident.
        let whole: Option<PipelineId> = name.parse().ok();
        let runs = match whole {
            Some(id) => self.all(|file| file.pipeline == id),
            None => self.runs_of(root),
        };
        if runs.is_empty() && whole.is_none() {
            return Err(
                Failure::config(format!("there are no runs of {} yet", root.display()))
                    .hint("capstan run; --config PATH looks at another project"),
            );
        }
        let number = name
            .strip_prefix('#')
            .and_then(|number| number.parse::<u64>().ok());
        let lower = name.to_ascii_lowercase();
        let mut matching: Vec<Run> = runs
            .into_iter()
            .enumerate()
            .filter(|(at, run)| match number {
                Some(number) => run.file.number == number,
                None if name == "latest" => *at == 0,
                None => !lower.is_empty() && run.file.pipeline.to_string().starts_with(&lower),
            })
            .map(|(_, run)| run)
            .collect();
        match (matching.pop(), matching.len()) {
            (Some(run), 0) => Ok(run),
            (Some(_), more) => Err(Failure::config(format!(
                "{} runs begin with {name:?}",
                more + 1
            ))
            .hint("give more of the id; `capstan runs` lists them")),
            (None, _) => Err(Failure::config(format!("there is no run {name:?}"))
                .hint("`capstan runs` lists them; `latest` is the last one")),
        }
    }

    fn runs(&self) -> PathBuf {
        self.directory.join("runs")
    }
}

fn cannot(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::setup(format!("cannot {verb} {}: {error}", path.display()))
        .hint("set CAPSTAN_DATA to a directory you can write to")
}

/// FNV-1a. A file name needs no more; two projects that met would share their numbers, nothing else.
fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Milliseconds since 1970 UTC.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(data: &Data, id: &str, number: u64, root: &str) {
        let file = RunFile {
            pipeline: id.parse().unwrap(),
            number,
            root: PathBuf::from(root),
            config_path: String::from(".circleci/config.yml"),
            label: String::from("main"),
            started_at_ms: i64::try_from(number).unwrap(),
            status: None,
            socket: PathBuf::from("/nonexistent"),
        };
        data.create(file).unwrap();
    }

    #[test]
    fn runs_are_found_by_what_a_person_would_type() {
        let directory = tempfile::tempdir().unwrap();
        let data = Data {
            directory: directory.path().to_owned(),
        };
        let root = Path::new("/p");
        run(&data, "aaaaaaaa-0000-4000-8000-000000000001", 1, "/p");
        run(&data, "aabbbbbb-0000-4000-8000-000000000002", 2, "/p");
        run(&data, "cccccccc-0000-4000-8000-000000000003", 3, "/other");
        let found = |name: &str| data.find(root, name).map(|run| run.file.number).ok();
        assert_eq!(found("latest"), Some(2));
        assert_eq!(found("aaa"), Some(1));
        assert_eq!(found("AAB"), Some(2));
        assert_eq!(found("#1"), Some(1));
        assert_eq!(found("aa"), None, "two runs begin so");
        assert_eq!(
            found("cc"),
            None,
            "a run of elsewhere may be meant by nobody"
        );
        let id = "cccccccc-0000-4000-8000-000000000003";
        assert_eq!(found(id), Some(3), "a whole id is the same everywhere");
        assert_eq!(found("#3"), None, "another project's number");
        assert_eq!(found(""), None);
        assert_eq!(data.find(root, "latest").unwrap().status(), "interrupted");
    }

    #[test]
    fn the_last_word_on_a_run_is_a_line_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let data = Data {
            directory: directory.path().to_owned(),
        };
        run(&data, "aaaaaaaa-0000-4000-8000-000000000001", 1, "/p");
        let found = || data.find(Path::new("/p"), "latest").unwrap();
        assert_eq!(found().status(), "interrupted");
        let path = found().directory.join("run.json");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"\n{\"status\":\"suc"].concat()).unwrap();
        assert_eq!(found().status(), "interrupted", "killed while writing it");
        fs::write(&path, whole).unwrap();
        found().end("on_hold").unwrap();
        assert_eq!(found().status(), "on_hold");
        let mut again = found();
        again.file.status = None;
        again.save().unwrap();
        assert_eq!(found().status(), "interrupted");
    }

    #[test]
    fn numbers_count_per_project() {
        let directory = tempfile::tempdir().unwrap();
        let data = Data {
            directory: directory.path().to_owned(),
        };
        assert_eq!(data.next_number(Path::new("/p")).unwrap(), 1);
        assert_eq!(data.next_number(Path::new("/p")).unwrap(), 2);
        assert_eq!(data.next_number(Path::new("/q")).unwrap(), 1);
    }
}
