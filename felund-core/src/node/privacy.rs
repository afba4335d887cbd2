//! Hiding this device's address from members, and the user's own STUN and TURN servers.
//!
//! A device that hides is reached by peer connections through TURN servers and by relays, and by nothing else: those
//! know its address, members do not. Drivers are told, and the core keeps to it all the same.

use super::{Node, publish::After, records};
use crate::{
    ice::{parse_servers, servers_text},
    io::{ConnId, Output},
    relay_api::IceServer,
    view::Reply,
};

type Answer = Result<Option<Reply>, String>;

impl Node {
    /// Whether this device hides where it is: by its setting, or for as long as this process runs.
    pub(super) const fn is_hidden(&self) -> bool {
        self.platform.hide_address || self.hides
    }

    /// Takes on what hiding means, or lays it down. Connections are made anew either way: those that show an address end,
    /// and those that need not go through a TURN server any more will not.
    pub(super) fn hide_or_show(&mut self) {
        let hidden = self.is_hidden();
        self.outputs.push_back(Output::Reachable(!hidden));
        // It says by which addresses this device connects.
        self.checked = None;
        self.direct.dials = self.platform.dials && !hidden;
        let conns: Vec<ConnId> = self.direct.conns().filter(|conn| hidden || self.rtc.owns(*conn)).collect();
        let why =
            if hidden { "this device's address is hidden from now on" } else { "a shorter path may be open" };
        self.with_rtc(|rtc, cx, _| rtc.set_relay_only(hidden, why, cx));
        for conn in conns {
            self.with_direct(|direct, _, cx, events| direct.close(conn, why, cx, events));
        }
        if hidden && self.lan.hush() {
            self.outputs.push_back(Output::Announce(None));
        }
        self.tell_endpoints();
        self.want_channels();
    }

    pub(super) fn set_hide_address(&mut self, id: u64, on: bool) -> Answer {
        self.keep(id, records::HIDE, &[u8::from(on)], After::Hide(on))
    }

    #[inline(never)]
    pub(super) fn hide(&mut self, on: bool) {
        let was = self.is_hidden();
        self.hides = on;
        if !on && self.platform.hide_address {
            let text = "The address stays hidden for as long as this runs, as it was started with; the setting is off.";
            self.notice(false, text.into());
        }
        if was != self.is_hidden() {
            self.hide_or_show();
        }
        self.tell_identity();
    }

    pub(super) fn set_ice_servers(&mut self, id: u64, text: &str) -> Answer {
        let servers = parse_servers(text).map_err(|fault| format!("{fault} Nothing was changed."))?;
        let text = servers_text(&servers);
        self.keep(id, records::ICE, text.as_bytes(), After::Ice(servers))
    }

    #[inline(never)]
    pub(super) fn use_servers(&mut self, servers: Vec<IceServer>) {
        self.rtc.servers.set_own(servers);
        self.want_channels();
        self.tell_identity();
    }

    /// Writes a setting, which takes effect once it is durable.
    pub(super) fn keep(&mut self, id: u64, name: &str, value: &[u8], after: After) -> Answer {
        let ops = self.record(name.into(), value).into_iter().collect();
        self.store(ops, vec![after, After::Reply(id, Reply::Done)]);
        Ok(None)
    }
}
