// SPDX-License-Identifier: GPL-2.0-only

//! Show, set, dump and restore the pids of nested pid namespaces.

mod check;
mod child;
mod cli;
mod criu_action;
mod cursors;
mod dump;
mod failure;
mod image;
mod man;
mod output;
mod plan;
mod restore;
mod run;
mod show;
mod signals;
mod standin;
mod target;
mod tree;
mod verify;
mod world;

use std::{io, process::ExitCode};

use clap::{CommandFactory, Parser};

use cli::{Cli, Command};
use failure::Failure;

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Show { target, json } => show::show(&target, json)?,
        Command::Tree { target, json } => tree::tree(&target, json)?,
        Command::Get { target, levels, way, json } => {
            cursors::get(&way.open(target.namespace()?)?, levels, json)?;
        }
        Command::Set { target, way, vector } => {
            cursors::set(&way.open(target.namespace()?)?, &vector)?;
        }
        Command::Reserve { target, way, n, dump } => {
            cursors::reserve(&way.open(target.namespace()?)?, n, dump.as_deref())?;
        }
        Command::Check { target, pids, dump, json } => {
            return check::check(target.namespace()?, &pids, dump.as_deref(), json);
        }
        Command::Run { target, pids, how, command } => {
            return Ok(run::run(target.namespace(), &pids, how, &command));
        }
        Command::Dump { target, outer, without_entered, way } => {
            dump::print(target.process()?, dump::Options { outer, without_entered, way })?;
        }
        Command::Restore { target, way, file } => {
            restore::restore(&file, target.namespace()?, way)?
        }
        Command::Verify { target, fork, without_entered, way, json, file } => {
            let options = verify::Options { fork, without_entered, way, json };
            return verify::verify(&file, target.process()?, options);
        }
        Command::CriuAction { way, fatal } => return criu_action::criu_action(way, fatal),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "nspid", &mut io::stdout());
        }
        Command::Man(arguments) => man::print(arguments.command.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    signals::end_on_closed_pipe();
    let cli = Cli::parse();
    if cli.quiet {
        output::be_quiet();
    }
    run(cli.command).unwrap_or_else(|failure| {
        eprintln!("nspid: {failure}");
        failure.exit_code()
    })
}
