/// What a load generator was to do: a request every so often, the first at 0, as long as it is before the end.
/// All times are microseconds since the run began.
pub struct Plan {
    pub every: u64,
    pub end: u64,
}

/// What it wrote down of one request. Those that it did not get to are missing at the end of the list.
pub struct Request {
    pub sent: u64,
    /// `None` if there was no answer before the end.
    pub answered: Option<u64>,
}

/// How long the fastest `per_mille` thousandths of the requests took at most; `None` if there were none.
pub fn percentile(_plan: &Plan, recording: &[Request], per_mille: usize) -> Option<u64> {
    let mut times: Vec<u64> = recording
        .iter()
        .filter_map(|request| Some(request.answered? - request.sent))
        .collect();
    times.sort_unstable();
    let rank = (times.len() * per_mille).div_ceil(1000).max(1);
    times.get(rank - 1).copied()
}
