#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tch_tensorboard::fuzzing::checkpoint(data));
