//! Objects in JSON. Serde also takes an array of the members in their order for one, which another relay or client written from
//! `docs/protocol.md` would refuse.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

struct Object<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, members: M) -> Result<T, M::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

/// What is written as an object, and as nothing else; fails as `T` does.
pub fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_map(Object(PhantomData))
}

#[cfg(test)]
mod tests {
    use crate::relay_api::Capabilities;

    #[test]
    fn what_a_device_can_do_is_an_object_in_a_registration() {
        let register = |capabilities: &str| {
            let (node, key) = ("01".repeat(32), "0".repeat(64));
            let json = [
                "{\"node_id\":\"",
                &node,
                "\",\"circle_hint\":\"",
                &node,
                "\",\"signing_key\":\"",
                &key,
                "\",\"ttl_s\":60",
                capabilities,
                "}",
            ];
            serde_json::from_str::<crate::relay_api::RegisterRequest>(&json.concat())
                .map(|it| it.capabilities)
        };
        let anchor = Capabilities { can_anchor: true, ..Capabilities::default() };
        assert_eq!(register("").unwrap(), Capabilities::default());
        assert_eq!(register(",\"capabilities\":{\"can_anchor\":true}").unwrap(), anchor);
        assert!(register(",\"capabilities\":[true,false,false]").is_err());
    }
}
