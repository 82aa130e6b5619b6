//! What becomes of requests and tunnels of the example `http_proxy` when servers and clients are slow, or end in the middle.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;
#[path = "util/proxied.rs"]
mod proxied;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use http::*;
use programs::{PATIENCE, Server, closed_port};
use proxied::*;
use socket2::SockRef;

/// A request on a connection that stays.
fn ask(client: &mut TcpStream, method: &str, server: SocketAddr, rest: &str) {
    let request = format!("{method} http://{server}/ HTTP/1.1\r\nHost: x\r\n{rest}");
    client.write_all(request.as_bytes()).unwrap();
}

#[test]
fn a_connection_to_a_server_serves_many_requests_of_many_clients() {
    let (numbers, seen) = channel();
    let server = origin(move |number, mut stream| {
        while head(&mut stream).is_some() {
            numbers.send(number).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    let proxy = proxy_to(&[server], &[]);
    for _ in 0..3 {
        let mut client = proxy.client();
        for _ in 0..3 {
            ask(&mut client, "GET", server, "\r\n");
            assert_eq!(answer(&mut client).text(), "ok");
        }
        // All at once are answered one after the other.
        client.write_all(&get(server, "/", "").repeat(2)).unwrap();
        assert_eq!(answer(&mut client).text(), "ok");
    }
    assert!(seen.try_iter().all(|number| number == 0));
    proxy.stop();
}

#[test]
fn a_server_that_says_more_than_was_asked_is_not_asked_again() {
    let (numbers, seen) = channel();
    let server = origin(move |number, mut stream| {
        while head(&mut stream).is_some() {
            numbers.send(number).unwrap();
            let smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
            stream.write_all(&[OK, smuggled].concat()).unwrap();
        }
    });
    let proxy = proxy_to(&[server], &[]);
    let mut client = proxy.client();
    for number in 0..3 {
        ask(&mut client, "GET", server, "\r\n");
        assert_eq!(answer(&mut client).text(), "ok");
        assert_eq!(seen.recv_timeout(PATIENCE), Ok(number));
    }
    drop(client);
    proxy.stop();
}

#[test]
fn pipelined_requests_are_answered_in_order_and_with_bodies_between_them() {
    let server = origin(|_, mut stream| {
        while let Some(head) = head(&mut stream) {
            let body = body(&mut stream, &head);
            let path = head.split(' ').nth(1).unwrap();
            let text = format!("{path} {}", body.len());
            let length = text.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let proxy = proxy_to(&[server], &["--rate", "0"]);
    let mut client = proxy.client();
    let mut requests = String::new();
    for number in 0..300 {
        let line = format!("http://{server}/{number} HTTP/1.1\r\nHost: x\r\n");
        requests += &match number % 3 {
            0 => format!("GET {line}\r\n"),
            1 => format!("POST {line}Content-Length: 500\r\n\r\n{}", "x".repeat(500)),
            _ => format!("PUT {line}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        };
    }
    let mut writer = client.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(requests.as_bytes()).unwrap());
    for number in 0..300 {
        let length = ["0", "500", "13"][number % 3];
        assert_eq!(answer(&mut client).text(), format!("/{number} {length}"));
    }
    writing.join().unwrap();
    drop(client);
    proxy.stop();
}

#[test]
fn an_answer_that_is_cut_is_not_taken_for_whole() {
    let server = origin(|_, mut stream| {
        let Some(head) = head(&mut stream) else {
            return;
        };
        let (answer, resets): (&[u8], _) = match head.split(' ').nth(1).unwrap() {
            "/length" => (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", false),
            "/length-reset" => (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", true),
            "/chunks" => (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
                false,
            ),
            "/close-reset" => (b"HTTP/1.1 200 OK\r\n\r\npart", true),
            "/head" => (b"HTTP/1.1 200 OK\r\nContent-Le", false),
            "/head-reset" => (b"HTTP/1.1 200 OK\r\nContent-Le", true),
            "/interim" => (b"HTTP/1.1 100 Continue\r\n\r\n", false),
            _ => (b"", false),
        };
        stream.write_all(answer).unwrap();
        if resets {
            // What is on its way arrives before the reset that follows it.
            let mut peer = stream.try_clone().unwrap();
            peer.set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            let _ = peer.read(&mut [0]);
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    });
    let proxy = proxy_to(&[server], &[]);
    for path in ["/length", "/length-reset", "/chunks", "/close-reset"] {
        for version in ["1.0", "1.1"] {
            let request = format!("GET http://{server}{path} HTTP/{version}\r\nHost: x\r\n\r\n");
            let (text, ended) = exchange(&proxy, request.as_bytes());
            assert!(
                !ended && !text.contains("\r\n0\r\n"),
                "{path} {version}: {text}"
            );
        }
    }
    for path in ["/head", "/head-reset", "/interim", "/nothing"] {
        let (text, ended) = exchange(&proxy, &get(server, path, ""));
        assert!(text.contains("HTTP/1.1 502 ") && ended, "{path}: {text}");
        assert!(!text.contains("200 OK"), "{path}: {text}");
    }
    proxy.stop();
}

#[test]
fn a_connection_that_went_stale_costs_a_get_nothing_and_is_told_of_a_post() {
    // Each connection takes a second request, and hangs up without a word.
    let server = origin(|_, mut stream| {
        head(&mut stream);
        stream.write_all(OK).unwrap();
        head(&mut stream);
    });
    let proxy = proxy_to(&[server], &[]);
    let mut client = proxy.client();
    for _ in 0..3 {
        ask(&mut client, "GET", server, "\r\n");
        assert_eq!(answer(&mut client).text(), "ok");
    }
    ask(&mut client, "POST", server, "Content-Length: 1\r\n\r\nx");
    assert_eq!(answer(&mut client).status(), 502);
    // The client's own connection is as good as ever.
    ask(&mut client, "POST", server, "Content-Length: 0\r\n\r\n");
    assert_eq!(answer(&mut client).status(), 200);
    // Without a body it could be sent again, and may not be: it may have been done.
    ask(&mut client, "POST", server, "Content-Length: 0\r\n\r\n");
    assert_eq!(answer(&mut client).status(), 502);
    drop(client);
    proxy.stop();
}

#[test]
fn a_server_that_is_not_there_or_says_nothing_is_an_answer_as_well() {
    let silent = origin(|_, mut stream| {
        head(&mut stream);
        // Until the proxy has had enough.
        head(&mut stream);
    });
    let (_bound, none) = closed_port();
    let proxy = proxy_to(&[silent, none], &["--answer-timeout", "0.2"]);
    let (text, _) = exchange(&proxy, &get(silent, "/", ""));
    assert!(text.starts_with("HTTP/1.1 504 "), "{text}");
    let (text, _) = exchange(&proxy, &get(none, "/", ""));
    assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
    let (text, _) = exchange(
        &proxy,
        format!("CONNECT {none} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
    proxy.stop();
}

#[test]
fn a_server_that_stops_in_the_middle_is_cut_off_and_a_client_that_only_reads_slowly_is_not() {
    let whole = Arc::new(pattern(32_000_000));
    let expected = Arc::clone(&whole);
    let server = origin(move |_, mut stream| {
        let Some(head) = head(&mut stream) else {
            return;
        };
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 32000000\r\n\r\n")
            .unwrap();
        if head.contains("/whole") {
            stream.write_all(&whole).unwrap();
        }
        let _ = stream.read(&mut [0]);
    });
    let proxy = proxy_to(&[server], &["--answer-timeout", "1"]);
    let (text, ended) = exchange(&proxy, &get(server, "/stops", ""));
    assert!(text.starts_with("HTTP/1.1 200 ") && !ended, "{text}");
    // Meanwhile this one reads nothing. (What the kernel holds for it is less than the answer.)
    let mut slow = proxy.client();
    slow.write_all(&get(server, "/whole", "")).unwrap();
    for _ in 0..2 {
        let (text, _) = exchange(&proxy, &get(server, "/stops", ""));
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
    assert!(answer(&mut slow).body == *expected);
    proxy.stop();
}

#[test]
fn expectations_are_met_by_the_server() {
    let server = origin(|_, mut stream| {
        while let Some(head) = head(&mut stream) {
            if head.contains("/refuse") {
                stream
                    .write_all(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
                    .unwrap();
                continue;
            }
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            body(&mut stream, &head);
            stream.write_all(OK).unwrap();
        }
    });
    let proxy = proxy_to(&[server], &[]);
    let mut client = proxy.client();
    let fields = "Host: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n";
    client
        .write_all(format!("PUT http://{server}/ HTTP/1.1\r\n{fields}").as_bytes())
        .unwrap();
    assert_eq!(answer(&mut client).status(), 100);
    client.write_all(&pattern(1_000_000)).unwrap();
    assert_eq!(answer(&mut client).text(), "ok");
    // A server that does not want the body need not get it, and nothing can follow on this connection.
    client
        .write_all(format!("PUT http://{server}/refuse HTTP/1.1\r\n{fields}").as_bytes())
        .unwrap();
    let refused = answer(&mut client);
    assert_eq!(
        (refused.status(), refused.field("Connection")),
        (413, Some("close"))
    );
    assert_eq!(rest(&mut client), "");
    drop(client);
    proxy.stop();
}

#[test]
fn a_client_that_leaves_takes_its_request_along() {
    let (ends, ended) = channel();
    let server = origin(move |_, mut stream| {
        let Some(head) = head(&mut stream) else {
            return;
        };
        if head.contains("/answer") {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            while stream.write_all(&[b'x'; 10_000]).is_ok() {}
            return ends.send(Err(ErrorKind::ConnectionReset)).unwrap();
        }
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        ends.send(end.map_err(|error| error.kind())).unwrap();
    });
    let proxy = proxy_to(&[server], &[]);
    for request in [
        format!("GET http://{server}/answer HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("PUT http://{server}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\npart"),
        format!(
            "PUT http://{server}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
        ),
    ] {
        let mut client = proxy.client();
        client.write_all(request.as_bytes()).unwrap();
        if request.contains("answer") {
            client.read_exact(&mut [0; 100_000]).unwrap();
        }
        drop(client);
        // A reset, and not an end that would look like the end of the body.
        let end = ended.recv_timeout(PATIENCE).unwrap();
        assert_eq!(end, Err(ErrorKind::ConnectionReset), "{request}");
    }
    proxy.stop();
}

/// Opens a tunnel, with bytes that follow the request at once.
#[track_caller]
fn tunnel(proxy: &Server, server: SocketAddr, behind: &str) -> TcpStream {
    let mut client = proxy.client();
    let request = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n{behind}");
    client.write_all(request.as_bytes()).unwrap();
    let head = head(&mut client).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client
}

#[test]
fn a_tunnel_passes_on_all_bytes_and_both_ends() {
    let server = origin(|_, mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all.reverse();
        stream.write_all(&all).unwrap();
    });
    let proxy = proxy_to(&[server], &[]);
    let mut client = tunnel(&proxy, server, "abc");
    client.write_all(b"def").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), "fedcba");
    // The server's end first, and much.
    let server = origin(|_, mut stream| {
        stream.write_all(&pattern(5_000_000)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 5_000_000);
    });
    let proxy = proxy_to(&[server], &[]);
    let mut client = tunnel(&proxy, server, "");
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert!(all == pattern(5_000_000));
    client.write_all(&all).unwrap();
    drop(client);
    proxy.stop();
}

#[test]
fn a_reset_on_one_side_of_a_tunnel_is_one_on_the_other() {
    let (ends, ended) = channel();
    let server = origin(move |_, mut stream| {
        let mut all = Vec::new();
        let end = stream.read_to_end(&mut all).map_err(|error| error.kind());
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        ends.send(end).unwrap();
    });
    let proxy = proxy_to(&[server], &[]);
    let client = tunnel(&proxy, server, "abc");
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    assert_eq!(
        ended.recv_timeout(PATIENCE).unwrap(),
        Err(ErrorKind::ConnectionReset)
    );
    let mut client = tunnel(&proxy, server, "abc");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(ended.recv_timeout(PATIENCE).unwrap(), Ok(3));
    let end = client.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    proxy.stop();
}

#[test]
fn a_tunnel_without_traffic_ends() {
    let server = origin(|_, mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let proxy = proxy_to(&[server], &["--tunnel-timeout", "0.2"]);
    let mut client = tunnel(&proxy, server, "");
    // It is not known to be all that was to come, and so does not end like that.
    let end = client.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    proxy.stop();
}

#[test]
fn a_shutdown_finishes_what_is_in_hand() {
    let (go, gone) = channel::<()>();
    let gone = Arc::new(Mutex::new(gone));
    let (begun, begins) = channel();
    let server = origin(move |_, mut stream| {
        head(&mut stream);
        begun.send(()).unwrap();
        gone.lock().unwrap().recv().unwrap();
        stream.write_all(OK).unwrap();
    });
    let proxy = proxy_to(&[server], &[]);
    let mut idle = proxy.client();
    let mut client = proxy.client();
    ask(&mut client, "GET", server, "\r\n");
    begins.recv_timeout(PATIENCE).unwrap();
    proxy.process.signal("-INT");
    assert_eq!(rest(&mut idle), "");
    go.send(()).unwrap();
    let answer = answer(&mut client);
    assert_eq!(
        (answer.text(), answer.field("Connection")),
        ("ok", Some("close"))
    );
    assert_eq!(rest(&mut client), "");
    let ended = proxy.end();
    assert_eq!(ended.totals().of("aborted"), 0);
}
