//! What all connections share: limits, rates, cache, date, log, and access to the files.
//!
//! A cached file is answered at once. Another one is opened by a thread, because a disk may be slow, and a network
//! file system may be unreachable; further requests for it meanwhile wait for the same opening. Cached data are valid
//! for a second (`--cache-time`). For one more second they are still sent, and the file is checked again in the
//! background; so a file that is requested all the time is checked once a second, and no request waits for that.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use slabloop::kit::workers::{SpawnError, Workers};
use slabloop::{Context, Dispatcher, Id};

use crate::access_log::AccessLog;
use crate::answer::Status;
use crate::cache::Cache;
use crate::config::Limits;
use crate::connection::Connection;
use crate::date::Date;
use crate::entry::Entry;
use crate::open::{self, Found};
use crate::rate_limit::RateLimit;
use crate::target;

/// What a folder's index is.
const INDEX: &str = "index.html";

/// What is served without a root, under `/`.
const PAGE: &str = "hello world\n";

const WARN_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Site {
    pub(crate) limits: Limits,
    /// Another process has taken over.
    pub(crate) leaving: Arc<AtomicBool>,
    pub(crate) rate: Option<RateLimit>,
    pub(crate) date: RefCell<Date>,
    /// For heads that are written for one answer.
    pub(crate) scratch: RefCell<Vec<u8>>,
    pub(crate) log: Option<RefCell<AccessLog>>,
    pub(crate) cache: RefCell<Cache>,
    page: Option<Rc<Entry>>,
    root: Option<Arc<OwnedFd>>,
    workers: Option<Workers>,
    /// Files that threads look at, by their paths.
    looked_at: RefCell<HashMap<Box<str>, Looking>>,
    opener: Cell<Option<Id<Opener>>>,
    /// When a file that cannot be opened was last told of.
    warned: Cell<Option<Instant>>,
}

/// A file that a thread looks at.
#[derive(Default)]
struct Looking {
    /// Who waits for it.
    who: Vec<Id<Connection>>,
    /// What it was. The cache may drive it out meanwhile.
    known: Option<Rc<Entry>>,
}

/// What was found for a request.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    File(Rc<Entry>),
    Folder,
    /// An answer without a file.
    Nothing(Status),
    /// It will come, by `Connection::found`.
    Later,
}

impl Site {
    pub(crate) fn new(
        limits: Limits,
        rate: Option<RateLimit>,
        root: Option<OwnedFd>,
        workers: Option<Workers>,
        log: Option<AccessLog>,
        leaving: Arc<AtomicBool>,
    ) -> Site {
        let now = Instant::now();
        Site {
            date: RefCell::new(Date::new(now)),
            scratch: RefCell::default(),
            log: log.map(RefCell::new),
            cache: RefCell::new(Cache::new(limits.cache_files, limits.cache_bytes)),
            page: root.is_none().then(|| Rc::new(Entry::built_in(PAGE, now))),
            root: root.map(Arc::new),
            workers,
            looked_at: RefCell::default(),
            opener: Cell::new(None),
            warned: Cell::new(None),
            limits,
            leaving,
            rate,
        }
    }

    /// By whom threads' results are taken.
    pub(crate) fn set_opener(&self, opener: Id<Opener>) {
        self.opener.set(Some(opener));
    }

    /// Whether what is known of a file may be sent as it is.
    #[inline]
    pub(crate) fn is_fresh(&self, entry: &Entry, now: Instant) -> bool {
        now.saturating_duration_since(entry.checked.get()) < self.limits.cache_time
    }

    /// The file of a path that is not in the cache, or is too old there.
    pub(crate) fn find(
        self: &Rc<Site>,
        cx: &mut Context<'_>,
        path: &str,
        who: Id<Connection>,
    ) -> Outcome {
        let Some(root) = &self.root else {
            return match &self.page {
                Some(page) if path == "/" => Outcome::File(Rc::clone(page)),
                _ => Outcome::Nothing(Status::NOT_FOUND),
            };
        };
        let known = self.cache.borrow().get(path).cloned();
        let age = known
            .as_ref()
            .map(|entry| cx.now().saturating_duration_since(entry.checked.get()));
        let is_usable = age.is_some_and(|age| age < 2 * self.limits.cache_time);
        if let (true, Some(entry)) = (is_usable, &known) {
            // It is looked at once, though many may ask for it until that is done.
            let is_looked_at = self.looked_at.borrow().contains_key(path);
            if is_looked_at || matches!(self.open(cx, root, path, None), Outcome::Later) {
                return Outcome::File(Rc::clone(entry));
            }
        }
        self.open(cx, root, path, Some(who))
    }

    fn open(
        self: &Rc<Site>,
        cx: &mut Context<'_>,
        root: &Arc<OwnedFd>,
        path: &str,
        who: Option<Id<Connection>>,
    ) -> Outcome {
        if let Some(looking) = self.looked_at.borrow_mut().get_mut(path) {
            looking.who.extend(who);
            return Outcome::Later;
        }
        let name = match target::below_root(path, INDEX) {
            Ok(name) => name,
            Err(status) => return Outcome::Nothing(status),
        };
        let known = self.cache.borrow().get(path).cloned();
        let stamp = known.as_ref().and_then(|entry| entry.stamp);
        let small = self.limits.small;
        let root = Arc::clone(root);
        let look = move || open::look(&root, &name, small, stamp);
        let (Some(workers), Some(opener)) = (&self.workers, self.opener.get()) else {
            return self.opened(path, look(), known, cx.now());
        };
        let key = Box::<str>::from(path);
        let then = move |opener: &mut Opener, cx: &mut Context<'_>, found: Result<Found, _>| {
            let found = found.unwrap_or_else(|panic| Found::Failed(io::Error::other(panic)));
            opener.opened(cx, &key, found);
            Ok(())
        };
        match workers.spawn(cx, opener, look, then) {
            Ok(_) => {
                let who = who.into_iter().collect();
                let looking = Looking { who, known };
                self.looked_at.borrow_mut().insert(path.into(), looking);
                Outcome::Later
            }
            // The server is about to end, and this is one of the last answers.
            Err(SpawnError::Closed { work, .. }) => self.opened(path, work(), known, cx.now()),
            Err(_) => Outcome::Nothing(Status::UNAVAILABLE),
        }
    }

    /// Puts what was found into the cache, or takes out what is no longer so.
    fn opened(&self, path: &str, found: Found, known: Option<Rc<Entry>>, now: Instant) -> Outcome {
        let mut cache = self.cache.borrow_mut();
        let outcome = match found {
            Found::File(opened) => {
                let entry = Rc::new(Entry::of_file(opened, now));
                cache.insert(path, Rc::clone(&entry));
                return Outcome::File(entry);
            }
            Found::Unchanged => match known {
                Some(entry) => {
                    entry.checked.set(now);
                    if cache.get(path).is_none() {
                        cache.insert(path, Rc::clone(&entry));
                    }
                    return Outcome::File(entry);
                }
                // Nothing is unchanged that was not known.
                None => Outcome::Nothing(Status::INTERNAL),
            },
            Found::Folder => Outcome::Folder,
            Found::Missing => Outcome::Nothing(Status::NOT_FOUND),
            Found::Forbidden => Outcome::Nothing(Status::FORBIDDEN),
            Found::Failed(error) => {
                self.warn(path, &error, now);
                Outcome::Nothing(Status::INTERNAL)
            }
        };
        cache.remove(path);
        outcome
    }

    /// At most once a second: clients choose how often.
    fn warn(&self, path: &str, error: &io::Error, now: Instant) {
        let is_soon = |last: Instant| now.saturating_duration_since(last) < WARN_EVERY;
        if !self.warned.get().is_some_and(is_soon) {
            self.warned.set(Some(now));
            log::warn!("cannot open {path:?}: {error}");
        }
    }
}

/// Takes the results of the threads, and passes them on.
pub(crate) struct Opener {
    pub(crate) site: Rc<Site>,
}

impl Dispatcher for Opener {
    /// All connections have closed. Their lines come before the totals.
    fn handle_close(&mut self, _: &mut Context<'_>) {
        if let Some(log) = &self.site.log {
            log.borrow_mut().finish();
        }
    }
}

impl Opener {
    fn opened(&mut self, cx: &mut Context<'_>, path: &str, found: Found) {
        let looking = self.site.looked_at.borrow_mut().remove(path);
        let Looking { who, known } = looking.unwrap_or_default();
        let outcome = self.site.opened(path, found, known, cx.now());
        for who in who {
            // A client that has disconnected needs no answer.
            let _ = cx.call(who, |connection, cx| connection.found(cx, &outcome));
        }
    }
}
