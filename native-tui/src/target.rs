//! Finding the circle or channel that a command line names.

use felund_core::{
    ids::ChannelId,
    view::{ChannelView, CircleView, circle_labels},
};

/// A circle by name, by what screens call it, or by the beginning of its id.
pub(crate) fn circle<'a>(circles: &'a [CircleView], wanted: &str) -> Result<&'a CircleView, String> {
    let found = circles_called(circles, wanted);
    match found[..] {
        [circle] => Ok(circle),
        [] if circles.is_empty() => {
            Err("there is no circle yet; use `felund create` or `felund join`".to_owned())
        }
        [] => Err(format!("no circle is called “{wanted}”; there {}", list(circles))),
        _ => Err(format!(
            "“{wanted}” could be several circles; use more of the id: {}",
            found.iter().map(|c| format!("{} ({})", c.name, c.id)).collect::<Vec<_>>().join(", ")
        )),
    }
}

fn circles_called<'a>(circles: &'a [CircleView], wanted: &str) -> Vec<&'a CircleView> {
    let labels = circle_labels(circles);
    match circles.iter().zip(&labels).find(|(_, label)| *label == wanted) {
        Some((circle, _)) => vec![circle],
        None => matching(circles, wanted, |c| &c.name, |c| c.id.to_string()),
    }
}

/// The circle named, or the only one there is.
pub(crate) fn circle_or_only<'a>(
    circles: &'a [CircleView],
    wanted: Option<&str>,
) -> Result<&'a CircleView, String> {
    match (wanted, circles) {
        (Some(wanted), _) => circle(circles, wanted),
        (None, [only]) => Ok(only),
        (None, []) => circle(circles, ""),
        (None, _) => Err(format!("which circle? There {}", list(circles))),
    }
}

/// `CIRCLE` or `CIRCLE/CHANNEL`; without a channel it is the first one, general. Both names may hold slashes.
pub(crate) fn channel<'a>(
    circles: &'a [CircleView],
    wanted: &str,
) -> Result<(&'a CircleView, Option<&'a ChannelView>), String> {
    let is_called = |name: &str| !circles_called(circles, name).is_empty();
    if is_called(wanted) {
        return circle(circles, wanted).map(|circle| (circle, None));
    }
    let splits: Vec<_> =
        wanted.match_indices('/').map(|(at, _)| (&wanted[..at], &wanted[at + 1..])).collect();
    if let Some((name, channel)) = splits.iter().rev().find(|(name, _)| is_called(name)) {
        let circle = circle(circles, name)?;
        return find_channel(circle, channel).map(|channel| (circle, Some(channel)));
    }
    let name = splits.first().map_or(wanted, |(name, _)| name);
    circle(circles, name).map(|circle| (circle, None))
}

fn find_channel<'a>(circle: &'a CircleView, wanted: &str) -> Result<&'a ChannelView, String> {
    let wanted = wanted.strip_prefix('#').unwrap_or(wanted);
    let found = matching(&circle.channels, wanted, |c| &c.name, |c| c.id.to_string());
    let names = |channels: &[&ChannelView]| {
        channels.iter().map(|c| format!("{} ({})", c.name, c.id.short())).collect::<Vec<_>>().join(", ")
    };
    match found[..] {
        [channel] => Ok(channel),
        [] => Err(format!(
            "{} has no channel “{wanted}”; it has {}",
            circle.name,
            names(&circle.channels.iter().collect::<Vec<_>>())
        )),
        _ => Err(format!("“{wanted}” could be several channels: {}", names(&found))),
    }
}

/// The channel a command means when it names none.
pub(crate) fn general(circle: &CircleView) -> Result<ChannelId, String> {
    circle
        .channels
        .first()
        .map(|channel| channel.id)
        .ok_or_else(|| format!("{} has no channel yet; wait until it has caught up", circle.name))
}

/// By exact name, else by name in any case, else by the beginning of the id.
fn matching<'a, T>(
    all: &'a [T],
    wanted: &str,
    name: impl Fn(&T) -> &str,
    id: impl Fn(&T) -> String,
) -> Vec<&'a T> {
    let lower = wanted.to_lowercase();
    let steps: [&dyn Fn(&T) -> bool; 3] =
        [&|item| name(item) == wanted, &|item| name(item).to_lowercase() == lower, &|item| {
            !wanted.is_empty() && id(item).starts_with(&lower)
        }];
    steps
        .iter()
        .map(|step| all.iter().filter(|item| step(item)).collect::<Vec<_>>())
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

fn list(circles: &[CircleView]) -> String {
    let names: Vec<_> = circles.iter().map(|c| format!("{} ({})", c.name, c.id.short())).collect();
    format!("{} {}", if names.len() == 1 { "is" } else { "are" }, names.join(", "))
}

#[cfg(test)]
pub(crate) mod tests {
    use felund_core::{
        ids::CircleId,
        view::{Access, LinkView, Membership, Retention},
    };

    use super::*;

    pub(crate) fn circle_view(name: &str, id: u8) -> CircleView {
        let channel = |name: &str, id: u8| ChannelView {
            id: ChannelId([id; 16]),
            name: name.into(),
            access: Access::Public,
            membership: Membership::Joined,
            owned: false,
            unread: 0,
            read_up_to: None,
            requests: vec![],
            members: vec![],
            draft: String::new(),
        };
        CircleView {
            id: CircleId([id; 16]),
            name: name.into(),
            relay: None,
            link: LinkView::None,
            channels: vec![channel("general", 1), channel("seeds", 2)],
            members: vec![],
            anchor: None,
            unsent: 0,
            retention: Retention { messages: 1, days: 1 },
            held: None,
            arriving: None,
        }
    }

    #[test]
    fn names_come_before_ids_and_case_matters_last() {
        let circles = [circle_view("ab", 0x11), circle_view("AB", 0xab), circle_view("family", 0x12)];
        assert_eq!(circle(&circles, "ab").expect("exact").id, circles[0].id);
        assert_eq!(circle(&circles, "FAMILY").expect("any case").id, circles[2].id);
        assert_eq!(circle(&circles, "abab").expect("id").id, circles[1].id);
        let error = circle(&circles, "1").expect_err("ambiguous");
        assert!(error.contains("ab (") && error.contains("family ("), "{error}");
        let error = circle(&circles, "nobody").expect_err("unknown");
        assert!(error.contains("family"), "{error}");
    }

    #[test]
    fn a_channel_follows_the_last_slash_that_makes_sense() {
        let circles = [circle_view("garden club", 1), circle_view("a/b", 2)];
        let (found, channel_found) = channel(&circles, "garden club/#seeds").expect("found");
        assert_eq!((found.id, channel_found.map(|c| c.id)), (circles[0].id, Some(ChannelId([2; 16]))));
        assert_eq!(channel(&circles, "a/b").expect("found").0.id, circles[1].id);
        assert_eq!(channel(&circles, "a/b/seeds").expect("found").1.map(|c| c.name.as_str()), Some("seeds"));
        let error = channel(&circles, "garden club/nope").expect_err("unknown");
        assert!(error.contains("general") && error.contains("seeds"), "{error}");
        assert!(channel(&circles, "nope/seeds").expect_err("unknown").contains("“nope”"));
    }

    #[test]
    fn circles_of_one_name_are_told_apart_by_what_screens_call_them() {
        let circles = [circle_view("a/b", 1), circle_view("a/b", 2), circle_view("a/b#01010101", 3)];
        for wanted in ["a/b", "a/b/seeds"] {
            let error = channel(&circles, wanted).expect_err("ambiguous");
            assert!(error.contains("could be several circles"), "{error}");
        }
        for (wanted, found) in [("a/b#01010101", 0), ("a/b#02020202/seeds", 1)] {
            assert_eq!(channel(&circles, wanted).expect("found").0.id, circles[found].id, "{wanted}");
        }
    }

    #[test]
    fn the_only_circle_needs_no_name() {
        let one = [circle_view("garden club", 1)];
        assert!(circle_or_only(&one, None).is_ok());
        assert!(circle_or_only(&[], None).expect_err("none").contains("felund join"));
        let two = [circle_view("x", 1), circle_view("y", 2)];
        assert!(circle_or_only(&two, None).expect_err("which").contains("x ("));
    }
}
