// SPDX-License-Identifier: GPL-2.0

//! `tree`: namespaces with their tasks.

use std::collections::{BTreeMap, HashSet};

use pidns::task::Task;

use crate::{
    failure::{Failure, OrFail},
    world::World,
};

pub fn tree(pid: Option<i32>) -> Result<(), Failure> {
    let world = World::read()?;
    let (root, members) = match pid {
        Some(pid) => {
            let root = Task::read(pid).or_fail(|| format!("process {pid}"))?;
            (root.ns, world.descendants(root.process))
        }
        None => {
            let own = pidns::PidNamespace::own().and_then(|ns| ns.inode());
            let own = own.or_fail(|| "/proc/self/ns/pid".to_owned())?;
            let nested = world.processes().filter(|task| task.ns != own);
            (own, nested.map(|task| task.pid).collect())
        }
    };

    let mut children = BTreeMap::<u64, Vec<u64>>::new();
    let mut shown = HashSet::from([root]);
    for task in world.processes().filter(|task| members.contains(&task.pid)) {
        // Also those in between that have no task of their own.
        for ns in world.chain(task.ns).take_while(|ns| *ns != root) {
            if shown.insert(ns) {
                let parent = world.spaces.get(&ns).and_then(|space| space.parent);
                children.entry(parent.unwrap_or(root)).or_default().push(ns);
            }
        }
    }
    print(&world, &members, &children, root, "");
    Ok(())
}

fn print(
    world: &World,
    members: &HashSet<i32>,
    children: &BTreeMap<u64, Vec<u64>>,
    ns: u64,
    indent: &str,
) {
    let last_pids = world.spaces.get(&ns).and_then(|space| space.file.last_pids(1).ok());
    let last_pid = last_pids.map_or_else(|| "-".to_owned(), |last_pids| last_pids.to_string());
    println!("pid:[{ns}]  last pid {last_pid}");

    let tasks = world.processes().filter(|task| task.ns == ns && members.contains(&task.pid));
    let lines = tasks.map(|task| {
        let pids: Vec<_> = task.pids.iter().map(i32::to_string).collect();
        let zombie = if task.zombie { " (zombie)" } else { "" };
        let threads = world.tasks.iter().filter(|other| other.process == task.pid).count();
        let threads = if threads > 1 { format!(" ({threads} threads)") } else { String::new() };
        format!("{}  {}{zombie}{threads}", pids.join(":"), task.name)
    });
    let lines: Vec<_> = lines.collect();
    let below = children.get(&ns).map_or(&[][..], Vec::as_slice);

    let (last_line, lines) = match lines.split_last() {
        Some((last, lines)) => (Some(last), lines),
        None => (None, &[][..]),
    };
    for line in lines {
        println!("{indent}├─ {line}");
    }
    if let Some(line) = last_line {
        let corner = if below.is_empty() { '└' } else { '├' };
        println!("{indent}{corner}─ {line}");
    }
    for (at, child) in below.iter().enumerate() {
        let is_last = at + 1 == below.len();
        print!("{indent}{}─ ", if is_last { '└' } else { '├' });
        let indent = format!("{indent}{}", if is_last { "   " } else { "│  " });
        print(world, members, children, *child, &indent);
    }
}
