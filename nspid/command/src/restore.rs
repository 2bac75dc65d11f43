// SPDX-License-Identifier: GPL-2.0-only

//! `restore`: builds what was dumped.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, IsTerminal},
    iter,
    path::Path,
    process::Command,
};

use pidns::{task::Task, Cursors, LastPids, PidNamespace, UserNamespace, MAX_PID};
use rustix::{
    event::{poll, PollFd, PollFlags},
    fd::OwnedFd,
    process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal},
};

use crate::{
    check::{Inside, State},
    child::in_child,
    failure::{Failure, Kind, OrFail},
    image::{Image, MAX_DEPTH},
    output,
    plan::{Plan, Session},
    signals,
    standin::Crew,
    target::{note_helpers, Way},
    world::World,
};

const ATTEMPTS: usize = 10;

pub fn restore(file: &Path, around: PidNamespace, way: Way) -> Result<(), Failure> {
    let image = Image::read(file)?;
    let around = way.open(around)?;
    check_first(&image, &around)?;
    let plan =
        Plan::new(image).map_err(|what| Failure::other(format!("cannot be restored: {what}")))?;
    for note in &plan.notes {
        output::note(note);
    }
    // It lives as long as the tasks do.
    let plan: &'static Plan = Box::leak(Box::new(plan));
    let image = &plan.image;

    signals::block();
    let pids = image.all_pids().chain(image.gone_leaders());
    let wanted: HashSet<i32> = pids.flat_map(|(_, pids)| pids).copied().collect();
    if around.uses_helper() && image.outer {
        around.keep_helper(|pid| wanted.contains(&pid))?;
    }
    let crew = start(plan, &around)?;
    let mut building = Building {
        plan,
        crew,
        wanted,
        pid_max: around.pid_max().ok(),
        around,
        way,
        cursors: Vec::new(),
        last_pids: HashMap::new(),
        early: vec![0; image.tasks.len()],
        made: Vec::new(),
    };
    let result = building.build();
    if result.is_err() {
        building.remove();
    }
    crew.dismiss();
    note_helpers(building.cursors.iter().chain([&building.around]));
    output::print(&format!("{}\n", result?))
}

/// Starts the foreman, with a pid that nobody wants.
fn start(plan: &'static Plan, around: &Cursors) -> Result<Crew, Failure> {
    let image = &plan.image;
    let about = || "the first task".to_owned();
    let start = || Crew::start(plan, around.namespace()).or_fail(about);
    if !image.outer {
        return start();
    }
    let wanted: HashSet<i32> = image.outermost_pids().collect();
    let limit = around.pid_max().unwrap_or(MAX_PID);
    // Beyond all of them, or in a gap.
    let largest = wanted.iter().copied().max().unwrap_or(0);
    let gaps = (largest + 1..limit).take(1).chain((1..largest).rev());
    for pid in gaps.filter(|pid| !wanted.contains(pid)).take(ATTEMPTS) {
        set(around, vec![pid - 1])?;
        let crew = start()?;
        let pids = Task::read_pids(crew.foreman_pid()).or_fail(about)?;
        if !wanted.contains(&pids[0]) {
            return Ok(crew);
        }
        crew.dismiss();
    }
    Err(Failure::new(
        Kind::Taken,
        "no pid is left for a process that helps: all are taken or in the dump",
    ))
}

/// Finds what cannot be before anything is made.
fn check_first(image: &Image, around: &Cursors) -> Result<(), Failure> {
    if image.outer {
        around.get(1)?;
    }
    let depth = (0..image.namespaces.len()).map(|index| image.chain(Some(index)).count()).max();
    let depth = depth.unwrap_or(0);
    let ancestors = around.namespace().try_clone().and_then(PidNamespace::chain);
    let here = ancestors.map_or(0, |chain| chain.len() - 1);
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
        ("/proc/sys/user/max_user_namespaces", image.user_namespaces.len()),
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
fn check_outer(image: &Image, around: &Cursors, pid_max: Option<i32>) -> Result<(), Failure> {
    let world = World::read()?;
    let inside = Inside::new(&world, around.namespace())?;
    let states = image.outermost_pids().map(|pid| (pid, inside.state(pid, pid_max)));
    let taken = states.filter(|(_, state)| *state != State::Free);
    let mut problems: Vec<_> = taken.map(|(pid, state)| format!("pid {pid} is {state}")).collect();
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

fn set(cursors: &Cursors, last_pids: Vec<i32>) -> Result<(), Failure> {
    let last_pids = LastPids::new(last_pids).map_err(|error| Failure::other(error.to_string()))?;
    Ok(cursors.set(&last_pids)?)
}

struct Building {
    plan: &'static Plan,
    crew: Crew,
    /// All pids of the dump, which no helper must have.
    wanted: HashSet<i32>,
    around: Cursors,
    /// Of the namespace around, which new ones inherit.
    pid_max: Option<i32>,
    way: Way,
    /// Of the namespaces that are there already, in the order of `spaces`.
    cursors: Vec<Cursors>,
    /// Where the last pids are, in namespaces in which nobody but us forks.
    last_pids: HashMap<usize, i32>,
    /// How many early children each has still to make.
    early: Vec<usize>,
    /// What was made, as `/proc` calls it, with its index.
    made: Vec<(usize, i32)>,
}

impl Building {
    /// Returns the pid of the first task.
    fn build(&mut self) -> Result<i32, Failure> {
        let image = &self.plan.image;
        let early = |index: usize| self.plan.makers[index].filter(|_| self.plan.is_early(index));
        for index in 0..image.tasks.len() {
            if let Some(maker) = early(index) {
                self.early[maker] += 1;
            }
        }
        for index in &self.plan.order {
            self.task(*index)?;
            if let Some(maker) = early(*index) {
                self.early[maker] -= 1;
                if self.early[maker] == 0 && self.plan.sessions[maker] == Session::LeadLater {
                    let about = || format!("the session of {}", image.tasks[maker].name);
                    self.crew.lead_session(maker).or_fail(about)?;
                }
            }
            self.progress()?;
        }
        self.threads()?;
        // Leaders that are gone, children first.
        for index in (self.plan.lasting..image.tasks.len()).rev() {
            self.crew.undo_task(index).or_fail(|| "a leader that is gone".to_owned())?;
        }
        self.made.retain(|(index, _)| *index < self.plan.lasting);
        self.limits()?;
        for (index, space) in image.namespaces.iter().enumerate() {
            if let Some(last_pid) = space.last_pid {
                if self.last_pids.get(&index) != Some(&last_pid) {
                    set(&self.cursors[index], vec![last_pid])?;
                }
            }
        }
        let first = self.made.iter().find(|(index, _)| *index == 0);
        first.map(|(_, pid)| *pid).ok_or_else(|| Failure::other("there is no task in it"))
    }

    fn threads(&mut self) -> Result<(), Failure> {
        let image = &self.plan.image;
        let mut slot = image.tasks.len();
        for (process, task) in image.tasks.iter().enumerate() {
            for pids in &task.threads {
                self.prepare(task.namespace, pids)?;
                let about = || format!("a thread of {}", task.name);
                let pid = self.crew.make_thread(process, slot).or_fail(about)?;
                let got = Task::read_pids(pid).or_fail(about)?;
                if !got.starts_with(pids) {
                    return Err(Failure::other(format!(
                        "{}: wanted {pids:?}, got {got:?}",
                        about()
                    )));
                }
                self.note_pids(task.namespace, pids);
                slot += 1;
                self.progress()?;
            }
        }
        Ok(())
    }

    fn task(&mut self, index: usize) -> Result<(), Failure> {
        let image = &self.plan.image;
        let task = &image.tasks[index];
        let about = || format!("task {index} ({})", task.name);
        // An init is pid 1 in its namespace, whose file nobody has yet.
        let own_space = task.namespace.filter(|_| image.is_init(index));
        let (namespace, pids) = match own_space {
            Some(space) => (image.namespaces[space].parent, &task.pids[1..]),
            None => (task.namespace, &task.pids[..]),
        };

        // Only in the namespace around the tree others can fork.
        let attempts = if image.outer { ATTEMPTS } else { 1 };
        let mut got = Vec::new();
        for _ in 0..attempts {
            self.prepare(namespace, pids)?;
            let write_maps = |user, pid| self.write_maps(user, pid);
            let pid = self.crew.make_task(index, write_maps).or_fail(about)?;
            got = Task::read_pids(pid).or_fail(about)?;
            if got.starts_with(&task.pids) {
                self.made.push((index, pid));
                self.note_pids(namespace, pids);
                if let Some(space) = own_space {
                    self.open(space, pid)?;
                }
                return Ok(());
            }
            self.crew.undo_task(index).or_fail(about)?;
            self.last_pids.clear();
        }
        Err(Failure::other(format!(
            "{}: wanted pids {:?}, got {got:?}; others fork there at the same time, or a pid is held \
             by a session or process group. All that was made is removed",
            about(),
            task.pids
        )))
    }

    /// Takes up a namespace whose init is there.
    fn open(&mut self, space: usize, init: i32) -> Result<(), Failure> {
        let ns = PidNamespace::of_process(init).or_fail(|| format!("process {init}"))?;
        let cursors = self.way.open(ns)?;
        if cursors.uses_helper() {
            // One that stays takes two system calls a task instead of a fork.
            cursors.keep_helper(|pid| self.wanted.contains(&pid))?;
        }
        self.last_pids.insert(space, 1);
        // Inits come in the order of their namespaces, unless sessions want another.
        while self.cursors.len() <= space {
            let placeholder = PidNamespace::own().or_fail(|| "/proc/self/ns/pid".to_owned())?;
            self.cursors.push(self.way.open(placeholder)?);
        }
        self.cursors[space] = cursors;
        Ok(())
    }

    /// Writes the maps of the user namespace that process `pid` has made: from the parent of that,
    /// as the kernel wants it.
    fn write_maps(&self, user: usize, pid: i32) -> io::Result<()> {
        let user = &self.plan.image.user_namespaces[user];
        let write = || -> io::Result<()> {
            if !user.setgroups {
                fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
            }
            write_map(pid, "uid_map", "newuidmap", &user.uid_map)?;
            write_map(pid, "gid_map", "newgidmap", &user.gid_map)
        };
        if user.parent.is_none() {
            return write();
        }
        let parent = UserNamespace::of_process(pid)?.parent()?.ok_or(io::ErrorKind::NotFound)?;
        let written = in_child(|| {
            parent.enter()?;
            write()?;
            Ok(String::new())
        });
        written.map(|_| ())
    }

    /// Sees to it that `pids` are the next. Not needed in a run of consecutive ones.
    fn prepare(&self, namespace: Option<usize>, pids: &[i32]) -> Result<(), Failure> {
        let image = &self.plan.image;
        let is_next = |(level, pid): &(usize, &i32)| self.last_pids.get(level) == Some(&(*pid - 1));
        let levels = image.chain(namespace).zip(pids);
        if pids.is_empty() || (!image.outer && levels.clone().all(|level| is_next(&level))) {
            return Ok(());
        }
        let cursors = namespace.map_or(&self.around, |index| &self.cursors[index]);
        if !cursors.uses_helper() {
            return set(cursors, pids.iter().map(|pid| pid - 1).collect());
        }
        // One helper a level.
        for (level, pid) in levels.filter(|level| !is_next(level)) {
            set(&self.cursors[level], vec![pid - 1])?;
        }
        match pids.last().filter(|_| image.outer) {
            Some(pid) => set(&self.around, vec![pid - 1]),
            None => Ok(()),
        }
    }

    fn note_pids(&mut self, namespace: Option<usize>, pids: &[i32]) {
        for (level, pid) in self.plan.image.chain(namespace).zip(pids) {
            self.last_pids.insert(level, *pid);
        }
    }

    /// Sets `pid_max` where it is not what the namespaces inherit.
    fn limits(&self) -> Result<(), Failure> {
        let spaces = self.plan.image.namespaces.iter().zip(&self.cursors);
        let others = spaces.filter_map(|(space, cursors)| {
            Some((cursors, space.pid_max.filter(|pid_max| Some(*pid_max) != self.pid_max)?))
        });
        let others: Vec<_> = others.collect();
        if !others.is_empty() && !has_pid_max_per_namespace() {
            output::note("pid_max is not restored: before Linux 6.14 all namespaces have the same");
            return Ok(());
        }
        for (cursors, pid_max) in others {
            cursors.set_pid_max(pid_max)?;
        }
        Ok(())
    }

    /// Says how far it is, and stops if somebody asks for it.
    fn progress(&self) -> Result<(), Failure> {
        if signals::is_end_wanted() {
            return Err(Failure::other("interrupted: all that was made is removed"));
        }
        let (made, count) = (self.made.len(), self.plan.image.tasks.len());
        if output::is_quiet() {
            return Ok(());
        }
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

    /// Ends all that was made, also a task in the making.
    fn remove(&self) {
        // An init ends after all in its namespace, and a helper only once we wait for it.
        for cursors in self.cursors.iter().chain([&self.around]) {
            cursors.end_helper();
        }
        let all: Vec<OwnedFd> = self
            .crew
            .pids()
            .filter_map(|pid| pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok())
            .collect();
        for task in &all {
            let _ = pidfd_send_signal(task, Signal::KILL);
        }
        for task in &all {
            let _ = poll(&mut [PollFd::new(task, PollFlags::IN)], None);
        }
    }
}

/// Writes a map of a user namespace. A user without privilege may write that of his own id; for others
/// there is a tool, which looks them up in `/etc/subuid` or `/etc/subgid`.
fn write_map(pid: i32, name: &str, tool: &str, map: &[[u32; 3]]) -> io::Result<()> {
    if map.is_empty() {
        return Ok(());
    }
    let numbers = map.iter().map(|range| range.map(|number| number.to_string()));
    let lines: String = numbers.clone().map(|range| range.join(" ") + "\n").collect();
    match fs::write(format!("/proc/{pid}/{name}"), lines) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        result => return result,
    }
    let arguments = iter::once(pid.to_string()).chain(numbers.flatten());
    let why = match Command::new(tool).args(arguments).output() {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("{tool}: {error}"),
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{name}: {why}")))
}

pub fn has_pid_max_per_namespace() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    let version: (Option<u32>, Option<u32>) = (numbers.next().flatten(), numbers.next().flatten());
    version >= (Some(6), Some(14))
}
