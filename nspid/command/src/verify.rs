// SPDX-License-Identifier: GPL-2.0-only

//! `verify`: compares a process tree with a dump.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
    process::ExitCode,
};

use pidns::{
    fork_with_pids, next_pid, task::Task, Cursors, Forked, LastPids, PidNamespace, MAX_PID,
};
use rustix::process::{
    kill_process, set_parent_process_death_signal, waitpid, Pid, Signal, WaitOptions,
};
use serde::Serialize;

use crate::{
    child::in_child,
    dump,
    failure::{Failure, OrFail, DIFFERENT},
    image::{Image, Leader},
    output,
    target::{note_helpers, Way},
};

#[derive(Clone, Copy)]
pub struct Options {
    pub fork: bool,
    pub without_entered: bool,
    pub way: Way,
    pub json: bool,
}

#[derive(Serialize)]
struct Report {
    same: bool,
    differences: Vec<String>,
    processes: usize,
    /// All threads but the first of each process.
    threads: usize,
    namespaces: usize,
    /// Whether a fork in each namespace got the expected pids.
    forked: bool,
}

pub fn verify(file: &Path, pid: i32, options: Options) -> Result<ExitCode, Failure> {
    let expected = Image::read(file)?;
    let Options { fork, without_entered, way, json } = options;
    let found = dump::dump(pid, dump::Options { outer: expected.outer, without_entered, way })?;
    for note in &found.notes {
        output::note(note);
    }
    let mut comparison = Comparison {
        expected: &expected,
        found: &found.image,
        spaces: HashMap::new(),
        users: HashMap::new(),
        counterparts: HashMap::from([(0, 0)]),
        differences: Vec::new(),
    };
    comparison.tasks();
    comparison.leaders();
    comparison.settings();
    comparison.owners();
    let Comparison { spaces, mut differences, .. } = comparison;
    let forked = fork && differences.is_empty();
    if forked {
        for (namespace, found_namespace) in &spaces {
            let ns = dump::open_namespace(&found, *found_namespace)?;
            let difference = next_pids(&expected, *namespace, &way.open(ns)?)?;
            differences.extend(difference);
        }
    }
    note_helpers(&found.cursors);

    let same = differences.is_empty();
    let (processes, namespaces) = (expected.tasks.len(), expected.namespaces.len());
    let threads = expected.count() - processes;
    if json {
        let report = Report { same, differences, processes, threads, namespaces, forked };
        output::print_json(&report)?;
    } else if same {
        let forked = if forked { ", and the next pids of forks in each namespace" } else { "" };
        output::print(&format!(
            "the same: {processes} processes, {threads} threads more, {namespaces} namespaces and \
             their last pids{forked}\n"
        ))?;
    } else {
        output::print(&(differences.join("\n") + "\n"))?;
    }
    Ok(ExitCode::from(if same { 0 } else { DIFFERENT }))
}

struct Comparison<'a> {
    expected: &'a Image,
    found: &'a Image,
    /// Which pid namespace is which.
    spaces: HashMap<usize, usize>,
    /// Which user namespace is which.
    users: HashMap<usize, usize>,
    /// Which task is which.
    counterparts: HashMap<usize, usize>,
    differences: Vec<String>,
}

impl Comparison<'_> {
    fn tasks(&mut self) {
        // Each with its counterpart; a list, as a tree can be deep.
        let (of_expected, of_found) = (Family::new(self.expected), Family::new(self.found));
        let mut pending = vec![(0, 0)];
        while let Some((index, found_index)) = pending.pop() {
            self.task(index, found_index);
            let (children, found) = (of_expected.children(index), of_found.children(found_index));
            if children.len() != found.len() {
                self.differences.push(format!(
                    "{} has {} children instead of {}",
                    name(self.expected, index),
                    found.len(),
                    children.len()
                ));
                continue;
            }
            let pairs = children.iter().copied().zip(found.iter().copied());
            self.counterparts.extend(pairs.clone());
            pending.extend(pairs);
        }
    }

    fn task(&mut self, index: usize, found_index: usize) {
        let (task, found) = (&self.expected.tasks[index], &self.found.tasks[found_index]);
        if task.pids != found.pids {
            let what = format!("{} has pids {:?}", name(self.expected, index), found.pids);
            self.differences.push(what);
        }
        if sorted(&task.threads) != sorted(&found.threads) {
            let what = format!("{} has threads {:?}", name(self.expected, index), found.threads);
            self.differences.push(what);
        }
        if task.zombie != found.zombie {
            self.differences.push(format!("{}: only one is a zombie", name(self.expected, index)));
        }
        if !is_same(&mut self.spaces, task.namespace, found.namespace) {
            let what = format!("{} is in another namespace", name(self.expected, index));
            self.differences.push(what);
        }
        if self.expected.has_users_and_sessions()
            && !is_same(&mut self.users, task.user, found.user)
        {
            let what = format!("{} is in another user namespace", name(self.expected, index));
            self.differences.push(what);
        }
    }

    /// Sessions and process groups.
    fn leaders(&mut self) {
        if !self.expected.has_users_and_sessions() {
            return;
        }
        for (index, found_index) in &self.counterparts {
            let (task, found) = (&self.expected.tasks[*index], &self.found.tasks[*found_index]);
            for (what, leader, found) in [
                ("session", &task.session, &found.session),
                ("process group", &task.group, &found.group),
            ] {
                let same = match (leader, found) {
                    (Some(Leader::Task(leader)), Some(Leader::Task(found))) => {
                        self.counterparts.get(leader) == Some(found)
                    }
                    (leader, found) => leader == found,
                };
                if !same {
                    let what = format!("{} is in another {what}", name(self.expected, *index));
                    self.differences.push(what);
                }
            }
        }
    }

    /// The last pids and `pid_max`.
    fn settings(&mut self) {
        for (namespace, found_namespace) in &self.spaces {
            let expected = &self.expected.namespaces[*namespace];
            let found = &self.found.namespaces[*found_namespace];
            for (what, expected_number, found_number) in [
                ("last pid", expected.last_pid, found.last_pid),
                ("pid_max", expected.pid_max, found.pid_max),
            ] {
                let Some(number) = expected_number else { continue };
                if found_number != expected_number {
                    let found = found_number.map_or("not known".to_owned(), |pid| pid.to_string());
                    self.differences.push(format!(
                        "the {what} in the namespace of {} is {found} instead of {number}",
                        name(self.expected, expected.init),
                    ));
                }
            }
        }
    }

    /// The user namespaces, and which pid namespaces they own.
    fn owners(&mut self) {
        if !self.expected.has_users_and_sessions() {
            return;
        }
        for (namespace, found_namespace) in &self.spaces {
            let expected = &self.expected.namespaces[*namespace];
            let found = &self.found.namespaces[*found_namespace];
            if !is_same(&mut self.users, expected.user, found.user) {
                let whose = name(self.expected, expected.init);
                let what = format!("the namespace of {whose} is owned by another user namespace");
                self.differences.push(what);
            }
        }
        for (user, found_user) in &self.users {
            let expected = &self.expected.user_namespaces[*user];
            let found = &self.found.user_namespaces[*found_user];
            let same_parent = match (expected.parent, found.parent) {
                (Some(parent), Some(found)) => {
                    self.users.get(&parent).is_none_or(|same| *same == found)
                }
                (expected, found) => expected == found,
            };
            for (what, same) in [
                ("parent", same_parent),
                ("owner", expected.owner_uid == found.owner_uid),
                ("uid_map", expected.uid_map == found.uid_map),
                ("gid_map", expected.gid_map == found.gid_map),
                ("setgroups", expected.setgroups == found.setgroups),
            ] {
                if !same {
                    self.differences.push(format!("user namespace {user}: another {what}"));
                }
            }
        }
    }
}

/// Whether two indices are of the same thing, which is noted if it is new.
fn is_same(known: &mut HashMap<usize, usize>, a: Option<usize>, b: Option<usize>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => *known.entry(a).or_insert(b) == b,
        (a, b) => a == b,
    }
}

/// The children of each task, in the order of their pids.
struct Family(HashMap<usize, Vec<usize>>);

impl Family {
    fn new(image: &Image) -> Self {
        let mut children = HashMap::<usize, Vec<usize>>::new();
        for (index, task) in image.tasks.iter().enumerate() {
            if let Some(parent) = task.parent {
                children.entry(parent).or_default().push(index);
            }
        }
        for children in children.values_mut() {
            children.sort_by_key(|child| &image.tasks[*child].pids);
        }
        Self(children)
    }

    fn children(&self, task: usize) -> &[usize] {
        self.0.get(&task).map_or(&[], Vec::as_slice)
    }
}

fn sorted(threads: &[Vec<i32>]) -> Vec<&Vec<i32>> {
    let mut threads: Vec<_> = threads.iter().collect();
    threads.sort();
    threads
}

fn name(image: &Image, task: usize) -> String {
    format!("{} {:?}", image.tasks[task].name, image.tasks[task].pids)
}

/// Forks in one namespace, compares what the child gets, and puts the last pids back.
fn next_pids(
    expected: &Image,
    namespace: usize,
    cursors: &Cursors,
) -> Result<Option<String>, Failure> {
    let mut next = Vec::new();
    let mut last_pids = Vec::new();
    for level in expected.chain(Some(namespace)) {
        let space = &expected.namespaces[level];
        let Some(last_pid) = space.last_pid else { return Ok(None) };
        let pids = expected.all_pids().chain(expected.gone_leaders());
        let taken: HashSet<i32> = pids
            .flat_map(|(member, pids)| {
                // A leader that is gone can have fewer levels than a member.
                let levels = expected.chain(member).count() + usize::from(expected.outer);
                expected.chain(member).skip(levels.saturating_sub(pids.len())).zip(pids)
            })
            .filter(|(ns, _)| *ns == level)
            .map(|(_, pid)| *pid)
            .collect();
        let pid_max = space.pid_max.unwrap_or(MAX_PID);
        next.push(next_pid(last_pid, pid_max, |pid| taken.contains(&pid)).unwrap_or_default());
        last_pids.push(last_pid);
    }

    let got = fork_once(cursors.namespace());
    let last_pids = LastPids::new(last_pids).map_err(|error| Failure::other(error.to_string()))?;
    cursors.set(&last_pids)?;
    let got = got?;
    if got.starts_with(&next) {
        return Ok(None);
    }
    let whose = name(expected, expected.namespaces[namespace].init);
    Ok(Some(format!(
        "a fork in the namespace of {whose} gets {:?} instead of {next:?}",
        got.get(..next.len()).unwrap_or(&got)
    )))
}

/// Returns the pids that a fork gets.
fn fork_once(ns: &PidNamespace) -> Result<Vec<i32>, Failure> {
    let pids = in_child(|| {
        ns.enter_for_good()?;
        let Forked::Parent(pid) = fork_with_pids(false, &[])? else {
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            loop {
                std::thread::park();
            }
        };
        let pids =
            Task::read_pids(pid).and_then(|pids| LastPids::new(pids).map_err(io::Error::other));
        if let Some(child) = Pid::from_raw(pid) {
            let _ = kill_process(child, Signal::KILL);
            let _ = waitpid(Some(child), WaitOptions::empty());
        }
        Ok(pids?.to_string())
    });
    let pids = pids.and_then(|pids| pids.parse::<LastPids>().map_err(io::Error::other));
    Ok(pids.or_fail(|| "a fork in the namespace".to_owned())?.as_slice().to_vec())
}
