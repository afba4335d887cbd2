//! What a router does to addresses, by the kinds that hole punching tells apart (RFC 4787; classical names of RFC 3489).

/// How a site's router translates and filters UDP. TCP from outside gets through an open one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// None: every host has public addresses of both families, and nothing is filtered.
    Open,
    /// Full cone: endpoint-independent mapping and filtering. A port that a host has sent from is open to everybody.
    Cone,
    /// Endpoint-independent mapping, address-dependent filtering: who was sent to may answer from any port.
    AddressRestricted,
    /// Endpoint-independent mapping, address- and port-dependent filtering: only who was sent to may answer.
    PortRestricted,
    /// Address- and port-dependent mapping and filtering: each destination sees another port.
    Symmetric,
}

impl Nat {
    /// All kinds, for matrices.
    pub const ALL: [Self; 5] =
        [Self::Open, Self::Cone, Self::AddressRestricted, Self::PortRestricted, Self::Symmetric];

    pub(super) const fn lan_bits(self) -> u8 {
        match self {
            Self::Open => 28,
            _ => 24,
        }
    }

    /// The router's nftables rules; `wan` and `lan` are its interfaces.
    ///
    /// A masquerade keeps a packet's source port where it is free, which makes the mapping independent of the endpoint, and
    /// connection tracking lets in only answers. The cones add to that: a set remembers, for a minute, which ports were sent from (and
    /// to whom), and what comes in for one of them goes to its host. What comes in unasked is dropped before it is tracked, or it would take
    /// the port of the mapping it is meant to meet.
    pub(super) fn rules(self) -> String {
        let (remembered, remember, admit) = match self {
            Self::Open => return String::from("add table ip felund"),
            Self::Cone => ("inet_service", "udp sport", "udp dport"),
            Self::AddressRestricted => {
                ("inet_service . ipv4_addr", "udp sport . ip daddr", "udp dport . ip saddr")
            }
            Self::PortRestricted | Self::Symmetric => ("", "", ""),
        };
        let masquerade = if self == Self::Symmetric { "masquerade fully-random" } else { "masquerade" };
        let cone = if remembered.is_empty() {
            String::new()
        } else {
            format!(
                "map sent {{ type {remembered} : ipv4_addr; flags dynamic,timeout; timeout 60s; size 4096; }}
                 chain remember {{
                     type filter hook forward priority -10;
                     oifname wan meta l4proto udp update @sent {{ {remember} : ip saddr }}
                 }}
                 chain admit {{
                     type nat hook prerouting priority dstnat;
                     iifname wan meta l4proto udp dnat to {admit} map @sent
                 }}"
            )
        };
        format!(
            "table ip felund {{
                 {cone}
                 chain translate {{ type nat hook postrouting priority srcnat; oifname wan {masquerade}; }}
                 chain own {{
                     type filter hook input priority 0;
                     iifname wan ct state new meta l4proto {{ tcp, udp }} drop
                 }}
                 chain pass {{
                     type filter hook forward priority 0;
                     iifname wan ct state new ct status & dnat == 0 drop
                 }}
             }}"
        )
    }
}
