//! What a dispatcher is and does, for tools that show a reactor.

use super::Context;
use crate::state::description::{self, Description};
use crate::world::ids::AnyId;

/// # Describing
impl Context<'_> {
    /// A dispatcher as it is now, this one or another: its type, how far its life has come, what is queued.
    /// `None` if it is gone. No system call, and nothing is allocated. For tools that show a reactor, such as the
    /// inspector.
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
