//! What a circle is, as a pure fold over its control events: name, members, channels.
//!
//! Nothing here sees a connection, a clock or a key ring. Folding is commutative and idempotent, so every member
//! that holds the same events shows the same circle, in whatever order they came.

mod event;
mod names;
mod state;

pub use event::{
    Access, Body, BodyError, Hello, NewChannel, Received, UNSAID, channel_id, clean_name, joined, parted,
};
pub(crate) use names::{MARK, Names, look};
pub use state::{Channel, Member, Standing, State};

pub use crate::envelope::is_ephemeral;
