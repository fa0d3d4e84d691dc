//! Cuts a split into batches of tensors, in order or shuffled and shifted.

use tch::{Device, Kind, Tensor};

use super::{Images, Split};

/// Images as `[n, 1, rows, cols]` floats from 0 to 1 and their labels as `[n]` integers, on the
/// device asked for.
pub struct Batch {
    pub images: Tensor,
    pub labels: Tensor,
}

/// Goes through a split once. All chance comes from libtorch's generator, so `tch::manual_seed`
/// fixes it.
pub struct Batches<'a> {
    split: &'a Split,
    /// Indices of the images not handed out yet, the next one last.
    rest: Vec<i64>,
    /// Largest shift of an image, in pixels.
    shift: i64,
    batch_size: usize,
    device: Device,
}

impl<'a> Batches<'a> {
    /// For training: in a new random order, each image moved by up to one pixel in each direction.
    pub fn shuffled(
        split: &'a Split,
        batch_size: usize,
        device: Device,
    ) -> Result<Batches<'a>, tch::TchError> {
        let order = Tensor::f_randperm(split.len() as i64, (Kind::Int64, Device::Cpu))?;
        Ok(Batches {
            split,
            rest: Vec::try_from(order)?,
            shift: 1,
            batch_size,
            device,
        })
    }

    /// For validation: as stored, unchanged.
    pub fn in_order(split: &'a Split, batch_size: usize, device: Device) -> Batches<'a> {
        let rest = (0..split.len() as i64).rev().collect();
        Batches {
            split,
            rest,
            shift: 0,
            batch_size,
            device,
        }
    }

    fn batch(&self, indices: &[i64]) -> Result<Batch, tch::TchError> {
        let Images { rows, cols, .. } = self.split.images;
        let n = indices.len() as i64;
        let shifts: Vec<i64> = match self.shift {
            0 => vec![0; 2 * indices.len()],
            most => Vec::try_from(Tensor::f_randint_low(
                -most,
                most + 1,
                [2 * n],
                (Kind::Int64, Device::Cpu),
            )?)?,
        };
        let mut pixels = Vec::with_capacity(indices.len() * rows * cols);
        let mut labels = Vec::with_capacity(indices.len());
        for (index, shift) in indices.iter().zip(shifts.chunks_exact(2)) {
            let index = *index as usize;
            append_shifted(&mut pixels, &self.split.images, index, (shift[0], shift[1]));
            labels.push(i64::from(self.split.labels[index]));
        }
        let images = Tensor::f_from_slice(&pixels)?.f_view([n, 1, rows as i64, cols as i64])?;
        Ok(Batch {
            images: images.f_to(self.device)?,
            labels: Tensor::f_from_slice(&labels)?.f_to(self.device)?,
        })
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<Batch, tch::TchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.rest.len().saturating_sub(self.batch_size);
        let mut indices = self.rest.split_off(left);
        indices.reverse();
        (!indices.is_empty()).then(|| self.batch(&indices))
    }
}

/// Appends one image moved `down` and `right`; what comes in from outside is background.
fn append_shifted(pixels: &mut Vec<f32>, images: &Images, index: usize, (down, right): (i64, i64)) {
    let Images { rows, cols, .. } = *images;
    let image = &images.pixels[index * rows * cols..][..rows * cols];
    for row in 0..rows {
        let line = row
            .checked_add_signed(-down as isize)
            .and_then(|row| image.chunks_exact(cols).nth(row));
        for col in 0..cols {
            let col = col.checked_add_signed(-right as isize);
            let grey = line
                .zip(col)
                .and_then(|(line, col)| line.get(col))
                .copied()
                .unwrap_or(0);
            pixels.push(f32::from(grey) / 255.0);
        }
    }
}
