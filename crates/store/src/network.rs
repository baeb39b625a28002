//! Which file systems belong to another machine. There a lock holds for one machine only, and SQLite's memory
//! between processes is none.

use std::fs::File;

/// Numbers of file systems, as `linux/magic.h` and the manual of `statfs` list them: AFS (of the kernel, and
/// OpenAFS), CIFS, Coda, NCP, NFS, SMB and its second version. (9P and FUSE are mostly folders of this machine.)
#[cfg(target_os = "linux")]
const NETWORK: [u32; 8] = [
    0x6b41_4653,
    0x5346_414f,
    0xff53_4d42,
    0x7375_7245,
    0x0000_564c,
    0x0000_6969,
    0x0000_517b,
    0xfe53_4d42,
];

/// Whether an open directory lies on one. What the system does not say is none.
#[cfg(target_os = "linux")]
pub(crate) fn holds(directory: &File) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|found| is_network(found.f_type))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn holds(_: &File) -> bool {
    false
}

/// The number is one of 32 bits, whatever type holds it.
#[cfg(target_os = "linux")]
fn is_network(kind: impl Into<i64>) -> bool {
    let low = u32::try_from(kind.into() & 0xffff_ffff);
    low.is_ok_and(|kind| NETWORK.contains(&kind))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_other_machines_are_known() {
        for (kind, wanted) in [
            (0x6969_i64, true),
            (0xff53_4d42, true),
            // Read from a signed 32-bit field.
            (i64::from(0xfe53_4d42_u32.cast_signed()), true),
            (0xef53, false),
            (0x0102_1994, false),
            (0x9123_683e, false),
            (0x794c_7630, false),
        ] {
            assert_eq!(is_network(kind), wanted, "{kind:#x}");
        }
    }
}
