//! What the state promises by itself: no reactor, no callback, a string in the place of a dispatcher.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::slot::life::{Input, Life, Output};
use crate::slot::outbox::Marks;
use crate::state::agenda::Errand;
use crate::state::config::PanicPolicy;
use crate::time::action::Action;
use crate::watch::ends::Cause;
use crate::world::signals::Signals;
use crate::world::socket::Socket;

pub(super) type Tenant = &'static str;

pub(super) fn state() -> State<Tenant> {
    let config = Config {
        marks: Marks::new(100, 200, 1_000_000).expect("good marks"),
        max_queued: usize::MAX,
        accept_batch: 1,
        accept_retry: Duration::from_secs(1),
        max_connections: usize::MAX,
        idle_timeout: None,
        connect_timeout: None,
        handshake_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(1),
        stall_timeout: Some(Duration::from_secs(1)),
        broadcast_patience: Duration::from_secs(1),
        slow_callback: None,
        panic_policy: PanicPolicy::Contain,
        posts_per_turn: 1,
        posts_time: Duration::from_secs(1),
        turn_time: None,
        shares: [0; 3],
    };
    let poller = Poller::new().expect("a poller");
    State::new(config, Clock::monotonic(), poller)
}

pub(super) fn add(state: &mut State<Tenant>) -> (AnyId, UnixStream) {
    let (ours, peer) = UnixStream::pair().expect("descriptors");
    peer.set_nonblocking(true).expect("a socket");
    let id = state.admit(Socket::from(ours), "tenant", || "Tenant", Life::Open);
    (id.expect("it is added"), peer)
}

/// As `Context::send` does for what fits.
fn queue(state: &mut State<Tenant>, id: AnyId, bytes: &[u8]) {
    let slot = state.slots.slot_mut(id);
    state.chunks.append(&mut slot.outbox, bytes);
    flow::review(state, id);
    state.mark_dirty(id);
}

fn flush(state: &mut State<Tenant>) {
    let agenda = &mut state.agenda;
    agenda.flushing.load(&mut agenda.dirty);
    output::flush(state);
}

fn life(state: &State<Tenant>, id: AnyId) -> Life {
    state.slots.slot(id).life()
}

fn is_held(state: &State<Tenant>, id: AnyId) -> bool {
    state.slots.slot(id).readiness.has(Flag::Held)
}

fn received(peer: &mut UnixStream) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 20];
    let count = peer.read(&mut buffer).unwrap_or(0);
    buffer.truncate(count);
    buffer
}

/// Input that comes before the poller has been asked.
fn arrive(state: &mut State<Tenant>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    slot.readiness.merge(Signals::from_bits(Signals::READABLE));
    state.requeue(id);
}

#[test]
fn closing_sends_what_is_queued_then_drains_then_ends() {
    let mut state = state();
    let (id, mut peer) = add(&mut state);
    queue(&mut state, id, b"reply");
    closing::close(&mut state, id);
    assert_eq!(life(&state, id), Life::Flushing);
    assert_eq!(state.timers.len(), 0, "the flush comes first");
    flush(&mut state);
    assert_eq!(life(&state, id), Life::Draining);
    assert_eq!(state.timers.len(), 1, "its deadline");
    assert_eq!(received(&mut peer), b"reply");
    peer.write_all(b"late").expect("it is still read");
    arrive(&mut state, id);
    closing::drain(&mut state, id);
    assert_eq!(life(&state, id), Life::Draining);
    drop(peer);
    arrive(&mut state, id);
    closing::drain(&mut state, id);
    assert_eq!(life(&state, id), Life::Ended);
    assert_eq!(state.slots.slot(id).fate.cause(), Some(Cause::Finished));
    assert_eq!(state.agenda.ending, [id]);
}

#[test]
fn an_open_connection_needs_no_chunk_for_its_first_send_and_no_look_after_a_callback() {
    let mut state = state();
    let (id, _peer) = add(&mut state);
    let slot = state.slots.slot(id);
    assert!(slot.can_stage(200) && !slot.can_stage(201), "the high mark");
    assert!(slot.may_go_on());
    queue(&mut state, id, b"first");
    let slot = state.slots.slot(id);
    assert!(!slot.can_stage(1) && slot.may_go_on());
    closing::close(&mut state, id);
    assert!(!state.slots.slot(id).may_go_on());
}

#[test]
fn an_end_is_entered_once_and_takes_timers_output_and_links_along() {
    let mut state = state();
    let (sink, _peer) = add(&mut state);
    let (source, _other) = add(&mut state);
    flow::feeds(&mut state, source, sink);
    queue(&mut state, sink, &[7; 300]);
    assert!(is_held(&state, source));
    deadlines::set_timer(&mut state, sink, Duration::ZERO, None, Action::Callback);
    closing::end(&mut state, sink, Cause::Reset);
    closing::end(&mut state, sink, Cause::Finished);
    assert_eq!(state.slots.slot(sink).fate.cause(), Some(Cause::Reset));
    assert_eq!(state.agenda.ending, [sink]);
    assert_eq!((state.timers.len(), state.chunks.queued()), (0, 0));
    assert!(!is_held(&state, source));
    assert_eq!(state.slots.slot(source).feeds(), AnyId::NONE);
}

#[test]
fn a_source_is_held_above_the_high_mark_and_released_below_the_low_one() {
    let mut state = state();
    let (sink, mut peer) = add(&mut state);
    let (source, _other) = add(&mut state);
    flow::feeds(&mut state, source, sink);
    queue(&mut state, sink, &[7; 200]);
    assert!(!is_held(&state, source), "at the mark is not over it");
    queue(&mut state, sink, &[7]);
    assert!(is_held(&state, source) && is_held(&state, sink));
    flush(&mut state);
    assert!(!is_held(&state, source) && !is_held(&state, sink));
    assert_eq!(received(&mut peer).len(), 201);
}

#[test]
fn a_held_source_with_input_is_served_when_it_is_released() {
    let mut state = state();
    let (sink, _peer) = add(&mut state);
    let (source, _other) = add(&mut state);
    flow::feeds(&mut state, source, sink);
    queue(&mut state, sink, &[7; 300]);
    arrive(&mut state, source);
    assert!(state.agenda.ready.is_empty(), "it is held");
    flush(&mut state);
    assert_eq!(state.agenda.ready, [source]);
}

#[test]
fn shutting_the_write_side_waits_for_the_queue_and_leaves_reading_alone() {
    let mut state = state();
    let (id, mut peer) = add(&mut state);
    queue(&mut state, id, b"last words");
    shutting::shutdown_write(&mut state, id);
    assert_eq!(state.slots.slot(id).readiness.output(), Output::Shutting);
    flush(&mut state);
    // The queue was written by this flush; with nothing queued, the same flush shuts.
    assert_eq!(state.slots.slot(id).readiness.output(), Output::Shut);
    assert_eq!(received(&mut peer), b"last words");
    assert_eq!(peer.read(&mut [0]).ok(), Some(0), "the end of the stream");
    let readiness = state.slots.slot(id).readiness;
    assert_eq!(
        (readiness.input(), readiness.life()),
        (Input::Open, Life::Open)
    );
}

#[test]
fn a_failed_write_is_put_on_the_list_and_its_error_kept() {
    let mut state = state();
    let (id, peer) = add(&mut state);
    drop(peer);
    queue(&mut state, id, b"discarded");
    state.slots.slot_mut(id).readiness.clear(Flag::WantRead);
    flush(&mut state);
    let errand = state.agenda.errands.pop_front();
    assert!(matches!(errand, Some(Errand::Broken(broken)) if broken == id));
    let slot = state.slots.slot(id);
    assert_eq!(slot.readiness.output(), Output::Broken);
    let kind = slot.fate.error().map(io::Error::kind);
    assert_eq!(kind, Some(io::ErrorKind::BrokenPipe));
}

#[test]
fn a_full_kernel_arms_one_stall_deadline_and_asks_for_room_once() {
    let mut state = state();
    let (id, _peer) = add(&mut state);
    let slot = state.slots.slot_mut(id);
    slot.outbox.marks = Marks::new(100, 200, 64 << 20).expect("good marks");
    queue(&mut state, id, &vec![7; 8 << 20]);
    for _ in 0..100 {
        flush(&mut state);
    }
    let slot = state.slots.slot(id);
    assert!(!slot.readiness.has(Flag::Writable) && slot.readiness.has(Flag::WatchesRoom));
    let limit = Duration::from_secs(1);
    assert!(state.timers.has(slot.timers, &Action::Stalled(limit)));
    assert_eq!(state.timers.len(), 1);
    assert!(state.agenda.dirty.is_empty(), "it waits for an event");
}

#[test]
fn the_bound_on_all_outboxes_holds_every_connection_with_anything_queued() {
    let mut state = state();
    // The memory of both chunks, at the least, is more than of one.
    state.config.max_queued = 300;
    let (first, _peer) = add(&mut state);
    let (second, _other) = add(&mut state);
    let (idle, _third) = add(&mut state);
    queue(&mut state, first, &[7; 90]);
    queue(&mut state, second, &[7; 90]);
    total::review(&mut state);
    assert!(is_held(&state, first) && is_held(&state, second));
    assert!(!is_held(&state, idle));
    flush(&mut state);
    total::review(&mut state);
    assert!(!is_held(&state, first) && !is_held(&state, second));
    assert_eq!(state.counters.over_total, 1);
}

#[test]
fn timers_of_a_closing_slot_do_not_exist() {
    let mut state = state();
    let (id, _peer) = add(&mut state);
    let hour = Duration::from_secs(3600);
    let timer = deadlines::set_timer(&mut state, id, hour, None, Action::Callback);
    closing::close(&mut state, id);
    assert!(!deadlines::cancel_timer(&mut state, timer), "close took it");
    let late = deadlines::set_timer(&mut state, id, hour, None, Action::Callback);
    assert!(!deadlines::cancel_timer(&mut state, late));
}

#[test]
fn a_freed_slot_leaves_no_id_on_any_list() {
    let mut state = state();
    let (id, _peer) = add(&mut state);
    queue(&mut state, id, b"bytes");
    arrive(&mut state, id);
    closing::end(&mut state, id, Cause::Aborted);
    state.agenda.ending.clear();
    closing::close_socket(&mut state, id);
    closing::free(&mut state, id);
    let slots = &state.slots;
    state.agenda.purge(|id| slots.get(id).is_some());
    assert!(state.agenda.is_empty(), "{:?}", state.agenda);
    assert_eq!((state.slots.len(), state.connections), (0, 0));
}

#[test]
fn too_much_queued_in_all_lasts_until_less_than_half_is_held() {
    let mut state = state();
    let added: Vec<_> = (0..4).map(|_| add(&mut state)).collect();
    for (id, _) in &added {
        queue(&mut state, *id, &[7; 100_000]);
    }
    state.config.max_queued = state.chunks.held() - 1;
    total::review(&mut state);
    assert!(state.over_total);
    closing::end(&mut state, added[0].0, Cause::Aborted);
    total::review(&mut state);
    assert!(state.over_total, "three quarters are held");
    closing::end(&mut state, added[1].0, Cause::Aborted);
    closing::end(&mut state, added[2].0, Cause::Aborted);
    assert!(state.chunks.held() > 1, "something is held");
    total::review(&mut state);
    assert!(!state.over_total, "a quarter is held");
    assert_eq!(state.counters.over_total, 1);
}
