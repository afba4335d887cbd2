//! The message list, virtualised: only what is near the view is in the page, placed within a box that has the height
//! of everything. Rows are measured once drawn; what stands at the top of the view stays there while heights above
//! it are corrected or older messages arrive.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use felund_wasm::{
    Listener,
    core::view::{Delivery, Key, LinkView, Membership, MessageView},
};
use leptos::{html, prelude::*};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{HtmlElement, ResizeObserver};

use crate::{
    app::{App, BEFORE_ALL, Panel, Place},
    colour, commands, describe,
    links::{Piece, pieces, printable},
    pages::on_cleanup_keep,
    platform,
    rows::{Rows, lines},
    when::{self, Day},
};

/// This near to the end counts as being there, in CSS pixels.
const NEAR_END: f64 = 40.0;
/// Older messages are fetched when the view is this near to the oldest loaded, in CSS pixels.
const NEAR_START: f64 = 800.0;
/// Before anything is measured, in CSS pixels.
const LINE: f64 = 22.0;
const COLUMN: f64 = 8.5;
/// What an arrow key scrolls, in CSS pixels.
const ARROW: i32 = 44;

/// A message as drawn.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    message: MessageView,
    /// The day it begins.
    day: Option<String>,
    /// Whether the "new messages" line is above it.
    first_new: bool,
}

/// Rows are drawn again when any of this changes. Members may write messages of the same id.
type RowKey = (Key, String, Option<String>, bool, Delivery2);
/// [`Delivery`] as something that can be hashed.
type Delivery2 = (u8, u32, u32);

impl Row {
    fn key(&self) -> RowKey {
        let delivery = match self.message.delivery {
            Delivery::Received => (0, 0, 0),
            Delivery::Pending => (1, 0, 0),
            Delivery::Stored => (2, 0, 0),
            Delivery::Delivered { to, of } => (3, to, of),
        };
        (self.message.key(), self.message.label.clone(), self.day.clone(), self.first_new, delivery)
    }
}

/// What is known of the list's geometry.
#[derive(Default)]
struct List {
    place: Option<Place>,
    rows: Rows,
    measured: HashMap<Key, f64>,
    /// The row at the top of the view and how far it has been scrolled past.
    anchor: Option<(Key, f64)>,
    /// Whether to stay at the end as messages arrive.
    at_end: bool,
    width: f64,
    first: usize,
}

/// Where the list lives in the page.
#[derive(Clone, Copy)]
struct View {
    app: App,
    list: StoredValue<Rc<RefCell<List>>, LocalStorage>,
    scroller: NodeRef<html::Div>,
    space: NodeRef<html::Div>,
    block: NodeRef<html::Ol>,
    drawn: RwSignal<Vec<Row>>,
    at_end: RwSignal<bool>,
}

impl View {
    fn state(self) -> Option<Rc<RefCell<List>>> {
        self.list.try_get_value()
    }

    /// Something about the messages or the view has changed: place everything anew and draw what is near.
    fn lay_out(self) {
        let (Some(scroller), Some(space), Some(block), Some(state)) = (
            self.scroller.get_untracked(),
            self.space.get_untracked(),
            self.block.get_untracked(),
            self.state(),
        ) else {
            return;
        };
        let mut list = state.borrow_mut();
        let here = self.app.here.get_untracked();
        let mut jump = false;
        if list.place != here {
            *list = List { place: here, at_end: true, ..List::default() };
            jump = true;
        }
        let (width, height) = (f64::from(scroller.client_width()), f64::from(scroller.client_height()));
        if (list.width - width).abs() > 0.5 {
            list.measured.clear();
            list.width = width;
        }
        let mark = self.app.mark.get_untracked();
        let (drawn, top) = self.app.with_messages(|messages, _, _| {
            let columns = ((width - if width < 600.0 { 24.0 } else { 260.0 }) / COLUMN).max(16.0) as usize;
            let estimate = |message: &MessageView| {
                let name = if width < 600.0 { LINE } else { 0.0 };
                lines(&message.text, columns) as f64 * LINE + name + 4.0
            };
            let known = |m: &MessageView| list.measured.get(&m.key()).copied().unwrap_or_else(|| estimate(m));
            let heights = messages.iter().map(known).collect();
            list.rows.set(heights);
            let total = list.rows.total();
            let top = if list.at_end {
                (total - height).max(0.0)
            } else if let Some((key, past)) = list.anchor {
                let row = messages.partition_point(|message| message.key() < key);
                list.rows.offset(row) + past
            } else {
                f64::from(scroller.scroll_top())
            };
            let style = |element: &HtmlElement, name, value: String| {
                // Fails only for unknown properties.
                let _ = element.style().set_property(name, &value);
            };
            style(&space, "height", [&*(total.ceil() as i64).to_string(), "px"].concat());
            if jump || list.at_end || (f64::from(scroller.scroll_top()) - top).abs() > 1.0 {
                scroller.set_scroll_top(top.round() as i32);
            }
            let (first, last) = list.rows.window(top, height);
            list.first = first;
            let offset = (list.rows.offset(first).round() as i64).to_string();
            style(&block, "transform", ["translateY(", &offset, "px)"].concat());
            let shown = rows(
                &messages[first..last.min(messages.len())],
                first.checked_sub(1).map(|at| &messages[at]),
                first_new(messages, mark),
            );
            (shown, top)
        });
        self.at_end.set(list.at_end);
        drop(list);
        self.drawn.set(drawn);
        let view = self;
        request_animation_frame(move || view.measure());
        if self.app.here.get_untracked().is_some() && list_end_seen(&state) && !platform::hidden() {
            self.app.seen();
        }
        // What all fits does not scroll.
        self.load_older(top);
    }

    /// Loads the page before the first message when the view is near to that.
    fn load_older(self, top: f64) {
        let more = self.app.with_messages(|_, loaded, start_reached| loaded && !start_reached);
        if top < NEAR_START
            && more
            && let Some(place) = self.app.here.get_untracked()
        {
            self.app.load(place);
        }
    }

    /// Takes the real heights of what has been drawn.
    fn measure(self) {
        let (Some(Some(block)), Some(state)) = (self.block.try_get_untracked(), self.state()) else { return };
        let Some(drawn) = self.drawn.try_get_untracked() else { return };
        let children = block.children();
        let mut found = Vec::new();
        let first = state.borrow().first;
        for (at, row) in drawn.iter().enumerate() {
            let child = u32::try_from(at).ok().and_then(|at| children.item(at));
            let Some(child) = child else { return };
            if child.get_attribute("data-msg-id").as_deref() != Some(&*row.message.msg_id.to_string()) {
                return;
            }
            found.push((first + at, row.message.key(), child.get_bounding_client_rect().height()));
        }
        let changed = {
            let mut list = state.borrow_mut();
            for (_, key, height) in &found {
                list.measured.insert(*key, *height);
            }
            list.rows.correct(found.iter().map(|(row, _, height)| (*row, *height)))
        };
        if changed {
            self.lay_out();
        }
    }

    fn scrolled(self) {
        let (Some(scroller), Some(state)) = (self.scroller.get_untracked(), self.state()) else { return };
        let (top, height) = (f64::from(scroller.scroll_top()), f64::from(scroller.client_height()));
        let redraw = {
            let mut list = state.borrow_mut();
            let was_at_end = list.at_end;
            list.at_end = top + height >= list.rows.total() - NEAR_END;
            let row = list.rows.at(top);
            let past = top - list.rows.offset(row);
            list.anchor = self.app.with_messages(|messages, _, _| Some((messages.get(row)?.key(), past)));
            let (first, last) = list.rows.window(top, height);
            let drawn = self.drawn.with_untracked(Vec::len);
            let covered = first >= list.first && last <= list.first + drawn;
            let slack = first.abs_diff(list.first) > 8 || !covered;
            slack || was_at_end != list.at_end
        };
        if redraw {
            self.lay_out();
        }
        self.load_older(top);
    }

    fn to_end(self) {
        if let Some(state) = self.state() {
            state.borrow_mut().at_end = true;
            self.lay_out();
        }
    }

    /// As [`View::to_end`], by the button for it: that goes, and what has the focus must be something that stays.
    fn pressed_to_end(self) {
        self.to_end();
        if let Some(scroller) = self.scroller.get_untracked() {
            // Fails for elements that cannot be focused; this one can.
            let _ = scroller.focus();
        }
    }
}

/// Scrolls for a key that was pressed in the input; whether it is one that does.
pub(super) fn scroll_by_key(key: &str, control: bool) -> bool {
    let Some(list) = platform::element("messages") else { return false };
    let page = list.client_height() - LINE as i32;
    let top = match (key, control) {
        ("PageUp", _) => list.scroll_top() - page,
        ("PageDown", _) => list.scroll_top() + page,
        ("ArrowUp", _) => list.scroll_top() - ARROW,
        ("ArrowDown", _) => list.scroll_top() + ARROW,
        ("Home", true) => 0,
        ("End", true) => list.scroll_height(),
        _ => return false,
    };
    list.set_scroll_top(top);
    true
}

fn list_end_seen(state: &Rc<RefCell<List>>) -> bool {
    state.borrow().at_end
}

/// What the "new messages" line is above. One's own messages are no news, wherever they stand.
fn first_new(messages: &[MessageView], mark: Option<Key>) -> Option<Key> {
    let after = messages.partition_point(|message| Some(message.key()) <= mark);
    let others = |message: &&MessageView| mark.is_some() && !message.mine;
    messages[after..].iter().find(others).map(MessageView::key)
}

fn rows(messages: &[MessageView], before: Option<&MessageView>, first_new: Option<Key>) -> Vec<Row> {
    let mut day = before.map(|message| Day::of(message.created_ts));
    let row = |message: &MessageView| {
        let same = day.is_some_and(|day| day.holds(message.created_ts));
        if !same {
            day = Some(Day::of(message.created_ts));
        }
        let first_new = first_new == Some(message.key());
        Row { message: message.clone(), day: day.filter(|_| !same).map(Day::label), first_new }
    };
    messages.iter().map(row).collect()
}

/// The list, and what stands in its place when there is nothing to list.
#[component]
pub(super) fn Messages() -> impl IntoView {
    let app = App::here();
    let view = View {
        app,
        list: StoredValue::new_local(Rc::new(RefCell::new(List { at_end: true, ..List::default() }))),
        scroller: NodeRef::new(),
        space: NodeRef::new(),
        block: NodeRef::new(),
        drawn: RwSignal::new(Vec::new()),
        at_end: RwSignal::new(true),
    };
    Effect::new(move || {
        app.timeline.track();
        app.mark.track();
        let mounted = view.scroller.get().is_some() && view.block.get().is_some();
        if mounted {
            view.lay_out();
        }
    });
    // Who sends wants to see it sent.
    Effect::new(move |sent_before: Option<()>| {
        app.sent.track();
        if sent_before.is_some() {
            view.to_end();
        }
    });
    Effect::new(move || {
        let Some(scroller) = view.scroller.get() else { return };
        let resized = Closure::<dyn FnMut()>::new(move || view.lay_out());
        let Ok(observer) = ResizeObserver::new(resized.as_ref().unchecked_ref()) else { return };
        observer.observe(&scroller);
        on_cleanup_keep(Observed { observer, _resized: resized });
    });
    let shown = platform::document().map(|document| {
        Listener::new(&document, "visibilitychange", move |_| {
            if !platform::hidden() {
                view.lay_out();
            } else if view.state().is_some_and(|state| list_end_seen(&state)) {
                // What comes while nobody looks is new when they are back.
                app.with_messages(|messages, loaded, _| {
                    if loaded {
                        app.mark.set(Some(messages.last().map_or(BEFORE_ALL, MessageView::key)));
                    }
                });
            }
        })
    });
    on_cleanup_keep(shown);
    view! {
        <div class="messages" id="messages" node_ref=view.scroller tabindex="0" role="region" aria-label="Messages"
            on:scroll=move |_| view.scrolled()>
            {move || empty(app)}
            <div class="space" node_ref=view.space>
                <ol node_ref=view.block>
                    <For each=move || view.drawn.get() key=Row::key let:row>{message(row)}</For>
                </ol>
            </div>
        </div>
        {move || (!view.at_end.get()).then(|| view! {
            <button class="end" data-testid="to-end" on:click=move |_| view.pressed_to_end()>
                {move || match app.channel().map_or(0, |channel| channel.unread) {
                    0 => "↓ newest".to_owned(),
                    unread => ["↓ ", &unread.to_string(), " new"].concat(),
                }}
            </button>
        })}
    }
}

struct Observed {
    observer: ResizeObserver,
    _resized: Closure<dyn FnMut()>,
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.observer.disconnect();
    }
}

fn message(row: Row) -> impl IntoView {
    let Row { message, day, first_new } = row;
    let name = if message.mine { "you".to_owned() } else { printable(&message.label) };
    let text = printable(&message.text);
    let mark = describe::delivery(message.delivery);
    view! {
        <li data-testid="message" data-msg-id=message.msg_id.to_string()>
            {day.map(|day| view! { <div class="day"><span>{day}</span></div> })}
            {first_new.then(|| view! { <div class="day new"><span>"new messages"</span></div> })}
            <div class="message" class:mine=message.mine>
                <time>{when::clock(message.created_ts)}</time>
                <span class=["name ", colour::class(message.author)].concat()>{name}</span>
                <span class="text" dir="auto" data-testid="message-text">
                    {pieces(&text).into_iter().map(piece).collect_view()}
                </span>
                {mark.map(|(mark, words)| {
                    let title = words.clone();
                    view! {
                        <span class="mark" title=title>
                            <span aria-hidden="true">{mark}</span><span class="unseen">{words}</span>
                        </span>
                    }
                })}
            </div>
        </li>
    }
}

fn piece(piece: Piece) -> AnyView {
    match piece {
        Piece::Text(text) => text.into_any(),
        Piece::Link(link) => {
            let text = link.clone();
            view! { <a href=link target="_blank" rel="noopener noreferrer">{text}</a> }.into_any()
        }
    }
}

/// What to do when there is nothing to read.
fn empty(app: App) -> Option<impl IntoView> {
    app.timeline.track();
    let circle = app.circle()?;
    let channel = app.channel()?;
    if channel.membership != Membership::Joined {
        let place = Place { circle: circle.id, channel: channel.id };
        let join = move |_| commands::open_channel(app, place);
        return Some(
            view! {
                <p class="empty">
                    "You are not in this channel. " <button class="main" data-testid="join-channel" on:click=join>"Join"</button>
                </p>
            }
            .into_any(),
        );
    }
    let (count, whole) = app.with_messages(|messages, loaded, start| (messages.len(), loaded && start));
    if count > 0 {
        return None;
    }
    if !whole {
        return Some(view! { <p class="empty">"Reading messages…"</p> }.into_any());
    }
    let id = circle.id;
    let alone = circle.members.len() < 2;
    // Whom a relay has not told of the others yet is alone only as far as this device knows.
    if alone && matches!(circle.link, LinkView::Down { .. }) {
        return Some(
            view! {
                <p class="empty">
                    "The relay is not available at the moment. Members and earlier messages come once it is; what you write \
                     waits on this device until then."
                </p>
            }
            .into_any(),
        );
    }
    Some(
        view! {
            <div class="empty">
                <p>"No messages here yet. Say hello below."</p>
                {alone.then(|| view! {
                    <p>"You are the only one here so far: send an invite to someone you trust."</p>
                    <button class="main" on:click=move |_| app.panel_open(Panel::Invite(id))>"Invite"</button>
                })}
            </div>
        }
        .into_any(),
    )
}

#[cfg(test)]
mod tests {
    use felund_wasm::core::ids::{ChannelId, CircleId, MsgId, NodeId};
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn message(created_ts: u64) -> MessageView {
        MessageView {
            circle_id: CircleId([1; 16]),
            channel_id: ChannelId([2; 16]),
            channel: "general".into(),
            msg_id: MsgId([3; 16]),
            author: NodeId([4; 32]),
            name: "alice".into(),
            label: "alice".into(),
            created_ts,
            text: "hello".into(),
            mine: false,
            delivery: Delivery::Received,
        }
    }

    #[test]
    fn messages_of_one_id_and_two_times_are_two_rows() {
        let before = message(1_771_929_000_000);
        let rows = rows(&[1, 2].map(|n| message(before.created_ts + n)), Some(&before), None);
        assert!(rows.len() == 2 && rows[0].key() != rows[1].key());
    }

    #[test]
    fn the_line_of_what_is_new_is_above_the_first_message_of_others() {
        let own = |n| MessageView { mine: true, ..message(n) };
        let messages = [own(1), message(2), own(3), message(4)];
        let keys = messages.each_ref().map(MessageView::key);
        assert_eq!(first_new(&messages, None), None);
        assert_eq!(first_new(&messages, Some(BEFORE_ALL)), Some(keys[1]));
        assert_eq!(first_new(&messages, Some(keys[1])), Some(keys[3]));
        assert_eq!(first_new(&messages, Some(keys[3])), None);
        let shown = rows(&messages[3..], Some(&messages[2]), Some(keys[1]));
        assert!(!shown[0].first_new, "it is shown once");
    }
}
