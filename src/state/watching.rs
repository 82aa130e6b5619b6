//! The end of a dispatcher is reported to those that watch it.

use crate::slot::life::Life;
use crate::slot::links::Link;
use crate::state::State;
use crate::state::agenda::Errand;
use crate::watch::ends::Cause;
use crate::world::ids::AnyId;

/// Has `watcher` told when `id` ends; false if that has ended, or is the watcher itself.
pub(crate) fn watch<D>(state: &mut State<D>, watcher: AnyId, id: AnyId) -> bool {
    let has_ended = |id| {
        let slot = state.slots.get(id);
        slot.is_none_or(|slot| slot.life() == Life::Ended)
    };
    if watcher == id || has_ended(watcher) || has_ended(id) {
        return false;
    }
    state.slots.slot_mut(id).link(Link::Watcher, watcher);
    state.slots.slot_mut(watcher).link(Link::Watched, id);
    true
}

/// Undoes [`watch`]; false if there was nothing to undo.
pub(crate) fn unwatch<D>(state: &mut State<D>, watcher: AnyId, id: AnyId) -> bool {
    if let Some(slot) = state.slots.get_mut(id) {
        slot.unlink(Link::Watcher, watcher);
    }
    let slot = state.slots.get_mut(watcher);
    slot.is_some_and(|slot| slot.unlink(Link::Watched, id))
}

/// A dispatcher has ended: those that watch it are to be told, and it watches no others.
pub(crate) fn forget<D>(state: &mut State<D>, id: AnyId, cause: Cause) {
    for watcher in state.slots.slot_mut(id).take_links(Link::Watcher) {
        state.slots.slot_mut(watcher).unlink(Link::Watched, id);
        let errand = Errand::Gone(watcher, id, cause);
        state.agenda.errands.push_back(errand);
    }
    for watched in state.slots.slot_mut(id).take_links(Link::Watched) {
        let slot = state.slots.slot_mut(watched);
        slot.unlink(Link::Watcher, id);
    }
}
