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
///
/// The plan says how many requests there are and when each was due. One without an answer, sent or not, took at
/// least until the end of the run: that is too little, but all that is known, and much nearer than leaving it out.
pub fn percentile(plan: &Plan, recording: &[Request], per_mille: usize) -> Option<u64> {
    let planned = plan.end.div_ceil(plan.every);
    let mut times: Vec<u64> = Vec::new();
    let mut recording = recording.iter();
    for number in 0..planned {
        let due = number * plan.every;
        let request = recording.next();
        debug_assert!(request.is_none_or(|request| request.sent >= due));
        let answered = request.and_then(|request| request.answered);
        times.push(answered.unwrap_or(plan.end) - due);
    }
    times.sort_unstable();
    let rank = (times.len() * per_mille).div_ceil(1000).max(1);
    times.get(rank - 1).copied()
}
