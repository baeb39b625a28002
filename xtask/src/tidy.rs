//! The shape of the repository as rules: which crate may know which, how long a file may be, and what
//! has no business here.

use std::fs;
use std::path::{Path, PathBuf};

/// Which workspace crates a crate may name under `[dependencies]`. Whoever knows `model` knows nothing
/// else by it; a missing edge is a promise that ARCHITECTURE.md explains.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("config", &["model"]),
    ("engine", &["model"]),
    ("client", &["model"]),
    ("scm", &["model"]),
    ("sys", &[]),
    ("agent", &["model", "sys"]),
    ("runner", &["model", "client"]),
    ("store", &["model", "engine"]),
    ("server", &["model", "config", "engine", "store", "scm"]),
    (
        "capstan",
        &[
            "model", "config", "server", "runner", "agent", "client", "scm", "sys",
        ],
    ),
];

/// Crates of others that may be named by one crate only: the border that the crate stands for.
const OWNED: &[(&str, &str)] = &[
    ("sqlx", "store"),
    ("bollard", "runner"),
    ("axum", "server"),
    ("granit-parser", "config"),
    ("clap", "capstan"),
];

/// Crates that must stay out of the agent, which lives in other people's containers.
const AGENT_BANS: &[&str] = &["tokio", "hyper", "reqwest", "rustls", "axum", "sqlx"];

/// The longest source file, in lines.
const LONGEST: usize = 800;

/// What may stand at the root.
const ROOT: &[&str] = &[
    ".cargo",
    ".ci",
    ".circleci",
    ".git",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "benches",
    "clippy.toml",
    "crates",
    "deny.toml",
    "deploy",
    "docs",
    "examples",
    "fuzz",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "scripts",
    "target",
    "xtask",
];

/// Everything that is out of shape, one sentence each.
pub fn problems(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    root_entries(root, &mut found);
    for (name, allowed) in EDGES {
        manifest(root, name, allowed, &mut found);
    }
    unknown_crates(root, &mut found);
    for file in sources(root) {
        source(root, &file, &mut found);
    }
    found
}

fn root_entries(root: &Path, found: &mut Vec<String>) {
    for name in names(root) {
        if !ROOT.contains(&name.as_str()) {
            found.push(format!(
                "{name}: nothing at the root is called that; see xtask/src/tidy.rs"
            ));
        }
    }
}

fn unknown_crates(root: &Path, found: &mut Vec<String>) {
    for name in names(&root.join("crates")) {
        if !EDGES.iter().any(|(known, _)| *known == name) {
            found.push(format!(
                "crates/{name}: not in the table of edges in xtask/src/tidy.rs"
            ));
        }
    }
}

fn manifest(root: &Path, name: &str, allowed: &[&str], found: &mut Vec<String>) {
    let path = format!("crates/{name}/Cargo.toml");
    let Ok(text) = fs::read_to_string(root.join(&path)) else {
        found.push(format!("{path}: cannot be read"));
        return;
    };
    for dependency in dependencies(&text) {
        if let Some(inner) = dependency.strip_prefix("capstan-")
            && !allowed.contains(&inner)
        {
            found.push(format!("{path}: {name} must not know {inner}"));
        }
        for (foreign, owner) in OWNED {
            if dependency == *foreign && name != *owner {
                found.push(format!("{path}: only {owner} may use {foreign}"));
            }
        }
        if name == "agent" && AGENT_BANS.contains(&dependency.as_str()) {
            found.push(format!("{path}: the agent must stay without {dependency}"));
        }
    }
}

/// The names under `[dependencies]`; those for tests and builds are free.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]"
                || (line.starts_with("[target.") && line.ends_with(".dependencies]"));
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
            names.push(line[..end].to_owned());
        }
    }
    names
}

fn source(root: &Path, path: &Path, found: &mut Vec<String>) {
    let shown = path.strip_prefix(root).unwrap_or(path).display();
    if path.file_name().is_some_and(|name| name == "mod.rs") {
        found.push(format!(
            "{shown}: modules are foo.rs beside foo/, never mod.rs"
        ));
    }
    let Ok(text) = fs::read_to_string(path) else {
        found.push(format!("{shown}: cannot be read as text"));
        return;
    };
    let lines = text.lines().count();
    if lines > LONGEST {
        found.push(format!("{shown}: {lines} lines, {LONGEST} at most"));
    }
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with("#[allow(") || line.starts_with("#![allow(") {
            found.push(format!(
                "{shown}:{}: expect a lint with a reason, do not allow it",
                at + 1
            ));
        }
        // Split so that this line does not find itself.
        if line.contains(concat!("TO", "DO")) || line.contains(concat!("FIX", "ME")) {
            found.push(format!("{shown}:{}: finish it, or leave it out", at + 1));
        }
    }
}

fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = ["crates", "benches", "xtask", "fuzz"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    while let Some(directory) = open.pop() {
        for name in names(&directory) {
            let path = directory.join(&name);
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let problems = problems(&crate::root());
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn dependencies_are_read_and_dev_dependencies_are_not() {
        let manifest = "[dependencies]\na.workspace = true\nb = \"1\"\n# c\n\n\
                        [target.'cfg(unix)'.dependencies]\nd = { version = \"1\" }\n\
                        [dev-dependencies]\ne = \"1\"\n";
        assert_eq!(dependencies(manifest), ["a", "b", "d"]);
    }

    #[test]
    fn a_forbidden_edge_and_a_long_file_are_found() {
        let root = std::env::temp_dir().join(format!("tidy-{}", std::process::id()));
        let crates = root.join("crates/model/src");
        fs::create_dir_all(&crates).unwrap();
        fs::write(root.join("stray.txt"), "").unwrap();
        fs::write(
            root.join("crates/model/Cargo.toml"),
            "[dependencies]\ncapstan-store = \"1\"\n",
        )
        .unwrap();
        fs::write(crates.join("lib.rs"), "\n".repeat(LONGEST + 1)).unwrap();
        let found = problems(&root).join("\n");
        fs::remove_dir_all(&root).unwrap();
        assert!(found.contains("model must not know store"), "{found}");
        assert!(found.contains("stray.txt"), "{found}");
        assert!(found.contains("801 lines"), "{found}");
    }
}
