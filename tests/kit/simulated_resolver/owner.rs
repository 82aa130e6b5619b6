//! Those who look names up, cancel, and end while they wait.

use std::rc::Rc;
use std::time::Duration;

use slabloop::kit::resolver::{Lookup, Resolve};
use slabloop::{Context, Dispatcher};

use super::world::{Asked, NAMES, Outcome, World, wire_name};

pub(crate) struct Owner {
    world: Rc<World>,
    pub(crate) number: usize,
    lookups: Vec<(usize, Lookup)>,
}

impl Owner {
    pub(crate) fn new(world: &Rc<World>) -> Owner {
        let number = world.next_owner.get();
        world.next_owner.set(number + 1);
        Owner {
            world: Rc::clone(world),
            number,
            lookups: Vec::new(),
        }
    }

    /// Asks for any name, within a limit that is drawn.
    pub(crate) fn ask(&mut self, cx: &mut Context<'_>) {
        let name = self.world.below(NAMES);
        let own = match self.world.below(8) {
            0 => Some(Duration::MAX),
            1 | 2 => Some(Duration::from_millis(self.world.below(6_000) as u64)),
            _ => None,
        };
        self.ask_for(cx, name, own);
    }

    pub(crate) fn ask_for(&mut self, cx: &mut Context<'_>, name: usize, own: Option<Duration>) {
        let world = Rc::clone(&self.world);
        let resolver = world.resolver.get().expect("it was made");
        let (began, me) = (world.now(), cx.id::<Owner>());
        let limit = own.unwrap_or(world.limits.deadline);
        let number = world.asked.borrow().len();
        let waited = {
            let asked = world.asked.borrow();
            let waiting = asked
                .iter()
                .filter(|asked| matches!(asked.outcome, Outcome::Pending));
            waiting.count()
        };
        let guard = Rc::new(());
        world.asked.borrow_mut().push(Asked {
            name,
            owner: self.number,
            began,
            turn_began: world.net.with(|kernel| kernel.turn_began),
            deadline: began.checked_add(limit),
            waited,
            is_refused: false,
            outcome: Outcome::Pending,
            is_checked: false,
            closure: Rc::downgrade(&guard),
        });
        world.count("lookups");
        let wire = wire_name(name);
        let text = match world.below(3) {
            // With the search list it is the same name.
            0 if world.limits.has_search => wire.trim_end_matches(".test"),
            1 => &wire.to_ascii_uppercase(),
            _ => wire.as_str(),
        };
        let then = move |this: &mut Owner, cx: &mut Context<'_>, outcome: Result<_, _>| {
            drop(guard);
            this.told(cx, number, outcome);
            Ok(())
        };
        let lookup = match own {
            Some(limit) => resolver.lookup_within(cx, me, text, limit, then),
            None => resolver.lookup(cx, me, text, then),
        };
        if !matches!(world.asked.borrow()[number].outcome, Outcome::Pending) {
            world.breaks(format!("once: {number} is told from inside the call"));
        }
        self.lookups.push((number, lookup));
    }

    fn told(
        &mut self,
        cx: &mut Context<'_>,
        number: usize,
        outcome: Result<slabloop::kit::resolver::Addresses, slabloop::kit::resolver::LookupError>,
    ) {
        self.lookups.retain(|(other, _)| *other != number);
        let world = Rc::clone(&self.world);
        world.told(
            number,
            match outcome {
                Ok(found) => {
                    let now = world.net.with(|kernel| kernel.turn_began);
                    let until = found.valid_until().map(|until| {
                        let left = until.saturating_duration_since(cx.now());
                        let over = cx.now().saturating_duration_since(until);
                        now + left - over
                    });
                    Outcome::Found(found.to_vec(), found.origin(), until)
                }
                Err(error) => Outcome::Failed(error.failure()),
            },
        );
        if world.below(6) == 0 && !world.is_ending.get() && !world.is_closed.get() {
            self.ask(cx);
        }
    }

    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>) {
        let place = self.world.below(self.lookups.len().max(1));
        if place < self.lookups.len() {
            let (number, lookup) = self.lookups.swap_remove(place);
            let resolver = self.world.resolver.get().expect("it was made");
            if resolver.cancel(cx, lookup) {
                self.world.told(number, Outcome::Cancelled);
            } else {
                self.world.asked.borrow_mut()[number].is_refused = true;
            }
        }
    }
}

impl Dispatcher for Owner {}

impl Drop for Owner {
    fn drop(&mut self) {
        let (world, number) = (&self.world, self.number);
        world
            .owners
            .borrow_mut()
            .retain(|(other, _)| *other != number);
        let turn = world.net.with(|kernel| kernel.turns);
        world.ended.borrow_mut().insert(number, turn);
    }
}
