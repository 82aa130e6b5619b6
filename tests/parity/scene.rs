//! A scene: what peers, the program and the clock do, step by step. It is drawn from a seed, and says nothing of the
//! kernel that it is played on.

use std::time::Duration;

/// What a dispatcher has for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Listener,
    Tcp,
    Unix,
    /// A client of the listener's.
    Accepted,
    /// An attempt that is answered, and one that is refused.
    Dialled,
    Refused,
    PipeReader,
    PipeWriter,
    Datagram,
}

impl Kind {
    pub(crate) fn is_stream(self) -> bool {
        !matches!(self, Kind::Listener | Kind::Datagram)
    }

    pub(crate) fn is_tcp(self) -> bool {
        matches!(
            self,
            Kind::Tcp | Kind::Accepted | Kind::Dialled | Kind::Refused
        )
    }
}

/// What is done to a dispatcher: from outside, or in a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Send(usize),
    /// More than any buffer holds.
    SendLarge,
    Close,
    Abort,
    CloseWhenDone,
    CloseWhenSent,
    AbortWhenSent,
    ShutdownWrite,
    Pause,
    Resume,
    Produce(u32),
    StopWriting,
    FeedsNobody,
    Feeds(usize),
    Timer(Duration),
    Watch(usize),
    NotifySent,
    Unread(usize),
    MoreInput,
    Fail,
    Replace,
    Panic,
}

/// When a dispatcher does something of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// It has read so many bytes.
    Read(u64),
    Connect,
    Eof,
    Error,
    Sent,
    Gone,
    Timer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Open(Kind, Vec<(When, Act)>),
    PeerSends(usize, usize),
    PeerShuts(usize),
    PeerCloses(usize),
    PeerResets(usize),
    PeerReads(usize, bool),
    Do(usize, Act),
    Clock(Duration),
}

/// Steps that happen between two rests of the loop.
pub(crate) type Group = Vec<Step>;

#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) seed: u64,
    pub(crate) groups: Vec<Group>,
}

/// Below what the smallest buffer holds, all of a scene's together.
const SMALL: usize = 250;

struct Drawing {
    rng: fastrand::Rng,
    kinds: Vec<Kind>,
}

impl Scene {
    pub(crate) fn from_seed(seed: u64) -> Scene {
        let mut drawing = Drawing {
            rng: fastrand::Rng::with_seed(seed),
            kinds: Vec::new(),
        };
        let mut groups = vec![vec![drawing.open(Kind::Listener)]];
        for _ in 0..drawing.rng.usize(8..28) {
            let count = drawing.rng.usize(1..4);
            groups.push((0..count).map(|_| drawing.step()).collect());
        }
        Scene { seed, groups }
    }
}

impl Drawing {
    fn below(&mut self, bound: usize) -> usize {
        self.rng.usize(..bound)
    }

    fn open(&mut self, kind: Kind) -> Step {
        self.kinds.push(kind);
        let mut scripted = Vec::new();
        if kind != Kind::Listener {
            for _ in 0..self.below(4) {
                let when = match self.below(9) {
                    0..3 => When::Read(self.rng.u64(1..400)),
                    3 => When::Connect,
                    4 => When::Eof,
                    5 => When::Error,
                    6 => When::Sent,
                    7 => When::Gone,
                    _ => When::Timer,
                };
                scripted.push((when, self.act(kind, true)));
            }
        }
        Step::Open(kind, scripted)
    }

    fn somebody(&mut self) -> usize {
        self.rng.usize(..self.kinds.len())
    }

    fn step(&mut self) -> Step {
        if self.kinds.len() < 3 || self.kinds.len() < 9 && self.below(7) == 0 {
            let kinds = [
                Kind::Tcp,
                Kind::Tcp,
                Kind::Unix,
                Kind::Accepted,
                Kind::Dialled,
                Kind::Refused,
                Kind::PipeReader,
                Kind::PipeWriter,
                Kind::Datagram,
            ];
            let kind = kinds[self.below(kinds.len())];
            return self.open(kind);
        }
        let conn = self.somebody();
        match self.below(20) {
            0..6 => Step::PeerSends(conn, self.below(SMALL)),
            6 => Step::PeerShuts(conn),
            7 => Step::PeerCloses(conn),
            8 => Step::PeerResets(conn),
            9 | 10 => Step::PeerReads(conn, self.rng.bool()),
            11 => Step::Clock(Duration::from_millis(
                [10, 500, 1_500, 4_000][self.below(4)],
            )),
            _ => {
                let act = self.act(self.kinds[conn], false);
                Step::Do(conn, act)
            }
        }
    }

    fn act(&mut self, kind: Kind, in_callback: bool) -> Act {
        if kind == Kind::Listener {
            return match self.below(12) {
                0 => Act::Close,
                1 => Act::Abort,
                2..6 => Act::Pause,
                6 => Act::Timer(Duration::from_millis(200)),
                _ => Act::Resume,
            };
        }
        match self.below(34) {
            0..8 => Act::Send(self.below(SMALL)),
            8 if kind.is_stream() => Act::SendLarge,
            9 => Act::Close,
            10 if self.rng.bool() => Act::Abort,
            11 => Act::CloseWhenDone,
            12 if self.rng.bool() => Act::CloseWhenSent,
            13 if self.rng.bool() => Act::AbortWhenSent,
            14 => Act::ShutdownWrite,
            15 => Act::Pause,
            16..18 => Act::Resume,
            18..20 => Act::Produce(self.rng.u32(1..5)),
            20 => Act::StopWriting,
            21 => Act::FeedsNobody,
            22 => Act::Feeds(self.somebody()),
            23..25 => Act::Timer(Duration::from_millis([0, 100, 600, 2_000][self.below(4)])),
            25..27 => Act::Watch(self.somebody()),
            27..29 => Act::NotifySent,
            29 if kind.is_stream() => Act::Unread(1 + self.below(20)),
            30 if kind.is_stream() => Act::MoreInput,
            31 => Act::Fail,
            32 => Act::Replace,
            33 if in_callback => Act::Panic,
            _ => Act::Send(1 + self.below(20)),
        }
    }
}
