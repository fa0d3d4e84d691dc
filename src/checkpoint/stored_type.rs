//! The types that elements have in checkpoints, of which there are more than libtorch computes in.

use std::fmt;

use half::{bf16, f16};

use crate::model::types::DType;

/// The type of the elements of a tensor in a checkpoint, by the names of PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoredType {
    /// `bool`, one byte each.
    Bool,
    /// `uint8`.
    U8,
    /// `uint16`.
    U16,
    /// `uint32`.
    U32,
    /// `uint64`.
    U64,
    /// `int8`.
    I8,
    /// `int16`.
    I16,
    /// `int32`.
    I32,
    /// `int64`.
    I64,
    /// `float16`.
    F16,
    /// `bfloat16`.
    BF16,
    /// `float32`.
    F32,
    /// `float64`.
    F64,
    /// `float8_e4m3fn`: no infinities.
    F8E4M3,
    /// `float8_e5m2`: the upper half of a `float16`.
    F8E5M2,
    /// `float8_e4m3fnuz`: no infinities, no negative zero.
    F8E4M3Fnuz,
    /// `float8_e5m2fnuz`: no infinities, no negative zero.
    F8E5M2Fnuz,
    /// `float8_e8m0fnu`: a power of two.
    F8E8M0,
    /// `float4_e2m1fn`, two in a byte, the first in its low bits.
    F4,
    /// `float6_e2m3fn`, four in three bytes, the first in the lowest bits.
    F6E2M3,
    /// `float6_e3m2fn`, packed as [`F6E2M3`](StoredType::F6E2M3).
    F6E3M2,
    /// `complex32`: two `float16`.
    C32,
    /// `complex64`: two `float32`.
    C64,
    /// `complex128`: two `float64`.
    C128,
}

impl StoredType {
    /// Every type.
    pub(crate) const ALL: [StoredType; 24] = [
        StoredType::Bool,
        StoredType::U8,
        StoredType::U16,
        StoredType::U32,
        StoredType::U64,
        StoredType::I8,
        StoredType::I16,
        StoredType::I32,
        StoredType::I64,
        StoredType::F16,
        StoredType::BF16,
        StoredType::F32,
        StoredType::F64,
        StoredType::F8E4M3,
        StoredType::F8E5M2,
        StoredType::F8E4M3Fnuz,
        StoredType::F8E5M2Fnuz,
        StoredType::F8E8M0,
        StoredType::F4,
        StoredType::F6E2M3,
        StoredType::F6E3M2,
        StoredType::C32,
        StoredType::C64,
        StoredType::C128,
    ];

    /// The name that PyTorch has for it.
    pub fn name(self) -> &'static str {
        match self {
            StoredType::Bool => "bool",
            StoredType::U8 => "uint8",
            StoredType::U16 => "uint16",
            StoredType::U32 => "uint32",
            StoredType::U64 => "uint64",
            StoredType::I8 => "int8",
            StoredType::I16 => "int16",
            StoredType::I32 => "int32",
            StoredType::I64 => "int64",
            StoredType::F16 => "float16",
            StoredType::BF16 => "bfloat16",
            StoredType::F32 => "float32",
            StoredType::F64 => "float64",
            StoredType::F8E4M3 => "float8_e4m3fn",
            StoredType::F8E5M2 => "float8_e5m2",
            StoredType::F8E4M3Fnuz => "float8_e4m3fnuz",
            StoredType::F8E5M2Fnuz => "float8_e5m2fnuz",
            StoredType::F8E8M0 => "float8_e8m0fnu",
            StoredType::F4 => "float4_e2m1fn",
            StoredType::F6E2M3 => "float6_e2m3fn",
            StoredType::F6E3M2 => "float6_e3m2fn",
            StoredType::C32 => "complex32",
            StoredType::C64 => "complex64",
            StoredType::C128 => "complex128",
        }
    }

    /// Bits of one element in the file.
    pub fn bits(self) -> u64 {
        match self {
            StoredType::F4 => 4,
            StoredType::F6E2M3 | StoredType::F6E3M2 => 6,
            StoredType::Bool
            | StoredType::U8
            | StoredType::I8
            | StoredType::F8E4M3
            | StoredType::F8E5M2
            | StoredType::F8E4M3Fnuz
            | StoredType::F8E5M2Fnuz
            | StoredType::F8E8M0 => 8,
            StoredType::U16 | StoredType::I16 | StoredType::F16 | StoredType::BF16 => 16,
            StoredType::U32 | StoredType::I32 | StoredType::F32 | StoredType::C32 => 32,
            StoredType::U64 | StoredType::I64 | StoredType::F64 | StoredType::C64 => 64,
            StoredType::C128 => 128,
        }
    }

    /// The type in which its elements are analysed. All of them keep their value there, but for
    /// integers of `uint64` above 2^63, which are taken modulo 2^64: their bits stay apart.
    pub fn analysed_as(self) -> DType {
        match self {
            StoredType::Bool => DType::Bool,
            StoredType::U8 => DType::U8,
            StoredType::I8 => DType::I8,
            StoredType::I16 => DType::I16,
            StoredType::I32 | StoredType::U16 => DType::I32,
            StoredType::I64 | StoredType::U32 | StoredType::U64 => DType::I64,
            StoredType::F16 | StoredType::C32 => DType::F16,
            StoredType::BF16 => DType::BF16,
            StoredType::F32 | StoredType::C64 => DType::F32,
            StoredType::F64 | StoredType::C128 => DType::F64,
            // Every value of these is one of float16, but for the powers of two.
            StoredType::F8E4M3
            | StoredType::F8E5M2
            | StoredType::F8E4M3Fnuz
            | StoredType::F8E5M2Fnuz
            | StoredType::F4
            | StoredType::F6E2M3
            | StoredType::F6E3M2 => DType::F16,
            StoredType::F8E8M0 => DType::BF16,
        }
    }

    /// True for floating-point and complex types.
    pub fn is_float(self) -> bool {
        self.analysed_as().is_float()
    }

    /// Numbers in one element: two in a complex one.
    pub fn parts(self) -> u64 {
        match self {
            StoredType::C32 | StoredType::C64 | StoredType::C128 => 2,
            _ => 1,
        }
    }

    /// Bytes that a byte order is about: those of a number.
    pub(super) fn swapped_bytes(self) -> usize {
        usize::try_from(self.bits() / self.parts() / 8).unwrap_or(1)
    }

    /// For types of up to eight bits: the bits, as those of the type that they are analysed as, of
    /// each pattern.
    pub(super) fn table(self) -> Option<Box<[u16; 256]>> {
        let small = SmallFloat::of(self)?;
        let mut table = Box::new([0; 256]);
        for (pattern, place) in (0..=u8::MAX).zip(table.iter_mut()) {
            *place = small.widen(pattern);
        }
        Some(table)
    }

    /// For types of up to eight bits: all finite values, sorted.
    pub(crate) fn values(self) -> Option<Vec<f64>> {
        let table = self.table()?;
        let widen = |&bits: &u16| match self.analysed_as() {
            DType::BF16 => bf16::from_bits(bits).to_f64(),
            _ => f16::from_bits(bits).to_f64(),
        };
        let patterns = table.iter().take(1 << self.bits());
        let mut values: Vec<f64> = patterns
            .map(widen)
            .filter(|value| value.is_finite())
            .collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        Some(values)
    }

    /// For types of up to eight bits: by the bits of the type that they are analysed as, where a
    /// value lies in the order of values, neighbours one apart and both zeros at 0.
    pub(crate) fn ranks(self) -> Option<Vec<i16>> {
        let small = SmallFloat::of(self)?;
        let mut ranks = vec![i16::MIN; 1 << 16];
        for pattern in 0..=u8::MAX {
            let place = ranks.get_mut(usize::from(small.widen(pattern)));
            if let (Some(place), Some(rank)) = (place, small.rank(pattern)) {
                *place = rank;
            }
        }
        Some(ranks)
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A float of up to eight bits. Formats: the Open Compute Project's OFP8 and Microscaling (MX)
/// specifications, and arXiv:2206.02915 for FNUZ.
struct SmallFloat {
    kind: StoredType,
    exponent_bits: u32,
    mantissa_bits: u32,
    bias: i32,
}

impl SmallFloat {
    fn of(kind: StoredType) -> Option<SmallFloat> {
        let (exponent_bits, mantissa_bits, bias) = match kind {
            StoredType::F8E4M3 => (4, 3, 7),
            StoredType::F8E5M2 => (5, 2, 15),
            StoredType::F8E4M3Fnuz => (4, 3, 8),
            StoredType::F8E5M2Fnuz => (5, 2, 16),
            StoredType::F8E8M0 => (8, 0, 127),
            StoredType::F4 => (2, 1, 1),
            StoredType::F6E2M3 => (2, 3, 1),
            StoredType::F6E3M2 => (3, 2, 3),
            _ => return None,
        };
        Some(SmallFloat {
            kind,
            exponent_bits,
            mantissa_bits,
            bias,
        })
    }

    fn magnitude_bits(&self) -> u32 {
        self.exponent_bits + self.mantissa_bits
    }

    fn split(&self, pattern: u8) -> (bool, u32) {
        let magnitude = u32::from(pattern) & ((1 << self.magnitude_bits()) - 1);
        let is_negative = u32::from(pattern) >> self.magnitude_bits() & 1 == 1;
        (is_negative && self.kind != StoredType::F8E8M0, magnitude)
    }

    fn is_nan(&self, pattern: u8) -> bool {
        let (_, magnitude) = self.split(pattern);
        match self.kind {
            StoredType::F8E4M3 => magnitude == 0x7f,
            StoredType::F8E5M2 => magnitude > 0x7c,
            StoredType::F8E4M3Fnuz | StoredType::F8E5M2Fnuz => pattern == 0x80,
            StoredType::F8E8M0 => pattern == 0xff,
            _ => false,
        }
    }

    fn widen(&self, pattern: u8) -> u16 {
        if self.kind == StoredType::F8E8M0 {
            // As a bfloat16, whose smallest normal number is 2^-126.
            return match pattern {
                0 => 0x0040,
                0xff => 0x7fc0,
                exponent => u16::from(exponent) << 7,
            };
        }
        let (is_negative, magnitude) = self.split(pattern);
        let sign = if is_negative { 0x8000 } else { 0 };
        if self.kind == StoredType::F8E5M2 {
            return u16::from(pattern) << 8;
        }
        if self.is_nan(pattern) {
            return sign | 0x7e00;
        }
        let mantissa = magnitude & ((1 << self.mantissa_bits) - 1);
        let exponent = (magnitude >> self.mantissa_bits) as i32;
        let unit = 2_f64.powi(exponent.max(1) - self.bias - self.mantissa_bits as i32);
        let whole = match exponent {
            0 => mantissa,
            _ => mantissa | 1 << self.mantissa_bits,
        };
        sign | f16::from_f64(f64::from(whole) * unit).to_bits()
    }

    fn rank(&self, pattern: u8) -> Option<i16> {
        let (is_negative, magnitude) = self.split(pattern);
        let magnitude = i16::try_from(magnitude).ok()?;
        (!self.is_nan(pattern)).then_some(if is_negative { -magnitude } else { magnitude })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: StoredType, pattern: u8) -> f64 {
        let bits = kind.table().unwrap()[usize::from(pattern)];
        match kind.analysed_as() {
            DType::BF16 => bf16::from_bits(bits).to_f64(),
            _ => f16::from_bits(bits).to_f64(),
        }
    }

    #[test]
    fn small_floats_have_the_values_of_their_specifications() {
        // Largest, smallest normal and smallest subnormal numbers from the tables of the formats.
        for (kind, pattern, expected) in [
            (StoredType::F8E4M3, 0x7e, 448.0),
            (StoredType::F8E4M3, 0x08, 2_f64.powi(-6)),
            (StoredType::F8E4M3, 0x81, -2_f64.powi(-9)),
            (StoredType::F8E5M2, 0x7b, 57344.0),
            (StoredType::F8E5M2, 0x01, 2_f64.powi(-16)),
            (StoredType::F8E5M2, 0xfc, f64::NEG_INFINITY),
            (StoredType::F8E4M3Fnuz, 0x7f, 240.0),
            (StoredType::F8E4M3Fnuz, 0x01, 2_f64.powi(-10)),
            (StoredType::F8E5M2Fnuz, 0x7f, 57344.0),
            (StoredType::F8E5M2Fnuz, 0x01, 2_f64.powi(-17)),
            (StoredType::F8E8M0, 0x7f, 1.0),
            (StoredType::F8E8M0, 0x00, 2_f64.powi(-127)),
            (StoredType::F8E8M0, 0xfe, 2_f64.powi(127)),
            (StoredType::F4, 0x7, 6.0),
            (StoredType::F4, 0x9, -0.5),
            (StoredType::F6E2M3, 0x1f, 7.5),
            (StoredType::F6E2M3, 0x21, -0.125),
            (StoredType::F6E3M2, 0x1f, 28.0),
            (StoredType::F6E3M2, 0x01, 0.0625),
        ] {
            assert_eq!(value(kind, pattern), expected, "{kind} {pattern:#x}");
        }
        for (kind, pattern) in [
            (StoredType::F8E4M3, 0xff),
            (StoredType::F8E5M2, 0x7d),
            (StoredType::F8E4M3Fnuz, 0x80),
            (StoredType::F8E5M2Fnuz, 0x80),
            (StoredType::F8E8M0, 0xff),
        ] {
            assert!(value(kind, pattern).is_nan(), "{kind} {pattern:#x}");
        }
    }

    #[test]
    fn neighbours_in_rank_are_neighbours_in_value() {
        for kind in StoredType::ALL {
            let (Some(ranks), Some(table)) = (kind.ranks(), kind.table()) else {
                continue;
            };
            let patterns = 1 << kind.bits();
            let mut sorted: Vec<(i16, f64)> = (0..patterns)
                .map(|pattern: u16| pattern as u8)
                .filter(|pattern| !value(kind, *pattern).is_nan())
                .map(|pattern| {
                    let bits = table[usize::from(pattern)];
                    (ranks[usize::from(bits)], value(kind, pattern))
                })
                .collect();
            sorted.sort_by_key(|(rank, _)| *rank);
            for pair in sorted.windows(2) {
                let ((rank, value), (next_rank, next)) = (pair[0], pair[1]);
                assert!(next_rank - rank <= 1, "{kind}");
                assert_eq!(next_rank > rank, next > value, "{kind} {value} {next}");
            }
        }
    }
}
