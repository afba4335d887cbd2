//! Which tab owns the node: the one that holds a Web Lock. The browser gives it to the next in line when that tab
//! closes or crashes.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use js_sys::{Function, Promise, global};
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::{
    ahead::{LOCKS, Rows},
    browser::{self, get, object},
};

#[wasm_bindgen]
extern "C" {
    type Locks;
    #[wasm_bindgen(method, catch)]
    fn request(this: &Locks, name: &str, options: &JsValue, granted: &Function) -> Result<Promise, JsValue>;
}

/// Gives the lock back when called, and from then on at once; dropped before that it changes nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Release(Rc<(Cell<bool>, RefCell<Option<Function>>)>);

impl Release {
    pub(crate) fn call(&self) {
        self.0.0.set(true);
        self.give_back();
    }

    /// The lock is held until this is called.
    fn hold(&self, resolve: Function) {
        *self.0.1.borrow_mut() = Some(resolve);
        // What a tab has queued for is granted also after it has been closed.
        if self.0.0.get() {
            self.give_back();
        }
    }

    fn give_back(&self) {
        if let Some(resolve) = self.0.1.borrow_mut().take() {
            // A promise's own function does not throw.
            let _ = resolve.call0(&JsValue::UNDEFINED);
        }
    }
}

/// Waits for the lock (or takes it from a tab that no longer answers), calls `elected` once it is held, and returns
/// when it is lost. Without Web Locks every tab elects itself. What the page has read under the lock goes to
/// `elected`.
pub(crate) async fn hold(
    name: &str,
    steal: bool,
    release: Release,
    elected: impl FnOnce(Option<Rows>) + 'static,
) {
    let Some(locks) = locks() else {
        elected(None);
        return std::future::pending().await;
    };
    let options = if steal { object(&[("steal", true.into())]) } else { object(&[]) };
    let elected = Rc::new(RefCell::new(Some(elected)));
    let granted = Closure::once({
        let elected = elected.clone();
        move |lock: JsValue| -> Promise {
            if let Some(elected) = elected.borrow_mut().take() {
                elected(Rows::of(&lock));
            }
            Promise::new(&mut |resolve, _| release.hold(resolve))
        }
    });
    match locks.request(name, &options, granted.as_ref().unchecked_ref()) {
        // Rejected when another tab took the lock, or when the page may not use locks at all.
        Ok(held) => drop(JsFuture::from(held).await),
        Err(_) => {
            let elected = elected.borrow_mut().take();
            if let Some(elected) = elected {
                elected(None);
            }
            std::future::pending::<()>().await;
        }
    }
    let refused = elected.borrow_mut().take();
    if let Some(elected) = refused {
        elected(None);
        std::future::pending::<()>().await;
    }
}

fn locks() -> Option<Locks> {
    let own = get(&global(), LOCKS);
    let locks = own.or_else(|| get(&browser::window()?.navigator(), "locks"))?;
    Some(locks.unchecked_into())
}
