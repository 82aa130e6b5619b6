//! Posts to calloop: boxed closures through its channel, which is an event source. See
//! `slabloop_peers::posts`.

use std::process::ExitCode;
use std::thread;

use calloop::EventLoop;
use calloop::channel::{self, Event};
use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::posts::{self, Watch};

type Job = Box<dyn FnOnce() + Send>;

fn main() -> ExitCode {
    cli::run(|| time_posts(posts::count_from_args()?))
}

fn time_posts(count: usize) -> Result<()> {
    let mut event_loop = EventLoop::<bool>::try_new().doing("making the event loop")?;
    let (sender, receiver) = channel::channel::<Job>();
    event_loop
        .handle()
        .insert_source(receiver, |event, (), done| match event {
            Event::Msg(job) => job(),
            Event::Closed => *done = true,
        })
        .doing("adding the channel")?;
    let watch = Watch::start()?;
    let poster = thread::spawn(move || {
        let refused = (0..count).find(|&number| {
            let job = Box::new(move || posts::run(number));
            sender.send(job).is_err()
        });
        assert!(refused.is_none(), "the channel lives as long as the loop");
    });
    let mut done = false;
    while !done {
        event_loop.dispatch(None, &mut done).doing("dispatching")?;
    }
    watch.report(count)?;
    drop(poster.join());
    Ok(())
}
