//! What a resource class of a docker job means in processors and memory (language 6.10).

/// Limits of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
}

const GIB: u64 = 1 << 30;

/// Class, processors, memory in GiB.
const CLASSES: [(&str, u32, u64); 11] = [
    ("small", 1, 2),
    ("medium", 2, 4),
    ("medium+", 3, 6),
    ("large", 4, 8),
    ("xlarge", 8, 16),
    ("2xlarge", 16, 32),
    ("2xlarge+", 20, 40),
    ("arm.medium", 2, 8),
    ("arm.large", 4, 16),
    ("arm.xlarge", 8, 32),
    ("arm.2xlarge", 16, 64),
];

/// The limits of a class, no more than the machine has (0: not known). A docker job without a class is
/// `medium`; a class that is not in the table, such as a self-hosted one, has no limits of its own.
pub fn limits(class: Option<&str>, machine_cpus: u32, machine_memory: u64) -> Option<Limits> {
    let class = class.unwrap_or("medium");
    let base = class.strip_suffix(".gen2").unwrap_or(class);
    let (_, cpus, gib) = CLASSES.iter().find(|(name, ..)| *name == base)?;
    let cap = |wanted: u64, has: u64| if has == 0 { wanted } else { wanted.min(has) };
    let cpus = if machine_cpus == 0 {
        *cpus
    } else {
        (*cpus).min(machine_cpus)
    };
    Some(Limits {
        cpus,
        memory: cap(gib * GIB, machine_memory),
    })
}

#[cfg(test)]
mod tests {
    use super::{GIB, Limits, limits};

    #[test]
    fn classes_mean_what_the_table_says_and_never_more_than_the_machine_has() {
        let big = |class| limits(class, 64, 256 * GIB);
        assert_eq!(
            big(None),
            Some(Limits {
                cpus: 2,
                memory: 4 * GIB
            })
        );
        assert_eq!(
            big(Some("2xlarge+.gen2")),
            Some(Limits {
                cpus: 20,
                memory: 40 * GIB
            })
        );
        assert_eq!(big(Some("ns/own")), None);
        assert_eq!(
            limits(Some("xlarge"), 2, GIB),
            Some(Limits {
                cpus: 2,
                memory: GIB
            })
        );
        assert_eq!(
            limits(Some("small"), 0, 0),
            Some(Limits {
                cpus: 1,
                memory: 2 * GIB
            })
        );
    }
}
