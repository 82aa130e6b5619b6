//! What there is at this moment: asked for rarely, and so counted when asked.

use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::State;
use crate::watch::gauges::Gauges;

/// All but the posts, which wait above this layer. Looks at every slot.
pub(crate) fn gauges<D>(state: &State<D>) -> Gauges {
    let mut gauges = Gauges {
        dispatchers: state.slots.len(),
        connections: state.connections,
        services: state.services,
        ready: state.agenda.ready.len() + state.agenda.classes.len(),
        timers: state.timers.len(),
        queued_bytes: state.chunks.queued(),
        held_bytes: state.chunks.held(),
        ..Gauges::default()
    };
    for (_, slot) in state.slots.iter() {
        gauges.largest_outbox = gauges.largest_outbox.max(slot.queued());
        let life = slot.life();
        gauges.listeners += usize::from(life == Life::Listening);
        gauges.connecting += usize::from(life.is_connecting());
        gauges.closing += usize::from(!life.is_live() && !life.is_connecting());
        gauges.paused += usize::from(!slot.pauses.is_empty());
        gauges.held += usize::from(slot.readiness.has(Flag::Held));
        gauges.accept_paused += usize::from(slot.readiness.has(Flag::AcceptPaused));
    }
    gauges
}
