//! A tree as a tar stream, written by a thread at the pace of its reader.

use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

use super::facts::RepositoryFiles;
use super::git;
use super::history::{History, Wanted};

const CHUNK: usize = 64 << 10;
const CHUNKS_IN_FLIGHT: usize = 4;

/// Which files.
pub(super) enum Source {
    /// What `git add --all` would hold, as it is on disk.
    Tracked,
    /// Every file below the root.
    Everything,
    /// The files of a commit, all with this time in seconds since 1970 UTC.
    Commit {
        /// The commit.
        sha: String,
        /// Time of the files.
        time: u64,
    },
}

/// What is needed to make a history.
pub(super) struct HistoryRequest {
    /// Where from.
    pub(super) repository: RepositoryFiles,
    /// What for.
    pub(super) wanted: Wanted,
}

/// Starts writing. A failure comes out of the stream as an error, never as a shorter tree.
pub(super) fn stream(
    root: PathBuf,
    source: Source,
    history: Option<HistoryRequest>,
) -> impl AsyncRead + Send {
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    std::thread::spawn(move || {
        let out = ChunkWriter {
            sender: sender.clone(),
            chunk: Vec::with_capacity(CHUNK),
        };
        if let Err(error) = write(&root, &source, history, out) {
            // Whoever stopped reading does not want to know.
            let _ = sender.blocking_send(Err(error));
        }
    });
    ChunkReader {
        receiver,
        chunk: Vec::new(),
        start: 0,
    }
}

fn write(
    root: &Path,
    source: &Source,
    history: Option<HistoryRequest>,
    out: ChunkWriter,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    // Made while the files are on their way.
    let history = history.map(|request| {
        let root = root.to_owned();
        std::thread::spawn(move || History::make(&root, &request.repository, &request.wanted))
    });
    match source {
        Source::Tracked => match tracked(root) {
            Ok(paths) => append_paths(&mut tar, root, &paths)?,
            // Without the program nobody knows what is ignored; with it, a refusal is the answer.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                append_everything(&mut tar, root)?
            }
            Err(error) => return Err(error),
        },
        Source::Everything => append_everything(&mut tar, root)?,
        Source::Commit { sha, time } => append_commit(&mut tar, root, sha, *time)?,
    }
    if let Some(history) = history {
        let history = history
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
        match history {
            Ok(history) => append_history(&mut tar, &history)?,
            // Without the program there is nothing to ask for history with either.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let why = format!("cannot make the job's .git directory: {error}");
                return Err(io::Error::new(error.kind(), why));
            }
        }
    }
    tar.into_inner()?.flush()
}

/// Paths relative to `root` of tracked and untracked files, without ignored ones, in order.
fn tracked(root: &Path) -> io::Result<Vec<PathBuf>> {
    let args = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let output = git::output(root, &args)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("git ls-files failed: {said}")));
    }
    let mut paths: Vec<PathBuf> = output
        .stdout
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(std::ffi::OsString::from_vec(path.to_vec())))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    Ok(paths)
}

type Tar = tar::Builder<ChunkWriter>;

fn append_paths(tar: &mut Tar, root: &Path, paths: &[PathBuf]) -> io::Result<()> {
    for path in paths {
        let full = root.join(path);
        // Deleted since it was tracked, or since it was listed.
        let Ok(metadata) = fs::symlink_metadata(&full) else {
            continue;
        };
        if !metadata.is_dir() {
            append_file(tar, &full, path, &metadata)?;
            continue;
        }
        // A submodule, or a repository inside the repository: its own files by its own rules.
        append_directory(tar, path, &metadata)?;
        if full.join(".git").exists() {
            let inner: Vec<PathBuf> = tracked(&full)?
                .iter()
                .map(|inner| path.join(inner))
                .collect();
            append_paths(tar, root, &inner)?;
        }
    }
    Ok(())
}

fn append_everything(tar: &mut Tar, root: &Path) -> io::Result<()> {
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let mut entries: Vec<_> =
            fs::read_dir(root.join(&directory))?.collect::<io::Result<_>>()?;
        entries.sort_unstable_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if entry.file_name() == ".git" {
                continue;
            }
            let path = directory.join(entry.file_name());
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                append_directory(tar, &path, &metadata)?;
                pending.push(path);
            } else {
                append_file(tar, &entry.path(), &path, &metadata)?;
            }
        }
    }
    Ok(())
}

fn header(kind: tar::EntryType, mode: u32, time: u64, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(time);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn time_of(metadata: &Metadata) -> u64 {
    u64::try_from(metadata.mtime()).unwrap_or(0)
}

fn append_directory(tar: &mut Tar, path: &Path, metadata: &Metadata) -> io::Result<()> {
    let mode = metadata.permissions().mode() & 0o777;
    let mut header = header(tar::EntryType::Directory, mode, time_of(metadata), 0);
    tar.append_data(&mut header, path, io::empty())
}

fn append_file(tar: &mut Tar, full: &Path, path: &Path, metadata: &Metadata) -> io::Result<()> {
    if metadata.file_type().is_symlink() {
        let target = fs::read_link(full)?;
        return append_link(tar, path, &target, time_of(metadata));
    }
    if !metadata.is_file() {
        // Sockets, pipes and devices are nothing to check out.
        return Ok(());
    }
    let file = match File::open(full) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let message = format!("cannot read {}: {error}", full.display());
            return Err(io::Error::new(error.kind(), message));
        }
    };
    let size = metadata.len();
    let mode = metadata.permissions().mode() & 0o777;
    let mut header = header(tar::EntryType::Regular, mode, time_of(metadata), size);
    // The file may grow or shrink under us; the entry keeps the size its header gave.
    tar.append_data(&mut header, path, file.chain(io::repeat(0)).take(size))
}

fn append_link(tar: &mut Tar, path: &Path, target: &Path, time: u64) -> io::Result<()> {
    let mut header = header(tar::EntryType::Symlink, 0o777, time, 0);
    tar.append_link(&mut header, path, target)
}

/// Writes the blobs of a commit as they are stored. `git archive` would leave out what is marked
/// `export-ignore`, which a checkout does not.
fn append_commit(tar: &mut Tar, root: &Path, sha: &str, time: u64) -> io::Result<()> {
    let listing = git::expect_output(root, &["ls-tree", "-r", "-z", "--end-of-options", sha])
        .map_err(io::Error::other)?;
    let mut child = git::command(root)
        .args(["cat-file", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (Some(mut ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("git cat-file has no pipes"));
    };
    let mut answers = BufReader::with_capacity(CHUNK, answers);
    for entry in listing
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty())
    {
        let (mode, object, path) = tree_entry(entry)
            .ok_or_else(|| io::Error::other("git ls-tree answered in an unknown form"))?;
        if mode == "160000" {
            let mut header = header(tar::EntryType::Directory, 0o755, time, 0);
            tar.append_data(&mut header, path, io::empty())?;
            continue;
        }
        writeln!(ask, "{object}")?;
        ask.flush()?;
        let size = blob_size(&mut answers)?;
        if mode == "120000" {
            let mut target = Vec::new();
            answers.by_ref().take(size).read_to_end(&mut target)?;
            append_link(
                tar,
                path,
                Path::new(std::ffi::OsStr::from_bytes(&target)),
                time,
            )?;
        } else {
            let bits = if mode == "100755" { 0o755 } else { 0o644 };
            let mut header = header(tar::EntryType::Regular, bits, time, size);
            tar.append_data(&mut header, path, answers.by_ref().take(size))?;
        }
        let mut newline = [0];
        answers.read_exact(&mut newline)?;
    }
    drop(ask);
    let status = child.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("git cat-file: {status}")))
    }
}

/// Writes a `.git` directory.
fn append_history(tar: &mut Tar, history: &History) -> io::Result<()> {
    // Git takes a directory without these for no repository.
    for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        let mut header = header(tar::EntryType::Directory, 0o755, 0, 0);
        tar.append_data(&mut header, Path::new(".git").join(directory), io::empty())?;
    }
    for (path, text) in &history.texts {
        let mut header = header(tar::EntryType::Regular, 0o644, 0, text.len() as u64);
        tar.append_data(&mut header, Path::new(".git").join(path), text.as_slice())?;
    }
    for (path, file, length) in &history.files {
        let mut header = header(tar::EntryType::Regular, 0o644, 0, *length);
        tar.append_data(
            &mut header,
            Path::new(".git").join(path),
            file.take(*length),
        )?;
    }
    Ok(())
}

/// `<mode> <type> <object>\t<path>`.
fn tree_entry(entry: &[u8]) -> Option<(&str, &str, &Path)> {
    let tab = entry.iter().position(|byte| *byte == b'\t')?;
    let (head, path) = entry.split_at_checked(tab)?;
    let mut words = std::str::from_utf8(head).ok()?.split(' ');
    let (mode, _kind, object) = (words.next()?, words.next()?, words.next()?);
    Some((
        mode,
        object,
        Path::new(std::ffi::OsStr::from_bytes(path.get(1..)?)),
    ))
}

/// `<object> blob <size>`, the line before the bytes.
fn blob_size(answers: &mut impl BufRead) -> io::Result<u64> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    let size = line
        .trim_end()
        .rsplit(' ')
        .next()
        .and_then(|size| size.parse().ok());
    size.ok_or_else(|| io::Error::other(format!("git cat-file answered {:?}", line.trim_end())))
}

/// The writing end, for a thread.
struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.sender
            .blocking_send(Ok(chunk))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The reading end, for a task.
struct ChunkReader {
    receiver: mpsc::Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    start: usize,
}

impl AsyncRead for ChunkReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.start >= self.chunk.len() {
            match std::task::ready!(self.receiver.poll_recv(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(chunk)) => {
                    self.chunk = chunk;
                    self.start = 0;
                }
            }
        }
        let pending = self.chunk.get(self.start..).unwrap_or_default();
        let length = pending.len().min(buffer.remaining());
        buffer.put_slice(pending.get(..length).unwrap_or_default());
        self.start += length;
        Poll::Ready(Ok(()))
    }
}
