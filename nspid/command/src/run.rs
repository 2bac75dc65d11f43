// SPDX-License-Identifier: GPL-2.0-only

//! `run`: a command with exactly these pids.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use pidns::{fork_with_pids, task::Task, Cursors, Forked, LastPids, PidNamespace};
use rustix::{
    io::Errno,
    pipe::{pipe_with, PipeFlags},
    process::{
        kill_process, set_parent_process_death_signal, waitpid, Pid, Signal, WaitOptions,
        WaitStatus,
    },
};

use crate::{
    check::{Inside, State},
    failure::{Failure, Kind, OrFail},
    signals,
    world::World,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum How {
    /// set-tid, or vector where there is no clone3()
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
    command: &[OsString],
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
fn start(
    ns: &PidNamespace,
    pids: &LastPids,
    how: How,
    command: &[OsString],
) -> Result<Pid, Failure> {
    let wanted = pids.as_slice();
    if let Some(zero) = wanted.iter().position(|pid| *pid == 0) {
        return Err(Failure::other(format!("there is no pid 0 (level {zero} of {pids})")));
    }
    let last_pids = LastPids::new(wanted.iter().map(|pid| pid - 1).collect());
    let last_pids = last_pids.map_err(|error| Failure::other(error.to_string()))?;
    let cursors = Cursors::open(ns.try_clone().or_fail(|| "dup".to_owned())?, pidns::How::Auto)?;
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
                cursors.set(&last_pids)?;
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

fn fork(pids: &[i32], command: &[OsString]) -> io::Result<Waiting> {
    let (told, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let (mut told, go) = (File::from(told), File::from(go));
    match fork_with_pids(false, pids)? {
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
            let error = Command::new(&command[0]).args(&command[1..]).exec();
            eprintln!("nspid: {}: {error}", command[0].to_string_lossy());
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
    let world = World::read().ok()?;
    let chain = ns.try_clone().and_then(PidNamespace::chain).ok()?;
    for (level, (ns, pid)) in chain.iter().zip(wanted).enumerate() {
        let state = Inside::new(&world, ns).ok()?.state(*pid, None);
        if state != State::Free {
            return Some(Failure::new(
                Kind::Taken,
                format!("pid {pid} of level {level} (0 is the innermost) is {state}"),
            ));
        }
    }
    None
}

/// Waits for the command to end.
fn wait(child: Pid) -> ExitCode {
    // What a terminal sends goes to the command too.
    signals::ignore_terminal();
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

fn exit_code(status: WaitStatus) -> ExitCode {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => NSPID_FAILED.into(),
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
