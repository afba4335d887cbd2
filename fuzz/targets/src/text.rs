//! What people paste and type, and names and addresses in what others send.

use felund_core::{
    circle::clean_name,
    config::MAX_INVITE_LEN,
    ice::{Candidate, parse_servers, servers_text},
    ids::{ChannelId, CircleHint, CircleId, Cursor, MsgId, NodeId, base64_decode, base64_encode},
    invite::Invite,
    io::CandidateKind,
    relay_api::{clean_relay_url, signing::canonical_path},
    slash::{self, Names},
};

/// Takes bytes as text, if they are some.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let text = &*text;
    if let Ok(invite) = Invite::parse(text) {
        let code = invite.encode();
        assert!(code.len() <= MAX_INVITE_LEN, "own invites are short enough to be read");
        let again = Invite::parse(&code).expect("own invites are read");
        assert_eq!((again.secret.expose(), &again.relay), (invite.secret.expose(), &invite.relay));
        assert_eq!((again.peers, again.name), (invite.peers, invite.name));
    }
    let names = || vec!["garden club".to_owned(), "grün".to_owned(), "日本".to_owned(), String::new()];
    let context = Names { circles: names(), channels: names(), members: names(), requests: names() };
    let _ = slash::parse(text);
    let _ = slash::hint(text);
    let _ = slash::complete(text, &context);
    if let Ok(url) = clean_relay_url(text) {
        assert_eq!(clean_relay_url(&url).as_ref(), Ok(&url), "a clean address stays as it is");
    }
    if let Some(name) = clean_name(text) {
        assert_eq!(clean_name(&name).as_ref(), Some(&name));
    }
    if let Some(bytes) = base64_decode(text) {
        assert_eq!(base64_decode(&base64_encode(&bytes)).as_ref(), Some(&bytes));
    }
    if let Ok(servers) = parse_servers(text) {
        assert_eq!(
            parse_servers(&servers_text(&servers)).as_ref(),
            Ok(&servers),
            "what is kept is read again"
        );
    }
    if let Some(hidden) = Candidate::hidden(text) {
        let shown = Candidate::parse(&hidden).expect("what is told is a candidate");
        assert_eq!(shown.kind, CandidateKind::Relay);
        let (base, port) = shown.base.expect("a base that says nothing");
        assert!(base == "0.0.0.0" || base == "::", "where a relayed candidate was found from is not told");
        assert_eq!(port, 9);
    }
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let _ = canonical_path(path, query);
    let _ = (text.parse::<NodeId>(), text.parse::<CircleId>(), text.parse::<ChannelId>());
    let _ = (text.parse::<MsgId>(), text.parse::<CircleHint>(), text.parse::<Cursor>());
}
