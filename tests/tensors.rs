//! Tensors of every kind and layout that tch can make: what is written is what an independent
//! reading of them gives, or there is an error that names them.
#![cfg(feature = "tch")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use common::histograms::{check_close, check_rows, naive_moments, read_histogram, read_histograms};
use common::{read_scalars, read_tag};
use tch::nn::{Init, Module, VarStore};
use tch::{Device, Kind, Tensor};
use tch_tensorboard::{Error, Image, ImageLayout, Logger, Overhead, Role, WeightOptions};
use tempfile::TempDir;

/// A logger whose failures end the test.
fn logger() -> (TempDir, Logger) {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::builder(dir.path().join("run"))
        .weights(WeightOptions::new().samples(1000))
        .overhead(Overhead::Unlimited)
        .create()
        .unwrap();
    (dir, logger)
}

/// The elements, row-major, by way of double precision on a dense copy made by libtorch.
fn elements(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.detach();
    let dense = if tensor.is_mkldnn() || tensor.is_sparse() || tensor.f_contiguous().is_err() {
        tensor.to_dense(None, false)
    } else {
        tensor
    };
    let mut doubles = Tensor::zeros(dense.size(), (Kind::Double, Device::Cpu));
    match dense.f_kind() {
        Ok(Kind::QInt8 | Kind::QUInt8 | Kind::QInt32) => doubles.copy_(&dense.dequantize()),
        _ => doubles.copy_(&dense),
    }
    (0..doubles.numel() as i64)
        .map(|index| doubles.view([-1]).double_value(&[index]))
        .collect()
}

/// Panics unless every way of logging the tensor gives what `expected` says: its elements,
/// row-major.
fn check_values(name: &str, tensor: &Tensor, expected: &[f64]) {
    let (_dir, logger) = logger();
    let run = logger.logdir().to_owned();
    logger
        .log_histogram("values", tensor, 0)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    logger
        .log_weights(&[("w", tensor)], 0)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    if expected.len() == 1 {
        logger
            .log_scalar("one", tensor, 0)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    logger.close().unwrap();
    check_rows(name, &read_histogram(&run, "values"), expected);
    check_rows(name, &read_histogram(&run, "weights/w"), expected);
    let scalars = read_scalars(&run);
    check_moments(name, &scalars, "w", expected);
    // Every element is a line by its row-major index.
    for (index, &value) in expected.iter().enumerate() {
        let line = &scalars[&format!("weight_samples/w/{index}")];
        assert!(
            same(line[0].1, value as f32),
            "{name}[{index}]: {} for {value}",
            line[0].1
        );
    }
    if let [value] = expected {
        assert!(same(scalars["one"][0].1, *value as f32), "{name}: scalar");
    }
}

fn same(one: f32, other: f32) -> bool {
    one.to_bits() == other.to_bits() || (one.is_nan() && other.is_nan())
}

fn check_moments(
    what: &str,
    scalars: &BTreeMap<String, Vec<(i64, f32)>>,
    variable: &str,
    expected: &[f64],
) {
    let finite = expected.iter().filter(|x| x.is_finite()).count();
    let newest = |tag: &str| {
        scalars
            .get(&format!("{tag}/{variable}"))
            .map(|points| points[points.len() - 1].1)
    };
    if finite == 0 {
        assert_eq!(newest("weight_mean"), None, "{what}");
        return;
    }
    let (mean, std, norm) = naive_moments(expected);
    check_close(
        &format!("{what}: mean"),
        newest("weight_mean").unwrap(),
        mean,
    );
    check_close(&format!("{what}: std"), newest("weight_std").unwrap(), std);
    check_close(
        &format!("{what}: norm"),
        newest("weight_norm").unwrap(),
        norm,
    );
    let nonfinite = (expected.len() - finite) as f32;
    assert_eq!(
        newest("weight_nonfinite").unwrap_or(0.0),
        nonfinite,
        "{what}: non-finite"
    );
}

/// The reason of an `UnsupportedTensor`, which must name the tag or variable.
fn refused(name: &str, result: tch_tensorboard::Result<()>, tag: &str) -> String {
    match result {
        Err(Error::UnsupportedTensor {
            name: found,
            reason,
        }) => {
            assert_eq!(&*found, tag, "{name}");
            assert!(
                !reason.contains("Exception raised") && !reason.contains('\n'),
                "{name}: {reason}"
            );
            // The next fallible call must not report an error of ours.
            let _ = Tensor::from_slice(&[1_f32]).f_add_scalar(1.0).unwrap();
            reason.into()
        }
        other => panic!("{name}: {other:?}"),
    }
}

/// All three ways refuse the tensor with a reason that contains each word.
fn check_refused(name: &str, tensor: &Tensor, words: &[&str]) {
    let (_dir, logger) = logger();
    for reason in [
        refused(name, logger.log_histogram("values", tensor, 0), "values"),
        refused(name, logger.log_scalar("one", tensor, 0), "one"),
        refused(name, logger.log_weights(&[("w", tensor)], 0), "w"),
    ] {
        for word in words {
            assert!(reason.contains(word), "{name}: {reason:?} lacks {word:?}");
        }
    }
    // What was refused leaves no trace, and the same step can be logged right.
    logger
        .log_weights(&[("w", &Tensor::ones([2], (Kind::Float, Device::Cpu)))], 0)
        .unwrap();
    logger.close().unwrap();
    assert_eq!(
        read_scalars(logger.logdir())["weight_mean/w"],
        [(0, 1.0)],
        "{name}"
    );
}

/// Numbers that each of the kinds holds exactly, or rounds as libtorch does.
fn ramp(kind: Kind) -> Tensor {
    let numbers: Vec<f64> = (0..100).map(|i| f64::from(i * 7 % 50) / 4.0).collect();
    Tensor::from_slice(&numbers).reshape([4, 25]).to_kind(kind)
}

const FLOATS: [Kind; 8] = [
    Kind::Half,
    Kind::BFloat16,
    Kind::Float,
    Kind::Double,
    Kind::Float8e5m2,
    Kind::Float8e4m3fn,
    Kind::Float8e5m2fnuz,
    Kind::Float8e4m3fnuz,
];

const INTEGERS: [Kind; 6] = [
    Kind::Bool,
    Kind::Uint8,
    Kind::Int8,
    Kind::Int16,
    Kind::Int,
    Kind::Int64,
];

#[test]
fn every_kind() {
    for kind in FLOATS.into_iter().chain(INTEGERS) {
        let tensor = ramp(kind);
        check_values(&format!("{kind:?}"), &tensor, &elements(&tensor));
        let one = tensor.narrow(0, 1, 1).narrow(1, 3, 1).contiguous();
        check_values(&format!("{kind:?} of one element"), &one, &elements(&one));
    }
}

#[test]
fn negative_and_extreme_integers() {
    let bytes = Tensor::from_slice(&[i8::MIN, -1, 0, 1, i8::MAX]);
    check_values("i8", &bytes, &[-128.0, -1.0, 0.0, 1.0, 127.0]);
    let bytes = Tensor::from_slice(&[0_u8, 1, 128, 255]);
    check_values("u8", &bytes, &[0.0, 1.0, 128.0, 255.0]);
    let shorts = Tensor::from_slice(&[i16::MIN, -300, i16::MAX]);
    check_values("i16", &shorts, &[-32768.0, -300.0, 32767.0]);
    let ints = Tensor::from_slice(&[i32::MIN, -1, i32::MAX]);
    check_values("i32", &ints, &[-2147483648.0, -1.0, 2147483647.0]);
    let longs = Tensor::from_slice(&[i64::MIN, -1, 1 << 53, i64::MAX]);
    let expected = [i64::MIN as f64, -1.0, 9007199254740992.0, i64::MAX as f64];
    check_values("i64", &longs, &expected);
    let bools = Tensor::from_slice(&[true, false, true]);
    check_values("bool", &bools, &[1.0, 0.0, 1.0]);
}

#[test]
fn special_floats_of_every_kind() {
    let specials = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        1.0,
        -2.5,
        1e-6,
        65000.0,
    ];
    for kind in FLOATS {
        let tensor = Tensor::from_slice(&specials).to_kind(kind);
        check_values(&format!("{kind:?}"), &tensor, &elements(&tensor));
        let nothing = Tensor::from_slice(&[f64::NAN, f64::NAN]).to_kind(kind);
        check_values(&format!("{kind:?} NaN"), &nothing, &elements(&nothing));
    }
}

/// Unsigned types that tch has no name for, by their number in c10/core/ScalarType.h.
#[test]
fn unsigned_kinds_without_a_name() {
    let unnamed = |bytes: &[u8], size: usize, scalar_type: i32| {
        let dims = [(bytes.len() / size) as i64];
        // SAFETY: `bytes` holds as many elements of `size` bytes as `dims` says; they are copied.
        unsafe {
            let handle = torch_sys::at_tensor_of_data(
                bytes.as_ptr().cast(),
                dims.as_ptr(),
                1,
                size,
                scalar_type,
            );
            Tensor::from_ptr(handle)
        }
    };
    let u16s: Vec<u8> = [1_u16, 40_000, u16::MAX]
        .iter()
        .flat_map(|x| x.to_ne_bytes())
        .collect();
    check_values("u16", &unnamed(&u16s, 2, 27), &[1.0, 40_000.0, 65_535.0]);
    let u32s: Vec<u8> = [1_u32, u32::MAX]
        .iter()
        .flat_map(|x| x.to_ne_bytes())
        .collect();
    check_values("u32", &unnamed(&u32s, 4, 28), &[1.0, 4_294_967_295.0]);
    let u64s: Vec<u8> = [3_u64, 1 << 40]
        .iter()
        .flat_map(|x| x.to_ne_bytes())
        .collect();
    check_values("u64", &unnamed(&u64s, 8, 29), &[3.0, 1_099_511_627_776.0]);
    check_values("one u16", &unnamed(&7_u16.to_ne_bytes(), 2, 27), &[7.0]);
}

#[test]
fn complex_kinds_are_refused_with_a_way_out() {
    for kind in [Kind::ComplexHalf, Kind::ComplexFloat, Kind::ComplexDouble] {
        let tensor = Tensor::ones([3], (Kind::ComplexFloat, Device::Cpu)).to_kind(kind);
        check_refused(
            &format!("{kind:?}"),
            &tensor,
            &["complex", ".real()", ".imag()"],
        );
        check_refused(
            &format!("{kind:?}"),
            &tensor.conj(),
            &["complex", ".real()", ".imag()"],
        );
        check_values("its real part", &tensor.real(), &[1.0; 3]);
        check_values("its imaginary part", &tensor.imag(), &[0.0; 3]);
    }
}

#[test]
fn undefined_tensors_are_refused() {
    check_refused("undefined", &Tensor::new(), &["undefined"]);
}

#[test]
fn quantised_tensors_are_read_as_what_they_stand_for() {
    let floats = Tensor::from_slice(&[-1.0_f32, 0.0, 0.5, 1.25, 3.0]);
    for kind in [Kind::QInt8, Kind::QUInt8, Kind::QInt32] {
        let zero_point = if kind == Kind::QUInt8 { 100 } else { 0 };
        let quantised = floats.quantize_per_tensor(0.25, zero_point, kind);
        check_values(
            &format!("{kind:?}"),
            &quantised,
            &[-1.0, 0.0, 0.5, 1.25, 3.0],
        );
    }
    let (scales, zeros) = (
        Tensor::from_slice(&[0.5_f64, 0.25]),
        Tensor::from_slice(&[0_i64, 0]),
    );
    let channels = Tensor::from_slice(&[1.0_f32, -2.0, 0.25, 0.5])
        .reshape([2, 2])
        .quantize_per_channel(&scales, &zeros, 0, Kind::QInt8);
    check_values("per channel", &channels, &[1.0, -2.0, 0.25, 0.5]);
}

/// Views whose elements do not lie one after the other.
#[test]
fn strided_layouts() {
    let matrix = Tensor::arange(24, (Kind::Float, Device::Cpu)).reshape([4, 6]);
    let image = Tensor::arange(120, (Kind::Float, Device::Cpu)).reshape([2, 3, 4, 5]);
    let channels_last = image
        .permute([0, 2, 3, 1])
        .contiguous()
        .permute([0, 3, 1, 2]);
    assert!(!channels_last.is_contiguous());
    let wide = Tensor::arange(1000, (Kind::Double, Device::Cpu)).reshape([10, 100]);
    for (name, view) in [
        ("0-dim", Tensor::from(2.5_f32)),
        ("0-dim f64", Tensor::from(2.5_f64)),
        ("transposed", matrix.tr()),
        ("narrowed columns", matrix.narrow(1, 2, 3)),
        ("narrowed rows", matrix.narrow(0, 1, 2)),
        ("selected column", matrix.select(1, 4)),
        ("selected element", matrix.select(1, 4).select(0, 2)),
        (
            "element of a transposed view",
            matrix.tr().narrow(0, 3, 1).narrow(1, 2, 1),
        ),
        ("every other", wide.slice(1, 1, 100, 7)),
        (
            "expanded",
            Tensor::from_slice(&[1_f32, 2.0, 3.0]).expand([5, 3], false),
        ),
        ("expanded scalar", Tensor::from(4_i64).expand([7], false)),
        ("channels last", channels_last.shallow_clone()),
        ("flipped", matrix.flip([0])),
        (
            "unfolded",
            Tensor::arange(10, (Kind::Half, Device::Cpu)).unfold(0, 4, 2),
        ),
        ("diagonal", matrix.diagonal(0, 0, 1)),
        ("bool transposed", matrix.gt(11.0).tr()),
        ("bf16 transposed", matrix.to_kind(Kind::BFloat16).tr()),
        ("f8 transposed", matrix.to_kind(Kind::Float8e5m2).tr()),
        ("i64 narrowed", matrix.to_kind(Kind::Int64).narrow(1, 1, 2)),
        (
            "more dimensions than most",
            matrix
                .narrow(0, 0, 2)
                .reshape([2, 2, 3])
                .reshape([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3]),
        ),
        (
            "more dimensions, strided",
            matrix
                .tr()
                .reshape([6, 4])
                .tr()
                .reshape([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 6]),
        ),
    ] {
        check_values(name, &view, &elements(&view));
    }
    // `elements` is not trusted with the order here.
    let row_major: Vec<f64> = (0..120).map(f64::from).collect();
    check_values("channels last", &channels_last, &row_major);
    let columns: Vec<f64> = (0..24).map(|i| f64::from(i % 4 * 6 + i / 4)).collect();
    check_values("transposed", &matrix.tr(), &columns);
}

#[test]
fn negated_views_have_their_own_sign() {
    let z = Tensor::view_as_complex(&Tensor::from_slice(&[1_f32, 2.0, 3.0, -4.0]).reshape([2, 2]));
    check_values(
        "imaginary part of a conjugate",
        &z.conj().imag(),
        &[-2.0, 4.0],
    );
    check_values(
        "one element of it",
        &z.conj().imag().narrow(0, 1, 1),
        &[4.0],
    );
    let plain = Tensor::from_slice(&[1_f32, -2.0, 3.0]);
    let negated = plain.internal_neg_view();
    assert!(negated.is_neg() && negated.is_contiguous());
    check_values("contiguous", &negated, &[-1.0, 2.0, -3.0]);
    check_values("one contiguous", &negated.narrow(0, 1, 1), &[2.0]);
    check_values("0-dim", &negated.select(0, 2), &[-3.0]);
}

#[test]
fn empty_tensors() {
    for shape in [&[0_i64][..], &[0, 3], &[2, 0, 5]] {
        for kind in [
            Kind::Float,
            Kind::Bool,
            Kind::BFloat16,
            Kind::Int64,
            Kind::Float8e5m2,
        ] {
            let empty = Tensor::zeros(shape, (kind, Device::Cpu));
            check_values(&format!("{kind:?} {shape:?}"), &empty, &[]);
        }
        let strided = Tensor::zeros([4, 0], (Kind::Float, Device::Cpu)).tr();
        check_values("transposed", &strided, &[]);
    }
    let (_dir, logger) = logger();
    let empty = Tensor::zeros([0, 3], (Kind::Float, Device::Cpu));
    let reason = refused("empty", logger.log_scalar("loss", &empty, 0), "loss");
    assert!(
        reason.contains("[0, 3]") && reason.contains("one element"),
        "{reason}"
    );
    // An empty variable does not keep the others from being seen.
    let full = Tensor::ones([2], (Kind::Float, Device::Cpu));
    for step in 0..3 {
        logger
            .log_weights(&[("empty", &empty), ("full", &full)], step)
            .unwrap();
        let _ = full.shallow_clone().f_add_scalar_(1.0).unwrap();
    }
    logger.close().unwrap();
    assert_eq!(
        read_scalars(logger.logdir())["weight_mean/full"],
        [(0, 1.0), (1, 2.0), (2, 3.0)]
    );
}

#[test]
fn sparse_and_mkldnn_layouts() {
    let dense = Tensor::from_slice(&[0_f32, 1.0, 0.0, -2.0, 0.0, 0.5]).reshape([2, 3]);
    let expected = elements(&dense);
    check_values("COO", &dense.to_sparse(None, None::<i64>, None), &expected);
    check_values("CSR", &dense.to_sparse_csr(None), &expected);
    check_values("CSC", &dense.to_sparse_csc(None), &expected);
    check_values("BSR", &dense.to_sparse_bsr([1, 3], None), &expected);
    check_values("MKL-DNN", &dense.to_mkldnn(), &expected);
    check_values(
        "f64 COO",
        &dense
            .to_kind(Kind::Double)
            .to_sparse(None, None::<i64>, None),
        &expected,
    );
    check_values(
        "i64 COO",
        &dense
            .to_kind(Kind::Int64)
            .to_sparse(None, None::<i64>, None),
        &[0.0, 1.0, 0.0, -2.0, 0.0, 0.0],
    );
    let one = Tensor::from_slice(&[3_f32]);
    check_values(
        "COO of one element",
        &one.to_sparse(None, None::<i64>, None),
        &[3.0],
    );
    check_values("MKL-DNN of one element", &one.to_mkldnn(), &[3.0]);
    // The same index twice: the values add up.
    let twice = Tensor::sparse_coo_tensor_indices(
        &Tensor::from_slice(&[1_i64, 1, 2]).reshape([1, 3]),
        &Tensor::from_slice(&[1_f32, 2.0, 5.0]),
        (Kind::Float, Device::Cpu),
        false,
    );
    check_values("not coalesced", &twice, &[0.0, 3.0, 5.0]);
}

#[test]
fn nested_tensors_are_refused() {
    let buffer = Tensor::arange(5, (Kind::Float, Device::Cpu));
    let sizes = Tensor::from_slice(&[2_i64, 3]).reshape([2, 1]);
    let strides = Tensor::from_slice(&[1_i64, 1]).reshape([2, 1]);
    let offsets = Tensor::from_slice(&[0_i64, 2]);
    let nested = buffer
        .f_internal_nested_view_from_buffer(&sizes, &strides, &offsets)
        .unwrap();
    check_refused("nested", &nested, &["nested"]);
}

#[test]
fn a_view_too_large_to_copy_is_refused() {
    let one = Tensor::from(1_f32);
    let (_dir, logger) = logger();
    for (rows, word) in [(1 << 22, "too large"), (1 << 20, "memory")] {
        let huge = one.expand([1 << 40, rows], false);
        let reason = refused("huge", logger.log_histogram("values", &huge, 0), "values");
        assert!(reason.contains(word), "{reason}");
    }
    let large = one.expand([1 << 20, 1 << 20], false);
    let reason = refused("large", logger.log_weights(&[("w", &large)], 0), "(all)");
    assert!(
        reason.contains("memory") && reason.contains("sample_limit"),
        "{reason}"
    );
    // What the message says helps: a sample of it costs no copy of all of it.
    let options = WeightOptions::new().sample_limit(1000);
    let logger = Logger::builder(logger.logdir())
        .weights(options)
        .create()
        .unwrap();
    logger.log_weights(&[("w", &large)], 0).unwrap();
    logger.close().unwrap();
    assert_eq!(read_scalars(logger.logdir())["weight_mean/w"], [(0, 1.0)]);
}

#[test]
fn tensors_that_require_a_gradient_join_no_graph() {
    let weight = Tensor::from_slice(&[1_f32, 2.0, 3.0]).set_requires_grad(true);
    let loss = (&weight * 2.0).sum(Kind::Float);
    for (name, tensor) in [
        ("leaf", weight.shallow_clone()),
        ("inner", &weight * 2.0),
        (
            "strided leaf",
            Tensor::ones([2, 3], (Kind::Float, Device::Cpu))
                .tr()
                .set_requires_grad(true),
        ),
        ("loss", loss.shallow_clone()),
        ("transposed inner", (&weight * 2.0).reshape([3, 1]).tr()),
        ("converted", weight.to_kind(Kind::Float8e5m2)),
    ] {
        check_values(name, &tensor, &elements(&tensor));
    }
    loss.backward();
    assert_eq!(elements(&weight.grad()), [2.0; 3]);
    // Gradients are as they were switched.
    assert!((&weight * 2.0).requires_grad());
}

#[test]
fn a_loss_of_every_float_kind() {
    let (_dir, logger) = logger();
    for kind in FLOATS {
        let value = Tensor::from(1.75_f32).to_kind(kind);
        logger.log_scalar(&format!("{kind:?}"), &value, 3).unwrap();
        let view = Tensor::from_slice(&[1_f32, 0.5, 1.75, 2.0])
            .to_kind(kind)
            .slice(0, 2, 3, 2);
        logger
            .log_scalars(&[(format!("{kind:?}/view").as_str(), view)], 3)
            .unwrap();
    }
    let column = Tensor::arange(6, (Kind::Float, Device::Cpu))
        .reshape([2, 3])
        .tr()
        .narrow(0, 1, 1);
    logger
        .log_scalar("last of a strided view", column.narrow(1, 1, 1), 3)
        .unwrap();
    logger.close().unwrap();
    let mut scalars = read_scalars(logger.logdir());
    assert_eq!(
        scalars.remove("last of a strided view").unwrap(),
        [(3, 4.0)]
    );
    assert_eq!(scalars.len(), 2 * FLOATS.len());
    assert!(
        scalars.values().all(|points| points == &[(3, 1.75)]),
        "{scalars:?}"
    );
}

#[test]
fn a_scalar_of_several_elements_is_refused() {
    let (_dir, logger) = logger();
    let tensor = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
    let reason = refused("matrix", logger.log_scalar("loss", &tensor, 0), "loss");
    for word in ["[2, 3]", "one element", "log_histogram"] {
        assert!(reason.contains(word), "{reason}");
    }
    logger.close().unwrap();
}

/// A store whose variables have every kind, among them views that are no memory of their own.
#[test]
fn variables_of_a_store_of_every_kind() {
    let store = VarStore::new(Device::Cpu);
    let kinds = FLOATS.into_iter().chain(INTEGERS);
    let mut expected = Vec::new();
    for kind in kinds {
        let name = format!("{kind:?}").to_lowercase();
        let tensor = ramp(kind);
        expected.push((name.clone(), elements(&tensor)));
        let _ = store
            .root()
            .var_copy(&name, &Tensor::zeros([4, 25], (Kind::Float, Device::Cpu)));
        let mut variables = store.variables_.lock().unwrap();
        let trainable = matches!(
            kind,
            Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16
        );
        *variables.named_variables.get_mut(&name).unwrap() = tensor.set_requires_grad(trainable);
    }
    let dir = tempfile::tempdir().unwrap();
    let options = WeightOptions::new().non_trainable(true);
    let logger = Logger::builder(dir.path().join("run"))
        .weights(options)
        .create()
        .unwrap();
    logger.log_weights(&store, 0).unwrap();
    logger.close().unwrap();
    let scalars = read_scalars(logger.logdir());
    for (name, values) in &expected {
        check_moments(name, &scalars, name, values);
        let tag = format!("weights/{name}");
        check_rows(name, &read_histogram(logger.logdir(), &tag), values);
    }
    let report = logger.weight_report().unwrap();
    assert_eq!(report.parameters.len(), expected.len());
}

#[test]
fn a_store_with_strided_and_sparse_variables() {
    let store = VarStore::new(Device::Cpu);
    let root = store.root();
    let matrix = Tensor::arange(12, (Kind::Float, Device::Cpu)).reshape([3, 4]);
    let replace = |name: &str, tensor: Tensor| {
        let _ = root.var(name, &[1], Init::Const(0.0));
        let tensor = tensor.detach().set_requires_grad(true);
        let mut variables = store.variables_.lock().unwrap();
        *variables.named_variables.get_mut(name).unwrap() = tensor;
    };
    replace("transposed", matrix.tr());
    replace("sparse", matrix.to_sparse(None, None::<i64>, None));
    replace("csr", matrix.to_sparse_csr(None));
    replace("expanded", Tensor::from(2_f32).expand([3, 4], false));
    let (_dir, logger) = logger();
    logger.log_weights(&store, 0).unwrap();
    logger.close().unwrap();
    let scalars = read_scalars(logger.logdir());
    let numbers: Vec<f64> = (0..12).map(f64::from).collect();
    for name in ["transposed", "sparse", "csr"] {
        check_moments(name, &scalars, name, &numbers);
    }
    check_moments("expanded", &scalars, "expanded", &[2.0; 12]);
}

/// One name, another tensor at each call: each is read for what it is.
#[test]
fn a_variable_that_changes_between_calls() {
    let base = Tensor::arange(12, (Kind::Float, Device::Cpu)).reshape([3, 4]);
    let negated = base.internal_neg_view();
    let complex = Tensor::complex(&base, &base);
    let forms = [
        base.shallow_clone(),
        (&base + 1.0).reshape([4, 3]).tr(),
        negated.shallow_clone(),
        (&base + 2.0).to_sparse(None, None::<i64>, None),
        (&base + 3.0).to_sparse_csr(None),
        (&base + 4.0).to_mkldnn(),
        base.reshape([4, 3]),
        base.reshape([12]),
        base.to_kind(Kind::Double),
        base.to_kind(Kind::Int64),
        base.to_kind(Kind::Float8e5m2),
        base.shallow_clone(),
        negated,
        (&complex * 3.0).conj().imag(),
        Tensor::zeros([0], (Kind::Float, Device::Cpu)),
        base.narrow(0, 0, 1),
    ];
    let (_dir, logger) = logger();
    for (step, form) in forms.iter().enumerate() {
        logger.log_weights(&[("w", form)], step).unwrap();
    }
    logger.close().unwrap();
    let histograms = read_histograms(logger.logdir(), "weights/w");
    let steps: Vec<i64> = histograms.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, (0..forms.len() as i64).collect::<Vec<_>>());
    for (step, rows) in &histograms {
        check_rows(
            &format!("step {step}"),
            rows,
            &elements(&forms[*step as usize]),
        );
    }
    // A delta only where kind and shape stayed, as those of steps 1 to 5 and 11 to 13 did
    // (8-bit floats are read as f32).
    let deltas: Vec<i64> = read_tag(logger.logdir(), "weight_delta_mean/w")
        .iter()
        .map(|(step, _)| *step)
        .collect();
    assert_eq!(deltas, [1, 2, 3, 4, 5, 11, 12, 13]);
}

/// Fresh tensors often lie where the one before lay, and libtorch counts the writes of each from
/// zero.
#[test]
fn a_new_tensor_at_each_call_is_a_step() {
    for transposed in [false, true] {
        let (_dir, logger) = logger();
        for step in 0..10_i64 {
            let values: Vec<f32> = (0..64).map(|i| (i * step) as f32).collect();
            let tensor = Tensor::from_slice(&values).reshape([8, 8]);
            let tensor = if transposed { tensor.tr() } else { tensor };
            logger.log_weights(&[("w", tensor)], step).unwrap();
        }
        logger.close().unwrap();
        let means = &read_scalars(logger.logdir())["weight_mean/w"];
        let expected: Vec<(i64, f32)> = (0..10).map(|step| (step, 31.5 * step as f32)).collect();
        assert_eq!(*means, expected, "transposed: {transposed}");
    }
}

/// A shape that changes under a slice or a tensor of which only a sample is copied.
#[test]
fn a_frozen_variable_that_grows_a_little_is_no_movement() {
    struct Frozen(Vec<f32>);
    impl tch_tensorboard::NamedTensors for Frozen {
        fn visit(&self, visitor: &mut tch_tensorboard::Visitor<'_>) -> tch_tensorboard::Result<()> {
            visitor.variable("w", &self.0, Role::Frozen);
            Ok(())
        }
    }
    let (_dir, logger) = logger();
    let numbers = |count: usize| (0..count).map(|i| (count * i) as f32).collect();
    for (step, count) in [5000, 5001, 5002].into_iter().enumerate() {
        logger.log_weights(&Frozen(numbers(count)), step).unwrap();
    }
    logger.close().unwrap();
    assert_eq!(logger.weight_report().unwrap().parameters[0].shape, [5002]);
    assert!(!read_scalars(logger.logdir()).contains_key("weight_mean/w"));
}

const MODE: &str = "TCH_TENSORBOARD_STDERR_TEST";

/// What libtorch prints while tensors are logged: nothing. Making some of them prints warnings, so
/// that both is run in processes of their own and compared.
#[test]
fn libtorch_prints_nothing_while_logging() {
    let stderr = |mode: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log_in_child", "--ignored", "--nocapture"])
            .env(MODE, mode)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{mode}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        // Without the time in front of each message.
        let lines = String::from_utf8(output.stderr).unwrap();
        let messages = lines
            .lines()
            .map(|line| line.split_once("] ").unwrap_or(("", line)).1);
        messages.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(stderr("make and log"), stderr("make"));
}

#[test]
#[ignore = "run by libtorch_prints_nothing_while_logging"]
fn log_in_child() {
    let Ok(mode) = std::env::var(MODE) else {
        return;
    };
    let base = ramp(Kind::Float);
    let weight = base.copy().set_requires_grad(true);
    let inner = &weight * 2.0;
    inner.sum(Kind::Float).backward();
    let tensors = [
        base.to_sparse(None, None::<i64>, None),
        base.to_sparse_csr(None),
        base.to_mkldnn(),
        base.quantize_per_tensor(0.25, 0, Kind::QInt8),
        base.tr(),
        base.internal_neg_view(),
        Tensor::complex(&base, &base),
        Tensor::complex(&base, &base).conj().imag(),
        base.to_kind(Kind::Float8e4m3fn),
        Tensor::new(),
        inner,
        weight,
    ];
    if mode == "make" {
        return;
    }
    let (_dir, logger) = logger();
    for (step, tensor) in tensors.iter().enumerate() {
        let _ = logger.log_histogram("values", tensor, step);
        let _ = logger.log_scalar("one", tensor, step);
        let _ = logger.log_weights(&[("w", tensor)], step);
        let _ = logger.log_gradients(&[("w", tensor)], step);
    }
    logger.close().unwrap();
    assert!(read_tag(logger.logdir() as &Path, "values").len() > 8);
}

/// An embedding that keeps only the rows it touched has a sparse gradient.
#[test]
fn gradients_of_every_layout() {
    let store = VarStore::new(Device::Cpu);
    let config = tch::nn::EmbeddingConfig {
        sparse: true,
        ..Default::default()
    };
    let table = tch::nn::embedding(store.root() / "table", 5, 2, config);
    let dense = store.root().var("dense", &[3], Init::Const(1.0));
    let _unused = store.root().var("unused", &[3], Init::Const(1.0));
    let (_dir, logger) = logger();
    for step in 0..3 {
        let picked = table.forward(&Tensor::from_slice(&[1_i64, 3, 3]));
        let loss = picked.sum(Kind::Float) + (&dense * 2.0).sum(Kind::Float);
        loss.backward();
        assert!(table.ws.grad().is_sparse());
        logger.log_gradients(&store, step).unwrap();
        logger.log_weights(&store, step).unwrap();
        let (mut ws, mut dense) = (table.ws.shallow_clone(), dense.shallow_clone());
        ws.zero_grad();
        dense.zero_grad();
    }
    logger.close().unwrap();
    let rows = read_histograms(logger.logdir(), "weight_gradients/table.weight");
    assert_eq!(rows.len(), 3);
    for (step, rows) in rows {
        // Row 1 once, row 3 twice.
        let expected = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0];
        check_rows(&format!("step {step}"), &rows, &expected);
    }
    let scalars = read_scalars(logger.logdir());
    let norm = (3.0_f64 * 4.0).sqrt() as f32;
    assert_eq!(
        scalars["weight_gradient_norm/dense"],
        [(0, norm), (1, norm), (2, norm)]
    );
    assert!(!scalars.contains_key("weight_gradient_norm/unused"));
}

/// A panic of the user's own while a store is being built poisons its lock; the weights are whole
/// all the same.
#[test]
fn a_store_whose_lock_is_poisoned() {
    let store = VarStore::new(Device::Cpu);
    let _ = store.root().var("w", &[2], Init::Const(3.0));
    let variables = store.variables_.clone();
    let building = std::thread::spawn(move || {
        let _guard = variables.lock().unwrap();
        panic!("while the model is built");
    });
    building.join().unwrap_err();
    let (_dir, logger) = logger();
    logger.log_weights(&store, 0).unwrap();
    logger.close().unwrap();
    assert_eq!(read_scalars(logger.logdir())["weight_mean/w"], [(0, 3.0)]);
}

/// Width, height and levels of the newest picture of a tag.
fn read_picture(logger: &Logger, tag: &str) -> (u32, u32, Vec<u8>) {
    logger.flush().unwrap();
    let (_, value) = read_tag(logger.logdir(), tag).pop().unwrap();
    let tch_tensorboard::proto::summary::value::Value::Tensor(tensor) = value else {
        panic!("a tensor");
    };
    let file = std::io::Cursor::new(&tensor.string_val[2]);
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    (info.width, info.height, data)
}

#[test]
fn images_of_any_layout_type_and_stride() {
    let (_dir, logger) = logger();
    // Two images of three channels, two rows and four columns.
    let bytes = Tensor::arange(48, (Kind::Uint8, Device::Cpu)).reshape([2, 3, 2, 4]);
    let shares = (bytes.to_kind(Kind::Float) + 0.25) / 255.0;
    let first: Vec<u8> = (0..8)
        .flat_map(|pixel| [0, 8, 16].map(|plane| plane + pixel))
        .collect();
    let log = |tensor: &Tensor, layout| {
        let image = Image::from_tensor(tensor, layout);
        logger.log_image("image", image, 0).unwrap();
        read_picture(&logger, "image")
    };
    for tensor in [&bytes, &shares, &shares.to_kind(Kind::Double)] {
        let chw = tensor.get(0);
        assert_eq!(log(&chw, ImageLayout::Chw), (4, 2, first.clone()));
        let hwc = chw.permute([1, 2, 0]);
        assert_eq!(log(&hwc, ImageLayout::Hwc), (4, 2, first.clone()));
        assert_eq!(
            log(&hwc.contiguous(), ImageLayout::Hwc),
            (4, 2, first.clone())
        );
        assert_eq!(log(&chw.get(1), ImageLayout::Hw), (4, 2, (8..16).collect()));
        let one = tensor.slice(0, 0, 1, 1);
        assert_eq!(log(&one, ImageLayout::Nchw), (4, 2, first.clone()));
    }
    let batches = [
        (bytes.shallow_clone(), ImageLayout::Nchw),
        (bytes.permute([0, 2, 3, 1]), ImageLayout::Nhwc),
    ];
    let mut grids = batches.iter().map(|(batch, layout)| {
        let image = Image::from_tensor(batch, *layout);
        logger.log_images("grid", [image], 0).unwrap();
        read_picture(&logger, "grid")
    });
    let (width, height, grid) = grids.next().unwrap();
    assert_eq!((width, height), (8, 2));
    assert_eq!(grid[..12], first[..12], "the first row of the first image");
    assert_eq!(grid[12..15], [24, 32, 40], "the first pixel of the second");
    assert_eq!(grids.next().unwrap().2, grid);
    let gray = batches[0].0.select(1, 0);
    let gray = Image::from_tensor(&gray, ImageLayout::Nhw);
    logger.log_images("gray", [gray], 0).unwrap();
    let (width, height, levels) = read_picture(&logger, "gray");
    assert_eq!((width, height), (8, 2));
    assert_eq!(levels[..8], [0, 1, 2, 3, 24, 25, 26, 27]);
}

#[test]
fn tensors_that_are_no_images_are_errors() {
    let (_dir, logger) = logger();
    let float = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let long = Tensor::zeros([4, 4], (Kind::Int64, Device::Cpu));
    for (tensor, layout, wanted) in [
        (&float(&[3, 224, 224]), ImageLayout::Hwc, "has 224 channels"),
        (&float(&[8, 3, 4, 4]), ImageLayout::Chw, "which is not Chw"),
        (&float(&[8, 3, 4, 4]), ImageLayout::Nchw, "log_images"),
        (&float(&[0, 3, 4, 4]), ImageLayout::Nchw, "no images"),
        (&float(&[3, 0, 4]), ImageLayout::Chw, "empty"),
        (&long, ImageLayout::Hw, "convert them to u8"),
        (&Tensor::new(), ImageLayout::Hw, "is undefined"),
    ] {
        let error = logger.log_image("it", Image::from_tensor(tensor, layout), 0);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("\"it\"") && error.contains(wanted),
            "{error}"
        );
    }
}

#[test]
fn a_batch_of_more_images_than_a_grid_takes_is_an_error_however_few_bytes_it_has() {
    let (_dir, logger) = logger();
    let one = Tensor::zeros([1, 1, 1, 1], (Kind::Float, Device::Cpu));
    let many = one.expand([1 << 40, 1, 1, 1], false);
    let image = Image::from_tensor(&many, ImageLayout::Nchw);
    let error = logger.log_images("grid", [image], 0).unwrap_err();
    let wanted = "TensorBoard shows at most";
    assert!(error.to_string().contains(wanted), "{error}");
}

#[test]
fn matrices_and_filters_have_pictures() {
    let (_dir, logger) = logger();
    let vs = VarStore::new(Device::Cpu);
    let root = vs.root();
    let _conv = tch::nn::conv2d(&root / "conv", 3, 8, 5, Default::default());
    let _fc = tch::nn::linear(&root / "fc", 700, 600, Default::default());
    let logged = logger.log_weight_images(&vs, 3).unwrap();
    assert_eq!(logged, 2, "biases have none");
    let (width, height, _) = read_picture(&logger, "weight_images/conv.weight");
    assert!((100..=512).contains(&width) && (100..=512).contains(&height));
    // Of a large matrix a part, in lines of its own below the picture said to be one.
    let (width, height, _) = read_picture(&logger, "weight_images/fc.weight");
    assert_eq!(width, 512);
    assert!((512..600).contains(&height), "{height}");
    let scoped = logger.scoped("critic").unwrap();
    assert_eq!(scoped.log_weight_images(&vs, 3).unwrap(), 2);
    read_picture(&logger, "weight_images/critic/conv.weight");
    logger.close().unwrap();
    assert!(matches!(
        logger.log_weight_images(&vs, 4),
        Err(Error::Closed { .. })
    ));
}

#[test]
fn a_picture_of_weights_shows_them_whatever_their_strides() {
    let (_dir, logger) = logger();
    let matrix = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3]) - 2.5;
    let large = Tensor::arange(1_000_000, (Kind::Float, Device::Cpu)).reshape([1000, 1000]);
    let named = [
        ("plain", matrix.shallow_clone()),
        ("double", matrix.to_kind(Kind::Double)),
        (
            "strided",
            matrix.transpose(0, 1).contiguous().transpose(0, 1),
        ),
        ("large", large.shallow_clone()),
        (
            "large_strided",
            large.transpose(0, 1).contiguous().transpose(0, 1),
        ),
    ];
    assert_eq!(logger.log_weight_images(&named, 0).unwrap(), 5);
    let read = |name: &str| read_picture(&logger, &format!("weight_images/{name}"));
    let (width, _, levels) = read("plain");
    // The first row of pixels: a third of the plot for each of three weights.
    let row: Vec<u8> = levels[..3 * 24]
        .chunks(24)
        .map(|weight| weight[12])
        .collect();
    assert!(
        row.is_sorted() && row[0] == 0 && row[2] < 32,
        "{row:?} of {width}"
    );
    for name in ["double", "strided"] {
        assert_eq!(read(name).2, levels, "{name}");
    }
    assert_eq!(read("large").2, read("large_strided").2);
    let chosen = logger.log_weight_images(&[("vector", &matrix.get(0))], 0);
    assert_eq!(chosen.unwrap(), 0);
}
