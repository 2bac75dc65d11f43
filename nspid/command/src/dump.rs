// SPDX-License-Identifier: GPL-2.0-only

//! `dump`: reads a process tree.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use pidns::{task::Task, Cursors, PidNamespace, UserNamespace};

use crate::{
    failure::{Failure, Kind, OrFail},
    image::{self, Image, Leader},
    output,
    target::{note_helpers, Way},
    world::World,
};

#[derive(Clone, Copy)]
pub struct Options {
    pub outer: bool,
    pub without_entered: bool,
    pub way: Way,
}

pub struct Dumped {
    pub image: Image,
    /// What the caller calls each of the tasks.
    pub seen: Vec<i32>,
    /// What could not be read, and what was left out.
    pub notes: Vec<String>,
    /// What read the last pids.
    pub cursors: Vec<Cursors>,
}

pub fn print(pid: i32, options: Options) -> Result<(), Failure> {
    let dumped = dump(pid, options)?;
    for note in &dumped.notes {
        output::note(note);
    }
    note_helpers(&dumped.cursors);
    output::print_json(&dumped.image)
}

/// Reads the tree below `pid`.
pub fn dump(pid: i32, options: Options) -> Result<Dumped, Failure> {
    let (first, second) = (read(pid, options)?, read(pid, options)?);
    if first.image == second.image && first.seen == second.seen {
        return Ok(second);
    }
    Err(Failure::other(format!(
        "the tasks below {pid} come and go while they are read: stop them first, with kill -STOP or \
         the cgroup freezer"
    )))
}

fn read(pid: i32, options: Options) -> Result<Dumped, Failure> {
    let world = World::read()?;
    let members = world.descendants(pid);
    if members.contains(&(std::process::id() as i32)) {
        return Err(Failure::other(format!(
            "nspid itself is in the tree below {pid}: dump another, with --target PID"
        )));
    }
    let processes: Vec<&Task> =
        world.processes().filter(|task| members.contains(&task.pid)).collect();
    if !world.hidden.iter().any(|task| task.pid == pid)
        && !processes.iter().any(|task| task.pid == pid)
    {
        return Err(Failure::other(format!("there is no process {pid}")));
    }
    // The namespaces whose init is one of them.
    let inits: HashMap<u64, i32> = processes
        .iter()
        .filter(|task| task.pids.first() == Some(&1))
        .filter_map(|task| Some((task.ns?, task.pid)))
        .collect();
    let mut notes = Vec::new();
    check_hidden(&world, &members, &inits)?;
    let entered = entered(&world, &members, &inits);
    if !entered.is_empty() {
        let text = format!(
            "these processes are in the namespaces of the tree, but their parents are not: {}",
            entered.join(", ")
        );
        if !options.without_entered {
            return Err(Failure::other(format!(
                "{text}; end them, leave them out with --without-entered, or dump from a process that \
                 all descend from"
            )));
        }
        notes.push(format!("{text}; they are left out"));
    }

    let mut reading = Reading {
        world: &world,
        options,
        root: pid,
        inits,
        image: Image::new(options.outer),
        notes,
        seen: Vec::new(),
        cursors: Vec::new(),
        spaces: HashMap::new(),
        made: HashMap::new(),
        users: Users::new(&world)?,
    };
    reading.tasks(processes)?;
    reading.leaders();
    let Reading { image, mut notes, seen, cursors, .. } = reading;
    image.check().map_err(|what| Failure::other(format!("this cannot be restored: {what}")))?;
    notes.dedup();
    Ok(Dumped { image, seen, notes, cursors })
}

/// A task that cannot be looked at can be in the tree: as a descendant, or in a namespace of it.
fn check_hidden(
    world: &World,
    members: &HashSet<i32>,
    inits: &HashMap<u64, i32>,
) -> Result<(), Failure> {
    let can_be_inside =
        |task: &Task| inits.keys().any(|ns| world.can_be_inside(task, &world.spaces[ns].file, *ns));
    let hidden = world.hidden.iter();
    let hidden: Vec<_> = hidden
        .filter(|task| members.contains(&task.process) || can_be_inside(task))
        .map(|task| format!("{} ({})", task.pid, task.name))
        .collect();
    if hidden.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Kind::NotPermitted,
        format!(
            "these tasks can be in the tree, and you may not look at their namespaces: {}; dump as \
             root",
            hidden.join(", ")
        ),
    ))
}

/// Processes from outside that have entered a namespace of the tree.
fn entered(world: &World, members: &HashSet<i32>, inits: &HashMap<u64, i32>) -> Vec<String> {
    let inside = |task: &&Task| world.chain_of(task).any(|ns| inits.contains_key(&ns));
    let entered = world.processes().filter(inside).filter(|task| !members.contains(&task.pid));
    entered.map(|task| format!("{} ({})", task.pid, task.name)).collect()
}

struct Reading<'a> {
    world: &'a World,
    options: Options,
    root: i32,
    inits: HashMap<u64, i32>,
    image: Image,
    notes: Vec<String>,
    seen: Vec<i32>,
    cursors: Vec<Cursors>,
    /// Indices of namespaces, by inode number.
    spaces: HashMap<u64, usize>,
    /// Indices of processes, by pid.
    made: HashMap<i32, usize>,
    users: Users,
}

impl Reading<'_> {
    /// Adds each process after its parent and after the init of its namespace.
    fn tasks(&mut self, processes: Vec<&Task>) -> Result<(), Failure> {
        let mut threads = HashMap::<i32, Vec<&Task>>::new();
        for task in self.world.tasks.iter().filter(|task| !task.is_process()) {
            threads.entry(task.process).or_default().push(task);
        }
        let mut pending = processes;
        while !pending.is_empty() {
            let mut later = Vec::new();
            let before = pending.len();
            for task in pending {
                if self.is_ready(task) {
                    let threads = threads.get(&task.pid).map_or(&[][..], Vec::as_slice);
                    self.task(task, threads)?;
                } else {
                    later.push(task);
                }
            }
            if later.len() == before {
                let names: Vec<_> = later.iter().map(|task| task.pid.to_string()).collect();
                return Err(Failure::other(format!(
                    "these tasks have no parent in the tree that could have made them: {}",
                    names.join(" ")
                )));
            }
            pending = later;
        }
        Ok(())
    }

    fn is_init(&self, task: &Task) -> bool {
        task.ns.is_some_and(|ns| self.inits.get(&ns) == Some(&task.pid))
    }

    fn is_ready(&self, task: &Task) -> bool {
        let Some(ns) = task.ns else { return false };
        (task.pid == self.root || self.made.contains_key(&task.parent))
            && (self.is_init(task)
                || !self.inits.contains_key(&ns)
                || self.spaces.contains_key(&ns))
    }

    /// How many pids of a task are kept.
    fn levels(&self, task: &Task) -> usize {
        let inside = self.world.chain_of(task).filter(|ns| self.inits.contains_key(ns));
        inside.count() + usize::from(self.options.outer)
    }

    fn task(&mut self, task: &Task, threads: &[&Task]) -> Result<(), Failure> {
        let index = self.image.tasks.len();
        self.made.insert(task.pid, index);
        self.seen.push(task.pid);
        if let Some(ns) = task.ns.filter(|_| self.is_init(task)) {
            self.spaces.insert(ns, self.image.namespaces.len());
            let space = self.space(ns, index)?;
            self.image.namespaces.push(space);
        }
        let levels = self.levels(task);
        let pids = |task: &Task| task.pids.iter().take(levels).copied().collect::<Vec<_>>();
        let user = UserNamespace::of_process(task.pid)
            .or_fail(|| format!("the user namespace of process {}", task.pid))?;
        let user = self.users.add(&mut self.image, user)?;
        self.image.tasks.push(image::Task {
            parent: self.made.get(&task.parent).copied().filter(|_| task.pid != self.root),
            namespace: task.ns.and_then(|ns| self.spaces.get(&ns)).copied(),
            user,
            pids: pids(task),
            threads: threads.iter().map(|thread| pids(thread)).collect(),
            session: None,
            group: None,
            zombie: task.zombie,
            name: task.name.clone(),
        });
        Ok(())
    }

    fn space(&mut self, ns: u64, init: usize) -> Result<image::Space, Failure> {
        let space = &self.world.spaces[&ns];
        let about = || format!("pid:[{ns}]");
        let user = UserNamespace::owning(&space.file).or_fail(about)?;
        let user = self.users.add(&mut self.image, user)?;
        let cursors = self.options.way.open(space.file.try_clone().or_fail(about)?)?;
        // One helper for both, if there can be one.
        let _ = cursors.keep_helper(|_| false);
        let last_pid = cursors.get(1).map(|last_pids| last_pids.as_slice()[0]);
        let pid_max = cursors.pid_max();
        if let Err(error) = &last_pid {
            self.notes.push(format!("last pids are missing: {error}"));
        }
        if let Err(error) = &pid_max {
            self.notes.push(format!("pid_max is missing: {error}"));
        }
        cursors.end_helper();
        self.cursors.push(cursors);
        Ok(image::Space {
            parent: space.parent.and_then(|parent| self.spaces.get(&parent)).copied(),
            init,
            user,
            last_pid: last_pid.ok(),
            pid_max: pid_max.ok(),
            owner_uid: None,
        })
    }

    /// Who leads the session and group of each process.
    fn leaders(&mut self) {
        for index in 0..self.seen.len() {
            let found = self.world.tasks.iter().find(|task| task.pid == self.seen[index]);
            let Some(task) = found else { continue };
            self.image.tasks[index].session = self.leader(task, &task.session);
            self.image.tasks[index].group = self.leader(task, &task.group);
        }
    }

    fn leader(&self, task: &Task, ids: &[i32]) -> Option<Leader> {
        let here = *ids.last()?;
        if here == 0 {
            return None;
        }
        if let Some(index) = self.made.get(&here) {
            return Some(Leader::Task(*index));
        }
        if self.world.processes().any(|task| task.pid == here) {
            return None;
        }
        // It is gone. Its pids are those that are not 0, and it was in the tree if its namespace is.
        let first = ids.iter().position(|id| *id != 0)?;
        let ns = self.world.chain_of(task).nth(first)?;
        let pids: Vec<_> = ids.iter().take(self.levels(task)).skip(first).copied().collect();
        self.inits.contains_key(&ns).then_some(Leader::Gone(pids))
    }
}

/// The user namespaces of the tree.
struct Users {
    /// That of the caller.
    own: u64,
    /// A process in each, by inode number.
    processes: HashMap<u64, i32>,
    /// Indices, by inode number.
    indices: HashMap<u64, usize>,
    /// The maps of each as the caller's user namespace sees them.
    maps: Vec<[Map; 2]>,
}

type Map = Vec<[u32; 3]>;

impl Users {
    fn new(world: &World) -> Result<Self, Failure> {
        let own = UserNamespace::own();
        let own = own.and_then(|ns| ns.inode()).or_fail(|| "/proc/self/ns/user".to_owned())?;
        let mut processes = HashMap::new();
        for task in world.processes() {
            if let Ok(link) = fs::read_link(format!("/proc/{}/ns/user", task.pid)) {
                let link = link.to_string_lossy();
                let inode = link.trim_start_matches("user:[").trim_end_matches(']').parse();
                if let Ok(inode) = inode {
                    processes.entry(inode).or_insert(task.pid);
                }
            }
        }
        Ok(Self { own, processes, indices: HashMap::new(), maps: Vec::new() })
    }

    /// Returns the index of a user namespace, and adds it and its ancestors if they are new.
    fn add(&mut self, image: &mut Image, ns: UserNamespace) -> Result<Option<usize>, Failure> {
        let inode = ns.inode().or_fail(|| "a user namespace".to_owned())?;
        let about = || format!("user:[{inode}]");
        if inode == self.own {
            return Ok(None);
        }
        if let Some(index) = self.indices.get(&inode) {
            return Ok(Some(*index));
        }
        let parent = ns.parent().or_fail(about)?;
        let Some(parent) = parent else {
            return Err(Failure::other(format!(
                "{} is not below your own user namespace",
                about()
            )));
        };
        let parent = self.add(image, parent)?;
        let Some(process) = self.processes.get(&inode) else {
            return Err(Failure::other(format!("{} has no process to read its maps of", about())));
        };
        let maps = [read_map(*process, "uid_map")?, read_map(*process, "gid_map")?];
        let path = format!("/proc/{process}/setgroups");
        let setgroups = fs::read_to_string(&path).or_fail(|| path)?.trim() == "allow";

        // What the caller sees, as the parent sees it.
        let owner = [0, ns.owner_uid().or_fail(about)?, 1];
        let around = [vec![[0, 0, u32::MAX]], vec![[0, 0, u32::MAX]]];
        let [parent_uids, parent_gids] = parent.map_or(&around, |parent| &self.maps[parent]);
        let seen_by = |map: &Map, parent: &Map| -> Result<Map, Failure> {
            let extents = map.iter().map(|extent| outside_of(parent, *extent));
            let extents: Option<Map> = extents.collect();
            extents.ok_or_else(|| Failure::other(format!("{}: its maps cannot be read", about())))
        };
        let user = image::UserSpace {
            parent,
            owner_uid: seen_by(&vec![owner], parent_uids)?[0][1],
            uid_map: seen_by(&maps[0], parent_uids)?,
            gid_map: seen_by(&maps[1], parent_gids)?,
            setgroups,
        };
        image.user_namespaces.push(user);
        self.maps.push(maps);
        self.indices.insert(inode, self.maps.len() - 1);
        Ok(Some(self.maps.len() - 1))
    }
}

fn read_map(process: i32, name: &str) -> Result<Map, Failure> {
    let path = format!("/proc/{process}/{name}");
    let text = fs::read_to_string(&path).or_fail(|| path.clone())?;
    let numbers: Vec<u32> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    Ok(numbers.chunks_exact(3).map(|line| [line[0], line[1], line[2]]).collect())
}

/// The same extent with its outer ids as they are called inside of `parent`.
fn outside_of(parent: &Map, [inside, outside, count]: [u32; 3]) -> Option<[u32; 3]> {
    let fits = |extent: &&[u32; 3]| {
        outside
            .checked_sub(extent[1])
            .is_some_and(|offset| count <= extent[2].saturating_sub(offset))
    };
    let extent = parent.iter().find(fits)?;
    Some([inside, extent[0] + (outside - extent[1]), count])
}

/// Opens the pid namespace of the init of one in a dump.
pub fn open_namespace(dumped: &Dumped, namespace: usize) -> Result<PidNamespace, Failure> {
    let init = dumped.seen[dumped.image.namespaces[namespace].init];
    PidNamespace::of_process(init).or_fail(|| format!("process {init}"))
}
