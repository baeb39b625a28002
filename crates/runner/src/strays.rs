//! Processes of a job that outlived their agent, found by the cookie they inherited.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::process::Pid;

/// Processes with `CAPSTAN_COOKIE` set to this value.
pub fn with_cookie(cookie: &OsStr) -> Vec<Pid> {
    let mut wanted = b"CAPSTAN_COOKIE=".to_vec();
    wanted.extend_from_slice(cookie.as_bytes());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| Pid::from_raw(name.parse().ok()?));
        let Some(pid) = pid else { continue };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted)
        {
            found.push(pid);
        }
    }
    found
}
