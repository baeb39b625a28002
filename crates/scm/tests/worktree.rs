//! What a working tree gives, in all the states one finds them in.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use capstan_model::trigger::Revision;
use capstan_scm::{Forge, ForgeError, Worktree};
use tokio::io::AsyncReadExt;

fn git(directory: &Path, args: &[&str]) {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org"])
        .args([
            "-c",
            "init.defaultBranch=main",
            "-c",
            "commit.gpgSign=false",
        ])
        .args(["-c", "protocol.file.allow=always"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn write(directory: &Path, path: &str, text: &str) {
    let path = directory.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn project(directory: &Path) {
    write(directory, ".circleci/config.yml", "version: 2.1\n");
    write(directory, "tracked", "old");
    write(directory, "deleted", "x");
    write(directory, ".gitignore", "ignored\n");
}

fn repository(directory: &Path) {
    project(directory);
    git(directory, &["init", "-q"]);
    git(directory, &["add", "-A"]);
    git(directory, &["commit", "-q", "-m", "first line\n\nthe rest"]);
}

/// Path → content; links as `-> target`, directories as `/`, with ` +x` after what can be executed.
fn contents(worktree: &Worktree) -> BTreeMap<String, String> {
    let bytes = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(async {
            let mut stream = worktree.open_source(&Revision::default()).await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            bytes
        });
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut seen = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let kind = entry.header().entry_type();
        let mut text = String::new();
        if kind.is_symlink() {
            text = format!("-> {}", entry.link_name().unwrap().unwrap().display());
        } else if kind.is_dir() {
            text.push('/');
        } else {
            entry.read_to_string(&mut text).unwrap();
            if entry.header().mode().unwrap() & 0o111 != 0 {
                text.push_str(" +x");
            }
        }
        assert!(seen.insert(path.clone(), text).is_none(), "{path} twice");
    }
    seen
}

fn table(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect()
}

#[test]
fn uncommitted_changes_are_sources_and_ignored_files_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    repository(at);
    write(at, "tracked", "new");
    write(at, "sub/ü new", "n");
    write(at, "ignored", "i");
    fs::remove_file(at.join("deleted")).unwrap();
    write(at, "tool", "t");
    fs::set_permissions(at.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("tracked", at.join("link")).unwrap();
    let worktree = Worktree::discover(&at.join("sub"), None).unwrap();
    assert_eq!(worktree.root(), at.canonicalize().unwrap());
    let expected = [
        (".circleci/config.yml", "version: 2.1\n"),
        (".gitignore", "ignored\n"),
        ("link", "-> tracked"),
        ("sub/ü new", "n"),
        ("tool", "t +x"),
        ("tracked", "new"),
    ];
    assert_eq!(contents(&worktree), table(&expected));
    let revision = worktree.revision();
    assert_eq!(revision.branch.as_deref(), Some("main"));
    assert_eq!(revision.subject.as_deref(), Some("first line"));
    assert_eq!(revision.body.as_deref(), Some("the rest"));
    assert_eq!(revision.author.as_deref(), Some("Ann"));
    assert!(revision.dirty);
}

#[test]
fn a_commit_is_given_as_it_was_and_the_tree_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    project(at);
    // A checkout holds what an export would leave out.
    write(at, ".gitattributes", "deleted export-ignore\n");
    write(at, "empty", "");
    symlink("tracked", at.join("link")).unwrap();
    git(at, &["init", "-q"]);
    git(at, &["add", "-A"]);
    git(at, &["commit", "-q", "-m", "one"]);
    write(at, "tracked", "new");
    write(at, ".circleci/config.yml", "version: 2.1 # two\n");
    git(at, &["commit", "-q", "-a", "-m", "two"]);
    write(at, "tracked", "newer");
    let worktree = Worktree::discover(at, None).unwrap().at("HEAD~1").unwrap();
    let expected = [
        (".circleci/config.yml", "version: 2.1\n"),
        (".gitattributes", "deleted export-ignore\n"),
        (".gitignore", "ignored\n"),
        ("deleted", "x"),
        ("empty", ""),
        ("link", "-> tracked"),
        ("tracked", "old"),
    ];
    assert_eq!(contents(&worktree), table(&expected));
    assert_eq!(worktree.read_config().unwrap(), "version: 2.1\n");
    assert_eq!(worktree.revision().subject.as_deref(), Some("one"));
    assert!(!worktree.revision().dirty);
    assert_eq!(fs::read_to_string(at.join("tracked")).unwrap(), "newer");
    let missing = Worktree::discover(at, None).unwrap().at("--output=x");
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("there is no commit")
    );
}

#[test]
fn a_project_below_the_repository_is_given_alone() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    repository(at);
    write(at, "app/.circleci/config.yml", "version: 2.1 # app\n");
    write(at, "app/ignored", "");
    let worktree = Worktree::discover(&at.join("app"), None).unwrap();
    assert_eq!(
        contents(&worktree),
        table(&[(".circleci/config.yml", "version: 2.1 # app\n")])
    );
    git(at, &["add", "-A"]);
    git(at, &["commit", "-q", "-m", "app"]);
    let worktree = worktree.at("HEAD").unwrap();
    assert_eq!(
        contents(&worktree),
        table(&[(".circleci/config.yml", "version: 2.1 # app\n")])
    );
    assert_eq!(worktree.read_config().unwrap(), "version: 2.1 # app\n");
}

#[test]
fn submodules_bring_their_files() {
    let directory = tempfile::tempdir().unwrap();
    let (at, library) = (
        directory.path().join("app"),
        directory.path().join("library"),
    );
    repository(&at);
    write(&library, "code", "c");
    git(&library, &["init", "-q"]);
    git(&library, &["add", "-A"]);
    git(&library, &["commit", "-q", "-m", "library"]);
    git(
        &at,
        &[
            "submodule",
            "--quiet",
            "add",
            library.to_str().unwrap(),
            "lib",
        ],
    );
    let seen = contents(&Worktree::discover(&at, None).unwrap());
    assert_eq!(seen.get("lib/code").map(String::as_str), Some("c"));
    assert_eq!(seen.get("lib").map(String::as_str), Some("/"));
    assert!(
        !seen
            .keys()
            .any(|path| path.contains(".git/") || path.ends_with("lib/.git"))
    );
}

#[test]
fn branch_and_commit_are_known_in_every_state_of_a_repository() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("main");
    repository(&at);
    let head = |at: &Path| Worktree::discover(at, None).unwrap().revision();
    let sha = head(&at).sha.unwrap();
    assert_eq!(sha.len(), 40);

    git(&at, &["pack-refs", "--all"]);
    assert_eq!(head(&at).sha.as_ref(), Some(&sha), "packed references");

    let linked = directory.path().join("linked");
    git(
        &at,
        &[
            "worktree",
            "add",
            "-q",
            "-b",
            "feature/x",
            linked.to_str().unwrap(),
        ],
    );
    assert_eq!(head(&linked).branch.as_deref(), Some("feature/x"));
    assert_eq!(head(&linked).sha.as_ref(), Some(&sha));

    git(&at, &["checkout", "-q", "--detach"]);
    assert_eq!(head(&at).branch, None);
    assert_eq!(head(&at).sha.as_ref(), Some(&sha));

    let fresh = directory.path().join("fresh");
    project(&fresh);
    git(&fresh, &["init", "-q"]);
    assert_eq!(head(&fresh).branch.as_deref(), Some("main"));
    assert_eq!(head(&fresh).sha, None);
    assert!(contents(&Worktree::discover(&fresh, None).unwrap()).contains_key("tracked"));
}

#[test]
fn without_git_every_file_is_a_source() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("plain");
    project(&at);
    write(&at, "ignored", "i");
    fs::create_dir(at.join("empty")).unwrap();
    let worktree = Worktree::discover(&at, None).unwrap();
    let seen = contents(&worktree);
    assert_eq!(seen.get("ignored").map(String::as_str), Some("i"));
    assert_eq!(seen.get("empty").map(String::as_str), Some("/"));
    let revision = worktree.revision();
    assert_eq!((revision.branch, revision.sha), (None, None));
    assert_eq!(worktree.project().slug, "local/plain");
    assert!(
        worktree
            .at("HEAD")
            .unwrap_err()
            .to_string()
            .contains("not in a git repository")
    );
}

#[test]
fn the_remote_names_the_project() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    repository(at);
    git(
        at,
        &["remote", "add", "origin", "git@github.com:acme/shop.git"],
    );
    git(at, &["update-ref", "refs/remotes/origin/trunk", "HEAD"]);
    git(
        at,
        &[
            "symbolic-ref",
            "refs/remotes/origin/HEAD",
            "refs/remotes/origin/trunk",
        ],
    );
    let project = Worktree::discover(at, None).unwrap().project();
    assert_eq!(project.slug, "gh/acme/shop");
    assert_eq!(project.default_branch.as_deref(), Some("trunk"));
}

#[test]
fn a_config_elsewhere_decides_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    project(at);
    write(
        at,
        "example/.circleci/config.yml",
        "version: 2.1 # example\n",
    );
    write(at, "other.yml", "version: 2.1 # other\n");
    let real = at.canonicalize().unwrap();
    let cases = [
        (
            "example/.circleci/config.yml",
            real.join("example"),
            ".circleci/config.yml",
        ),
        ("other.yml", real.clone(), "other.yml"),
        ("/dev/null", real.clone(), "/dev/null"),
    ];
    for (config, root, path) in cases {
        let worktree = Worktree::discover(at, Some(Path::new(config))).unwrap();
        assert_eq!(worktree.root(), root, "{config}");
        assert_eq!(worktree.config_path(), path, "{config}");
        worktree.read_config().unwrap();
    }
}

#[test]
fn a_config_that_cannot_be_read_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, ".circleci/latin1.yml", "");
    fs::write(at.join(".circleci/latin1.yml"), b"a: \xe9\n").unwrap();
    let read = |config: &str| {
        Worktree::discover(at, Some(Path::new(config)))
            .unwrap()
            .read_config()
            .unwrap_err()
    };
    assert!(matches!(
        read(".circleci/config.yml"),
        ForgeError::NotFound { .. }
    ));
    assert!(read(".circleci").to_string().contains("is a directory"));
    assert!(
        read(".circleci/latin1.yml")
            .to_string()
            .contains("first bad byte is at offset 3")
    );
    assert!(read("/dev/zero").to_string().contains("larger than"));
}
