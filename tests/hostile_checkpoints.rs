//! Files that somebody made to break their reader: each is an error that names the file, or reads
//! as what it is, in bounded memory, and nothing in it is executed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::path::Path;

use tch_tensorboard::Checkpoint;

/// Counts what is allocated, for each thread: tests run beside each other.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: everything is handed on to the system's allocator, of which it has the guarantees.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NOW.set(NOW.get() + layout.size() as isize);
        PEAK.set(PEAK.get().max(NOW.get()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.set(NOW.get() - layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What opening and reading may take: the budget of a pickle and some buffers.
const MOST_MEMORY: isize = 400 << 20;

/// Opens a file of these bytes and reads all of its tensors; returns the first error.
fn read(name: &str, bytes: &[u8]) -> Result<usize, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read_path(&path)
}

fn read_path(path: &Path) -> Result<usize, String> {
    let before = NOW.get();
    PEAK.set(before);
    let found = Checkpoint::open(path)
        .map_err(|error| error.to_string())
        .and_then(|checkpoint| {
            let mut values = 0;
            for tensor in checkpoint.tensors() {
                let name = tensor.name();
                values += checkpoint
                    .values(name)
                    .map_err(|error| error.to_string())?
                    .len();
            }
            Ok(values)
        });
    let taken = PEAK.get() - before;
    assert!(taken < MOST_MEMORY, "{}: {taken} bytes", path.display());
    found
}

/// Every file that must be refused, with what the error says.
#[test]
fn hostile_files_are_errors_in_bounded_memory() {
    let mut kinds = 0;
    let all = [
        safetensors(),
        archives(),
        pickles(),
        streams(),
        arrays(),
        strangers(),
    ];
    for (kind, name, bytes, expected) in all.into_iter().flatten() {
        let error = read(name, &bytes).expect_err(kind);
        assert!(error.contains(expected), "{kind}: {error}");
        kinds += 1;
    }
    assert!(kinds >= 40, "{kinds}");
}

type Hostile = (&'static str, &'static str, Vec<u8>, &'static str);

fn safetensors_file(header: &[u8], data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(vec![0; data]);
    file
}

fn safetensors() -> Vec<Hostile> {
    let one = |dtype: &str, shape: &str, offsets: &str, data: usize| {
        let header = format!(
            "{{\"w\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}"
        );
        safetensors_file(header.as_bytes(), data)
    };
    let two = |a: &str, b: &str, names: [&str; 2]| {
        let tensor = |offsets: &str| {
            format!("{{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":{offsets}}}")
        };
        let [one, other] = names;
        let header = format!("{{\"{one}\":{},\"{other}\":{}}}", tensor(a), tensor(b));
        safetensors_file(header.as_bytes(), 16)
    };
    let name = "model.safetensors";
    let longest = {
        let mut file = u64::MAX.to_le_bytes().to_vec();
        file.extend(b"{}");
        file
    };
    let deep = "{\"a\":".repeat(1_000_000);
    vec![
        ("a header as long as can be", name, longest, "header"),
        (
            "a header beyond the end",
            name,
            safetensors_file(b"{}", 0)[..9].to_vec(),
            "header",
        ),
        (
            "a header that is no JSON",
            name,
            safetensors_file(b"{nonsense}", 0),
            "header",
        ),
        (
            "a header that is no text",
            name,
            safetensors_file(b"{\"\xff\xfe\":1}", 0),
            "header",
        ),
        (
            "a header of a million braces",
            name,
            safetensors_file(deep.as_bytes(), 0),
            "header",
        ),
        (
            "offsets that overlap",
            name,
            two("[0,8]", "[4,12]", ["a", "b"]),
            "header",
        ),
        (
            "a hole between offsets",
            name,
            two("[0,8]", "[12,20]", ["a", "b"]),
            "header",
        ),
        (
            "one name twice",
            name,
            two("[0,8]", "[8,16]", ["a", "a"]),
            "model.safetensors",
        ),
        (
            "offsets beyond the end",
            name,
            one("F32", "[4]", "[0,16]", 8),
            "promises",
        ),
        (
            "bytes behind the last tensor",
            name,
            one("F32", "[1]", "[0,4]", 8),
            "promises",
        ),
        (
            "offsets in reverse",
            name,
            one("F32", "[1]", "[4,0]", 4),
            "header",
        ),
        (
            "a shape that overflows",
            name,
            one("F32", "[4294967296,4294967296,4]", "[0,4]", 4),
            "header",
        ),
        (
            "a shape that does not fit",
            name,
            one("F32", "[3]", "[0,4]", 4),
            "header",
        ),
        (
            "a negative size",
            name,
            one("F32", "[-1]", "[0,4]", 4),
            "header",
        ),
        (
            "a type that nobody knows",
            name,
            one("F128", "[1]", "[0,16]", 16),
            "F128",
        ),
    ]
}

/// An entry of an archive, with what its headers say.
#[derive(Clone)]
struct Entry {
    name: &'static str,
    data: Vec<u8>,
    method: u16,
    flags: u16,
    /// Bytes when unpacked, and in the archive.
    sizes: (u32, u32),
    /// Where the directory says that it lies; `None` for where it does.
    at: Option<u32>,
}

impl Entry {
    fn stored(name: &'static str, data: &[u8]) -> Entry {
        let size = data.len() as u32;
        Entry {
            name,
            data: data.to_vec(),
            method: 0,
            flags: 0,
            sizes: (size, size),
            at: None,
        }
    }

    fn deflated(name: &'static str, unpacked: u32, data: Vec<u8>) -> Entry {
        let sizes = (unpacked, data.len() as u32);
        Entry {
            method: 8,
            sizes,
            ..Entry::stored(name, &data)
        }
    }
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let at = entry.at.unwrap_or(file.len() as u32);
        let mut common = Vec::new();
        common.extend(20_u16.to_le_bytes());
        common.extend(entry.flags.to_le_bytes());
        common.extend(entry.method.to_le_bytes());
        common.extend([0; 8]);
        common.extend(entry.sizes.1.to_le_bytes());
        common.extend(entry.sizes.0.to_le_bytes());
        common.extend((entry.name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(entry.name.as_bytes());
        file.extend(&entry.data);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(entry.name.as_bytes());
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\x00\x00\x00\x00");
    file.extend((entries.len() as u16).to_le_bytes());
    file.extend((entries.len() as u16).to_le_bytes());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// Many equal bytes, deflated.
fn bomb(byte: u8, megabytes: usize) -> Vec<u8> {
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..megabytes {
        packer.write_all(&vec![byte; 1 << 20]).unwrap();
    }
    packer.finish().unwrap()
}

fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    file.extend(((header.len() + padding + 1) as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(vec![b' '; padding]);
    file.push(b'\n');
    file.extend(data);
    file
}

fn array(shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    npy(&header, &[0; 16])
}

fn archives() -> Vec<Hostile> {
    let name = "model.pt";
    let good = || Entry::stored("a/data.pkl", &state(&[tensor("0", 4, 0, &[4], &[1])]));
    let storage = || Entry::stored("a/data/0", &[0; 16]);
    let whole = archive(&[good(), storage()]);
    assert_eq!(read(name, &whole), Ok(4));
    let mut no_entries = whole.clone();
    let end = no_entries.len() - 22;
    no_entries[end + 8..end + 12].copy_from_slice(&[0xff; 4]);
    let changed = |change: fn(&mut Entry)| {
        let mut storage = storage();
        change(&mut storage);
        archive(&[good(), storage])
    };
    let inside = {
        // The storage is said to lie at the pickle's place.
        let mut storage = storage();
        storage.name = "a/data.pk2";
        storage.at = Some(0);
        archive(&[good(), storage])
    };
    vec![
        (
            "an archive that was cut",
            name,
            whole[..whole.len() / 2].to_vec(),
            "archive",
        ),
        (
            "a directory of more entries than there are",
            name,
            no_entries,
            "archive",
        ),
        (
            "two entries of one name",
            name,
            archive(&[good(), storage(), storage()]),
            "one name",
        ),
        (
            "an encrypted entry",
            name,
            changed(|entry| entry.flags = 1),
            "encrypted",
        ),
        (
            "an unknown compression",
            name,
            changed(|entry| entry.method = 93),
            "compressed",
        ),
        (
            "a stored entry of two sizes",
            name,
            changed(|entry| entry.sizes.0 = 99),
            "two sizes",
        ),
        (
            "an entry beyond the end",
            name,
            changed(|entry| entry.sizes = (1 << 30, 1 << 30)),
            "beyond",
        ),
        ("an entry at another's place", name, inside, "model.pt"),
        (
            "an entry that claims too much",
            name,
            changed(|entry| (entry.method, entry.sizes.0) = (8, u32::MAX - 1)),
            "claims",
        ),
        (
            "a pickle of 300 million marks in 300 KB",
            name,
            archive(&[Entry::deflated("a/data.pkl", 300 << 20, bomb(b'(', 300))]),
            "more objects",
        ),
        (
            "a pickle of 300 million lists in 300 KB",
            name,
            archive(&[Entry::deflated("a/data.pkl", 300 << 20, bomb(b']', 300))]),
            "more objects",
        ),
        (
            "a deflated entry of nonsense",
            name,
            archive(&[Entry::deflated("a/data.pkl", 100, vec![0xff; 40])]),
            "unpacked",
        ),
        (
            "an archive of something else",
            name,
            archive(&[Entry::stored("a", b"b")]),
            "without",
        ),
    ]
}

/// A text as a pickle.
fn text(text: &str) -> Vec<u8> {
    let mut pickle = b"X".to_vec();
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
    pickle
}

fn int(value: i64) -> Vec<u8> {
    let mut pickle = b"\x8a\x08".to_vec();
    pickle.extend(value.to_le_bytes());
    pickle
}

/// The call that makes a tensor of `float32`.
fn tensor(key: &str, numel: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let sizes = |sizes: &[i64]| {
        let mut pickle = b"(".to_vec();
        sizes.iter().for_each(|&size| pickle.extend(int(size)));
        pickle.push(b't');
        pickle
    };
    let mut pickle = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    pickle.extend(text("storage"));
    pickle.extend(b"ctorch\nFloatStorage\n");
    pickle.extend(text(key));
    pickle.extend(text("cpu"));
    pickle.extend(int(numel));
    pickle.extend(b"tQ");
    pickle.extend(int(offset));
    pickle.extend(sizes(shape));
    pickle.extend(sizes(strides));
    pickle.extend(b"\x89NtR");
    pickle
}

/// A state dict of these values, named `w0`, `w1`, ...
fn state(values: &[Vec<u8>]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}(".to_vec();
    for (number, value) in values.iter().enumerate() {
        pickle.extend(text(&format!("w{number}")));
        pickle.extend(value);
    }
    pickle.extend(b"u.");
    pickle
}

fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    let storage = Entry::stored("a/data/0", &[0; 16]);
    archive(&[Entry::stored("a/data.pkl", pickle), storage])
}

fn pickles() -> Vec<Hostile> {
    let name = "model.pt";
    let one = |tensor: Vec<u8>| with_pickle(&state(&[tensor]));
    let raw = |body: &[u8]| with_pickle(&[b"\x80\x02", body].concat());
    let far = |shape: &[i64], strides: &[i64]| one(tensor("0", 4, 0, shape, strides));
    vec![
        ("no value", name, raw(b"."), "without a value"),
        ("an opcode that is none", name, raw(b"\xfe."), "no opcode"),
        (
            "too little on the stack",
            name,
            raw(b"NR."),
            "without what it needs",
        ),
        (
            "a memo that nobody wrote",
            name,
            raw(b"h\x07."),
            "without what it needs",
        ),
        (
            "a text longer than the file",
            name,
            raw(b"X\xff\xff\xff\xffa"),
            "ends within",
        ),
        (
            "bytes longer than the file",
            name,
            raw(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa"),
            "ends",
        ),
        (
            "a number longer than the file",
            name,
            raw(b"\x8b\xff\xff\xff\x7fa"),
            "ends",
        ),
        (
            "a line without an end",
            name,
            raw(&[b"c".to_vec(), vec![b'a'; 1 << 20]].concat()),
            "line",
        ),
        ("an end in the middle", name, raw(b"}("), "ends"),
        (
            "a storage that is missing",
            name,
            one(tensor("7", 4, 0, &[4], &[1])),
            "data/7",
        ),
        (
            "a path for a storage",
            name,
            one(tensor("../../x", 4, 0, &[4], &[1])),
            "../../x",
        ),
        (
            "a storage that is too short",
            name,
            one(tensor("0", 5, 0, &[5], &[1])),
            "cut short",
        ),
        (
            "an offset beyond the storage",
            name,
            one(tensor("0", 4, 2, &[4], &[1])),
            "reaches",
        ),
        (
            "a negative offset",
            name,
            one(tensor("0", 4, -1, &[4], &[1])),
            "offset",
        ),
        ("a negative size", name, far(&[-4], &[1]), "shape"),
        ("a negative stride", name, far(&[4], &[-1]), "strides"),
        (
            "strides beyond the storage",
            name,
            far(&[2, 2], &[1 << 62, 1]),
            "reaches",
        ),
        (
            "sizes that overflow",
            name,
            far(&[1 << 40, 1 << 40], &[0, 0]),
            "overflows",
        ),
        (
            "one element repeated 2^50 times",
            name,
            far(&[1 << 50], &[0]),
            "claims",
        ),
        (
            "more strides than sizes",
            name,
            far(&[2], &[1, 1]),
            "dimensions",
        ),
        (
            "a thousand dimensions",
            name,
            far(&[1; 1000], &[1; 1000]),
            "dimensions",
        ),
        ("nothing but settings", name, raw(b"}."), "no tensors"),
        (
            "metadata without an end",
            name,
            {
                let mut tensor = tensor("0", 4, 0, &[4], &[1]);
                tensor.truncate(tensor.len() - b"tR".len());
                tensor.extend(b"}(");
                (0..100).for_each(|key| tensor.extend([int(key), int(0)].concat()));
                tensor.extend(b"utR");
                one(tensor)
            },
            "metadata",
        ),
        (
            "a key of megabytes",
            name,
            one(tensor(&"7".repeat(2 << 20), 4, 0, &[4], &[1])),
            "key",
        ),
        (
            "a key of megabytes in a thousand names",
            name,
            raw(&{
                let mut pickle = b"}(".to_vec();
                pickle.extend(text(&"k".repeat(4 << 20)));
                pickle.push(b']');
                pickle.extend(tensor("0", 4, 0, &[4], &[1]));
                pickle.extend(b"q\x00a(");
                pickle.extend(b"h\x00".repeat(1000));
                pickle.push(b'e');
                pickle.extend(text("w"));
                pickle.extend(b"h\x00u.");
                pickle
            }),
            "names",
        ),
        (
            "a state of a hundred thousand entries for each of two thousand objects",
            name,
            raw(&{
                let mut pickle = b"}(".to_vec();
                (0..100_000).for_each(|key| pickle.extend([int(key), b"N".to_vec()].concat()));
                pickle.extend([&text("_parameters")[..], b"}uq\x000]("].concat());
                for _ in 0..2000 {
                    pickle.extend(b"cmodule\nClass\n)Rh\x00b");
                }
                pickle.extend(b"e.");
                pickle
            }),
            "more values",
        ),
        (
            "four hundred views of a million elements each",
            name,
            with_pickle(&state(
                &(0..400)
                    .map(|view| tensor("0", 4, view % 4, &[1024 - view / 4, 1024], &[0, 0]))
                    .collect::<Vec<_>>(),
            )),
            "whose reading takes",
        ),
        (
            "many elements at the end of a compressed storage",
            name,
            archive(&[
                Entry::stored(
                    "a/data.pkl",
                    &state(
                        &(0..300)
                            .map(|view| tensor("0", 16 << 20, (16 << 20) - 1 - view, &[1], &[1]))
                            .collect::<Vec<_>>(),
                    ),
                ),
                Entry::deflated("a/data/0", 64 << 20, bomb(0, 64)),
            ]),
            "whose reading takes",
        ),
    ]
}

/// An object whose state is a tuple of dictionaries, so that all of their keys are names.
fn object_of(dictionaries: usize) -> Vec<u8> {
    let mut pickle = b"\x80\x02}(".to_vec();
    pickle.extend(text("w"));
    pickle.extend(tensor("0", 4, 0, &[4], &[1]));
    pickle.extend(b"uq\x000cmodule\nClass\n)R(");
    pickle.extend(b"h\x00".repeat(dictionaries));
    pickle.extend(b"tb.");
    pickle
}

#[test]
fn equal_names_are_numbered_and_of_equal_keys_the_last_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.pt");
    let names = |pickle: &[u8]| -> Vec<String> {
        let storage: Vec<u8> = (0..4).flat_map(|x| (x as f32).to_le_bytes()).collect();
        let storage = Entry::stored("a/data/0", &storage);
        let bytes = archive(&[Entry::stored("a/data.pkl", pickle), storage]);
        std::fs::write(&path, bytes).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        let name = |tensor: &tch_tensorboard::CheckpointTensor| {
            let values = checkpoint.values(tensor.name()).unwrap();
            format!("{}={values:?}", tensor.name())
        };
        checkpoint.tensors().iter().map(name).collect()
    };
    let at = |offset: i64| tensor("0", 4, offset, &[1], &[1]);
    let mut pickle = b"\x80\x02}(".to_vec();
    for (key, value) in [("w", at(0)), ("a.b", at(1)), ("w", at(2))] {
        pickle.extend([text(key), value].concat());
    }
    pickle.extend([text("a"), b"}".to_vec(), text("b"), at(3)].concat());
    pickle.extend(b"su.");
    assert_eq!(names(&pickle), ["a.b=[1.0]", "a.b (2)=[3.0]", "w=[2.0]"]);
    // Thousands of one name do not make it long.
    assert_eq!(
        read("again.pt", &with_pickle(&object_of(20_000))),
        Ok(4 * 20_000)
    );
}

#[test]
fn tensors_beside_the_model_are_said_to_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.pt");
    let mut pickle = b"\x80\x02}(".to_vec();
    pickle.extend([text("model"), b"}".to_vec(), text("w")].concat());
    pickle.extend(tensor("0", 4, 0, &[4], &[1]));
    pickle.push(b's');
    pickle.extend(text("rng_state"));
    pickle.extend(tensor("0", 4, 0, &[2], &[1]));
    pickle.extend(b"u.");
    std::fs::write(&path, with_pickle(&pickle)).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.tensors().len(), 1);
    let notes = checkpoint.notes().join("\n");
    assert!(
        notes.contains("1 tensor of its own, beside \"model\""),
        "{notes}"
    );
}

#[test]
fn quantised_tensors_are_listed_and_not_compared_by_their_integers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.pt");
    let call = tensor("0", 4, 0, &[4], &[1]);
    let arguments = call
        .strip_prefix(b"ctorch._utils\n_rebuild_tensor_v2\n")
        .unwrap();
    let quantised = [b"ctorch._utils\n_rebuild_qtensor\n", arguments].concat();
    let pickle = state(&[call.clone(), quantised]);
    std::fs::write(&path, with_pickle(&pickle)).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let tensor = checkpoint.tensor("w1").unwrap();
    assert_eq!(tensor.shape(), [4]);
    let reason = tensor.unreadable_reason().unwrap();
    assert!(
        reason.contains("quantised") && reason.contains("dequantize"),
        "{reason}"
    );
}

#[test]
fn parameters_that_wrap_each_other_end() {
    // The arguments of a parameter are a list that holds the parameter.
    let mut pickle = b"\x80\x02}(".to_vec();
    pickle.extend(text("w"));
    pickle.extend(b"ctorch._tensor\n_rebuild_from_type_v2\n(");
    pickle.extend(b"ctorch._utils\n_rebuild_parameter\nN]q\x00tRq\x01h\x00h\x01a0");
    pickle.extend(text("v"));
    pickle.extend(tensor("0", 4, 0, &[4], &[1]));
    pickle.extend(b"u.");
    let file = with_pickle(&pickle);
    assert_eq!(read("circle.pt", &file), Ok(4));
}

#[test]
fn deep_and_circular_pickles_end() {
    let tensor = tensor("0", 4, 0, &[4], &[1]);
    // A million lists, each in the next.
    let mut deep = b"\x80\x02}(".to_vec();
    deep.extend(text("deep"));
    deep.extend(vec![b']'; 1_000_000]);
    deep.extend(vec![b'a'; 999_999]);
    deep.extend(text("w"));
    deep.extend(&tensor);
    deep.extend(b"u.");
    assert_eq!(read("deep.pt", &with_pickle(&deep)), Ok(4));
    // A list that holds itself.
    let mut circle = b"\x80\x02}(".to_vec();
    circle.extend(text("circle"));
    circle.extend(b"]q\x00h\x00a");
    circle.extend(text("w"));
    circle.extend(&tensor);
    circle.extend(b"u.");
    assert_eq!(read("circle.pt", &with_pickle(&circle)), Ok(4));
    // Two lists that hold each other, and settings that share their parts ten to the hundredth
    // times, as those of real trainers do: nothing in them is a tensor, so each is seen once.
    let shared = |inner: &[u8]| {
        let mut shared = b"\x80\x02}(".to_vec();
        shared.extend(text("settings"));
        shared.extend(b"(]q\x00]q\xc8h\x00ah\x00h\xc8a0");
        shared.extend(inner);
        for level in 1..100_u8 {
            shared.extend(b"](");
            for _ in 0..10 {
                shared.extend([b'h', level - 1]);
            }
            shared.extend([b'e', b'q', level]);
        }
        shared.push(b't');
        shared.extend(text("w"));
        shared.extend(&tensor);
        shared.extend(b"u.");
        shared
    };
    assert_eq!(read("shared.pt", &with_pickle(&shared(b""))), Ok(4));
    // Lists of ten lists of ten lists, ten to the hundredth in all, from a kilobyte.
    let mut laughs = b"\x80\x02}(".to_vec();
    laughs.extend(text("laughs"));
    laughs.extend(b"(](");
    laughs.extend(&tensor);
    laughs.extend(b"eq\x00");
    for level in 1..100_u8 {
        laughs.extend(b"](");
        for _ in 0..10 {
            laughs.extend([b'h', level - 1]);
        }
        laughs.extend([b'e', b'q', level]);
    }
    laughs.push(b't');
    laughs.extend(text("w"));
    laughs.extend(&tensor);
    laughs.extend(b"u.");
    let error = read("laughs.pt", &with_pickle(&laughs)).unwrap_err();
    assert!(error.contains("more values"), "{error}");
}

#[test]
fn nothing_in_a_pickle_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let witness = dir.path().join("witness");
    let mut call = b"cos\nsystem\n(".to_vec();
    call.extend(text(&format!("touch {}", witness.display())));
    call.extend(b"tR");
    let tensor = || tensor("0", 4, 0, &[4], &[1]);
    let pickle = state(&[tensor(), call.clone()]);
    assert_eq!(read("attack.pt", &with_pickle(&pickle)), Ok(4));
    assert!(!witness.exists());
    // A tensor whose storage would come of the call is the only thing that cannot be read.
    let mut depends = b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
    depends.extend(&call);
    depends.extend(b"K\x00K\x04\x85K\x01\x85\x89NtR");
    let path = dir.path().join("depends.pt");
    std::fs::write(&path, with_pickle(&state(&[tensor(), depends]))).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.values("w0").unwrap(), [0.0; 4]);
    let error = checkpoint.values("w1").unwrap_err().to_string();
    assert!(
        error.contains("w1") && error.contains("only its program can make"),
        "{error}"
    );
    assert!(!witness.exists());
}

fn streams() -> Vec<Hostile> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let stream = |keys: &[u8], storages: &[u8]| {
        let value = state(&[tensor("0", 4, 0, &[4], &[1])]);
        let facts: &[u8] = b"\x80\x02M\xe9\x03.\x80\x02}.";
        [magic, facts, &value, keys, storages].concat()
    };
    let mut keys = b"\x80\x02]".to_vec();
    keys.extend(text("0"));
    keys.extend(b"a.");
    let storage = |elements: i64| [&elements.to_le_bytes()[..], &[0; 16]].concat();
    let name = "model.pth";
    let whole = stream(&keys, &storage(4));
    assert_eq!(read(name, &whole), Ok(4));
    vec![
        (
            "a stream that was cut",
            name,
            whole[..whole.len() - 1].to_vec(),
            "cut short",
        ),
        (
            "a storage of 2^63 elements",
            name,
            stream(&keys, &storage(i64::MIN)),
            "cut short",
        ),
        (
            "a storage that overflows",
            name,
            stream(&keys, &storage(i64::MAX)),
            "cut short",
        ),
        ("no keys", name, stream(b"\x80\x02N.", &[]), "no list"),
        (
            "keys without the tensor's",
            name,
            stream(b"\x80\x02].", &[]),
            "storage \"0\"",
        ),
        (
            "nothing behind the magic number",
            name,
            magic.to_vec(),
            "ends",
        ),
    ]
}

fn arrays() -> Vec<Hostile> {
    let one = |npy: Vec<u8>| archive(&[Entry::stored("w.npy", &npy)]);
    assert_eq!(read("w.npz", &one(array("(4,)"))), Ok(4));
    let objects = npy(
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        &[0; 8],
    );
    let long = {
        let mut npy = b"\x93NUMPY\x02\x00".to_vec();
        npy.extend(u32::MAX.to_le_bytes());
        npy
    };
    vec![
        (
            "an array beyond the end",
            "w.npz",
            one(array("(5,)")),
            "cut short",
        ),
        (
            "an array that overflows",
            "w.npz",
            one(array("(4294967296, 4294967296)")),
            "overflows",
        ),
        (
            "a shape that is none",
            "w.npz",
            one(array("(x,)")),
            "header",
        ),
        ("a header that is too long", "w.npz", one(long), "too long"),
        (
            "an array of pickles",
            "w.npz",
            one(objects),
            "pickled objects",
        ),
        (
            "an array that is none",
            "w.npz",
            one(b"something else".to_vec()),
            "begin",
        ),
    ]
}

fn strangers() -> Vec<Hostile> {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n".to_vec();
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    vec![
        ("nothing", "model.pt", Vec::new(), "is empty"),
        (
            "a pointer of Git LFS",
            "model.safetensors",
            pointer,
            "git lfs pull",
        ),
        (
            "a page",
            "model.bin",
            b"<!DOCTYPE html>".to_vec(),
            "download",
        ),
        ("HDF5", "model.h5", b"\x89HDF\r\n\x1a\n".to_vec(), "Keras"),
        ("a tar archive", "model.pt", tar, "tar"),
        ("noise", "model.pt", vec![0x5a; 1000], "no known format"),
    ]
}

#[test]
fn folders_lead_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str, index: &str| {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
        read_path(&folder).unwrap_err()
    };
    std::fs::write(dir.path().join("secret"), safetensors_file(b"{}", 0)).unwrap();
    let error = folder("up", "{\"weight_map\": {\"w\": \"../secret\"}}");
    assert!(error.contains("outside"), "{error}");
    let error = folder("absolute", "{\"weight_map\": {\"w\": \"/etc/passwd\"}}");
    assert!(error.contains("outside"), "{error}");
    let error = folder("missing", "{\"weight_map\": {\"w\": \"gone.safetensors\"}}");
    assert!(error.contains("gone.safetensors"), "{error}");
    let error = folder("none", "[]");
    assert!(error.contains("index"), "{error}");
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let error = read_path(&empty).unwrap_err();
    assert!(error.contains("without a file of weights"), "{error}");
}

#[test]
fn a_shard_is_no_checkpoint_and_an_index_is_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let header = b"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    let write = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, safetensors_file(header, 8)).unwrap();
        path
    };
    let shard = write("half/model-00001-of-00002.safetensors");
    let error = read_path(&dir.path().join("half")).unwrap_err();
    assert!(
        error.contains("shard of 2") && error.contains("wait for it"),
        "{error}"
    );
    // By its name it is read.
    assert_eq!(read_path(&shard), Ok(2));
    write("whole/model-00001-of-00001.safetensors");
    assert_eq!(read_path(&dir.path().join("whole")), Ok(2));
    let two = dir.path().join("two");
    for name in ["ema", "raw"] {
        write(&format!("two/{name}.safetensors"));
        let index = format!("{{\"weight_map\": {{\"w\": \"{name}.safetensors\"}}}}");
        let path = two.join(format!("{name}.safetensors.index.json"));
        std::fs::write(path, index).unwrap();
    }
    let error = read_path(&two).unwrap_err();
    assert!(
        error.contains("ema.safetensors.index.json") && error.contains("name one"),
        "{error}"
    );
    assert_eq!(read_path(&two.join("raw.safetensors.index.json")), Ok(2));
}

/// As in a hub's cache: `refs/main`, and a snapshot of links to blobs.
#[cfg(unix)]
#[test]
fn a_hubs_cache_is_a_checkpoint() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("models--owner--name");
    let snapshot = model.join("snapshots/0123");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(model.join("blobs")).unwrap();
    std::fs::create_dir_all(model.join("refs")).unwrap();
    std::fs::write(model.join("refs/main"), "0123").unwrap();
    let header = b"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    std::fs::write(model.join("blobs/cafe"), safetensors_file(header, 8)).unwrap();
    symlink("../../blobs/cafe", snapshot.join("model.safetensors")).unwrap();
    assert_eq!(read_path(&model), Ok(2));
    assert_eq!(read_path(&snapshot), Ok(2));
    assert_eq!(read_path(&snapshot.join("model.safetensors")), Ok(2));
    symlink("loop", dir.path().join("loop")).unwrap();
    assert!(read_path(&dir.path().join("loop")).is_err());
}
