//! The example proxy with upstreams that speak TLS, or should: its flags `--upstream-tls`, `--upstream-name` and
//! `--upstream-ca`, as its users give them. Clients come through the tunnel of all programs' tests, so that both
//! sides of the proxy speak TLS.

#[path = "util/programs.rs"]
mod programs;
mod util;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread::{JoinHandle, spawn};

use programs::tunnel::tls;
use programs::*;
use rcgen::{CertificateParams, DnType, KeyPair};

const LENGTH: usize = 2_000_000;

// ---------------------------------------------------------------------------------------------------
// Upstreams, and proxies for them.

/// The file with the certificate that all servers of these tests have.
fn trusted() -> String {
    let [_, certificate, ..] = tunnel::arguments();
    certificate
}

/// A file with a certificate for the same name that none of them has. It is removed with this.
struct Stranger(PathBuf);

impl Stranger {
    fn new() -> Stranger {
        let mut certificate = CertificateParams::new([tls::NAME.to_owned()]).expect("a name");
        // By its own name: with that of the other it would be a bad signature.
        let name = &mut certificate.distinguished_name;
        name.push(DnType::CommonName, "a stranger");
        let key = KeyPair::generate().expect("a key");
        let pem = certificate.self_signed(&key).expect("a certificate").pem();
        let name = format!("slabloop-stranger-{}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, pem).expect("room");
        Stranger(path)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// An upstream for one connection, on a thread.
fn upstream<T: Send + 'static>(
    serve: impl FnOnce(std::net::TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let (listener, address) = listener();
    let thread = spawn(move || {
        let (stream, _) = listener.accept().expect("the proxy comes");
        serve(with_deadline(stream))
    });
    (address, thread)
}

/// An upstream with TLS of which a handshake is all that is wanted; why that failed, if so.
fn greeter() -> (SocketAddr, JoinHandle<String>) {
    upstream(|stream| {
        let outcome = tls::server(stream).read(&mut [0]);
        outcome.map_or_else(|error| error.to_string(), |_| String::new())
    })
}

fn proxy(upstream: &str, ca: &str, more: &[&str]) -> Server {
    let mut arguments = vec!["--upstream", upstream, "--upstream-tls"];
    arguments.extend(["--upstream-ca", ca]);
    arguments.extend(more);
    Server::start("proxy", &arguments)
}

/// Bytes that are the same nowhere.
fn pattern() -> Vec<u8> {
    (0..LENGTH)
        .map(|i| (i * 31 + i / 251).to_le_bytes()[0])
        .collect()
}

/// A reset for the client, and a line in the log that names the upstream and the reason.
#[track_caller]
fn is_refused(mut proxy: Server, upstream: SocketAddr, reason: &str) {
    let mut client = proxy.client();
    client.write_all(b"anybody?").expect("it is queued");
    let error = client.read(&mut [0]).expect_err("not an empty answer");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let line = proxy.stderr_says("cannot reach upstream");
    for part in [upstream.to_string().as_str(), reason] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    drop(client);
    proxy.stop();
}

// ---------------------------------------------------------------------------------------------------
// What passes.

#[test]
fn all_bytes_and_both_ends_pass_in_either_direction() {
    let (address, server) = upstream(|stream| {
        let mut stream = tls::server(stream);
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("a clean end");
        let answer: Vec<_> = received.iter().rev().copied().collect();
        stream.write_all(&answer).expect("it is read");
        stream.shutdown(Shutdown::Write).expect("connected");
        // The proxy's end is what closes it.
        let rest = stream.read(&mut [0]);
        (received, rest.map_err(|error| error.kind()))
    });
    let proxy = proxy(
        &address.to_string(),
        &trusted(),
        &["--upstream-name", tls::NAME],
    );
    let mut client = proxy.client();
    let sent = pattern();
    client.write_all(&sent).expect("it is read");
    client.shutdown(Shutdown::Write).expect("connected");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("a clean end");
    let (received, rest) = server.join().expect("no panic");
    assert!(received == sent, "{} bytes came", received.len());
    answer.reverse();
    assert!(answer == sent, "{} bytes came back", answer.len());
    assert_eq!(rest, Ok(0));
    drop(client);
    assert_eq!(proxy.stop().of("aborted"), 0);
}

/// Without `--upstream-name` it is the host of `--upstream`.
#[test]
fn echo_server_is_reached_by_its_name_and_answers_while_it_is_sent_to() {
    let echo = Server::start("echo_server", &[]);
    let upstream = format!("{}:{}", tls::NAME, echo.bare_address().port());
    let proxy = proxy(&upstream, &trusted(), &[]);
    let client = proxy.client();
    let mut writer = client.try_clone().expect("a descriptor");
    let writing = spawn(move || {
        writer.write_all(&pattern()).expect("it is read");
        writer.shutdown(Shutdown::Write).expect("connected");
    });
    let mut answer = Vec::new();
    (&client).read_to_end(&mut answer).expect("a clean end");
    writing.join().expect("no panic");
    assert!(answer == pattern(), "{} bytes came back", answer.len());
    drop(client);
    assert_eq!(proxy.stop().of("aborted"), 0);
    let totals = echo.stop();
    let length = LENGTH as u64;
    assert_eq!((totals.of("in"), totals.of("out")), (length, length));
}

// ---------------------------------------------------------------------------------------------------
// What is refused.

#[test]
fn certificate_for_another_name_is_refused() {
    let (address, server) = greeter();
    let name = ["--upstream-name", "other.example"];
    let proxy = proxy(&address.to_string(), &trusted(), &name);
    is_refused(proxy, address, "other.example");
    // It is told why.
    let told = server.join().expect("no panic");
    assert!(told.contains("BadCertificate"), "{told}");
}

#[test]
fn address_in_place_of_a_name_is_what_the_certificate_has_to_be_for() {
    let (address, server) = greeter();
    let proxy = proxy(&address.to_string(), &trusted(), &[]);
    is_refused(proxy, address, "127.0.0.1");
    let _told = server.join().expect("no panic");
}

#[test]
fn certificate_that_is_not_trusted_is_refused() {
    let stranger = Stranger::new();
    let (address, server) = greeter();
    let ca = stranger.0.display().to_string();
    let proxy = proxy(&address.to_string(), &ca, &["--upstream-name", tls::NAME]);
    is_refused(proxy, address, "UnknownIssuer");
    let told = server.join().expect("no panic");
    assert!(told.contains("UnknownCA"), "{told}");
}

#[test]
fn upstream_without_tls_gets_nothing_that_the_client_said() {
    let (address, server) = upstream(|mut stream| {
        stream
            .write_all(b"220 plain.example\r\n")
            .expect("it is read");
        let mut received = Vec::new();
        // Its end may be a reset.
        let _ = stream.read_to_end(&mut received);
        received
    });
    let proxy = proxy(
        &address.to_string(),
        &trusted(),
        &["--upstream-name", tls::NAME],
    );
    is_refused(proxy, address, "corrupt message");
    let received = server.join().expect("no panic");
    let leaks = received.windows(8).any(|window| window == b"anybody?");
    assert!(!leaks, "{received:?}");
}

#[test]
fn upstream_that_never_answers_the_handshake_is_given_up_at_the_deadline() {
    // The kernel accepts; nobody reads.
    let (_silent, address) = listener();
    let upstream = address.to_string();
    let with_limit = |seconds| {
        let limits = ["--connect-timeout", seconds, "--drain", "0"];
        let more = [&["--upstream-name", tls::NAME][..], &limits].concat();
        proxy(&upstream, &trusted(), &more)
    };
    // It came first, and still waits when the other has been given up.
    let patient = with_limit("1000");
    let waiting = patient.client();
    is_refused(with_limit("1"), address, "timed out");
    waiting.set_nonblocking(true).expect("a socket");
    let error = (&waiting).read(&mut [0]).expect_err("no end yet");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(waiting);
    patient.stop();
}

// ---------------------------------------------------------------------------------------------------
// Wrong usage.

/// One line on stderr that names each of `parts`, and nothing on stdout.
#[track_caller]
fn complains(arguments: &[&str], code: i32, parts: &[&str]) {
    let output = run("proxy", arguments);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn name_or_ca_without_tls_is_wrong_usage() {
    for flag in ["--upstream-name", "--upstream-ca"] {
        complains(&[flag, tls::NAME], 2, &[flag, "wants --upstream-tls"]);
        complains(&["--upstream-tls", flag], 2, &[flag, "a value is missing"]);
    }
}

#[test]
fn name_that_can_be_no_servers_is_wrong_usage() {
    let ca = trusted();
    let flags = ["--upstream-tls", "--upstream-ca", &ca, "--upstream-name"];
    let arguments = [&flags[..], &["not a name"]].concat();
    complains(&arguments, 2, &["--upstream-name", "not a name"]);
}

#[test]
fn ca_that_cannot_be_used_is_named() {
    let [_, certificate, _, key] = tunnel::arguments();
    let missing = format!("{certificate}.missing");
    for (file, reason) in [(&missing, "No such file"), (&key, "no certificate")] {
        let arguments = ["--upstream-tls", "--upstream-ca", file];
        complains(&arguments, 1, &["--upstream-ca", file, reason]);
    }
}
