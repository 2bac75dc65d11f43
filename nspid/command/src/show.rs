// SPDX-License-Identifier: GPL-2.0-only

//! `show`: one row for each level.

use std::io;

use pidns::{next_pid, task::Task, Cursors, Error, How, PidNamespace, UserNamespace};
use rustix::io::Errno;
use serde::Serialize;

use crate::{
    check::Inside,
    failure::{Failure, OrFail},
    output,
    target::Target,
    world::World,
};

#[derive(Serialize)]
struct Row {
    inode: u64,
    id: Option<u64>,
    owner_uid: Option<u32>,
    pid: Option<i32>,
    last_pid: Option<i32>,
    /// What the next fork there gets, as far as the tasks can be seen.
    next_pid: Option<i32>,
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
        result.map_err(|error| self.note(what, &error)).ok()
    }

    fn take_cursor<T>(&mut self, what: &str, result: Result<T, Error>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(Error::Io { error, .. }) => error,
            Err(Error::NotPermitted { .. } | Error::OutOfReach) => Errno::PERM.into(),
            Err(error) => io::Error::other(error.to_string()),
        };
        self.note(what, &error);
        None
    }

    fn note(&mut self, what: &str, error: &io::Error) {
        let why = match Errno::from_io_error(error) {
            Some(Errno::NOTTY) => "this kernel cannot tell it".to_owned(),
            Some(Errno::PERM | Errno::ACCESS) => "you may not see it at every level".to_owned(),
            _ => error.to_string(),
        };
        let note = format!("{what}: {why}");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

pub fn show(target: &Target, json: bool) -> Result<(), Failure> {
    let task = target.task()?;
    let report = report(target.namespace()?, task.as_ref())?;
    if json {
        output::print_json(&report)
    } else {
        output::print(&table(&report))
    }
}

fn report(ns: PidNamespace, task: Option<&Task>) -> Result<Report, Failure> {
    let world = World::read()?;
    let chain = ns.chain().or_fail(|| "the parent namespaces".to_owned())?;
    let mut report = Report { levels: Vec::new(), notes: Vec::new() };

    for (level, ns) in chain.into_iter().enumerate() {
        let inode = ns.inode().or_fail(|| "the namespace".to_owned())?;
        let (tasks, tasks_below) = world.count(inode);
        let taken = Inside::new(&world, &ns)?.taken();
        let id = ns.id();
        let owner_uid = UserNamespace::owning(&ns).and_then(|owner| owner.owner_uid());
        let cursors = Cursors::open(ns, How::Auto)?.without_spending();
        let last_pid = cursors.get(1).map(|last_pids| last_pids.as_slice()[0]);
        let last_pid = report.take_cursor("last pid", last_pid);
        let pid_max = report.take_cursor("pid_max", cursors.pid_max());
        let row = Row {
            inode,
            id: report.take("id", id),
            owner_uid: report.take("owner", owner_uid),
            pid: task.and_then(|task| task.pids.get(level).copied()),
            last_pid,
            next_pid: last_pid.zip(pid_max).and_then(|(last_pid, pid_max)| {
                next_pid(last_pid, pid_max, |pid| taken.contains(&pid))
            }),
            pid_max,
            tasks,
            tasks_below,
        };
        report.levels.push(row);
    }
    if !world.hidden.is_empty() {
        let hidden = world.hidden.len();
        report.notes.push(format!("tasks: without {hidden} that you may not look at"));
    }
    Ok(report)
}

const HEADINGS: [&str; 9] =
    ["NAMESPACE", "ID", "OWNER", "PID", "LAST PID", "NEXT PID", "PID_MAX", "TASKS", "BELOW"];

fn table(report: &Report) -> String {
    fn cell<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    for row in &report.levels {
        rows.push([
            format!("pid:[{}]", row.inode),
            cell(row.id),
            cell(row.owner_uid),
            cell(row.pid),
            cell(row.last_pid),
            cell(row.next_pid),
            cell(row.pid_max),
            row.tasks.to_string(),
            row.tasks_below.to_string(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEADINGS.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells.map(|(cell, width)| format!("{cell:>width$}")).collect();
        text += &(line.join("  ") + "\n");
    }
    for note in &report.notes {
        text += &format!("-  {note}\n");
    }
    text
}
