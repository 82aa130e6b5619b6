//! One command to a broker, and its reply.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::programs::client;
use crate::redis::{Input, Reply, encode};

pub(crate) fn ask<A: AsRef<[u8]>>(broker: SocketAddr, command: &[A]) -> Reply {
    let mut stream = client(broker);
    stream.write_all(&encode(command)).expect("it listens");
    let mut input = Input::new(1 << 30);
    let mut buffer = vec![0; 1 << 16];
    loop {
        if let Some(reply) = input.next().expect("RESP") {
            return reply;
        }
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "the answer ends");
        input.extend(&buffer[..count]);
    }
}
