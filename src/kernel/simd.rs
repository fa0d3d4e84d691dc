//! The instruction sets that the pass is compiled for, as tokens: a value of [`Avx2`] or [`Avx512`]
//! is made by its `detect` only, so whoever has one may call a function that needs these
//! instructions.

/// The instruction set to run the pass with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Simd {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Simd {
    /// The widest that this CPU has.
    pub(super) fn detect() -> Simd {
        Simd::available().last().unwrap_or(Simd::Portable)
    }

    /// All that this CPU has, the widest last.
    pub(super) fn available() -> impl Iterator<Item = Simd> {
        let all = [
            Some(Simd::Portable),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(Simd::Avx2),
            #[cfg(target_arch = "x86_64")]
            Avx512::detect().map(Simd::Avx512),
        ];
        all.into_iter().flatten()
    }
}

/// Proof that this CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    fn detect() -> Option<Avx2> {
        is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }
}

/// Proof that this CPU has AVX2 and AVX-512 F, BW, DQ and VL, and does not lower its clock for wide
/// registers.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Avx512(());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// VBMI2 is asked for because the first generation with AVX-512, which lacks it, lowers its
    /// clock.
    fn detect() -> Option<Avx512> {
        let has_all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi2");
        has_all.then_some(Avx512(()))
    }
}
