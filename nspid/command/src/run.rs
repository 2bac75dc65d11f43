// SPDX-License-Identifier: GPL-2.0

//! `run`: a command with exactly these pids.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use pidns::{clone_with_pids, task::Task, Forked, LastPids, PidNamespace};
use rustix::{
    io::Errno,
    pipe::{pipe_with, PipeFlags},
    process::{
        kill_process, set_parent_process_death_signal, waitpid, Pid, Signal, WaitOptions,
        WaitStatus,
    },
};

use crate::{
    cursors,
    failure::{Failure, Kind, OrFail},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum How {
    /// set-tid, or vector where the kernel has no clone3()
    Auto,
    /// Set the last pids, then fork
    Vector,
    /// clone3() with set_tid
    SetTid,
}

const ATTEMPTS: usize = 10;
const NSPID_FAILED: u8 = 125;
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

pub fn run(
    ns: Result<PidNamespace, Failure>,
    pids: &LastPids,
    how: How,
    command: &[String],
) -> ExitCode {
    match ns.and_then(|ns| start(&ns, pids, how, command)) {
        Ok(child) => wait(child),
        Err(failure) => {
            eprintln!("nspid: {failure}");
            ExitCode::from(NSPID_FAILED)
        }
    }
}

/// Returns the child when it has the right pids and runs the command.
fn start(ns: &PidNamespace, pids: &LastPids, how: How, command: &[String]) -> Result<Pid, Failure> {
    let wanted = pids.as_slice();
    if let Some(zero) = wanted.iter().position(|pid| *pid == 0) {
        return Err(Failure::other(format!("there is no pid 0 (level {zero} of {pids})")));
    }
    let last_pids = LastPids::new(wanted.iter().map(|pid| pid - 1).collect());
    let last_pids = last_pids.map_err(|error| Failure::other(error.to_string()))?;
    ns.enter_for_children().or_fail(|| "entering the namespace".to_owned())?;

    let mut got = Vec::new();
    for _ in 0..ATTEMPTS {
        let child = match how {
            How::Vector => None,
            How::Auto | How::SetTid => match fork(wanted, command) {
                Err(error) if how == How::Auto && error.raw_os_error() == Some(libc::ENOSYS) => {
                    None
                }
                result => Some(result.map_err(|error| refused(ns, wanted, &error))?),
            },
        };
        let child = match child {
            Some(child) => child,
            None => {
                ns.set_last_pids(&last_pids).map_err(|error| cursors::explain(&error))?;
                fork(&[], command).or_fail(|| "fork".to_owned())?
            }
        };

        let task = Task::read(child.pid.as_raw_nonzero().get());
        got = task.or_fail(|| "the new task".to_owned())?.pids;
        if got.starts_with(wanted) {
            return child.go();
        }
        child.end();
        if let Some(failure) = taken(ns, wanted) {
            return Err(failure);
        }
    }
    let got: Vec<_> = got.iter().map(i32::to_string).collect();
    Err(Failure::other(format!(
        "{pids} could not be had in {ATTEMPTS} attempts, others fork in these namespaces at the same \
         time; the last task got {} and was killed before it ran anything",
        got.join(":")
    )))
}

/// A child that waits to be told to go.
struct Waiting {
    pid: Pid,
    go: File,
}

impl Waiting {
    fn go(mut self) -> Result<Pid, Failure> {
        self.go.write_all(b"!").or_fail(|| "the new task".to_owned())?;
        Ok(self.pid)
    }

    fn end(self) {
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

fn fork(pids: &[i32], command: &[String]) -> io::Result<Waiting> {
    let (told, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let (mut told, go) = (File::from(told), File::from(go));
    match clone_with_pids(false, pids)? {
        Forked::Parent(pid) => match Pid::from_raw(pid) {
            Some(pid) => Ok(Waiting { pid, go }),
            None => Err(io::Error::other("no pid")),
        },
        Forked::Child => {
            drop(go);
            // The command is asked to end if nspid is killed.
            let _ = set_parent_process_death_signal(Some(Signal::TERM));
            // Without the byte nspid is gone.
            if told.read_exact(&mut [0]).is_err() {
                std::process::exit(NSPID_FAILED.into());
            }
            let (name, arguments) =
                command.split_first().map_or(("", command), |(name, rest)| (name.as_str(), rest));
            let error = Command::new(name).args(arguments).exec();
            eprintln!("nspid: {name}: {error}");
            let missing = error.kind() == io::ErrorKind::NotFound;
            std::process::exit((if missing { NOT_FOUND } else { CANNOT_RUN }).into());
        }
    }
}

/// What it means that `clone3()` did not make a task.
fn refused(ns: &PidNamespace, wanted: &[i32], error: &io::Error) -> Failure {
    match Errno::from_io_error(error) {
        Some(Errno::EXIST) => taken(ns, wanted)
            .unwrap_or_else(|| Failure::new(Kind::Taken, "one of the pids is taken")),
        Some(Errno::INVAL) => Failure::other(
            "there are fewer levels than pids, or a pid is not below the pid_max of its level",
        ),
        Some(Errno::PERM) => Failure::new(
            Kind::NotPermitted,
            "not permitted: it takes CAP_CHECKPOINT_RESTORE in the user namespace that owns each level",
        ),
        Some(Errno::NOMEM) => Failure::other("the init of the namespace is gone"),
        _ => Failure::other(format!("clone3: {error}")),
    }
}

/// Who has one of the pids.
fn taken(ns: &PidNamespace, wanted: &[i32]) -> Option<Failure> {
    let mut level = ns.parent();
    let mut holder = ns.translate(*wanted.first()?).ok().map(|pid| (0, pid));
    for (at, pid) in wanted.iter().enumerate().skip(1) {
        let Ok(Some(parent)) = level else { break };
        holder = holder.or_else(|| parent.translate(*pid).ok().map(|pid| (at, pid)));
        level = parent.parent();
    }
    let (at, pid) = holder?;
    let name = Task::read(pid).map_or_else(|_| "?".to_owned(), |task| task.name);
    Some(Failure::new(
        Kind::Taken,
        format!(
            "pid {} of level {at} (0 is the innermost) is taken by process {pid}, {name}",
            wanted.get(at)?
        ),
    ))
}

/// Waits for the command to end.
fn wait(child: Pid) -> ExitCode {
    // What a terminal sends goes to the command too.
    ignore_terminal_signals();
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return exit_code(status),
            Err(Errno::INTR) | Ok(None) => {}
            Err(error) => {
                eprintln!("nspid: waiting for the command: {error}");
                return ExitCode::from(NSPID_FAILED);
            }
        }
    }
}

fn ignore_terminal_signals() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: Nothing of ours handles these signals, and the command has been forked already.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

fn exit_code(status: WaitStatus) -> ExitCode {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => NSPID_FAILED.into(),
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
