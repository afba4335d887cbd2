//! The line one types: messages and slash commands, with completion, a hint, and a draft per channel.

use felund_wasm::{
    Listener, Timer,
    core::{
        config::MAX_TEXT_LEN,
        slash::{self, Completion},
        view::Membership,
    },
};
use leptos::{html, prelude::*};
use web_sys::KeyboardEvent;

use crate::{
    app::{App, Phase, Place},
    commands,
    pages::{chat::focus_input, messages::scroll_by_key, on_cleanup_keep},
    platform,
};

/// A draft is kept this long after it has changed, in milliseconds.
const DRAFT_MS: u64 = 600;
/// Ways to go on that are shown at once.
const MAX_SHOWN: usize = 6;
/// The input grows up to this height, in CSS pixels.
const MAX_HEIGHT: i32 = 160;

/// The input and its button.
#[component]
pub(super) fn Composer(
    /// What was typed before the app was there.
    early: String,
) -> impl IntoView {
    let app = App::here();
    let line = RwSignal::new(early);
    // Of the offers, if the arrow keys have marked one.
    let chosen = RwSignal::new(None::<usize>);
    let error = RwSignal::new(String::new());
    let input = NodeRef::<html::Textarea>::new();
    let draft_timer = StoredValue::new_local(None::<Timer>);
    let place_of_line = StoredValue::new(None::<Place>);
    // Whether what is in the input was typed here, and not only kept from before.
    let typed = StoredValue::new(false);

    let offers = Memo::new(move |_| {
        let line = line.read();
        if !line.starts_with('/') {
            return Vec::new();
        }
        let mut offers = slash::complete(&line, &untrack(move || commands::names(app)));
        offers.retain(|offer| offer.line != *line);
        offers.truncate(MAX_SHOWN);
        offers
    });
    let keep_draft = move || {
        draft_timer.set_value(None);
        let Some(place) = place_of_line.get_value() else { return };
        let text = slash::draft(&line.read_untracked()).to_owned();
        // Said beside the text for as long as it is so; of one that is left behind the node says that it was not kept.
        if text.len() > MAX_TEXT_LEN && app.here.get_untracked() == Some(place) {
            let most = MAX_TEXT_LEN.to_string();
            error.set(
                ["Longer than the ", &most, " bytes of a message, and not kept as a draft: split it."]
                    .concat(),
            );
            return;
        }
        app.save_draft(place, text);
    };
    let set_line = move |text: String| {
        chosen.set(None);
        error.set(String::new());
        line.set(text);
        typed.set_value(true);
        // Who types on and on is not waited for.
        if draft_timer.with_value(Option::is_none) {
            draft_timer.set_value(Some(Timer::new(DRAFT_MS, move || {
                leptos::task::spawn_local(async move { keep_draft() });
            })));
        }
    };
    let keep_changed = move || {
        // Another tab may have sent or written something else here meanwhile.
        let replaced = || {
            let line = line.read_untracked();
            let own = slash::draft(&line);
            let kept = place_of_line.get_value().and_then(|place| app.draft(place));
            typed.get_value() && !own.is_empty() && kept.is_some_and(|kept| kept != own)
        };
        if draft_timer.with_value(Option::is_some) || replaced() {
            keep_draft();
        }
    };
    // Nothing may run after these.
    let leaving = platform::window().zip(platform::document()).map(|(window, document)| {
        let hidden = move |_| {
            if platform::hidden() {
                keep_changed();
            }
        };
        (
            Listener::new(&window, "pagehide", move |_| keep_changed()),
            Listener::new(&document, "visibilitychange", hidden),
        )
    });
    on_cleanup_keep(leaving);
    // The tab that had the node was closed, and the keys are locked: nothing is kept until they are not.
    on_cleanup(move || {
        if app.phase.get_untracked() == Phase::Locked
            && typed.get_value()
            && let Some(place) = place_of_line.get_value()
        {
            app.hold_draft(place, slash::draft(&line.read_untracked()).to_owned());
        }
    });
    // Every channel has its own draft.
    Effect::new(move || {
        let place = app.here.get();
        let before = place_of_line.get_value();
        if place == before {
            return;
        }
        keep_changed();
        place_of_line.set_value(place);
        typed.set_value(false);
        error.set(String::new());
        let draft = place.and_then(|place| app.draft(place)).unwrap_or_default();
        let early = if before.is_none() { line.get_untracked() } else { String::new() };
        line.set(both(draft, early));
    });
    // The input is as high as what is in it, once it is.
    Effect::new(move || {
        line.track();
        request_animation_frame(move || {
            let Some(Some(input)) = input.try_get_untracked() else { return };
            let style = web_sys::HtmlElement::style(&input);
            // Known properties are always accepted.
            let _ = style.set_property("height", "auto");
            let height = input.scroll_height().min(MAX_HEIGHT);
            let _ = style.set_property("height", &[&*height.to_string(), "px"].concat());
        });
    });
    let submit = move || {
        let text = line.get_untracked();
        if text.trim().is_empty() {
            return;
        }
        if text.len() > MAX_TEXT_LEN {
            error.set(format!(
                "A message holds at most {MAX_TEXT_LEN} bytes and this one has {}. Nothing was sent: split it.",
                text.len()
            ));
            return;
        }
        let sent = text.clone();
        // What could not be sent is there again to be sent anew, where the user has not gone on.
        let unsent = move |place| match line.try_get_untracked() {
            Some(line) if place_of_line.try_get_value() == Some(Some(place)) => set_line(both(sent, line)),
            _ => app.save_draft(place, both(sent, app.draft(place).unwrap_or_default())),
        };
        let told = app.last_note();
        match commands::run(app, &text, unsent) {
            Ok(()) => {
                app.forget_answers(told);
                set_line(String::new());
                keep_draft();
            }
            Err(text) => error.set(text),
        }
        focus_input();
    };
    let mark = move |at: usize| {
        chosen.set(Some(at));
        // The list may be higher than its room.
        if let Some(offer) = platform::element(&offer_id(at)) {
            offer.scroll_into_view_with_bool(false);
        }
    };
    let keydown = move |event: KeyboardEvent| {
        // Not while an input method composes a character. Safari says of the Enter that ends it only that it is the
        // input method's.
        if event.is_composing() || event.key_code() == 229 {
            return;
        }
        let offers = offers.get_untracked();
        let at = chosen.get_untracked();
        let marked = at.and_then(|at| offers.get(at));
        match (&*event.key(), marked.or(offers.first())) {
            ("Enter", Some(offer)) if marked.is_some() && !event.shift_key() => set_line(offer.line.clone()),
            ("Enter", _) if !event.shift_key() => submit(),
            ("Tab", Some(offer)) if !event.shift_key() => set_line(offer.line.clone()),
            ("ArrowDown", Some(_)) => mark(at.map_or(0, |at| (at + 1) % offers.len())),
            ("ArrowUp", Some(_)) => mark(at.unwrap_or(0).checked_sub(1).unwrap_or(offers.len() - 1)),
            // Within a text arrows move the cursor.
            ("ArrowDown" | "ArrowUp", None) if !line.read_untracked().is_empty() => return,
            (key, _) if event.shift_key() || !scroll_by_key(key, event.ctrl_key()) => return,
            _ => {}
        }
        event.prevent_default();
    };
    let outside =
        Memo::new(move |_| app.channel().is_some_and(|channel| channel.membership != Membership::Joined));
    let hint = move || {
        let error = error.get();
        if error.is_empty() { slash::hint(&line.read()) } else { Some(error) }
    };
    view! {
        <form class="composer" on:submit=move |event| {
            event.prevent_default();
            submit();
        }>
            {move || {
                let offers = offers.get();
                (!offers.is_empty()).then(|| view! {
                    <ul class="offers" id="offers" role="listbox" aria-label="Ways to go on">
                        {offers.into_iter().enumerate().map(|(at, offer)| {
                            let line = offer.line.clone();
                            view! {
                                <li role="option" id=offer_id(at)
                                    aria-selected=move || if chosen.get() == Some(at) { "true" } else { "false" }
                                    on:mousedown=move |event| {
                                        event.prevent_default();
                                        set_line(line.clone());
                                    }>
                                    {label(&offer)}<span class="quiet">" "{offer.about}</span>
                                </li>
                            }
                        }).collect_view()}
                    </ul>
                })
            }}
            <p class="hint" id="hint" role="status" class:error=move || !error.read().is_empty()>{hint}</p>
            <div class="line">
                <label for="composer"><span aria-hidden="true">">"</span><span class="unseen">"Message"</span></label>
                <textarea id="composer" rows="1" data-testid="composer" node_ref=input enterkeyhint="send"
                    autocomplete="off" aria-describedby="hint" aria-autocomplete="list"
                    aria-controls=move || (!offers.read().is_empty()).then_some("offers")
                    aria-activedescendant=move || {
                        let at = chosen.get().filter(|at| *at < offers.read().len())?;
                        Some(offer_id(at))
                    }
                    placeholder=move || if outside.get() { "join to write here" } else { "message or /command" }
                    prop:value=line
                    on:input=move |event| set_line(event_target_value(&event))
                    on:keydown=keydown></textarea>
                <button data-testid="send" aria-label="Send">"⏎"</button>
            </div>
        </form>
    }
}

/// Two texts, one below the other where there are two.
fn both(first: String, second: String) -> String {
    let between = if first.is_empty() || second.is_empty() { "" } else { "\n" };
    [first, between.into(), second].concat()
}

fn offer_id(at: usize) -> String {
    ["offer-", &at.to_string()].concat()
}

fn label(offer: &Completion) -> String {
    let slash = if offer.about.is_empty() && !offer.line.ends_with(' ') { "" } else { "/" };
    if offer.label.starts_with('/') { offer.label.clone() } else { [slash, &*offer.label].concat() }
}
