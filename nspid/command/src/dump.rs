// SPDX-License-Identifier: GPL-2.0

//! `dump`: reads a process tree.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use pidns::{lacks_ioctl, task::Task};

use crate::{
    failure::{Failure, Kind, OrFail},
    image::{self, Image},
    world::World,
};

#[derive(PartialEq)]
pub struct Dumped {
    pub image: Image,
    /// What the caller calls each of the tasks.
    pub seen: Vec<i32>,
    /// What could not be read.
    notes: Vec<String>,
}

pub fn print(pid: i32, outer: bool) -> Result<(), Failure> {
    let dumped = dump(pid, outer)?;
    for note in &dumped.notes {
        eprintln!("nspid: {note}");
    }
    let text = serde_json::to_string_pretty(&dumped.image).map_err(io::Error::from);
    println!("{}", text.or_fail(|| "JSON".to_owned())?);
    Ok(())
}

/// Reads the tree below `pid`.
pub fn dump(pid: i32, outer: bool) -> Result<Dumped, Failure> {
    let first = read(pid, outer)?;
    if first == read(pid, outer)? {
        return Ok(first);
    }
    Err(Failure::other(format!(
        "the tasks below {pid} come and go while they are read: stop them first, with kill -STOP or \
         the cgroup freezer"
    )))
}

fn read(pid: i32, outer: bool) -> Result<Dumped, Failure> {
    let world = World::read()?;
    if world.hidden > 0 {
        return Err(Failure::new(
            Kind::NotPermitted,
            format!("there are {} tasks that you may not look at: dump as root", world.hidden),
        ));
    }
    let members = world.descendants(pid);
    let processes = world.processes().filter(|task| members.contains(&task.pid));
    let processes: Vec<&Task> = processes.collect();
    let Some(root) = processes.iter().find(|task| task.pid == pid) else {
        return Err(Failure::other(format!("there is no process {pid}")));
    };

    // The namespaces whose init is one of them.
    let inits = processes.iter().filter(|task| task.pids.first() == Some(&1));
    let inits: HashMap<u64, i32> = inits.map(|task| (task.ns, task.pid)).collect();
    let levels = |ns| world.chain(ns).filter(|ns| inits.contains_key(ns)).count();
    check_no_strangers(&world, &members, &inits)?;

    let mut image = Image::new(outer);
    let mut notes = Vec::new();
    let mut seen = Vec::new();
    let mut spaces = HashMap::<u64, usize>::new();
    let mut made = HashMap::<i32, usize>::new();
    let mut open = processes.clone();

    // Each after its parent and after the init of its namespace.
    while !open.is_empty() {
        let before = open.len();
        open.retain(|task| {
            let is_init = inits.get(&task.ns) == Some(&task.pid);
            let has_parent = task.pid == root.pid || made.contains_key(&task.parent);
            let has_space =
                is_init || !inits.contains_key(&task.ns) || spaces.contains_key(&task.ns);
            if !has_parent || !has_space {
                return true;
            }
            let at = image.tasks.len();
            made.insert(task.pid, at);
            seen.push(task.pid);
            if is_init {
                spaces.insert(task.ns, image.namespaces.len());
                image.namespaces.push(space(&world, task.ns, at, &spaces, &mut notes));
            }
            let keep = levels(task.ns) + usize::from(outer);
            let pids = |task: &Task| task.pids.iter().take(keep).copied().collect::<Vec<_>>();
            let threads = world.tasks.iter();
            let threads =
                threads.filter(|other| other.process == task.pid && !other.is_process()).map(pids);
            image.tasks.push(image::Task {
                parent: made.get(&task.parent).copied().filter(|_| task.pid != root.pid),
                namespace: spaces.get(&task.ns).copied(),
                pids: pids(task),
                threads: threads.collect(),
                zombie: task.zombie,
                name: task.name.clone(),
            });
            false
        });
        if open.len() == before {
            let names: Vec<_> = open.iter().map(|task| task.pid.to_string()).collect();
            return Err(Failure::other(format!(
                "these tasks have no parent in the tree that could have made them: {}",
                names.join(" ")
            )));
        }
    }
    image.check().map_err(|what| Failure::other(format!("this cannot be restored: {what}")))?;
    notes.dedup();
    Ok(Dumped { image, seen, notes })
}

/// Tasks from outside that have entered a namespace of the tree would be missing there.
fn check_no_strangers(
    world: &World,
    members: &HashSet<i32>,
    inits: &HashMap<u64, i32>,
) -> Result<(), Failure> {
    let inside = |task: &&Task| world.chain(task.ns).any(|ns| inits.contains_key(&ns));
    let strangers = world.processes().filter(inside).filter(|task| !members.contains(&task.pid));
    let names: Vec<_> = strangers.map(|task| format!("{} ({})", task.pid, task.name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Failure::other(format!(
        "these processes are in the namespaces of the tree, but their parents are not: {}; end them, \
         or dump from a process that all descend from",
        names.join(", ")
    )))
}

fn space(
    world: &World,
    ns: u64,
    init: usize,
    spaces: &HashMap<u64, usize>,
    notes: &mut Vec<String>,
) -> image::Space {
    let Some(space) = world.spaces.get(&ns) else { return image::Space::default() };
    let last_pid = match space.file.last_pids(1) {
        Ok(last_pids) => last_pids.as_slice().first().copied(),
        Err(error) => {
            let why = if lacks_ioctl(&error) {
                "this kernel lacks the ioctl (CONFIG_PID_NS_IOCTL)".to_owned()
            } else {
                error.to_string()
            };
            notes.push(format!("last pids are missing: {why}"));
            None
        }
    };
    image::Space {
        parent: space.parent.and_then(|parent| spaces.get(&parent).copied()),
        init,
        last_pid,
        pid_max: space.file.pid_max().ok(),
        owner_uid: space.file.owner_uid().ok(),
    }
}
