//! What happened, as one number and, if asked for, as text.

/// A hash over every step, and the steps themselves if they are kept.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    steps: u64,
    lines: Option<Vec<String>>,
    prints: bool,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace {
            hash: 0xcbf2_9ce4_8422_2325,
            steps: 0,
            lines: None,
            prints: false,
        }
    }
}

impl Trace {
    pub(crate) fn keep(&mut self) {
        self.lines = Some(Vec::new());
    }

    /// Prints each line when it comes.
    pub(crate) fn print(&mut self) {
        self.keep();
        self.prints = true;
    }

    /// A system call, an event: what, of which end or token, and how.
    pub(crate) fn step(&mut self, what: &str, one: u64, other: u64) {
        self.hash(what, one, other);
        self.line(|| match other {
            0 => format!("{what} {one}"),
            _ => format!("{what} {one} {other}"),
        });
    }

    /// A callback of a dispatcher.
    pub(crate) fn callback(&mut self, name: &str, conn: usize) {
        self.hash(name, conn as u64, 0);
        self.line(|| format!("handle_{name} {conn}"));
    }

    /// Something that a dispatcher, or a closure, does to a dispatcher.
    pub(crate) fn act(&mut self, conn: usize, choice: usize) {
        self.hash("act", conn as u64, choice as u64);
        self.line(|| format!("  act {choice} on {conn}"));
    }

    /// FNV-1a.
    fn hash(&mut self, what: &str, one: u64, other: u64) {
        self.steps += 1;
        for byte in what
            .bytes()
            .chain(one.to_le_bytes())
            .chain(other.to_le_bytes())
        {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// A remark, which is not in the hash.
    pub(crate) fn line(&mut self, text: impl FnOnce() -> String) {
        if self.lines.is_some() {
            let text = text();
            self.push(text);
        }
    }

    fn push(&mut self, text: String) {
        if self.prints {
            println!("{text}");
        }
        if let Some(lines) = &mut self.lines {
            lines.push(text);
        }
    }

    /// Equal for equal runs.
    pub(crate) fn so_far(&self) -> u64 {
        self.hash
    }

    pub(crate) fn tail(&self, count: usize) -> Vec<String> {
        let lines = self.lines.as_deref().unwrap_or_default();
        lines[lines.len().saturating_sub(count)..].to_vec()
    }
}
