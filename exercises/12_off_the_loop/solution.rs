use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::kit::workers::Workers;
use slabloop::{Accepted, Context, Dispatcher, Id, Reactor};

/// Work may be done so many times at once, and no more often.
pub const LIMIT: usize = 4;

/// What becomes of a request. It takes long, and may do so on any thread.
pub type Work = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Serves clients on a free port, whose address it returns. A client sends lines. `slow TEXT` is answered with what `work`
/// makes of `TEXT`, and every other line with itself.
pub fn serve(reactor: &mut Reactor, work: Work) -> io::Result<SocketAddr> {
    let workers = Workers::builder().threads(LIMIT).build(reactor)?;
    let listener = reactor.listen("127.0.0.1:0", Listener { work, workers })?;
    reactor.local_addr(listener)
}

struct Listener {
    work: Work,
    workers: Workers,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let client = Client {
            work: Arc::clone(&self.work),
            workers: self.workers.clone(),
        };
        cx.add(accepted, Framed::new(Terminator::Line, client)?)?;
        Ok(())
    }
}

struct Client {
    work: Work,
    workers: Workers,
}

impl Handler for Client {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        let line = String::from_utf8_lossy(line).into_owned();
        let Some(text) = line.strip_prefix("slow ") else {
            return framing.push(cx, format!("{line}\n").as_bytes());
        };
        let (work, text) = (Arc::clone(&self.work), text.to_owned());
        // The name of this connection, and of none that has its slot later.
        let me: Id<Framed<Client>> = cx.id();
        let job = move || work(&text);
        self.workers.spawn(cx, me, job, |framed, cx, answer| {
            let (_, framing) = framed.parts();
            framing.push(cx, format!("{}\n", answer?).as_bytes())
        })?;
        Ok(())
    }
}
