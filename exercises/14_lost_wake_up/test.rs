//! Exercise 14: whoever waits for an item is woken when there is one, and nobody else has to be.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use code::Queue;

/// A waker that counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A task that takes one item, and that a test polls by hand.
struct Task<'a> {
    future: Option<Pin<Box<dyn Future<Output = u32> + 'a>>>,
    count: Arc<Count>,
    got: Option<u32>,
}

impl<'a> Task<'a> {
    fn popping(queue: &'a Queue<u32>) -> Task<'a> {
        Task {
            future: Some(Box::pin(queue.pop())),
            count: Arc::default(),
            got: None,
        }
    }

    fn poll(&mut self) {
        let waker = Waker::from(Arc::clone(&self.count));
        let future = self.future.as_mut().expect("it has not ended");
        if let Poll::Ready(item) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.got = Some(item);
            self.future = None;
        }
    }

    /// Polls it if it was woken since the last time, as an executor does.
    fn run(&mut self) {
        if self.count.0.swap(0, Ordering::Relaxed) > 0 && self.future.is_some() {
            self.poll();
        }
    }

    /// What a time-out does: the future is dropped, and the task goes on with something else.
    fn give_up(&mut self) {
        self.future = None;
    }
}

#[test]
fn an_item_that_is_there_is_taken_at_once() {
    let queue = Queue::default();
    queue.push(1);
    queue.push(2);
    let (mut a, mut b) = (Task::popping(&queue), Task::popping(&queue));
    a.poll();
    b.poll();
    assert_eq!((a.got, b.got), (Some(1), Some(2)));
}

#[test]
fn one_that_waits_is_woken_each_time() {
    let queue = Queue::default();
    for item in 0..5 {
        let mut task = Task::popping(&queue);
        task.poll();
        queue.push(item);
        task.run();
        assert_eq!(task.got, Some(item), "it was not woken");
    }
}

#[test]
fn two_that_wait_get_two_items() {
    let queue = Queue::default();
    let (mut a, mut b) = (Task::popping(&queue), Task::popping(&queue));
    a.poll();
    b.poll();
    queue.push(1);
    queue.push(2);
    a.run();
    b.run();
    let mut got = [a.got, b.got];
    got.sort_unstable();
    let lost = "a task waits, there is an item, and it was not woken";
    assert_eq!(got, [Some(1), Some(2)], "{lost}");
}

#[test]
fn one_that_gives_up_takes_no_wake_up_with_it() {
    let queue = Queue::default();
    let (mut a, mut b) = (Task::popping(&queue), Task::popping(&queue));
    a.poll();
    b.poll();
    a.give_up();
    queue.push(1);
    a.run();
    b.run();
    assert_eq!(b.got, Some(1), "the wake-up went to one that had given up");
}

#[test]
fn one_that_gives_up_after_it_was_woken_takes_none_either() {
    let queue = Queue::default();
    let (mut a, mut b) = (Task::popping(&queue), Task::popping(&queue));
    a.poll();
    b.poll();
    queue.push(1);
    a.give_up();
    a.run();
    b.run();
    assert_eq!(b.got, Some(1), "the wake-up was for one that gave up");
}

#[test]
fn the_waker_of_the_last_poll_counts() {
    let queue = Queue::default();
    let mut task = Task::popping(&queue);
    task.poll();
    // The future moves to another task.
    task.count = Arc::default();
    task.poll();
    queue.push(1);
    task.run();
    assert_eq!(
        task.got,
        Some(1),
        "the task was woken that it was in before"
    );
}

#[test]
fn one_that_is_polled_often_is_not_remembered_often() {
    let queue = Queue::<u32>::default();
    let mut task = Task::popping(&queue);
    for _ in 0..1000 {
        task.poll();
    }
    let kept = Arc::strong_count(&task.count);
    assert!(kept < 10, "{kept} wakers of one task are kept");
}
