// SPDX-License-Identifier: GPL-2.0-only

//! `get`, `set` and `reserve`.

use std::path::Path;

use pidns::{Cursors, LastPids};
use serde::Serialize;

use crate::{
    failure::{Failure, Kind},
    image::Image,
    output,
    target::note_helpers,
};

#[derive(Serialize)]
struct Report<'a> {
    /// The innermost first.
    last_pids: &'a [i32],
    /// "ioctl" or "helper".
    how: &'a str,
    /// How many pids helpers used up.
    spent: usize,
}

pub fn get(cursors: &Cursors, levels: u32, json: bool) -> Result<(), Failure> {
    let last_pids = cursors.get(levels)?;
    note_helpers([cursors]);
    if json {
        let how = if cursors.uses_helper() { "helper" } else { "ioctl" };
        let (last_pids, spent) = (last_pids.as_slice(), cursors.spent());
        output::print_json(&Report { last_pids, how, spent })
    } else {
        output::print(&format!("{last_pids}\n"))
    }
}

pub fn set(cursors: &Cursors, last_pids: &LastPids) -> Result<(), Failure> {
    cursors.set(last_pids)?;
    note_helpers([cursors]);
    Ok(())
}

/// Moves the last pid forward, so that the next pids are `least` and beyond those of a dump.
pub fn reserve(cursors: &Cursors, least: Option<i32>, dump: Option<&Path>) -> Result<(), Failure> {
    let mut wanted = least.unwrap_or(1) - 1;
    if let Some(path) = dump {
        let image = Image::read(path)?;
        wanted = wanted.max(image.outermost_pids().max().unwrap_or(0));
    }
    // The next pid has to be below pid_max.
    if let Ok(pid_max) = cursors.pid_max() {
        if wanted + 1 >= pid_max {
            return Err(Failure::new(
                Kind::Taken,
                format!("pid {} is not below pid_max of the namespace, {pid_max}", wanted + 1),
            ));
        }
    }
    let now = cursors.get(1)?;
    if now.as_slice().first().is_some_and(|last_pid| *last_pid < wanted) {
        let last_pids = LastPids::new(vec![wanted]);
        cursors.set(&last_pids.map_err(|error| Failure::other(error.to_string()))?)?;
    }
    note_helpers([cursors]);
    Ok(())
}
