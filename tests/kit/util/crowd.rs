//! Many members of a chat in one thread: they enter, talk, come back when their connection has ended, and keep what they
//! have heard.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::{Context, Dispatcher, Id, Reactor, TimerId};

/// How long a member waits before it connects, or asks for its nickname, again.
const PAUSE: Duration = Duration::from_millis(250);

/// Lines of one member that it has heard nothing about, at most.
const OUTSTANDING: usize = 4;

/// A line: who, and its number of that member's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Said {
    pub(crate) who: u32,
    pub(crate) number: u32,
}

impl Said {
    fn text(self) -> String {
        format!("{} {} and some more words of it", self.who, self.number)
    }

    /// Of `NICK: WHO NUMBER and some more words of it`.
    pub(crate) fn parse(text: &str) -> Option<Said> {
        let mut words = text.split(' ');
        Some(Said {
            who: words.next()?.parse().ok()?,
            number: words.next()?.parse().ok()?,
        })
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Open,
    /// Its member has heard it.
    Confirmed,
    /// Its member was told that it was not sent.
    Refused,
    /// Its member's connection has ended before.
    Unknown,
}

/// A seat in the crowd, which is taken by one connection after the other.
#[derive(Debug, Default)]
struct Seat {
    link: Option<Id<Framed<Member>>>,
    is_in: bool,
    /// It was refused its nickname, and asks again.
    asks_again: bool,
    /// The next line, by its number.
    next: u32,
    open: BTreeMap<u32, Instant>,
    /// What it has heard between an entrance and the end of that connection.
    heard: Vec<Vec<Said>>,
    told_away: u64,
    told_back: u64,
}

/// All members.
pub(crate) struct Crowd {
    /// Each member in its turn.
    addresses: Vec<SocketAddr>,
    seats: Vec<Seat>,
    /// Lines a second, of all.
    rate: f64,
    is_talking: bool,
    owed: f64,
    last_tick: Option<Instant>,
    turn: usize,
    pub(crate) fates: BTreeMap<Said, Fate>,
    /// When lines were confirmed: for the times of outages.
    pub(crate) confirmed_at: Vec<Instant>,
    pub(crate) slowest: Duration,
    pub(crate) received: u64,
    pub(crate) connected: u64,
    /// Connections that ended.
    pub(crate) ended: u64,
    /// Attempts to connect that came to nothing.
    pub(crate) refused: u64,
    pub(crate) missed: u64,
    is_over: bool,
}

impl Crowd {
    /// Connects `size` members.
    pub(crate) fn start(
        reactor: &mut Reactor,
        addresses: Vec<SocketAddr>,
        size: usize,
    ) -> Id<Crowd> {
        let crowd = Crowd {
            addresses,
            seats: (0..size).map(|_| Seat::default()).collect(),
            rate: 0.0,
            is_talking: false,
            owed: 0.0,
            last_tick: None,
            turn: 0,
            fates: BTreeMap::new(),
            confirmed_at: Vec::new(),
            slowest: Duration::ZERO,
            received: 0,
            connected: 0,
            ended: 0,
            refused: 0,
            missed: 0,
            is_over: false,
        };
        let crowd = reactor.add_service(crowd).expect("room");
        reactor.with(crowd, |this, cx| {
            cx.set_interval(Duration::from_millis(10));
            for seat in 0..this.seats.len() {
                this.sit_down(cx, seat);
            }
        });
        crowd
    }

    fn sit_down(&mut self, cx: &mut Context<'_>, seat: usize) {
        let crowd = cx.id::<Crowd>();
        let member = Framed::new(Terminator::Line, Member { crowd, seat });
        let member = member.expect("a good terminator");
        let turn = seat + usize::try_from(self.refused).unwrap_or(0);
        let address = self.addresses[turn % self.addresses.len()];
        self.seats[seat].link = cx.connect(address, member).ok();
        if self.seats[seat].link.is_none() {
            self.come_back(cx, seat);
        }
    }

    fn come_back(&mut self, cx: &mut Context<'_>, seat: usize) {
        // 0 is that of the tick.
        let tag = u32::try_from(seat + 1).expect("few seats");
        cx.set_tagged_timer(PAUSE, tag);
    }

    /// From now on they talk, at `rate` lines a second all together; or not any more, if it is 0.
    pub(crate) fn talk(&mut self, rate: f64) {
        self.rate = rate;
        self.is_talking = rate > 0.0;
        self.owed = 0.0;
        self.last_tick = None;
    }

    /// How many are in the room.
    pub(crate) fn present(&self) -> usize {
        self.seats.iter().filter(|seat| seat.is_in).count()
    }

    pub(crate) fn open_lines(&self) -> usize {
        self.seats.iter().map(|seat| seat.open.len()).sum()
    }

    pub(crate) fn how_many(&self, fate: Fate) -> usize {
        self.fates.values().filter(|&&of| of == fate).count()
    }

    /// How often members were told that the backplane is away, and back.
    pub(crate) fn told(&self) -> (u64, u64) {
        let seats = self.seats.iter();
        seats.fold((0, 0), |(away, back), seat| {
            (away + seat.told_away, back + seat.told_back)
        })
    }

    /// What each member has heard between an entrance and the end of that connection; and whether that has not ended.
    pub(crate) fn heard(&self) -> impl Iterator<Item = (usize, &[Said], bool)> {
        self.seats.iter().enumerate().flat_map(|(number, seat)| {
            let last = seat.heard.len().wrapping_sub(1);
            let segments = seat.heard.iter().enumerate();
            segments.map(move |(at, segment)| (number, &segment[..], seat.is_in && at == last))
        })
    }

    /// Whether all who are in the room have heard this line as the last one.
    pub(crate) fn have_all_heard(&self, last: Said) -> bool {
        self.seats.iter().all(|seat| {
            let heard = seat.heard.last().and_then(|segment| segment.last());
            seat.is_in && heard == Some(&last)
        })
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        let elapsed = self
            .last_tick
            .replace(now)
            .map_or(Duration::ZERO, |last| now - last);
        if !self.is_talking {
            return;
        }
        // What could not be said is not made up for.
        self.owed = (self.owed + elapsed.as_secs_f64() * self.rate).min(self.rate);
        for _ in 0..self.seats.len() {
            if self.owed < 1.0 {
                return;
            }
            self.turn = (self.turn + 1) % self.seats.len();
            if self.say(cx, self.turn) {
                self.owed -= 1.0;
            }
        }
    }

    fn say(&mut self, cx: &mut Context<'_>, number: usize) -> bool {
        let now = cx.now();
        let seat = &mut self.seats[number];
        let Some(mut link) = seat.link.and_then(|link| cx.at(link)) else {
            return false;
        };
        if !seat.is_in || seat.open.len() >= OUTSTANDING || link.is_closing() {
            return false;
        }
        let who = u32::try_from(number).expect("few seats");
        let said = Said {
            who,
            number: seat.next,
        };
        if link.send(format!("{}\n", said.text()).as_bytes()).is_err() {
            return false;
        }
        seat.next += 1;
        seat.open.insert(said.number, now);
        self.fates.insert(said, Fate::Open);
        true
    }

    /// A member has heard a line. What it answers.
    fn hears(&mut self, cx: &mut Context<'_>, number: usize, line: &str) -> Option<String> {
        let now = cx.now();
        let seat = &mut self.seats[number];
        let nick = format!("n{number}");
        if let Some(rest) = line.strip_prefix("* ") {
            if let Some(refused) = rest.strip_prefix("not sent (") {
                let text = refused.split_once("): ").expect("with the line").1;
                let said = Said::parse(text).expect("one of mine");
                seat.open.remove(&said.number).expect("one that is open");
                self.fates.insert(said, Fate::Refused);
            } else if rest.starts_with("welcome; ") {
                return Some(nick);
            } else if !seat.is_in && rest == format!("{nick} joined") {
                seat.is_in = true;
                seat.heard.push(Vec::new());
            } else if rest.ends_with("is taken; another nickname?") || rest.starts_with("not now: ")
            {
                seat.asks_again = true;
                self.come_back(cx, number);
            } else if rest.starts_with("your nickname was given up") {
                seat.is_in = false;
            } else if rest.starts_with("lines may have been missed") {
                self.missed += 1;
            } else if rest.starts_with("the backplane is away") {
                seat.told_away += 1;
            } else if rest == "the backplane is back" {
                seat.told_back += 1;
            }
            return None;
        }
        self.received += 1;
        let (from, text) = line.split_once(": ").expect("somebody has said it");
        let said = Said::parse(text).expect("words of this crowd");
        assert_eq!(from, format!("n{}", said.who), "{line}");
        seat.heard.last_mut().expect("it is in the room").push(said);
        if said.who as usize == number {
            if let Some(at) = seat.open.remove(&said.number) {
                self.slowest = self.slowest.max(now - at);
                self.fates.insert(said, Fate::Confirmed);
                self.confirmed_at.push(now);
            }
        }
        None
    }

    fn has_ended(&mut self, cx: &mut Context<'_>, number: usize, was_connected: bool) {
        if self.is_over {
            return;
        }
        self.ended += u64::from(was_connected);
        self.refused += u64::from(!was_connected);
        let seat = &mut self.seats[number];
        seat.is_in = false;
        seat.link = None;
        let who = u32::try_from(number).expect("few seats");
        for (number, _) in std::mem::take(&mut seat.open) {
            self.fates.insert(Said { who, number }, Fate::Unknown);
        }
        self.come_back(cx, number);
    }

    /// They go home.
    pub(crate) fn end(&mut self, cx: &mut Context<'_>) {
        self.is_over = true;
        for link in self.seats.iter().filter_map(|seat| seat.link) {
            if let Some(mut link) = cx.at(link) {
                link.abort();
            }
        }
    }
}

impl Dispatcher for Crowd {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        let Some(number) = (timer.tag() as usize).checked_sub(1) else {
            self.tick(cx);
            return Ok(());
        };
        let seat = &mut self.seats[number];
        let asks_again = std::mem::take(&mut seat.asks_again);
        match seat.link.and_then(|link| cx.at(link)) {
            Some(mut link) if asks_again => link.send(format!("n{number}\n").as_bytes()),
            Some(_) => Ok(()),
            None => {
                self.sit_down(cx, number);
                Ok(())
            }
        }
    }
}

/// One connection.
struct Member {
    crowd: Id<Crowd>,
    seat: usize,
}

impl Handler for Member {
    fn handle_connect(&mut self, cx: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
        cx.with(self.crowd, |crowd, _| crowd.connected += 1);
        Ok(())
    }

    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        let line = std::str::from_utf8(line).expect("text");
        let seat = self.seat;
        let answer = cx.with(self.crowd, |crowd, cx| crowd.hears(cx, seat, line));
        match answer.flatten() {
            Some(answer) => cx.send(format!("{answer}\n").as_bytes()),
            None => Ok(()),
        }
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, _: io::Error) {
        cx.abort();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let (seat, was_connected) = (self.seat, !cx.is_connecting());
        cx.with(self.crowd, |crowd, cx| {
            crowd.has_ended(cx, seat, was_connected)
        });
    }
}
