//! Lets this package's own tests, examples and benches find libtorch without exported variables:
//! torch-sys names the folder it links, and it becomes a run path here. Link arguments do not reach
//! dependents; the README has the lines for their build script. And lets the library know whether
//! it is compiled without optimisation.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    // The level of this package, whatever the profile says of others.
    if env::var("OPT_LEVEL").as_deref() == Ok("0") {
        println!("cargo:rustc-cfg=unoptimised");
    }
    // Absent without the `tch` feature and under `doc-only`, where nothing of libtorch is linked.
    let Ok(folder) = env::var("DEP_TCH_LIBTORCH_LIB") else {
        return;
    };
    let target_os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if target_os == "windows" {
        return; // Windows has no run path: the folder has to be on PATH.
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    if target_os == "linux" {
        // Kernels register themselves when libtorch is loaded; a linker that drops "unneeded"
        // libraries would lose them.
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo:rustc-link-arg=-L{folder}");
        println!("cargo:rustc-link-arg=-ltorch");
    }
}
