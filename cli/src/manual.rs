//! `completions` and `man`: what shells and `man` say of the program.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Args;
use crate::output::{Failure, Status};
use crate::patterns::nearest;

pub(crate) fn completions(shell: Shell) -> Result<Status, Failure> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)
}

/// The page of the program, or of a command.
pub(crate) fn page(name: Option<&str>) -> Result<Status, Failure> {
    let mut command = Args::command();
    // Names of commands, as their usage shows them, come from this.
    command.build();
    if let Some(name) = name {
        let Some(found) = command.find_subcommand(name) else {
            let names = command.get_subcommands().map(clap::Command::get_name);
            let reason = format!("no command is called {name:?}; {}", nearest(name, names));
            return Err(Failure::Argument(reason));
        };
        command = found.clone();
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    print(&page)
}

fn print(text: &[u8]) -> Result<Status, Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()?;
    Ok(Status::Fine)
}
