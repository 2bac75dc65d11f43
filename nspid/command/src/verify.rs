// SPDX-License-Identifier: GPL-2.0

//! `verify`: compares a process tree with a dump.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    process::ExitCode,
};

use pidns::{clone_with_pids, next_pid, task::Task, Forked, LastPids, PidNamespace, MAX_PID};
use rustix::process::{
    kill_process, set_parent_process_death_signal, waitpid, Pid, Signal, WaitOptions,
};

use crate::{
    cursors,
    dump::{dump, Dumped},
    failure::{Failure, OrFail},
    image::Image,
};

pub fn verify(file: &Path, pid: i32, fork: bool) -> Result<ExitCode, Failure> {
    let expected = Image::read(file)?;
    let found = dump(pid, expected.outer)?;
    let mut comparison = Comparison {
        expected: &expected,
        found: &found.image,
        spaces: HashMap::new(),
        differences: Vec::new(),
    };
    comparison.tasks(0, 0);
    comparison.last_pids();
    let Comparison { spaces, mut differences, .. } = comparison;
    if fork && differences.is_empty() {
        for (at, found_at) in &spaces {
            next_pids(&expected, *at, &found, *found_at, &mut differences)?;
        }
    }

    for difference in &differences {
        println!("{difference}");
    }
    if differences.is_empty() {
        let forked = if fork { ", and the next pids of forks in each namespace" } else { "" };
        println!(
            "the same: {} processes, {} threads more, {} namespaces and their last pids{forked}",
            expected.tasks.len(),
            expected.count() - expected.tasks.len(),
            expected.namespaces.len()
        );
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

struct Comparison<'a> {
    expected: &'a Image,
    found: &'a Image,
    /// Which namespace is which.
    spaces: HashMap<usize, usize>,
    differences: Vec<String>,
}

impl Comparison<'_> {
    fn tasks(&mut self, at: usize, found_at: usize) {
        // Each with its counterpart; a list, as a tree can be deep.
        let (of_expected, of_found) = (Family::new(self.expected), Family::new(self.found));
        let mut open = vec![(at, found_at)];
        while let Some((at, found_at)) = open.pop() {
            self.task(at, found_at);
            let (children, found) = (of_expected.children(at), of_found.children(found_at));
            if children.len() != found.len() {
                self.differences.push(format!(
                    "{} has {} children instead of {}",
                    name(self.expected, at),
                    found.len(),
                    children.len()
                ));
                continue;
            }
            open.extend(children.iter().copied().zip(found.iter().copied()));
        }
    }

    fn task(&mut self, at: usize, found_at: usize) {
        let (Some(task), Some(found)) =
            (self.expected.tasks.get(at), self.found.tasks.get(found_at))
        else {
            return;
        };
        if task.pids != found.pids {
            let what = format!("{} has pids {:?}", name(self.expected, at), found.pids);
            self.differences.push(what);
        }
        if sorted(&task.threads) != sorted(&found.threads) {
            let what = format!("{} has threads {:?}", name(self.expected, at), found.threads);
            self.differences.push(what);
        }
        if task.zombie != found.zombie {
            self.differences.push(format!("{}: only one is a zombie", name(self.expected, at)));
        }
        let same = match (task.namespace, found.namespace) {
            (Some(space), Some(found)) => *self.spaces.entry(space).or_insert(found) == found,
            (None, None) => true,
            _ => false,
        };
        if !same {
            let what = format!("{} is in another namespace", name(self.expected, at));
            self.differences.push(what);
        }
    }

    fn last_pids(&mut self) {
        for (at, found_at) in &self.spaces {
            let expected = self.expected.namespaces.get(*at);
            let found = self.found.namespaces.get(*found_at);
            let (Some(expected), Some(found)) = (expected, found) else { continue };
            if expected.last_pid.is_some() && expected.last_pid != found.last_pid {
                self.differences.push(format!(
                    "the last pid in the namespace of {} is {:?} instead of {:?}",
                    name(self.expected, expected.init),
                    found.last_pid.unwrap_or_default(),
                    expected.last_pid.unwrap_or_default()
                ));
            }
        }
    }
}

/// The children of each task, in the order of their pids.
struct Family(HashMap<usize, Vec<usize>>);

impl Family {
    fn new(image: &Image) -> Self {
        let mut children = HashMap::<usize, Vec<usize>>::new();
        for (at, task) in image.tasks.iter().enumerate() {
            if let Some(parent) = task.parent {
                children.entry(parent).or_default().push(at);
            }
        }
        for children in children.values_mut() {
            children.sort_by_key(|child| image.tasks.get(*child).map(|task| &task.pids));
        }
        Self(children)
    }

    fn children(&self, at: usize) -> &[usize] {
        self.0.get(&at).map_or(&[], Vec::as_slice)
    }
}

fn sorted(threads: &[Vec<i32>]) -> Vec<&Vec<i32>> {
    let mut threads: Vec<_> = threads.iter().collect();
    threads.sort();
    threads
}

fn name(image: &Image, at: usize) -> String {
    image.tasks.get(at).map_or_else(String::new, |task| format!("{} {:?}", task.name, task.pids))
}

/// Forks in one namespace, compares what the child gets, and puts the last pids back.
fn next_pids(
    expected: &Image,
    at: usize,
    found: &Dumped,
    found_at: usize,
    differences: &mut Vec<String>,
) -> Result<(), Failure> {
    let init = found.image.namespaces.get(found_at).and_then(|space| found.seen.get(space.init));
    let init = init.copied().unwrap_or_default();
    let ns = PidNamespace::of_process(init).or_fail(|| format!("process {init}"))?;

    let mut next = Vec::new();
    let mut last_pids = Vec::new();
    for level in expected.chain(Some(at)) {
        let Some(space) = expected.namespaces.get(level) else { continue };
        let Some(last_pid) = space.last_pid else { return Ok(()) };
        let taken: HashSet<i32> = expected
            .all_pids()
            .flat_map(|(ns, pids)| expected.chain(ns).zip(pids))
            .filter(|(ns, _)| *ns == level)
            .map(|(_, pid)| *pid)
            .collect();
        let pid_max = space.pid_max.unwrap_or(MAX_PID);
        next.push(next_pid(last_pid, pid_max, |pid| taken.contains(&pid)).unwrap_or_default());
        last_pids.push(last_pid);
    }

    let about = || "the fork".to_owned();
    let own = PidNamespace::own().or_fail(about)?;
    ns.enter_for_children().or_fail(about)?;
    let forked = clone_with_pids(false, &[]).or_fail(about)?;
    let Forked::Parent(pid) = forked else {
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        loop {
            std::thread::park();
        }
    };
    let got = Task::read(pid);
    let child = Pid::from_raw(pid);
    if let Some(child) = child {
        let _ = kill_process(child, Signal::KILL);
        let _ = waitpid(Some(child), WaitOptions::empty());
    }
    own.enter_for_children().or_fail(about)?;
    let last_pids = LastPids::new(last_pids).map_err(|error| Failure::other(error.to_string()))?;
    ns.set_last_pids(&last_pids).map_err(|error| cursors::explain(&error))?;

    let got = got.or_fail(about)?.pids;
    if !got.starts_with(&next) {
        let init = expected.namespaces.get(at).map_or(0, |space| space.init);
        let whose = name(expected, init);
        differences.push(format!(
            "a fork in the namespace of {whose} gets {:?} instead of {next:?}",
            got.get(..next.len()).unwrap_or_default()
        ));
    }
    Ok(())
}
