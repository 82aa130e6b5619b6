//! What the tests of the example `http_proxy` share: the proxy, and servers behind it that do as a test says.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use crate::programs::{Server, with_deadline};

/// A proxy that may connect to these.
#[track_caller]
pub(crate) fn proxy_to(allowed: &[SocketAddr], arguments: &[&str]) -> Server {
    let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    let mut all = arguments.to_vec();
    for address in &allowed {
        all.extend(["--allow", address]);
    }
    Server::start("http_proxy_tested", &all)
}

/// A server that runs `script` for each connection, with its number, on a thread of its own.
pub(crate) fn origin(script: impl Fn(usize, TcpStream) + Clone + Send + 'static) -> SocketAddr {
    origin_on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
}

/// The same on an address of the test's choice.
pub(crate) fn origin_on(
    listener: TcpListener,
    script: impl Fn(usize, TcpStream) + Clone + Send + 'static,
) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (script, stream) = (script.clone(), with_deadline(stream.unwrap()));
            thread::spawn(move || script(number, stream));
        }
    });
    address
}

/// A server that gives this answer to each request whose body it has read.
pub(crate) fn answering(answer: &'static [u8]) -> SocketAddr {
    origin(move |_, mut stream| {
        while let Some(head) = head(&mut stream) {
            body(&mut stream, &head);
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    })
}

/// A short answer, after which the connection stays.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The next head, with its empty line; `None` at the end.
pub(crate) fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}

/// The body that belongs to it, as it came.
pub(crate) fn body(stream: &mut TcpStream, head: &str) -> Vec<u8> {
    let mut body = Vec::new();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    if let Some(length) = length {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).unwrap();
    } else if head.contains("\r\nTransfer-Encoding: chunked\r\n") {
        while !body.ends_with(b"0\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            body.push(byte[0]);
        }
    }
    body
}

/// A name server on a thread: `address_of` gives the addresses of a name, by the number of the question.
pub(crate) fn name_server(
    address_of: impl Fn(&str, usize) -> Vec<[u8; 4]> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut asked = 0;
        let mut buffer = [0; 512];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let question = &buffer[12..count];
            let mut name = String::new();
            let mut at = 0;
            while question[at] != 0 {
                let length = usize::from(question[at]);
                let label = &question[at + 1..at + 1 + length];
                name.push_str(&String::from_utf8_lossy(label).to_lowercase());
                name.push('.');
                at += length + 1;
            }
            let is_a = question[at + 1..at + 3] == [0, 1];
            let addresses = if is_a {
                asked += 1;
                address_of(&name, asked)
            } else {
                Vec::new()
            };
            // The same question; an answer, with recursion; so many addresses.
            let mut reply = buffer[..2].to_vec();
            let count = u8::try_from(addresses.len()).unwrap();
            reply.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
            reply.extend(&question[..at + 5]);
            for address in addresses {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                reply.extend(address);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    address
}

/// Sends a request and reads to the end, which may be a reset: what came, and whether it ended well.
#[track_caller]
pub(crate) fn exchange(proxy: &Server, request: &[u8]) -> (String, bool) {
    let mut client = proxy.client();
    // The proxy may have answered and closed before it has all.
    let _ = client.write_all(request);
    let mut all = Vec::new();
    let ended = client.read_to_end(&mut all);
    (String::from_utf8_lossy(&all).into_owned(), ended.is_ok())
}

/// A request for a path of a server, with further fields, that is the last of its connection.
pub(crate) fn get(server: SocketAddr, path: &str, fields: &str) -> Vec<u8> {
    let line = format!("GET http://{server}{path} HTTP/1.1\r\nHost: {server}\r\n");
    format!("{line}Connection: close\r\n{fields}\r\n").into_bytes()
}

/// Without the dates, which tests cannot know.
pub(crate) fn undated(text: &str) -> String {
    let lines = text.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}
