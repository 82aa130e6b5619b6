//! What the example `http_proxy` passes on of requests and answers, byte by byte, and what it refuses.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;
#[path = "util/proxied.rs"]
mod proxied;

use std::io::Write;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use http::*;
use programs::Server;
use proxied::*;

#[test]
fn a_request_goes_in_origin_form_and_without_what_concerns_one_connection() {
    let (heads, seen) = channel();
    let server = origin(move |_, mut stream| {
        while let Some(head) = head(&mut stream) {
            body(&mut stream, &head);
            heads.send(head).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    let proxy = proxy_to(&[server], &[]);
    let cases: &[(&str, &str, &str)] = &[
        (
            "GET http://{}/a?b HTTP/1.1",
            "Host: {}\r\n",
            "GET /a?b HTTP/1.1\r\nHost: {}\r\nVia: 1.1 slabloop\r\n",
        ),
        // The target counts, and not what `Host` says.
        (
            "GET http://{} HTTP/1.1",
            "Host: other\r\n",
            "GET / HTTP/1.1\r\nHost: {}\r\nVia: 1.1 slabloop\r\n",
        ),
        (
            "GET HTTP://{}?q HTTP/1.1",
            "Host: x\r\n",
            "GET /?q HTTP/1.1\r\nHost: {}\r\nVia: 1.1 slabloop\r\n",
        ),
        (
            "GET http://{}/ HTTP/1.0",
            "",
            "GET / HTTP/1.1\r\nHost: {}\r\nVia: 1.0 slabloop\r\n",
        ),
        (
            "OPTIONS http://{} HTTP/1.1",
            "Host: x\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: {}\r\nVia: 1.1 slabloop\r\n",
        ),
        (
            "OPTIONS http://{}/ HTTP/1.1",
            "Host: x\r\nMax-Forwards: 7\r\n",
            "OPTIONS / HTTP/1.1\r\nHost: {}\r\nMax-Forwards: 6\r\nVia: 1.1 slabloop\r\n",
        ),
        (
            "GET http://{}/ HTTP/1.1",
            "Host: x\r\nA: 1\r\nConnection: keep-alive, b, Content-Length\r\nB: 2\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive, e\r\nProxy-Authorization: Basic eDp5\r\nTE: trailers\r\nTrailer: x\r\n\
             Max-Forwards: y\r\nUpgrade: h2c\r\nC: 3\r\ne: 4\r\nVia: 1.1 other\r\nAccept: */*\r\n",
            "GET / HTTP/1.1\r\nHost: {}\r\nA: 1\r\nMax-Forwards: y\r\nC: 3\r\nVia: 1.1 other\r\nAccept: */*\r\nVia: 1.1 slabloop\r\n",
        ),
        // (A body is framed anew, whatever `Connection` says.)
        (
            "POST http://{}/ HTTP/1.1",
            "Host: x\r\nConnection: Content-Length\r\nContent-Length: 4\r\n\r\nbody",
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\nVia: 1.1 slabloop\r\n",
        ),
        (
            "BREW http://{}/ HTTP/1.1",
            "Host: x\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\n4;x=y\r\nbody\r\n0\r\nT: 1\r\n\r\n",
            "BREW / HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\nVia: 1.1 slabloop\r\n",
        ),
        (
            "POST http://{}/ HTTP/1.0",
            "Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\nVia: 1.0 slabloop\r\n",
        ),
    ];
    for (line, rest, expected) in cases {
        let end = if rest.contains("\r\n\r\n") {
            ""
        } else {
            "\r\n"
        };
        let address = server.to_string();
        let request = format!("{line}\r\n{rest}{end}").replace("{}", &address);
        let mut client = proxy.client();
        client.write_all(request.as_bytes()).unwrap();
        assert_eq!(answer(&mut client).text(), "ok", "{request}");
        let expected = format!("{expected}\r\n").replace("{}", &address);
        assert_eq!(seen.recv().unwrap(), expected);
    }
    proxy.stop();
}

/// An answer as a server gives it: to which request, the bytes, and what the client gets.
struct Case {
    line: &'static str,
    sent: &'static str,
    closes: bool,
    expected: &'static str,
}

#[test]
fn an_answer_is_framed_for_its_client() {
    let get = "GET http://{}/ HTTP/1.1";
    let old = "GET http://{}/ HTTP/1.0";
    let case = |line, sent, closes, expected| Case {
        line,
        sent,
        closes,
        expected,
    };
    let cases = [
        case(
            get,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nok",
            false,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\nok",
        ),
        case(
            get,
            "HTTP/1.1 200 OK\r\nConnection: X, close\r\nX: y\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nTrailer: T\r\n\
             Proxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok",
            true,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\nok",
        ),
        case(
            get,
            "HTTP/1.1 404 \r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n",
            false,
            "HTTP/1.1 404 \r\nTransfer-Encoding: chunked\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n",
        ),
        case(
            old,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n",
            false,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\nok!",
        ),
        case(
            get,
            "HTTP/1.0 200 OK\r\n\r\nuntil the end",
            true,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nVia: 1.0 slabloop\r\n\r\nd\r\nuntil the end\r\n0\r\n\r\n",
        ),
        case(
            old,
            "HTTP/1.1 200 OK\r\n\r\nuntil the end",
            true,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\nuntil the end",
        ),
        // To HEAD, and by the status, there is no body, whatever is said of one.
        case(
            "HEAD http://{}/ HTTP/1.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
            false,
            "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\n",
        ),
        case(
            "HEAD http://{}/ HTTP/1.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\n",
        ),
        case(
            get,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
            false,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\n",
        ),
        case(
            get,
            "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
            false,
            "HTTP/1.1 204 No Content\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\n",
        ),
        // What comes before the answer.
        case(
            get,
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
            false,
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nVia: 1.1 slabloop\r\n\r\n\
             HTTP/1.1 204 None\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\n",
        ),
        case(
            old,
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
            false,
            "HTTP/1.1 204 None\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\n",
        ),
        // More than was asked for is not passed on.
        case(
            get,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nsmuggled",
            false,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nVia: 1.1 slabloop\r\n\r\nok",
        ),
    ];
    for case in cases {
        // In one piece, and byte by byte.
        for piece in [usize::MAX, 1] {
            let Case {
                line,
                sent,
                closes,
                expected,
            } = case;
            let server = origin(move |_, mut stream| {
                head(&mut stream);
                stream.set_nodelay(true).unwrap();
                for part in sent.as_bytes().chunks(piece.min(sent.len())) {
                    if stream.write_all(part).is_err() {
                        return;
                    }
                }
                if !closes {
                    // Until the proxy has had enough.
                    head(&mut stream);
                }
            });
            let proxy = proxy_to(&[server], &[]);
            let line = line.replace("{}", &server.to_string());
            let request = format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n");
            let (text, ended) = exchange(&proxy, request.as_bytes());
            let text = undated(&text);
            if piece == 1 && expected.contains("chunked") {
                // (How the body is cut into chunks is open.)
                assert!(text.ends_with("0\r\n\r\n"), "{text}");
            } else {
                assert_eq!(text, expected);
            }
            assert!(ended);
            proxy.stop();
        }
    }
}

#[test]
fn what_of_an_answer_could_be_read_in_two_ways_is_refused() {
    let bad: &[&str] = &[
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nab",
        "HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 099 Early\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "220 smtp.example ESMTP\r\n",
        "\r\n\r\n\r\n\r\n!",
    ];
    let (answers, server) = {
        let (answers, script) = channel::<&str>();
        let script = Arc::new(Mutex::new(script));
        let server = origin(move |_, mut stream| {
            head(&mut stream);
            let answer = script.lock().unwrap().recv().unwrap();
            let _ = stream.write_all(answer.as_bytes());
            head(&mut stream);
        });
        (answers, server)
    };
    let proxy = proxy_to(&[server], &[]);
    for bad in bad {
        answers.send(bad).unwrap();
        let (text, ended) = exchange(&proxy, &get(server, "/", ""));
        assert!(
            text.starts_with("HTTP/1.1 502 ") && ended,
            "{bad:?}: {text}"
        );
        assert_eq!(text.matches("HTTP/1.").count(), 1, "{bad:?}: {text}");
    }
    // Endless ones.
    for piece in [
        "X: yyyyyyyyyyyyyyyyyyy\r\n",
        "yyyyyyyyyyyyyyyyyyyyyyy",
        "\r\nHTTP/1.1 100 Continue\r\n",
    ] {
        let endless = piece.repeat(200_000 / piece.len());
        answers
            .send(Box::leak(
                format!("HTTP/1.1 100 OK\r\n{endless}").into_boxed_str(),
            ))
            .unwrap();
        let (text, ended) = exchange(&proxy, &get(server, "/", ""));
        assert!(text.contains("HTTP/1.1 502 ") && ended, "{piece:?}: {text}");
    }
    // A wrong chunk, after the beginning: what was passed on is not a whole answer.
    for chunks in [
        "2\r\nokx",
        "g\r\n",
        "2\nok\r\n0\r\n\r\n",
        "2\r\nok\r\n0\r\n\n",
        "ffffffffffffffff1\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        answers.send(Box::leak(answer.into_boxed_str())).unwrap();
        let (text, ended) = exchange(&proxy, &get(server, "/", ""));
        assert!(!ended && !text.contains("0\r\n\r\n"), "{chunks:?}: {text}");
    }
    proxy.stop();
}

/// What is refused is answered once and then closed, and what stands behind it is never taken for a request.
#[track_caller]
fn is_refused(proxy: &Server, request: &[u8], status: u16) {
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    let (text, _) = exchange(proxy, request);
    assert!(
        text.starts_with(&format!("HTTP/1.1 {status} ")),
        "{shown:?} is {status}, not:\n{text}"
    );
    assert!(text.contains("Connection: close\r\n"), "{shown:?}: {text}");
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {text}");
}

#[test]
fn what_of_a_request_could_be_read_in_two_ways_is_refused() {
    let (heads, seen) = channel();
    let server = origin(move |_, mut stream| {
        while let Some(head) = head(&mut stream) {
            heads.send(head).unwrap();
            thread::park_timeout(programs::PATIENCE);
        }
    });
    let proxy = proxy_to(&[server], &[]);
    let post = |fields: &str, body: &str| {
        format!("POST http://{server}/ HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}").into_bytes()
    };
    let line = |line: &str| line.replace("{}", &server.to_string()).into_bytes();
    let bad = [
        post(
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        post(
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "0\r\n\r\n",
        ),
        post("Content-Length: 4\r\nContent-Length: 5\r\n", "12345"),
        post("Content-Length: 4\r\nContent-Length: 4\r\n", "1234"),
        post("Content-Length: 4, 4\r\n", "1234"),
        post("Content-Length: +4\r\n", "1234"),
        post("Content-Length:\r\n", "1234"),
        post("Content-Length: 18446744073709551616\r\n", "1234"),
        post(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        post("Content-Length : 4\r\n", "1234"),
        post("X: a\r\n b\r\nContent-Length: 4\r\n", "1234"),
        post("X: a\rContent-Length: 4\r\n", "1234"),
        post("X: a\nContent-Length: 4\r\n", "1234"),
        post("X: a\0b\r\nContent-Length: 4\r\n", "1234"),
        post(&format!("Connection: {}\r\n", "a,".repeat(100)), ""),
        line("GET http://{}/ HTTP/1.1\nHost: x\n\n"),
        line("GET http://{}/ HTTP/1.1\r\nHost: x\r\n\n"),
        line("GET  http://{}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://{}/ HTTP/1.1\r\n\r\n"),
        line("GET http://{}/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
        line("POST http://{}/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        line("GET http://{}/#x HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://user@{}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://{}@example.com/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http:///x HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://{}:80/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://a:0/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://a:65536/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://a:+80/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://a%00b/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://a,b/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://[::1]x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET http://[v1.x]/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("GET / HTTP/1.1\r\nHost: {}\r\n\r\n"),
        line("GET //{}/ HTTP/1.1\r\nHost: {}\r\n\r\n"),
        line("GET /http://{}/ HTTP/1.1\r\nHost: {}\r\n\r\n"),
        line("CONNECT http://{}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("CONNECT 127.0.0.1 HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("CONNECT {}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        line("CONNECT {} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    ];
    let behind = get(server, "/smuggled", "");
    for request in bad {
        is_refused(&proxy, &[&request[..], &behind].concat(), 400);
    }
    for (request, status) in [
        (line("GET https://{}/ HTTP/1.1\r\nHost: x\r\n\r\n"), 501),
        (line("GET ftp://{}/ HTTP/1.1\r\nHost: x\r\n\r\n"), 501),
        (line("TRACE http://{}/ HTTP/1.1\r\nHost: x\r\n\r\n"), 405),
        (line("GET http://{}/ HTTP/1.2\r\nHost: x\r\n\r\n"), 505),
        (post("Transfer-Encoding: gzip\r\n", ""), 501),
        (post("Expect: wonders\r\n", ""), 417),
        (post("Via: 1.0 other, 1.1  SlabLoop (again)\r\n", ""), 508),
        (
            format!("GET http://a/{} HTTP/1.1\r\n\r\n", "x".repeat(9000)).into_bytes(),
            414,
        ),
        (post(&format!("X: {}\r\n", "y".repeat(17_000)), ""), 431),
        (post(&"X: y\r\n".repeat(65), ""), 431),
    ] {
        is_refused(&proxy, &[&request[..], &behind].concat(), status);
    }
    assert!(
        seen.try_recv().is_err(),
        "nothing of all this has reached the server"
    );
    // What is wrong in the middle of a body has gone out by then, and is cut off.
    for chunks in ["g\r\n", "4\n1234\r\n", "4\r\n12345\r\n", "0\r\nX: a\n\r\n"] {
        let request = post("Transfer-Encoding: chunked\r\n", chunks);
        is_refused(&proxy, &[&request[..], &behind].concat(), 400);
        let head = seen.recv().unwrap();
        assert!(head.starts_with("POST / "), "{head}");
    }
    assert!(seen.try_recv().is_err(), "and nothing behind it");
    proxy.stop();
}

#[test]
fn options_for_the_proxy_itself_are_answered_by_it() {
    let proxy = proxy_to(&[], &["--name", "here"]);
    let mut client = proxy.client();
    for _ in 0..2 {
        client
            .write_all(
                b"OPTIONS http://example.com/ HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n",
            )
            .unwrap();
        let answer = answer(&mut client);
        assert_eq!(answer.status(), 200);
        assert!(
            answer
                .field("Allow")
                .is_some_and(|allow| allow.contains("CONNECT"))
        );
        assert_eq!(answer.field("Via"), Some("1.1 here"));
    }
    drop(client);
    proxy.stop();
}
