//! What mutations start from: real configs and orbs where they are to be had, and the examples of this
//! repository in any case.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest text that is mutated; longer ones only cost time.
const LONGEST: usize = 24 * 1024;

/// Texts to start from.
#[derive(Default)]
pub struct Corpus {
    /// Configs.
    pub configs: Vec<String>,
    /// Orbs by `namespace/name@1.2.3`.
    pub orbs: BTreeMap<String, String>,
}

impl Corpus {
    /// Reads what there is, in the order of the names.
    pub fn read() -> Self {
        let mut corpus = Self::default();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut folders = vec![here.with_file_name("examples")];
        let shared = here
            .ancestors()
            .map(|folder| folder.join("shared"))
            .find(|shared| shared.join("corpus").is_dir());
        if let Some(shared) = &shared {
            folders.push(shared.join("corpus"));
            let root = shared.join("orbs");
            for path in texts(&root) {
                let Some((name, text)) = orb(&root, &path) else {
                    continue;
                };
                corpus.orbs.insert(name, text);
            }
        }
        for path in folders.iter().flat_map(|folder| texts(folder)) {
            corpus.configs.extend(text(&path));
        }
        corpus
    }
}

fn text(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (text.len() <= LONGEST).then_some(text)
}

/// `namespace/name/1.2.3.yml`.
fn orb(root: &Path, path: &Path) -> Option<(String, String)> {
    let below = path.strip_prefix(root).ok()?.with_extension("");
    let below = below.to_str()?;
    let (name, version) = below.rsplit_once('/')?;
    Some((format!("{name}@{version}"), text(path)?))
}

/// All YAML files below a folder, sorted.
fn texts(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            all.extend(texts(&path));
        } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            all.push(path);
        }
    }
    all
}
