//! Felund's web app: the same screen as the terminal's, drawn from the same events.
//!
//! `app` holds what the pages draw and what they can do; `pages` are the parts of the screen; everything else is
//! small and pure. The app never names an HTML string: whatever others wrote reaches the page as text nodes only.

// The `component` macro makes types that are public beside functions that are not.
#![allow(unreachable_pub)]

mod app;
mod colour;
mod commands;
mod describe;
mod links;
mod pages;
mod platform;
mod rows;
mod when;

use leptos::prelude::*;

#[cfg(test)]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

fn main() {
    std::panic::set_hook(Box::new(|_| platform::show_crash()));
    let early = platform::take_early_input();
    let Some(root) = platform::root() else { return };
    root.set_text_content(None);
    mount_to(root, move || view! { <pages::Screen early=early /> }).forget();
}
