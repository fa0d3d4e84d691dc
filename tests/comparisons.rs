//! Comparisons of two checkpoints: what became of each tensor, whatever its type, place and name.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use half::bf16;
use tch_tensorboard::{ChangeVerdict, Checkpoint, CheckpointDiff, Comparison, TensorChange};

/// A tensor to be saved.
struct Saved {
    name: &'static str,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn f32s(name: &'static str, shape: &[usize], values: &[f32]) -> Saved {
    Saved {
        name,
        dtype: "F32",
        shape: shape.to_vec(),
        bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

fn bf16s(name: &'static str, values: &[bf16]) -> Saved {
    Saved {
        name,
        dtype: "BF16",
        shape: vec![values.len()],
        bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

fn save(path: &Path, tensors: &[Saved]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for tensor in tensors {
        let start = data.len();
        data.extend(&tensor.bytes);
        let entry = serde_json::json!({
            "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, data.len()],
        });
        header.insert(tensor.name.to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    std::fs::write(path, file).unwrap();
}

fn compare(a: &[Saved], b: &[Saved]) -> Comparison {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str, tensors: &[Saved]| {
        let path = dir.path().join(name);
        save(&path, tensors);
        Checkpoint::open(path).unwrap()
    };
    let (a, b) = (open("a.safetensors", a), open("b.safetensors", b));
    CheckpointDiff::new(&a, &b).threads(2).run().unwrap()
}

/// The only row of two checkpoints of one tensor.
fn compare_one(a: Saved, b: Saved) -> TensorChange {
    let comparison = compare(&[a], &[b]);
    assert_eq!(comparison.rows.len(), 1, "{:?}", comparison.rows);
    comparison.rows[0].clone()
}

fn row<'a>(comparison: &'a Comparison, name: &str) -> &'a TensorChange {
    let found = comparison.rows.iter().find(|row| row.name == name);
    found.unwrap_or_else(|| panic!("no row {name}"))
}

fn reason(row: &TensorChange) -> &str {
    row.reason.as_deref().unwrap_or_default()
}

fn ramp(count: usize) -> Vec<f32> {
    let wave = |index: usize| (index as f32 * 0.7 + 0.1).sin();
    (0..count).map(wave).collect()
}

/// The next number of the type, away from zero or towards it, by turns.
fn next(bits: u32, index: usize) -> u32 {
    if index.is_multiple_of(2) {
        bits + 1
    } else {
        bits - 1
    }
}

#[test]
fn a_step_to_the_next_number_is_rounding_in_single_precision_and_training_in_half() {
    let a = ramp(200);
    let moved = a.iter().enumerate();
    let moved: Vec<f32> = moved
        .map(|(index, x)| f32::from_bits(next(x.to_bits(), index)))
        .collect();
    let row = compare_one(f32s("w", &[200], &a), f32s("w", &[200], &moved));
    assert_eq!(row.verdict, ChangeVerdict::Rounding, "{row:?}");
    let a: Vec<bf16> = a.iter().map(|x| bf16::from_f32(*x)).collect();
    let moved = a
        .iter()
        .enumerate()
        .map(|(index, x)| bf16::from_bits(next(u32::from(x.to_bits()), index) as u16));
    let moved: Vec<bf16> = moved.collect();
    let row = compare_one(bf16s("w", &a), bf16s("w", &moved));
    assert_eq!(row.verdict, ChangeVerdict::Changed, "{row:?}");
    assert!(reason(&row).contains("one ulp"), "{row:?}");
}

#[test]
fn weights_that_were_loaded_from_half_precision_and_trained_a_little_have_changed() {
    let coarse: Vec<f32> = ramp(200)
        .iter()
        .map(|x| bf16::from_f32(*x).to_f32())
        .collect();
    let trained = coarse.iter().enumerate();
    let trained: Vec<f32> = trained
        .map(|(index, x)| x * if index % 3 == 0 { 1.0007 } else { 0.9996 })
        .collect();
    let shape = [200];
    let forth = compare_one(f32s("w", &shape, &coarse), f32s("w", &shape, &trained));
    assert_eq!(forth.verdict, ChangeVerdict::Changed, "{forth:?}");
    let back = compare_one(f32s("w", &shape, &trained), f32s("w", &shape, &coarse));
    assert_eq!(back.verdict, ChangeVerdict::Rounding, "{back:?}");
    assert_eq!(reason(&back), "as a cast to bfloat16 leaves it");
    // Of two types the cast says which side it was.
    let half: Vec<bf16> = coarse.iter().map(|x| bf16::from_f32(*x)).collect();
    let wider = compare_one(bf16s("w", &half), f32s("w", &shape, &trained));
    assert_eq!(wider.verdict, ChangeVerdict::Rounding, "{wider:?}");
    assert_eq!(reason(&wider), "A is B as a cast to bfloat16 leaves it");
}

fn integers(dtype: &'static str, bytes: Vec<u8>, size: usize) -> Saved {
    Saved {
        name: "w",
        dtype,
        shape: vec![bytes.len() / size],
        bytes,
    }
}

#[test]
fn integers_of_two_types_are_compared_exactly() {
    let i64s = |values: &[i64]| {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        integers("I64", bytes, 8)
    };
    let u64s = |values: &[u64]| {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        integers("U64", bytes, 8)
    };
    let i32s = |values: &[i32]| {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        integers("I32", bytes, 4)
    };
    let large = 1_i64 << 60;
    for (a, b, changed) in [
        (i64s(&[-1, 7]), u64s(&[u64::MAX, 7]), 1),
        (i64s(&[large + 1, 7]), u64s(&[large as u64, 7]), 1),
        (i64s(&[large + 1, 7]), u64s(&[large as u64 + 1, 7]), 0),
        (i32s(&[-1, 7, 9]), u64s(&[u64::MAX, 8, 9]), 2),
        (i32s(&[-1, i32::MAX]), i64s(&[-1, i64::from(i32::MAX)]), 0),
    ] {
        let row = compare_one(a, b);
        let verdict = match changed {
            0 => ChangeVerdict::Retyped,
            _ => ChangeVerdict::Changed,
        };
        let found = (row.verdict, row.statistics.unwrap().changed);
        assert_eq!(found, (verdict, changed), "{row:?}");
    }
}

#[test]
fn another_shape_hides_no_fault() {
    let (a, mut broken) = (ramp(12), ramp(12));
    broken[3] = f32::NAN;
    let verdict = |b: &[f32]| compare_one(f32s("w", &[3, 4], &a), f32s("w", &[2, 6], b));
    assert_eq!(verdict(&broken).verdict, ChangeVerdict::NonFinite);
    assert_eq!(verdict(&[0.0; 12]).verdict, ChangeVerdict::Zero);
    let same = verdict(&a);
    assert_eq!(same.verdict, ChangeVerdict::Reshaped);
    assert_eq!(reason(&same), "the same elements in order");
    let shifted: Vec<f32> = a.iter().map(|x| x + 0.5).collect();
    assert_eq!(reason(&verdict(&shifted)), "other elements");
}

#[test]
fn only_contents_that_vary_are_found_under_another_name() {
    let (ones, zeros) = (vec![1.0; 30], vec![0.0; 30]);
    let a = [
        f32s("old.weight", &[5, 6], &ramp(30)),
        f32s("old.scale", &[30], &ones),
        f32s("old.bias", &[30], &zeros),
    ];
    let b = [
        f32s("new.weight", &[5, 6], &ramp(30)),
        f32s("other.gain", &[30], &ones),
        f32s("other.offset", &[30], &zeros),
    ];
    let comparison = compare(&a, &b);
    let renamed = row(&comparison, "old.weight");
    assert_eq!(renamed.verdict, ChangeVerdict::Renamed);
    assert_eq!(renamed.other_name.as_deref(), Some("new.weight"));
    for name in ["old.scale", "old.bias"] {
        let row = row(&comparison, name);
        assert_eq!(row.verdict, ChangeVerdict::Missing, "{row:?}");
    }
    assert_eq!(
        comparison.counts(),
        [
            (ChangeVerdict::Renamed, 1),
            (ChangeVerdict::Missing, 2),
            (ChangeVerdict::Added, 2),
        ]
    );
    // With rows and columns swapped, too.
    let a = ramp(30);
    let swapped: Vec<f32> = (0..30).map(|at| a[at % 5 * 6 + at / 5]).collect();
    let comparison = compare(&[f32s("w", &[5, 6], &a)], &[f32s("v", &[6, 5], &swapped)]);
    let row = row(&comparison, "w");
    assert_eq!(row.verdict, ChangeVerdict::Transposed, "{row:?}");
    assert_eq!(row.other_name.as_deref(), Some("v"));
}

/// Writes an array of numpy, in row-major or column-major order.
fn save_array(path: &Path, shape: (usize, usize), is_column_major: bool, values: &[f32]) {
    let order = if is_column_major { "True" } else { "False" };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': {shape:?}, }}");
    header.push_str(&" ".repeat(128 - 11 - header.len()));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, file).unwrap();
}

#[test]
fn a_transposed_view_that_was_saved_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a/w.npy"), dir.path().join("b/w.npy"));
    save_array(&a, (5, 6), false, &ramp(30));
    // As `w.T` is saved: the same bytes.
    save_array(&b, (6, 5), true, &ramp(30));
    let (a, b) = (Checkpoint::open(a).unwrap(), Checkpoint::open(b).unwrap());
    for (a, b) in [(&a, &b), (&b, &a)] {
        let comparison = CheckpointDiff::new(a, b).run().unwrap();
        let row = row(&comparison, "w");
        assert_eq!(row.verdict, ChangeVerdict::Transposed, "{row:?}");
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/checkpoints")
        .join(name)
}

#[test]
fn tied_tensors_are_read_once_and_have_a_row_each() {
    let checkpoint = Checkpoint::open(data("layouts.pt")).unwrap();
    let read = AtomicU64::new(0);
    let progress = |bytes: u64| {
        read.fetch_add(bytes, Ordering::Relaxed);
    };
    let diff = CheckpointDiff::new(&checkpoint, &checkpoint).histograms(true);
    let expected = diff.bytes();
    let comparison = diff.on_progress(&progress).run().unwrap();
    let read = read.load(Ordering::Relaxed);
    assert!(
        read.abs_diff(expected) * 100 <= expected,
        "{read} {expected}"
    );
    let tensors = checkpoint.tensors().iter();
    let all: u64 = tensors
        .map(|tensor| 2 * tensor.elements() * tensor.stored_type().unwrap().bits() / 8)
        .sum();
    assert!(read < all, "{read} {all}");
    assert_eq!(comparison.rows.len(), checkpoint.tensors().len());
    let (one, other) = (row(&comparison, "tied.a"), row(&comparison, "tied.b"));
    assert!(one.statistics.unwrap().norm_a > 0.0);
    assert_eq!(one.statistics, other.statistics);
}

#[test]
fn what_is_only_in_b_and_not_finite_is_said_to_be_so() {
    let mut broken = ramp(8);
    (broken[1], broken[4]) = (f32::NAN, f32::INFINITY);
    let w = || f32s("w", &[4], &ramp(4));
    let b = [
        w(),
        f32s("head", &[8], &broken),
        f32s("fine", &[2], &[1.0, 2.0]),
    ];
    let comparison = compare(&[w(), f32s("gone", &[1], &[f32::NAN])], &b);
    let head = row(&comparison, "head");
    assert_eq!(
        (head.verdict, head.nonfinite_b()),
        (ChangeVerdict::Added, 2)
    );
    assert_eq!(reason(head), "2 of 8 elements are NaN or infinite");
    assert!(head.statistics.is_none());
    assert_eq!(row(&comparison, "fine").reason, None);
    assert_eq!(row(&comparison, "gone").nonfinite_b(), 0);
    assert_eq!(row(&comparison, "w").nonfinite_b(), 0);
}

#[test]
fn a_name_of_one_side_chooses_a_pair() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        dir.path().join("a.safetensors"),
        dir.path().join("b.safetensors"),
    );
    let moved: Vec<f32> = ramp(4).iter().map(|x| x + 1.0).collect();
    save(
        &a,
        &[
            f32s("fc.weight", &[4], &ramp(4)),
            f32s("head", &[2], &[1.0, 2.0]),
        ],
    );
    save(
        &b,
        &[
            f32s("module.fc.weight", &[4], &moved),
            f32s("module.head", &[2], &[1.0, 2.0]),
        ],
    );
    let (a, b) = (Checkpoint::open(a).unwrap(), Checkpoint::open(b).unwrap());
    for chosen in ["fc.weight", "module.fc.weight"] {
        let keep = |names: &[&str]| names.contains(&chosen);
        let comparison = CheckpointDiff::new(&a, &b).only(&keep).run().unwrap();
        assert_eq!(comparison.rows.len(), 1, "{:?}", comparison.rows);
        let row = row(&comparison, "fc.weight");
        assert_eq!(row.verdict, ChangeVerdict::Changed);
        assert_eq!(row.other_name.as_deref(), Some("module.fc.weight"));
    }
}

#[test]
fn a_checkpoint_that_was_removed_is_compared_and_one_that_was_written_to_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["a", "b", "new"] {
        save(&path(name), &[f32s("w", &[300], &ramp(300))]);
    }
    let (a, b) = (Checkpoint::open(path("a")), Checkpoint::open(path("b")));
    let (a, b) = (a.unwrap(), b.unwrap());
    std::fs::remove_file(path("a")).unwrap();
    std::fs::rename(path("new"), path("b")).unwrap();
    let comparison = CheckpointDiff::new(&a, &b).run().unwrap();
    assert_eq!(comparison.counts(), [(ChangeVerdict::Identical, 1)]);
    let b = Checkpoint::open(path("b")).unwrap();
    save(&path("b"), &[f32s("w", &[301], &ramp(301))]);
    let error = CheckpointDiff::new(&a, &b).run().unwrap_err().to_string();
    assert!(error.contains("was written to"), "{error}");
}

#[test]
fn norms_of_adapters_are_those_of_their_products() {
    const RANK: usize = 3;
    let (down, up) = (ramp(RANK * 7), ramp(5 * RANK));
    let base: Vec<f32> = ramp(35).iter().map(|x| x * 2.0).collect();
    let tensors = |scale: f32| {
        let up: Vec<f32> = up.iter().map(|x| x * scale).collect();
        [
            f32s("layer.lora_A.weight", &[RANK, 7], &down),
            f32s("layer.lora_B.weight", &[5, RANK], &up),
            f32s("layer.base_layer.weight", &[5, 7], &base),
        ]
    };
    let comparison = compare(&tensors(1.0), &tensors(3.0));
    let mut square = 0.0;
    for row in up.chunks(RANK) {
        for column in 0..7 {
            let terms = row.iter().enumerate();
            let sum: f64 = terms
                .map(|(at, x)| f64::from(*x) * f64::from(down[at * 7 + column]))
                .sum();
            square += sum * sum;
        }
    }
    let [adapter] = &*comparison.adapters else {
        panic!("{:?}", comparison.adapters);
    };
    let expected = square.sqrt();
    let norm = base
        .iter()
        .map(|x| f64::from(*x).powi(2))
        .sum::<f64>()
        .sqrt();
    for (found, expected) in [
        (adapter.norm_a, expected),
        (adapter.norm_b, 3.0 * expected),
        (adapter.base_norm, norm),
    ] {
        let apart = (found.unwrap() / expected - 1.0).abs();
        assert!(apart < 1e-6, "{found:?} {expected}");
    }
}
