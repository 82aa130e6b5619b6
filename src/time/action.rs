//! What timers are for.
//!
//! An [`Action`] carries a limit or a number. In a timer's entry, which is to be small, it is taken apart, and
//! these have places of their own.

use std::time::Duration;

use crate::time::clock::nanos;

/// What happens when a timer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `handle_timer` of the owner.
    Callback,
    /// The reactor's closure of this number; what is behind the number is known above.
    Closure(u32),
    /// The rate limit of this number shares out what has come in.
    Share(u32),
    /// The connection attempt has taken too long.
    ConnectDeadline,
    /// The handshake of a layer has taken too long.
    HandshakeDeadline,
    /// Nothing has moved for the time given.
    Idle(Duration),
    /// A request has to be finished within the time given.
    Request(Duration),
    /// Output waits and the peer has taken none of it for the time given.
    Stalled(Duration),
    /// A broadcast has waited for this one to drain for the time given.
    Patience(Duration),
    /// A closing connection has had its time.
    CloseDeadline,
    /// A listener that ran out of something tries again.
    AcceptRetry,
}

/// An action without what it carries. The reactor's own deadlines can be told apart by it alone: a slot has at
/// most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Callback,
    Closure,
    Share,
    ConnectDeadline,
    HandshakeDeadline,
    Idle,
    Request,
    Stalled,
    Patience,
    CloseDeadline,
    AcceptRetry,
}

/// An action and what it carries, apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) kind: Kind,
    /// In nanoseconds; 0 where there is none.
    pub(super) limit_ns: u64,
    /// Of the closure or the rate limit; 0 for all others.
    pub(super) number: u32,
}

impl Action {
    /// Whether the timer is there because the user set it on a dispatcher.
    pub(crate) fn is_users(&self) -> bool {
        matches!(
            self,
            Action::Callback | Action::Idle(_) | Action::Request(_)
        )
    }

    /// (Inlined, so that of an action that is known where a timer is set nothing is left to do.)
    #[inline(always)]
    pub(super) fn parts(self) -> Parts {
        let (kind, limit, number) = match self {
            Action::Callback => (Kind::Callback, None, 0),
            Action::Closure(number) => (Kind::Closure, None, number),
            Action::Share(number) => (Kind::Share, None, number),
            Action::ConnectDeadline => (Kind::ConnectDeadline, None, 0),
            Action::HandshakeDeadline => (Kind::HandshakeDeadline, None, 0),
            Action::Idle(limit) => (Kind::Idle, Some(limit), 0),
            Action::Request(limit) => (Kind::Request, Some(limit), 0),
            Action::Stalled(limit) => (Kind::Stalled, Some(limit), 0),
            Action::Patience(limit) => (Kind::Patience, Some(limit), 0),
            Action::CloseDeadline => (Kind::CloseDeadline, None, 0),
            Action::AcceptRetry => (Kind::AcceptRetry, None, 0),
        };
        Parts {
            kind,
            limit_ns: limit.map_or(0, nanos),
            number,
        }
    }
}

impl Parts {
    /// The action that it was.
    #[inline]
    pub(super) fn action(self) -> Action {
        let limit = || Duration::from_nanos(self.limit_ns);
        match self.kind {
            Kind::Callback => Action::Callback,
            Kind::Closure => Action::Closure(self.number),
            Kind::Share => Action::Share(self.number),
            Kind::ConnectDeadline => Action::ConnectDeadline,
            Kind::HandshakeDeadline => Action::HandshakeDeadline,
            Kind::Idle => Action::Idle(limit()),
            Kind::Request => Action::Request(limit()),
            Kind::Stalled => Action::Stalled(limit()),
            Kind::Patience => Action::Patience(limit()),
            Kind::CloseDeadline => Action::CloseDeadline,
            Kind::AcceptRetry => Action::AcceptRetry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_comes_back_as_it_was() {
        let limit = Duration::new(3, 7);
        for action in [
            Action::Callback,
            Action::Closure(7),
            Action::Share(8),
            Action::ConnectDeadline,
            Action::HandshakeDeadline,
            Action::Idle(limit),
            Action::Request(limit),
            Action::Stalled(limit),
            Action::Patience(limit),
            Action::CloseDeadline,
            Action::AcceptRetry,
        ] {
            assert_eq!(action.parts().action(), action);
        }
    }
}
