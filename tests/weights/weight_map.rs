//! The picture `weight_map`: when it is written, and that it shows what the weights did.

use tch_tensorboard::proto::summary::value::Value;
use tch_tensorboard::{Cadence, OnFull, WeightOptions};

use crate::run::{Run, Written};

/// Width and colours of a picture.
type Picture = (usize, Vec<[u8; 3]>);

/// The steps of the pictures of a tag, and the newest picture.
fn pictures(written: &Written, tag: &str) -> (Vec<i64>, Option<Picture>) {
    let of_tag = written.values.iter().filter(|(_, value)| value.tag == tag);
    let files: Vec<(i64, &Vec<u8>)> = of_tag
        .map(|(step, value)| match &value.value {
            Some(Value::Tensor(tensor)) => (*step, &tensor.string_val[2]),
            other => panic!("{other:?}"),
        })
        .collect();
    let newest = files.last().map(|(_, file)| decoded(file));
    (files.into_iter().map(|(step, _)| step).collect(), newest)
}

fn decoded(file: &[u8]) -> Picture {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    (info.width as usize, data.as_chunks().0.to_vec())
}

const GREY: [u8; 3] = [0xbe, 0xbe, 0xbe];
const RED: [u8; 3] = [0xd4, 0, 0];

#[test]
fn the_newest_picture_shows_the_whole_run() {
    let run = Run::new();
    let (mut moves, mut breaks, rests) = (vec![1.0_f32; 50], vec![1.0_f32; 50], vec![1.0_f32; 50]);
    for step in 0..200 {
        let factor = 1.0 - 0.001 * (1.0 + (step % 3) as f32);
        moves.iter_mut().for_each(|weight| *weight *= factor);
        breaks.iter_mut().for_each(|weight| *weight *= factor);
        if step == 150 {
            breaks[3] = f32::NAN;
        }
        // Steps of the user's own numbers.
        let named = [("moves", &moves), ("breaks", &breaks), ("rests", &rests)];
        run.log_weights(&named, step * 10).unwrap();
    }
    let (steps, newest) = pictures(&run.finish(), "weight_map");
    let doubling = [160, 320, 640, 1280];
    assert!(
        doubling.iter().all(|step| steps.contains(step)),
        "{steps:?}"
    );
    assert_eq!(steps.last(), Some(&1990), "{steps:?}");
    assert!(
        steps.iter().any(|&step| (1500..1600).contains(&step)),
        "of the finding: {steps:?}"
    );
    assert!(
        steps.is_sorted_by(|a, b| a < b) && steps.len() < 9,
        "{steps:?}"
    );
    let (width, pixels) = newest.unwrap();
    let rows: Vec<&[[u8; 3]]> = pixels.chunks(width).collect();
    // Below the legend: the longest lines of one colour.
    let longest = |color| {
        let count = |row: &&[[u8; 3]]| row.iter().filter(|&&pixel| pixel == color).count();
        rows.iter().skip(36).map(count).max().unwrap()
    };
    assert!(
        longest(GREY) > 500,
        "one row rests from the first step to the last"
    );
    assert!(
        (110..150).contains(&longest(RED)),
        "a quarter of the run: {}",
        longest(RED)
    );
}

#[test]
fn scopes_have_pictures_of_their_own_and_it_can_be_switched_off() {
    let write = |options: WeightOptions| {
        let run = Run::with(options);
        let scoped = run.scoped("critic").unwrap();
        for step in 0..5_i32 {
            let weights = [step as f32; 4];
            run.log_weights(&("w", &weights), step).unwrap();
            scoped.log_weights(&("w", &weights), step).unwrap();
        }
        run.finish()
    };
    let written = write(WeightOptions::new());
    for tag in ["weight_map", "weight_map/critic"] {
        assert_eq!(pictures(&written, tag).0, [4], "{tag}");
    }
    let written = write(WeightOptions::new().weight_map(false));
    let maps = written
        .values
        .iter()
        .filter(|(_, value)| value.tag.starts_with("weight_map"));
    assert_eq!(maps.count(), 0);
}

#[test]
fn one_call_is_no_picture() {
    let run = Run::new();
    run.log_weights(&("w", &[1.0_f32, 2.0]), 0).unwrap();
    assert_eq!(pictures(&run.finish(), "weight_map").0, [0_i64; 0]);
}

#[test]
fn all_pictures_of_a_run_are_at_most_a_megabyte() {
    let never = Cadence::Every(0);
    let options = WeightOptions::new().scalars(never).histograms(never);
    let run = Run::build(|builder| builder.on_full(OnFull::Block).weights(options));
    let mut noise = 1_u64;
    let mut bytes = 0;
    for scope in 0..60 {
        let scoped = run.scoped(&format!("m{scope}")).unwrap();
        for step in 0..257 {
            let names: Vec<String> = (0..64).map(|place| format!("w{place}")).collect();
            let mut weight = |_| {
                noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1);
                [(noise >> 40) as f32 / ((noise >> 20 & 0xff) + 1) as f32]
            };
            let weights: Vec<[f32; 1]> = (0..64).map(&mut weight).collect();
            let named: Vec<(&str, &[f32; 1])> =
                names.iter().map(String::as_str).zip(&weights).collect();
            scoped.log_weights(&*named, step).unwrap();
        }
    }
    let written = run.finish();
    for (_, value) in &written.values {
        if let (true, Some(Value::Tensor(tensor))) =
            (value.tag.starts_with("weight_map"), &value.value)
        {
            assert!(tensor.string_val[2].len() <= 60_000);
            bytes += tensor.string_val[2].len();
        }
    }
    assert!((500_000..=1 << 20).contains(&bytes), "{bytes}");
}
