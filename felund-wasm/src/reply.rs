//! The answer to one request, awaited by whoever asked.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use felund_core::view::Reply;

/// What a command ends with: an answer, or a text for people.
pub(crate) type Answer = Result<Reply, String>;

#[derive(Debug, Default)]
struct State {
    answer: Option<Answer>,
    waker: Option<Waker>,
}

/// Where the answer goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot(Rc<RefCell<State>>);

impl Slot {
    pub(crate) fn fill(&self, answer: Answer) {
        let waker = {
            let mut state = self.0.borrow_mut();
            state.answer = Some(answer);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Slot {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.0.borrow_mut();
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
