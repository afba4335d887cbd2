//! Frames on sockets: between members, from clients to relays and back.

use std::fmt::Debug;

use felund_core::{
    config::MAX_BATCH,
    wire::{ClientFrame, Have, PeerFrame, ServerFrame, Window, WireError},
};

/// Takes bytes as each kind of frame.
pub fn run(data: &[u8]) {
    same(data, PeerFrame::from_bytes, PeerFrame::to_bytes);
    same(data, ClientFrame::from_bytes, ClientFrame::to_bytes);
    same(data, ServerFrame::from_bytes, ServerFrame::to_bytes);
    match PeerFrame::from_bytes(data) {
        Ok(PeerFrame::MsgsHave {
            have: Have::Summary { window, .. } | Have::Symbols { window, .. }, ..
        }) => {
            let own = Window { horizon: 5, floors: window.floors.iter().rev().take(3).copied().collect() };
            assert_eq!(window.and(&own), own.and(&window), "both sides come to the same window");
        }
        Ok(PeerFrame::MsgsSend { envelopes, .. }) => assert!(envelopes.len() <= MAX_BATCH),
        _ => {}
    }
}

fn same<T: PartialEq + Debug>(
    data: &[u8],
    read: impl Fn(&[u8]) -> Result<T, WireError>,
    write: impl Fn(&T) -> Vec<u8>,
) {
    if let Ok(frame) = read(data) {
        assert_eq!(read(&write(&frame)).expect("own frames are read"), frame);
    }
}
