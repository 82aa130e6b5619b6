use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::task::{Poll, Waker};

/// A queue between tasks of one thread. Who takes from it while it is empty waits.
#[derive(Default)]
pub struct Queue<T>(RefCell<Inner<T>>);

struct Inner<T> {
    items: VecDeque<T>,
    /// All that have found it empty since the last item came; some may be of futures that were dropped.
    waiting: Vec<Waker>,
}

impl<T> Default for Inner<T> {
    fn default() -> Inner<T> {
        Inner {
            items: VecDeque::new(),
            waiting: Vec::new(),
        }
    }
}

impl<T> Queue<T> {
    /// Puts an item in. All that wait are woken: one of them gets it, and the others wait again. To wake one only
    /// would be cheaper, and wrong if that one has given up.
    pub fn push(&self, item: T) {
        let mut inner = self.0.borrow_mut();
        inner.items.push_back(item);
        let waiting = mem::take(&mut inner.waiting);
        drop(inner);
        for waker in waiting {
            waker.wake();
        }
    }

    /// Takes an item out, once there is one.
    pub async fn pop(&self) -> T {
        poll_fn(|task| {
            let mut inner = self.0.borrow_mut();
            if let Some(item) = inner.items.pop_front() {
                return Poll::Ready(item);
            }
            // Not twice for one task, which may be polled often before an item comes.
            let mut waiting = inner.waiting.iter();
            if !waiting.any(|waker| waker.will_wake(task.waker())) {
                inner.waiting.push(task.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
