// SPDX-License-Identifier: GPL-2.0-only

//! `tree`: namespaces with their tasks.

use std::collections::{BTreeMap, HashMap, HashSet};

use pidns::{task::Task, Cursors, How};
use serde::Serialize;

use crate::{
    failure::{Failure, OrFail},
    output,
    target::Target,
    world::World,
};

#[derive(Serialize)]
struct Space {
    inode: u64,
    last_pid: Option<i32>,
    processes: Vec<Process>,
    namespaces: Vec<Space>,
}

#[derive(Serialize)]
struct Process {
    /// The innermost first.
    pids: Vec<i32>,
    name: String,
    zombie: bool,
    threads: usize,
}

pub fn tree(target: &Target, json: bool) -> Result<(), Failure> {
    let world = World::read()?;
    let root = target.namespace()?.inode().or_fail(|| "the namespace".to_owned())?;
    let members: HashSet<i32> = match target.target {
        Some(_) => world.descendants(target.process()?),
        None => {
            let below = |task: &&Task| world.chain_of(task).any(|ns| ns == root);
            let shown = world.processes().filter(below);
            // All tasks of one's own namespace would be too many.
            let shown = shown.filter(|task| !target.is_own() || task.ns != Some(root));
            shown.map(|task| task.pid).collect()
        }
    };

    let mut children = BTreeMap::<u64, Vec<u64>>::new();
    let mut shown = HashSet::from([root]);
    let mut processes = HashMap::<u64, Vec<&Task>>::new();
    for task in world.processes().filter(|task| members.contains(&task.pid)) {
        let Some(ns) = task.ns else { continue };
        processes.entry(ns).or_default().push(task);
        // Also those in between that have no task of their own.
        for ns in world.chain(ns).take_while(|ns| *ns != root) {
            if shown.insert(ns) {
                let parent = world.spaces.get(&ns).and_then(|space| space.parent);
                children.entry(parent.unwrap_or(root)).or_default().push(ns);
            }
        }
    }
    let mut threads = HashMap::<i32, usize>::new();
    for task in &world.tasks {
        *threads.entry(task.process).or_default() += 1;
    }

    let tree = space(&world, root, &children, &processes, &threads);
    if json {
        return output::print_json(&tree);
    }
    let mut text = String::new();
    draw(&tree, "", &mut text);
    output::print(&text)
}

fn space(
    world: &World,
    ns: u64,
    children: &BTreeMap<u64, Vec<u64>>,
    processes: &HashMap<u64, Vec<&Task>>,
    threads: &HashMap<i32, usize>,
) -> Space {
    let cursors = world.spaces.get(&ns).and_then(|space| {
        let ns = space.file.try_clone().ok()?;
        Some(Cursors::open(ns, How::Auto).ok()?.without_spending())
    });
    let last_pids = cursors.and_then(|cursors| cursors.get(1).ok());
    let process = |task: &&Task| Process {
        pids: task.pids.clone(),
        name: task.name.clone(),
        zombie: task.zombie,
        threads: threads[&task.pid],
    };
    let below = children.get(&ns).into_iter().flatten();
    let mut own: Vec<_> = processes.get(&ns).into_iter().flatten().map(process).collect();
    own.sort_by_key(|process| process.pids[0]);
    Space {
        inode: ns,
        last_pid: last_pids.map(|last_pids| last_pids.as_slice()[0]),
        processes: own,
        namespaces: below.map(|ns| space(world, *ns, children, processes, threads)).collect(),
    }
}

fn draw(space: &Space, indent: &str, text: &mut String) {
    let last_pid = space.last_pid.map_or_else(|| "-".to_owned(), |last_pid| last_pid.to_string());
    *text += &format!("pid:[{}]  last pid {last_pid}\n", space.inode);

    let mut lines_left = space.processes.len() + space.namespaces.len();
    for process in &space.processes {
        lines_left -= 1;
        let corner = if lines_left == 0 { '└' } else { '├' };
        let pids: Vec<_> = process.pids.iter().map(i32::to_string).collect();
        let zombie = if process.zombie { " (zombie)" } else { "" };
        let threads = match process.threads {
            ..=1 => String::new(),
            threads => format!(" ({threads} threads)"),
        };
        *text +=
            &format!("{indent}{corner}─ {}  {}{zombie}{threads}\n", pids.join(":"), process.name);
    }
    for below in &space.namespaces {
        lines_left -= 1;
        let (corner, indent_below) =
            if lines_left == 0 { ('└', "   ") } else { ('├', "│  ") };
        *text += &format!("{indent}{corner}─ ");
        draw(below, &format!("{indent}{indent_below}"), text);
    }
}
