// SPDX-License-Identifier: GPL-2.0-only

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
    /// In the order of their pids. Each has a namespace.
    pub tasks: Vec<Task>,
    /// Those whose namespace the caller may not know. Each is below the caller's own.
    pub hidden: Vec<Task>,
    /// By inode number.
    pub spaces: BTreeMap<u64, Space>,
}

impl World {
    pub fn read() -> Result<Self, Failure> {
        // One file for each namespace.
        let limit = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });

        let about = || "/proc/self/ns/pid".to_owned();
        let own = PidNamespace::own().and_then(|ns| ns.inode()).or_fail(about)?;
        let mut world = Self { tasks: Vec::new(), hidden: Vec::new(), spaces: BTreeMap::new() };
        for mut task in task::all().or_fail(|| "/proc".to_owned())? {
            // A task with one pid is in the caller's own namespace.
            if task.ns.is_none() && task.pids.len() == 1 {
                task.ns = Some(own);
            }
            match task.ns {
                None => world.hidden.push(task),
                Some(ns) if ns == own || world.spaces.contains_key(&ns) => world.tasks.push(task),
                Some(ns) => {
                    if world.add_spaces(&task, ns)? {
                        world.tasks.push(task);
                    }
                }
            }
        }
        let file = PidNamespace::own().or_fail(about)?;
        world.spaces.entry(own).or_insert(Space { file, parent: None });
        Ok(world)
    }

    /// Adds the namespace of `task` and all its ancestors, unless the task is gone.
    fn add_spaces(&mut self, task: &Task, ns: u64) -> Result<bool, Failure> {
        let about = || format!("the pid namespace of process {}", task.pid);
        let file = match PidNamespace::of_process(task.pid) {
            Ok(file) => file,
            Err(error) if task::is_gone(&error) => return Ok(false),
            Err(error) => return Err(error).or_fail(about),
        };
        if file.inode().or_fail(about)? != ns {
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

    /// The namespace of a task and its ancestors.
    pub fn chain_of(&self, task: &Task) -> impl Iterator<Item = u64> + '_ {
        task.ns.into_iter().flat_map(|ns| self.chain(ns))
    }

    /// Whether a task that cannot be looked at can be in a namespace or below it.
    pub fn can_be_inside(&self, hidden: &Task, file: &PidNamespace, ns: u64) -> bool {
        match file.pid_of(hidden.pid) {
            Ok(_) => true,
            Err(error) if task::is_gone(&error) => false,
            // Before Linux 6.11. It has a pid at each level.
            Err(_) => hidden.pids.len() >= self.chain(ns).count(),
        }
    }

    /// How many tasks are in `ns` itself, and how many in namespaces below it.
    pub fn count(&self, ns: u64) -> (usize, usize) {
        let own = self.tasks.iter().filter(|task| task.ns == Some(ns)).count();
        let inside = |task: &&Task| self.chain_of(task).any(|ancestor| ancestor == ns);
        (own, self.tasks.iter().filter(inside).count() - own)
    }

    pub fn processes(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.is_process())
    }

    /// A process and all its descendants.
    pub fn descendants(&self, pid: i32) -> HashSet<i32> {
        let mut children = HashMap::<i32, Vec<i32>>::new();
        for task in self.tasks.iter().chain(&self.hidden).filter(|task| task.is_process()) {
            children.entry(task.parent).or_default().push(task.pid);
        }
        let mut found = HashSet::new();
        let mut pending = vec![pid];
        while let Some(pid) = pending.pop() {
            if found.insert(pid) {
                pending.extend(children.get(&pid).into_iter().flatten());
            }
        }
        found
    }
}
