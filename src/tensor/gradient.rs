//! What the last backward pass left: gradients, and a cheap look at them on the caller's thread, which the next pass
//! overwrites.

use crate::model::types::DType;
use crate::source::values::{Access, Facts, Glimpse, Look};
use half::{bf16, f16};

use super::{
    Metadata, Remote, Tensor, copy_by_torch, fetch_remotes, inspect, memory, remote, requires_grad,
};

/// The gradient left by the last backward pass, if there is one. Asking a tensor that is no leaf would warn.
pub(crate) fn gradient(tensor: &Tensor) -> Option<Tensor> {
    requires_grad(tensor).then(|| left_behind(tensor))?
}

/// The same of a tensor that may not require a gradient any more, and has kept one.
fn left_behind(tensor: &Tensor) -> Option<Tensor> {
    if !Metadata::of(tensor).is_leaf() {
        return None;
    }
    tensor.f_grad().ok().filter(Tensor::defined)
}

/// Elements of each gradient that its norm is estimated from: enough to tell orders of magnitude.
const SAMPLE: usize = 128;

/// Elements that one call may search for one that is not zero, over all variables.
const SEARCH: usize = 1 << 18;

/// Looks at the gradients of one call.
pub(crate) struct Glimpser {
    /// Which call it is: a long search goes on elsewhere the next time.
    turn: usize,
    budget: usize,
    /// What lies on another device, is fetched at the end in one piece.
    waiting: Vec<Waiting>,
    bytes: usize,
}

/// A sample that is not here yet.
struct Waiting {
    place: usize,
    dtype: DType,
    /// Elements of the gradient.
    elements: usize,
    start: usize,
    end: usize,
    remote: Remote,
}

impl Glimpser {
    pub(crate) fn new(turn: u64) -> Glimpser {
        Glimpser {
            turn: turn as usize,
            budget: SEARCH,
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    /// Looks at the gradient of the variable at a place of the plan; what is on another device comes with `finish`.
    pub(crate) fn look(&mut self, place: usize, tensor: &Tensor, facts: &Facts) -> Glimpse {
        let Some(gradient) = left_behind(tensor) else {
            return if requires_grad(tensor) {
                Glimpse::Undefined
            } else {
                Glimpse::Unseen
            };
        };
        // Nearly always it lies as its variable does.
        if facts.access == Access::Memory
            && let Some(bytes) = memory(&gradient, facts)
        {
            return self.look_at(facts.dtype, bytes);
        }
        self.look_elsewhere(place, &gradient).unwrap_or_default()
    }

    /// `None` for what cannot be seen cheaply.
    fn look_elsewhere(&mut self, place: usize, gradient: &Tensor) -> Option<Glimpse> {
        let _guard = tch::no_grad_guard();
        let values;
        let gradient = if gradient.is_sparse() {
            values = gradient.f_internal_values().ok()?;
            &values
        } else {
            gradient
        };
        let facts = inspect("gradient", gradient).ok()?;
        let elements = facts.elements();
        let stride = sample_stride(elements);
        let sampled = elements.div_ceil(stride);
        match facts.access {
            Access::Memory => {
                let bytes = memory(gradient, &facts)?;
                Some(self.look_at(facts.dtype, bytes))
            }
            Access::Copy => {
                let mut sample = vec![0_u64; (sampled * facts.dtype.size()).div_ceil(8)];
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut sample);
                let bytes = bytes.get_mut(..sampled * facts.dtype.size())?;
                copy_by_torch("gradient", gradient, &facts, (0, stride), bytes).ok()?;
                Some(summary(facts.dtype, bytes, elements))
            }
            Access::Remote => {
                let start = self.bytes.next_multiple_of(facts.dtype.size());
                let end = start + sampled * facts.dtype.size();
                let remote =
                    remote("gradient", gradient, &facts, (0, stride), start..end).ok()??;
                self.bytes = end;
                self.waiting.push(Waiting {
                    place,
                    dtype: facts.dtype,
                    elements,
                    start,
                    end,
                    remote,
                });
                None
            }
            Access::Convert => None,
        }
    }

    /// Looks at a gradient in host memory.
    fn look_at(&mut self, dtype: DType, bytes: &[u8]) -> Glimpse {
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
    ) -> Option<Glimpse> {
        let values: &[T] = bytemuck::try_cast_slice(bytes).ok()?;
        let mut sample = [0.0; SAMPLE];
        let sampled = sample.get_mut(..values.len().min(SAMPLE))?;
        for (index, taken) in sampled.iter_mut().enumerate() {
            *taken = widen(values.get(place(index, values.len()))?);
        }
        let glimpse = of_sample(sampled, values.len());
        if glimpse != Glimpse::PerhapsZero {
            return Some(glimpse);
        }
        // A search that does not reach the end goes on from there the next time.
        let length = values.len().min(self.budget);
        self.budget -= length;
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
            true => Glimpse::NonZero(None),
            false if length == values.len() => Glimpse::Zero,
            false => Glimpse::PerhapsZero,
        })
    }

    /// Fetches what lies on other devices.
    pub(crate) fn finish(self, looks: &mut [Look]) {
        if self.waiting.is_empty() {
            return;
        }
        let mut sample = vec![0_u64; self.bytes.div_ceil(8)];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut sample);
        let (remotes, places): (Vec<Remote>, Vec<_>) = self
            .waiting
            .into_iter()
            .map(|one| {
                (
                    one.remote,
                    (one.place, one.dtype, one.elements, one.start..one.end),
                )
            })
            .unzip();
        // What cannot be fetched was not seen: the weights, which can, are the caller's business.
        if fetch_remotes(remotes, bytes).is_err() {
            return;
        }
        for (place, dtype, elements, range) in places {
            if let (Some(look), Some(sample)) = (looks.get_mut(place), bytes.get(range)) {
                look.glimpse = summary(dtype, sample, elements);
            }
        }
    }
}

/// Where the sampled element of this number lies: all of a small gradient, else one anywhere in each of as many stretches.
/// Evenly spaced ones would stay in a few columns, and those of an input that is always zero would be taken for all.
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
fn summary(dtype: DType, sample: &[u8], elements: usize) -> Glimpse {
    fn wide<T: bytemuck::Pod>(sample: &[u8], widen: impl Fn(T) -> f64, elements: usize) -> Glimpse {
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
        _ => Glimpse::Unseen,
    }
}

/// The same of widened values.
fn of_sample(values: &[f64], elements: usize) -> Glimpse {
    let squares = sum_of_squares(values);
    if !squares.is_finite() {
        Glimpse::NonFinite
    } else if squares > 0.0 {
        let scale = elements as f64 / values.len() as f64;
        Glimpse::NonZero(Some((squares * scale).sqrt()))
    } else if values.len() == elements {
        Glimpse::Zero
    } else {
        Glimpse::PerhapsZero
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
    use tch::{Device, Kind};

    /// A leaf of this shape whose gradient is `gradient`.
    fn leaf(gradient: &Tensor) -> Tensor {
        let leaf = Tensor::zeros(gradient.size(), (gradient.kind(), Device::Cpu));
        let leaf = leaf.set_requires_grad(true);
        (&leaf * gradient).sum(gradient.kind()).backward();
        leaf
    }

    fn look(tensor: &Tensor) -> Glimpse {
        let facts = inspect("w", tensor).unwrap();
        Glimpser::new(0).look(0, tensor, &facts)
    }

    fn norm(glimpse: Glimpse) -> f64 {
        match glimpse {
            Glimpse::NonZero(Some(norm)) => norm,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn states_of_a_gradient() {
        let float = (Kind::Float, Device::Cpu);
        assert_eq!(look(&Tensor::zeros([3], float)), Glimpse::Unseen);
        let waiting = Tensor::zeros([3], float).set_requires_grad(true);
        assert_eq!(look(&waiting), Glimpse::Undefined);
        assert_eq!(
            look(&leaf(&Tensor::zeros([300, 300], float))),
            Glimpse::Zero
        );
        let large = Tensor::zeros([SEARCH as i64 + 1], float);
        assert_eq!(look(&leaf(&large)), Glimpse::PerhapsZero);
        let wild = Tensor::from_slice(&[1.0_f32, f32::NAN]);
        assert_eq!(look(&leaf(&wild)), Glimpse::NonFinite);
        assert_eq!(norm(look(&leaf(&Tensor::from_slice(&[3.0_f32, 4.0])))), 5.0);
    }

    #[test]
    fn a_norm_is_estimated_in_every_type_and_layout() {
        for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
            let gradient = Tensor::ones([64, 64], (kind, Device::Cpu));
            assert!(
                (norm(look(&leaf(&gradient))) - 64.0).abs() < 1e-3,
                "{kind:?}"
            );
        }
        let turned = Tensor::ones([64, 32], (Kind::Float, Device::Cpu)).tr();
        assert!((norm(look(&leaf(&turned))) - 2048_f64.sqrt()).abs() < 1e-3);
    }

    #[test]
    fn columns_without_a_gradient_do_not_hide_the_others() {
        for width in [64_i64, 48, 9, 49, 768, 512] {
            let gradient = Tensor::ones([256, width], (Kind::Float, Device::Cpu));
            let _ = gradient.slice(1, 0, width / 4, 1).fill_(0.0);
            let (found, truth) = (
                norm(look(&leaf(&gradient))),
                gradient.norm().double_value(&[]),
            );
            assert!(
                (0.8..1.25).contains(&(found / truth)),
                "{width}: {found} {truth}"
            );
        }
    }

    #[test]
    fn one_element_is_found_in_turn() {
        let gradient = Tensor::zeros([4 * SEARCH as i64], (Kind::Float, Device::Cpu));
        let _ = gradient.get(3 * SEARCH as i64 + 5).fill_(1.0);
        let tensor = leaf(&gradient);
        let facts = inspect("w", &tensor).unwrap();
        let looks: Vec<Glimpse> = (0..4)
            .map(|turn| Glimpser::new(turn).look(0, &tensor, &facts))
            .collect();
        assert_eq!(looks[3], Glimpse::NonZero(None));
        assert_eq!(looks[0], Glimpse::PerhapsZero);
    }

    #[test]
    fn what_lies_elsewhere_comes_at_the_end() {
        let gradient = Tensor::from_slice(&[0.0_f32, 3.0, 4.0, 0.0]);
        let facts = inspect("w", &gradient).unwrap();
        let mut glimpser = Glimpser::new(0);
        let remote = remote("w", &gradient, &facts, (0, 1), 0..16)
            .unwrap()
            .unwrap();
        glimpser.bytes = 16;
        glimpser.waiting.push(Waiting {
            place: 1,
            dtype: DType::F32,
            elements: 4,
            start: 0,
            end: 16,
            remote,
        });
        let mut looks = [Look::default(); 2];
        glimpser.finish(&mut looks);
        let glimpses = looks.map(|look| look.glimpse);
        assert_eq!(glimpses, [Glimpse::Unseen, Glimpse::NonZero(Some(5.0))]);
    }
}
