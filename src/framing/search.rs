//! Looking for bytes: many at a time where nothing has matched, and where to go on when a match has failed.

/// Where the first `wanted` is, or the length of the input: first in which block, then where in that.
pub(crate) fn find(wanted: u8, input: &[u8]) -> usize {
    let mut blocks = input.chunks_exact(BLOCK);
    let mut start = 0;
    for block in blocks.by_ref() {
        // Looked at to its end, whatever comes to light: so the compiler compares all its bytes at once.
        if block
            .iter()
            .fold(false, |found, &byte| found | (byte == wanted))
        {
            let block = block.try_into().expect("its length is that of a block");
            return start + place_in_block(wanted, block);
        }
        start += BLOCK;
    }
    let rest = blocks.remainder();
    let place = rest.iter().position(|&byte| byte == wanted);
    start + place.unwrap_or(rest.len())
}

const BLOCK: usize = 16;

/// Where in a block the first `wanted` is; past its end if there is none.
///
/// All bytes are worked on at once, as one number: zero where they are equal. To take one from each
/// byte sets the top bit of one in which it was clear only if that byte was zero, or if a zero before it
/// borrowed. So the lowest bit left marks the first zero.
fn place_in_block(wanted: u8, block: [u8; BLOCK]) -> usize {
    const ONES: u128 = u128::from_ne_bytes([1; BLOCK]);
    const TOPS: u128 = u128::from_ne_bytes([0x80; BLOCK]);
    let differing = u128::from_le_bytes(block) ^ u128::from_ne_bytes([wanted; BLOCK]);
    let zeros = differing.wrapping_sub(ONES) & !differing & TOPS;
    zeros.trailing_zeros() as usize / 8
}

/// For each prefix of `needle` the length of its longest proper prefix that is also its suffix: where a
/// failed match may go on.
pub(super) fn fill_fallback(needle: &[u8], fallback: &mut Vec<usize>) {
    fallback.push(0);
    for end in 1..needle.len() {
        let mut length = fallback[end - 1];
        while length > 0 && needle[length] != needle[end] {
            length = fallback[length - 1];
        }
        fallback.push(length + usize::from(needle[length] == needle[end]));
    }
}
