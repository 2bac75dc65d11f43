// SPDX-License-Identifier: GPL-2.0

//! Tasks and their pids, from `/proc`.
//!
//! `/proc` shows what the pid namespace sees that it was mounted in: it should be the caller's own.

use std::{collections::HashMap, fs, io};

/// A process, or one of its threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The pid in the caller's namespace.
    pub pid: i32,
    /// The pid of the process that it is a thread of: its own if it is the first.
    pub process: i32,
    /// The pid of the parent process, or 0 if that is outside.
    pub parent: i32,
    /// The pids at every level from its own namespace outwards to the caller's: `NSpid` backwards.
    pub pids: Vec<i32>,
    /// The inode number of its pid namespace.
    pub ns: u64,
    /// Whether it has ended and nobody has taken notice of it.
    pub zombie: bool,
    /// Its name.
    pub name: String,
}

impl Task {
    /// Reads what `/proc` says of a process or thread.
    ///
    /// # Errors
    ///
    /// If there is no such task, or if the caller may not know its namespace.
    pub fn read(pid: i32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let fields: HashMap<_, _> =
            status.lines().filter_map(|line| line.split_once(":\t")).collect();
        let text = |key| {
            let missing = || io::Error::other(format!("/proc/{pid}/status has no {key}"));
            fields.get(key).copied().ok_or_else(missing)
        };
        let number = |key| text(key)?.trim().parse::<i32>().map_err(io::Error::other);

        let pids = text("NSpid")?.split_whitespace().rev().map(str::parse);
        let ns = fs::read_link(format!("/proc/{pid}/ns/pid"))?;
        let ns = ns.to_string_lossy();
        let inode = ns.trim_start_matches("pid:[").trim_end_matches(']').parse();
        Ok(Self {
            pid: number("Pid")?,
            process: number("Tgid")?,
            parent: number("PPid")?,
            pids: pids.collect::<Result<_, _>>().map_err(io::Error::other)?,
            ns: inode.map_err(io::Error::other)?,
            zombie: text("State")?.starts_with('Z'),
            name: text("Name")?.to_owned(),
        })
    }

    /// Whether this is the first thread of its process.
    pub fn is_process(&self) -> bool {
        self.pid == self.process
    }
}

/// All processes and threads that the caller may look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// In the order of their pids.
    pub seen: Vec<Task>,
    /// How many more there are.
    pub hidden: usize,
}

/// Reads all processes and threads. What ends meanwhile is left out.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn all() -> io::Result<Tasks> {
    let mut tasks = Tasks::default();

    for process in pids_in("/proc")? {
        let Ok(threads) = pids_in(&format!("/proc/{process}/task")) else { continue };
        for thread in threads {
            match Task::read(thread) {
                Ok(task) => tasks.seen.push(task),
                Err(error) if is_gone(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => tasks.hidden += 1,
                Err(error) => return Err(error),
            }
        }
    }
    tasks.seen.sort_by_key(|task| task.pid);
    Ok(tasks)
}

/// Whether an error says that a task is not there any more.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

fn pids_in(directory: &str) -> io::Result<Vec<i32>> {
    let names = fs::read_dir(directory)?.filter_map(Result::ok).map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}
