//! Every limit and period of the protocol, in one place, with its unit and its reason.
//!
//! A limit that bounds what a stranger can make us hold is checked before the memory is taken.

/// Envelope format this crate seals and accepts (`docs/protocol.md` §4).
pub const ENVELOPE_VERSION: u64 = 2;

/// Largest ciphertext of one envelope, in bytes, tag included.
pub const MAX_ENC_LEN: usize = 64 * 1024;
/// Smallest ciphertext: a GCM tag and one byte of padding.
pub const MIN_ENC_LEN: usize = 17;
/// Largest CBOR form of one envelope: ciphertext, headers and signature.
pub const MAX_ENVELOPE_LEN: usize = MAX_ENC_LEN + 512;
/// Longest `type` header, in bytes.
pub const MAX_TYPE_LEN: usize = 64;
/// Longest `key_id` header, in bytes.
pub const MAX_KEY_ID_LEN: usize = 32;
/// Most envelopes in one batch, on HTTP and on sockets.
pub const MAX_BATCH: usize = 256;
/// Largest HTTP request body a relay takes, in bytes.
pub const MAX_HTTP_BODY: usize = 2 * 1024 * 1024;
/// Largest HTTP response a client takes, in bytes: a full page of the largest envelopes as JSON.
pub const MAX_HTTP_RESPONSE: usize = 24 * 1024 * 1024;
/// Largest WebSocket message either side takes, in bytes.
pub const MAX_SOCKET_FRAME: usize = 1024 * 1024;
/// Most bytes of envelopes a client puts into one request, so that it stays below [`MAX_HTTP_BODY`].
pub const MAX_BATCH_BYTES: usize = 512 * 1024;

/// How far a `created_ts` may lie in the future before an envelope is refused, in milliseconds.
pub const MAX_FUTURE_MS: u64 = 5 * 60 * 1000;
/// An envelope from the future whose time comes within this, by the relay's clock, is not passed in the relay's log, in
/// milliseconds: whoever's clock is wrong, it is taken in then.
pub const MAX_EARLY_MS: u64 = 24 * 60 * 60 * 1000;
/// What was refused for being from the future is asked for again at most this often, in milliseconds.
pub const EARLY_RETRY_MS: u64 = 30_000;
/// Most authors remembered of what was refused because nobody has said who they are.
pub const MAX_UNHEARD: usize = 64;
/// How far a request's timestamp may differ from the relay's clock, in seconds.
pub const MAX_REQUEST_SKEW_S: u64 = 300;

/// Longest text of one chat message, in bytes of UTF-8; what is left of [`MAX_ENC_LEN`] is padding.
pub const MAX_TEXT_LEN: usize = 16 * 1024;
/// Longest display, circle or channel name, in characters.
pub const MAX_NAME_CHARS: usize = 64;
/// Longest invite code, in characters.
pub const MAX_INVITE_LEN: usize = 2048;
/// Most TCP peers in one invite.
pub const MAX_INVITE_PEERS: usize = 8;
/// Longest URL in an invite or a setting, in bytes.
pub const MAX_URL_LEN: usize = 512;

/// Default retention: newest messages kept per channel.
pub const RETENTION_MESSAGES: u32 = 1_000;
/// Default retention: age of the oldest message kept, in days.
pub const RETENTION_DAYS: u32 = 30;
/// Control events kept per circle. Beyond it those that no longer matter go first: superseded ones, then those about
/// channels that nobody has made, then the oldest.
pub const RETENTION_CONTROL: usize = 4_096;
/// How often it is looked whether something has become too old, in milliseconds; and while a relay has not told the time.
pub const AGE_INTERVAL_MS: u64 = 60 * 60 * 1000;
/// See [`AGE_INTERVAL_MS`].
pub const AGE_RETRY_MS: u64 = 60 * 1000;
/// Channels a circle may have before no more are made on this device.
pub const MAX_CHANNELS: usize = 256;
/// Circles one node may hold.
pub const MAX_CIRCLES: usize = 64;

/// Messages loaded when a channel opens and per page while scrolling back.
pub const HISTORY_PAGE: u32 = 100;

/// Presence at the relay lives this long, in seconds (protocol range 60–180).
pub const PRESENCE_TTL_S: u64 = 120;
/// Smallest accepted presence lifetime, in seconds.
pub const PRESENCE_TTL_MIN_S: u64 = 60;
/// Largest accepted presence lifetime, in seconds.
pub const PRESENCE_TTL_MAX_S: u64 = 180;
/// Lifetime of a signaling message, in seconds (protocol range 60–120).
pub const SIGNAL_TTL_MIN_S: u64 = 60;
/// Upper end of the range.
pub const SIGNAL_TTL_MAX_S: u64 = 120;
/// Largest sealed signaling payload, in bytes.
pub const MAX_SIGNAL_LEN: usize = 16 * 1024;
/// Lifetime of a WebSocket token, in seconds (protocol range 30–120).
pub const TOKEN_TTL_S: u64 = 60;

/// A socket that has not connected after this long is given up, in milliseconds.
pub const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// An HTTP request unanswered after this long has failed, in milliseconds.
pub const HTTP_TIMEOUT_MS: u64 = 15_000;
/// Time of the first request after the device woke, in milliseconds: the connection that was kept for it may be dead, and
/// neither browsers nor HTTP libraries notice. Doubled with every request that gets no answer.
pub const WAKE_PATIENCE_MS: u64 = 500;
/// The longest of these; then the relay counts as away, and requests get [`HTTP_TIMEOUT_MS`] again.
pub const WAKE_PATIENCE_MAX_MS: u64 = 2_000;
/// A relay socket from before the device slept is replaced if it is silent for this long, in milliseconds.
pub const WAKE_PROBE_MS: u64 = 1_000;
/// A quiet relay socket is probed this often, in milliseconds.
pub const PING_INTERVAL_MS: u64 = 20_000;
/// A probe unanswered after this long means the socket is dead, in milliseconds.
pub const PONG_TIMEOUT_MS: u64 = 5_000;
/// What was posted over a socket and is not confirmed after this long is posted again, in milliseconds; doubled with every time
/// in a row. While anything but pongs comes it may take up to [`POST_PATIENCE_MS`].
pub const POST_TIMEOUT_MS: u64 = 30_000;
/// See [`POST_TIMEOUT_MS`].
pub const POST_PATIENCE_MS: u64 = 120_000;
/// Poll period while no socket can be had, in milliseconds.
pub const POLL_INTERVAL_MS: u64 = 2_000;
/// First retry after a lost connection, in milliseconds; doubled with jitter up to [`BACKOFF_MAX_MS`].
pub const BACKOFF_MIN_MS: u64 = 250;
/// Longest wait between attempts, in milliseconds.
pub const BACKOFF_MAX_MS: u64 = 30_000;
/// Shortest wait between attempts while somebody sends or asks, in milliseconds.
pub const HURRY_MS: u64 = 1_000;
/// What the relay refuses for now, as where it has no room, it is asked for again after at most this long, in milliseconds: it
/// may have been given some.
pub const MAX_HOLD_MS: u64 = 60_000;
/// While polling works, a socket is tried again this often, in milliseconds.
pub const UPGRADE_RETRY_MS: u64 = 10_000;
/// How long one address of a member has to answer before the next is tried as well, in milliseconds (RFC 8305 §5).
pub const DIAL_STAGGER_MS: u64 = 250;
/// A handshake not finished after this long is given up, in milliseconds.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
/// Most direct connections at once, those being dialed included.
pub const MAX_DIRECT: usize = 64;
/// Most direct connections at once of a node that anchors.
pub const MAX_DIRECT_ANCHOR: usize = 512;
/// A node that somebody reached from outside its network counts as publicly reachable for this long, in milliseconds.
pub const REACHABLE_MS: u64 = 24 * 60 * 60 * 1000;
/// Most accepted connections whose handshake is not over. They have places of their own: strangers must not be able to
/// take those of members.
pub const MAX_HANDSHAKES: usize = 64;
/// Most addresses of members kept for dialing.
pub const MAX_ADDRESSES: usize = 256;
/// Most devices of one circle that are taken for present because its relay says so, or for holding a message because they do.
pub const MAX_PRESENT: usize = 4_096;
/// Most announcements of a local network that are looked at.
pub const MAX_NEARBY: usize = 64;
/// Most endpoints of one member that are taken from anybody.
pub const MAX_ENDPOINTS: usize = 4;
/// How long an announcement in a local network is recognised, in milliseconds; it is made anew that often.
pub const ANNOUNCE_MS: u64 = 3_600_000;
/// How long a message that every member may get directly is kept from the relay, in milliseconds: the budget of the
/// ladder's first three rungs (Policy 2).
pub const DIRECT_BUDGET_MS: u64 = 1_500;
/// An anchor announces itself at least this often, in milliseconds; each wait is drawn between half of it and all.
pub const ANNOUNCE_MAX_MS: u64 = 8_000;
/// An ephemeral envelope older than this is dropped, in milliseconds, on top of [`MAX_FUTURE_MS`] for clocks that differ.
pub const EPHEMERAL_TTL_MS: u64 = 60_000;
/// Ephemeral envelopes remembered per circle, so that none is passed on twice.
pub const MAX_EPHEMERAL_SEEN: usize = 1_024;
/// Receipts are gathered this long before they are sent, in milliseconds.
pub const RECEIPT_DELAY_MS: u64 = 150;
/// In larger circles members send no receipts to authors they are not connected to: their cost grows with the members.
pub const RECEIPT_MEMBERS: usize = 32;
/// In larger circles no receipts go through the relay, which hands each of them to everyone.
pub const RELAY_RECEIPT_MEMBERS: usize = 16;
/// Envelopes whose way here is remembered per circle, for receipts to go back.
pub const MAX_UPSTREAM: usize = 1_024;
/// A member whose receipts came through others within this time is taken to be reachable through them, in milliseconds.
pub const REPEATED_MS: u64 = 60_000;
/// Sessions per circle a node dials for: the mesh repeats the rest, so that the cost of a message grows with neighbours
/// and not with members.
pub const MESH_DEGREE: usize = 6;
/// With enough sessions another member is still tried this often, in milliseconds: it joins parts of a mesh that were
/// cut from each other and have since been content with themselves.
pub const EXPLORE_MS: u64 = 60_000;
/// What a reconciliation brought is told on by pushing it if it is no more than this, in envelopes; by a summary otherwise.
pub const FEW: usize = 4;
/// What reconciliations brought is told on at most this often per circle, in milliseconds: a summary costs the whole set, and
/// while many come together each would bring the next.
pub const SUMMARY_INTERVAL_MS: u64 = 250;
/// Own messages whose confirmations are counted, per circle.
pub const MAX_COUNTED: usize = 512;
/// Messages of a circle that came late and are remembered as unread: there is more than anybody looks for then.
pub const MAX_LATE: usize = 128;
/// Writes that storage refused are tried again after this long, in milliseconds.
pub const STORE_RETRY_MS: u64 = 1_000;
/// Most bytes of envelopes kept in memory while storage refuses them; beyond that nothing more is taken in.
pub const MAX_UNWRITTEN_BYTES: usize = 8 * 1024 * 1024;

/// How far a signal's time may lie from the reader's clock, in milliseconds: as far as an envelope's may be ahead.
pub const SIGNAL_SKEW_MS: u64 = 5 * 60 * 1000;
/// A knock that nobody answered is repeated after this long, in milliseconds; doubled with jitter up to
/// [`KNOCK_MAX_MS`].
pub const KNOCK_MIN_MS: u64 = 2_000;
/// Longest wait between knocks, in milliseconds.
pub const KNOCK_MAX_MS: u64 = 10 * 60 * 1000;
/// How long a member with a known address is dialed before it is knocked at, in milliseconds.
pub const DIAL_FIRST_MS: u64 = 1_000;
/// From the first step of a DataChannel or of a restart to a path, in milliseconds; browsers themselves give up after 30 s.
pub const RTC_ATTEMPT_MS: u64 = 10_000;
/// A path that browsers call disconnected often comes back by itself; ICE is restarted after this long, in
/// milliseconds.
pub const RTC_GRACE_MS: u64 = 2_500;
/// Candidates found within this long are told in one signal, in milliseconds.
pub const RTC_GATHER_MS: u64 = 20;
/// How long after a path turned out to lead through a TURN server another is looked for, in milliseconds; three times
/// as long with every look in vain, up to an hour.
pub const RTC_BETTER_MIN_MS: u64 = 10_000;
/// See [`RTC_BETTER_MIN_MS`].
pub const RTC_BETTER_MAX_MS: u64 = 3_600_000;
/// Most DataChannels at once, attempts included: each costs a browser about a megabyte.
pub const MAX_CHANNELS_OPEN: usize = 16;
/// Peer connections that may be created in a row: some for each of [`MAX_CHANNELS_OPEN`], for on a busy device the first ones
/// come too late. A browser's tab can create about 500 in its life.
pub const RTC_BURST: u32 = 64;
/// One more of them may be created after this long, in milliseconds: 30 an hour.
pub const RTC_REFILL_MS: u64 = 120_000;
/// The same where a peer connection is gone with its sockets, outside browsers.
pub const RTC_REFILL_NATIVE_MS: u64 = 2_000;
/// Signals of others that one session may have forwarded in ten seconds.
pub const MAX_FORWARDED: u32 = 64;
/// On a DataChannel a first message that nobody answers is said again after this long, in milliseconds: often enough
/// that one which is lost, as happens with the `webrtc` crate, is not what a connection waits for.
pub const HANDSHAKE_REPEAT_MS: u64 = 100;
/// Longest list of STUN and TURN servers that a user may give, in bytes.
pub const MAX_ICE_TEXT: usize = 4 * 1024;
/// Most URLs of STUN and TURN servers used at once: browsers ask all of them for every connection.
pub const MAX_ICE_URLS: usize = 8;
/// A check of STUN and TURN servers takes no longer than this, in milliseconds.
pub const ICE_PROBE_MS: u64 = 3_000;
