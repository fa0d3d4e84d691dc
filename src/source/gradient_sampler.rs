//! A cheap look at gradients on the caller's thread, since the next backward pass overwrites them.
//!
//! 128 elements of each gradient, and a bounded search for one that is not zero. Norms are
//! estimates of the order of magnitude; `log_gradients` replaces them by exact ones.

use std::ops::Range;

use half::{bf16, f16};

use crate::model::types::DType;
use crate::platform::optimised::IS_UNOPTIMISED;
use crate::source::element_source::{
    Access, CopyMethod, ElementLayout, ElementSource, Peek, PendingTransfers, Stride,
};

/// What a sample of a gradient shows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum GradientSample {
    /// Not looked at.
    #[default]
    Unseen,
    /// There is none.
    Undefined,
    /// All elements are zero.
    Zero,
    /// The elements looked at are zero, and there are too many to look at all.
    PerhapsZero,
    /// Some element is not zero; its norm, unless that is not known.
    NonZero(Option<f64>),
    /// Some element is NaN or infinite.
    NonFinite,
}

/// What a call sees of a variable beside its values.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Look {
    pub(crate) glimpse: GradientSample,
    /// Whether it requires a gradient; `None` for what is no tensor.
    pub(crate) required: Option<bool>,
}

/// What errors call a gradient, which nobody sees: a gradient that cannot be read is unseen.
const GRADIENT: &str = "gradient";

/// Elements of each gradient that its norm is estimated from: enough to tell orders of magnitude.
const SAMPLE: usize = 128;

/// Samples the gradients of one call.
pub(crate) struct GradientSampler {
    /// Which call it is: a long search goes on elsewhere the next time.
    turn: usize,
    budget: usize,
    /// Samples on another device are fetched at the end, together.
    waiting: Vec<WaitingSample>,
    transfers: PendingTransfers,
    bytes: usize,
}

/// A sample that is not here yet.
struct WaitingSample {
    place: usize,
    dtype: DType,
    /// Elements of the gradient.
    elements: usize,
    range: Range<usize>,
}

impl GradientSampler {
    /// Elements that one call may search for one that is not zero, over all variables.
    pub(crate) const SEARCH: usize = 1 << 18;

    /// `turn` counts the calls.
    pub(crate) fn new(turn: u64) -> GradientSampler {
        GradientSampler {
            turn: turn as usize,
            budget: GradientSampler::SEARCH,
            waiting: Vec::new(),
            transfers: PendingTransfers::default(),
            bytes: 0,
        }
    }

    /// Samples the gradient of the variable at a place of the plan; what is on another device comes
    /// with `finish`.
    pub(crate) fn sample(
        &mut self,
        place: usize,
        source: &dyn ElementSource,
        layout: &ElementLayout,
    ) -> GradientSample {
        let mut sample = GradientSample::Unseen;
        // Also one that a variable has kept which requires none any more.
        source.with_kept_gradient(&mut |gradient| {
            sample = match gradient {
                Some(gradient) => self.sample_gradient(place, gradient, layout),
                None if source.requires_grad() == Some(true) => GradientSample::Undefined,
                None => GradientSample::Unseen,
            };
        });
        sample
    }

    fn sample_gradient(
        &mut self,
        place: usize,
        gradient: &dyn ElementSource,
        layout: &ElementLayout,
    ) -> GradientSample {
        // Nearly always it lies as its variable does.
        if layout.access == Access::Memory
            && let Peek::Bytes(bytes) = gradient.peek(layout)
        {
            return self.look_at(layout.dtype, bytes);
        }
        let mut sample = None;
        gradient.with_stored(&mut |stored| sample = self.sample_elsewhere(place, stored));
        sample.unwrap_or_default()
    }

    /// `None` for what cannot be seen cheaply.
    fn sample_elsewhere(
        &mut self,
        place: usize,
        gradient: &dyn ElementSource,
    ) -> Option<GradientSample> {
        let layout = gradient.inspect(GRADIENT).ok()?;
        let elements = layout.elements();
        let stride = Stride {
            start: 0,
            step: sample_stride(elements),
        };
        let (size, sampled) = (layout.dtype.size(), stride.count(elements));
        match layout.access {
            Access::Memory => match gradient.peek(&layout) {
                Peek::Bytes(bytes) => Some(self.look_at(layout.dtype, bytes)),
                Peek::Changed | Peek::Hidden => None,
            },
            Access::Copy => {
                let mut sample = vec![0_u64; (sampled * size).div_ceil(8)];
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut sample);
                let bytes = bytes.get_mut(..sampled * size)?;
                let method = CopyMethod::Plain;
                let copied = gradient.copy(GRADIENT, &layout, stride, method, bytes);
                copied.ok()?.then(|| summary(layout.dtype, bytes, elements))
            }
            Access::Remote => {
                let start = self.bytes.next_multiple_of(size);
                let range = start..start + sampled * size;
                let (to, transfers) = (range.clone(), &mut self.transfers);
                let noted = gradient.fetch_later(GRADIENT, &layout, stride, to, transfers);
                if noted.ok()? {
                    self.bytes = range.end;
                    self.waiting.push(WaitingSample {
                        place,
                        dtype: layout.dtype,
                        elements,
                        range,
                    });
                }
                None
            }
            Access::Convert => None,
        }
    }

    /// Looks at a gradient in host memory.
    fn look_at(&mut self, dtype: DType, bytes: &[u8]) -> GradientSample {
        let seen = match dtype {
            DType::F32 => self.of_slice::<f32>(bytes, |x| f64::from(*x)),
            DType::F64 => self.of_slice::<f64>(bytes, |x| *x),
            DType::F16 => self.of_slice::<f16>(bytes, |x| f64::from(*x)),
            DType::BF16 => self.of_slice::<bf16>(bytes, |x| f64::from(*x)),
            _ => None,
        };
        seen.unwrap_or_default()
    }

    fn of_slice<T: bytemuck::Pod>(
        &mut self,
        bytes: &[u8],
        widen: impl Fn(&T) -> f64 + Copy,
    ) -> Option<GradientSample> {
        let values: &[T] = bytemuck::try_cast_slice(bytes).ok()?;
        let mut sample = [0.0; SAMPLE];
        let sampled = sample.get_mut(..values.len().min(SAMPLE))?;
        for (index, taken) in sampled.iter_mut().enumerate() {
            *taken = widen(values.get(place(index, values.len()))?);
        }
        let sample = of_sample(sampled, values.len());
        if sample != GradientSample::PerhapsZero {
            return Some(sample);
        }
        // A search that does not reach the end goes on from there the next time.
        let length = values.len().min(self.budget);
        self.budget -= length;
        if length == values.len() && is_all_zeros(bytes) {
            return Some(GradientSample::Zero);
        }
        let length = length.min(SEARCHED);
        let start = match values.len() {
            all if all == length => 0,
            all => (self.turn.wrapping_mul(length)) % all,
        };
        let (before, after) = values.split_at_checked(start)?;
        let found = after
            .iter()
            .chain(before)
            .take(length)
            .any(|value| widen(value) != 0.0);
        Some(match found {
            true => GradientSample::NonZero(None),
            false if length == values.len() => GradientSample::Zero,
            false => GradientSample::PerhapsZero,
        })
    }

    /// Fetches the samples on other devices.
    pub(crate) fn finish(self, looks: &mut [Look]) {
        if self.waiting.is_empty() {
            return;
        }
        let mut memory = vec![0_u64; self.bytes.div_ceil(8)];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut memory);
        // What cannot be fetched was not seen: the weights, which can, are the caller's business.
        if self.transfers.fetch(bytes).is_err() {
            return;
        }
        for waiting in self.waiting {
            let sample = bytes.get(waiting.range);
            if let (Some(look), Some(sample)) = (looks.get_mut(waiting.place), sample) {
                look.glimpse = summary(waiting.dtype, sample, waiting.elements);
            }
        }
    }
}

/// Elements of one gradient that are searched one by one, which takes a hundred times as long in an
/// unoptimised build.
const SEARCHED: usize = if IS_UNOPTIMISED { 1 << 12 } else { 1 << 18 };

/// Whether all bytes are zero, by comparing each with the next: `memcmp` is fast in any build.
fn is_all_zeros(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == 0 && bytes.get(..rest.len()) == Some(rest),
    }
}

/// Where the sampled element of this number lies: all of a small gradient, else one anywhere in
/// each of as many stretches. Evenly spaced ones would stay in a few columns, and those of an input
/// that is always zero would be taken for all.
fn place(index: usize, elements: usize) -> usize {
    let stretch = elements / SAMPLE;
    if elements <= SAMPLE {
        return index;
    }
    // Multiplicative hashing (Knuth): the top bits are as good as random, and the same each time.
    let chance = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    index * elements / SAMPLE + ((chance * stretch as u64) >> 32) as usize
}

/// Every so many elements are sampled where only even steps can be had, with no small divisor.
fn sample_stride(elements: usize) -> usize {
    let mut stride = elements.div_ceil(SAMPLE).max(1);
    while stride > 1
        && [2, 3, 5, 7]
            .iter()
            .any(|divisor| stride.is_multiple_of(*divisor))
    {
        stride += 1;
    }
    stride
}

/// What a sample of at most [`SAMPLE`] elements says of a gradient of so many.
fn summary(dtype: DType, sample: &[u8], elements: usize) -> GradientSample {
    fn wide<T: bytemuck::Pod>(
        sample: &[u8],
        widen: impl Fn(T) -> f64,
        elements: usize,
    ) -> GradientSample {
        let values = sample
            .chunks_exact(size_of::<T>())
            .map(bytemuck::pod_read_unaligned::<T>);
        let values: Vec<f64> = values.map(widen).collect();
        of_sample(&values, elements)
    }
    match dtype {
        DType::F32 => wide::<f32>(sample, f64::from, elements),
        DType::F64 => wide::<f64>(sample, |value| value, elements),
        DType::F16 => wide::<f16>(sample, f64::from, elements),
        DType::BF16 => wide::<bf16>(sample, f64::from, elements),
        _ => GradientSample::Unseen,
    }
}

/// The same of widened values.
fn of_sample(values: &[f64], elements: usize) -> GradientSample {
    let squares = sum_of_squares(values);
    if !squares.is_finite() {
        GradientSample::NonFinite
    } else if squares > 0.0 {
        let scale = elements as f64 / values.len() as f64;
        GradientSample::NonZero(Some((squares * scale).sqrt()))
    } else if values.len() == elements {
        GradientSample::Zero
    } else {
        GradientSample::PerhapsZero
    }
}

/// In several sums, none of which waits for another.
fn sum_of_squares(values: &[f64]) -> f64 {
    let (rows, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for row in rows {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value * value;
        }
    }
    let rest = rest.iter().map(|value| value * value);
    sums.into_iter().chain(rest).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::source::element_source::Transfers;

    /// Stands for a tensor on another device, whose gradient are these numbers.
    struct Elsewhere(&'static [f32]);

    impl ElementSource for Elsewhere {
        fn inspect(&self, _name: &str) -> Result<ElementLayout> {
            Ok(ElementLayout {
                dtype: DType::F32,
                shape: vec![self.0.len() as i64],
                access: Access::Remote,
            })
        }

        fn copy(
            &self,
            _name: &str,
            _layout: &ElementLayout,
            _stride: Stride,
            _method: CopyMethod,
            _target: &mut [u8],
        ) -> Result<bool> {
            Ok(false)
        }

        fn peek(&self, _layout: &ElementLayout) -> Peek<'_> {
            Peek::Hidden
        }

        fn fetch_later(
            &self,
            _name: &str,
            _layout: &ElementLayout,
            stride: Stride,
            bytes: Range<usize>,
            transfers: &mut PendingTransfers,
        ) -> Result<bool> {
            let elements = self.0.iter().skip(stride.start).step_by(stride.step);
            let sample: Vec<f32> = elements.copied().collect();
            let queue: &mut Noted = transfers.queue().expect("one type of queue");
            queue.0.push((bytes, sample));
            Ok(true)
        }

        fn with_kept_gradient(&self, see: &mut dyn FnMut(Option<&dyn ElementSource>)) {
            see(Some(self));
        }

        fn with_stored(&self, see: &mut dyn FnMut(&dyn ElementSource)) {
            see(self);
        }
    }

    #[derive(Default)]
    struct Noted(Vec<(Range<usize>, Vec<f32>)>);

    impl Transfers for Noted {
        fn fetch(self: Box<Self>, target: &mut [u8]) -> Result<()> {
            for (bytes, sample) in self.0 {
                target[bytes].copy_from_slice(bytemuck::cast_slice(&sample));
            }
            Ok(())
        }
    }

    #[test]
    fn samples_of_another_device_come_at_the_end() {
        let (flat, steep) = (Elsewhere(&[0.0; 2]), Elsewhere(&[0.0, 3.0, 4.0, 0.0]));
        let mut sampler = GradientSampler::new(0);
        for (place, source) in [&flat, &steep].into_iter().enumerate() {
            let layout = source.inspect("w").unwrap();
            let sample = sampler.sample(place + 1, source, &layout);
            assert_eq!(sample, GradientSample::Unseen);
        }
        let mut looks = [Look::default(); 3];
        sampler.finish(&mut looks);
        let samples = looks.map(|look| look.glimpse);
        let expected = [
            GradientSample::Unseen,
            GradientSample::Zero,
            GradientSample::NonZero(Some(5.0)),
        ];
        assert_eq!(samples, expected);
    }
}
