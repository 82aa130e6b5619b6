//! The command line of the load generator, checked before the first connection is made.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::str::FromStr;

use crate::cli::{self, Error, Result};
use crate::serve;

const FLAGS: &str = "--connect ADDR, --connections N, --in-flight K, --size B, --messages M, --rate R, --arrive running|stopped and --pid P";

/// The largest message: more would only measure memory.
const SIZE_MAX: usize = 64 << 20;

/// When the next message goes out.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// When an earlier one has come back.
    Closed {
        /// Messages on their way at the same time.
        in_flight: usize,
    },
    /// So many a second, by the clock.
    Open {
        /// Messages per second.
        rate: NonZeroU64,
    },
}

/// What the connections are for.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// All are made before the first message.
    Messages {
        /// Messages in all, after one for each connection to warm up.
        count: u64,
        /// Closed or open loop.
        pace: Pace,
    },
    /// All are begun at once, and each carries one message as soon as it stands.
    Arrivals(Meeting),
}

/// What the server does while connections arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// It runs, and takes them as they come.
    Running,
    /// It is stopped, so that all of them are in its queue when it goes on.
    Stopped,
}

impl FromStr for Meeting {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        match text {
            "running" => Ok(Meeting::Running),
            "stopped" => Ok(Meeting::Stopped),
            _ => Err(()),
        }
    }
}

/// What to do to which server.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The server.
    pub connect: SocketAddr,
    /// Connections in all.
    pub connections: usize,
    /// Bytes in a message.
    pub size: usize,
    /// What happens on them.
    pub work: Work,
    /// The server's process, to read its time and memory.
    pub pid: Option<u32>,
}

impl Options {
    /// Takes the options from the command line.
    ///
    /// # Errors
    ///
    /// Unknown flags, unusable values, a missing `--connect`.
    pub fn from_args() -> Result<Self> {
        let number = "a whole number of at least 1";
        let mut connect = None;
        let mut connections = 100;
        let mut in_flight = None;
        let mut size = 64;
        let mut messages = 100_000;
        let mut rate = None;
        let mut arrive = None;
        let mut pid = None;
        let mut parser = lexopt::Parser::from_env();
        while let Some(flag) = cli::next_flag(&mut parser)? {
            match flag.as_str() {
                "connect" => connect = Some(serve::address(&mut parser, &flag)?),
                "connections" => connections = cli::value(&mut parser, &flag, number)?,
                "in-flight" => in_flight = Some(cli::value(&mut parser, &flag, number)?),
                "size" => size = cli::value(&mut parser, &flag, number)?,
                "messages" => messages = cli::value(&mut parser, &flag, number)?,
                "rate" => rate = Some(cli::value(&mut parser, &flag, number)?),
                "arrive" => {
                    arrive = Some(cli::value(&mut parser, &flag, "running or stopped")?);
                }
                "pid" => pid = Some(cli::value(&mut parser, &flag, "a process number")?),
                _ => return Err(cli::unknown(&flag, FLAGS)),
            }
        }
        let connect = connect
            .ok_or_else(|| Error::Usage("--connect is missing: which server to load".to_owned()))?;
        if connections == 0 {
            return Err(cli::wrong("connections", connections, number));
        }
        if size == 0 || size > SIZE_MAX {
            return Err(cli::wrong(
                "size",
                size,
                &format!("between 1 and {SIZE_MAX} bytes"),
            ));
        }
        if messages == 0 {
            return Err(cli::wrong("messages", messages, number));
        }
        // A connection carries one message at a time, so there can't be more on their way.
        let in_flight = in_flight.unwrap_or(connections.min(100));
        if in_flight == 0 || in_flight > connections {
            let expected = format!("between 1 and --connections, {connections}");
            return Err(cli::wrong("in-flight", in_flight, &expected));
        }
        let pace = match rate {
            Some(rate) => Pace::Open { rate },
            None => Pace::Closed { in_flight },
        };
        let work = match arrive {
            Some(Meeting::Stopped) if pid.is_none() => {
                return Err(Error::Usage(
                    "--pid is missing: which process to stop".to_owned(),
                ));
            }
            Some(server) => Work::Arrivals(server),
            None => Work::Messages {
                count: messages,
                pace,
            },
        };
        Ok(Options {
            connect,
            connections,
            size,
            work,
            pid,
        })
    }
}
