//! The class of a dispatcher: when it is served, compared to the others.

/// How soon a dispatcher is served when many are ready at once; see
/// [`Context::set_priority`](crate::Context::set_priority).
///
/// ```
/// use slabloop::{Context, Dispatcher, Priority};
/// use std::io;
///
/// /// A console for the operator, which has to respond however busy the other connections are.
/// struct Console;
/// impl Dispatcher for Console {
///     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
///         cx.set_priority(Priority::High);
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// Served before all others. For dispatchers that take little time and must respond soon.
    High,
    /// The class of every new dispatcher, accepted connections included.
    #[default]
    Normal,
    /// Served after all others. For bulk work that may wait.
    Low,
}

impl Priority {
    /// How many there are.
    pub(crate) const COUNT: usize = 3;

    /// Whether it is another one than the usual.
    pub(crate) fn is_special(self) -> bool {
        self != Priority::Normal
    }

    /// Its place in the order of serving.
    pub(crate) fn rank(self) -> usize {
        self as usize
    }
}
