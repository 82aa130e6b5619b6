//! The flags that all example servers understand, and what they say when one is wrong.

use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use super::inherited::Inherited;
use super::{HandOver, Inspect, Tls, TraceFile};

/// Why an example ends early.
#[derive(Debug)]
pub enum Failure {
    /// `--help` was asked for.
    Help,
    /// `--version` was asked for.
    Version,
    /// The command line is wrong: which flag, which value, what would be right.
    Usage(String),
    /// It cannot do its work: the cause and a way out.
    Work(String),
}

impl Failure {
    /// Wraps an I/O error in what was being done.
    pub fn io(doing: &str) -> impl FnOnce(io::Error) -> Failure + '_ {
        move |error| Failure::Work(format!("{doing}: {error}"))
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Failure {
        Failure::Usage(match error {
            lexopt::Error::UnexpectedOption(option) => format!("unknown option {option}"),
            lexopt::Error::MissingValue {
                option: Some(option),
            } => format!("{option}: a value is missing"),
            other => other.to_string(),
        })
    }
}

/// The shared flags, parsed.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--listen HOST:PORT`, or the address of a listener that was inherited.
    pub listen: String,
    /// `--max-connections N`: clients open at once.
    pub max_connections: Option<usize>,
    /// `--idle-timeout SECONDS`
    pub idle_timeout: Option<Duration>,
    /// `--drain SECONDS`
    pub drain: Duration,
    /// `--duration SECONDS`
    pub duration: Option<Duration>,
    /// `--tls-cert FILE` and `--tls-key FILE`
    pub tls: Tls,
    /// A listener that was inherited.
    pub inherited: Inherited,
    /// What happens on SIGUSR2, if anything.
    pub hand_over: HandOver,
    /// `--inspect HOST:PORT` and `--replay FILE`
    pub inspect: Inspect,
    /// `--trace FILE`
    pub trace: TraceFile,
}

impl Options {
    /// Parses the command line; flags that are not shared go to `other`, which says whether it knew
    /// them.
    ///
    /// # Errors
    ///
    /// [`Failure::Help`] for `--help`, [`Failure::Usage`] for anything wrong.
    pub fn parse(
        mut parser: Parser,
        listen: &str,
        mut other: impl FnMut(&str, &mut Parser) -> Result<bool, Failure>,
    ) -> Result<Options, Failure> {
        let mut options = Options {
            listen: listen.to_owned(),
            max_connections: None,
            idle_timeout: None,
            drain: Duration::from_secs(5),
            duration: None,
            tls: Tls::default(),
            inherited: Inherited::from_env()?,
            hand_over: HandOver::default(),
            inspect: Inspect::default(),
            trace: TraceFile::default(),
        };
        let (mut certificate, mut key, mut trace) = (None, None, None);
        while let Some(argument) = parser.next()? {
            let flag = match argument {
                Arg::Short('h') => return Err(Failure::Help),
                Arg::Long(flag) => flag.to_owned(),
                unexpected => return Err(unexpected.unexpected().into()),
            };
            match flag.as_str() {
                "help" => return Err(Failure::Help),
                "version" => return Err(Failure::Version),
                "listen" => options.listen = host_and_port("--listen", &mut parser)?,
                "max-connections" => {
                    options.max_connections = Some(number("--max-connections", &mut parser, 1)?);
                }
                "idle-timeout" => {
                    options.idle_timeout =
                        Some(seconds("--idle-timeout", &mut parser, Limit::AboveZero)?);
                }
                "drain" => options.drain = seconds("--drain", &mut parser, Limit::Any)?,
                "duration" => {
                    options.duration = Some(seconds("--duration", &mut parser, Limit::AboveZero)?);
                }
                "tls-cert" => certificate = Some(parser.value()?.string()?),
                "tls-key" => key = Some(parser.value()?.string()?),
                "trace" => trace = Some(parser.value()?.string()?),
                name if options.inspect.take(name, &mut parser)? => {}
                name if other(name, &mut parser)? => {}
                name => return Err(Failure::Usage(format!("unknown option --{name}"))),
            }
        }
        options.tls = Tls::read(certificate.as_deref(), key.as_deref())?;
        options.trace = TraceFile::read(trace)?;
        options.inspect = options.inspect.checked()?;
        if let Some(address) = options.inherited.address {
            options.listen = address.to_string();
        }
        Ok(options)
    }
}

/// Parses the command line of a program that is no server: `known` gets each flag, with its dashes, and says whether
/// it knew it.
///
/// # Errors
///
/// [`Failure::Help`] and [`Failure::Version`] where they are asked for, [`Failure::Usage`] for anything wrong.
pub fn flags(
    mut parser: Parser,
    mut known: impl FnMut(&str, &mut Parser) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    while let Some(argument) = parser.next()? {
        let flag = match argument {
            Arg::Short('h') => return Err(Failure::Help),
            Arg::Long(flag) => format!("--{flag}"),
            unexpected => return Err(unexpected.unexpected().into()),
        };
        match flag.as_str() {
            "--help" => return Err(Failure::Help),
            "--version" => return Err(Failure::Version),
            flag if known(flag, &mut parser)? => {}
            flag => return Err(Failure::Usage(format!("unknown option {flag}"))),
        }
    }
    Ok(())
}

/// Whether zero is a sensible number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// It is.
    Any,
    /// It would end everything at once.
    AboveZero,
}

/// A value that `T` can be made of.
///
/// # Errors
///
/// [`Failure::Usage`], naming the flag, the value and what would be right.
pub fn value<T: FromStr>(
    flag: &str,
    parser: &mut Parser,
    right: impl Display,
) -> Result<T, Failure> {
    let text = parser.value()?.string()?;
    text.parse()
        .map_err(|_| Failure::Usage(format!("{flag} {text}: expected {right}")))
}

/// A whole number of at least `least`.
///
/// # Errors
///
/// [`Failure::Usage`].
pub fn number(flag: &str, parser: &mut Parser, least: usize) -> Result<usize, Failure> {
    let number = value(flag, parser, format!("a whole number of at least {least}"))?;
    if number < least {
        return Err(Failure::Usage(format!(
            "{flag} {number}: expected at least {least}"
        )));
    }
    Ok(number)
}

/// A number of seconds, fractions allowed.
///
/// # Errors
///
/// [`Failure::Usage`].
pub fn seconds(flag: &str, parser: &mut Parser, limit: Limit) -> Result<Duration, Failure> {
    let right = match limit {
        Limit::Any => "a number of seconds, at most a billion",
        Limit::AboveZero => "a number of seconds above 0, at most a billion",
    };
    let text = parser.value()?.string()?;
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .filter(|seconds| (0.0..=1e9).contains(seconds))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| limit == Limit::Any || *duration > Duration::ZERO)
        .ok_or_else(|| Failure::Usage(format!("{flag} {text}: expected {right}")))
}

/// An address as `HOST:PORT`; the name is looked up later, still before the loop starts.
///
/// # Errors
///
/// [`Failure::Usage`].
pub fn host_and_port(flag: &str, parser: &mut Parser) -> Result<String, Failure> {
    let text = parser.value()?.string()?;
    match text.rsplit_once(':') {
        // An IPv6 address needs its brackets, or its last part would be taken for the port.
        Some((host, port))
            if !host.is_empty()
                && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'))
                && port.parse::<u16>().is_ok() =>
        {
            Ok(text)
        }
        _ => {
            let right = "HOST:PORT, such as 127.0.0.1:7000 or [::1]:0";
            Err(Failure::Usage(format!("{flag} {text}: expected {right}")))
        }
    }
}

/// The addresses of `HOST:PORT`, at least one. Names are looked up before the loop starts, because it blocks.
///
/// # Errors
///
/// [`Failure::Work`], naming the flag and the name.
pub fn look_up(flag: &str, name: &str) -> Result<Vec<SocketAddr>, Failure> {
    match name.to_socket_addrs() {
        Ok(addresses) if addresses.len() > 0 => Ok(addresses.collect()),
        Ok(_) => Err(Failure::Work(format!("{flag} {name}: no such name"))),
        Err(error) => Err(Failure::Work(format!("{flag} {name}: {error}"))),
    }
}
