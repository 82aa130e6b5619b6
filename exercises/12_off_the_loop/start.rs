use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::{Accepted, Context, Dispatcher, Reactor};

/// Work may be done so many times at once, and no more often.
pub const LIMIT: usize = 4;

/// What becomes of a request. It takes long, and may do so on any thread.
pub type Work = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Serves clients on a free port, whose address it returns. A client sends lines. `slow TEXT` is answered with what `work`
/// makes of `TEXT`, and every other line with itself.
pub fn serve(reactor: &mut Reactor, work: Work) -> io::Result<SocketAddr> {
    let listener = reactor.listen("127.0.0.1:0", Listener { work })?;
    reactor.local_addr(listener)
}

struct Listener {
    work: Work,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let work = Arc::clone(&self.work);
        cx.add(accepted, Framed::new(Terminator::Line, Client { work })?)?;
        Ok(())
    }
}

struct Client {
    work: Work,
}

impl Handler for Client {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        let line = String::from_utf8_lossy(line).into_owned();
        let answer = match line.strip_prefix("slow ") {
            Some(text) => (self.work)(text),
            None => line,
        };
        framing.push(cx, format!("{answer}\n").as_bytes())
    }
}
