//! slabloop's kit beside the same written for tokio and asyncio: see `README.md`.
//!
//! Reading order: a program of `src/bin` up to its line `// The measuring frame.`, its siblings, [`frame`], then the
//! runner, [`costs`].

pub mod costs;
pub mod frame;
