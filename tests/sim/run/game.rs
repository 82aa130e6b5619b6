//! A run in progress: the reactor, its world, and what is checked after each step.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use slabloop::testing::SimKind;
use slabloop::{Reactor, Timeout};

use super::{Command, Plan, Report, Tell, What, told_steps};
use crate::sim::book::{Book, LONGEST_DEADLINE};
use crate::sim::faults::Fault;
use crate::sim::kernel::{Link, Net};
use crate::sim::program::Run;
use crate::sim::sockets::Poller;

pub(super) struct Game {
    reactor: Reactor,
    pub(super) run: Rc<Run>,
    seed: u64,
    cap: usize,
    /// Only what can be seen from outside is looked at: for seeing what the oracles are worth.
    black_box: bool,
}

impl Game {
    pub(super) fn new(plan: &Plan, tell: Tell) -> Game {
        let net = Net::new(plan.seed, plan.mix.clone());
        match tell {
            Tell::Nothing => {}
            Tell::Keep => net.with(|kernel| kernel.trace.keep()),
            Tell::Print => net.with(|kernel| kernel.trace.print()),
        }
        let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0xb1d);
        let mut builder = Reactor::builder();
        let high = [60, 1_000, 20_000][rng.usize(..3)];
        let cap = high * [1, 3, 50][rng.usize(..3)];
        builder
            .clock(net.with(|kernel| kernel.clock.clone()))
            .high_mark(high)
            .low_mark(1 + rng.usize(..high))
            .hard_cap(cap)
            .close_timeout(Duration::from_secs(1))
            .connect_timeout(LONGEST_DEADLINE)
            .stall_timeout(Duration::from_secs(3));
        let accept_batch = [1, 3, 32][rng.usize(..3)];
        let posts_per_turn = [1, 4, 64][rng.usize(..3)];
        builder
            .accept_batch(accept_batch)
            .posts_per_turn(posts_per_turn);
        let has_total = rng.usize(..4) == 0;
        if has_total {
            builder.max_queued(high * 2);
        }
        let cut = rng.usize(..6) == 0;
        if cut {
            builder.turn_time(Duration::ZERO);
        }
        let mut reactor = builder.build().expect("a poller");
        reactor.set_kernel(Box::new(Poller(net.clone())));
        let mut book = Book::default();
        book.turns_are_cut = cut;
        book.accept_batch = accept_batch;
        book.has_total = has_total;
        let run = Rc::new(Run {
            net,
            book: RefCell::new(book),
            handle: RefCell::new(Some(reactor.handle().unref())),
            quiet: Cell::new(false),
            in_turn: Cell::new(false),
            posts_per_turn: Cell::new(posts_per_turn),
        });
        let for_oracle = Rc::clone(&run);
        let for_posts = Rc::clone(&run);
        run.net.with(|kernel| {
            kernel.before_sleep = Some(Rc::new(move |kernel, timeout| {
                for_oracle.book.borrow_mut().before_wait(kernel, timeout)
            }));
            kernel.in_wait = Some(Box::new(move || for_posts.post()));
        });
        Game {
            reactor,
            run,
            seed: plan.seed,
            cap,
            black_box: std::env::var_os("SLABLOOP_SIM_BLACK_BOX").is_some(),
        }
    }

    /// The last steps, and what the reactor has then.
    pub(super) fn told(&mut self, tell: Tell) -> Vec<String> {
        let mut told = self.run.net.with(|kernel| kernel.trace.tail(told_steps()));
        if tell == Tell::Nothing {
            return told;
        }
        for id in self.reactor.ids() {
            if let Some(cx) = self.reactor.at(id) {
                told.push(format!("{cx:?}"));
            }
        }
        let held = self.reactor.held_memory();
        told.push(format!("{held} bytes held, {:?}", self.reactor.gauges()));
        told
    }

    pub(super) fn report(&self) -> Report {
        let book = self.run.book.borrow();
        self.run.net.with(|kernel| Report {
            turns: kernel.turns,
            calls: kernel.calls,
            callbacks: book.callbacks,
            connections: book.conns.len(),
            hash: kernel.trace.so_far(),
            injected: kernel.injected,
        })
    }

    fn some_peer(&self) -> Option<usize> {
        let peers = &self.run.book.borrow().peers;
        let open = |peer: &usize| self.run.net.with(|kernel| !kernel.ends[*peer].closed);
        let open: Vec<usize> = peers.iter().copied().filter(open).collect();
        (!open.is_empty()).then(|| open[self.run.below(open.len())])
    }

    pub(super) fn execute(&mut self, command: Command) -> Result<(), String> {
        let run = Rc::clone(&self.run);
        let net = &run.net;
        net.with(|kernel| {
            kernel.rng = fastrand::Rng::with_seed(self.seed ^ u64::from(command.seed) << 20);
            kernel.trace.line(|| format!("-- {command}"));
        });
        if net.with(|kernel| kernel.fault(Fault::LateTurn)) {
            let time = Duration::from_millis(run.below(5_000) as u64);
            net.with(|kernel| kernel.clock.advance(time));
        }
        match command.what {
            What::Add => run.add_any(&mut self.reactor),
            What::Listen => run.listen(&mut self.reactor),
            What::ClientConnects => self.client_connects(),
            What::Dial => {
                if let Some(id) = self.reactor.ids().first().copied() {
                    if let Some(mut cx) = self.reactor.at(id) {
                        run.dial(&mut cx);
                    }
                }
            }
            What::PeerSends => self.peer_sends(),
            What::PeerReads => {
                if let Some(peer) = self.some_peer() {
                    run.peer_reads(peer, [1, 50, 3_000, 100_000][run.below(4)]);
                }
            }
            What::PeerShuts => {
                if let Some(peer) = self.some_peer() {
                    net.with(|kernel| kernel.peer_shuts(peer));
                }
            }
            What::PeerCloses | What::PeerResets => {
                if let Some(peer) = self.some_peer() {
                    net.with(|kernel| kernel.peer_closes(peer, command.what == What::PeerResets));
                }
            }
            What::Refusal => {
                if let Some(peer) = self.some_peer() {
                    net.with(|kernel| {
                        if kernel.ends[peer].kind == SimKind::Datagram {
                            kernel.datagram_refused(kernel.ends[peer].other);
                        }
                    });
                }
            }
            What::Act => run.outside(&mut self.reactor),
            What::Post => run.post(),
            What::Turn => return self.turn(Duration::from_millis(run.below(50) as u64)),
            What::Sleep => return self.turn(Duration::from_secs(3_600)),
            What::Descriptors => {
                let open = net.with(|kernel| kernel.open);
                let limit = match run.below(3) {
                    0 => open + run.below(3),
                    _ => usize::MAX,
                };
                net.with(|kernel| kernel.limit = limit);
            }
        }
        self.check()
    }

    fn client_connects(&mut self) {
        let run = Rc::clone(&self.run);
        let listeners: Vec<usize> = {
            let book = run.book.borrow();
            let conns = book
                .conns
                .iter()
                .filter(|conn| conn.kind == SimKind::Listener);
            conns.map(|conn| conn.end).collect()
        };
        if listeners.is_empty() {
            return run.listen(&mut self.reactor);
        }
        let listener = listeners[run.below(listeners.len())];
        for _ in 0..=run.below(4) {
            if let Some(client) = run.net.with(|kernel| kernel.client_connects(listener)) {
                run.add_peer(client);
            }
        }
    }

    fn peer_sends(&mut self) {
        let run = &self.run;
        let Some(peer) = self.some_peer() else { return };
        let size = [1, 30, 2_000, 30_000][run.below(4)];
        let count = 1 + run.below(size);
        run.net.with(|kernel| {
            if kernel.ends[peer].kind == SimKind::Datagram {
                return kernel.peer_sends_datagram(peer, vec![7; count % 20]);
            }
            let from = kernel.ends[peer].sent;
            let bytes = crate::sim::kernel::bytes_at(peer, from, count);
            kernel.peer_sends(peer, &bytes);
        });
    }

    /// One turn, and every oracle.
    fn turn(&mut self, limit: Duration) -> Result<(), String> {
        self.run.in_turn.set(true);
        let outcome = self.reactor.turn(limit);
        self.run.in_turn.set(false);
        let failed = self
            .run
            .net
            .with(|kernel| std::mem::take(&mut kernel.wait_failed));
        if outcome.is_err() != failed {
            return Err(format!("the turn ends with {outcome:?}"));
        }
        self.run.net.with(|kernel| kernel.turn_is_over());
        self.run.check(|book, kernel| book.after_turn(kernel));
        self.check()
    }

    fn check(&mut self) -> Result<(), String> {
        if !self.black_box {
            self.reactor.check_invariants();
        }
        let run = &self.run;
        let counters = self.reactor.counters();
        let held = self.reactor.outboxes();
        run.check(|book, kernel| {
            if counters.stale < kernel.stale {
                return Err(format!(
                    "4: {} events were for the dead, and {} are counted",
                    kernel.stale, counters.stale
                ));
            }
            // A datagram or a pipe may be a descriptor that its slot still has; a slot that is gone has none.
            let alive = book.alive().count();
            if kernel.open != alive {
                return Err(format!(
                    "12: {} descriptors are open for {alive} dispatchers",
                    kernel.open
                ));
            }
            if alive != held.len() {
                return Err(format!(
                    "3: {} dispatchers are there, not {alive}",
                    held.len()
                ));
            }
            for (id, queued) in &held {
                let conn = book.conn_of(*id).map(|conn| &book.conns[conn]);
                if *queued > self.cap.max(4) {
                    return Err(format!(
                        "6: {id} has {queued} bytes queued; the cap is {}",
                        self.cap
                    ));
                }
                if conn.is_none() {
                    return Err(format!("3: {id} is there, and was never added"));
                }
            }
            if book.posts_in_turn > run.posts_per_turn.get() {
                return Err("6: more closures ran in a turn than may".to_owned());
            }
            Ok(())
        });
        match run.net.with(|kernel| kernel.broken_rule()) {
            Some(rule) => Err(rule),
            None => Ok(()),
        }
    }

    /// The faults stop, the peers read, everything closes gracefully: all that was accepted arrives, in no time.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        let run = Rc::clone(&self.run);
        run.quiet.set(true);
        run.net.with(|kernel| {
            kernel.calm = true;
            kernel.frozen = true;
            kernel.limit = usize::MAX;
            kernel.widen();
            kernel.trace.line(|| "-- the end".to_owned());
        });
        for id in self.reactor.ids() {
            let Some(mut cx) = self.reactor.at(id) else {
                continue;
            };
            cx.feeds_nobody();
            cx.set_timeout(Timeout::Idle, None);
            cx.resume_reading();
            if self.seed % 2 == 0 {
                cx.close();
            } else {
                cx.close_when_done();
            }
            let mut book = run.book.borrow_mut();
            if let Some(conn) = book.conn_of(id) {
                let conn = &mut book.conns[conn];
                conn.feeds = crate::sim::book::Feeds::Nobody;
                conn.paused = false;
                conn.closing = true;
                conn.produce = 0;
                conn.alarms.clear();
                conn.touched = true;
            }
        }
        let mut idle = 0;
        while idle < 12 {
            let before = run.net.with(|kernel| kernel.calls);
            self.turn(Duration::ZERO)?;
            let moved = self.peers_finish();
            let after = run.net.with(|kernel| kernel.calls);
            idle = if moved || after > before { 0 } else { idle + 1 };
            let turns = run.net.with(|kernel| kernel.turns);
            if turns > 2_000_000 {
                return Err("7: it does not come to rest".to_owned());
            }
        }
        self.nothing_hangs()?;
        run.net.with(|kernel| kernel.frozen = false);
        self.reactor.close_all();
        for _ in 0..40 {
            self.turn(Duration::ZERO)?;
        }
        if self.reactor.count() > 0 || self.reactor.memory().0 > 0 {
            return Err(format!("something is left: {:?}", self.reactor));
        }
        let counters = self.reactor.counters();
        if counters.ends.total() != counters.added {
            return Err("3: not every dispatcher ended once".to_owned());
        }
        Ok(())
    }

    /// Peers read all there is, and finish when they have seen the end. Whether anything moved.
    fn peers_finish(&mut self) -> bool {
        let run = &self.run;
        let peers = run.book.borrow().peers.clone();
        let mut moved = false;
        for peer in peers {
            while run.peer_reads(peer, 100_000) > 0 {
                moved = true;
            }
            run.net.with(|kernel| {
                let end = &kernel.ends[peer];
                let dead = end.saw.is_some() || end.kind == SimKind::PipeWriter;
                if dead && !end.closed {
                    kernel.peer_closes(peer, false);
                    moved = true;
                }
            });
        }
        moved
    }

    /// What is left after the peers have read everything waits for nothing but an attempt that nobody answers.
    fn nothing_hangs(&mut self) -> Result<(), String> {
        let run = &self.run;
        let left = {
            let book = run.book.borrow();
            run.net.with(|kernel| {
                let waits = |conn: &usize| {
                    let end = &kernel.ends[book.conns[*conn].end];
                    // (Two of the reactor's own that both close read nothing, and may wait for each other.)
                    let peer_reads = end.other == usize::MAX || !kernel.ends[end.other].ours;
                    peer_reads && !matches!(end.link, Link::Connecting { .. })
                };
                book.alive()
                    .find(waits)
                    .map(|conn| (book.conns[conn].id, conn))
            })
        };
        match left {
            Some((id, _)) => Err(format!(
                "8: {id:?} hangs, although its peer reads and no fault comes: {:?}",
                id.and_then(|id| self.reactor.at(id).map(|cx| format!("{cx:?}")))
            )),
            None => Ok(()),
        }
    }
}
