// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tasks and their pids, from `/proc`.
//!
//! `/proc` shows what the pid namespace sees that it was mounted in: it should be the caller's own.

use std::{collections::HashMap, fs, io, str::FromStr};

/// A process, or one of its threads.
///
/// ```
/// use pidns::task::Task;
///
/// let own = Task::read(std::process::id() as i32)?;
/// println!("{} is {:?}, innermost first", own.name, own.pids);
/// # Ok::<(), std::io::Error>(())
/// ```
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
    /// The ids of its process group at the same levels, 0 where the leader is outside.
    pub group: Vec<i32>,
    /// The ids of its session at the same levels, 0 where the leader is outside.
    pub session: Vec<i32>,
    /// The inode number of its pid namespace, unless the caller may not know it.
    pub ns: Option<u64>,
    /// Whether it has ended and its parent has not yet waited for it.
    pub zombie: bool,
    /// Its name.
    pub name: String,
}

impl Task {
    /// Reads what `/proc` says of a process or thread.
    ///
    /// # Errors
    ///
    /// If there is no such task.
    pub fn read(pid: i32) -> io::Result<Self> {
        let status = Status::read(pid)?;
        let ns = match fs::read_link(format!("/proc/{pid}/ns/pid")) {
            Ok(link) => {
                let link = link.to_string_lossy();
                let inode = link.trim_start_matches("pid:[").trim_end_matches(']').parse();
                Some(inode.map_err(io::Error::other)?)
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            pid: status.number("Pid")?,
            process: status.number("Tgid")?,
            parent: status.number("PPid")?,
            pids: status.levels("NSpid")?,
            group: status.levels("NSpgid")?,
            session: status.levels("NSsid")?,
            ns,
            zombie: status.text("State")?.starts_with('Z'),
            name: status.text("Name")?.to_owned(),
        })
    }

    /// Reads the pids alone, as [`pids`](Self::pids) has them.
    ///
    /// # Errors
    ///
    /// If there is no such task.
    pub fn read_pids(pid: i32) -> io::Result<Vec<i32>> {
        Status::read(pid)?.levels("NSpid")
    }

    /// Whether this is the first thread of its process.
    pub fn is_process(&self) -> bool {
        self.pid == self.process
    }
}

/// The fields of `/proc/PID/status`.
struct Status {
    pid: i32,
    fields: HashMap<String, String>,
}

impl Status {
    fn read(pid: i32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/status"))?;
        let text = String::from_utf8_lossy(&text);
        let fields = text.lines().filter_map(|line| line.split_once(":\t"));
        let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Ok(Self { pid, fields })
    }

    fn text(&self, key: &str) -> io::Result<&str> {
        let missing = || io::Error::other(format!("/proc/{}/status has no {key}", self.pid));
        self.fields.get(key).map(String::as_str).ok_or_else(missing)
    }

    fn number(&self, key: &str) -> io::Result<i32> {
        self.text(key)?.trim().parse().map_err(io::Error::other)
    }

    /// The innermost first, which `/proc` has last.
    fn levels(&self, key: &str) -> io::Result<Vec<i32>> {
        let numbers = self.text(key)?.split_whitespace().rev().map(i32::from_str);
        numbers.collect::<Result<_, _>>().map_err(io::Error::other)
    }
}

/// Reads all processes and threads, in the order of their pids. What ends meanwhile is left out.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn all() -> io::Result<Vec<Task>> {
    let mut tasks = Vec::new();

    for process in pids_in("/proc")? {
        let Ok(threads) = pids_in(&format!("/proc/{process}/task")) else { continue };
        for thread in threads {
            match Task::read(thread) {
                Ok(task) => tasks.push(task),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    tasks.sort_by_key(|task| task.pid);
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
