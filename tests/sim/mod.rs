//! A kernel of our own: everything that a reactor can see of the world, drawn from one seed.
//!
//! | file | what it has |
//! |---|---|
//! | `kernel.rs`, `kernel/` | ends, buffers, edges, system calls: the world |
//! | `sockets.rs` | that world as the reactor's sockets and its wait |
//! | `faults.rs` | what can go wrong, and how often it did |
//! | `book.rs` | the model: what must be true of every byte, callback and timer |
//! | `program.rs`, `program/` | dispatchers that do anything in any callback |
//! | `stage.rs` | the stage for a program's own dispatchers, and their peers |
//! | `scene.rs` | a part of the kit on that stage: steps from a seed, and the fewest that still fail |
//! | `run.rs`, `run/` | commands, a run, and the shortest list of commands that still fails |

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod book;
pub(crate) mod faults;
pub(crate) mod kernel;
pub(crate) mod program;
pub(crate) mod run;
pub(crate) mod scene;
pub(crate) mod sockets;
pub(crate) mod stage;
pub(crate) mod trace;
