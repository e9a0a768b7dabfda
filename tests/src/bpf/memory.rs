//! What a program may read and write: regions with nothing between them, so that an access beyond one is found.

/// An address is a region's number and the offset in it. All lie below 4 GiB, as the fields of the context have 32 bits.
const OFFSET_BITS: u32 = 24;

/// All regions.
#[derive(Default)]
pub(super) struct Memory(Vec<Vec<u8>>);

impl Memory {
    /// Adds a region and gives its address, which is not 0.
    pub(super) fn add(&mut self, bytes: Vec<u8>) -> u64 {
        assert!(bytes.len() < 1 << OFFSET_BITS, "a region of {} bytes", bytes.len());
        self.0.push(bytes);
        let number = self.0.len() as u64;
        assert!(number < 1 << (32 - OFFSET_BITS), "too many regions");
        number << OFFSET_BITS
    }

    /// These bytes; panics where they are not those of one region.
    pub(super) fn bytes(&mut self, at: u64, len: usize) -> &mut [u8] {
        let offset = at as usize & ((1 << OFFSET_BITS) - 1);
        (at >> OFFSET_BITS)
            .checked_sub(1)
            .and_then(|region| self.0.get_mut(usize::try_from(region).ok()?))
            .and_then(|bytes| bytes.get_mut(offset..offset + len))
            .unwrap_or_else(|| panic!("no {len} bytes at {at:#x}"))
    }

    /// A number of so many bytes, at most eight.
    pub(super) fn load(&mut self, at: u64, len: usize) -> u64 {
        let mut number = [0; 8];
        number[..len].copy_from_slice(self.bytes(at, len));
        u64::from_le_bytes(number)
    }

    /// Writes the lower bytes of a number.
    pub(super) fn store(&mut self, at: u64, len: usize, number: u64) {
        self.bytes(at, len).copy_from_slice(&number.to_le_bytes()[..len]);
    }
}
