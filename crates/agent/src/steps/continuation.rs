//! Continues a setup pipeline: what the `continue` and `finish` commands of the continuation orb do, without
//! curl, jq, token or network.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use capstan_model::plan::ContinueStep;
use capstan_model::trigger::ParameterValue;
use capstan_model::wire::CONTINUATION_MAX;

use rustix::fs::OFlags;

use crate::steps::Ended;
use crate::task::{Output, Task};

/// What `finish` continues with: nothing.
const NOTHING: &str = "{version: 2, jobs: {}, workflows: {version: 2}}";

/// Reads the config and the parameters where the job left them, and continues with them.
pub(crate) fn run(task: &Task, step: &ContinueStep, output: &mut Output<'_>) -> Ended {
    match continued(task, step, output) {
        Ok(()) => Ended::well(),
        Err(why) => {
            let ended = task.over().unwrap_or_else(|| {
                let first = why.lines().next().unwrap_or("").to_owned();
                Ended::badly(first)
            });
            output.line(&why);
            ended
        }
    }
}

fn continued(task: &Task, step: &ContinueStep, output: &mut Output<'_>) -> Result<(), String> {
    let (name, text) = match &step.configuration {
        None => (String::from("nothing"), NOTHING.to_owned()),
        Some(path) => {
            let path = expanded(task, path);
            if path.is_empty() {
                return Err(String::from(
                    "configuration_path is empty: it names the config to continue with",
                ));
            }
            let text =
                read(task, &path)?.ok_or_else(|| format!("there is no {path} to continue with"))?;
            (path, text)
        }
    };
    let mut parameters = parameters(task, &step.parameters)?;
    if let (Some(path), Some(name)) = (&step.files_changed, &step.parameter_for_files_changed) {
        let (path, name) = (expanded(task, path), expanded(task, name));
        let files = read(task, &path)?.unwrap_or_default();
        if !name.is_empty() && !files.is_empty() {
            let files: Vec<&str> = files.lines().collect();
            parameters.insert(name, ParameterValue::String(files.join(",")));
        }
    }
    if step.configuration.is_some() {
        let shown: Vec<String> = parameters.iter().map(shown).collect();
        let with = if shown.is_empty() {
            String::from("no parameters")
        } else {
            shown.join(", ")
        };
        output.line(&format!("Continuing with {name} and {with}"));
    } else {
        output.line("Finishing: the pipeline continues with nothing");
    }
    task.link
        .continue_with(name, text.as_bytes(), parameters, task.deadline)
}

fn shown((name, value): (&String, &ParameterValue)) -> String {
    match value {
        ParameterValue::String(text) | ParameterValue::Untyped(text) => format!("{name}={text:?}"),
        ParameterValue::Integer(n) => format!("{name}={n}"),
        ParameterValue::Boolean(b) => format!("{name}={b}"),
    }
}

/// The parameters: a JSON object, or the path of a file that holds one.
fn parameters(task: &Task, written: &str) -> Result<BTreeMap<String, ParameterValue>, String> {
    let written = expanded(task, written);
    let as_file = if written.trim_start().starts_with('{') {
        None
    } else {
        read(task, &written)?
    };
    let (from, text) = match as_file {
        Some(text) => (written, text),
        None => (String::from("parameters"), written),
    };
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| format!("{from} are not valid JSON: {error}"))?;
    let serde_json::Value::Object(object) = value else {
        return Err(format!("{from}: pipeline parameters are a JSON object"));
    };
    object
        .into_iter()
        .map(|(name, value)| match value {
            serde_json::Value::String(text) => Ok((name, ParameterValue::String(text))),
            serde_json::Value::Bool(b) => Ok((name, ParameterValue::Boolean(b))),
            serde_json::Value::Number(n) if n.is_i64() => {
                Ok((name, ParameterValue::Integer(n.as_i64().unwrap_or_default())))
            }
            other => Err(format!(
                "the parameter {name} is {other}: a pipeline parameter is a string, an integer or a boolean"
            )),
        })
        .collect()
}

/// `$NAME` and `${NAME}` replaced by what the job's environment says; a name without a value is empty.
fn expanded(task: &Task, text: &str) -> String {
    substituted(text, |name| task.variable(name))
}

fn substituted(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (inside, braced) = match rest.strip_prefix('{') {
            Some(inside) => (inside, true),
            None => (rest, false),
        };
        let length = inside
            .bytes()
            .enumerate()
            .take_while(|(i, b)| {
                b.is_ascii_alphabetic() || *b == b'_' || (*i > 0 && b.is_ascii_digit())
            })
            .count();
        let (name, after) = inside.split_at(length);
        let after = match braced {
            true => after.strip_prefix('}'),
            false => Some(after),
        };
        match after {
            Some(after) if !name.is_empty() => {
                out.push_str(&value(name).unwrap_or_default());
                rest = after;
            }
            // Not a name: the dollar stands for itself.
            _ => out.push('$'),
        }
    }
    out.push_str(rest);
    out
}

/// The text of a file of the job, read with the job's rights; `None` if there is none.
fn read(task: &Task, path: &str) -> Result<Option<String>, String> {
    let failed = |error: &io::Error| format!("cannot read {path}: {error}");
    let full = task.path(path);
    let bytes = match &task.user {
        None => read_limited(&full),
        Some(user) => std::env::current_exe().and_then(|program| {
            let mut command = Command::new(program);
            command
                .args(task.self_arguments.iter())
                .arg("read")
                .arg(&full)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            capstan_sys::run_as(&mut command, user.ids.clone());
            let answer = crate::reaper::spawn(&mut command)?.wait_with_output()?;
            match answer.status.code() {
                Some(0) => Ok(Some(answer.stdout)),
                Some(code) if code == i32::from(NOT_THERE) => Ok(None),
                _ => Err(io::Error::other(
                    String::from_utf8_lossy(&answer.stderr).trim().to_owned(),
                )),
            }
        }),
    };
    match bytes.map_err(|error| failed(&error))? {
        None => Ok(None),
        Some(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| format!("{path} is not UTF-8 text")),
    }
}

/// How a reading child says that there is no such file.
const NOT_THERE: u8 = 3;

fn read_limited(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // A pipe in the place of a file must not hold us up.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut bytes = Vec::new();
    file.take(CONTINUATION_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CONTINUATION_MAX {
        return Err(io::Error::other("longer than 4 MiB"));
    }
    Ok(Some(bytes))
}

/// `read PATH`, as the job's user: the file goes to standard output.
pub(crate) fn main(path: &OsStr) -> ExitCode {
    match read_limited(Path::new(path)) {
        Ok(Some(bytes)) => match io::stdout().write_all(&bytes) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Ok(None) => ExitCode::from(NOT_THERE),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::substituted;

    #[test]
    fn names_are_replaced_and_lone_dollars_stay() {
        let value = |name: &str| (name == "A" || name == "A1").then(|| format!("<{name}>"));
        let table = [
            ("plain", "plain"),
            ("$A/x", "<A>/x"),
            ("${A}x", "<A>x"),
            ("$A1", "<A1>"),
            ("$B.yml", ".yml"),
            ("cost: 5$", "cost: 5$"),
            ("${A", "${A"),
            ("$1", "$1"),
            ("$$A", "$<A>"),
        ];
        for (text, expected) in table {
            assert_eq!(substituted(text, value), expected, "{text}");
        }
    }
}
