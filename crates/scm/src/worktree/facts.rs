//! What is known of a repository: from its files at once, from the `git` command a little later.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use capstan_model::trigger::Project;

use super::git;

/// The kinds of references that a clone has.
const REFERENCES: [&str; 3] = ["refs/heads/", "refs/tags/", "refs/remotes/"];

/// The files that hold branch, commit and remotes.
#[derive(Clone, Debug)]
pub(super) struct RepositoryFiles {
    /// The directory whose files it holds.
    top: PathBuf,
    /// `HEAD` of this working tree.
    git_dir: PathBuf,
    /// References and configuration, shared by all working trees of the repository.
    common_dir: PathBuf,
}

/// Where `HEAD` points.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) branch: Option<String>,
    pub(super) sha: Option<String>,
}

impl RepositoryFiles {
    /// The repository that holds `directory`.
    pub(super) fn find(directory: &Path) -> Option<Self> {
        let top = directory.ancestors().find(|at| at.join(".git").exists())?;
        let dot_git = top.join(".git");
        let git_dir = if dot_git.is_dir() {
            dot_git
        } else {
            // A linked worktree or a submodule: a file that says where the repository is.
            let text = fs::read_to_string(&dot_git).ok()?;
            top.join(text.strip_prefix("gitdir:")?.trim())
        };
        if !git_dir.join("HEAD").exists() {
            return None;
        }
        let common_dir = match fs::read_to_string(git_dir.join("commondir")) {
            Ok(path) => git_dir.join(path.trim()),
            Err(_) => git_dir.clone(),
        };
        Some(Self {
            top: top.to_owned(),
            git_dir,
            common_dir,
        })
    }

    /// Branch and commit; a detached `HEAD` has no branch, a repository without commits no commit.
    pub(super) fn head(&self) -> Head {
        let text = fs::read_to_string(self.git_dir.join("HEAD")).unwrap_or_default();
        let Some(name) = text.trim().strip_prefix("ref:").map(str::trim) else {
            return Head {
                branch: None,
                sha: as_sha(&text),
            };
        };
        // The reftable format keeps a placeholder here; `git` is asked instead.
        let branch = name
            .strip_prefix("refs/heads/")
            .filter(|branch| *branch != ".invalid");
        Head {
            branch: branch.map(str::to_owned),
            sha: self.reference(name),
        }
    }

    fn reference(&self, name: &str) -> Option<String> {
        if let Ok(text) = fs::read_to_string(self.common_dir.join(name)) {
            return as_sha(&text);
        }
        let packed = fs::read_to_string(self.common_dir.join("packed-refs")).ok()?;
        packed.lines().find_map(|line| {
            let (sha, reference) = line.split_once(' ')?;
            if reference.trim() == name {
                as_sha(sha)
            } else {
                None
            }
        })
    }

    /// Whether it is the repository of exactly this directory.
    pub(super) fn is_of(&self, directory: &Path) -> bool {
        self.top == directory
    }

    /// Where its objects are.
    pub(super) fn objects(&self) -> PathBuf {
        self.common_dir.join("objects")
    }

    /// The commits at which its history was cut off, one a line.
    pub(super) fn shallow(&self) -> Option<String> {
        fs::read_to_string(self.common_dir.join("shallow")).ok()
    }

    /// Bytes of its packs.
    pub(super) fn pack_bytes(&self) -> u64 {
        let packs = fs::read_dir(self.objects().join("pack"));
        let lengths = packs
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.metadata().map_or(0, |metadata| metadata.len()));
        lengths.fold(0, u64::saturating_add)
    }

    /// Branches, tags and remote branches with the objects they name. A repository with references in
    /// another form than files shows none.
    pub(super) fn references(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let packed = fs::read_to_string(self.common_dir.join("packed-refs")).unwrap_or_default();
        for line in packed.lines() {
            if let Some((sha, name)) = line.split_once(' ')
                && let Some(sha) = as_sha(sha)
                && REFERENCES.iter().any(|kind| name.starts_with(kind))
            {
                found.insert(name.to_owned(), sha);
            }
        }
        // A file of its own is newer than the packed one.
        let mut pending: Vec<String> = REFERENCES
            .iter()
            .map(|kind| kind.trim_end_matches('/').to_owned())
            .collect();
        while let Some(directory) = pending.pop() {
            let entries = fs::read_dir(self.common_dir.join(&directory));
            for entry in entries.into_iter().flatten().flatten() {
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                    continue;
                };
                let name = format!("{directory}/{name}");
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => pending.push(name),
                    Ok(kind) if kind.is_file() => {
                        let text = fs::read_to_string(entry.path()).unwrap_or_default();
                        found.extend(as_sha(&text).map(|sha| (name, sha)));
                    }
                    _ => {}
                }
            }
        }
        found
    }

    /// The branch `origin/HEAD` points at.
    pub(super) fn default_branch(&self) -> Option<String> {
        let text = fs::read_to_string(self.common_dir.join("refs/remotes/origin/HEAD")).ok()?;
        text.trim()
            .strip_prefix("ref:")?
            .trim()
            .strip_prefix("refs/remotes/origin/")
            .map(str::to_owned)
    }

    /// The URL of `origin`, or of the only other remote.
    pub(super) fn remote_url(&self) -> Option<String> {
        remote_url(&fs::read_to_string(self.common_dir.join("config")).ok()?)
    }
}

/// An object's name in hex.
pub(super) fn as_sha(text: &str) -> Option<String> {
    let text = text.trim();
    let hex = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| text.to_owned())
}

fn remote_url(config: &str) -> Option<String> {
    let mut remote: Option<String> = None;
    let mut found: Option<String> = None;
    for line in config.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            remote = section
                .strip_prefix("remote \"")
                .and_then(|rest| rest.split_once('"'))
                .map(|(name, _)| name.to_owned());
        } else if let Some(name) = &remote
            && let Some((key, value)) = line.split_once('=')
            && key.trim().eq_ignore_ascii_case("url")
        {
            let url = value.trim().trim_matches('"').to_owned();
            if name == "origin" {
                return Some(url);
            }
            found.get_or_insert(url);
        }
    }
    found
}

/// Owner, name and provider, as a clone URL tells them: `https://host/owner/name.git`,
/// `ssh://git@host:22/owner/name`, `git@host:owner/name.git`. `None` for a path of this machine.
pub(super) fn project_of_remote(url: &str) -> Option<Project> {
    let (host, path) = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => {
            let (authority, path) = rest.split_once('/')?;
            let host = authority.rsplit('@').next()?;
            (host.split(':').next()?, path)
        }
        None => {
            let (authority, path) = url.split_once(':')?;
            if authority.contains('/') {
                return None;
            }
            (authority.rsplit('@').next()?, path)
        }
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let (owner, name) = path.rsplit_once('/')?;
    if owner.is_empty() || name.is_empty() || host.is_empty() {
        return None;
    }
    let (provider, short) = match host {
        "bitbucket.org" => ("bitbucket", "bb"),
        _ if host.contains("gitlab") => ("gitlab", "gl"),
        "github.com" | "ssh.github.com" => ("github", "gh"),
        _ => ("local", "local"),
    };
    Some(Project {
        slug: format!("{short}/{owner}/{name}"),
        provider: provider.to_owned(),
        owner: owner.to_owned(),
        name: name.to_owned(),
        web_url: format!("https://{host}/{owner}/{name}"),
        clone_url: without_credentials(url),
        default_branch: None,
    })
}

/// A token in a remote's URL is no business of a job.
pub(super) fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}/{path}")
        }
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            match authority.rsplit_once('@') {
                Some((login, host)) => {
                    let user = login.split(':').next().unwrap_or_default();
                    format!("{scheme}://{user}@{host}/{path}")
                }
                None => url.to_owned(),
            }
        }
        None => url.to_owned(),
    }
}

/// What only the `git` command tells.
#[derive(Debug, Default)]
pub(super) struct CommitFacts {
    pub(super) branch: Option<String>,
    pub(super) sha: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) body: Option<String>,
    pub(super) author: Option<String>,
    pub(super) committed_at: u64,
    pub(super) dirty: bool,
}

impl CommitFacts {
    /// Asks for a commit, `HEAD` when none is named, and whether files differ from `HEAD`. Everything
    /// stays empty where `git` is missing or refuses: a run needs none of it.
    pub(super) fn ask(directory: &Path, commit: Option<&str>) -> Self {
        let log = [
            "log",
            "-1",
            "--no-color",
            "--format=%H%x00%s%x00%an%x00%ct%x00%b",
        ];
        let (log, status) = std::thread::scope(|scope| {
            let status = scope.spawn(|| match commit {
                None => {
                    git::output(directory, &["status", "--porcelain=v2", "--branch", "-z"]).ok()
                }
                Some(_) => None,
            });
            let mut args = log.to_vec();
            args.extend(["--end-of-options", commit.unwrap_or("HEAD")]);
            (
                git::output(directory, &args).ok(),
                status.join().ok().flatten(),
            )
        });
        let mut facts = Self::default();
        if let Some(output) = log.filter(|output| output.status.success()) {
            facts.read_log(&String::from_utf8_lossy(&output.stdout));
        }
        if let Some(output) = status.filter(|output| output.status.success()) {
            facts.read_status(&String::from_utf8_lossy(&output.stdout));
        }
        facts
    }

    fn read_log(&mut self, text: &str) {
        let mut fields = text.splitn(5, '\0');
        let mut next = || {
            let field = fields.next().map(str::trim)?;
            (!field.is_empty()).then(|| field.to_owned())
        };
        self.sha = next();
        self.subject = next();
        self.author = next();
        self.committed_at = next().and_then(|text| text.parse().ok()).unwrap_or(0);
        self.body = next();
    }

    fn read_status(&mut self, text: &str) {
        for entry in text.split('\0').filter(|entry| !entry.is_empty()) {
            match entry.strip_prefix("# ") {
                Some(header) => {
                    if let Some(branch) = header.strip_prefix("branch.head ")
                        && branch != "(detached)"
                    {
                        self.branch = Some(branch.to_owned());
                    }
                }
                None => self.dirty = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_tell_the_project() {
        let cases = [
            ("https://github.com/acme/shop.git", Some("gh/acme/shop")),
            ("https://token:x@github.com/acme/shop", Some("gh/acme/shop")),
            ("git@github.com:acme/shop.git", Some("gh/acme/shop")),
            (
                "ssh://git@bitbucket.org:22/acme/shop.git",
                Some("bb/acme/shop"),
            ),
            (
                "git@gitlab.example.org:group/sub/shop.git",
                Some("gl/group/sub/shop"),
            ),
            ("https://git.example.org/acme/shop", Some("local/acme/shop")),
            ("/srv/git/shop.git", None),
            ("../shop", None),
            ("file:///srv/git/shop.git", None),
        ];
        for (url, slug) in cases {
            let project = project_of_remote(url);
            assert_eq!(project.as_ref().map(|p| p.slug.as_str()), slug, "{url}");
        }
        let project = project_of_remote("https://token:x@github.com/acme/shop").unwrap();
        assert_eq!(project.clone_url, "https://github.com/acme/shop");
    }

    #[test]
    fn origin_comes_before_other_remotes() {
        let config = "[core]\n\turl = no\n[remote \"fork\"]\n\turl = a:b/c\n[remote \"origin\"]\n\turl = d:e/f\n";
        assert_eq!(remote_url(config).as_deref(), Some("d:e/f"));
        assert_eq!(
            remote_url("[remote \"fork\"]\nurl=a:b/c\n").as_deref(),
            Some("a:b/c")
        );
        assert_eq!(remote_url("[core]\nurl = no\n"), None);
    }
}
