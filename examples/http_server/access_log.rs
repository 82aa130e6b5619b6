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
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::date::Date;
use crate::head::Head;

/// How much is gathered before it is handed to the thread, unless a second passes before.
const PIECE_BYTES: usize = 32 * 1024;

/// Most bytes that are kept while the thread is busy.
const MOST_BYTES: usize = 1024 * 1024;

/// How long the last lines may take to be written at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The thread that writes, for the logs of all reactors. It ends after the last of them.
#[derive(Clone)]
pub(crate) struct LogThread {
    pieces: SyncSender<Piece>,
}

/// Whole lines, so that those of several reactors do not mix.
struct Piece {
    lines: String,
    /// Gets a message when they are written.
    written: Option<SyncSender<()>>,
}

impl LogThread {
    pub(crate) fn start() -> io::Result<LogThread> {
        // Its own, so that other writers to stdout are not blocked while it is blocked itself.
        let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (pieces, to_write) = sync_channel::<Piece>(1);
        let thread = thread::Builder::new().name("access-log".to_owned());
        thread.spawn(move || {
            for piece in to_write {
                // The reader may have ended; that is no reason to end.
                let _ = stdout.write_all(piece.lines.as_bytes());
                if let Some(written) = piece.written {
                    let _ = written.send(());
                }
            }
        })?;
        Ok(LogThread { pieces })
    }
}

/// The log of one reactor.
pub(crate) struct AccessLog {
    lines: String,
    lost: u64,
    /// Until it is finished.
    thread: Option<LogThread>,
    /// When the last lines were handed over.
    since: Instant,
    time: String,
    second: u64,
}

impl AccessLog {
    pub(crate) fn new(thread: &LogThread) -> AccessLog {
        AccessLog {
            lines: String::new(),
            lost: 0,
            thread: Some(thread.clone()),
            since: Instant::now(),
            time: String::new(),
            second: 0,
        }
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
        let Some(thread) = self.thread.take() else {
            return;
        };
        let (written, is_written) = sync_channel(1);
        let last = Piece {
            lines: mem::take(&mut self.lines),
            written: Some(written),
        };
        // It waits until there is room for the last piece, so this may not be done by this thread.
        thread::spawn(move || thread.pieces.send(last));
        if is_written.recv_timeout(PATIENCE).is_err() {
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
        let Some(thread) = self.thread.as_ref().filter(|_| !self.lines.is_empty()) else {
            return;
        };
        let piece = Piece {
            lines: mem::take(&mut self.lines),
            written: None,
        };
        match thread.pieces.try_send(piece) {
            Ok(()) => self.tell_lost(),
            Err(TrySendError::Full(piece) | TrySendError::Disconnected(piece)) => {
                self.lines = piece.lines;
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
