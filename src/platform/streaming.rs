//! A copy past the caches.
//!
//! An ordinary store first fetches the line that it is about to overwrite. Those of a large
//! snapshot come from memory, and what training needs next is pushed out of the cache for them;
//! those of a small one come from the cache of the worker's core, which has read the snapshot
//! before. Stores that stream fetch nothing. Below [`WORTH_STREAMING`] neither matters.

/// Bytes copied by one call from which on streaming pays. What fewer would fetch is too little to
/// be waited for.
pub(crate) const WORTH_STREAMING: usize = 128 << 10;

/// A piece of fewer bytes takes the ordinary way: waiting for its last lines would cost more than
/// they do.
#[cfg(target_arch = "x86_64")]
const SHORT: usize = 4 << 10;

/// Copies `source` to `target`, which has to be as long.
#[cfg(target_arch = "x86_64")]
pub(crate) fn copy(source: &[u8], target: &mut [u8]) {
    if source.len() < SHORT {
        target.copy_from_slice(source);
    } else {
        copy_lines(source, target);
    }
}

#[cfg(target_arch = "x86_64")]
fn copy_lines(source: &[u8], target: &mut [u8]) {
    assert_eq!(
        source.len(),
        target.len(),
        "a copy has the length of its source"
    );
    let (head, lines, tail) = bytemuck::pod_align_to_mut::<u8, CacheLine>(target);
    let (first, rest) = source.split_at(head.len());
    let (rows, last) = rest.as_chunks::<LINE>();
    head.copy_from_slice(first);
    tail.copy_from_slice(last);
    for (line, row) in lines.iter_mut().zip(rows) {
        stream(row, line);
    }
    #[allow(unsafe_code)]
    // SAFETY: every x86-64 CPU has the fence. Streamed stores are ordered by nothing else, so it
    // has to stand before the target is handed on.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// Elsewhere an ordinary copy.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn copy(source: &[u8], target: &mut [u8]) {
    target.copy_from_slice(source);
}

#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// A cache line: what is streamed in part costs as much as the whole.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct CacheLine([u8; LINE]);

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn stream(row: &[u8; LINE], line: &mut CacheLine) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
    const WORDS: usize = LINE / size_of::<__m128i>();
    let (from, to) = (
        row.as_ptr().cast::<__m128i>(),
        std::ptr::from_mut(line).cast::<__m128i>(),
    );
    #[allow(unsafe_code)]
    // SAFETY: both are as long as the words taken from them, the source may lie anywhere, and a
    // line is aligned to more than a word. SSE2 is part of x86-64. `copy` fences before anybody
    // else sees the line.
    unsafe {
        let words: [__m128i; WORDS] = std::array::from_fn(|word| _mm_loadu_si128(from.add(word)));
        for (word, value) in words.into_iter().enumerate() {
            _mm_stream_si128(to.add(word), value);
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    #[test]
    fn every_length_and_offset_is_copied_and_nothing_else() {
        const ROOM: usize = 2 * super::SHORT;
        let source: Vec<u8> = (0..ROOM).map(|number| (number % 251) as u8 + 1).collect();
        let long = |more| super::SHORT + more;
        for from in [0, 1, 4, 16, 63] {
            for to in 0..65 {
                for len in [
                    0,
                    1,
                    5,
                    64,
                    300,
                    long(0),
                    long(1),
                    long(63),
                    long(64),
                    long(300),
                ] {
                    let mut target = vec![0; ROOM];
                    super::copy(&source[from..from + len], &mut target[to..to + len]);
                    assert_eq!(
                        target[to..to + len],
                        source[from..from + len],
                        "{from} {to} {len}"
                    );
                    let outside = target[..to].iter().chain(&target[to + len..]);
                    assert!(
                        outside.into_iter().all(|&byte| byte == 0),
                        "{from} {to} {len}"
                    );
                }
            }
        }
    }
}
