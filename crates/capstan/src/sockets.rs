//! Where the processes of one user listen: a private folder with a path short enough for a socket.

use std::fs;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::Failure;

/// A socket that nobody has listened on for this long belongs to a process that was killed, and not to
/// one that is just starting.
const OLD: Duration = Duration::from_secs(60);

/// A path for a socket; nothing is there when this is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Finds a path in the folder of this user, which is made when absent. The name comes from random
    /// bits, so that two runs never meet.
    ///
    /// # Errors
    /// Neither the runtime directory nor `/tmp` has such a folder or can hold one.
    pub fn place() -> Result<Self, Failure> {
        let mut last = None;
        for folder in folders() {
            match private(&folder) {
                Ok(()) => {
                    let random = uuid::Uuid::new_v4().simple().to_string();
                    let path = folder.join(random.get(..8).unwrap_or(&random));
                    return Ok(Self { path });
                }
                Err(error) => last = Some((folder, error)),
            }
        }
        let (folder, error) =
            last.unwrap_or_else(|| (PathBuf::from("/tmp"), Error::from(ErrorKind::NotFound)));
        Err(
            Failure::setup(format!("cannot use {}: {error}", folder.display()))
                .hint("set XDG_RUNTIME_DIR to a directory that only you can write to"),
        )
    }

    /// Where the server listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A server that ended in order has removed it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the sockets of processes that were killed.
pub fn sweep() {
    for folder in folders() {
        if is_private(&folder).is_ok() {
            sweep_folder(&folder, OLD);
        }
    }
}

fn sweep_folder(folder: &Path, old: Duration) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry
            .metadata()
            .and_then(|found| found.modified())
            .ok()
            .and_then(|made| made.elapsed().ok());
        if age.is_some_and(|age| age > old) && UnixStream::connect(entry.path()).is_err() {
            // Somebody else may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A folder that is this user's alone, made when absent.
fn private(folder: &Path) -> std::io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => is_private(folder),
    }
}

/// Anybody can make folders in `/tmp`, under any name.
fn is_private(folder: &Path) -> std::io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    if found.is_dir() && found.uid() == own_user()? && found.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::PermissionDenied,
            "it is no folder that only you can use",
        ))
    }
}

fn own_user() -> std::io::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}

fn folders() -> Vec<PathBuf> {
    let Ok(user) = own_user() else {
        return Vec::new();
    };
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        // A socket's path has to stay under 100 bytes.
        .filter(|path| path.is_absolute() && path.as_os_str().len() < 60);
    let parents = runtime.into_iter().chain([PathBuf::from("/tmp")]);
    parents
        .map(|parent| parent.join(format!("capstan-{user}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_others_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ours");
        private(&folder).unwrap();
        private(&folder).unwrap();
        let open = dir.path().join("open");
        fs::DirBuilder::new().mode(0o755).create(&open).unwrap();
        assert!(private(&open).is_err());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(private(&link).is_err());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(private(&dir.path().join("file")).is_err());
    }

    #[test]
    fn only_old_sockets_of_the_dead_are_swept() {
        use std::os::unix::net::UnixListener;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let _listens = UnixListener::bind(path("listens")).unwrap();
        drop(UnixListener::bind(path("dead")).unwrap());
        sweep_folder(dir.path(), OLD);
        assert!(path("dead").exists(), "it may be starting");
        sweep_folder(dir.path(), Duration::ZERO);
        assert!(!path("dead").exists());
        assert!(path("listens").exists());
    }
}
