//! Exercise 12: while work is done for one client the others are served, and the answer finds its client or nobody.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use code::{LIMIT, serve};
use slabloop::Reactor;

/// Guards against a hang.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Watched {
    on_the_loop: bool,
    begun: usize,
    running: usize,
    most: usize,
}

/// A server whose work takes until the test lets it end.
struct Bench {
    reactor: Reactor,
    address: SocketAddr,
    gate: Sender<()>,
    watched: Arc<Mutex<Watched>>,
}

impl Bench {
    fn new() -> Bench {
        let (gate, opened) = channel();
        let opened = Mutex::new(opened);
        let watched = Arc::<Mutex<Watched>>::default();
        let (seen, the_loop) = (Arc::clone(&watched), thread::current().id());
        let work = move |text: &str| {
            {
                let mut seen = seen.lock().unwrap();
                seen.begun += 1;
                if thread::current().id() == the_loop {
                    // Nobody could open the gate.
                    seen.on_the_loop = true;
                    return text.to_uppercase();
                }
                seen.running += 1;
                seen.most = seen.most.max(seen.running);
            }
            let _ = opened.lock().unwrap().recv_timeout(PATIENCE);
            seen.lock().unwrap().running -= 1;
            text.to_uppercase()
        };
        let mut reactor = Reactor::new().unwrap();
        let address = serve(&mut reactor, Arc::new(work)).unwrap();
        Bench {
            reactor,
            address,
            gate,
            watched,
        }
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    }

    /// Turns the loop until it is so.
    #[track_caller]
    fn turn_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Bench) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: in vain");
            self.reactor.turn(Duration::from_millis(5)).unwrap();
            let on_the_loop = self.watched.lock().unwrap().on_the_loop;
            assert!(
                !on_the_loop,
                "the work was done in a callback, on the loop's own thread: everybody waited"
            );
        }
    }

    #[track_caller]
    fn until_begun(&mut self, count: usize) {
        self.turn_until("work begins", |bench| {
            bench.watched.lock().unwrap().begun >= count
        });
    }

    /// The next line that a client gets.
    #[track_caller]
    fn line(&mut self, client: &mut TcpStream) -> String {
        let mut line = Vec::new();
        self.turn_until("an answer", |_| {
            let mut byte = [0];
            loop {
                match client.read(&mut byte) {
                    Ok(0) => panic!("the server has closed, after {line:?}"),
                    Ok(_) if byte == *b"\n" => return true,
                    Ok(_) => line.push(byte[0]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        String::from_utf8(line).unwrap()
    }
}

#[test]
fn others_are_served_while_one_waits_for_its_work() {
    let mut bench = Bench::new();
    let (mut a, mut b) = (bench.client(), bench.client());
    a.write_all(b"slow a\n").unwrap();
    bench.until_begun(1);
    for _ in 0..10 {
        b.write_all(b"quick b\n").unwrap();
        assert_eq!(bench.line(&mut b), "quick b");
    }
    // Its own connection is served as well.
    a.write_all(b"quick a\n").unwrap();
    assert_eq!(bench.line(&mut a), "quick a");
    bench.gate.send(()).unwrap();
    assert_eq!(bench.line(&mut a), "A");
}

#[test]
fn each_answer_goes_to_the_client_that_asked() {
    let mut bench = Bench::new();
    let mut clients: Vec<TcpStream> = (0..LIMIT).map(|_| bench.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client
            .write_all(format!("slow client {number}\n").as_bytes())
            .unwrap();
    }
    bench.until_begun(LIMIT);
    (0..LIMIT).for_each(|_| bench.gate.send(()).unwrap());
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(bench.line(client), format!("CLIENT {number}"));
    }
}

#[test]
fn an_answer_for_a_client_that_has_left_is_for_nobody() {
    let mut bench = Bench::new();
    let before = bench.reactor.count();
    let mut a = bench.client();
    a.write_all(b"slow a\n").unwrap();
    bench.until_begun(1);
    drop(a);
    bench.turn_until("the client's end", |bench| bench.reactor.count() == before);
    // Gets the slot.
    let mut c = bench.client();
    c.write_all(b"quick c\n").unwrap();
    assert_eq!(bench.line(&mut c), "quick c");
    bench.gate.send(()).unwrap();
    bench.turn_until("the end of the work", |bench| {
        bench.watched.lock().unwrap().running == 0
    });
    c.write_all(b"slow c\n").unwrap();
    bench.gate.send(()).unwrap();
    assert_eq!(bench.line(&mut c), "C", "that was somebody else's");
}

#[test]
fn no_more_than_the_limit_are_at_work_and_all_get_their_answer() {
    let mut bench = Bench::new();
    let mut clients: Vec<TcpStream> = (0..5 * LIMIT).map(|_| bench.client()).collect();
    for client in &mut clients {
        client.write_all(b"slow work\n").unwrap();
    }
    bench.until_begun(LIMIT);
    // All requests have been read when this one is answered: it came last.
    let mut last = bench.client();
    last.write_all(b"quick\n").unwrap();
    assert_eq!(bench.line(&mut last), "quick");
    (0..clients.len()).for_each(|_| bench.gate.send(()).unwrap());
    for client in &mut clients {
        assert_eq!(bench.line(client), "WORK");
    }
    let most = bench.watched.lock().unwrap().most;
    assert!(most <= LIMIT, "{most} at once");
}
