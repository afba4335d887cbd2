//! ICE as the node needs it: which STUN and TURN servers there are, what a candidate says, and what a check of both
//! found. Carrying out ICE is the platform's.

mod candidate;
mod probe;
mod servers;

pub use crate::relay_api::{Scheme, ServerUri};
pub use candidate::Candidate;
pub use probe::{Filtering, Gathered, IceProbe, IceReport, Mapping, ServerReport, Shown};
pub(crate) use servers::{Servers, has_turn, without_turn};
pub use servers::{parse_servers, servers_text};
