//! The command line.

use std::ops::RangeInclusive;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use super::common::{self, Failure, UpstreamFlags};

/// As the experiment was published, but for the target.
pub(crate) struct Options {
    pub(crate) connections: usize,
    pub(crate) target: Target,
    pub(crate) interval: RangeInclusive<Duration>,
    pub(crate) timeout: Duration,
    pub(crate) open_rate: u32,
    pub(crate) duration: Option<Duration>,
    pub(crate) plot: Option<String>,
    pub(crate) tls: UpstreamFlags,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_tls: bool,
    /// `HOST:PORT`.
    pub(crate) server: String,
    /// As it stood in the URL, for the field `Host`.
    pub(crate) host: String,
    /// With its query.
    pub(crate) path: String,
}

impl Options {
    pub(crate) fn parse(mut parser: Parser) -> Result<Options, Failure> {
        let mut options = Options {
            connections: 10_000,
            target: target("http://127.0.0.1:8080/")?,
            interval: Duration::from_secs(1)..=Duration::from_secs(60),
            timeout: Duration::from_secs(3),
            open_rate: 1000,
            duration: None,
            plot: None,
            tls: UpstreamFlags::of_target(),
        };
        while let Some(argument) = parser.next()? {
            let flag = match argument {
                Arg::Short('h') => return Err(Failure::Help),
                Arg::Long(flag) => format!("--{flag}"),
                unexpected => return Err(unexpected.unexpected().into()),
            };
            let parser = &mut parser;
            match flag.as_str() {
                "--help" => return Err(Failure::Help),
                "--version" => return Err(Failure::Version),
                "--connections" => options.connections = common::number(&flag, parser, 1)?,
                "--target" => options.target = target(&parser.value()?.string()?)?,
                "--interval" => options.interval = interval(&flag, parser)?,
                "--timeout" => options.timeout = span(&flag, parser)?,
                "--duration" => options.duration = Some(span(&flag, parser)?),
                "--open-rate" => {
                    let rate = common::number(&flag, parser, 1)?;
                    options.open_rate = u32::try_from(rate).unwrap_or(u32::MAX);
                }
                "--plot" => options.plot = Some(parser.value()?.string()?),
                flag if options.tls.take(flag.trim_start_matches('-'), parser)? => {}
                flag => return Err(Failure::Usage(format!("unknown option {flag}"))),
            }
        }
        if options.target.is_tls {
            options.tls.with_tls();
        }
        Ok(options)
    }
}

/// The parts of a URL.
pub(crate) fn target(url: &str) -> Result<Target, Failure> {
    let wrong = || {
        let right = "http://HOST:PORT/PATH or https://HOST:PORT/PATH, in printable ASCII";
        Failure::Usage(format!("--target {url}: expected {right}"))
    };
    let (is_tls, rest) = match url.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        _ => return Err(wrong()),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let path = path.split('#').next().unwrap_or_default();
    let is_clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || host.contains('@') || !is_clean(host) || !is_clean(path) {
        return Err(wrong());
    }
    let after_brackets = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    let server = match after_brackets.split_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        Some(_) => return Err(wrong()),
        None => format!("{host}:{}", if is_tls { 443 } else { 80 }),
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Target {
        is_tls,
        server,
        host: host.to_owned(),
        path: format!("{slash}{path}"),
    })
}

/// `3`, `3s` or `250ms`.
fn span(flag: &str, parser: &mut Parser) -> Result<Duration, Failure> {
    let text = parser.value()?.string()?;
    parse_span(&text)
        .filter(|span| !span.is_zero())
        .ok_or_else(|| {
            let right = "a time above 0, such as 3s or 250ms, of at most a billion seconds";
            Failure::Usage(format!("{flag} {text}: expected {right}"))
        })
}

/// `1..60s`, `100..500ms`, or one span for both ends.
fn interval(flag: &str, parser: &mut Parser) -> Result<RangeInclusive<Duration>, Failure> {
    let text = parser.value()?.string()?;
    parse_interval(&text).ok_or_else(|| {
        let right = "the least and the longest pause, such as 1..60s or 100..500ms";
        Failure::Usage(format!("{flag} {text}: expected {right}"))
    })
}

pub(crate) fn parse_interval(text: &str) -> Option<RangeInclusive<Duration>> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let unit = if most.ends_with("ms") { "ms" } else { "" };
    // The unit of the end is that of the beginning, unless that has its own.
    let least = match least.ends_with('s') {
        true => parse_span(least),
        false => parse_span(&format!("{least}{unit}")),
    }?;
    let most = parse_span(most)?;
    (least <= most && !most.is_zero()).then_some(least..=most)
}

fn parse_span(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.parse::<f64>().ok()? * unit;
    let is_sensible = (0.0..=1e9).contains(&seconds);
    is_sensible.then(|| Duration::from_secs_f64(seconds))
}
