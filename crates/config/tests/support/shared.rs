//! The corpus of real configs and the folder of real orbs, which are no part of this repository: found
//! beside any folder above this crate, or the test that wants them says that it was skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use capstan_config::{Compiled, Orb, Sources};
use capstan_model::Trigger;
use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};

/// The folder `shared/NAME` in the nearest folder above this crate that has it; without one says so, or
/// fails where `CAPSTAN_REQUIRE` names `shared`.
pub fn folder(name: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared").join(name))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        let required = std::env::var("CAPSTAN_REQUIRE").unwrap_or_default();
        assert!(
            !required.contains("shared"),
            "CAPSTAN_REQUIRE asks for it, and there is no shared/{name}"
        );
        println!("skipped: no shared/{name} above this crate");
    }
    found
}

/// A row of the corpus.
pub struct Row {
    /// `dir/file.yml`.
    pub name: String,
    pub path: PathBuf,
    /// `config`, `continuation` or `fragment`.
    pub role: String,
    /// Whether an ordinary YAML reader can read it.
    pub sound: bool,
}

/// The rows of the corpus.
pub fn corpus(folder: &Path) -> Vec<Row> {
    let index = std::fs::read_to_string(folder.join("INDEX.tsv")).unwrap();
    let mut lines = index.lines();
    let head: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let column = |name: &str| head.iter().position(|h| *h == name).unwrap();
    let (dir, path, yaml, role) = (
        column("dir"),
        column("path"),
        column("yaml"),
        column("role"),
    );
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let below = fields[path].strip_prefix(".circleci/");
            let name = format!("{}/{}", fields[dir], below.unwrap_or(fields[path]));
            Row {
                path: folder.join(&name),
                name,
                role: fields[role].to_owned(),
                sound: fields[yaml].starts_with("ok"),
            }
        })
        .collect()
}

/// Orbs laid out `namespace/name/x.y.z.yml`.
pub struct OrbFolder {
    folder: PathBuf,
}

impl OrbFolder {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Every orb as `namespace/name@x.y.z`, with its file.
    pub fn all(&self) -> Vec<(String, PathBuf)> {
        let mut all = Vec::new();
        for space in folders(&self.folder) {
            for orb in folders(&space) {
                for (version, path) in versions(&orb) {
                    let of = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
                    let [x, y, z] = version;
                    all.push((format!("{}/{}@{x}.{y}.{z}", of(&space), of(&orb)), path));
                }
            }
        }
        all.sort();
        all
    }

    /// What a reference means among these orbs.
    pub fn find(&self, reference: &str) -> Orb {
        let Some((name, version)) = reference.split_once('@') else {
            return Orb::NotFound;
        };
        let wanted: Option<Vec<u64>> = match version {
            "volatile" => Some(Vec::new()),
            version => version.split('.').map(|n| n.parse().ok()).collect(),
        };
        let Some(wanted) = wanted else {
            return Orb::NotFound;
        };
        let folder = self.folder.join(name);
        if !folder.is_dir() {
            return Orb::NotFound;
        }
        let best = versions(&folder)
            .into_iter()
            .filter(|(version, _)| version.starts_with(&wanted))
            .max();
        match best {
            None => Orb::NotFound,
            Some(([x, y, z], path)) => Orb::Found {
                exact: format!("{name}@{x}.{y}.{z}"),
                text: std::fs::read_to_string(path).unwrap(),
            },
        }
    }
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect()
}

fn versions(folder: &Path) -> Vec<([u64; 3], PathBuf)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let numbers: Option<Vec<u64>> = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.split('.').map(|n| n.parse().ok()).collect());
        if let Some(version) = numbers.and_then(|numbers| <[u64; 3]>::try_from(numbers).ok()) {
            all.push((version, path));
        }
    }
    all
}

/// Compiles with the answers of `find`, as often as the compiler asks; also the references that were
/// not found.
pub fn compile_with(
    mut sources: Sources,
    trigger: &Trigger,
    compile: impl Fn(&Sources, &Trigger) -> Compiled,
    find: impl Fn(&str) -> Orb,
) -> (Compiled, Sources, Vec<String>) {
    let mut absent = Vec::new();
    for _ in 0..32 {
        match compile(&sources, trigger) {
            Compiled::Missing(references) => {
                assert!(!references.is_empty(), "asks for no orb by name");
                for reference in references {
                    let orb = find(&reference);
                    if orb == Orb::NotFound {
                        absent.push(reference.clone());
                    }
                    sources.add_orb(reference, orb);
                }
            }
            done => return (done, sources, absent),
        }
    }
    panic!("the compiler asks for orbs without end");
}

/// A push of a branch or of a tag.
pub fn trigger(branch: Option<&str>, tag: Option<&str>) -> Trigger {
    Trigger {
        pipeline: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
        number: 1,
        actor: String::from("ada"),
        kind: TriggerKind::CommandLine,
        received_at_ms: 1_760_000_000_000,
        project: Project {
            slug: String::from("gh/ada/engine"),
            provider: String::from("github"),
            owner: String::from("ada"),
            name: String::from("engine"),
            web_url: String::from("https://github.com/ada/engine"),
            clone_url: String::from("git@github.com:ada/engine.git"),
            default_branch: Some(String::from("main")),
        },
        revision: Revision {
            branch: branch.map(str::to_owned),
            tag: tag.map(str::to_owned),
            sha: Some(String::from("0123456789abcdef0123456789abcdef01234567")),
            ..Revision::default()
        },
        parameters: BTreeMap::new(),
        selection: Selection::default(),
        values: BTreeMap::new(),
    }
}
