// SPDX-License-Identifier: GPL-2.0

//! Show, set, dump and restore the pids of nested pid namespaces.

mod cursors;
mod dump;
mod failure;
mod image;
mod restore;
mod run;
mod show;
mod standin;
mod tree;
mod verify;
mod world;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use pidns::{LastPids, PidNamespace};

use failure::{Failure, OrFail};

/// Show, set, dump and restore the pids of nested pid namespaces
///
/// A task in nested pid namespaces has one pid per level. Vectors of pids go from the inside
/// outwards: 3:22:111 is 3 in the namespace at hand, 22 in its parent and 111 in the parent of
/// that. The last pid of a namespace is its cursor: the next fork gets the next free pid above it.
#[derive(Parser)]
#[command(name = "nspid", version, after_help = NOTES, after_long_help = NOTES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const NOTES: &str = "\
Exit status:
  0  done, or for verify: the same
  1  failed, or for verify: different
  2  wrong usage, a malformed vector among it
  3  the kernel lacks the ioctl: it needs CONFIG_PID_NS_IOCTL
  4  not permitted
  5  a pid is taken or a limit is too low; nothing was created
  run: the status of the command, 128 + N if signal N ended it, 125 if nspid failed,
  126 if the command cannot be run and 127 if there is none

Examples:
  nspid show 4711                          the levels of a task
  nspid set --pid 4711 3:22:111            the next pids there are 4, 23 and 112
  nspid run --pid 4711 --pids 4:23 -- top  top with these pids
  nspid dump 4711 > web.json               the skeleton of a container ...
  nspid restore web.json                   ... built anew, on another day
  nspid verify --fork web.json 4712        is it the same, down to the next pids?";

#[derive(Subcommand)]
enum Command {
    /// Show the levels of a task or namespace, from its own outwards
    Show {
        /// The process or thread
        #[arg(required_unless_present = "ns", conflicts_with = "ns")]
        pid: Option<i32>,
        /// The file of a pid namespace, such as /proc/PID/ns/pid
        #[arg(long, value_name = "FILE")]
        ns: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the pid namespaces and tasks below a task
    Tree {
        /// The process; without it all namespaces, and no tasks of the outermost
        pid: Option<i32>,
    },
    /// Print the last pids of a namespace and its ancestors
    Get {
        #[command(flatten)]
        place: Place,
        /// At most so many levels; 0: all up to the first that you may not set
        #[arg(long, default_value_t = 0)]
        levels: u32,
    },
    /// Set the last pids of a namespace and its ancestors, all or none
    Set {
        #[command(flatten)]
        place: Place,
        /// The last pids, innermost first, as in 3:22:111
        vector: LastPids,
    },
    /// Run a command in a namespace with exactly these pids
    ///
    /// It is started by clone3() with set_tid, which takes the pids or fails, or after the last pids
    /// have been set (vector), where another fork can come in between: its pids are read before the
    /// command is run. If they are others it is killed, and after ten attempts nspid gives up.
    Run {
        #[command(flatten)]
        place: Place,
        /// The pids, innermost first. Further out any will do
        #[arg(long, value_name = "VECTOR")]
        pids: LastPids,
        /// How to choose them; auto: set-tid, or vector where the kernel has no clone3()
        #[arg(long, value_enum, default_value = "auto")]
        how: run::How,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Print the skeleton of a process tree as JSON
    ///
    /// That is: its pid namespaces and their last pids, and each task with its parent, its pids in
    /// these namespaces, its threads and whether it is a zombie. A pid that is held only as the id
    /// of a session or process group whose leader is gone cannot be seen and is not in it.
    Dump {
        /// The process
        pid: i32,
        /// Also the pids in your own namespace: restore needs them to be free
        #[arg(long)]
        outer: bool,
    },
    /// Build the namespaces and tasks of a dump, each task a stand-in that waits
    ///
    /// They get the same pids in the namespaces of the dump, and the last pids are left where they
    /// were. Prints the pid of the first task. To end it all, kill the inits of the outermost
    /// namespaces.
    Restore {
        /// The dump
        file: PathBuf,
        /// Build it below this pid namespace instead of your own
        #[arg(long, value_name = "FILE")]
        into: Option<PathBuf>,
    },
    /// Compare a process tree with a dump
    Verify {
        /// The dump
        file: PathBuf,
        /// The process
        pid: i32,
        /// Fork once in each namespace to see the next pid, then put the last pids back
        #[arg(long)]
        fork: bool,
    },
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page
    Man,
}

/// Which namespace.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// The file of a pid namespace, such as /proc/PID/ns/pid
    #[arg(long, value_name = "FILE")]
    ns: Option<PathBuf>,
    /// A process or thread in the namespace
    #[arg(long)]
    pid: Option<i32>,
}

impl Place {
    fn open(&self) -> Result<PidNamespace, Failure> {
        open_ns(self.ns.as_ref(), self.pid)
    }
}

fn open_ns(ns: Option<&PathBuf>, pid: Option<i32>) -> Result<PidNamespace, Failure> {
    match (ns, pid) {
        (Some(path), _) => PidNamespace::open(path).or_fail(|| path.display().to_string()),
        (None, Some(pid)) => PidNamespace::of_process(pid).or_fail(|| format!("process {pid}")),
        (None, None) => PidNamespace::own().or_fail(|| "/proc/self/ns/pid".to_owned()),
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Show { pid, ns, json } => show::show(open_ns(ns.as_ref(), pid)?, pid, json)?,
        Command::Tree { pid } => tree::tree(pid)?,
        Command::Get { place, levels } => cursors::get(&place.open()?, levels)?,
        Command::Set { place, vector } => cursors::set(&place.open()?, &vector)?,
        Command::Run { place, pids, how, command } => {
            return Ok(run::run(place.open(), &pids, how, &command));
        }
        Command::Dump { pid, outer } => dump::print(pid, outer)?,
        Command::Restore { file, into } => restore::restore(&file, into.as_ref())?,
        Command::Verify { file, pid, fork } => return verify::verify(&file, pid, fork),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "nspid", &mut io::stdout());
        }
        Command::Man => man().or_fail(|| "man page".to_owned())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One page for the command and all subcommands.
fn man() -> io::Result<()> {
    let mut out = io::stdout();
    let mut cli = Cli::command();
    cli.build();
    let page = clap_mangen::Man::new(cli.clone());
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        let page = clap_mangen::Man::new(command.clone());
        let mut roff = Vec::new();
        page.render_synopsis_section(&mut roff)?;
        page.render_description_section(&mut roff)?;
        page.render_options_section(&mut roff)?;
        let text = String::from_utf8_lossy(&roff);
        let text = text.replace(".SH SYNOPSIS\n", "").replace(".SH", ".SS");
        write!(out, ".SH {}\n{text}", command.get_name().to_uppercase())?;
    }
    page.render_extra_section(&mut out)
}

fn main() -> ExitCode {
    run(Cli::parse().command).unwrap_or_else(|failure| {
        eprintln!("nspid: {failure}");
        failure.exit_code()
    })
}
