//! Which dispatcher's code is running.

use crate::watch::callback::Callback;
use crate::world::ids::AnyId;

/// The dispatcher whose code is running: a panic, or an error that is passed on, belongs to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) id: AnyId,
    pub(crate) callback: Option<Callback>,
}

impl Running {
    pub(crate) const NOTHING: Running = Running {
        id: AnyId::NONE,
        callback: None,
    };

    #[inline]
    pub(crate) fn of(id: AnyId, callback: Callback) -> Running {
        Running {
            id,
            callback: Some(callback),
        }
    }

    /// A closure that another dispatcher runs on this one.
    pub(crate) fn call(id: AnyId) -> Running {
        Running::of(id, Callback::Call)
    }

    /// A destructor, of a dispatcher or of its socket.
    pub(crate) fn dropping(id: AnyId) -> Running {
        Running::of(id, Callback::Drop)
    }

    /// A closure of the reactor's, which belongs to no dispatcher.
    pub(crate) fn closure(callback: Callback) -> Running {
        Running::of(AnyId::NONE, callback)
    }
}
