//! Mistakes that newcomers make, and what the terminal shows of them: `tests/mistakes/*.yml`, each with the
//! picture beside it in `.out`. The first line of a file says where the mistake was seen; the config was
//! written anew. `UPDATE=1` in the environment writes the pictures.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own files has to fail"
)]

#[path = "support/compiled.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use capstan_config::diagnostic::{Look, Report};
use capstan_config::{Diagnostic, Severity};

/// Parts that are not built yet; a mistake that needs one gets its picture with the part.
const NOT_BUILT: &[&str] = &["U_ORB", "U_SETUP", "U_JOB_GROUPS", "U_VERSION"];

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yml"))
        .collect();
    files.sort();
    files
}

/// What a person is shown of a config, or `None` where that waits for a part.
fn shown(path: &Path) -> Option<(String, Vec<Diagnostic>)> {
    let text = fs::read_to_string(path).unwrap();
    let (sources, mut found) = support::compiled(&text);
    if found.iter().any(|one| NOT_BUILT.contains(&one.code)) {
        return None;
    }
    // As `capstan config validate` does: what cannot be executed yet is no mistake of the file.
    found.retain(|one| one.severity != Severity::Unsupported);
    let drawn = Report::new(&sources).draw_all(&found, Look::default());
    Some((drawn.join("\n"), found))
}

#[test]
fn the_terminal_shows_what_it_did() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in files() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let picture = path.with_extension("out");
        let Some((drawn, _)) = shown(&path) else {
            if picture.exists() {
                wrong.push(format!("{name} waits for a part, and has a picture"));
            }
            continue;
        };
        if update {
            fs::write(&picture, &drawn).unwrap();
        }
        let wanted = fs::read_to_string(&picture).unwrap_or_default();
        if drawn != wanted {
            wrong.push(format!("{name}, wanted:\n{wanted}\nbut drew:\n{drawn}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "UPDATE=1 cargo test -p capstan-config --test mistakes draws anew:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_mistake_gets_a_place_a_cause_and_a_mend() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in files() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some((drawn, found)) = shown(&path) else {
            continue;
        };
        seen += 1;
        if found.is_empty() {
            wrong.push(format!("{name}: nothing was found"));
        }
        for one in &found {
            if !drawn.contains(&format!("[{}]: ", one.code)) {
                wrong.push(format!("{name}: {} is not drawn", one.code));
            }
            if one.help.is_empty() && one.mend.is_none() {
                wrong.push(format!("{name}: no mend: {}", one.message));
            }
        }
        if !drawn.contains("--> .circleci/config.yml:") {
            wrong.push(format!("{name}: no place"));
        }
    }
    assert!(seen >= 30, "{seen}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn half_of_them_happened_to_somebody() {
    let files = files();
    // A repository, an issue of one, or a page of the support.
    let real = files.iter().filter(|path| {
        let text = fs::read_to_string(path).unwrap();
        let first = text.lines().next().unwrap_or("");
        first.contains('/') || first.contains("support.circleci.com")
    });
    assert!(real.count() * 2 >= files.len());
}

#[test]
fn patches_mend_what_they_are_offered_for() {
    let mut patches = 0;
    for path in files() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let (sources, found) = support::compiled(&text);
        let report = Report::new(&sources);
        for one in &found {
            let Some((mend, _)) = report.mend(one) else {
                continue;
            };
            patches += 1;
            let range = mend.span.start as usize..mend.span.end as usize;
            let mut mended = text.clone();
            mended.replace_range(range, &mend.replacement);
            let (_, left) = support::compiled(&mended);
            let again = left
                .iter()
                .find(|other| (other.code, &other.message) == (one.code, &one.message));
            assert!(
                again.is_none(),
                "{name}: {} stays in\n{mended}",
                one.message
            );
        }
    }
    assert!(patches >= 10, "{patches}");
}

#[test]
fn a_file_cut_anywhere_is_drawn() {
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        for end in (0..text.len()).step_by(5) {
            let Some(part) = text.get(..end) else {
                continue;
            };
            let (sources, found) = support::compiled(part);
            let report = Report::new(&sources);
            for one in &found {
                assert!(!report.draw(one, Look::default()).is_empty());
            }
        }
    }
}
