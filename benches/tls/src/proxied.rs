//! What a request costs that goes through a proxy: `examples/http_proxy` beside Squid and nginx, and the tables of
//! `docs/http-proxy.md`.
//!
//! The server behind them is `examples/http_server`, on the client's processor; CPU time is the proxy's alone, of all its
//! threads. The client is wrk, whose requests name the whole URI, or ab where each request has a connection of its own.

mod proxies;

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use slabloop_peers::cli::{Doing, Result};
use slabloop_peers::compare::part::Part;
use slabloop_peers::compare::rounds::in_turn;
use slabloop_peers::compare::selection::Selection;
use slabloop_peers::compare::temp::TempDir;

use crate::costs::page;
use crate::http::clients::Ask;
use crate::http::{Scale, rows, servers};
use proxies::Via;

/// Where the tables stand in the page.
const PART: Part = Part("http_proxy_costs");

/// One table.
#[derive(Debug)]
struct Experiment {
    name: &'static str,
    title: &'static str,
    is_kept: bool,
    path: &'static str,
}

const EXPERIMENTS: [Experiment; 3] = [
    Experiment {
        name: "1k",
        title: "1 KiB, 50 connections that are kept",
        is_kept: true,
        path: "/1k",
    },
    Experiment {
        name: "100k",
        title: "100 KiB, 50 connections that are kept",
        is_kept: true,
        path: "/100k",
    },
    Experiment {
        name: "short",
        title: "1 KiB, a connection for each request",
        is_kept: false,
        path: "/1k",
    },
];

/// The program `http_proxy_costs`.
///
/// # Errors
///
/// A bad command line, a client or a server that is missing, or a page that cannot be written. A proxy that fails is
/// named beside the table instead.
pub fn main() -> Result<()> {
    let selection = Selection::from_args(&EXPERIMENTS.each_ref().map(|one| one.name))?;
    let scale = match selection.is_quick {
        true => Scale::QUICK,
        false => Scale::FULL,
    };
    if let Some(page) = &selection.page {
        PART.check(page)?;
    }
    let folder = TempDir::new()?;
    crate::http::write_files(folder.path())?;
    let origin = servers::behind(folder.path())?;
    let mut text = page::head(scale.rounds, &["httparse", "mio"], &["nginx"]);
    for experiment in &EXPERIMENTS {
        if selection.wants(experiment.name) {
            let section = measure(experiment, scale, folder.path(), origin.address)?;
            println!("{section}");
            text.push_str(&section);
        }
    }
    if let Some(page) = &selection.page {
        PART.write(page, &text)?;
    }
    Ok(())
}

/// Has wrk ask for a whole URI.
fn write_script(folder: &Path, origin: SocketAddr, path: &str) -> Result<()> {
    let script = format!(
        "local text = \"GET http://{origin}{path} HTTP/1.1\\r\\nHost: {origin}\\r\\n\\r\\n\"\n\
         request = function() return text end\n"
    );
    let name = crate::http::clients::SCRIPT;
    fs::write(folder.join(name), script).doing(name)
}

fn measure(
    experiment: &Experiment,
    scale: Scale,
    folder: &Path,
    origin: SocketAddr,
) -> Result<String> {
    let Experiment { is_kept, path, .. } = *experiment;
    write_script(folder, origin, path)?;
    let ask = match is_kept {
        true => Ask::Many { connections: 50 },
        false => Ask::Through { origin, path },
    };
    let mut notes = Vec::new();
    let who: Vec<Via> = Via::ALL.into_iter().filter(|who| who.is_here()).collect();
    let runs = in_turn(experiment.name, scale.rounds, &who, &mut notes, |who| {
        let proxy = who.start(folder, origin)?;
        ask.run(&proxy, scale.seconds, scale.requests, folder)
    });
    let mut text = format!("### {}\n\n", experiment.title);
    let shown = ask.shown(scale.seconds, scale.requests);
    let shown = shown.replace(&origin.to_string(), "ORIGIN");
    let uri = match is_kept {
        true => format!(", asking for `http://ORIGIN{path}`"),
        false => String::new(),
    };
    let _ = writeln!(text, "`{shown}`{uri}\n");
    text.push_str(&rows(&runs));
    text.push('\n');
    for note in notes {
        let _ = writeln!(text, "- {note}\n");
    }
    Ok(text)
}
