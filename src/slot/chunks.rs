//! The bytes behind all outboxes: chunks, linked by index through one arena.
//!
//! The arena belongs to the reactor. A freed chunk keeps its memory for the next sender as long as the
//! spare chunks together stay below a bound.
//!
//! What is sent first in a turn does not go into a chunk at once, but into the staging buffer (`staging.rs`).
//! What the kernel does not take from there is copied to a chunk. So an outbox may be *staged* only while it
//! waits for this turn's flush, which looks at every outbox that is marked dirty and then empties the buffer.
//!
//! Invariants: an outbox's `len` is the sum of its chunks' bytes less `sent`; its `head` and `tail` are
//! both `NO_CHUNK` or both name chunks, or its `head` is `STAGED`; no chunk in a queue is empty. A staged outbox's
//! slot is on the dirty list.

use std::fmt;
use std::io::IoSlice;

use crate::slot::outbox::{NO_CHUNK, Outbox};
use crate::slot::staging::Staging;

/// A chunk that still has room is filled further, up to this size; past it a new one is begun. Small
/// enough that growing one copies little, large enough that a full vectored write carries 1 MiB.
const CHUNK_BYTES: usize = 16 * 1024;

/// What a new chunk starts with: a request or reply of the usual size without growing.
const FIRST_BYTES: usize = 256;

/// At most this many bytes of spare chunks are kept for reuse.
pub(crate) const SPARE_BYTES: usize = 1024 * 1024;

/// Most chunks that one vectored write carries. The kernel takes up to 1,024; past some tens the cost
/// per byte no longer falls, and the array lives on the stack.
pub(crate) const CHUNKS_PER_WRITE: usize = 64;

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// The one behind it in its queue, or in the list of free ones.
    next: u32,
}

/// The arena that all outboxes of a reactor share.
pub(crate) struct Chunks {
    chunks: Vec<Chunk>,
    /// The chunk last freed, first in the list of free ones: its memory is the likeliest to be cached.
    free: u32,
    /// Sum of the capacities of the free chunks; at most [`SPARE_BYTES`].
    spare: usize,
    /// Sum of the capacities of all chunks.
    allocated: usize,
    /// Sum over all outboxes.
    pub(super) queued: usize,
    /// Bytes that were thrown away.
    discarded: usize,
    /// What the staged outboxes hold, each in one piece.
    pub(super) staging: Staging,
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks {
            chunks: Vec::new(),
            free: NO_CHUNK,
            spare: 0,
            allocated: 0,
            queued: 0,
            discarded: 0,
            staging: Staging::default(),
        }
    }
}

impl Chunks {
    /// Appends a copy of `bytes`, which the caller has found to fit under the cap.
    #[inline(never)]
    pub(crate) fn append(&mut self, outbox: &mut Outbox, bytes: &[u8]) {
        debug_assert!(
            outbox.has_room_for(bytes.len()),
            "the caller has checked the cap"
        );
        if bytes.is_empty() {
            return;
        }
        self.unstage(outbox);
        let chunk = if outbox.is_empty() {
            let (index, chunk) = self.take(bytes.len());
            outbox.head = index;
            outbox.tail = index;
            chunk
        } else {
            &mut self.chunks[outbox.tail as usize]
        };
        if bytes.len() <= chunk.bytes.capacity() - chunk.bytes.len() {
            chunk.bytes.extend_from_slice(bytes);
        } else {
            self.append_growing(outbox, bytes);
        }
        outbox.grow(bytes.len());
        self.queued += bytes.len();
    }

    /// The last chunk is full as it is: it grows, and others are begun. However much is sent, it is cut into
    /// chunks of the usual size, so that memory is free again as the bytes leave and not only behind the
    /// last of them.
    #[cold]
    fn append_growing(&mut self, outbox: &mut Outbox, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let chunk = &mut self.chunks[outbox.tail as usize];
            let filled = chunk.bytes.len();
            let (piece, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - filled));
            if piece.is_empty() {
                let (new, _) = self.take(rest.len());
                self.chunks[outbox.tail as usize].next = new;
                outbox.tail = new;
                continue;
            }
            let (had, needed) = (chunk.bytes.capacity(), filled + piece.len());
            if needed > had {
                let target = needed.max(2 * had).min(CHUNK_BYTES);
                chunk.bytes.reserve_exact(target - filled);
                self.allocated += chunk.bytes.capacity() - had;
            }
            chunk.bytes.extend_from_slice(piece);
            bytes = rest;
        }
    }

    #[inline]
    fn take(&mut self, bytes: usize) -> (u32, &mut Chunk) {
        if self.free == NO_CHUNK {
            self.make_spare(bytes);
        }
        let index = self.free;
        let chunk = &mut self.chunks[index as usize];
        self.free = chunk.next;
        self.spare -= chunk.bytes.capacity();
        chunk.next = NO_CHUNK;
        (index, chunk)
    }

    #[cold]
    fn make_spare(&mut self, bytes: usize) {
        let index = u32::try_from(self.chunks.len()).expect("4 GiB chunks do not fit in memory");
        let bytes = Vec::with_capacity(bytes.clamp(FIRST_BYTES, CHUNK_BYTES));
        self.spare += bytes.capacity();
        self.allocated += bytes.capacity();
        self.chunks.push(Chunk {
            bytes,
            next: NO_CHUNK,
        });
        self.free = index;
    }

    #[inline]
    fn release(&mut self, index: u32) {
        let chunk = &mut self.chunks[index as usize];
        let kept = (&mut self.free, &mut self.spare, &mut self.allocated);
        Self::recycle(chunk, index, kept);
    }

    #[inline]
    fn recycle(
        chunk: &mut Chunk,
        index: u32,
        (free, spare, allocated): (&mut u32, &mut usize, &mut usize),
    ) {
        chunk.bytes.clear();
        let more = *spare + chunk.bytes.capacity();
        if more > SPARE_BYTES {
            *allocated -= chunk.bytes.capacity();
            chunk.bytes = Vec::new();
        } else {
            *spare = more;
        }
        chunk.next = *free;
        *free = index;
    }

    /// What is queued, from the front, as the pieces of one vectored write; how many there are.
    pub(crate) fn gather<'a>(
        &'a self,
        outbox: &Outbox,
        pieces: &mut [IoSlice<'a>; CHUNKS_PER_WRITE],
    ) -> usize {
        debug_assert!(!outbox.is_staged(), "only what is in chunks is gathered");
        let mut next = outbox.head;
        let mut skip = outbox.sent as usize;
        let mut count = 0;
        while next != NO_CHUNK && count < CHUNKS_PER_WRITE {
            let chunk = &self.chunks[next as usize];
            pieces[count] = IoSlice::new(&chunk.bytes[skip..]);
            skip = 0;
            count += 1;
            next = chunk.next;
        }
        count
    }

    /// The kernel has taken `written` bytes from the front.
    pub(crate) fn advance(&mut self, outbox: &mut Outbox, written: usize) {
        debug_assert!(
            written <= outbox.len(),
            "no more can be taken than is queued"
        );
        self.queued -= written;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most len, which is a u32"
        )]
        let mut left = written as u32;
        outbox.len -= left;
        if outbox.is_staged() {
            debug_assert!(outbox.is_empty(), "what is left of it is in chunks first");
            outbox.unstage();
            return;
        }
        while outbox.head != NO_CHUNK {
            let chunk = &self.chunks[outbox.head as usize];
            #[expect(clippy::cast_possible_truncation, reason = "a chunk is below the cap")]
            let rest = chunk.bytes.len() as u32 - outbox.sent;
            if left < rest {
                outbox.sent += left;
                return;
            }
            left -= rest;
            let next = chunk.next;
            self.release(outbox.head);
            outbox.head = next;
            outbox.sent = 0;
        }
        outbox.tail = NO_CHUNK;
    }

    /// Throws away what is queued; how much it was.
    pub(crate) fn discard(&mut self, outbox: &mut Outbox) -> usize {
        let len = outbox.len();
        self.advance(outbox, len);
        self.discarded += len;
        len
    }

    /// A copy of all that is queued.
    pub(crate) fn copy(&self, outbox: &Outbox) -> Vec<u8> {
        if outbox.is_staged() {
            return self.staged(outbox).to_vec();
        }
        let mut bytes = Vec::with_capacity(outbox.len());
        let (mut next, mut skip) = (outbox.head, outbox.sent as usize);
        while next != NO_CHUNK {
            let chunk = &self.chunks[next as usize];
            bytes.extend_from_slice(&chunk.bytes[skip..]);
            (next, skip) = (chunk.next, 0);
        }
        bytes
    }

    /// Bytes of memory that the outboxes hold: what is queued, and the rest of the chunks that it is in.
    pub(crate) fn held(&self) -> usize {
        self.allocated - self.spare + self.staging.taken()
    }

    /// Bytes queued in all outboxes together.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Bytes that were thrown away so far, of all outboxes together.
    pub(crate) fn discarded(&self) -> usize {
        self.discarded
    }

    #[cfg(any(test, feature = "testing"))]
    fn free(&self) -> Vec<&Chunk> {
        let first = self.chunks.get(self.free as usize);
        std::iter::successors(first, |chunk| self.chunks.get(chunk.next as usize)).collect()
    }

    #[cfg(feature = "testing")]
    pub(crate) fn check(&self, outboxes: &mut dyn Iterator<Item = Outbox>) {
        let mut in_use = 0;
        let mut queued = 0;
        let free = self.free();
        for outbox in outboxes {
            if outbox.is_staged() {
                let end = outbox.staged().end;
                assert!(
                    end <= self.staging.taken(),
                    "what is staged is in the buffer"
                );
                assert!(!outbox.is_empty(), "an empty outbox is not staged");
                queued += outbox.len();
                continue;
            }
            let mut bytes = 0;
            let mut next = outbox.head;
            while next != NO_CHUNK {
                let chunk = &self.chunks[next as usize];
                assert!(!chunk.bytes.is_empty(), "no chunk in a queue is empty");
                bytes += chunk.bytes.len();
                in_use += 1;
                if chunk.next == NO_CHUNK {
                    assert_eq!(next, outbox.tail, "the tail is the last of the chain");
                }
                next = chunk.next;
            }
            assert_eq!(
                bytes - outbox.sent as usize,
                outbox.len(),
                "an outbox's length is the sum of its chunks less the part sent"
            );
            assert_eq!(
                outbox.is_empty(),
                outbox.head == NO_CHUNK,
                "an empty outbox holds no chunk"
            );
            assert!(
                outbox.len <= outbox.marks.cap,
                "an outbox is within its cap"
            );
            queued += outbox.len();
        }
        assert_eq!(
            queued, self.queued,
            "the total is the sum over the outboxes"
        );
        assert_eq!(
            in_use + free.len(),
            self.chunks.len(),
            "every chunk is in one queue or free"
        );
        let spare: usize = free.iter().map(|chunk| chunk.bytes.capacity()).sum();
        assert_eq!(
            spare, self.spare,
            "spare is the sum of the free chunks' capacities"
        );
        let allocated: usize = self.chunks.iter().map(|chunk| chunk.bytes.capacity()).sum();
        assert_eq!(
            allocated, self.allocated,
            "allocated is the sum of all chunks' capacities"
        );
        assert!(
            spare <= SPARE_BYTES,
            "the spare chunks stay below their bound"
        );
    }
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks")
            .field("queued_bytes", &self.queued)
            .field("chunks", &self.chunks.len())
            .field("spare_bytes", &self.spare)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::outbox::Marks;

    fn contents(buffers: &Chunks, outbox: &Outbox) -> Vec<u8> {
        let mut pieces = [IoSlice::new(&[]); CHUNKS_PER_WRITE];
        let count = buffers.gather(outbox, &mut pieces);
        pieces[..count]
            .iter()
            .flat_map(|piece| piece.to_vec())
            .collect()
    }

    #[test]
    fn many_small_sends_share_a_chunk_and_come_out_in_order() {
        let mut buffers = Chunks::default();
        let mut outbox = Outbox::new(Marks::default());
        for byte in 0..200u8 {
            buffers.append(&mut outbox, &[byte]);
        }
        assert_eq!(outbox.len(), 200);
        assert_eq!(buffers.chunks.len(), 1);
        buffers.advance(&mut outbox, 150);
        assert_eq!(contents(&buffers, &outbox), (150..200).collect::<Vec<u8>>());
        buffers.advance(&mut outbox, 50);
        assert_eq!((outbox.len(), buffers.queued()), (0, 0));
        assert_eq!(buffers.free().len(), 1, "the chunk is there for the next");
    }

    #[test]
    fn what_is_staged_comes_out_in_order_whatever_the_kernel_takes() {
        for taken in [0, 1, 5, 8] {
            let mut buffers = Chunks::default();
            let mut outboxes = [Outbox::new(Marks::default()), Outbox::new(Marks::default())];
            let [one, two] = &mut outboxes;
            buffers.stage_or_append(one, b"abc");
            buffers.stage_or_append(one, b"de");
            buffers.stage_or_append(two, b"other");
            assert!(one.is_staged());
            assert_eq!(buffers.staged(one), b"abcde");
            // No longer the last in the buffer.
            buffers.stage_or_append(one, b"fgh");
            assert!(!one.is_staged() && two.is_staged());
            assert_eq!(buffers.queued(), 13);
            assert_eq!(buffers.staged(two), b"other");
            if taken >= 5 {
                buffers.staged_is_written(two, 5);
            } else {
                buffers.unstage(two);
                buffers.advance(two, taken);
            }
            buffers.clear_staged();
            buffers.advance(one, taken);
            assert_eq!(contents(&buffers, one), b"abcdefgh"[taken..]);
            assert_eq!(contents(&buffers, two), b"other"[taken.min(5)..]);
            buffers.discard(one);
            buffers.discard(two);
            assert_eq!(
                (buffers.queued(), buffers.free().len()),
                (0, buffers.chunks.len())
            );
        }
    }

    #[test]
    fn nothing_is_staged_if_there_are_no_bytes_or_no_room() {
        let mut buffers = Chunks::default();
        let mut outbox = Outbox::new(Marks::default());
        buffers.stage_or_append(&mut outbox, b"");
        assert!(outbox.is_empty() && !outbox.is_staged());
        buffers.stage_or_append(&mut outbox, &[0; 100 * 1024]);
        assert!(outbox.is_staged());
        let mut late = Outbox::new(Marks::default());
        buffers.stage_or_append(&mut late, &[0; 100 * 1024]);
        assert!(!late.is_staged());
        assert_eq!(late.len(), 100 * 1024);
        // What does not fit behind the rest goes to chunks with it.
        buffers.stage_or_append(&mut outbox, &[0; 100 * 1024]);
        assert!(!outbox.is_staged());
        assert_eq!(contents(&buffers, &outbox).len(), 200 * 1024);
        buffers.clear_staged();
        let mut next = Outbox::new(Marks::default());
        buffers.stage_or_append(&mut next, b"next");
        assert!(next.is_staged());
    }

    #[test]
    fn writes_of_any_size_advance_byte_by_byte_through_many_chunks() {
        let mut buffers = Chunks::default();
        let mut outbox = Outbox::new(Marks {
            cap: 4 << 20,
            ..Marks::default()
        });
        let sent: Vec<u8> = (0..300_000u32)
            .map(|i| i.to_le_bytes()[i as usize % 3])
            .collect();
        for piece in sent.chunks(9_973) {
            buffers.append(&mut outbox, piece);
        }
        let mut received = Vec::new();
        let mut take = 1;
        while !outbox.is_empty() {
            let available = contents(&buffers, &outbox);
            let written = take.min(available.len());
            received.extend_from_slice(&available[..written]);
            buffers.advance(&mut outbox, written);
            take = take * 7 % 40_009 + 1;
        }
        assert!(received == sent, "bytes must come out as they went in");
        assert_eq!(buffers.queued(), 0);
        assert_eq!(buffers.free().len(), buffers.chunks.len());
    }

    #[test]
    fn spare_chunks_stay_below_their_bound_and_large_ones_are_not_kept() {
        let mut buffers = Chunks::default();
        let marks = Marks {
            cap: 16 << 20,
            ..Marks::default()
        };
        let mut outboxes: Vec<Outbox> = (0..300).map(|_| Outbox::new(marks)).collect();
        for outbox in &mut outboxes {
            buffers.append(outbox, &[7; CHUNK_BYTES]);
        }
        let mut large = Outbox::new(marks);
        buffers.append(&mut large, &vec![7; 4 << 20]);
        buffers.discard(&mut large);
        assert!(
            buffers.spare <= SPARE_BYTES,
            "a large payload leaves no more behind than small ones"
        );
        for outbox in &mut outboxes {
            buffers.discard(outbox);
        }
        assert_eq!(buffers.spare, SPARE_BYTES, "as much as may be is kept");
    }

    #[test]
    fn spare_chunks_of_odd_sizes_stay_below_their_bound_too() {
        let mut buffers = Chunks::default();
        let size = 10_000;
        let mut outboxes: Vec<Outbox> = (0..300).map(|_| Outbox::new(Marks::default())).collect();
        for outbox in &mut outboxes {
            buffers.append(outbox, &vec![7; size]);
        }
        for outbox in &mut outboxes {
            assert_eq!(buffers.discard(outbox), size);
        }
        assert!(
            buffers.spare <= SPARE_BYTES && buffers.spare > SPARE_BYTES - size,
            "{buffers:?}"
        );
        assert_eq!((buffers.queued(), buffers.discarded()), (0, 300 * size));
    }

    /// 300 peers that each read all but the last 20 kB of 4 MiB once held 1.2 GB, of which 5 MiB were counted.
    #[test]
    fn memory_is_free_again_as_the_bytes_leave_for_every_size_of_send() {
        for size in [1, 100, 4_000, 20_000, 300_000, 4 << 20] {
            let mut buffers = Chunks::default();
            let marks = Marks {
                cap: 16 << 20,
                ..Marks::default()
            };
            let mut outbox = Outbox::new(marks);
            while outbox.len() < 4 << 20 {
                buffers.append(&mut outbox, &vec![7; size]);
            }
            assert!(buffers.held() <= 2 * outbox.len(), "{size}: {buffers:?}");
            let left = 20_000;
            buffers.advance(&mut outbox, (4 << 20) - left);
            assert!(
                buffers.held() <= outbox.len() + CHUNK_BYTES,
                "{size}: {} held for {}",
                buffers.held(),
                outbox.len()
            );
        }
    }

    #[test]
    fn a_chunk_that_is_full_gets_twice_its_room_up_to_its_full_size() {
        let mut buffers = Chunks::default();
        let mut outbox = Outbox::new(Marks::default());
        let mut rooms = Vec::new();
        for _ in 0..=CHUNK_BYTES {
            buffers.append(&mut outbox, b"x");
            rooms.push(buffers.held());
        }
        rooms.dedup();
        let full = CHUNK_BYTES;
        let expected = [256, 512, 1024, 2048, 4096, 8192, full, full + FIRST_BYTES];
        assert_eq!(rooms, expected);
    }

    #[test]
    fn cap_counts_what_is_queued() {
        let mut buffers = Chunks::default();
        let mut outbox = Outbox::new(Marks {
            low: 1,
            high: 2,
            cap: 10,
        });
        assert!(outbox.has_room_for(10) && !outbox.has_room_for(11));
        buffers.append(&mut outbox, b"1234");
        assert!(outbox.has_room_for(6) && !outbox.has_room_for(7));
        assert!(outbox.is_over_high() && !outbox.is_below_low());
        buffers.discard(&mut outbox);
        assert!(outbox.stays_below_high(2) && !outbox.stays_below_high(3));
        assert!(!outbox.stays_below_high(usize::MAX));
    }
}
