// SPDX-License-Identifier: GPL-2.0

//! `restore`: builds what was dumped.

use std::{
    collections::HashMap,
    fs,
    io::{self, IsTerminal},
    mem,
    path::{Path, PathBuf},
    ptr,
};

use pidns::{task::Task, LastPids, PidNamespace};
use rustix::{
    event::{poll, PollFd, PollFlags},
    fd::OwnedFd,
    process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal},
};

use crate::{
    cursors,
    failure::{Failure, Kind, OrFail},
    image::{Image, MAX_DEPTH},
    standin::Crew,
};

const ATTEMPTS: usize = 10;

pub fn restore(file: &Path, into: Option<&PathBuf>) -> Result<(), Failure> {
    // It lives as long as the tasks do.
    let image: &'static Image = Box::leak(Box::new(Image::read(file)?));
    let around = match into {
        Some(path) => PidNamespace::open(path).or_fail(|| path.display().to_string())?,
        None => PidNamespace::own().or_fail(|| "/proc/self/ns/pid".to_owned())?,
    };
    check_first(image, &around)?;

    block_signals();
    if let Some(largest) =
        image.all_pids().filter(|_| image.outer).filter_map(|(_, pids)| pids.last()).max()
    {
        // The foreman must not get a pid that is wanted.
        set(&around, vec![*largest])?;
    }
    let crew = Crew::start(image, &around).or_fail(|| "the first task".to_owned())?;
    let mut building = Building {
        image,
        crew,
        around,
        files: Vec::new(),
        last_pids: HashMap::new(),
        made: Vec::new(),
    };
    let result = building.build();
    if result.is_err() {
        building.remove();
    }
    crew.dismiss();
    println!("{}", result?);
    Ok(())
}

/// Finds what cannot be before anything is made.
fn check_first(image: &Image, around: &PidNamespace) -> Result<(), Failure> {
    match around.last_pids(1) {
        Err(error) if pidns::lacks_ioctl(&error) || image.outer => {
            return Err(cursors::explain(&error));
        }
        _ => {}
    }
    let levels = 0..image.namespaces.len();
    let depth = levels.map(|at| image.chain(Some(at)).count()).max().unwrap_or(0);
    let ancestors = around.parent().and_then(|parent| parent.map(PidNamespace::chain).transpose());
    let here = ancestors.ok().flatten().map_or(0, |ancestors| ancestors.len());
    if here + depth > MAX_DEPTH {
        return Err(Failure::new(
            Kind::Taken,
            format!(
                "this is {depth} levels deep, and the namespace around it is {here}: pid \
                     namespaces cannot be nested deeper than {MAX_DEPTH}"
            ),
        ));
    }
    for (path, needed) in [
        ("/proc/sys/user/max_pid_namespaces", image.namespaces.len()),
        ("/proc/sys/kernel/threads-max", image.count()),
    ] {
        let limit = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        if limit.is_some_and(|limit: usize| limit < needed) {
            return Err(Failure::new(Kind::Taken, format!("{path} is below {needed}")));
        }
    }
    let pid_max = around.pid_max().ok();
    if let Some(pid_max) = pid_max.filter(|pid_max| (*pid_max as usize) <= image.count()) {
        return Err(Failure::new(
            Kind::Taken,
            format!("pid_max of the namespace around the tree is {pid_max}: too few pids"),
        ));
    }
    if image.outer {
        check_outer(image, around, pid_max)
    } else {
        Ok(())
    }
}

/// The pids that must be free in the namespace around the tree.
fn check_outer(image: &Image, around: &PidNamespace, pid_max: Option<i32>) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for pid in image.all_pids().filter_map(|(_, pids)| pids.last()) {
        if let Some(pid_max) = pid_max.filter(|pid_max| pid >= pid_max) {
            problems.push(format!("pid {pid} is not below pid_max, {pid_max}"));
        } else if let Ok(here) = around.translate(*pid) {
            let name = Task::read(here).map_or_else(|_| "?".to_owned(), |task| task.name);
            problems.push(format!("pid {pid} is taken by process {here}, {name}"));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let more = problems.len().saturating_sub(10);
    problems.truncate(10);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    let text = problems.join("\n  ");
    Err(Failure::new(Kind::Taken, format!("nothing was created:\n  {text}")))
}

fn set(ns: &PidNamespace, last_pids: Vec<i32>) -> Result<(), Failure> {
    let last_pids = LastPids::new(last_pids).map_err(|error| Failure::other(error.to_string()))?;
    ns.set_last_pids(&last_pids).map_err(|error| cursors::explain(&error))
}

struct Building {
    image: &'static Image,
    crew: Crew,
    around: PidNamespace,
    /// Of the namespaces that are there already.
    files: Vec<PidNamespace>,
    /// Of namespaces in which nobody but us forks.
    last_pids: HashMap<usize, i32>,
    /// What was made, as `/proc` calls it.
    made: Vec<i32>,
}

impl Building {
    /// Returns the pid of the first task.
    fn build(&mut self) -> Result<i32, Failure> {
        for at in 0..self.image.tasks.len() {
            self.task(at)?;
            self.progress()?;
        }
        let mut slot = self.image.tasks.len();
        for (process, task) in self.image.tasks.iter().enumerate() {
            for pids in &task.threads {
                self.prepare(task.namespace, pids)?;
                let about = || format!("a thread of {}", task.name);
                let pid = self.crew.make_thread(process, slot).or_fail(about)?;
                let got = Task::read(pid).or_fail(about)?.pids;
                if !got.starts_with(pids) {
                    return Err(Failure::other(format!(
                        "{}: wanted {pids:?}, got {got:?}",
                        about()
                    )));
                }
                self.note(task.namespace, pids);
                slot += 1;
                self.progress()?;
            }
        }
        for (at, space) in self.image.namespaces.iter().enumerate() {
            if let (Some(last_pid), Some(file)) = (space.last_pid, self.files.get(at)) {
                if self.last_pids.get(&at) != Some(&last_pid) {
                    set(file, vec![last_pid])?;
                }
            }
        }
        self.made.first().copied().ok_or_else(|| Failure::other("there is no task in it"))
    }

    fn task(&mut self, at: usize) -> Result<(), Failure> {
        let Some(task) = self.image.tasks.get(at) else { return Ok(()) };
        let about = || format!("task {at} ({})", task.name);
        // An init is pid 1 in its namespace, whose file nobody has yet.
        let is_init = self.image.is_init(at);
        let (namespace, pids) = if is_init {
            (
                task.namespace.and_then(|at| self.image.namespaces.get(at)?.parent),
                task.pids.get(1..),
            )
        } else {
            (task.namespace, Some(&task.pids[..]))
        };
        let pids = pids.unwrap_or_default();

        // Only in the namespace around the tree others can fork.
        let attempts = if self.image.outer { ATTEMPTS } else { 1 };
        let mut got = Vec::new();
        for _ in 0..attempts {
            self.prepare(namespace, pids)?;
            let pid = self.crew.make_task(at).or_fail(about)?;
            got = Task::read(pid).or_fail(about)?.pids;
            if got.starts_with(&task.pids) {
                self.made.push(pid);
                self.note(namespace, pids);
                if is_init {
                    self.last_pids.insert(self.files.len(), 1);
                    self.files.push(PidNamespace::of_process(pid).or_fail(about)?);
                }
                return Ok(());
            }
            self.crew.undo_task(at).or_fail(about)?;
            self.last_pids.clear();
        }
        Err(Failure::other(format!(
            "{}: wanted pids {:?}, got {got:?}; others fork there at the same time, or a pid is held \
             by a session or process group. All that was made is removed",
            about(),
            task.pids
        )))
    }

    /// Sees to it that `pids` are the next. Not needed in a run of consecutive ones.
    fn prepare(&self, namespace: Option<usize>, pids: &[i32]) -> Result<(), Failure> {
        let mut levels = self.image.chain(namespace).zip(pids);
        let consecutive = levels.all(|(level, pid)| self.last_pids.get(&level) == Some(&(pid - 1)));
        if pids.is_empty() || (consecutive && !self.image.outer) {
            return Ok(());
        }
        let file = namespace.and_then(|at| self.files.get(at)).unwrap_or(&self.around);
        set(file, pids.iter().map(|pid| pid - 1).collect())
    }

    fn note(&mut self, namespace: Option<usize>, pids: &[i32]) {
        for (level, pid) in self.image.chain(namespace).zip(pids) {
            self.last_pids.insert(level, *pid);
        }
    }

    /// Says how far it is, and stops if somebody asks for it.
    fn progress(&self) -> Result<(), Failure> {
        if is_signal_pending() {
            return Err(Failure::other("interrupted: all that was made is removed"));
        }
        let (made, count) = (self.made.len(), self.image.tasks.len());
        if io::stderr().is_terminal() {
            if made % 100 == 0 || made == count {
                eprint!(
                    "\rnspid: {made} of {count} processes{}",
                    if made == count { "\n" } else { "" }
                );
            }
        } else if made % 1000 == 0 {
            eprintln!("nspid: {made} of {count} processes");
        }
        Ok(())
    }

    /// Ends all that was made, children first.
    fn remove(&self) {
        let all: Vec<OwnedFd> = self
            .made
            .iter()
            .rev()
            .filter_map(|pid| pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok())
            .collect();
        for task in &all {
            let _ = pidfd_send_signal(task, Signal::KILL);
        }
        for task in &all {
            let _ = poll(&mut [PollFd::new(task, PollFlags::IN)], None);
        }
    }
}

const SIGNALS: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

fn mask(how: libc::c_int) {
    // SAFETY: An all-zero set is valid, and is made an empty one anyway.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is valid for all of these calls.
    unsafe {
        libc::sigemptyset(&mut set);
        for signal in SIGNALS {
            libc::sigaddset(&mut set, signal);
        }
        libc::sigprocmask(how, &set, ptr::null_mut());
    }
}

/// From now on we look for signals ourselves: half a tree must not stay.
fn block_signals() {
    mask(libc::SIG_BLOCK);
}

/// For what shall end as usual.
pub fn unblock_signals() {
    mask(libc::SIG_UNBLOCK);
}

fn is_signal_pending() -> bool {
    // SAFETY: An all-zero set is valid.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is valid for both calls.
    SIGNALS.iter().any(|signal| unsafe {
        libc::sigpending(&mut set) == 0 && libc::sigismember(&set, *signal) == 1
    })
}
