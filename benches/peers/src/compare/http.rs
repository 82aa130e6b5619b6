//! A keep-alive GET of twelve bytes, with wrk: an answer's worth of real protocol on top of the
//! loop.

use std::net::SocketAddr;

use super::nginx;
use super::options::{Experiment, Options};
use super::peers::{self, Job, Peer};
use super::plot::Plot;
use super::process::{self, Core, Server};
use super::report::Section;
use super::rounds::{Participant, in_turn, median};
use super::table::{Table, cell};
use super::temp::TempDir;
use crate::cli::{Error, Result};

const CONNECTIONS: &str = "1000";

/// Who answers.
#[derive(Debug)]
enum Web<'a> {
    Peer(&'a Peer),
    Nginx,
}

impl Participant for Web<'_> {
    fn name(&self) -> &'static str {
        match self {
            Web::Peer(peer) => peer.name,
            Web::Nginx => "nginx",
        }
    }
}

struct Sample {
    per_second: f64,
    us_per_request: f64,
}

/// Runs every server.
#[must_use]
pub fn measure(options: &Options, all: &[Peer]) -> Section {
    let mut notes = Vec::new();
    let mut servers: Vec<_> = peers::with_job(all, Job::Http)
        .into_iter()
        .map(Web::Peer)
        .collect();
    if process::has("nginx") {
        servers.push(Web::Nginx);
    } else {
        notes.push("nginx is not installed".to_owned());
    }
    if !process::has("wrk") {
        notes.push("wrk is not installed, so nothing was measured".to_owned());
        servers.clear();
    }
    let duration = format!("{}s", options.scale.http_seconds);
    let runs = in_turn(
        "http",
        options.scale.rounds,
        &servers,
        &mut notes,
        |server| run(server, &duration),
    );

    let headers = [
        "server",
        "requests per second",
        "µs of CPU time per request",
    ];
    let mut table = Table::new(headers.map(str::to_owned).to_vec());
    let mut rows = Vec::new();
    for one in &runs {
        let time = median(one, |sample| sample.us_per_request);
        let rate = median(one, |sample| sample.per_second);
        table.row(one.name, vec![cell(rate, 0), cell(time, 2)]);
        rows.push((one.name.to_owned(), vec![time]));
    }
    Section {
        experiment: Experiment::Http,
        title: "HTTP: keep-alive GET of 12 bytes",
        intro: format!(
            "{CONNECTIONS} connections, each asking again as soon as it is answered. nginx runs \
             with one worker, no log, and the answer in its configuration. The peers' servers \
             understand as much HTTP as this takes and no more: they show a loop's ceiling, not a \
             web server."
        ),
        commands: vec![
            "taskset -c 0 PEER_http --listen 127.0.0.1:0".to_owned(),
            "taskset -c 0 nginx -p FOLDER -c FILE".to_owned(),
            format!("taskset -c 1 wrk -t1 -c{CONNECTIONS} -d{duration} http://ADDR/"),
        ],
        table,
        plots: vec![Plot {
            name: "http".to_owned(),
            title: "HTTP: µs of CPU time per request (less is better)".to_owned(),
            series: vec!["GET of 12 bytes".to_owned()],
            decimals: 1,
            rows,
        }],
        notes,
    }
}

fn run(server: &Web<'_>, duration: &str) -> Result<Sample> {
    let folder = TempDir::new()?;
    let server = match server {
        Web::Peer(peer) => {
            let Some(program) = peer.program(Job::Http) else {
                return Err(Error::Failed("no program for HTTP".to_owned()));
            };
            Server::start(Core::Server, &[], program, &["--listen", "127.0.0.1:0"])
        }
        Web::Nginx => {
            let address = process::free_address()?;
            nginx::start(folder.path(), &configuration(address), address)
        }
    }?;
    let process = server.process();
    let words = ["wrk", "-t1", "-c", CONNECTIONS, "-d", duration].map(Into::into);
    let mut command = process::command(Core::Client, &[], &words);
    command.arg(format!("http://{}/", server.address));
    let before = process.cpu()?;
    let (out, _) = process::output(command, "wrk")?;
    let spent = process.cpu()?.since(before);

    // wrk goes on counting past answers that are wrong, so a server that answers nonsense must be
    // caught here.
    if let Some(line) = out
        .lines()
        .find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
    {
        return Err(Error::Failed(format!("wrk saw errors: {}", line.trim())));
    }
    let requests = out
        .lines()
        .find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
    let requests: f64 =
        requests.ok_or_else(|| Error::Failed("wrk told no number of requests".to_owned()))?;
    let per_second = out
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    Ok(Sample {
        per_second: per_second.ok_or_else(|| Error::Failed("wrk told no rate".to_owned()))?,
        us_per_request: spent.run_ns as f64 / 1e3 / requests,
    })
}

fn configuration(address: SocketAddr) -> String {
    format!(
        "http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  server {{\n    \
         listen {address} backlog=4096;\n    \
         location / {{ return 200 \"hello world\\n\"; }}\n  }}\n}}\n"
    )
}
