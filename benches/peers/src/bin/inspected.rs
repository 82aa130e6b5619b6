//! What an open inspector page costs an echo server: CPU time per message of two servers that run at the same time on one
//! processor, one of them with a page that takes ten beats a second.
//!
//! ```text
//! cargo build --profile bench-peers -p slabloop-peers
//! cargo build --release --features inspector --example echo_server
//! taskset -c 1 target/bench-peers/inspected --server target/release/examples/echo_server
//! ```
//!
//! Each round has new processes, for where their memory happens to lie makes a difference of some percent; so rounds are
//! short and many. What else the machine does meets both alike.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;

use slabloop_peers::cli::{self, Doing, Error, Result};
use slabloop_peers::compare::process::{self, Core, Server};

struct Options {
    server: String,
    rounds: usize,
    connections: usize,
    rate: u64,
    messages: u64,
}

const FLAGS: &str = "--server, --rounds, --connections, --rate and --messages";

fn main() -> ExitCode {
    cli::run(|| {
        let options = options()?;
        let mut ratios = Vec::new();
        println!("round  plain, µs per message  with a page  ratio");
        for round in 1..=options.rounds {
            let (plain, observed) = measure(&options)?;
            let ratio = observed / plain;
            println!("{round:5}  {plain:21.3}  {observed:11.3}  {ratio:.4}");
            ratios.push(ratio);
        }
        summary(&mut ratios);
        Ok(())
    })
}

fn options() -> Result<Options> {
    let mut options = Options {
        server: String::new(),
        rounds: 40,
        connections: 10_000,
        rate: 20_000,
        messages: 40_000,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(flag) = cli::next_flag(&mut arguments)? {
        let number = "a number";
        match flag.as_str() {
            "server" => options.server = cli::value(&mut arguments, &flag, "a program")?,
            "rounds" => options.rounds = cli::value(&mut arguments, &flag, number)?,
            "connections" => options.connections = cli::value(&mut arguments, &flag, number)?,
            "rate" => options.rate = cli::value(&mut arguments, &flag, number)?,
            "messages" => options.messages = cli::value(&mut arguments, &flag, number)?,
            _ => return Err(cli::unknown(&flag, FLAGS)),
        }
    }
    if options.server.is_empty() {
        return Err(Error::Usage(
            "--server is wanted: the example echo_server, built with the feature inspector"
                .to_owned(),
        ));
    }
    if options.rounds == 0 {
        return Err(cli::wrong("rounds", 0, "one at least"));
    }
    Ok(options)
}

/// One round: CPU time per message in microseconds, without and with a page.
fn measure(options: &Options) -> Result<(f64, f64)> {
    let inspector = process::free_address()?;
    let plain = start(options, None)?;
    let observed = start(options, Some(inspector))?;
    open_page(inspector)?;
    thread::scope(|scope| {
        let other = scope.spawn(|| load(options, &plain));
        let observed = load(options, &observed)?;
        let plain = other.join().map_err(|_| Error::Failed("load".to_owned()))?;
        Ok((plain?, observed))
    })
}

fn start(options: &Options, inspector: Option<SocketAddr>) -> Result<Server> {
    let address = process::free_address()?;
    let mut command = process::command(Core::Server, &[], &[options.server.clone().into()]);
    command.arg("--listen").arg(address.to_string());
    if let Some(inspector) = inspector {
        command.arg("--inspect").arg(inspector.to_string());
    }
    // The inspector is the last that listens.
    let last = inspector.unwrap_or(address);
    let mut server = Server::start_silent(&mut command, &options.server, last)?;
    server.address = address;
    Ok(server)
}

/// Takes what comes until the server ends.
fn open_page(inspector: SocketAddr) -> Result<()> {
    let mut page = TcpStream::connect(inspector).doing("opening the page")?;
    page.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut buffer = vec![0; 64 * 1024];
    if page.read(&mut buffer)? == 0 {
        return Err(Error::Failed("the inspector sent nothing".to_owned()));
    }
    thread::spawn(move || while page.read(&mut buffer).is_ok_and(|count| count > 0) {});
    Ok(())
}

fn load(options: &Options, server: &Server) -> Result<f64> {
    let connections = options.connections.to_string();
    let (rate, messages) = (options.rate.to_string(), options.messages.to_string());
    let arguments = [
        ["--connections", &connections],
        ["--rate", &rate],
        ["--size", "64"],
        ["--messages", &messages],
    ];
    process::load(server, arguments.as_flattened())?.value("server_us_per_message")
}

fn summary(ratios: &mut [f64]) {
    ratios.sort_by(f64::total_cmp);
    let count = ratios.len() as f64;
    let mean = ratios.iter().sum::<f64>() / count;
    let squares = ratios.iter().map(|ratio| (ratio - mean).powi(2));
    let error = (squares.sum::<f64>() / count / (count - 1.0).max(1.0)).sqrt();
    let quartile = |quarters: usize| ratios[(ratios.len() - 1) * quarters / 4];
    println!(
        "mean {mean:.4}, standard error {error:.4}; median {:.4}, quartiles {:.4} and {:.4}",
        quartile(2),
        quartile(1),
        quartile(3)
    );
}
