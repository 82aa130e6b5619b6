//! The example programs from outside, where they meet what is not usual: a signal right after the first
//! line, a proxy that is named in other ways, no stdout, members that do not read, names that are taken.
//! What each of them is for is tested in `examples.rs`.

#[path = "util/programs.rs"]
mod programs;
#[cfg(feature = "tls")]
mod util;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use programs::*;

const ALL: [&str; 3] = ["echo_server", "chat", "proxy"];

// ---------------------------------------------------------------------------------------------------
// The command line.

/// One line on stderr, which names each of `parts`; nothing on stdout.
#[track_caller]
fn complains(name: &str, arguments: &[&str], code: i32, parts: &[&str]) {
    let output = run(name, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    for part in parts {
        assert!(
            text.contains(part),
            "{arguments:?}: {part} is not in {text}"
        );
    }
}

#[test]
fn proxy_refuses_to_be_its_own_upstream() {
    for (listen, upstream) in [
        ("127.0.0.1:7002", "127.0.0.1:7002"),
        ("127.0.0.1:7002", "localhost:7002"),
        ("0.0.0.0:7002", "127.0.0.1:7002"),
        ("127.0.0.1:7002", "0.0.0.0:7002"),
        ("127.0.0.1:7002", "[::ffff:127.0.0.1]:7002"),
        ("[::1]:7002", "[::]:7002"),
    ] {
        let arguments = ["--listen", listen, "--upstream", upstream];
        let parts = ["--upstream", ":7002", "itself"];
        if upstream.starts_with("localhost") && !localhost_is_v4() {
            continue;
        }
        complains("proxy", &arguments, 2, &parts);
    }
    // The default is another server's, and so is an other port.
    let server = Server::start("proxy", &["--upstream", "127.0.0.1:7002"]);
    server.stop();
}

fn localhost_is_v4() -> bool {
    use std::net::ToSocketAddrs;
    let first = "localhost:1".to_socket_addrs().ok();
    first
        .and_then(|mut all| all.next())
        .is_some_and(|first| first.is_ipv4())
}

fn hint(host: &str, port: u16) -> String {
    match host {
        _ if !cfg!(feature = "tls") => format!("try: nc {host} {port}"),
        "::1" => format!("try: openssl s_client -quiet -connect [::1]:{port}"),
        _ => format!("try: openssl s_client -quiet -connect {host}:{port}"),
    }
}

#[test]
fn the_inspectors_flags_say_what_they_were_built_without() {
    for name in ["echo_server", "chat", "proxy"] {
        let parts = ["--inspect", "cargo run --features inspector"];
        complains(name, &["--inspect", "127.0.0.1:0"], 2, &parts);
        let parts = ["--replay", "cargo run --features inspector"];
        complains(name, &["--replay", "run.json"], 2, &parts);
    }
}

#[test]
fn first_lines_tell_the_address_and_what_to_try() {
    let no_v6 = TcpListener::bind("[::1]:0").is_err();
    for name in ALL {
        for listen in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            if listen.starts_with('[') && no_v6 {
                eprintln!("skipped: no IPv6 here");
                continue;
            }
            let mut command = Command::new(example(name));
            command.args(["--listen", listen]);
            let mut server = Server::spawn(command);
            let port = server.bare_address().port();
            assert_ne!(port, 0);
            let host = match listen {
                "[::1]:0" => "::1",
                _ => "127.0.0.1",
            };
            let second = server.stdout_says("");
            assert_eq!(second, hint(host, port));
            TcpStream::connect((host, port)).expect("it listens there");
            server.stop();
        }
    }
}

// ---------------------------------------------------------------------------------------------------
// Signals and the end.

#[test]
fn first_signal_ends_a_server_in_good_order_with_its_totals_last() {
    for name in ALL {
        for signal in ["-INT", "-TERM"] {
            let server = Server::start(name, &[]);
            server.process.signal(signal);
            let ended = server.end();
            assert_eq!(ended.code, Some(0), "{name} {signal}");
            let totals = ended.totals();
            assert_eq!((totals.of("connections"), totals.of("aborted")), (0, 0));
            // (On a busy machine a callback may be slow.)
            let mut complaints = ended.stderr.clone();
            complaints.retain(|line| {
                !line.contains("kept the loop") && !line.contains("slow callback: ")
            });
            assert!(complaints.is_empty(), "{complaints:?}");
        }
    }
}

#[test]
fn drain_waits_for_clients_and_takes_no_new_ones() {
    for signal in ["-INT", "-TERM"] {
        let mut server = Server::start("echo_server", &["--drain", "60"]);
        let mut client = server.client();
        client.write_all(b"before").unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        server.process.signal(signal);
        server.stderr_says("draining 1 ");
        assert_eq!(client.read(&mut answer).unwrap(), 0, "a clean end");
        refuses_soon(server.bare_address());
        drop(client);
        let ended = server.end();
        assert_eq!(ended.code, Some(0));
        let totals = ended.totals();
        assert_eq!(totals.of("aborted"), 0);
        assert_eq!((totals.of("in"), totals.of("out")), (6, 6));
    }
}

#[track_caller]
fn refuses_soon(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "it goes on listening");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn reader_of_stdout_that_goes_away_does_not_end_a_server() {
    for name in ALL {
        let mut command = Command::new(example(name));
        command.args(["--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Running(command.spawn().unwrap());
        let mut first = String::new();
        let mut stdout = BufReader::new(process.0.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
        drop(stdout);
        let address = first.trim().strip_prefix("listening on ").expect(&first);
        client(address.parse().unwrap());
        process.signal("-INT");
        assert_eq!(process.wait(), Some(0), "{name}");
    }
}

#[test]
fn server_without_a_stdout_serves() {
    let port = free_port();
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec "$0" "$@" >&-"#]);
    command.arg(example("echo_server"));
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let mut process = Running(command.spawn().unwrap());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    until_it_listens(address);
    let mut stream = client(address);
    assert_eq!(echoed(&mut stream, b"hello"), b"hello");
    drop(stream);
    process.signal("-INT");
    assert_eq!(process.wait(), Some(0));
}

// ---------------------------------------------------------------------------------------------------
// Limits.

fn echoed(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).expect("the server takes it");
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer).expect("the server answers");
    answer
}

#[test]
fn clients_over_the_limit_wait_until_others_leave() {
    let echo = Server::start("echo_server", &[]);
    let behind = [
        "--upstream",
        &echo.address.to_string(),
        "--max-connections",
        "2",
    ];
    for server in [
        Server::start("echo_server", &["--max-connections", "2"]),
        Server::start("proxy", &behind),
    ] {
        let mut served = [server.client(), server.client()];
        for client in &mut served {
            assert_eq!(echoed(client, b"in"), b"in");
        }
        let mut waiting = server.client();
        waiting.write_all(b"me").unwrap();
        let soon = Duration::from_millis(150);
        waiting.set_read_timeout(Some(soon)).unwrap();
        let error = waiting.read(&mut [0; 2]).expect_err("there is no room");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(echoed(&mut served[1], b"still"), b"still");
        waiting.set_read_timeout(Some(PATIENCE)).unwrap();
        let [leaving, mut staying] = served;
        drop(leaving);
        let mut answer = [0; 2];
        waiting.read_exact(&mut answer).expect("there is room now");
        assert_eq!(&answer, b"me");
        assert_eq!(echoed(&mut staying, b"still"), b"still");
        drop((staying, waiting));
        assert_eq!(server.stop().of("connections"), 3);
    }
    echo.stop();
}

// ---------------------------------------------------------------------------------------------------
// chat

/// A room that waits for nobody at the end, so that a test need not send its people home.
fn chat() -> Server {
    Server::start("chat", &["--drain", "0"])
}

/// Someone at a terminal.
struct Person {
    reader: BufReader<TcpStream>,
}

impl Person {
    fn arrives(server: &Server) -> Person {
        let mut person = Person {
            reader: BufReader::new(server.client()),
        };
        person.hears("* welcome; your nickname?");
        person
    }

    /// Arrives, and has a nickname that everybody in `room` hears of.
    fn enters(server: &Server, nick: &str, room: &mut [&mut Person]) -> Person {
        let mut person = Person::arrives(server);
        person.says(nick);
        let joined = format!("* {nick} joined");
        person.hears(&joined);
        for other in room {
            other.hears(&joined);
        }
        person
    }

    fn says(&mut self, line: &str) {
        self.sends(format!("{line}\n").as_bytes());
    }

    fn sends(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("connected");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line comes");
        line
    }

    #[track_caller]
    fn hears(&mut self, expected: &str) {
        assert_eq!(self.line(), format!("{expected}\n"));
    }

    #[track_caller]
    fn hears_the_end(&mut self) {
        assert_eq!(self.line(), "");
    }
}

#[test]
fn nicknames_are_unique_and_usable() {
    let server = chat();
    let mut ada = Person::enters(&server, "ada", &mut []);
    let mut bob = Person::arrives(&server);
    let rule = "* a nickname has 1 to 32 characters, no space or colon, and no / or * in front";
    let taken = "* ada is taken; another nickname?";
    let long = "n".repeat(33);
    for refused in ["", "  ", "a b", "a:b", "/who", "*", &long] {
        bob.says(refused);
        bob.hears(rule);
    }
    for variant in ["ada", " ada ", "a\x07da"] {
        bob.says(variant);
        bob.hears(taken);
    }
    let longest = "é".repeat(32);
    bob.says(&longest);
    let joined = format!("* {longest} joined");
    bob.hears(&joined);
    ada.hears(&joined);
    // A name is free again when its bearer has left, or has another one.
    for unusable in ["/nick", "/nick a b"] {
        bob.says(unusable);
        bob.hears(rule);
    }
    bob.says("/nick ada");
    bob.hears(taken);
    ada.says("/nick eve");
    ada.hears("* ada is now eve");
    bob.hears("* ada is now eve");
    bob.says("/nick ada");
    bob.hears(&format!("* {longest} is now ada"));
    ada.hears(&format!("* {longest} is now ada"));
    drop(ada);
    bob.hears("* eve left");
    bob.says("/nick eve");
    bob.hears("* ada is now eve");
    server.stop();
}

#[test]
fn commands_answer_the_one_who_gave_them() {
    let server = chat();
    let mut ada = Person::enters(&server, "ada", &mut []);
    let mut bob = Person::enters(&server, "bob", &mut [&mut ada]);
    ada.says("/who");
    let here = ada.line();
    assert!(here == "* here: ada, bob\n" || here == "* here: bob, ada\n");
    ada.sends(b"/help\r\n");
    assert!(ada.line().contains("/who"));
    ada.says("/dance now");
    ada.hears("* /dance is no command; /help lists them");
    ada.says("/quit");
    ada.hears("* goodbye");
    ada.hears_the_end();
    bob.hears("* ada left");
    bob.says("/who");
    bob.hears("* here: bob");
    // Half-closed, aborted: everybody leaves once.
    for way in [Shutdown::Write, Shutdown::Both] {
        let cyd = Person::enters(&server, "cyd", &mut [&mut bob]);
        cyd.reader.get_ref().shutdown(way).unwrap();
        bob.hears("* cyd left");
    }
    let cyd = Person::enters(&server, "cyd", &mut [&mut bob]);
    let socket = socket2::SockRef::from(cyd.reader.get_ref());
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(cyd);
    bob.hears("* cyd left");
    bob.says("/who");
    bob.hears("* here: bob");
    server.stop();
}

/// What a peer sent goes to other people's terminals.
#[test]
fn control_characters_are_not_passed_on() {
    let server = chat();
    let mut ada = Person::enters(&server, "ada", &mut []);
    let mut bob = Person::enters(&server, "bob", &mut [&mut ada]);
    ada.sends(b"\x1b[31mred\x07\x00 \xc2\x9b2Jend\r\n");
    bob.hears("ada: [31mred 2Jend");
    ada.sends(b"caf\xc3\xa9 \xff\n");
    bob.hears("ada: café \u{fffd}");
    ada.sends(b"/nick e\x1bve\n");
    bob.hears("* ada is now eve");
    server.stop();
}

/// The hard cap is the end of a member that does not read; nobody else is told anything but that.
#[test]
fn member_that_does_not_read_is_closed_and_the_others_go_on() {
    let server = chat();
    let mut ada = Person::enters(&server, "ada", &mut []);
    let mut bob = Person::enters(&server, "bob", &mut [&mut ada]);
    let deaf = Person::enters(&server, "deaf", &mut [&mut ada, &mut bob]);
    let line = "z".repeat(60_000);
    let mut left = 0;
    for _ in 0..400 {
        ada.says(&line);
        loop {
            match bob.line() {
                heard if heard == "* deaf left\n" => left += 1,
                heard => {
                    assert_eq!(heard.len(), line.len() + "ada: \n".len());
                    break;
                }
            }
        }
        if left > 0 {
            break;
        }
    }
    assert_eq!(left, 1);
    ada.hears("* deaf left");
    drop(deaf);
    server.stop();
}

// ---------------------------------------------------------------------------------------------------
// proxy

/// A server for the proxy that the test itself accepts for.
fn upstream() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn accept(listener: &TcpListener) -> TcpStream {
    with_deadline(listener.accept().expect("the proxy comes").0)
}

#[test]
fn proxy_says_which_upstream_it_cannot_reach_and_goes_on() {
    let refusing = format!("127.0.0.1:{}", free_port());
    let (listener, address) = upstream();
    let mut proxy = Server::start("proxy", &["--upstream", &refusing, "--upstream", &address]);
    let mut client = proxy.client();
    // The reset may be there before the first word.
    let read = client
        .write_all(b"anybody?")
        .and_then(|()| client.read(&mut [0]));
    let error = read.expect_err("a reset, not an empty answer");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let line = proxy.stderr_says("cannot reach upstream");
    assert!(
        line.contains(&refusing) && line.contains("refused"),
        "{line}"
    );
    drop(client);
    let mut client = proxy.client();
    client.write_all(b"x").unwrap();
    accept(&listener).read_exact(&mut [0]).unwrap();
    drop(client);
    proxy.stop();
}
