//! Which bytes of the object to read for a range of the plaintext.
//!
//! Offsets come from the parts table alone: parts end where requests ended, so no arithmetic finds them.

use super::envelope::Part;
use super::stream::{plain_start, read_start, segment_at};
use super::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// The most segments one chunk spans: reads of 1 MiB.
pub const SEGMENTS_PER_CHUNK: u32 = 16;

/// Where the parts of a blob lie, in the plaintext and in the object.
#[derive(Debug)]
pub(super) struct Layout {
    parts: Vec<Placed>,
    pub(super) size: u64,
    pub(super) stored_len: u64,
}

#[derive(Debug)]
pub(super) struct Placed {
    pub(super) part: Part,
    plain_start: u64,
    file_start: u64,
}

impl Layout {
    pub(super) fn new(parts: &[Part]) -> Self {
        let (mut size, mut stored_len) = (0, 0);
        let place = |part: &Part| {
            let placed = Placed { part: *part, plain_start: size, file_start: stored_len };
            size += u64::from(part.plain_len);
            stored_len += part.cipher_len();
            placed
        };
        let parts = parts.iter().map(place).collect();
        Self { parts, size, stored_len }
    }

    pub(super) fn part(&self, number: u32) -> Option<&Placed> {
        self.parts.get(usize::try_from(number).ok()?)
    }
}

/// One read: consecutive whole segments of one part, its header before the first, and which plaintext is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    pub(super) part: u32,
    pub(super) segments: Range<u32>,
    file_offset: u64,
    file_len: usize,
    part_offset: u64,
    pub(super) skip: usize,
    pub(super) take: usize,
}

impl Chunk {
    /// Where the read begins in the object.
    #[must_use]
    pub fn file_offset(&self) -> u64 {
        self.file_offset
    }

    /// How many bytes to read: at most [`SEGMENTS_PER_CHUNK`] segments.
    #[must_use]
    pub fn file_len(&self) -> usize {
        self.file_len
    }

    /// The part it lies in.
    #[must_use]
    pub fn part(&self) -> u32 {
        self.part
    }

    /// Where it lies in the bytes of its part.
    #[must_use]
    pub fn part_range(&self) -> Range<u64> {
        self.part_offset..self.part_offset + self.file_len as u64
    }

    /// How many plaintext bytes it yields.
    #[must_use]
    pub fn plain_len(&self) -> usize {
        self.take
    }
}

/// The reads for one range, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    layout: Arc<Layout>,
    range: Range<u64>,
    part: u32,
    /// Plaintext offset inside the part.
    at: u32,
}

impl Plan {
    /// Plans a range of the plaintext; the range of the whole blob covers empty parts too, so that an empty blob
    /// is authenticated as any other.
    pub(super) fn new(layout: &Arc<Layout>, range: Range<u64>) -> Result<Self> {
        let Range { start, end } = range;
        if start > end || end > layout.size {
            return Err(Error::Range { start, end, size: layout.size });
        }
        let before = |placed: &Placed| placed.plain_start + u64::from(placed.part.plain_len) <= start;
        let part = if start == 0 { 0 } else { layout.parts.partition_point(before) };
        // Parts are at most MAX_PARTS and shorter than 2^32 bytes, so both fit.
        let at = layout.parts.get(part).map_or(0, |placed| (start - placed.plain_start) as u32);
        Ok(Self { layout: layout.clone(), range, part: part as u32, at })
    }

    fn chunk(&self, placed: &Placed, wanted_end: u32) -> Chunk {
        let first = segment_at(self.at);
        let last = segment_at(wanted_end.saturating_sub(1)).min(first + (SEGMENTS_PER_CHUNK - 1));
        let file_start = read_start(first);
        let file_end = read_start(last + 1).min(placed.part.cipher_len());
        let plain_end = plain_start(last + 1).min(u64::from(wanted_end));
        Chunk {
            part: self.part,
            segments: first..last + 1,
            file_offset: placed.file_start + file_start,
            // All three are at most SEGMENTS_PER_CHUNK segments.
            file_len: (file_end - file_start) as usize,
            part_offset: file_start,
            skip: (u64::from(self.at) - plain_start(first)) as usize,
            take: (plain_end - u64::from(self.at)) as usize,
        }
    }
}

impl Iterator for Plan {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let whole = self.range == (0..self.layout.size);
        loop {
            let placed = self.layout.part(self.part)?;
            let left = self.range.end.saturating_sub(placed.plain_start);
            let wanted_end = u32::try_from(left).unwrap_or(u32::MAX).min(placed.part.plain_len);
            let empty_part = whole && placed.part.plain_len == 0;
            let chunk = (self.at < wanted_end || empty_part).then(|| self.chunk(placed, wanted_end));
            self.at = self.at.saturating_add(chunk.as_ref().map_or(0, |chunk| chunk.take as u32));
            if self.at >= wanted_end {
                (self.part, self.at) = (self.part + 1, 0);
            }
            match chunk {
                Some(chunk) => return Some(chunk),
                None if left == 0 && !whole => return None,
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Layout, Plan};
    use crate::keys::{Header, Part};
    use std::sync::Arc;

    fn layout(lengths: &[u32]) -> Arc<Layout> {
        let part = |&plain_len: &u32| Part { header: Header::random().unwrap(), plain_len };
        Arc::new(Layout::new(&lengths.iter().map(part).collect::<Vec<_>>()))
    }

    #[test]
    fn a_whole_blob_is_read_once_in_reads_of_a_mebibyte() {
        let lengths = [3_000_000, 0, 1, 70_000];
        let layout = layout(&lengths);
        let chunks: Vec<_> = Plan::new(&layout, 0..layout.size).unwrap().collect();
        let mut file = 0;
        for chunk in &chunks {
            assert_eq!(chunk.file_offset, file, "reads are adjacent");
            file = chunk.file_offset + chunk.file_len as u64;
            assert!(chunk.file_len <= 1 << 20 && chunk.skip == 0);
        }
        assert_eq!(file, layout.stored_len);
        assert_eq!(chunks.iter().map(|chunk| chunk.take as u64).sum::<u64>(), layout.size);
        assert_eq!(chunks.len(), 3 + 1 + 1 + 1);
    }

    #[test]
    fn ranges_outside_the_blob_are_refused_and_empty_ones_read_nothing() {
        let layout = layout(&[10, 20]);
        for (start, end) in [(0, 31), (31, 31), (5, 4), (u64::MAX, u64::MAX)] {
            assert!(Plan::new(&layout, start..end).is_err(), "{start}..{end}");
        }
        for at in [0, 5, 10, 30] {
            assert_eq!(Plan::new(&layout, at..at).unwrap().count(), 0, "{at}");
        }
        assert_eq!(Plan::new(&layout, 0..10).unwrap().count(), 1);
        assert_eq!(Plan::new(&layout, 9..11).unwrap().count(), 2);
    }

    #[test]
    fn an_empty_blob_is_read_to_be_authenticated() {
        let chunks: Vec<_> = Plan::new(&layout(&[0]), 0..0).unwrap().collect();
        assert_eq!((chunks.len(), chunks[0].file_len, chunks[0].take), (1, 56, 0));
    }
}
