//! The Rust writers of `make bench-reliability`: does what each line of standard input says, and
//! answers with a line.
//!
//! `reliability ours|tensorboard-rs DIR`, then `log FROM TO`, `flush`, `close`, `exit`. An answer
//! is `ok` or the error.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::Path;

use tch_tensorboard::Logger;
use tensorboard_rs::summary_writer::SummaryWriter;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

enum Writer {
    Ours(Logger),
    TensorboardRs(SummaryWriter),
}

impl Writer {
    fn obey(&mut self, words: &[&str]) -> Result {
        match (words, self) {
            (["log", from, to], writer) => {
                for step in from.parse::<usize>()?..to.parse()? {
                    match writer {
                        Writer::Ours(logger) => logger.log_scalar("loss", step as f64, step)?,
                        Writer::TensorboardRs(theirs) => {
                            theirs.add_scalar("loss", step as f32, step);
                        }
                    }
                }
            }
            (["flush"], Writer::Ours(logger)) => logger.flush()?,
            (["close"], Writer::Ours(logger)) => logger.close()?,
            (["flush" | "close"], Writer::TensorboardRs(theirs)) => theirs.flush(),
            _ => return Err(format!("unknown command {words:?}").into()),
        }
        Ok(())
    }
}

fn main() -> Result {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let mut writer = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ours", dir] => Writer::Ours(Logger::create(Path::new(dir))?),
        ["tensorboard-rs", dir] => Writer::TensorboardRs(SummaryWriter::new(dir)),
        [] => {
            println!("run `make bench-reliability`; this program is its Rust side");
            return Ok(());
        }
        _ => return Err("usage: reliability ours|tensorboard-rs DIR".into()),
    };
    let mut out = io::stdout();
    writeln!(out, "ok")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        if words == ["exit"] {
            break;
        }
        match writer.obey(&words) {
            Ok(()) => writeln!(out, "ok")?,
            Err(error) => writeln!(out, "{}", error.to_string().replace('\n', " "))?,
        }
        out.flush()?;
    }
    Ok(())
}
