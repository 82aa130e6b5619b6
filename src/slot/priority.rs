//! The class of a dispatcher: before or after which others it is served.

/// How soon a dispatcher is served when many are ready at once; see
/// [`Context::set_priority`](crate::Context::set_priority).
///
/// ```
/// use slabloop::{Context, Dispatcher, Priority};
/// use std::io;
///
/// /// A console for the operator, which is to answer however busy the others are.
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
    /// Before all others. For those that take little time and must answer soon.
    High,
    /// What every dispatcher has from the start, accepted ones included.
    #[default]
    Normal,
    /// After all others. For bulk work that may wait.
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
