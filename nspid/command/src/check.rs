// SPDX-License-Identifier: GPL-2.0-only

//! `check`: who has a pid.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    path::Path,
    process::ExitCode,
};

use pidns::{task::Task, Cursors, How, PidNamespace};
use serde::Serialize;

use crate::{
    failure::{Failure, Kind, OrFail},
    image::Image,
    output,
    world::World,
};

/// What a pid is in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    Free,
    /// `process` and `thread` are what the caller calls them.
    Process {
        process: i32,
        name: String,
    },
    Thread {
        thread: i32,
        process: i32,
        name: String,
    },
    Zombie {
        process: i32,
        parent: i32,
        name: String,
    },
    /// The leader is gone.
    Session {
        members: Vec<i32>,
    },
    Group {
        members: Vec<i32>,
    },
    NotBelowPidMax {
        pid_max: i32,
    },
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = |members: &[i32]| {
            let shown: Vec<_> = members.iter().take(5).map(i32::to_string).collect();
            let more = if members.len() > 5 { ", ..." } else { "" };
            format!("{}{more}", shown.join(", "))
        };
        match self {
            Self::Free => f.write_str("free"),
            Self::Process { process, name } => write!(f, "taken by process {process}, {name}"),
            Self::Thread { thread, process, name } => {
                write!(f, "taken by thread {thread} of process {process}, {name}")
            }
            Self::Zombie { process, parent, name } => write!(
                f,
                "taken by process {process}, {name}, a zombie until process {parent} waits for it"
            ),
            Self::Session { members: list } => {
                write!(f, "taken as a session without its leader, of process {}", members(list))
            }
            Self::Group { members: list } => {
                write!(
                    f,
                    "taken as a process group without its leader, of process {}",
                    members(list)
                )
            }
            Self::NotBelowPidMax { pid_max } => write!(f, "not below pid_max, {pid_max}"),
        }
    }
}

/// The tasks that have a pid in one namespace.
pub struct Inside<'a> {
    /// Each with the place of that pid among its pids.
    tasks: Vec<(&'a Task, usize)>,
}

impl<'a> Inside<'a> {
    pub fn new(world: &'a World, ns: &PidNamespace) -> Result<Self, Failure> {
        let about = || "the namespace".to_owned();
        let file = ns;
        let ns = file.inode().or_fail(about)?;
        let depth = file.try_clone().and_then(PidNamespace::chain).or_fail(about)?.len();
        // A hidden task has as many more pids as it is deeper.
        let hidden = world.hidden.iter().filter(|task| file.pid_of(task.pid).is_ok());
        let hidden = hidden.filter_map(|task| Some((task, task.pids.len().checked_sub(depth)?)));
        let tasks = world
            .tasks
            .iter()
            .filter_map(|task| Some((task, world.chain_of(task).position(|level| level == ns)?)))
            .chain(hidden)
            .collect();
        Ok(Self { tasks })
    }

    /// The pids that no fork gets: those of tasks, sessions and process groups.
    pub fn taken(&self) -> HashSet<i32> {
        let ids = self.tasks.iter().flat_map(|(task, level)| {
            [&task.pids, &task.session, &task.group].map(|ids| ids.get(*level).copied())
        });
        ids.flatten().collect()
    }

    /// What a pid is.
    pub fn state(&self, pid: i32, pid_max: Option<i32>) -> State {
        if let Some(pid_max) = pid_max.filter(|pid_max| pid >= *pid_max) {
            return State::NotBelowPidMax { pid_max };
        }
        let holder = self.tasks.iter().find(|(task, level)| task.pids.get(*level) == Some(&pid));
        if let Some((task, _)) = holder {
            let (process, name) = (task.process, task.name.clone());
            return match (task.is_process(), task.zombie) {
                (false, _) => State::Thread { thread: task.pid, process, name },
                (true, true) => State::Zombie { process, parent: task.parent, name },
                (true, false) => State::Process { process, name },
            };
        }
        let members = |ids: fn(&Task) -> &[i32]| -> Vec<i32> {
            let is_member = |(task, level): &&(&Task, usize)| ids(task).get(*level) == Some(&pid);
            self.tasks.iter().filter(is_member).map(|(task, _)| task.pid).collect()
        };
        let (session, group) = (members(|task| &task.session), members(|task| &task.group));
        match (session.is_empty(), group.is_empty()) {
            (false, _) => State::Session { members: session },
            (true, false) => State::Group { members: group },
            (true, true) => State::Free,
        }
    }
}

#[derive(Serialize)]
struct Entry {
    pid: i32,
    #[serde(flatten)]
    state: State,
}

#[derive(Serialize)]
struct Report {
    /// Null if it could not be read.
    pid_max: Option<i32>,
    /// How many tasks were not looked at, for lack of permission.
    hidden: usize,
    pids: Vec<Entry>,
}

pub fn check(
    ns: PidNamespace,
    pids: &[i32],
    dump: Option<&Path>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let world = World::read()?;
    let from_dump: BTreeSet<i32> = match dump {
        Some(path) => Image::read(path)?.outermost_pids().collect(),
        None => BTreeSet::new(),
    };
    let cursors = Cursors::open(ns, How::Helper)?.without_spending();
    let pid_max = cursors.pid_max();
    if let Err(error) = &pid_max {
        output::note(&format!("pid_max is missing: {error}"));
    }
    let pid_max = pid_max.ok();
    let wanted = pids.iter().copied().chain(from_dump.iter().copied());
    let inside = Inside::new(&world, cursors.namespace())?;
    let states: Vec<_> = wanted.map(|pid| (pid, inside.state(pid, pid_max))).collect();

    let inode = cursors.namespace().inode().or_fail(|| "the namespace".to_owned())?;
    let hidden = world.hidden.iter().filter(|task| {
        let unknown = cursors.namespace().pid_of(task.pid).is_err();
        unknown && world.can_be_inside(task, cursors.namespace(), inode)
    });
    let hidden = hidden.count();
    if hidden > 0 {
        output::note(&format!("you may not look at {hidden} tasks, which can have pids there"));
    }
    let free = states.iter().filter(|(_, state)| *state == State::Free).count();
    let all_free = free == states.len();
    if json {
        let pids = states.into_iter().map(|(pid, state)| Entry { pid, state }).collect();
        output::print_json(&Report { pid_max, hidden, pids })?;
    } else {
        let mut text = String::new();
        for (pid, state) in &states {
            // Of a dump with thousands, those that matter.
            if *state != State::Free || pids.contains(pid) {
                text += &format!("{pid}: {state}\n");
            }
        }
        if dump.is_some() {
            text += &format!("{free} of {} are free\n", states.len());
        }
        output::print(&text)?;
    }
    Ok(ExitCode::from(if all_free { 0 } else { Kind::Taken as u8 }))
}
