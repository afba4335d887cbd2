//! A queue between callbacks of the browser and one task: callbacks only push, so that no exported method or event
//! handler ever runs the node and none can be re-entered while it runs.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Poll, Waker},
};

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
    /// Who runs only as long as the queue is open.
    watcher: Option<Waker>,
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
        Self(Rc::new(RefCell::new(State {
            items: VecDeque::new(),
            waker: None,
            watcher: None,
            closed: false,
        })))
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
        let (wakers, dropped) = {
            let mut state = self.0.borrow_mut();
            state.closed = true;
            ([state.waker.take(), state.watcher.take()], std::mem::take(&mut state.items))
        };
        drop(dropped);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// Runs a task until it ends or the queue is closed, whatever it then waits for: a browser may never settle a promise
    /// of something that was closed.
    pub(crate) async fn while_open(&self, task: impl Future<Output = ()>) {
        let mut task = pin!(task);
        poll_fn(|cx| {
            {
                let mut state = self.0.borrow_mut();
                if state.closed {
                    return Poll::Ready(());
                }
                state.watcher = Some(cx.waker().clone());
            }
            task.as_mut().poll(cx)
        })
        .await;
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
