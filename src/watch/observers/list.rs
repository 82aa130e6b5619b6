//! The observers themselves, and how things are reported to them.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::watch::observer::Observer;
use crate::watch::panics;
use crate::watch::reports::Reports;
use crate::world::ids::short_type_name;
use crate::world::topics;

struct Entry {
    observer: Box<dyn Observer>,
    type_name: &'static str,
    /// The frequent reports that it gets.
    wants: Reports,
    /// The ends of callbacks and turns may be reported to it late.
    accepts_delay: bool,
    /// Nothing is reported to it yet.
    is_new: bool,
}

impl Entry {
    fn ask(&mut self) {
        self.wants = self.observer.wants();
        self.accepts_delay = self.observer.accepts_delay();
    }
}

#[derive(Default)]
pub(super) struct List(Vec<Entry>);

impl List {
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn have_newcomers(&self) -> bool {
        self.0.iter().any(|entry| entry.is_new)
    }

    /// Whether there is an observer that has begun.
    pub(super) fn is_watching(&self) -> bool {
        self.0.iter().any(|entry| !entry.is_new)
    }

    /// The frequent reports that at least one observer gets.
    pub(super) fn wanted(&self) -> Reports {
        let begun = self.0.iter().filter(|entry| !entry.is_new);
        begun.fold(Reports::NONE, |all, entry| all | entry.wants)
    }

    /// Whether all who have begun, as they said last, accept delay.
    pub(super) fn accept_delay(&self) -> bool {
        let mut begun = self.0.iter().filter(|entry| !entry.is_new);
        begun.all(|entry| entry.accepts_delay)
    }

    pub(super) fn let_newcomers_in(&mut self) {
        for entry in &mut self.0 {
            entry.is_new = false;
        }
    }

    pub(super) fn add(&mut self, observer: Box<dyn Observer>, type_name: &'static str) {
        self.0.push(Entry {
            wants: observer.wants(),
            accepts_delay: false,
            observer,
            type_name,
            is_new: true,
        });
    }

    pub(super) fn find<O: Observer>(&self) -> Option<&O> {
        let observers = self.0.iter().map(|entry| &*entry.observer as &dyn Any);
        observers.filter_map(<dyn Any>::downcast_ref).next()
    }

    pub(super) fn find_mut<O: Observer>(&mut self) -> Option<&mut O> {
        let entries = self.0.iter_mut();
        let observers = entries.map(|entry| &mut *entry.observer as &mut dyn Any);
        observers.filter_map(<dyn Any>::downcast_mut).next()
    }

    pub(super) fn remove<O: Observer>(&mut self) -> Option<O> {
        let is_one = |entry: &Entry| (&*entry.observer as &dyn Any).is::<O>();
        let entry = self.0.remove(self.0.iter().position(is_one)?);
        let observer: Box<dyn Any> = entry.observer;
        observer.downcast().ok().map(|observer| *observer)
    }

    /// Reports to the new observers, or to the others, as far as they want this. False if one panicked, and was removed.
    #[inline]
    pub(super) fn tell_all(
        &mut self,
        newcomers: bool,
        report: Reports,
        mut what: impl FnMut(&mut dyn Observer),
    ) -> bool {
        let mut all_are_left = true;
        let mut place = 0;
        while let Some(entry) = self.0.get_mut(place) {
            place += 1;
            if entry.is_new != newcomers || !entry.wants.contain(report) {
                continue;
            }
            let observer = &mut *entry.observer;
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| what(observer))) {
                place -= 1;
                self.give_up(place, payload);
                all_are_left = false;
            }
        }
        all_are_left
    }

    /// What those who have begun want from here on. False if one panicked, and was removed.
    pub(super) fn ask(&mut self) -> bool {
        let mut all_are_left = true;
        let mut place = 0;
        while let Some(entry) = self.0.get_mut(place) {
            place += 1;
            if entry.is_new {
                continue;
            }
            let asked = catch_unwind(AssertUnwindSafe(|| entry.ask()));
            if let Err(payload) = asked {
                place -= 1;
                self.give_up(place, payload);
                all_are_left = false;
            }
        }
        all_are_left
    }

    /// An observer has panicked.
    #[cold]
    #[inline(never)]
    fn give_up(&mut self, place: usize, payload: Box<dyn Any + Send>) {
        let entry = self.0.remove(place);
        let text = panics::text(&*payload);
        let name = short_type_name(entry.type_name);
        log::error!(target: topics::CALLBACK, "observer {name} panicked and was removed: {text}");
        panics::drop_contained(entry.observer);
        panics::drop_contained(payload);
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|entry| short_type_name(entry.type_name));
        f.debug_list().entries(names).finish()
    }
}
