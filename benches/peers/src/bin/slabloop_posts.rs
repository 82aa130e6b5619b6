//! Posts to slabloop: `Handle::post`. See `slabloop_peers::posts`.

use std::process::ExitCode;
use std::thread;

use slabloop::{Builder, Reactor};
use slabloop_peers::cli::{self, Result};
use slabloop_peers::posts::{self, Watch};

fn main() -> ExitCode {
    cli::run(|| time_posts(posts::count_from_args()?))
}

fn time_posts(count: usize) -> Result<()> {
    let mut reactor = Builder::default().post_capacity(count).build()?;
    let handle = reactor.handle();
    let watch = Watch::start()?;
    let poster = thread::spawn(move || {
        let refused = (0..count).find(|&number| {
            let job = move |_: &mut Reactor| posts::run(number);
            handle.post(job).is_err()
        });
        assert!(refused.is_none(), "there is room for all of them");
    });
    // Returns when nothing is left to run and the last handle is gone.
    reactor.run()?;
    watch.report(count)?;
    drop(poster.join());
    Ok(())
}
