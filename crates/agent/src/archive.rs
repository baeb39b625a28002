//! The one extractor. Names that leave the folder are refused, never cleaned up; nothing is written
//! through a link, so links may point wherever their author wanted.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, symlinkat, unlinkat};
use rustix::io::Errno;
use tar::EntryType;

/// The most entries of an archive.
const MOST_ENTRIES: usize = 5_000_000;
/// The deepest folder.
const DEEPEST: usize = 128;

/// Unpacks standard input into a folder; the agent calls itself so as the job's user. Prints the number of
/// files, or what went wrong.
pub(crate) fn main(folder: &Path) -> ExitCode {
    match extract(io::stdin().lock(), folder) {
        Ok(count) => {
            println!("{count}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Unpacks a tar stream into a folder that exists. Returns the number of files.
pub(crate) fn extract(from: impl Read, folder: &Path) -> io::Result<usize> {
    let root = openat(
        CWD,
        folder,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut archive = tar::Archive::new(from);
    let mut links = Vec::new();
    let mut parent: Option<(PathBuf, OwnedFd)> = None;
    let mut files = 0;
    for (count, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        if count >= MOST_ENTRIES {
            return Err(refuse("more than five million entries", Path::new("")));
        }
        let path = entry.path()?.into_owned();
        let names = names(&path)?;
        let Some((name, folders)) = names.split_last() else {
            continue;
        };
        match entry.header().entry_type() {
            EntryType::Directory => drop(enter(&root, &names)?),
            EntryType::Symlink => {
                let target = entry
                    .link_name()?
                    .ok_or_else(|| refuse("a link to nothing", &path))?;
                links.push((folders.to_vec(), name.clone(), target.into_owned()));
            }
            EntryType::Regular | EntryType::Continuous => {
                let place: PathBuf = folders.iter().collect();
                if parent.as_ref().is_none_or(|(known, _)| *known != place) {
                    parent = Some((place, enter(&root, folders)?));
                }
                if let Some((_, folder)) = &parent {
                    let mode = entry.header().mode()? & 0o777;
                    write(folder, name, mode, &mut entry)?;
                    files += 1;
                }
            }
            EntryType::XGlobalHeader => {}
            _ => return Err(refuse("neither file, folder nor symbolic link", &path)),
        }
    }
    // Last, so that nothing above could be written through one.
    for (folders, name, target) in links {
        let folder = enter(&root, &folders)?;
        remove(&folder, &name)?;
        symlinkat(&target, &folder, &name)?;
        files += 1;
    }
    Ok(files)
}

fn names(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(PathBuf::from(name)),
            Component::CurDir => {}
            _ => return Err(refuse("a path that leaves the folder", path)),
        }
    }
    if names.len() > DEEPEST {
        Err(refuse("too deep a folder", path))
    } else {
        Ok(names)
    }
}

/// Opens a folder below the root, making what is missing, through no link.
fn enter(root: &OwnedFd, names: &[PathBuf]) -> io::Result<OwnedFd> {
    let mut here = root.try_clone()?;
    for name in names {
        match mkdirat(&here, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        here = openat(&here, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => {
                refuse("a path through something that is no folder", name)
            }
            other => other.into(),
        })?;
    }
    Ok(here)
}

fn write(folder: &OwnedFd, name: &Path, mode: u32, from: &mut impl Read) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(mode);
    let file = match openat(folder, name, flags, mode) {
        Err(Errno::EXIST) => {
            remove(folder, name)?;
            openat(folder, name, flags, mode)?
        }
        other => other?,
    };
    let mut file = File::from(file);
    io::copy(from, &mut file)?;
    Ok(())
}

fn remove(folder: impl AsFd, name: &Path) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn refuse(what: &str, path: &Path) -> io::Error {
    io::Error::other(format!("the archive holds {what}: {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            let bytes = path.as_bytes();
            header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
            if *kind == EntryType::Symlink {
                header.set_link_name(text).unwrap();
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, io::empty()).unwrap();
            } else {
                header.set_size(text.len() as u64);
                header.set_cksum();
                builder.append(&header, text.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn files_modes_and_links_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let tar = archive(&[
            ("a/b/run.sh", EntryType::Regular, "echo hi"),
            ("a/link", EntryType::Symlink, "b/run.sh"),
        ]);
        assert_eq!(extract(tar.as_slice(), folder.path()).unwrap(), 2);
        let file = folder.path().join("a/link");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "echo hi");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            std::fs::metadata(file).unwrap().permissions().mode() & 0o700,
            0o700
        );
    }

    #[test]
    fn what_leaves_the_folder_is_refused() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().to_str().unwrap();
        for entries in [
            vec![("../x", EntryType::Regular, "")],
            vec![("/x", EntryType::Regular, "")],
            vec![("a/../../x", EntryType::Regular, "")],
            vec![("fifo", EntryType::Fifo, "")],
        ] {
            let folder = tempfile::tempdir().unwrap();
            assert!(
                extract(archive(&entries).as_slice(), folder.path()).is_err(),
                "{entries:?}"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(target, folder.path().join("out")).unwrap();
        let tar = archive(&[("out/x", EntryType::Regular, "gotcha")]);
        assert!(extract(tar.as_slice(), folder.path()).is_err());
        assert!(!outside.path().join("x").exists());
    }
}
