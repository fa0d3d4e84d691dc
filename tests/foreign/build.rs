fn main() {
    if let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed"); // Linux only
        println!("cargo:rustc-link-arg=-ltorch");
    }
}
