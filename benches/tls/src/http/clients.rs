//! wrk and ab, and what they tell.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use slabloop_peers::cli::{Error, Result};
use slabloop_peers::compare::process::{self, Core, Server};

/// The name of the file with wrk's [`MANY`].
pub const SCRIPT: &str = "many.lua";

/// Has wrk ask for another file each time.
pub const MANY: &str = "local n = 0\n\
    request = function()\n  n = n + 1\n  return wrk.format(\"GET\", \"/many/\" .. n % 1000)\nend\n";

/// What is asked for, and how.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// By wrk, on connections that are kept.
    Kept {
        /// Of the file.
        path: &'static str,
        /// Each asks again when it is answered.
        connections: usize,
        /// `https`.
        is_tls: bool,
    },
    /// By wrk, one file of a thousand after the other.
    Many {
        /// Each asks again when it is answered.
        connections: usize,
    },
    /// By ab, each on a connection of its own.
    Short {
        /// Of the file.
        path: &'static str,
    },
    /// The same through a proxy.
    Through {
        /// The server behind it.
        origin: SocketAddr,
        /// Of the file.
        path: &'static str,
    },
}

/// What one run brought.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// µs of the server's CPU time for a request.
    pub us: f64,
    /// Requests a second.
    pub per_second: f64,
}

impl Ask {
    /// By wrk and without TLS.
    #[must_use]
    pub const fn kept(path: &'static str, connections: usize) -> Ask {
        Ask::Kept {
            path,
            connections,
            is_tls: false,
        }
    }

    fn words(self, seconds: u32, requests: usize, address: &str) -> Vec<String> {
        let (words, scheme, path) = match self {
            Ask::Kept {
                path,
                connections,
                is_tls,
            } => {
                let words = format!("wrk -t1 -c{connections} -d{seconds}s");
                (words, if is_tls { "https" } else { "http" }, path)
            }
            Ask::Many { connections } => {
                let words = format!("wrk -t1 -c{connections} -d{seconds}s -s {SCRIPT}");
                (words, "http", "/")
            }
            Ask::Short { path } => (format!("ab -q -c50 -n{requests}"), "http", path),
            Ask::Through { path, .. } => (
                format!("ab -q -c50 -n{requests} -X {address}"),
                "http",
                path,
            ),
        };
        let url = match self {
            Ask::Through { origin, .. } => format!("{scheme}://{origin}{path}"),
            _ => format!("{scheme}://{address}{path}"),
        };
        let words = words.split(' ').map(str::to_owned);
        words.chain([url]).collect()
    }

    /// The command, as a page shows it.
    #[must_use]
    pub fn shown(self, seconds: u32, requests: usize) -> String {
        self.words(seconds, requests, "ADDR").join(" ")
    }

    /// Asks, and looks at what the server took for it.
    ///
    /// # Errors
    ///
    /// A client that is missing, or that saw errors: it goes on counting past answers that are wrong.
    pub fn run(
        self,
        server: &Server,
        seconds: u32,
        requests: usize,
        folder: &Path,
    ) -> Result<Sample> {
        let words = self.words(seconds, requests, &server.address.to_string());
        let name = words[0].clone();
        let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        let process = server.process();
        let before = process.cpu()?;
        let mut command = process::command(Core::Client, &[], &words);
        command.current_dir(folder);
        let (out, _) = process::output(command, &name)?;
        let spent = process.cpu()?.since(before);
        let is_error = |line: &&str| {
            line.contains("Non-2xx")
                || line.contains("Socket errors")
                || line
                    .strip_prefix("Failed requests:")
                    .is_some_and(|count| count.trim() != "0")
        };
        if let Some(line) = out.lines().find(is_error) {
            return Err(Error::Failed(format!("{name} saw errors: {}", line.trim())));
        }
        let (count, rate) = match self {
            Ask::Kept { .. } | Ask::Many { .. } => {
                (number_before(&out, " requests in "), "Requests/sec:")
            }
            Ask::Short { .. } | Ask::Through { .. } => (
                number_after(&out, "Complete requests:"),
                "Requests per second:",
            ),
        };
        let told = count.zip(number_after(&out, rate));
        let (count, per_second) =
            told.ok_or_else(|| Error::Failed(format!("{name} told no number of requests")))?;
        Ok(Sample {
            us: spent.run_ns as f64 / 1e3 / count,
            per_second,
        })
    }
}

fn number_before(out: &str, words: &str) -> Option<f64> {
    let mut found = out.lines().filter_map(|line| line.split_once(words));
    found.next()?.0.trim().parse().ok()
}

fn number_after(out: &str, words: &str) -> Option<f64> {
    let mut found = out.lines().filter_map(|line| line.strip_prefix(words));
    found.next()?.split_whitespace().next()?.parse().ok()
}
