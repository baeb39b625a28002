//! How much of a pipeline one event looks at. Counted for tests only: a time says little on a busy
//! machine, a count says the same everywhere. Without the feature `mutations` nothing is counted.

#[cfg(feature = "mutations")]
thread_local! {
    static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Jobs and tasks looked at in this thread since it was asked last.
#[cfg(feature = "mutations")]
pub fn take() -> u64 {
    LOOKS.replace(0)
}

/// One job or task is looked at.
#[cfg(feature = "mutations")]
pub(crate) fn look() {
    LOOKS.set(LOOKS.get() + 1);
}

/// Nobody counts in this build.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn look() {}
