//! What a limit has decided since it was made.

use std::fmt;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Admitted by Redis.
    pub(crate) shared: u64,
    /// Admitted by this process, because Redis did not answer.
    pub(crate) own: u64,
    /// Refused by Redis,
    pub(crate) refused: u64,
    /// and refused without asking it again, because its last refusal still held,
    pub(crate) remembered: u64,
    /// and refused by this process.
    pub(crate) own_refused: u64,
    /// Answers that did not come in time.
    pub(crate) late: u64,
    /// Questions that were not asked, because too many were open.
    pub(crate) crowded: u64,
    /// How often Redis stopped answering.
    pub(crate) outages: u64,
}

impl Counts {
    pub(crate) fn own(&mut self, is_admitted: bool) {
        if is_admitted {
            self.own += 1;
        } else {
            self.own_refused += 1;
        }
    }

    pub(crate) fn shared(&mut self, is_admitted: bool) {
        if is_admitted {
            self.shared += 1;
        } else {
            self.refused += 1;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            shared,
            own,
            refused,
            remembered,
            own_refused,
            late,
            crowded,
            outages,
        } = self;
        write!(
            f,
            "shared={shared} own={own} refused={refused} remembered={remembered} own_refused={own_refused} \
             late={late} crowded={crowded} outages={outages}"
        )
    }
}
