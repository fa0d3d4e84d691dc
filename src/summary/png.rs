//! PNG files of pixels in memory.

use flate2::{Compress, FlushCompress, Status};
use png::chunk::IDAT;
use png::{BitDepth, ColorType, Compression, Encoder};

/// What the bytes of a picture are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pixels<'a> {
    Gray,
    Rgb,
    Rgba,
    /// A place in this palette of red, green and blue.
    Indexed(&'a [u8]),
}

impl Pixels<'_> {
    /// Bytes of a pixel.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Pixels::Gray | Pixels::Indexed(_) => 1,
            Pixels::Rgb => 3,
            Pixels::Rgba => 4,
        }
    }

    fn color(self) -> ColorType {
        match self {
            Pixels::Gray => ColorType::Grayscale,
            Pixels::Rgb => ColorType::Rgb,
            Pixels::Rgba => ColorType::Rgba,
            Pixels::Indexed(_) => ColorType::Indexed,
        }
    }
}

/// A file of these pixels, row by row. `None` when there are none, or not as many as the size says.
pub(crate) fn encode(
    width: usize,
    height: usize,
    data: &[u8],
    pixels: Pixels<'_>,
) -> Option<Vec<u8>> {
    let bytes = width.checked_mul(height)?.checked_mul(pixels.bytes())?;
    if bytes == 0 || bytes != data.len() {
        return None;
    }
    let mut file = Vec::with_capacity(bytes / 8 + 1024);
    let (columns, rows) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let mut encoder = Encoder::new(&mut file, columns, rows);
    encoder.set_color(pixels.color());
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    if let Pixels::Indexed(palette) = pixels {
        encoder.set_palette(palette);
    }
    let mut writer = encoder.write_header().ok()?;
    match pixels {
        Pixels::Indexed(_) => writer.write_chunk(IDAT, &drawing(data, width)?).ok()?,
        _ => writer.write_image_data(data).ok()?,
    }
    writer.finish().ok()?;
    Some(file)
}

/// The compressed lines of a drawing, of which most repeat the one above. The library would take
/// ten times as long: it clears a buffer for each line.
fn drawing(data: &[u8], width: usize) -> Option<Vec<u8>> {
    const SUBTRACT_ABOVE: u8 = 2;
    let mut lines = vec![0; data.len() + data.len() / width];
    let targets = lines.chunks_exact_mut(width + 1);
    let nothing = vec![0; width];
    let aboves = std::iter::once(&*nothing).chain(data.chunks_exact(width));
    for (target, (line, above)) in targets.zip(std::iter::zip(data.chunks_exact(width), aboves)) {
        let (filter, differences) = target.split_first_mut()?;
        *filter = SUBTRACT_ABOVE;
        for (place, (pixel, above)) in differences.iter_mut().zip(std::iter::zip(line, above)) {
            *place = pixel.wrapping_sub(*above);
        }
    }
    let mut compressed = Vec::with_capacity(data.len() / 16 + 4096);
    let mut stream = Compress::new(flate2::Compression::fast(), true);
    loop {
        let done = usize::try_from(stream.total_in()).ok()?;
        let rest = lines.get(done..)?;
        match stream
            .compress_vec(rest, &mut compressed, FlushCompress::Finish)
            .ok()?
        {
            Status::StreamEnd => return Some(compressed),
            Status::Ok | Status::BufError => compressed.reserve(compressed.capacity()),
        }
    }
}

/// An animated file of frames of this size, each shown for `delay` seconds (numerator and
/// denominator), again and again. A viewer that knows no animations shows the first.
pub(crate) fn animate(
    width: usize,
    height: usize,
    frames: &[&[u8]],
    pixels: Pixels<'_>,
    delay: (u16, u16),
) -> Option<Vec<u8>> {
    let bytes = width.checked_mul(height)?.checked_mul(pixels.bytes())?;
    if bytes == 0 || frames.is_empty() || frames.iter().any(|frame| frame.len() != bytes) {
        return None;
    }
    let mut file = Vec::new();
    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(pixels.color());
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder
        .set_animated(u32::try_from(frames.len()).ok()?, 0)
        .ok()?;
    encoder.set_frame_delay(delay.0, delay.1).ok()?;
    let mut writer = encoder.write_header().ok()?;
    for frame in frames {
        writer.write_image_data(frame).ok()?;
    }
    writer.finish().ok()?;
    Some(file)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Width, height, and all pixels as red, green, blue and opacity.
    pub(crate) fn decode(file: &[u8]) -> (usize, usize, Vec<[u8; 4]>) {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut data = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut data).unwrap();
        let pixel = |bytes: &[u8]| match *bytes {
            [gray] => [gray, gray, gray, 255],
            [red, green, blue] => [red, green, blue, 255],
            [red, green, blue, opacity] => [red, green, blue, opacity],
            _ => panic!("{:?}", info.color_type),
        };
        let pixels = data.chunks(info.color_type.samples()).map(pixel).collect();
        (info.width as usize, info.height as usize, pixels)
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let data: Vec<u8> = (0..24).collect();
        let opaque = |rgb: &[u8]| [rgb[0], rgb[1], rgb[2], 255];
        let rgb = encode(4, 2, &data, Pixels::Rgb).unwrap();
        assert_eq!(decode(&rgb), (4, 2, data.chunks(3).map(opaque).collect()));
        let rgba = encode(3, 2, &data, Pixels::Rgba).unwrap();
        let all: Vec<[u8; 4]> = data.as_chunks().0.to_vec();
        assert_eq!(decode(&rgba), (3, 2, all));
        let gray = encode(24, 1, &data, Pixels::Gray).unwrap();
        assert_eq!(decode(&gray).2[7], [7, 7, 7, 255]);
        let palette = [9, 8, 7, 1, 2, 3];
        let indexed = encode(2, 2, &[0, 1, 1, 0], Pixels::Indexed(&palette)).unwrap();
        assert_eq!(decode(&indexed).2[..2], [[9, 8, 7, 255], [1, 2, 3, 255]]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_no_picture() {
        assert_eq!(encode(0, 3, &[], Pixels::Gray), None);
        assert_eq!(encode(2, 2, &[0; 3], Pixels::Gray), None);
        assert_eq!(encode(usize::MAX, 2, &[0; 3], Pixels::Rgb), None);
    }
}
