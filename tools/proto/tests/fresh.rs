//! The committed types in `src/format/proto` are what `proto/*.proto` generates. Neither the
//! library nor this test needs protoc.
//!
//! After a change in `proto/`: `UPDATE_PROTO=1 cargo test -p tch-tensorboard-proto`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// One generated file for each package: what prost-build calls it, and its name in
/// `src/format/proto`.
const FILES: [(&str, &str); 4] = [
    ("tch_tensorboard.rs", "tch_tensorboard.rs"),
    ("tensorboard.rs", "tensorboard.rs"),
    ("tensorboard.custom_scalar.rs", "custom_scalar.rs"),
    ("tensorboard.hparams.rs", "hparams.rs"),
];

#[test]
fn generated_types_are_fresh() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = tempfile::tempdir()?;
    generate(&root.join("proto"), out.path())?;
    let made = fs::read_dir(out.path())?.count();
    assert_eq!(made, FILES.len(), "a package of proto/ is missing in FILES");
    for (generated, committed) in FILES {
        let fresh = fs::read_to_string(out.path().join(generated))?;
        let path = root.join("src/format/proto").join(committed);
        if std::env::var_os("UPDATE_PROTO").is_some() {
            fs::write(&path, fresh)?;
        } else {
            // Not assert_eq: a thousand lines twice help no one.
            let same = fs::read_to_string(&path)? == fresh;
            assert!(
                same,
                "src/format/proto/{committed} is stale: run \
                 UPDATE_PROTO=1 cargo test -p tch-tensorboard-proto"
            );
        }
    }
    Ok(())
}

fn generate(protos: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut files = fs::read_dir(protos)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, _>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "proto")
    });
    files.sort();
    let descriptors = protox::compile(&files, [protos])?;
    prost_build::Config::new()
        // The same message is the same bytes.
        .btree_map(["."])
        .out_dir(out)
        .compile_fds(descriptors)?;
    Ok(())
}
