//! The element types of tensors and the two float types they are computed in, so that the kernel is
//! written once.

use half::{bf16, f16};

use crate::kernel::sums::sums_by_four;

/// What the bits of some values tell. Merging is a matter of integers: any order gives the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan<F> {
    /// The smallest and the largest value in the order of sign and magnitude, which puts NaN
    /// outside the infinities.
    pub(super) min: F,
    pub(super) max: F,
    /// Values that are zero, of either sign.
    pub(super) zeros: u64,
    /// Smallest magnitude that is not zero, as an integer and less one; the largest integer when
    /// all are zero.
    pub(super) least_less_one: u64,
    /// Or of all magnitudes.
    pub(super) or: u64,
}

/// Count tables that take turns: an increment waits for the store of the one before it to the same
/// address, and equal elements often stand side by side.
pub(super) const TURNS: usize = 2;

/// Bytes that memory hands over at once.
const CACHE_LINE: usize = 64;
/// Elements counted for each line asked for. Spread out like this, requests never wait for one
/// another.
const PREFETCH_EVERY: usize = 16;

/// Asks for a line of memory without waiting for it.
#[inline(always)]
fn prefetch(line: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    // SAFETY: a prefetch is a hint: it reads nothing and cannot fail. Every x86-64 CPU has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// The float a tensor's elements are computed in: `f32` or `f64`.
///
/// The fine bucket of a value is its sign, exponent and top five bits of mantissa.
pub(super) trait Wide: Copy + PartialOrd + std::ops::Sub<Output = Self> + 'static {
    /// One count for each fine bucket and turn.
    type Table;
    const ZERO: Self;
    /// Bits below the fine bucket: what refinement may still tell apart.
    const FREE: u32;
    /// Buckets of one sign, those of infinities and NaN (the last 32) included.
    const BUCKETS: usize;
    /// How much longer the mantissa of an `f64` is.
    const SHORTER: u32;
    fn new_table() -> Option<Box<Self::Table>>;
    fn counts(table: &mut Self::Table) -> &mut [[u32; TURNS]];
    /// Counts values; meanwhile `ahead`, which is needed next, is asked for.
    fn count(table: &mut Self::Table, values: &[Self], ahead: &[u8]);
    /// Looks at the bits of all values; written for the loop vectoriser, which may reorder
    /// integers.
    fn scan(values: &[Self]) -> Scan<Self>;
    /// Sum and sum of squares of the distances from the pivot, at the speed of `f32`; `None` where
    /// there is no such way.
    fn quick_sums(values: &[Self], pivot: Self) -> Option<[f64; 2]>;
    fn bits(self) -> u64;
    fn magnitude(self) -> u64;
    fn is_finite(self) -> bool;
    fn to_f64(self) -> f64;
    fn from_f64(value: f64) -> Self;
    /// The value whose bits, sign included, are the low ones of `bits`.
    fn from_bits(bits: u64) -> Self;
}

/// The integer in whose order the floats stand, neighbours one apart. Both zeros are one value: a
/// mask flips their sign.
macro_rules! ordered {
    ($float:expr, $image:ty) => {
        ordered!($float.to_bits() as $image, $image, bits)
    };
    ($bits:expr, $image:ty, bits) => {{
        let bits = $bits;
        let sign = bits >> (<$image>::BITS - 1);
        (bits ^ (sign & <$image>::MAX)).wrapping_sub(sign)
    }};
}

macro_rules! impl_wide {
    (
        $float:ty, $bits:ty, $signed:ty, $free:expr,
        |$values:ident, $pivot:ident| $quick_sums:expr
    ) => {
        impl Wide for $float {
            type Table = [[u32; TURNS]; 1 << (<$bits>::BITS - $free)];
            const ZERO: $float = 0.0;
            const FREE: u32 = $free;
            const BUCKETS: usize = 1 << (<$bits>::BITS - $free - 1);
            const SHORTER: u32 = f64::MANTISSA_DIGITS - <$float>::MANTISSA_DIGITS;

            fn new_table() -> Option<Box<Self::Table>> {
                vec![[0; TURNS]; 2 * Self::BUCKETS]
                    .into_boxed_slice()
                    .try_into()
                    .ok()
            }
            #[inline(always)]
            fn counts(table: &mut Self::Table) -> &mut [[u32; TURNS]] {
                table
            }
            #[inline(always)]
            fn count(table: &mut Self::Table, values: &[$float], ahead: &[u8]) {
                let mut ahead = ahead.chunks(CACHE_LINE);
                let (rows, rest) = values.as_chunks::<PREFETCH_EVERY>();
                for row in rows {
                    ahead.next().map(prefetch);
                    for (index, value) in row.iter().enumerate() {
                        // The shift leaves no more bits than the table has entries: no bounds check
                        // is compiled.
                        table[(value.to_bits() >> $free) as usize][index % TURNS] += 1;
                    }
                }
                for value in rest {
                    table[(value.to_bits() >> $free) as usize][0] += 1;
                }
            }
            #[inline(always)]
            fn scan(values: &[$float]) -> Scan<$float> {
                const MAGNITUDE: $bits = <$bits>::MAX >> 1;
                // As a signed integer the largest positive value is the largest, as an unsigned one
                // the largest negative.
                let (mut most_positive, mut most_negative) = (<$signed>::MIN, 0 as $bits);
                let (mut zeros, mut least_less_one, mut or) =
                    (0 as $bits, <$bits>::MAX, 0 as $bits);
                for value in values {
                    let magnitude = value.to_bits() & MAGNITUDE;
                    most_positive = most_positive.max(value.to_bits() as $signed);
                    most_negative = most_negative.max(value.to_bits());
                    zeros += (magnitude == 0) as $bits;
                    // Zero wraps around to the largest integer.
                    least_less_one = least_less_one.min(magnitude.wrapping_sub(1));
                    or |= magnitude;
                }
                // Without a value of the other sign the extreme is the one nearest to zero.
                let nearest = if zeros > 0 {
                    0
                } else {
                    least_less_one.wrapping_add(1)
                };
                let min = if most_negative > MAGNITUDE {
                    most_negative
                } else {
                    nearest
                };
                let max = if most_positive >= 0 {
                    most_positive as $bits
                } else {
                    nearest | !MAGNITUDE
                };
                Scan {
                    min: <$float>::from_bits(min),
                    max: <$float>::from_bits(max),
                    zeros: u64::from(zeros),
                    least_less_one: if least_less_one == <$bits>::MAX {
                        u64::MAX
                    } else {
                        u64::from(least_less_one)
                    },
                    or: u64::from(or),
                }
            }
            #[inline(always)]
            fn quick_sums($values: &[$float], $pivot: $float) -> Option<[f64; 2]> {
                $quick_sums
            }
            #[inline(always)]
            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }
            #[inline(always)]
            fn magnitude(self) -> u64 {
                self.bits() & (u64::MAX >> 1 >> (u64::BITS - <$bits>::BITS))
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                self.is_finite()
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn from_f64(value: f64) -> $float {
                value as $float
            }
            #[inline(always)]
            fn from_bits(bits: u64) -> $float {
                <$float>::from_bits(bits as $bits)
            }
        }
    };
}
impl_wide!(f32, u32, i32, 18, |values, pivot| Some(sums_by_four(
    values, pivot
)));
impl_wide!(f64, u64, i64, 47, |_values, _pivot| None);

/// One element of a tensor.
pub(super) trait Element: bytemuck::NoUninit {
    type Wide: Wide;
    /// An integer in the order of the values, neighbours one apart: for floats the usual map of
    /// sign and magnitude to two's complement, in which both zeros are 0, for integers the element.
    type Image: Copy + PartialEq;
    fn widened(self) -> Self::Wide;
    fn image(self) -> Self::Image;
    fn is_next_to(one: Self::Image, other: Self::Image) -> bool;
    /// True when the element has other bits than `before`.
    fn differs(self, before: Self) -> bool;
    /// As [`Element::is_next_to`], for a finite element whose magnitude is above that of
    /// [`Element::smallest`]: its neighbours have its sign, and the bits next to its own.
    fn is_next_to_plain(self, before: Self) -> bool;
    /// The magnitude, as bits of the wide type, of the smallest subnormal number: one of its
    /// neighbours is a zero, which may have the other sign. Zero for integers.
    fn smallest() -> u64;

    /// The block in the wide type: itself where it is of that type already, else in `scratch`.
    #[inline(always)]
    fn widen_block<'a>(block: &'a [Self], scratch: &'a mut [Self::Wide]) -> &'a [Self::Wide] {
        for (wide, &element) in scratch.iter_mut().zip(block) {
            *wide = element.widened();
        }
        scratch.get(..block.len()).unwrap_or_default()
    }
}

macro_rules! bits {
    (integer, $value:expr) => {
        $value
    };
    (float, $value:expr) => {
        $value.to_bits()
    };
}

macro_rules! is_next_to_plain {
    (integer, $now:expr, $before:expr) => {
        $now.abs_diff($before) == 1
    };
    // One more than the difference is then 0 or 2.
    (float, $now:expr, $before:expr) => {
        $now.to_bits()
            .wrapping_sub($before.to_bits())
            .wrapping_add(1)
            & !2
            == 0
    };
}

macro_rules! smallest {
    (integer, $kind:ty) => {
        0
    };
    (float, $kind:ty) => {
        <$kind>::from_bits(1).widened().magnitude()
    };
}

macro_rules! impl_element {
    (
        $kind:ty, $wide:ty, $image:ty, $family:ident,
        |$x:ident| $widened:expr, $to_image:expr $(, $whole:item)?
    ) => {
        impl Element for $kind {
            type Wide = $wide;
            type Image = $image;
            #[inline(always)]
            fn widened(self) -> $wide {
                let $x = self;
                $widened
            }
            #[inline(always)]
            fn image(self) -> $image {
                let $x = self;
                $to_image
            }
            #[inline(always)]
            fn is_next_to(one: $image, other: $image) -> bool {
                one.abs_diff(other) == 1
            }
            #[inline(always)]
            fn differs(self, before: $kind) -> bool {
                bits!($family, self) != bits!($family, before)
            }
            #[inline(always)]
            fn is_next_to_plain(self, before: $kind) -> bool {
                is_next_to_plain!($family, self, before)
            }
            #[inline(always)]
            fn smallest() -> u64 {
                smallest!($family, $kind)
            }
            $($whole)?
        }
    };
}

impl_element!(u8, f64, u8, integer, |x| f64::from(x), x);
impl_element!(i8, f64, i8, integer, |x| f64::from(x), x);
impl_element!(i16, f64, i16, integer, |x| f64::from(x), x);
impl_element!(i32, f64, i32, integer, |x| f64::from(x), x);
impl_element!(i64, f64, i64, integer, |x| x as f64, x);
impl_element!(
    f16,
    f32,
    i16,
    float,
    |x| f16_to_f32(x.to_bits()),
    ordered!(x, i16)
);
impl_element!(
    bf16,
    f32,
    i16,
    float,
    |x| f32::from_bits(u32::from(x.to_bits()) << 16),
    ordered!(x, i16)
);
impl_element!(
    f32,
    f32,
    i32,
    float,
    |x| x,
    ordered!(x, i32),
    #[inline(always)]
    fn widen_block<'a>(block: &'a [f32], _scratch: &'a mut [f32]) -> &'a [f32] {
        block
    }
);
impl_element!(
    f64,
    f64,
    i64,
    float,
    |x| x,
    ordered!(x, i64),
    #[inline(always)]
    fn widen_block<'a>(block: &'a [f64], _scratch: &'a mut [f64]) -> &'a [f64] {
        block
    }
);

/// Widens half precision without a branch or a table, unlike `half`, which asks for the CPU's
/// features at every element.
///
/// Shifted into place, exponent and mantissa make an `f32` that is too small by 2^(127-15), for
/// subnormals as well; exponents of all ones (infinity, NaN) are filled up afterwards.
#[inline(always)]
fn f16_to_f32(bits: u16) -> f32 {
    const TOO_SMALL_BY: f32 = f32::from_bits((127 + 127 - 15) << 23);
    let magnitude = u32::from(bits & 0x7fff);
    let scaled = (f32::from_bits(magnitude << 13) * TOO_SMALL_BY).to_bits();
    let special = if magnitude >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled | special | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_as_the_half_crate_says() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (
                f16::from_bits(bits).widened(),
                f16::from_bits(bits).to_f32(),
            );
            assert!(
                ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
                "f16 {bits:#06x}"
            );
            let (ours, theirs) = (
                bf16::from_bits(bits).widened(),
                bf16::from_bits(bits).to_f32(),
            );
            assert!(
                ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
                "bf16 {bits:#06x}"
            );
        }
    }

    #[test]
    fn neighbours_in_value_are_neighbours_in_image() {
        for x in [
            0.0f32, 1.0, -1.0, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, 0.1,
        ] {
            assert!(f32::is_next_to(x.image(), x.next_up().image()), "{x}");
            assert!(f32::is_next_to(x.image(), x.next_down().image()), "{x}");
            assert!(!f32::is_next_to(x.image(), x.image()), "{x}");
        }
        assert_eq!((-0.0f32).image(), 0.0f32.image());
        assert!(f16::is_next_to(
            f16::from_bits(1).image(),
            f16::from_bits(2).image()
        ));
        assert!(f64::is_next_to(1.0f64.image(), 1.0f64.next_down().image()));
        assert!(
            i8::is_next_to((-128i8).image(), -127) && !i8::is_next_to(i8::MIN.image(), i8::MAX)
        );
    }
}
