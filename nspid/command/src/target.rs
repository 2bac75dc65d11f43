// SPDX-License-Identifier: GPL-2.0-only

//! The options that name a namespace, and the way to its last pids.

use std::{io, path::PathBuf};

use clap::{Args, ValueEnum};
use pidns::{task::Task, Cursors, PidNamespace};

use crate::{
    failure::{Failure, Kind, OrFail},
    output,
};

#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct Target {
    /// A process or thread, as your own namespace calls it. It stands for its pid namespace, and in
    /// tree, dump and verify for the processes below it. Without --target and --ns: your own namespace
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub target: Option<i32>,
    /// The file of a pid namespace, such as /proc/PID/ns/pid
    #[arg(long, value_name = "FILE")]
    pub ns: Option<PathBuf>,
}

impl Target {
    pub fn is_own(&self) -> bool {
        self.target.is_none() && self.ns.is_none()
    }

    pub fn namespace(&self) -> Result<PidNamespace, Failure> {
        match (&self.ns, self.target) {
            (Some(path), _) => PidNamespace::open(path).or_fail(|| path.display().to_string()),
            (None, Some(pid)) => {
                PidNamespace::of_process(pid).map_err(|error| no_process(pid, error))
            }
            (None, None) => PidNamespace::own().or_fail(|| "/proc/self/ns/pid".to_owned()),
        }
    }

    /// The process or thread of --target.
    pub fn task(&self) -> Result<Option<Task>, Failure> {
        let read = |pid| Task::read(pid).map_err(|error| no_process(pid, error));
        self.target.map(read).transpose()
    }

    /// The process itself, or the init of the namespace.
    pub fn process(&self) -> Result<i32, Failure> {
        match self.task()? {
            Some(task) => Ok(task.process),
            None => {
                let init = self.namespace()?.translate(1);
                init.or_fail(|| "the init of the namespace".to_owned())
            }
        }
    }
}

fn no_process(pid: i32, error: io::Error) -> Failure {
    let text = match error.kind() {
        io::ErrorKind::NotFound => format!("there is no process {pid}, or it has ended"),
        io::ErrorKind::PermissionDenied => format!(
            "process {pid}: {error}; it takes root, or the user who made the user namespace that \
             the process is in"
        ),
        _ => format!("process {pid}: {error}"),
    };
    Failure::new(Kind::of(&error), text)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum How {
    /// ioctl where the kernel has it, else helper
    #[default]
    Auto,
    /// NS_SPECIFIC_IOC, all levels in one step
    Ioctl,
    /// Processes that enter the namespaces and use ns_last_pid, one level after the other
    Helper,
}

impl From<How> for pidns::How {
    fn from(how: How) -> Self {
        match how {
            How::Auto => Self::Auto,
            How::Ioctl => Self::Ioctl,
            How::Helper => Self::Helper,
        }
    }
}

#[derive(Args, Clone, Copy, Debug)]
pub struct Way {
    /// The way to the last pids
    #[arg(long, value_enum, default_value_t)]
    pub how: How,
}

impl Way {
    pub fn open(self, ns: PidNamespace) -> Result<Cursors, Failure> {
        Ok(Cursors::open(ns, self.how.into())?)
    }
}

/// Says once what it means that helpers did it.
pub fn note_helpers<'a>(used: impl IntoIterator<Item = &'a Cursors>) {
    let used: Vec<_> = used.into_iter().filter(|cursors| cursors.uses_helper()).collect();
    if used.is_empty() {
        return;
    }
    let spent = match used.iter().map(|cursors| cursors.spent()).sum() {
        0 => "no pids".to_owned(),
        1 => "1 pid".to_owned(),
        spent => format!("{spent} pids"),
    };
    output::note(&format!(
        "without the ioctl: helper processes did this in several steps, between which others \
         can fork; they used up {spent}"
    ));
}
