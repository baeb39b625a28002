//! Bugs planted on purpose: the simulator must catch each. Without the feature `mutations` none exists.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Messages of an older claim are believed.
    StaleClaimBelieved,
    /// A job ends with the first of its nodes.
    FirstNodeDecides,
    /// A requirement is met by any end.
    AnyEndWillDo,
    /// A job that moves on is still counted where it was.
    TallyLeaks,
    /// Blocked jobs of a canceled workflow are canceled with it.
    BlockedAreCanceled,
    /// A rerun from what failed takes failed jobs over as they are.
    FailedAreCarried,
    /// A workflow runs again by itself after somebody asked it to run again.
    EveryRerunIsAutomatic,
    /// A pipeline that was continued may be continued again.
    ContinuesForEver,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::StaleClaimBelieved,
        Self::FirstNodeDecides,
        Self::AnyEndWillDo,
        Self::TallyLeaks,
        Self::BlockedAreCanceled,
        Self::FailedAreCarried,
        Self::EveryRerunIsAutomatic,
        Self::ContinuesForEver,
    ];
}

#[cfg(feature = "mutations")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in this thread, or none.
#[cfg(feature = "mutations")]
pub fn plant(mutation: Option<Mutation>) {
    PLANTED.set(mutation);
}

/// Whether this bug is planted here.
#[cfg(feature = "mutations")]
pub(crate) fn planted(mutation: Mutation) -> bool {
    PLANTED.get() == Some(mutation)
}

/// Never: this is not a build for the simulator.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn planted(_: Mutation) -> bool {
    false
}
