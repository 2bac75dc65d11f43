// SPDX-License-Identifier: GPL-2.0-only

//! Work that a process cannot undo, such as entering a user namespace.

use std::{
    fs::File,
    io::{self, Read, Write},
    process,
};

use pidns::{fork_with_pids, Forked};
use rustix::{
    pipe::{pipe_with, PipeFlags},
    process::{waitpid, Pid, WaitOptions},
};

/// Does `work` in a child process, and returns the text that it returns.
pub fn in_child(work: impl FnOnce() -> io::Result<String>) -> io::Result<String> {
    let (result, answer) = pipe_with(PipeFlags::CLOEXEC)?;
    let child = match fork_with_pids(false, &[])? {
        Forked::Parent(child) => child,
        Forked::Child => {
            let result = work().and_then(|text| File::from(answer).write_all(text.as_bytes()));
            let error = result.err().map(|error| error.raw_os_error().unwrap_or(libc::EIO));
            process::exit(error.unwrap_or(0));
        }
    };
    drop(answer);
    let mut text = String::new();
    let result = File::from(result).read_to_string(&mut text);
    let status = waitpid(Pid::from_raw(child), WaitOptions::empty())?;
    match status.and_then(|(_, status)| status.exit_status()) {
        Some(0) => result.map(|_| text),
        Some(error) => Err(io::Error::from_raw_os_error(error)),
        None => Err(io::Error::other("a child process was killed")),
    }
}
