//! The `.git` directory of a job: enough to ask for history, nothing of the user's own.
//!
//! A job gets what a clone would have: commits that its own branch, the main one, tags and remote branches
//! lead to, as one pack, with references and an index of its own. It gets no hooks, no configuration, no
//! credentials, and nothing it could use to write to the repository it came from. Its files are unlinked
//! as soon as they are open, so that nothing is left however the run ends.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::facts::{self, RepositoryFiles};
use super::git;

/// With more than this in the repository's packs, a job gets its last commit only: sources are pinned, so
/// every run keeps a copy.
const PACKS_MAX: u64 = 64 << 20;

/// What a job's `.git` is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The commit of `HEAD`.
    pub(super) sha: String,
    /// The branch that `HEAD` is on; with none it is detached.
    pub(super) branch: Option<String>,
    /// A tag at that commit.
    pub(super) tag: Option<String>,
}

/// Files of a `.git` directory, by their paths within it.
#[derive(Debug)]
pub(super) struct History {
    /// Small ones.
    pub(super) texts: Vec<(PathBuf, Vec<u8>)>,
    /// Large ones, with their lengths.
    pub(super) files: Vec<(PathBuf, File, u64)>,
}

impl History {
    /// Of the repository whose top is `root`.
    pub(super) fn make(root: &Path, files: &RepositoryFiles, wanted: &Wanted) -> io::Result<Self> {
        let scratch = Scratch::new()?;
        let references = references(files, wanted);
        let (packed, index) = std::thread::scope(|scope| {
            let index = scope.spawn(|| index(root, &scratch, &wanted.sha));
            let packed = pack(root, files, &scratch, &references, &wanted.sha);
            (packed, index.join())
        });
        let whole = packed?;
        let index = index.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))?;
        let mut history = Self {
            texts: Vec::new(),
            files: vec![held(PathBuf::from("index"), &index)?],
        };
        for entry in fs::read_dir(scratch.packs())? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(name) = name.filter(|name| name.starts_with("pack-")) {
                let name = Path::new("objects/pack").join(name);
                history.files.push(held(name, &path)?);
            }
        }
        let mut text = |path: &str, text: String| {
            history.texts.push((PathBuf::from(path), text.into_bytes()));
        };
        text("HEAD", head(wanted));
        text("config", config(files, wanted));
        text("packed-refs", packed_refs(&references, wanted, whole));
        let shallow = match whole {
            Whole::Yes => files.shallow(),
            Whole::LastCommit => Some(format!("{}\n", wanted.sha)),
        };
        let default = files.default_branch().filter(|name| is_plain(name));
        if let Some(name) = default.map(|name| format!("refs/remotes/origin/{name}"))
            && whole == Whole::Yes
            && references.contains_key(&name)
        {
            text("refs/remotes/origin/HEAD", format!("ref: {name}\n"));
        }
        if let Some(shallow) = shallow {
            text("shallow", shallow);
        }
        Ok(history)
    }
}

/// A directory that goes with its value, and the files in it that nobody holds open.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let base = std::env::temp_dir();
        for number in 0..1000 {
            let path = base.join(format!("capstan-git-{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let base = base.display();
                    let why = format!("cannot make a directory in {base}: {error}");
                    return Err(io::Error::other(why));
                }
                Ok(()) => {
                    let scratch = Self(path);
                    fs::create_dir_all(scratch.packs())?;
                    return Ok(scratch);
                }
            }
        }
        Err(io::Error::other(format!(
            "every name for a directory in {} is taken",
            base.display()
        )))
    }

    /// Where new packs go: into object storage of its own, so that the repository is not written to.
    fn packs(&self) -> PathBuf {
        self.0.join("objects/pack")
    }

    /// A call that reads the repository's objects and writes here.
    fn git(&self, root: &Path, files: &RepositoryFiles) -> Command {
        // In a list of directories, so that a colon in the path needs quotes.
        let mut quoted = vec![b'"'];
        for byte in files.objects().as_os_str().as_bytes() {
            if matches!(byte, b'"' | b'\\') {
                quoted.push(b'\\');
            }
            quoted.push(*byte);
        }
        quoted.push(b'"');
        let mut command = git::command(root);
        command
            .env("GIT_OBJECT_DIRECTORY", self.0.join("objects"))
            .env(
                "GIT_ALTERNATE_OBJECT_DIRECTORIES",
                OsString::from_vec(quoted),
            );
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn held(name: PathBuf, path: &Path) -> io::Result<(PathBuf, File, u64)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok((name, file, length))
}

/// Name → object. Those of the job's own branch and tag are at its commit, wherever they are here.
fn references(files: &RepositoryFiles, wanted: &Wanted) -> BTreeMap<String, String> {
    let default = files.default_branch();
    let shared = ["main", "master"].into_iter().chain(default.as_deref());
    let shared: Vec<String> = shared.map(|name| format!("refs/heads/{name}")).collect();
    let mut found = files.references();
    // Other branches of this machine were not shown to anybody yet.
    found.retain(|name, _| !name.starts_with("refs/heads/") || shared.contains(name));
    if let Some(branch) = wanted.branch.as_deref().filter(|name| is_plain(name)) {
        found.insert(format!("refs/heads/{branch}"), wanted.sha.clone());
    }
    if let Some(tag) = wanted.tag.as_deref().filter(|name| is_plain(name)) {
        found
            .entry(format!("refs/tags/{tag}"))
            .or_insert_with(|| wanted.sha.clone());
    }
    found
}

/// Whether `git` takes it as the name of a branch or tag.
fn is_plain(name: &str) -> bool {
    let odd = |letter: char| letter.is_control() || " ~^:?*[\\\"".contains(letter);
    !name.is_empty()
        && !name.starts_with('-')
        && !name.contains(odd)
        && !name.contains("..")
        && !name.contains("@{")
        && name.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && !part.ends_with('.')
                && !part.ends_with(".lock")
        })
}

/// Whether the pack holds all that the references lead to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    /// The commit of `HEAD` with its files, and no other.
    LastCommit,
}

fn pack(
    root: &Path,
    files: &RepositoryFiles,
    scratch: &Scratch,
    references: &BTreeMap<String, String>,
    sha: &str,
) -> io::Result<Whole> {
    if files.pack_bytes() <= PACKS_MAX {
        let mut starts: Vec<&str> = references.values().map(String::as_str).collect();
        starts.push(sha);
        starts.sort_unstable();
        starts.dedup();
        let command = scratch.git(root, files);
        if pack_objects(command, scratch, &["--revs"], &starts.join("\n")).is_ok() {
            return Ok(Whole::Yes);
        }
        // A reference to what is not there, or a partial clone: what HEAD needs is there all the same.
    }
    let args = [
        "rev-list",
        "--objects",
        "--no-walk",
        "--end-of-options",
        sha,
    ];
    let listed = git::expect_output(root, &args).map_err(io::Error::other)?;
    let command = scratch.git(root, files);
    pack_objects(
        command,
        scratch,
        &[],
        String::from_utf8_lossy(&listed).trim_end(),
    )?;
    Ok(Whole::LastCommit)
}

fn pack_objects(
    mut command: Command,
    scratch: &Scratch,
    args: &[&str],
    input: &str,
) -> io::Result<()> {
    let mut child = command
        // Read once and thrown away: waiting for the disk would be most of the time it takes.
        .args(["-c", "core.fsync=none"])
        .args(["-c", "pack.packSizeLimit=0"])
        .args(["-c", "pack.writeReverseIndex=false", "-c", "pack.threads=1"])
        .args(["pack-objects", "-q", "--delta-base-offset"])
        .args(args)
        .arg(scratch.packs().join("pack"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut written = Ok(());
    if let Some(mut stdin) = child.stdin.take() {
        // It says itself why it stopped reading.
        written = stdin
            .write_all(input.as_bytes())
            .and_then(|()| stdin.write_all(b"\n"));
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return written;
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("git pack-objects failed: {said}")))
}

/// An index of the commit, so that a job sees as changed what differs from it.
fn index(root: &Path, scratch: &Scratch, sha: &str) -> io::Result<PathBuf> {
    let path = scratch.0.join("index");
    let output = git::command(root)
        .args([
            "-c",
            "core.splitIndex=false",
            "-c",
            "core.untrackedCache=false",
        ])
        .args([
            "-c",
            "core.sparseCheckout=false",
            "-c",
            "index.sparse=false",
        ])
        .args(["read-tree", sha])
        .env("GIT_INDEX_FILE", &path)
        .output()?;
    if output.status.success() {
        return Ok(path);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("git read-tree failed: {said}")))
}

fn head(wanted: &Wanted) -> String {
    match wanted.branch.as_deref().filter(|name| is_plain(name)) {
        Some(branch) => format!("ref: refs/heads/{branch}\n"),
        None => format!("{}\n", wanted.sha),
    }
}

fn packed_refs(references: &BTreeMap<String, String>, wanted: &Wanted, whole: Whole) -> String {
    let mut text = String::from("# pack-refs with: sorted \n");
    for (name, sha) in references {
        // With the last commit only, others would point at nothing.
        if whole == Whole::Yes || *sha == wanted.sha {
            text.push_str(&format!("{sha} {name}\n"));
        }
    }
    text
}

/// Settings of our own making; the remote is named, without credentials.
fn config(files: &RepositoryFiles, wanted: &Wanted) -> String {
    let sha256 = wanted.sha.len() == 64;
    let version = u8::from(sha256);
    let mut text = format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = false\n\
         \tlogallrefupdates = true\n[gc]\n\tauto = 0\n"
    );
    if sha256 {
        text.push_str("[extensions]\n\tobjectformat = sha256\n");
    }
    let url = files
        .remote_url()
        .map(|url| facts::without_credentials(&url));
    if let Some(url) = url.filter(|url| !url.contains(char::is_control)) {
        let url = url.replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!(
            "[remote \"origin\"]\n\turl = \"{url}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
        ));
        if let Some(branch) = wanted.branch.as_deref().filter(|name| is_plain(name)) {
            text.push_str(&format!(
                "[branch \"{branch}\"]\n\tremote = origin\n\tmerge = refs/heads/{branch}\n"
            ));
        }
    }
    text
}
