use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A queue between tasks of one thread. Who takes from it while it is empty waits.
#[derive(Default)]
pub struct Queue<T>(RefCell<Inner<T>>);

struct Inner<T> {
    items: VecDeque<T>,
    waiting: Option<Waker>,
}

impl<T> Default for Inner<T> {
    fn default() -> Inner<T> {
        Inner {
            items: VecDeque::new(),
            waiting: None,
        }
    }
}

impl<T> Queue<T> {
    /// Puts an item in.
    pub fn push(&self, item: T) {
        let mut inner = self.0.borrow_mut();
        inner.items.push_back(item);
        if let Some(waker) = inner.waiting.take() {
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
            if inner.waiting.is_none() {
                inner.waiting = Some(task.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
