//! What differs from system to system: pipes, handles of processes, and who is whose child.
//!
//! A process id may be somebody else's a moment later, so nothing is signalled by its id alone: a
//! process that was [`Seen`] is signalled only while it is still the same one.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
pub(crate) use linux::{Handle, children, look, pipe, signal, widen};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{Handle, children, look, pipe, signal, widen};

use rustix::process::{Pid, getpgid, getppid, setpgid, setsid};

/// Makes this process the leader of a session that has no terminal. What it starts has none either, and
/// as no leader cannot get one.
pub(crate) fn leave_terminal() {
    if setsid().is_ok() {
        return;
    }
    // The leader of a group cannot do that; a member of its parent's group can. Where the parent is in
    // another session, as outside a container, this one is its own already.
    if let Some(Ok(group)) = getppid().map(|parent| getpgid(Some(parent))) {
        let _ = setpgid(None, Some(group)).and_then(|()| setsid());
    }
}

/// A process as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its id.
    pub(crate) pid: Pid,
    /// Whose child it was.
    pub(crate) parent: Option<Pid>,
    /// When it started; with the id it names one process and no other.
    pub(crate) started: u64,
    /// Whether it is over and only waits to be buried.
    pub(crate) dead: bool,
    /// What it calls itself.
    pub(crate) name: String,
}

/// Every living descendant of a process. Each was seen as the child of one that was still there after its
/// children were listed, so no stranger who was given an old id can be among them.
pub(crate) fn descendants(root: Pid) -> Vec<Seen> {
    let mut found: Vec<Seen> = living(root, children(root), root);
    let mut next = 0;
    while let Some(parent) = found.get(next).cloned() {
        let below = living(parent.pid, children(parent.pid), root);
        if !below.is_empty() && look(parent.pid).is_some_and(|now| now.started == parent.started) {
            found.extend(below);
        }
        next += 1;
    }
    found
}

fn living(parent: Pid, children: Vec<Pid>, root: Pid) -> Vec<Seen> {
    // An orphan comes to the root between one look and the next.
    let ours = |seen: &Seen| seen.parent == Some(parent) || seen.parent == Some(root);
    children
        .into_iter()
        .filter_map(look)
        .filter(|seen| !seen.dead && ours(seen))
        .collect()
}
