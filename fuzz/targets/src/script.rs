//! Reads a fuzzer's bytes as decisions. Where they end everything is zero, so that every input is a whole script.

/// Bytes not read yet.
#[derive(Debug, Clone)]
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// True for one byte in `n`.
    pub(crate) fn one_in(&mut self, n: u8) -> bool {
        self.byte().is_multiple_of(n)
    }

    pub(crate) fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        array.fill_with(|| self.byte());
        array
    }

    /// A piece of up to 64 KiB, preceded by its length.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let len = usize::from(u16::from_le_bytes(self.array()));
        let (piece, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        piece
    }

    /// A piece of up to 255 bytes.
    pub(crate) fn short_piece(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        let (piece, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        piece
    }

    /// Everything that is left.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }
}
