//! Stories of pipelines: events in, states and effects out. Each file of `scripts/` begins with what it
//! shows and a plan; a line `> …` is an event, and the lines below it are what came of it.
//! `UPDATE_EXPECT=1 cargo test -p capstan-engine --test scripts` writes these again, for you to read.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/make.rs"]
mod make;
#[path = "script/play.rs"]
mod play;
#[path = "script/read.rs"]
mod read;

use std::path::Path;

#[test]
fn every_script_plays_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts");
    let wrong: Vec<String> = paths.iter().filter_map(|path| check(path).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Plays a script, and says where it comes out otherwise than written.
fn check(path: &Path) -> Result<(), String> {
    let name = path.file_name().unwrap().to_string_lossy();
    let written = std::fs::read_to_string(path).unwrap();
    let played = play::play(&written).map_err(|why| format!("{name}: {why}"))?;
    if played == written {
        return Ok(());
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, played).unwrap();
        return Ok(());
    }
    let (mut is, mut was) = (played.lines(), written.lines());
    for number in 1.. {
        let (now, then) = (is.next(), was.next());
        if now != then {
            let line = |line: Option<&str>| line.unwrap_or("(the end)").to_owned();
            return Err(format!(
                "{name}:{number}: is     {}\n{name}:{number}: should {}",
                line(now),
                line(then)
            ));
        }
    }
    Ok(())
}
