//! What the comparison programs share: arguments, the ring's sockets, a relay of bytes, a thin
//! epoll.
//!
//! The programs in `src/bin` put slabloop beside other event loops. Each of them does one of a few
//! small jobs (pass bytes around a ring, echo, relay to an upstream, keep timers, run posts, do jobs) in the way that
//! its own library wants it done; whatever is not a question of the library stands here once, so
//! that two programs differ in the loop and in nothing else.
//!
//! Reading order: [`cli`], [`ring`], [`timers`], [`posts`], [`jobs`], [`serve`], [`relay`], [`link`], [`http`],
//! [`table`], [`sys`]; then `src/bin/epoll_ring.rs` and its siblings; then the client, [`load`];
//! then the runner, [`compare`].

pub mod cli;
pub mod compare;
pub mod http;
pub mod jobs;
pub mod link;
pub mod load;
pub mod posts;
pub mod relay;
pub mod ring;
pub mod serve;
pub mod sys;
pub mod table;
pub mod timers;
