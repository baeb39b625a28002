//! The one extractor. Names that leave the folder are refused, never cleaned up; nothing is written
//! through a link, so links may point wherever their author wanted.
//!
//! Of the many forms a tar archive can have only the plain one and GNU's long names are read: whatever
//! could mean one thing here and another elsewhere is refused. As neither compression nor holes are among
//! them, what is written is never more than what was sent.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawMode, mkdirat, openat, symlinkat, unlinkat};
use rustix::io::Errno;
use tar::{Entry, EntryType};

/// The most that an archive may ask for.
struct Limits {
    /// Files, links and folders, also those that only lead to one.
    entries: u64,
    /// Contents of all files, in bytes.
    bytes: u64,
    /// Folders within folders.
    depth: usize,
    /// A name, or the target of a link, in bytes.
    name: u64,
    /// Names and targets of all links together, in bytes: they are remembered until the end.
    links: usize,
}

const LIMITS: Limits = Limits {
    entries: 5_000_000,
    bytes: 256 << 30,
    depth: 128,
    name: 64 << 10,
    links: 64 << 20,
};

/// Unpacks standard input into a folder; the agent calls itself so as the job's user. Prints the number of
/// files, or what went wrong.
pub(crate) fn main(folder: &Path) -> ExitCode {
    match unpack(io::stdin().lock(), folder) {
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

/// Unpacks a tar stream into a folder, which is made where it is missing. Returns the number of files.
pub(crate) fn unpack(from: impl Read, folder: &Path) -> io::Result<u64> {
    std::fs::create_dir_all(folder)?;
    Extractor::new(folder, &LIMITS)?.extract(from)
}

struct Extractor<'a> {
    root: OwnedFd,
    limits: &'a Limits,
    entries: u64,
    bytes: u64,
    /// The folder that was written to last.
    parent: Option<(Vec<PathBuf>, OwnedFd)>,
    links: Vec<Link>,
    link_bytes: usize,
}

/// A symbolic link that is still to be made.
struct Link {
    folders: Vec<PathBuf>,
    name: PathBuf,
    target: PathBuf,
}

impl<'a> Extractor<'a> {
    fn new(folder: &Path, limits: &'a Limits) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: openat(CWD, folder, flags, Mode::empty())?,
            limits,
            entries: 0,
            bytes: 0,
            parent: None,
            links: Vec::new(),
            link_bytes: 0,
        })
    }

    fn extract(mut self, from: impl Read) -> io::Result<u64> {
        let mut archive = tar::Archive::new(from);
        let (mut long_name, mut long_target) = (None, None);
        let mut files = 0;
        // Raw, because the library would read names of any length into memory.
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            let kind = entry.header().entry_type();
            let slot = match kind {
                EntryType::GNULongName => &mut long_name,
                EntryType::GNULongLink => &mut long_target,
                _ => {
                    files += self.entry(&mut entry, kind, long_name.take(), long_target.take())?;
                    continue;
                }
            };
            if slot.replace(self.long(&mut entry)?).is_some() {
                return Err(refuse("two long names for one entry", Path::new("")));
            }
        }
        if long_name.is_some() || long_target.is_some() {
            return Err(refuse("a long name for nothing", Path::new("")));
        }
        // To the end: whoever sends may have something to say after the last file.
        io::copy(&mut archive.into_inner(), &mut io::sink())?;
        // Last, so that nothing above could be written through one.
        for link in std::mem::take(&mut self.links) {
            let folder = self.enter(&link.folders)?;
            remove(&folder, &link.name)?;
            symlinkat(&link.target, &folder, &link.name)?;
            files += 1;
        }
        Ok(files)
    }

    /// A name that is longer than a header has room for.
    fn long(&mut self, entry: &mut Entry<'_, impl Read>) -> io::Result<PathBuf> {
        if entry.size() > self.limits.name {
            return Err(refuse("too long a name", Path::new("")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        if bytes.contains(&0) {
            return Err(refuse("a name with a zero byte", Path::new("")));
        }
        Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
    }

    /// Takes one entry; returns how many files it made.
    fn entry(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        kind: EntryType,
        long_name: Option<PathBuf>,
        long_target: Option<PathBuf>,
    ) -> io::Result<u64> {
        self.count()?;
        let path = match long_name {
            Some(path) => path,
            None => entry.path()?.into_owned(),
        };
        let names = self.names(&path)?;
        if long_target.is_some() && kind != EntryType::Symlink {
            return Err(refuse("a target for what is no link", &path));
        }
        let Some((name, folders)) = names.split_last() else {
            // The folder itself.
            return match kind {
                EntryType::Directory => Ok(0),
                _ => Err(refuse("an entry without a name", &path)),
            };
        };
        match kind {
            EntryType::Directory => self.enter(&names).map(|_| 0),
            EntryType::Symlink => {
                let target = match long_target {
                    Some(target) => target,
                    None => entry
                        .link_name()?
                        .ok_or_else(|| refuse("a link to nothing", &path))?
                        .into_owned(),
                };
                self.link_bytes += path.as_os_str().len() + target.as_os_str().len();
                if self.link_bytes > self.limits.links {
                    return Err(refuse("too many links", &path));
                }
                self.links.push(Link {
                    folders: folders.to_vec(),
                    name: name.clone(),
                    target,
                });
                Ok(0)
            }
            EntryType::Regular | EntryType::Continuous => {
                self.bytes = self.bytes.saturating_add(entry.size());
                if self.bytes > self.limits.bytes {
                    let most = self.limits.bytes;
                    return Err(refuse(&format!("more than {most} bytes of files"), &path));
                }
                if self
                    .parent
                    .as_ref()
                    .is_none_or(|(known, _)| known != folders)
                {
                    self.parent = Some((folders.to_vec(), self.enter(folders)?));
                }
                if let Some((_, folder)) = &self.parent {
                    let mode = entry.header().mode()? & 0o777;
                    write(folder, name, mode, entry)?;
                }
                // What is in `.git` is no file of the project.
                Ok(u64::from(
                    names.first().is_none_or(|first| !first.starts_with(".git")),
                ))
            }
            _ => Err(refuse("neither file, folder nor symbolic link", &path)),
        }
    }

    fn count(&mut self) -> io::Result<()> {
        self.entries += 1;
        let most = self.limits.entries;
        if self.entries > most {
            return Err(refuse(&format!("more than {most} entries"), Path::new("")));
        }
        Ok(())
    }

    fn names(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => names.push(PathBuf::from(name)),
                Component::CurDir => {}
                _ => return Err(refuse("a path that leaves the folder", path)),
            }
        }
        if names.len() > self.limits.depth {
            Err(refuse("too deep a folder", path))
        } else {
            Ok(names)
        }
    }

    /// Opens a folder below the root, making what is missing, through no link.
    fn enter(&mut self, names: &[PathBuf]) -> io::Result<OwnedFd> {
        let mut here = self.root.try_clone()?;
        for name in names {
            match mkdirat(&here, name, Mode::from_raw_mode(0o777)) {
                Ok(()) => self.count()?,
                Err(Errno::EXIST) => {}
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
}

fn write(folder: &OwnedFd, name: &Path, mode: u32, from: &mut impl Read) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Of another width on other systems; the bits of permissions fit in any.
    let mode = Mode::from_raw_mode((mode & 0o777) as RawMode);
    let file = match openat(folder, name, flags, mode) {
        Err(Errno::EXIST) => {
            remove(folder, name)?;
            openat(folder, name, flags, mode)?
        }
        other => other?,
    };
    let mut file = File::from(file);
    io::copy(from, &mut file).map(drop)
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use EntryType::{Directory, Fifo, GNULongLink, GNULongName, Link as Hard, Regular, Symlink};

    /// Path, kind, and contents or target.
    type Row<'a> = (&'a str, EntryType, &'a str);

    fn archive(entries: &[Row<'_>]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            let bytes = path.as_bytes();
            header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
            let mut text = text.as_bytes();
            if matches!(kind, Symlink | Hard) {
                let target = header.as_old_mut();
                target.linkname[..text.len()].copy_from_slice(text);
                text = &[];
            }
            header.set_size(text.len() as u64);
            header.set_cksum();
            builder.append(&header, text).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn small() -> Limits {
        Limits {
            entries: 10,
            bytes: 100,
            depth: 4,
            name: 200,
            links: 300,
        }
    }

    fn extract(entries: &[Row<'_>], folder: &Path) -> io::Result<u64> {
        Extractor::new(folder, &small())?.extract(archive(entries).as_slice())
    }

    #[test]
    fn files_modes_and_links_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let long = "n".repeat(150);
        let entries = [
            ("./", Directory, ""),
            ("a/b/run.sh", Regular, "echo hi"),
            ("a/link", Symlink, "b/run.sh"),
            ("././@LongLink", GNULongName, long.as_str()),
            ("n", Regular, "long"),
        ];
        assert_eq!(extract(&entries, folder.path()).unwrap(), 3);
        let file = folder.path().join("a/link");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "echo hi");
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o700, 0o700);
        assert_eq!(
            std::fs::read_to_string(folder.path().join(long)).unwrap(),
            "long"
        );
    }

    #[test]
    fn what_is_ambiguous_special_or_too_much_is_refused() {
        let long = "n".repeat(201);
        let target = "t".repeat(90);
        let many: Vec<String> = (0..11).map(|number| number.to_string()).collect();
        let many: Vec<_> = many
            .iter()
            .map(|path| (path.as_str(), Regular, ""))
            .collect();
        let fifty = "b".repeat(50);
        let cases: [(&[Row<'_>], &str); 16] = [
            (&[("../x", Regular, "")], "leaves the folder"),
            (&[("/x", Regular, "")], "leaves the folder"),
            (&[("a/../../x", Regular, "")], "leaves the folder"),
            (&[("fifo", Fifo, "")], "neither file"),
            (&[("hard", Hard, "/etc/passwd")], "neither file"),
            (&[("x", EntryType::XHeader, "")], "neither file"),
            (&[("x", EntryType::XGlobalHeader, "")], "neither file"),
            (&[("x", EntryType::GNUSparse, "")], "neither file"),
            (&[(".", Regular, "")], "without a name"),
            (&[("a/b/c/d/e", Regular, "")], "too deep"),
            (
                &[("@", GNULongName, &long), ("n", Regular, "")],
                "too long a name",
            ),
            (
                &[("@", GNULongName, "a"), ("@", GNULongName, "b")],
                "two long names",
            ),
            (&[("@", GNULongLink, "a"), ("b", Regular, "")], "no link"),
            (&[("@", GNULongName, "a")], "for nothing"),
            (&many, "more than 10 entries"),
            (
                &[
                    ("a", Regular, &fifty),
                    ("b", Regular, &fifty),
                    ("c", Regular, "c"),
                ],
                "more than 100 bytes",
            ),
        ];
        for (entries, why) in cases {
            let folder = tempfile::tempdir().unwrap();
            let error = extract(entries, folder.path()).unwrap_err().to_string();
            assert!(error.contains(why), "{entries:?}: {error}");
        }
        let links: Vec<_> = ["a", "b", "c", "d"]
            .map(|name| (name, Symlink, target.as_str()))
            .into();
        let folder = tempfile::tempdir().unwrap();
        let error = extract(&links, folder.path()).unwrap_err().to_string();
        assert!(error.contains("too many links"), "{error}");
    }

    #[test]
    fn folders_that_only_lead_somewhere_count_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<String> = (0..5).map(|number| format!("{number}/x/y/z")).collect();
        let entries: Vec<_> = paths
            .iter()
            .map(|path| (path.as_str(), Regular, ""))
            .collect();
        let error = extract(&entries, folder.path()).unwrap_err().to_string();
        assert!(error.contains("more than 10 entries"), "{error}");
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [outside, there, fresh] =
            ["outside", "there", "fresh"].map(|name| folder.path().join(name));
        for made in [&outside, &there, &fresh] {
            std::fs::create_dir(made).unwrap();
        }
        let target = "../outside";
        std::os::unix::fs::symlink(target, there.join("out")).unwrap();
        assert!(there.join("out").is_dir());
        assert!(extract(&[("out/x", Regular, "gotcha")], &there).is_err());
        let both = [("out", Symlink, target), ("out/x", Regular, "gotcha")];
        // The folder was made before the link, and cannot be replaced by it.
        assert!(extract(&both, &fresh).is_err());
        assert!(!outside.join("x").exists());
    }
}
