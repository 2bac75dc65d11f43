// SPDX-License-Identifier: GPL-2.0

//! All tasks and pid namespaces that `/proc` shows.

use std::collections::{BTreeMap, HashMap, HashSet};

use pidns::{
    task::{self, Task},
    PidNamespace,
};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

use crate::failure::{Failure, OrFail};

pub struct Space {
    pub file: PidNamespace,
    /// The inode number of the parent, if that can be seen.
    pub parent: Option<u64>,
}

pub struct World {
    /// In the order of their pids.
    pub tasks: Vec<Task>,
    /// By inode number.
    pub spaces: BTreeMap<u64, Space>,
    /// How many tasks the caller may not look at.
    pub hidden: usize,
}

impl World {
    pub fn read() -> Result<Self, Failure> {
        // One file for each namespace.
        let limit = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });

        let tasks = task::all().or_fail(|| "/proc".to_owned())?;
        let mut world = Self { tasks: Vec::new(), spaces: BTreeMap::new(), hidden: tasks.hidden };
        for task in tasks.seen {
            if world.spaces.contains_key(&task.ns) || world.add_spaces(&task)? {
                world.tasks.push(task);
            }
        }
        Ok(world)
    }

    /// Adds the namespace of `task` and all its ancestors, unless the task is gone.
    fn add_spaces(&mut self, task: &Task) -> Result<bool, Failure> {
        let about = || format!("the pid namespace of process {}", task.pid);
        let file = match PidNamespace::of_process(task.pid) {
            Ok(file) => file,
            Err(error) if task::is_gone(&error) => return Ok(false),
            Err(error) => return Err(error).or_fail(about),
        };
        if file.inode().or_fail(about)? != task.ns {
            return Ok(false);
        }
        let mut parent = None;
        for file in file.chain().or_fail(about)?.into_iter().rev() {
            let inode = file.inode().or_fail(about)?;
            self.spaces.entry(inode).or_insert(Space { file, parent });
            parent = Some(inode);
        }
        Ok(true)
    }

    /// The namespace `ns` and its ancestors, from the inside outwards.
    pub fn chain(&self, ns: u64) -> impl Iterator<Item = u64> + '_ {
        std::iter::successors(Some(ns), |ns| self.spaces.get(ns)?.parent)
    }

    /// How many tasks are in `ns` itself, and how many in namespaces below it.
    pub fn count(&self, ns: u64) -> (usize, usize) {
        let mut per_space = HashMap::<u64, usize>::new();
        for task in &self.tasks {
            *per_space.entry(task.ns).or_default() += 1;
        }
        let all = per_space
            .iter()
            .filter(|(inode, _)| self.chain(**inode).any(|ancestor| ancestor == ns))
            .map(|(_, count)| count)
            .sum::<usize>();
        let own = per_space.get(&ns).copied().unwrap_or(0);
        (own, all - own)
    }

    pub fn processes(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.is_process())
    }

    /// A process and all its descendants.
    pub fn descendants(&self, pid: i32) -> HashSet<i32> {
        let mut children = HashMap::<i32, Vec<i32>>::new();
        for task in self.processes() {
            children.entry(task.parent).or_default().push(task.pid);
        }
        let mut found = HashSet::new();
        let mut open = vec![pid];
        while let Some(pid) = open.pop() {
            if found.insert(pid) {
                open.extend(children.get(&pid).into_iter().flatten());
            }
        }
        found
    }
}
