//! `--inspect HOST:PORT` and `--replay FILE`: a page that shows the loop at work. Built without the feature `inspector`, the
//! flags are known and refused.

use lexopt::{Parser, ValueExt};
use slabloop::{Counters, Reactor};

use super::Failure;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Inspect {
    address: Option<String>,
    replay: Option<String>,
}

impl Inspect {
    /// Takes one flag. False if it is none of these.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if its value is missing or wrong, or the program was built without the inspector.
    pub fn take(&mut self, flag: &str, parser: &mut Parser) -> Result<bool, Failure> {
        match flag {
            "inspect" => self.address = Some(super::host_and_port("--inspect", parser)?),
            "replay" => self.replay = Some(parser.value()?.string()?),
            _ => return Ok(false),
        }
        #[cfg(not(feature = "inspector"))]
        return Err(Failure::Usage(format!(
            "--{flag}: built without the inspector; use cargo run --features inspector"
        )));
        #[cfg(feature = "inspector")]
        Ok(true)
    }

    /// Whether a page was asked for.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.address.is_some()
    }

    /// # Errors
    ///
    /// [`Failure::Usage`] if the flags do not go together.
    pub fn checked(self) -> Result<Inspect, Failure> {
        if self.replay.is_some() && self.address.is_none() {
            return Err(Failure::Usage("--replay wants --inspect".to_owned()));
        }
        Ok(self)
    }

    /// Begins to show the reactor, or the recording, and prints where.
    ///
    /// # Errors
    ///
    /// [`Failure::Work`] with the address or file that cannot be used, and why.
    #[cfg(feature = "inspector")]
    pub fn begin(&self, reactor: &mut Reactor) -> Result<(), Failure> {
        use slabloop::inspector::{self, Options};

        let Some(address) = &self.address else {
            return Ok(());
        };
        let mut options = Options::new();
        // As the log has it.
        options.slow_callback(super::SLOW_CALLBACK);
        let inspection = match &self.replay {
            None => inspector::listen(reactor, address.as_str(), &options),
            Some(file) => {
                let doing = format!("--replay {file}");
                let recording = std::fs::read(file).map_err(Failure::io(&doing))?;
                inspector::replay(reactor, address.as_str(), &options, &recording)
            }
        };
        let doing = format!("--inspect {address}");
        let inspection = inspection.map_err(Failure::io(&doing))?;
        super::say(&format!("inspector on {inspection}"));
        Ok(())
    }

    /// Nothing was asked for.
    ///
    /// # Errors
    ///
    /// None.
    #[cfg(not(feature = "inspector"))]
    pub fn begin(&self, _: &mut Reactor) -> Result<(), Failure> {
        Ok(())
    }

    /// What the reactor has counted, but for the inspector's own connections and callbacks.
    #[cfg(feature = "inspector")]
    #[must_use]
    pub fn without_own(&self, reactor: &Reactor) -> Counters {
        let own = slabloop::inspector::own_work(reactor);
        let mut counters = reactor.counters();
        counters.accepted -= own.connections;
        counters.callbacks -= own.callbacks;
        counters.bytes_in -= own.bytes_in;
        // What a page did not take was not sent.
        counters.bytes_out = counters.bytes_out.saturating_sub(own.bytes_out);
        counters
    }

    /// What the reactor has counted.
    #[cfg(not(feature = "inspector"))]
    #[must_use]
    pub fn without_own(&self, reactor: &Reactor) -> Counters {
        reactor.counters()
    }
}
