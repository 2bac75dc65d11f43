// SPDX-License-Identifier: GPL-2.0

//! `show`: one row for each level.

use std::io;

use pidns::{task::Task, PidNamespace};
use rustix::io::Errno;
use serde::Serialize;

use crate::{
    failure::{Failure, OrFail},
    world::World,
};

#[derive(Serialize)]
struct Row {
    inode: u64,
    id: Option<u64>,
    owner_uid: Option<u32>,
    pid: Option<i32>,
    last_pid: Option<i32>,
    pid_max: Option<i32>,
    tasks: usize,
    tasks_below: usize,
}

#[derive(Serialize)]
struct Report {
    levels: Vec<Row>,
    /// Why something is missing.
    notes: Vec<String>,
}

impl Report {
    /// Takes what can be had, and notes once why something cannot.
    fn take<T>(&mut self, what: &str, result: io::Result<T>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let why = match Errno::from_io_error(&error) {
            Some(Errno::NOTTY) => "this kernel cannot tell it".to_owned(),
            Some(Errno::PERM | Errno::ACCESS) => "you may not see it at every level".to_owned(),
            Some(Errno::SRCH) => "the init of a namespace is gone".to_owned(),
            _ => error.to_string(),
        };
        let note = format!("{what}: {why}");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        None
    }
}

pub fn show(ns: PidNamespace, pid: Option<i32>, json: bool) -> Result<(), Failure> {
    let task = match pid {
        Some(pid) => Some(Task::read(pid).or_fail(|| format!("process {pid}"))?),
        None => None,
    };
    let report = report(ns, task.as_ref())?;
    if json {
        let text = serde_json::to_string_pretty(&report).map_err(io::Error::from);
        println!("{}", text.or_fail(|| "JSON".to_owned())?);
    } else {
        print_table(&report);
    }
    Ok(())
}

fn report(ns: PidNamespace, task: Option<&Task>) -> Result<Report, Failure> {
    let world = World::read()?;
    let chain = ns.chain().or_fail(|| "the parent namespaces".to_owned())?;
    let mut report = Report { levels: Vec::new(), notes: Vec::new() };

    for (level, ns) in chain.iter().enumerate() {
        let inode = ns.inode().or_fail(|| "the namespace".to_owned())?;
        let (tasks, tasks_below) = world.count(inode);
        let last_pid = ns.last_pids(1).map(|last_pids| last_pids.as_slice().first().copied());
        let row = Row {
            inode,
            id: report.take("id", ns.id()),
            owner_uid: report.take("owner", ns.owner_uid()),
            pid: task.and_then(|task| task.pids.get(level).copied()),
            last_pid: report.take("last pid", last_pid).flatten(),
            pid_max: report.take("pid_max", ns.pid_max()),
            tasks,
            tasks_below,
        };
        report.levels.push(row);
    }
    if world.hidden > 0 {
        report.notes.push(format!("tasks: without {} that you may not look at", world.hidden));
    }
    Ok(report)
}

fn print_table(report: &Report) {
    let mut rows =
        vec![["NAMESPACE", "ID", "OWNER", "PID", "LAST PID", "PID_MAX", "TASKS", "BELOW"]
            .map(str::to_owned)];
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    for row in &report.levels {
        rows.push([
            format!("pid:[{}]", row.inode),
            text(row.id),
            text(row.owner_uid),
            text(row.pid),
            text(row.last_pid),
            text(row.pid_max),
            row.tasks.to_string(),
            row.tasks_below.to_string(),
        ]);
    }
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..8).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells.map(|(cell, width)| format!("{cell:>width$}")).collect();
        println!("{}", line.join("  "));
    }
    for note in &report.notes {
        println!("-  {note}");
    }
}
