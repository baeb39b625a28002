//! The few calls of the system and of the C library that safe code cannot make, or that mean something only
//! together. Small on purpose: whatever `rustix` does safely is called where it is needed.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Whom a child process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Lets orphaned descendants of this process become its children, so that it can end them.
///
/// # Errors
/// The system does not know subreapers.
pub fn become_subreaper() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Keeps other processes of the same user from reading this one's memory, and its core from being
/// written.
///
/// # Errors
/// The system refuses.
pub fn set_non_dumpable() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Makes the command start in a session of its own, as another user.
#[expect(
    unsafe_code,
    reason = "what runs between fork and exec cannot be checked by the compiler"
)]
pub fn run_as(command: &mut Command, ids: Ids) {
    // SAFETY: the closure calls nothing but system calls, and touches memory only that was made before
    // the fork; it does not allocate.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            become_user(&ids)
        });
    }
}

/// Groups first: after the user is changed they cannot be.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the thread-level calls are those that are safe after a fork"
)]
fn become_user(ids: &Ids) -> io::Result<()> {
    use rustix::process::{Gid, Uid};
    // SAFETY: the process was just forked and has this one thread, so thread ids are process ids. A
    // `Gid` is a transparent `u32`; the slice is read only.
    unsafe {
        let groups =
            std::slice::from_raw_parts(ids.groups.as_ptr().cast::<Gid>(), ids.groups.len());
        rustix::thread::set_thread_groups(groups)?;
        rustix::thread::set_thread_gid(Gid::from_raw(ids.gid))?;
        rustix::thread::set_thread_uid(Uid::from_raw(ids.uid))?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn become_user(_: &Ids) -> io::Result<()> {
    // Elsewhere there are no containers, and steps run as whoever runs Capstan.
    Ok(())
}

/// Lets the allocator take memory from the system in large pieces, and keep what is freed for what comes: a
/// short process then asks a few times instead of dozens, and a long one does not have the pages of each of
/// its larger buffers made anew.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    memory::keep();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a function of the C library is called")]
mod memory {
    use std::ffi::c_int;

    /// `M_TRIM_THRESHOLD`, `M_TOP_PAD` and `M_MMAP_THRESHOLD` of the C library's headers, each with its
    /// bytes. Setting one of them ends the allocator's own adjusting of the first and the last.
    const OPTIONS: [(c_int, c_int); 3] = [(-1, 8 << 20), (-2, 1 << 20), (-3, 4 << 20)];

    // SAFETY: this is its declaration in the C library's headers.
    unsafe extern "C" {
        fn mallopt(option: c_int, value: c_int) -> c_int;
    }

    pub(super) fn keep() {
        for (option, value) in OPTIONS {
            // SAFETY: it takes numbers, and holds the allocator's lock meanwhile. That it may refuse
            // changes nothing that is relied on.
            unsafe {
                mallopt(option, value);
            }
        }
    }
}

/// A command that has a directory of its own starts without a fork where the C library can do that. Rust
/// asks for it weakly, and a static program has of the library only what it names: so it is named here.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a function of the C library is declared")]
mod spawn {
    use std::ffi::{c_char, c_int, c_void};

    // SAFETY: this is its declaration in the C library's headers (since version 2.29); it is never called
    // from here.
    unsafe extern "C" {
        fn posix_spawn_file_actions_addchdir_np(
            actions: *mut c_void,
            folder: *const c_char,
        ) -> c_int;
    }

    #[used]
    static NAMED: unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int =
        posix_spawn_file_actions_addchdir_np;
}
