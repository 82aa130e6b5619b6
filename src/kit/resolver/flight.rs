//! One name that servers are asked for: two questions side by side, each on its way through servers, attempts and
//! aliases. No input and no output here: what is to be asked next, and what came of it all.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use domain::base::iana::Rcode;

use super::attempt::{End, Ticket};
use super::config::DnsConfig;
use super::error::{Failure, LookupError};
use super::name::Name;
use super::wire::{Answer, Kind, MOST_ALIASES};
use crate::{AnyId, TimerId};

pub(super) const KINDS: [Kind; 2] = [Kind::Aaaa, Kind::A];

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) name: Name,
    pub(super) key: Rc<[u8]>,
    /// The keys of the waiting lookups.
    pub(super) waiters: Vec<usize>,
    pub(super) sides: [Side; 2],
    pub(super) is_started: bool,
    /// Runs while one side has addresses and the other has no answer.
    pub(super) grace: Option<TimerId>,
    /// What has been given out since the grace is over.
    pub(super) partial: Option<Rc<[IpAddr]>>,
}

#[derive(Debug)]
pub(super) enum Side {
    Asking(Box<Question>),
    /// And when it was.
    Done(Found, Instant),
}

/// What one family came to. Times to live are in seconds.
#[derive(Debug)]
pub(super) enum Found {
    Addresses(Vec<IpAddr>, u32),
    NoAddress(Option<u32>),
    NoSuchName(Option<u32>),
    Failed(LookupError),
    /// It was not asked for.
    Unasked,
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Question {
    /// The name itself, or what it stands for.
    pub(super) target: Name,
    aliases: usize,
    /// When the first of the aliases so far expires.
    until: Option<Instant>,
    /// Queries so far that were each server's turn.
    step: usize,
    pub(super) way: Way,
    /// The server that is asked first.
    first: usize,
    pub(super) attempt: Option<(Ticket, AnyId)>,
    /// Whether the server of this step has been found to be without EDNS.
    pub(super) plain: bool,
}

/// How a question is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Udp,
    Tcp,
    /// Because the answer had another letter case: only an answer over TCP shows what that means.
    TcpForCase,
    /// Without random case: the server does not keep it, and does not speak TCP.
    UdpAnyCase,
}

/// What is to be done when an attempt has ended.
#[derive(Debug)]
pub(super) enum Next {
    Ask,
    Done(Found),
}

impl Flight {
    pub(super) fn new(name: Name, config: &DnsConfig, first: usize, now: Instant) -> Flight {
        let side = |kind| {
            let unwanted = match kind {
                Kind::A => super::Family::V6,
                Kind::Aaaa => super::Family::V4,
            };
            if config.family == unwanted {
                Side::Done(Found::Unasked, now)
            } else {
                Side::Asking(Box::new(Question::new(name.clone(), config, first)))
            }
        };
        Flight {
            sides: KINDS.map(side),
            key: name.as_bytes().into(),
            name,
            waiters: Vec::new(),
            is_started: false,
            grace: None,
            partial: None,
        }
    }

    pub(super) fn question(&mut self, side: usize) -> Option<&mut Question> {
        match &mut self.sides[side] {
            Side::Asking(question) => Some(question),
            Side::Done(..) => None,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.sides.iter().all(|side| matches!(side, Side::Done(..)))
    }

    /// All addresses so far.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for side in &self.sides {
            if let Side::Done(Found::Addresses(addresses, _), _) = side {
                all.extend_from_slice(addresses);
            }
        }
        all
    }

    /// Until when what the sides have come to so far may be kept; `None` if not any longer, or not at all. A time to
    /// live counts from when its answer came: the other side may have taken much longer.
    pub(super) fn keep(&self, config: &DnsConfig, now: Instant) -> Option<Instant> {
        let seconds = |ttl: u32| Duration::from_secs(ttl.into());
        let has_addresses = !self.addresses().is_empty();
        let mut least: Option<Instant> = None;
        for side in &self.sides {
            let Side::Done(found, came) = side else {
                continue;
            };
            let (from, time) = match found {
                Found::Addresses(_, ttl) => {
                    (*came, seconds(*ttl).clamp(config.min_ttl, config.max_ttl))
                }
                Found::NoAddress(Some(ttl)) | Found::NoSuchName(Some(ttl)) => {
                    (*came, seconds(*ttl).min(config.max_negative_ttl))
                }
                // What the other side found must not suffer for it.
                Found::NoAddress(None) | Found::NoSuchName(None) if has_addresses => {
                    (now, config.max_negative_ttl)
                }
                Found::NoAddress(None) | Found::NoSuchName(None) => return None,
                Found::Failed(_) => (now, config.failure_ttl),
                Found::Unasked => continue,
            };
            let until = from.checked_add(time)?;
            least = Some(least.map_or(until, |least| least.min(until)));
        }
        least.filter(|until| *until > now)
    }

    /// Why there is no address.
    pub(super) fn failure(&self) -> LookupError {
        let name = self.name.to_string();
        let found = |wanted: fn(&Found) -> bool| {
            let mut sides = self.sides.iter();
            sides.any(|side| matches!(side, Side::Done(found, _) if wanted(found)))
        };
        for side in &self.sides {
            if let Side::Done(Found::Failed(error), _) = side {
                return error.clone();
            }
        }
        if found(|found| matches!(found, Found::NoSuchName(_))) {
            LookupError::new(&name, Failure::NoSuchName)
        } else {
            LookupError::new(&name, Failure::NoAddress)
        }
    }
}

impl Question {
    fn new(name: Name, config: &DnsConfig, first: usize) -> Question {
        Question {
            target: name,
            aliases: 0,
            until: None,
            step: 0,
            way: usual_way(config),
            first,
            attempt: None,
            plain: false,
        }
    }

    /// The place of the server whose turn it is.
    pub(super) fn server(&self, config: &DnsConfig) -> usize {
        (self.first + self.step) % config.servers.len()
    }

    /// What follows from an attempt's end.
    pub(super) fn ended(
        &mut self,
        name: &Name,
        end: End,
        config: &DnsConfig,
        now: Instant,
    ) -> Next {
        self.attempt = None;
        let reason = match end {
            End::Answer { answer, .. } => match answer {
                Answer::Addresses { addresses, ttl } => {
                    return Next::Done(Found::Addresses(addresses, self.at_most(ttl, now)));
                }
                Answer::NoAddress { ttl } => {
                    let ttl = ttl.map(|ttl| self.at_most(ttl, now));
                    return Next::Done(Found::NoAddress(ttl));
                }
                Answer::NoSuchName { ttl } => {
                    let ttl = ttl.map(|ttl| self.at_most(ttl, now));
                    return Next::Done(Found::NoSuchName(ttl));
                }
                Answer::Alias { target, ttl } => {
                    let until = now.checked_add(Duration::from_secs(ttl.into()));
                    self.until = self.until.into_iter().chain(until).min();
                    return self.follow(name, *target, config);
                }
                Answer::Failed(Rcode::FORMERR | Rcode::NOTIMP) if !self.plain => {
                    self.plain = true;
                    return Next::Ask;
                }
                Answer::Failed(code) => (Failure::ServerFailed, code.to_string()),
                Answer::Referral => (Failure::ServerFailed, "it knows no answer".to_owned()),
                Answer::Endless => (Failure::ServerFailed, TOO_MANY_ALIASES.to_owned()),
            },
            // Only what came over UDP ends like this.
            End::Cut | End::Guessed => {
                self.way = Way::Tcp;
                return Next::Ask;
            }
            End::OtherCase => {
                self.way = Way::TcpForCase;
                return Next::Ask;
            }
            End::TimedOut | End::Failed(_) if self.way == Way::TcpForCase => {
                self.way = Way::UdpAnyCase;
                return Next::Ask;
            }
            End::TimedOut => {
                let limit = config.timeout;
                (Failure::Unanswered, format!("no answer within {limit:?}"))
            }
            End::Failed(error) => (Failure::Unanswered, error.to_string()),
        };
        self.next_server(name, reason, config)
    }

    fn next_server(
        &mut self,
        name: &Name,
        (failure, detail): (Failure, String),
        config: &DnsConfig,
    ) -> Next {
        let server = config.servers[self.server(config)];
        self.step += 1;
        self.way = usual_way(config);
        self.plain = false;
        if self.step < config.servers.len() * config.attempts as usize {
            return Next::Ask;
        }
        let error = LookupError::new(&name.to_string(), failure);
        Next::Done(Found::Failed(
            error.with(format_args!("{server}: {detail}")),
        ))
    }

    /// The answer tells of another name, and of no address of that.
    fn follow(&mut self, name: &Name, target: Name, config: &DnsConfig) -> Next {
        self.aliases += 1;
        if self.aliases > MOST_ALIASES {
            let error = LookupError::new(&name.to_string(), Failure::ServerFailed);
            return Next::Done(Found::Failed(error.with(TOO_MANY_ALIASES)));
        }
        self.target = target;
        self.step = 0;
        self.way = usual_way(config);
        self.plain = false;
        Next::Ask
    }

    /// A time to live, and no longer than the aliases of earlier answers hold that lead to this one.
    fn at_most(&self, ttl: u32, now: Instant) -> u32 {
        let left = self.until.map(|until| until.saturating_duration_since(now));
        let left = left.and_then(|left| u32::try_from(left.as_secs()).ok());
        left.map_or(ttl, |left| ttl.min(left))
    }
}

const TOO_MANY_ALIASES: &str = "aliases without end";

fn usual_way(config: &DnsConfig) -> Way {
    if config.use_tcp { Way::Tcp } else { Way::Udp }
}
