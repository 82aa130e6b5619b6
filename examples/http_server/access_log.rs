//! A line for each request on standard output, in the combined format of Apache and nginx.
//!
//! A reader of standard output that stops must not stop the server. So lines gather in a buffer, and a thread of its own
//! writes them; what comes when the buffer is full is not written but counted.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::date::Date;
use crate::head::Head;

/// How much is gathered before it is handed to the thread, unless a second passes before.
const PIECE_BYTES: usize = 32 * 1024;

/// Most bytes that are kept while the thread is busy.
const MOST_BYTES: usize = 1024 * 1024;

/// How long the last lines may take to be written at the end.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct AccessLog {
    lines: String,
    lost: u64,
    writer: Option<Writer>,
    /// When the last lines were handed over.
    since: Instant,
    time: String,
    second: u64,
}

struct Writer {
    pieces: SyncSender<String>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl AccessLog {
    pub(crate) fn new() -> io::Result<AccessLog> {
        // Its own, so that other writers to stdout are not blocked while it is blocked itself.
        let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (pieces, to_write) = sync_channel::<String>(1);
        let (done, ended) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                for piece in to_write {
                    // The reader may have ended; that is no reason to end.
                    let _ = stdout.write_all(piece.as_bytes());
                }
                let _ = done.send(());
            })?;
        Ok(AccessLog {
            lines: String::new(),
            lost: 0,
            writer: Some(Writer {
                pieces,
                ended,
                thread,
            }),
            since: Instant::now(),
            time: String::new(),
            second: 0,
        })
    }

    /// Notes an answer. Without a head the request was not understood.
    pub(crate) fn line(
        &mut self,
        peer: Option<SocketAddr>,
        head: Option<&Head<'_>>,
        status: u16,
        bytes: u64,
        date: &Date,
    ) {
        if self.lines.len() > MOST_BYTES {
            self.lost += 1;
            return;
        }
        if self.second != date.second() {
            self.second = date.second();
            self.time = common_time(date.text());
        }
        let out = &mut self.lines;
        let _ = match peer {
            Some(peer) => write!(out, "{}", peer.ip()),
            None => write!(out, "-"),
        };
        let _ = write!(out, " - - [{}] \"", self.time);
        if let Some(head) = head {
            let target = Quoted(head.target.as_bytes());
            let minor = u8::from(head.is_1_1);
            let _ = write!(out, "{} {target} HTTP/1.{minor}", head.method_name);
        }
        let referer = Quoted(head.and_then(|head| head.referer).unwrap_or(b"-"));
        let agent = Quoted(head.and_then(|head| head.agent).unwrap_or(b"-"));
        let _ = writeln!(out, "\" {status} {bytes} \"{referer}\" \"{agent}\"");
        if self.lines.len() >= PIECE_BYTES {
            self.hand_over();
        }
    }

    /// Hands over what there is if a second has passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.hand_over();
        }
    }

    /// Writes what is left, if stdout is read. Lines after this are not written.
    pub(crate) fn finish(&mut self) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        let lines = mem::take(&mut self.lines);
        // It waits until there is room for the last piece, so this may not be done by this thread.
        let pieces = writer.pieces;
        let last = thread::spawn(move || pieces.send(lines));
        if writer.ended.recv_timeout(PATIENCE).is_ok() {
            let _ = last.join();
            let _ = writer.thread.join();
        } else {
            log::warn!("access log: the last lines were lost: stdout is not read");
            let_go_of_stdout();
        }
        self.tell_lost();
    }

    fn tell_lost(&mut self) {
        let lost = mem::take(&mut self.lost);
        if lost > 0 {
            log::warn!("access log: {lost} lines were lost; their reader is too slow");
        }
    }

    fn hand_over(&mut self) {
        let Some(writer) = self.writer.as_ref().filter(|_| !self.lines.is_empty()) else {
            return;
        };
        match writer.pieces.try_send(mem::take(&mut self.lines)) {
            Ok(()) => self.tell_lost(),
            Err(TrySendError::Full(lines) | TrySendError::Disconnected(lines)) => {
                self.lines = lines
            }
        }
    }
}

/// The last messages of the program are not read either, and it must not wait for that.
fn let_go_of_stdout() {
    if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(nowhere);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.finish();
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` becomes `06/Nov/1994:08:49:37 +0000`.
fn common_time(date: &str) -> String {
    let mut words = date.split(' ').skip(1);
    let mut word = || words.next().unwrap_or_default();
    let (day, month, year, time) = (word(), word(), word(), word());
    format!("{day}/{month}/{year}:{time} +0000")
}

/// What a client sent, so that it cannot end the quotes or the line.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(f, "\\x{byte:02X}")?,
                b' '..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02X}")?,
            }
        }
        Ok(())
    }
}
