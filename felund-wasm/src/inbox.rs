//! A queue between callbacks of the browser and one task: callbacks only push, so that no exported method or event
//! handler ever runs the node and none can be re-entered while it runs.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
    closed: bool,
}

/// Handles share one queue.
#[derive(Debug)]
pub(crate) struct Inbox<T>(Rc<RefCell<State<T>>>);

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(State { items: VecDeque::new(), waker: None, closed: false })))
    }

    /// Adds an item, unless the queue is closed.
    pub(crate) fn push(&self, item: T) {
        let waker = {
            let mut state = self.0.borrow_mut();
            if state.closed {
                return;
            }
            state.items.push_back(item);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the task that waits here; what is still queued is dropped.
    pub(crate) fn close(&self) {
        let (waker, dropped) = {
            let mut state = self.0.borrow_mut();
            state.closed = true;
            (state.waker.take(), std::mem::take(&mut state.items))
        };
        drop(dropped);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Everything queued, waiting for a first item; `None` once the queue is closed.
    pub(crate) async fn drain(&self) -> Option<VecDeque<T>> {
        poll_fn(|cx| {
            let mut state = self.0.borrow_mut();
            if state.closed {
                return Poll::Ready(None);
            }
            if state.items.is_empty() {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Some(std::mem::take(&mut state.items)))
        })
        .await
    }
}
