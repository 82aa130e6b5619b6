//! What a dispatcher is and does, for tools that show a reactor.

use super::Context;
use crate::state::description::{self, Description};
use crate::world::ids::AnyId;

/// # Describing
impl Context<'_> {
    /// Describes the current state of this or another dispatcher: its type, its stage from connecting to closed, what
    /// is queued. `None` if it has ended. It makes no system call and allocates nothing. It is for tools that show a
    /// reactor, such as the inspector.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher, Reactor};
    /// # struct Echo; impl Dispatcher for Echo {}
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// let id = reactor.listen("127.0.0.1:0", Echo)?;
    /// let cx = reactor.at(id).expect("it was added just now");
    /// let listener = cx.describe(id).expect("it is there");
    /// assert_eq!(listener.short_name(), "Echo");
    /// assert_eq!(listener.stage.name(), "listening");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn describe(&self, id: impl Into<AnyId>) -> Option<Description<'_>> {
        description::describe(&self.core.state, id.into())
    }
}
