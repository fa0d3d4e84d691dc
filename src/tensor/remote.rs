//! Tensors on another device: noted one by one, fetched together in few pieces.

use std::ops::Range;

use tch::{TchError, Tensor};

use crate::error::Result;
use crate::model::types::DType;
use crate::source::element_source::{ElementLayout, Stride, Transfers};
use crate::tensor::copying::{copy_into, not_copied};
use crate::tensor::layout::{contiguity, inspect};

/// Device memory that fetching may use.
const STAGING_BYTES: usize = 64 << 20;

/// A tensor on another device, to be fetched together with its neighbours.
pub(super) struct Remote {
    name: Box<str>,
    /// Without its graph, in its own shape: flattening a strided tensor copies it, and only one
    /// piece may be copied at a time.
    tensor: Tensor,
    stride: Stride,
    dtype: DType,
    /// Where its elements go in the buffer.
    bytes: Range<usize>,
}

/// What one call fetches from other devices.
#[derive(Default)]
pub(super) struct Remotes {
    remotes: Vec<Remote>,
}

impl Extend<Remote> for Remotes {
    fn extend<I: IntoIterator<Item = Remote>>(&mut self, remotes: I) {
        self.remotes.extend(remotes);
    }
}

impl Transfers for Remotes {
    /// Neighbours in the buffer are joined on their device, up to [`STAGING_BYTES`], and sent in
    /// one piece.
    fn fetch(self: Box<Self>, target: &mut [u8]) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let mut remotes = self.remotes;
        remotes.sort_by_key(|remote| remote.bytes.start);
        let mut rest = remotes.as_slice();
        while let Some((first, _)) = rest.split_first() {
            let (piece, after) = rest.split_at(piece_len(rest));
            rest = after;
            let end = piece.last().map_or(first.bytes.end, |last| last.bytes.end);
            let Some(place) = target.get_mut(first.bytes.start..end) else {
                debug_assert!(false, "a plan lies inside its buffer");
                continue;
            };
            fetch_piece(first, piece, place)?;
        }
        Ok(())
    }
}

/// Fetches neighbours, of which `first` is the first one.
fn fetch_piece(first: &Remote, piece: &[Remote], place: &mut [u8]) -> Result<()> {
    if let [one] = piece {
        return one.fetch(place);
    }
    let flat: std::result::Result<Vec<Tensor>, TchError> = piece.iter().map(Remote::flat).collect();
    let whole = flat
        .and_then(|tensors| Tensor::f_cat(&tensors, 0))
        .map_err(|error| not_copied(&first.name, &error))?;
    copy_into(&first.name, &whole, &whole.size(), first.dtype, place)
}

/// How many of the first tensors travel as one: neighbours of one type and device that fit through
/// staging.
fn piece_len(remotes: &[Remote]) -> usize {
    let [first, others @ ..] = remotes else {
        return 0;
    };
    let joins = |(last, next): &(&Remote, &Remote)| {
        last.bytes.end == next.bytes.start
            && first.dtype == next.dtype
            && first.tensor.device() == next.tensor.device()
            && next.bytes.end - first.bytes.start <= STAGING_BYTES
    };
    1 + std::iter::zip(remotes, others).take_while(joins).count()
}

impl Remote {
    /// Notes a tensor on another device, to be fetched into these bytes of a buffer; `Ok(None)`
    /// when it is not what `layout` says any more.
    pub(super) fn new(
        name: &str,
        tensor: &Tensor,
        layout: &ElementLayout,
        stride: Stride,
        bytes: Range<usize>,
    ) -> Result<Option<Remote>> {
        if !inspect(name, tensor).is_ok_and(|now| now == *layout) {
            return Ok(None);
        }
        let _guard = tch::no_grad_guard();
        let tensor = tensor
            .f_detach()
            .map_err(|error| not_copied(name, &error))?;
        Ok(Some(Remote {
            name: name.into(),
            tensor,
            stride,
            dtype: layout.dtype,
            bytes,
        }))
    }

    /// Its elements one after the other, on its device. A strided tensor is copied there.
    fn flat(&self) -> std::result::Result<Tensor, TchError> {
        strided(self.tensor.f_reshape([-1])?, self.stride)
    }

    /// Brings one tensor over. A large strided one goes in slices, so that what is copied on its
    /// device stays small.
    fn fetch(&self, target: &mut [u8]) -> Result<()> {
        let failed = |error: TchError| not_copied(&self.name, &error);
        let rows = self.tensor.size().first().copied().unwrap_or(1);
        let row_bytes = target.len() / usize::try_from(rows.max(1)).unwrap_or(1);
        let direct = target.len() <= STAGING_BYTES
            || self.stride != Stride::ALL
            || contiguity(&self.tensor) == Some(true)
            || row_bytes == 0;
        if direct {
            let flat = self.flat().map_err(failed)?;
            return copy_into(&self.name, &flat, &flat.size(), self.dtype, target);
        }
        let slice = (STAGING_BYTES / row_bytes).max(1);
        for (index, part) in target.chunks_mut(slice * row_bytes).enumerate() {
            let start = i64::try_from(index * slice).unwrap_or(i64::MAX);
            let length = i64::try_from(part.len() / row_bytes).unwrap_or(i64::MAX);
            let rows = self.tensor.f_narrow(0, start, length).map_err(failed)?;
            copy_into(&self.name, &rows, &rows.size(), self.dtype, part)?;
        }
        Ok(())
    }
}

fn strided(flat: Tensor, stride: Stride) -> std::result::Result<Tensor, TchError> {
    if stride == Stride::ALL {
        return Ok(flat);
    }
    let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    flat.f_slice(0, number(stride.start), None, number(stride.step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn fetch_remotes(remotes: Vec<Remote>, target: &mut [u8]) -> Result<()> {
        Box::new(Remotes { remotes }).fetch(target)
    }

    /// Fetching does not care which device it fetches from: on the CPU it is the same path.
    fn remotes(tensors: &[Tensor], gap_after: Option<usize>) -> (Vec<Remote>, usize) {
        let (mut list, mut end) = (Vec::new(), 0_usize);
        for (index, tensor) in tensors.iter().enumerate() {
            let layout = inspect("w", tensor).unwrap();
            let start = end.next_multiple_of(layout.dtype.size());
            end = start + layout.bytes();
            list.push(
                Remote::new("w", tensor, &layout, Stride::ALL, start..end)
                    .unwrap()
                    .unwrap(),
            );
            if gap_after == Some(index) {
                end += 64;
            }
        }
        (list, end)
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes
            .chunks_exact(4)
            .map(|float| f32::from_ne_bytes(float.try_into().unwrap()))
            .collect()
    }

    #[test]
    fn neighbours_travel_together_and_arrive_in_place() {
        let tensors = [
            Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0])
                .reshape([2, 2])
                .tr(),
            Tensor::from_slice(&[5.0_f32]).set_requires_grad(true),
            Tensor::zeros([0, 3], (Kind::Float, Device::Cpu)),
            Tensor::from_slice(&[6.0_f32, 7.0]),
        ];
        for gap_after in [None, Some(0), Some(1), Some(3)] {
            let (list, end) = remotes(&tensors, gap_after);
            assert_eq!(piece_len(&list), gap_after.map_or(4, |gap| gap + 1).min(4));
            let places: Vec<Range<usize>> =
                list.iter().map(|remote| remote.bytes.clone()).collect();
            let mut buffer = vec![0_u64; end.div_ceil(8)];
            let target: &mut [u8] = bytemuck::cast_slice_mut(&mut buffer);
            fetch_remotes(list, target).unwrap();
            let values: Vec<Vec<f32>> = places
                .into_iter()
                .map(|place| floats(&target[place]))
                .collect();
            assert_eq!(
                values,
                [vec![1.0, 3.0, 2.0, 4.0], vec![5.0], vec![], vec![6.0, 7.0]]
            );
        }
    }

    #[test]
    fn types_and_the_size_of_staging_end_a_piece() {
        let float = Tensor::zeros([4], (Kind::Float, Device::Cpu));
        let half = Tensor::zeros([4], (Kind::Half, Device::Cpu));
        let (list, _) = remotes(
            &[float.shallow_clone(), float.shallow_clone(), half, float],
            None,
        );
        assert_eq!(piece_len(&list), 2);
        assert_eq!(piece_len(&list[2..]), 1);
        let large = Tensor::zeros([STAGING_BYTES as i64 / 8 + 1], (Kind::Float, Device::Cpu));
        let (list, _) = remotes(&[large.shallow_clone(), large], None);
        assert_eq!(piece_len(&list), 1);
        assert_eq!(piece_len(&[]), 0);
    }

    #[test]
    fn a_sample_of_a_remote_tensor_is_taken_on_its_device() {
        let tensor = Tensor::arange(10, (Kind::Float, Device::Cpu)).reshape([2, 5]);
        let layout = inspect("w", &tensor).unwrap();
        let stride = Stride { start: 1, step: 4 };
        let remote = Remote::new("w", &tensor, &layout, stride, 0..12)
            .unwrap()
            .unwrap();
        let mut buffer = [0_u64; 2];
        let target: &mut [u8] = bytemuck::cast_slice_mut(&mut buffer);
        fetch_remotes(vec![remote], target).unwrap();
        assert_eq!(floats(&target[..12]), [1.0, 5.0, 9.0]);
    }

    #[test]
    fn a_large_strided_tensor_goes_in_slices() {
        let columns = STAGING_BYTES as i64 / 4 / 1000;
        let tensor = Tensor::arange(columns * 1001, (Kind::Float, Device::Cpu))
            .reshape([columns, 1001])
            .tr();
        let (list, end) = remotes(&[tensor.shallow_clone()], None);
        let mut buffer = vec![0_u64; end.div_ceil(8)];
        let target: &mut [u8] = bytemuck::cast_slice_mut(&mut buffer);
        fetch_remotes(list, target).unwrap();
        let expected = tensor.contiguous();
        let expected = <Vec<f32>>::try_from(expected.reshape([-1])).unwrap();
        assert!(end > STAGING_BYTES && floats(&target[..end]) == expected);
    }
}
