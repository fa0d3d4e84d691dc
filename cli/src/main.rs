//! Inspects, checks and exports TensorBoard log directories, whoever wrote them, reports whether
//! their weights learn, and compares checkpoints.
#![deny(unsafe_code)]

mod args;
mod change_map;
mod checkpoints;
mod diff;
mod export;
mod history;
mod inspect;
mod manual;
mod media;
mod output;
mod patterns;
mod progress;
mod report;
mod selection;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use output::{Failure, Status, complain};

fn main() -> ExitCode {
    let args = Args::parse();
    output::choose_color(args.color);
    let done = match args.command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::History(args) => history::run(&args),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { command } => manual::page(command.as_deref()),
    };
    match done {
        Ok(status) => status.into(),
        // Whoever reads our output has seen enough, as `head` does.
        Err(failure) if failure.is_broken_pipe() => Status::Fine.into(),
        Err(failure) => {
            complain(&failure);
            Status::CouldNot.into()
        }
    }
}

impl From<tch_tensorboard::ReadError> for Failure {
    fn from(error: tch_tensorboard::ReadError) -> Failure {
        Failure::Read(error)
    }
}

impl From<tch_tensorboard::Error> for Failure {
    fn from(error: tch_tensorboard::Error) -> Failure {
        Failure::Option(error)
    }
}
