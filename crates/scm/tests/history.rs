//! The `.git` directory of a job, asked what jobs ask.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use capstan_model::trigger::Revision;
use capstan_scm::{Forge, Worktree};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

/// Runs git as somebody without any settings of their own. Returns what it said, trimmed.
fn git(directory: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org"])
        .args([
            "-c",
            "init.defaultBranch=main",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn commit(directory: &Path, path: &str, text: &str) {
    fs::create_dir_all(directory.join(path).parent().unwrap()).unwrap();
    fs::write(directory.join(path), text).unwrap();
    git(directory, &["add", "-A"]);
    git(
        directory,
        &["commit", "-q", "-m", &format!("change {path}")],
    );
}

/// A repository with two commits on `main`, a tag on the first, and a branch that is checked out.
fn repository() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let at = place.path();
    git(at, &["init", "-q"]);
    commit(at, ".circleci/config.yml", "version: 2.1\n");
    git(at, &["tag", "-a", "-m", "the first", "v1.0"]);
    commit(at, "a", "alpha\n");
    git(at, &["checkout", "-q", "-b", "feature/x"]);
    commit(at, "dir/b", "beta\n");
    place
}

/// What a job of this project checks out.
struct Job(TempDir);

impl Job {
    fn of(project: &Path) -> Self {
        let worktree = Worktree::discover(project, None).unwrap();
        let revision = worktree.revision();
        Self::with(&worktree, &revision)
    }

    fn with(worktree: &Worktree, revision: &Revision) -> Self {
        let bytes = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(async {
                let mut stream = worktree.open_source(revision).await.unwrap();
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).await.unwrap();
                bytes
            });
        let place = tempfile::tempdir().unwrap();
        tar::Archive::new(bytes.as_slice())
            .unpack(place.path())
            .unwrap();
        Self(place)
    }

    fn git(&self, words: &str) -> String {
        let args: Vec<&str> = words.split(' ').collect();
        git(self.0.path(), &args)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(".git").join(path)
    }

    /// The answers are those of the project itself, and nothing is wrong with the repository.
    fn must_agree(&self, project: &Path, questions: &[&str]) {
        for words in questions {
            let args: Vec<&str> = words.split(' ').collect();
            assert_eq!(self.git(words), git(project, &args), "git {words}");
        }
        self.git("fsck --strict --no-dangling");
    }
}

const QUESTIONS: &[&str] = &[
    "rev-parse HEAD",
    "symbolic-ref HEAD",
    "log --format=%H%s%an",
    "describe --tags",
    "diff --name-only main...",
    "merge-base main HEAD",
    "status --porcelain",
    "for-each-ref --format=%(refname)%(objectname) refs/tags refs/remotes",
    "show HEAD~2:.circleci/config.yml",
    "ls-files --stage",
];

#[test]
fn a_job_can_ask_what_the_project_can() {
    let project = repository();
    Job::of(project.path()).must_agree(project.path(), QUESTIONS);
    git(project.path(), &["gc", "-q"]);
    Job::of(project.path()).must_agree(project.path(), QUESTIONS);
}

#[test]
fn what_was_changed_shows_as_changed() {
    let project = repository();
    fs::write(project.path().join("a"), "changed\n").unwrap();
    fs::write(project.path().join("new"), "new\n").unwrap();
    fs::remove_file(project.path().join("dir/b")).unwrap();
    let job = Job::of(project.path());
    job.must_agree(project.path(), QUESTIONS);
    assert_eq!(job.git("diff --name-only"), "a\ndir/b");
}

#[test]
fn a_job_can_work_with_it() {
    let project = repository();
    let before = git(project.path(), &["for-each-ref"]);
    let job = Job::of(project.path());
    commit(job.0.path(), "made", "in the job\n");
    job.git("checkout -q main");
    assert!(!job.0.path().join("dir/b").exists());
    job.git("gc -q --prune=now");
    assert_eq!(git(project.path(), &["for-each-ref"]), before);
    assert_eq!(git(project.path(), &["status", "--porcelain"]), "");
}

#[test]
fn repositories_of_every_kind_bring_their_history() {
    let project = repository();
    let other = tempfile::tempdir().unwrap();
    let at = |name: &str| other.path().join(name);
    let from = project.path().to_str().unwrap();

    git(
        project.path(),
        &[
            "worktree",
            "add",
            "-q",
            "-b",
            "linked",
            at("linked").to_str().unwrap(),
        ],
    );
    Job::of(&at("linked")).must_agree(&at("linked"), QUESTIONS);

    git(other.path(), &["clone", "-q", "--shared", from, "shared"]);
    git(&at("shared"), &["branch", "main", "origin/main"]);
    let job = Job::of(&at("shared"));
    job.must_agree(&at("shared"), QUESTIONS);
    assert!(!job.path("objects/info/alternates").exists());
    assert_eq!(
        job.git("rev-parse origin/HEAD"),
        job.git("rev-parse origin/feature/x")
    );

    let url = format!("file://{from}");
    git(other.path(), &["clone", "-q", "--depth=1", &url, "shallow"]);
    let shallow = [
        "rev-parse HEAD",
        "log --format=%H%s",
        "rev-parse --is-shallow-repository",
    ];
    Job::of(&at("shallow")).must_agree(&at("shallow"), &shallow);

    git(project.path(), &["checkout", "-q", "--detach"]);
    let job = Job::of(project.path());
    job.must_agree(
        project.path(),
        &["rev-parse HEAD", "describe --tags", "branch --show-current"],
    );
}

#[test]
fn where_the_history_is_not_whole_the_last_commit_is() {
    let project = repository();
    let nowhere = "0123456789012345678901234567890123456789\n";
    fs::write(project.path().join(".git/refs/tags/broken"), nowhere).unwrap();
    let job = Job::of(project.path());
    job.must_agree(
        project.path(),
        &[
            "rev-parse HEAD",
            "symbolic-ref HEAD",
            "log -1 --format=%s",
            "status --porcelain",
        ],
    );
    assert_eq!(job.git("rev-list --count HEAD"), "1");
    assert_eq!(job.git("rev-parse --is-shallow-repository"), "true");
}

#[test]
fn a_commit_that_was_asked_for_is_its_head() {
    let project = repository();
    let worktree = Worktree::discover(project.path(), None)
        .unwrap()
        .at("v1.0")
        .unwrap();
    let mut revision = worktree.revision();
    revision.branch = Some(String::from("release"));
    let job = Job::with(&worktree, &revision);
    assert_eq!(job.git("symbolic-ref HEAD"), "refs/heads/release");
    assert_eq!(
        job.git("rev-parse HEAD"),
        git(project.path(), &["rev-parse", "v1.0^{commit}"])
    );
    assert_eq!(job.git("status --porcelain"), "");
    // A tag pipeline has no branch, and its tag is there whether the repository has it or not.
    revision.branch = None;
    revision.tag = Some(String::from("v9"));
    let job = Job::with(&worktree, &revision);
    assert_eq!(job.git("branch --show-current"), "");
    assert_eq!(job.git("describe --tags --exact-match --match v9"), "v9");
}

#[test]
fn nothing_of_the_users_own_goes_along() {
    let project = repository();
    let at = project.path();
    fs::write(at.join(".git/hooks/post-checkout"), "#!/bin/sh\n").unwrap();
    git(at, &["config", "http.extraHeader", "Authorization: s3cret"]);
    git(
        at,
        &[
            "remote",
            "add",
            "origin",
            "https://ann:s3cret@example.org/o/p.git",
        ],
    );
    fs::write(at.join("a"), "stashed s3cret\n").unwrap();
    git(at, &["stash", "-q"]);
    commit(at, "c", "amended s3cret\n");
    fs::write(at.join("c"), "harmless\n").unwrap();
    git(at, &["commit", "-q", "-a", "--amend", "-m", "amended"]);
    let lost = git(at, &["rev-parse", "HEAD@{1}"]);
    git(at, &["checkout", "-q", "-b", "private"]);
    commit(at, "d", "nobody saw it");
    let private = git(at, &["rev-parse", "HEAD"]);
    git(at, &["checkout", "-q", "feature/x"]);
    let job = Job::of(at);
    assert_eq!(
        job.git("config remote.origin.url"),
        "https://example.org/o/p.git"
    );
    assert!(!job.path("hooks").exists() && !job.path("logs").exists());
    for text in [
        fs::read_to_string(job.path("config")).unwrap(),
        job.git("for-each-ref"),
    ] {
        assert!(
            !text.contains("s3cret") && !text.contains("stash"),
            "{text}"
        );
    }
    let objects = job.git("cat-file --batch-all-objects --batch-check");
    for object in [lost, private] {
        assert!(
            !objects.contains(&object),
            "it was not for others: {object}"
        );
    }
}

#[test]
fn names_that_git_would_not_take_change_nothing() {
    let project = repository();
    let worktree = Worktree::discover(project.path(), None).unwrap();
    for name in [
        "a\"]\n[core]\n\thooksPath=x",
        "-x",
        "a..b",
        "a b",
        "x.lock",
        "/x",
        "a\nb",
        "",
    ] {
        let revision = Revision {
            branch: Some(name.to_owned()),
            tag: Some(name.to_owned()),
            ..worktree.revision()
        };
        let job = Job::with(&worktree, &revision);
        assert_eq!(job.git("branch --show-current"), "", "{name:?}");
        let config = fs::read_to_string(job.path("config")).unwrap();
        assert!(!config.contains("hooksPath"), "{name:?}: {config}");
        job.git("fsck --strict");
    }
}

#[test]
fn without_a_commit_or_below_the_top_there_is_none() {
    let bare = tempfile::tempdir().unwrap();
    fs::create_dir(bare.path().join(".circleci")).unwrap();
    git(bare.path(), &["init", "-q"]);
    assert!(!Job::of(bare.path()).path("").exists());
    let project = repository();
    let below = project.path().join("part/.circleci");
    fs::create_dir_all(&below).unwrap();
    commit(
        project.path(),
        "part/.circleci/config.yml",
        "version: 2.1\n",
    );
    assert!(!Job::of(&project.path().join("part")).path("").exists());
}
