//! What a crew has counted.

/// The counters of a [`Crew`](super::Crew), and the present number of connections of each reactor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrewGauges {
    /// Connections that were handed over.
    pub handed_over: u64,
    /// Those that a reactor could not serve any more, and that another got.
    pub passed_on: u64,
    /// Connections that no reactor took; their owner got them back.
    pub refused: u64,
    /// Connections that were closed on their way, because the last reactor ended.
    pub closed: u64,
    /// The connections of each reactor that takes some, those on their way included, in the order of enrolling.
    pub connections: Vec<usize>,
}
