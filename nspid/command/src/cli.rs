// SPDX-License-Identifier: GPL-2.0-only

//! The command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use pidns::{LastPids, ALL_LEVELS};

use crate::{
    run,
    target::{Target, Way},
};

/// Show, set, dump and restore the pids of nested pid namespaces
///
/// A task in nested pid namespaces has one pid per level. Vectors of pids go from the inside
/// outwards: 3:22:111 is 3 in the namespace at hand, 22 in its parent and 111 in the parent of
/// that. The last pid of a namespace is its cursor: the next fork gets the next free pid above it.
///
/// The ioctl NS_SPECIFIC_IOC (CONFIG_PID_NS_IOCTL) reads and sets the last pids of all levels in one
/// step. On other kernels nspid enters one namespace after the other; see --how in nspid get.
#[derive(Parser)]
#[command(name = "nspid", version, after_help = EXIT_STATUS, after_long_help = EXIT_STATUS)]
pub struct Cli {
    /// Print results and errors only, no notes and no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

pub const EXIT_STATUS: &str = "\
Exit status:
  0  done; check: all pids are free; verify: the same
  1  failed
  2  usage error, including a malformed vector
  3  --how ioctl, and the kernel lacks the ioctl (CONFIG_PID_NS_IOCTL)
  4  not permitted
  5  a pid is taken or a limit is too low; nothing was created or changed
  6  verify: different
  run: the status of the command, 128 + N if signal N ended it, 125 if nspid failed,
  126 if the command cannot be run and 127 if there is none

Examples:
  nspid show -t 4711                        the levels of a task, and which pid comes next
  nspid set -t 4711 3:22:111                the next pids there are 4, 23 and 112
  nspid reserve -t 4711 100000              the next pid there is 100000, or beyond
  nspid check -t 4711 42 43                 who has these pids in there?
  nspid run -t 4711 --pids 4:23 top         top with these pids
  nspid dump -t 4711 > web.json             the skeleton of a container ...
  nspid restore web.json                    ... built anew, on another day
  nspid verify --fork -t 4712 web.json      is it the same, down to the next pids?";

#[derive(Subcommand)]
pub enum Command {
    /// Show the levels of a task or namespace, from its own outwards: which pid comes next?
    ///
    /// A row for each level. OWNER is the user who made the user namespace that owns the pid namespace,
    /// PID the task's own, NEXT PID what the next fork there gets, TASKS and BELOW how many tasks are in
    /// the namespace and in others below it. "-" is what you may not see.
    #[command(after_help = SHOW, after_long_help = SHOW)]
    Show {
        #[command(flatten)]
        target: Target,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show pid namespaces and their tasks
    ///
    /// With --target it shows the tasks below that process, with --ns those in the namespace and
    /// below it, else all namespaces below your own without the tasks in your own.
    #[command(after_help = TREE, after_long_help = TREE)]
    Tree {
        #[command(flatten)]
        target: Target,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the last pids of a namespace and its ancestors
    ///
    /// Prints the levels from the inside outwards, up to the first that you may not set.
    ///
    /// Without the ioctl a helper process in each namespace reads them. It gets a pid near pid_max by
    /// clone3() with set_tid, which moves no last pid. Where clone3() is not permitted, it gets the
    /// next pid; then nspid prints the number below that, and sets the last pids back where it may.
    #[command(after_help = GET, after_long_help = GET)]
    Get {
        #[command(flatten)]
        target: Target,
        /// Maximum number of levels [default: all]
        #[arg(long, default_value_t = ALL_LEVELS, hide_default_value = true,
            value_parser = clap::value_parser!(u32).range(1..))]
        levels: u32,
        #[command(flatten)]
        way: Way,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the last pids of a namespace and its ancestors
    ///
    /// With the ioctl the kernel sets all or none. Without it nspid checks all levels first, then
    /// sets one after the other, and undoes that if one fails.
    #[command(after_help = SET, after_long_help = SET)]
    Set {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        way: Way,
        /// The last pids, innermost first, as in 3:22:111
        vector: LastPids,
    },
    /// Move the last pid of a namespace forward, to keep pids free
    ///
    /// The next pid will be N or beyond, and beyond all pids of the dump. So a process that starts
    /// there does not take a pid that a restorer needs. A last pid that is beyond already stays.
    #[command(after_help = RESERVE, after_long_help = RESERVE)]
    Reserve {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        way: Way,
        /// The least next pid
        #[arg(required_unless_present = "dump", value_parser = clap::value_parser!(i32).range(1..))]
        n: Option<i32>,
        /// A dump, whose outermost pids stay free; -: stdin
        #[arg(long, value_name = "FILE")]
        dump: Option<PathBuf>,
    },
    /// Say who has pids in a namespace
    ///
    /// A pid is free, or a process, thread or zombie has it, or it is the id of a session or process
    /// group that has members but no leader any more, or it is not below pid_max. For a pid that is
    /// taken in any of these ways CRIU says "Can't fork for N: File exists".
    #[command(after_help = CHECK, after_long_help = CHECK)]
    Check {
        #[command(flatten)]
        target: Target,
        /// The pids
        #[arg(required_unless_present = "dump", value_parser = clap::value_parser!(i32).range(1..))]
        pids: Vec<i32>,
        /// A dump: its outermost pids; -: stdin
        #[arg(long, value_name = "FILE")]
        dump: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a command in a namespace with exactly these pids
    ///
    /// clone3() with set_tid gives these pids or fails. The other way, vector, sets the last pids and
    /// forks. Another process can fork in between: nspid reads the pids before it runs the command,
    /// tries again if they are wrong, and gives up after ten attempts.
    #[command(after_help = RUN, after_long_help = RUN)]
    Run {
        #[command(flatten)]
        target: Target,
        /// The pids, innermost first. Further out any will do
        #[arg(long, value_name = "VECTOR")]
        pids: LastPids,
        /// How to choose the pids
        #[arg(long, value_enum, default_value = "auto")]
        how: run::How,
        /// The command and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Print the skeleton of a process tree as JSON
    ///
    /// The skeleton: the pid and user namespaces with their last pids, pid_max, owners and maps, and
    /// each process with its parent, its pids in these namespaces, threads, session and process
    /// group, and whether it is a zombie.
    #[command(after_help = DUMP, after_long_help = DUMP)]
    Dump {
        #[command(flatten)]
        target: Target,
        /// Also the pids in your own namespace: restore needs them to be free
        #[arg(long)]
        outer: bool,
        /// Leave out processes that entered the namespaces from outside, as by nsenter
        #[arg(long)]
        without_entered: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Build the namespaces and tasks of a dump, each task a stand-in that waits
    ///
    /// The target is the namespace to build them in. Each task gets its old pids in the namespaces of
    /// the dump, and each of these its old last pid. restore prints the pid of the first task. To end
    /// all of them, kill the inits of the outermost namespaces.
    #[command(after_help = RESTORE, after_long_help = RESTORE)]
    Restore {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        way: Way,
        /// The dump; -: stdin
        file: PathBuf,
    },
    /// Compare a process tree with a dump
    #[command(after_help = VERIFY, after_long_help = VERIFY)]
    Verify {
        #[command(flatten)]
        target: Target,
        /// Also fork in each namespace, compare the next pids, and set the last pids back
        #[arg(long)]
        fork: bool,
        /// Leave out processes that entered the namespaces from outside
        #[arg(long)]
        without_entered: bool,
        #[command(flatten)]
        way: Way,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The dump; -: stdin
        file: PathBuf,
    },
    /// CRIU's action script: a restored container goes on with its next pid
    ///
    /// CRIU restores each task with its pid, but not the last pid of the pid namespace: it hands out
    /// old pids again. At post-dump this keeps the last pid and pid_max in nspid.json beside CRIU's
    /// images. At post-restore, when all tasks exist and none runs, it sets them. It leaves alone
    /// the namespace of CRIU itself, external namespaces, and images without that file.
    ///
    /// CRIU starts an action script without arguments: name one that runs this command.
    #[command(after_help = CRIU_ACTION, after_long_help = CRIU_ACTION)]
    CriuAction {
        #[command(flatten)]
        way: Way,
        /// End with an error if this fails, so that CRIU fails too: the container is not dumped, or
        /// not restored. Without it, a failure is a warning in CRIU's log
        #[arg(long)]
        fatal: bool,
    },
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print a man page: that of nspid, or of one of its commands
    Man(ManArgs),
}

#[derive(Args)]
pub struct ManArgs {
    /// The command
    pub command: Option<String>,
}

const SHOW: &str = "\
Examples:
  nspid show -t 4711
  nspid show --json --ns /proc/4711/ns/pid | jq '.levels[].pid_max'";
const TREE: &str = "\
Examples:
  nspid tree
  nspid tree -t 4711 | head -1";
const GET: &str = "\
Examples:
  nspid get -t 4711
  nspid get -t 4711 --levels 1 --json | jq '.last_pids[0]'";
const SET: &str = "\
Examples:
  nspid set -t 4711 3:22:111     the next pids there are 4, 23 and 112
  nspid set -t 4711 $(nspid get -t 4711 --levels 2)";
const RESERVE: &str = "\
Examples:
  nspid reserve -t 4711 100000
  nspid reserve -t 4711 --dump web.json";
const CHECK: &str = "\
Examples:
  nspid check -t 4711 42 43
  nspid check -t 4711 --json --dump web.json";
const RUN: &str = "\
Examples:
  nspid run -t 4711 --pids 42 sh -c 'echo $$'
  nspid run --pids 4711 top";
const DUMP: &str = "\
Examples:
  nspid dump -t 4711 > web.json
  nspid dump -t 4711 | ssh elsewhere nspid restore -";
const RESTORE: &str = "\
Examples:
  nspid restore web.json
  nspid restore -t 4711 web.json   in the namespace of process 4711";
const VERIFY: &str = "\
Examples:
  nspid verify --fork -t 4712 web.json
  nspid dump -t 4711 | nspid verify -t 4712 -";
const CRIU_ACTION: &str = "\
Examples:
  criu dump -t 4711 -D images --action-script /usr/libexec/nspid/criu-action
  criu restore -D images --action-script /usr/libexec/nspid/criu-action

Configuration:
  action-script /usr/libexec/nspid/criu-action
  This line in /etc/criu/default.conf serves CRIU and all that start it: runc, crun, podman,
  docker, containerd and LXC. In another file it serves fewer:
  /etc/criu/runc.conf   runc, also below docker and containerd
  /etc/criu/crun.conf   crun 1.26 and later with CRIU 4.2 and later, also below podman";
