//! The parts of the kit that stand on the public API alone, compiled as a program's own modules: what they use,
//! every program can use. (What it takes is that this compiles; `tests/layers.rs` names a `use` that is wrong.)

// Here, `crate::Context` is what a program has as `slabloop::Context`.
pub(crate) use slabloop::*;

#[path = "../../src/kit"]
#[allow(
    dead_code,
    unexpected_cfgs,
    unused_imports,
    unreachable_pub,
    reason = "the crate's lints look at these files at home"
)]
mod kit {
    pub(crate) mod bucket;
    pub(crate) mod group;
    pub(crate) mod limits;
    pub(crate) mod pool;
    pub(crate) mod random;
    pub(crate) mod resolver;
    pub(crate) mod retry;
    pub(crate) mod workers;
}

#[path = "../../src"]
#[allow(
    dead_code,
    unexpected_cfgs,
    unused_imports,
    unreachable_pub,
    reason = "the crate's lints look at these files at home"
)]
mod above {
    pub(crate) mod inspector;
}

use above::inspector;

struct Asker;

impl Dispatcher for Asker {}

#[test]
fn a_copy_of_the_workers_in_a_program_works() {
    let mut reactor = Reactor::new().unwrap();
    let workers = kit::workers::Workers::builder()
        .build(&mut reactor)
        .unwrap();
    let asker = reactor.add_service(Asker).unwrap();
    let mut cx = reactor.at(asker).unwrap();
    let then =
        |_: &mut Asker, cx: &mut Context<'_>, sum: Result<u32, kit::workers::WorkerPanic>| {
            assert_eq!(sum?, 4);
            cx.close();
            Ok(())
        };
    workers.spawn(&mut cx, asker, || 2 + 2, then).unwrap();
    reactor.run().unwrap();
    assert_eq!(reactor.end_of(asker), Some(Cause::Finished));
}

#[test]
fn a_copy_of_the_inspector_in_a_program_works() {
    let mut reactor = Reactor::new().unwrap();
    let options = inspector::Options::new();
    let inspection = inspector::listen(&mut reactor, "127.0.0.1:0", &options).unwrap();
    assert!(inspection.to_string().starts_with("http://127.0.0.1:"));
    let listener = reactor.describe(inspection.listener()).unwrap();
    assert_eq!(listener.stage, observe::Stage::Listening);
}
