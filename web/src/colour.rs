//! A colour per person: one of twelve classes of the style sheet, all of which stand out enough in both themes.

use felund_wasm::core::ids::NodeId;

/// The class name of a person's colour; the same on every device.
pub(crate) fn class(id: NodeId) -> &'static str {
    const CLASSES: [&str; 12] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11"];
    let sum = id.as_bytes().iter().fold(0_usize, |sum, byte| (sum * 31 + usize::from(*byte)) % 104_729);
    CLASSES[sum % CLASSES.len()]
}
