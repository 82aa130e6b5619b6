//! A file of 20 MB to eight clients at once: the CPU time that the server takes for each copy of it.
//!
//! ```text
//! cargo run --profile bench-peers -p slabloop-workloads --bin files [ROUNDS [SETTING]]
//! ```
//!
//! The settings take turns in each round, each time another first: `send_file`; the file read a piece at a time when there is room, and
//! sent; the same by a producer of the framing layer; and nginx with `sendfile on` and one worker, if it is
//! installed. The clients are threads that read and throw away, over loopback's TCP. Counted is the time that the
//! system gave the server's thread, or nginx's worker (`/proc/PID/schedstat`, so Linux only); it includes what
//! the kernel did for it, which on loopback is a part of the receiving as well. The file is in memory. It wants
//! two processors that have nothing else to do. Printed are the median and the least of the rounds, and the median of
//! what a round took in nginx's of the same round. With SETTING, a number from 0 on, there is only this one: to count
//! its system calls with `strace -f -c`.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::{Accepted, Context, Dispatcher, Reactor};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const BYTES: usize = 20_000_000;
const CLIENTS: usize = 8;
const PIECE: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
enum Way {
    SendFile,
    ReadAndSend,
    Producer,
}

fn main() -> Outcome<()> {
    let rounds = std::env::args()
        .nth(1)
        .map_or(Ok(20), |text| text.parse::<usize>())?;
    let folder = std::env::temp_dir().join(format!("slabloop-files-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let only = std::env::args()
        .nth(2)
        .map(|text| text.parse::<usize>())
        .transpose()?;
    let outcome = compare(&folder, rounds.max(1), only);
    fs::remove_dir_all(&folder)?;
    outcome
}

fn compare(folder: &Path, rounds: usize, only: Option<usize>) -> Outcome<()> {
    let path = folder.join("file");
    fs::write(&path, vec![b'x'; BYTES])?;
    let nginx = match Nginx::start(folder) {
        Ok(nginx) => Some(nginx),
        Err(error) => {
            println!("without nginx: {error}");
            None
        }
    };
    let ways = [Way::SendFile, Way::ReadAndSend, Way::Producer];
    let mut times = vec![Vec::new(); ways.len() + 1];
    for round in 0..rounds {
        for place in 0..times.len() {
            let setting = (place + round) % times.len();
            if only.is_some_and(|only| only != setting) {
                continue;
            }
            match (ways.get(setting), &nginx) {
                (Some(way), _) => times[setting].push(serve(*way, &path)?),
                (None, Some(nginx)) => times[setting].push(nginx.serve()?),
                (None, None) => {}
            }
        }
    }
    println!("CPU time a copy of 20 MB      median ms   least ms   to nginx's");
    let of_nginx = times[ways.len()].clone();
    let names = [
        "send_file",
        "read and send",
        "producer",
        "nginx, sendfile on",
    ];
    for (name, mut times) in names.iter().zip(times) {
        let ratio =
            |(time, nginx): (&Duration, &Duration)| time.as_secs_f64() / nginx.as_secs_f64();
        let mut ratios: Vec<_> = times.iter().zip(&of_nginx).map(ratio).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        times.sort_unstable();
        let Some(least) = times.first() else { continue };
        let millis = |time: &Duration| time.as_secs_f64() * 1e3 / CLIENTS as f64;
        let median = millis(&times[times.len() / 2]);
        print!("{name:32} {median:12.2} {:10.2}", millis(least));
        match ratios.get(ratios.len() / 2) {
            Some(ratio) => println!(" {ratio:12.2}"),
            None => println!(),
        }
    }
    Ok(())
}

/// The eight clients; each reads to the end.
fn fetch(address: SocketAddr) -> Outcome<()> {
    let clients = (0..CLIENTS).map(|_| {
        thread::spawn(move || -> io::Result<usize> {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"GET /file HTTP/1.0\r\n\r\n")?;
            let mut buffer = vec![0; 256 * 1024];
            let mut bytes = 0;
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(bytes),
                    count => bytes += count,
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        let bytes = client.join().map_err(|_| "a client panicked")??;
        if bytes < BYTES {
            return Err(format!("only {bytes} bytes came").into());
        }
    }
    Ok(())
}

/// One round of ours: the server's time for all clients.
fn serve(way: Way, path: &Path) -> Outcome<Duration> {
    let mut reactor = Reactor::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let path = path.to_owned();
    reactor.add(listener, Listener { way, path })?;
    let (done, finished) = mpsc::channel();
    let handle = reactor.handle();
    thread::spawn(move || {
        let outcome = fetch(address);
        handle.stop();
        // The receiver waits for it.
        let _ = done.send(outcome);
    });
    let before = time_of(Path::new("/proc/thread-self/schedstat"))?;
    reactor.run()?;
    let after = time_of(Path::new("/proc/thread-self/schedstat"))?;
    finished.recv()??;
    Ok(after - before)
}

fn time_of(schedstat: &Path) -> Outcome<Duration> {
    let text = fs::read_to_string(schedstat)?;
    let nanos = text.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanos))
}

struct Listener {
    way: Way,
    path: PathBuf,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let file = File::open(&self.path)?;
        match self.way {
            Way::SendFile => drop(cx.add(accepted, Whole(Some(file)))?),
            Way::ReadAndSend => drop(cx.add(accepted, Pieces { file, offset: 0 })?),
            Way::Producer => drop(cx.add(
                accepted,
                Framed::new(Terminator::Bytes(b"\r\n\r\n".to_vec()), Drawn(Some(file)))?,
            )?),
        }
        Ok(())
    }
}

const HEAD: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 20000000\r\n\r\n";

struct Whole(Option<File>);

impl Dispatcher for Whole {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv(&mut [0; 256])?;
        if let Some(file) = self.0.take() {
            cx.send(HEAD)?;
            cx.send_file(file, ..)?;
            cx.close();
        }
        Ok(())
    }
}

/// The file is read up to the high mark whenever the outbox is below its low one.
struct Pieces {
    file: File,
    offset: u64,
}

impl Dispatcher for Pieces {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv(&mut [0; 256])?;
        cx.send(HEAD)?;
        cx.start_writing();
        cx.close_when_done();
        Ok(())
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut piece = [0; PIECE];
        while cx.wants_output() {
            let count = self.file.read_at(&mut piece, self.offset)?;
            if count == 0 {
                cx.stop_writing();
                break;
            }
            self.offset += count as u64;
            cx.send(&piece[..count])?;
        }
        Ok(())
    }
}

struct Drawn(Option<File>);

impl Handler for Drawn {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        _: &[u8],
    ) -> io::Result<()> {
        if let Some(file) = self.0.take() {
            framing.push(cx, HEAD)?;
            framing.push_producer(cx, file);
            framing.close_when_done(cx);
        }
        Ok(())
    }
}

/// One worker of nginx's, ended with this value.
struct Nginx {
    master: Child,
    worker: PathBuf,
    address: SocketAddr,
}

impl Nginx {
    fn start(folder: &Path) -> Outcome<Nginx> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let root = folder.display();
        let config = format!(
            "daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ }}\n\
             http {{ access_log off; sendfile on; client_body_temp_path {root}; proxy_temp_path {root};\n\
             fastcgi_temp_path {root}; uwsgi_temp_path {root}; scgi_temp_path {root};\n\
             server {{ listen {address}; root {root}; }} }}\n"
        );
        let path = folder.join("nginx.conf");
        fs::write(&path, config)?;
        // Run as root it would give its worker another user, who may not read the file's folder.
        let as_user = if fs::metadata("/proc/self").is_ok_and(|own| {
            use std::os::unix::fs::MetadataExt;
            own.uid() == 0
        }) {
            "user root;"
        } else {
            ""
        };
        let master = Command::new("nginx")
            .arg("-c")
            .arg(&path)
            .args(["-p", &root.to_string(), "-g", as_user])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pid = master.id();
        let mut nginx = Nginx {
            master,
            worker: PathBuf::new(),
            address,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                let log = fs::read_to_string(folder.join("error.log")).unwrap_or_default();
                return Err(format!("nginx does not answer: {log}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let worker = children.split_whitespace().next().ok_or("no worker")?;
        nginx.worker = format!("/proc/{worker}/schedstat").into();
        Ok(nginx)
    }

    fn serve(&self) -> Outcome<Duration> {
        let before = time_of(&self.worker)?;
        fetch(self.address)?;
        // It closes a moment after the last byte.
        thread::sleep(Duration::from_millis(20));
        Ok(time_of(&self.worker)? - before)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its master ends the worker on a signal that it can take; killed outright it would leave it.
        let pid = self.master.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.master.wait();
    }
}
