//! Which circle, channel or member people mean by a name.

use super::{ChannelView, CircleView, MemberView};
use crate::circle::{MARK, Names};

/// What each of these circles is called, in their order: its name, with the first eight digits of its id behind it where the
/// name could be taken for another's.
#[must_use]
pub fn circle_labels(circles: &[CircleView]) -> Vec<String> {
    let names = Names::of(circles.iter().map(|circle| &*circle.name));
    circles.iter().map(|circle| names.label(&circle.name, &circle.id.short())).collect()
}

/// The circle that a command means, as [`CircleView::member_named`] finds a member.
pub fn circle_named<'a>(circles: &'a [CircleView], name: &str) -> Result<&'a CircleView, String> {
    let labels = circle_labels(circles);
    let labels = labels.iter().zip(circles).map(|(label, circle)| (&**label, circle.id.short())).collect();
    named("circle", "/circles", name, labels).map(|at| &circles[at])
}

impl CircleView {
    /// The channel that a command means, as [`CircleView::member_named`] finds a member.
    pub fn channel_named(&self, name: &str) -> Result<&ChannelView, String> {
        let labels = self.channels.iter().map(|channel| (&*channel.name, channel.id.short())).collect();
        named("channel", "/channels", name, labels).map(|at| &self.channels[at])
    }

    /// The member that a command means, by its label without regard to case or by the first eight digits of its id. An error
    /// says that there is none, or which there are of several. A name that only begins so is never taken for it: it may be
    /// another's.
    pub fn member_named(&self, name: &str) -> Result<&MemberView, String> {
        let labels = self.members.iter().map(|member| (&*member.label, member.id.short())).collect();
        named("member", "/who", name, labels).map(|at| &self.members[at])
    }
}

/// The place of the one that is meant among these labels and ids.
fn named(what: &str, lists: &str, name: &str, of: Vec<(&str, String)>) -> Result<usize, String> {
    let wanted = name.to_lowercase();
    let of: Vec<_> = of.into_iter().map(|(label, id)| (label, label.to_lowercase(), id)).collect();
    let called = |(_, label, id): &(&str, String, String)| *label == wanted || *id == wanted;
    // With some billions of keys one can be found that makes two labels the same: then neither is meant.
    let mut found = of.iter().enumerate().filter(|(_, item)| called(item));
    if let (Some((at, _)), None) = (found.next(), found.next()) {
        return Ok(at);
    }
    let marked = [&*wanted, MARK].concat();
    let bearers: Vec<&str> =
        of.iter().filter(|item| called(item) || item.1.starts_with(&marked)).map(|item| item.0).collect();
    Err(if bearers.is_empty() {
        ["There is no ", what, " called “", name, "” here; ", lists, " lists them."].concat()
    } else {
        ["Several ", what, "s are called “", name, "”. Name one of: ", &bearers.join(", "), "."].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(labels: &[&'a str], name: &str) -> Result<&'a str, String> {
        let of = labels.iter().enumerate().map(|(at, label)| (*label, format!("0000000{at}"))).collect();
        named("channel", "/channels", name, of).map(|at| labels[at])
    }

    #[test]
    fn a_name_is_never_taken_for_one_that_only_begins_so() {
        let labels = ["family#54167111", "family#816e2b8d", "Seeds"];
        let error = found(&labels, "family").unwrap_err();
        assert!(error.contains("family#54167111, family#816e2b8d"), "{error}");
        assert_eq!(found(&labels, "family#816E2b8d"), Ok("family#816e2b8d"));
        assert_eq!(found(&labels, "seeds"), Ok("Seeds"));
        assert!(found(&labels, "seed").unwrap_err().contains("no channel called “seed”"));
        assert!(found(&["a", "A"], "a").unwrap_err().contains("a, A"));
    }

    #[test]
    fn the_digits_of_an_id_mean_it_unless_another_is_called_so() {
        assert_eq!(found(&["a", "b"], "00000001"), Ok("b"));
        assert!(found(&["00000001", "b"], "00000001").unwrap_err().contains("00000001, b"));
    }
}
