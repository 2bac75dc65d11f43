// SPDX-License-Identifier: GPL-2.0

//! What `dump` writes and `restore` and `verify` read: the skeleton of a process tree.

use std::{collections::HashSet, fs::File, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, OrFail};

const FORMAT: u32 = 1;

/// The innermost pid namespace is at most so deep.
pub const MAX_DEPTH: usize = 32;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The version of this format: 1.
    pub format: u32,
    /// The release of the kernel it was dumped on.
    pub kernel: String,
    /// Whether `pids` end with those in the namespace around the tree.
    pub outer: bool,
    /// The namespaces whose init is in the tree, a parent before its children.
    pub namespaces: Vec<Space>,
    /// The processes, in an order in which they can be made.
    pub tasks: Vec<Task>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// Index of the namespace it is in; none: that around the tree.
    pub parent: Option<usize>,
    /// Index of its init in `tasks`.
    pub init: usize,
    /// Null if it could not be read.
    pub last_pid: Option<i32>,
    /// Null if it could not be read.
    pub pid_max: Option<i32>,
    /// The user who owned it. It is not restored.
    pub owner_uid: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Index of its parent; none for the first.
    pub parent: Option<usize>,
    /// Index of its namespace; none: that around the tree.
    pub namespace: Option<usize>,
    /// Its pids in the namespaces of the tree, innermost first.
    pub pids: Vec<i32>,
    /// The same for each thread but the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<Vec<i32>>,
    /// Whether it had ended already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zombie: bool,
    /// What it was called.
    pub name: String,
}

impl Image {
    pub fn new(outer: bool) -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        Self { format: FORMAT, kernel, outer, ..Self::default() }
    }

    pub fn read(path: &Path) -> Result<Self, Failure> {
        let about = || path.display().to_string();
        let file = File::open(path).or_fail(about)?;
        let image: Self = serde_json::from_reader(io::BufReader::new(file))
            .map_err(io::Error::from)
            .or_fail(about)?;
        image.check().map_err(|what| Failure::other(format!("{}: {what}", about())))?;
        Ok(image)
    }

    /// A namespace and those around it in the tree, from the inside outwards.
    pub fn chain(&self, namespace: Option<usize>) -> impl Iterator<Item = usize> + Clone + '_ {
        std::iter::successors(namespace, |at| self.namespaces.get(*at)?.parent)
    }

    pub fn is_init(&self, task: usize) -> bool {
        let namespace = self.tasks.get(task).and_then(|task| task.namespace);
        namespace.and_then(|at| self.namespaces.get(at)).is_some_and(|space| space.init == task)
    }

    /// All vectors of pids, of processes and threads, with the namespace that they start in.
    pub fn all_pids(&self) -> impl Iterator<Item = (Option<usize>, &Vec<i32>)> {
        self.tasks.iter().flat_map(|task| {
            std::iter::once(&task.pids).chain(&task.threads).map(|pids| (task.namespace, pids))
        })
    }

    /// How many vectors there are.
    pub fn count(&self) -> usize {
        self.all_pids().count()
    }

    /// Whether tasks can be made of this, one after another.
    pub fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("format {} is not known, only {FORMAT}", self.format));
        }
        for (at, space) in self.namespaces.iter().enumerate() {
            if space.parent.is_some_and(|parent| parent >= at) {
                return Err(format!("namespace {at} comes before the one it is in"));
            }
            if self.tasks.get(space.init).map(|task| task.namespace) != Some(Some(at)) {
                return Err(format!("namespace {at} has no init"));
            }
            if self.chain(Some(at)).count() > MAX_DEPTH {
                return Err(format!("namespace {at} is more than {MAX_DEPTH} levels deep"));
            }
            if space.last_pid.is_some_and(|pid| !(0..=pidns::MAX_PID).contains(&pid)) {
                return Err(format!("the last pid of namespace {at} is out of range"));
            }
        }
        for at in 0..self.tasks.len() {
            self.check_task(at)?;
        }

        let mut seen = HashSet::new();
        for (namespace, pids) in self.all_pids() {
            let around = self.outer.then_some(None);
            let levels = self.chain(namespace).map(Some).chain(around);
            if levels.clone().count() != pids.len() {
                return Err(format!("{pids:?} does not have one pid for each level"));
            }
            for (level, pid) in levels.zip(pids) {
                if !(1..pidns::MAX_PID).contains(pid) || !seen.insert((level, *pid)) {
                    return Err(format!("pid {pid} is out of range, or there twice at one level"));
                }
            }
        }
        Ok(())
    }

    fn check_task(&self, at: usize) -> Result<(), String> {
        let Some(task) = self.tasks.get(at) else { return Ok(()) };
        let parent = match (task.parent, at) {
            (None, 0) => None,
            (Some(parent), 1..) if parent < at => self.tasks.get(parent),
            _ => return Err(format!("task {at} comes before its parent")),
        };
        let parent_ns = parent.and_then(|parent| parent.namespace);
        if parent.is_some_and(|parent| parent.zombie) {
            return Err(format!("the parent of task {at} has ended"));
        }
        let Some(namespace) = task.namespace else {
            return match parent_ns {
                None => Ok(()),
                Some(_) => Err(format!("task {at} is outside of its parent's namespace")),
            };
        };
        let Some(space) = self.namespaces.get(namespace) else {
            return Err(format!("task {at} is in a namespace that is not there"));
        };
        if space.init == at {
            if task.pids.first() != Some(&1) || task.zombie {
                return Err(format!("task {at} cannot be an init"));
            }
            if space.parent != parent_ns {
                return Err(format!(
                    "task {at} ({}) is the init of a namespace that its parent could not make",
                    task.name
                ));
            }
        } else if space.init > at {
            return Err(format!("task {at} comes before the init of its namespace"));
        } else if parent_ns.is_some() && !self.chain(task.namespace).any(|ns| Some(ns) == parent_ns)
        {
            return Err(format!("task {at} is outside of its parent's namespace"));
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A tree in which each task picks its parent, and whether it starts a namespace, by a number.
    pub fn image_of(choices: &[(u8, bool)]) -> Image {
        let mut image = Image { format: FORMAT, ..Image::default() };
        let mut last = Vec::<i32>::new();
        for (at, (choice, starts)) in choices.iter().enumerate() {
            let parent = (at > 0).then(|| usize::from(*choice) % at.max(1));
            let parent_ns = parent.and_then(|parent| image.tasks[parent].namespace);
            let mut namespace = parent_ns;
            if at == 0 || (*starts && image.chain(parent_ns).count() < 5) {
                namespace = Some(image.namespaces.len());
                image.namespaces.push(Space { parent: parent_ns, init: at, ..Space::default() });
                last.push(0);
            }
            let mut pids = Vec::new();
            for ns in image.chain(namespace).collect::<Vec<_>>() {
                last[ns] += 1;
                pids.push(last[ns]);
                image.namespaces[ns].last_pid = Some(last[ns]);
            }
            let name = format!("task-{at}");
            image.tasks.push(Task { parent, namespace, pids, name, ..Task::default() });
        }
        image
    }

    proptest! {
        #[test]
        fn round_trip(choices in prop::collection::vec(any::<(u8, bool)>(), 1..40)) {
            let image = image_of(&choices);
            prop_assert_eq!(image.check(), Ok(()));
            let text = serde_json::to_string(&image).unwrap();
            prop_assert_eq!(serde_json::from_str::<Image>(&text).unwrap(), image);
        }

        #[test]
        fn one_pid_twice_is_found(
            choices in prop::collection::vec(any::<(u8, bool)>(), 2..40),
            at in any::<prop::sample::Index>(),
        ) {
            let mut image = image_of(&choices);
            let at = at.index(image.tasks.len() - 1) + 1;
            let outermost = image.tasks[0].pids.len() - 1;
            let pids = &mut image.tasks[at].pids;
            let last = pids.len() - 1 - outermost;
            pids[last] = 1;
            prop_assert!(image.check().is_err());
        }
    }

    #[test]
    fn what_cannot_be_made_is_found() {
        let good = image_of(&[(0, true), (0, false), (0, true), (2, false)]);
        assert_eq!(good.check(), Ok(()));
        let broken = |break_it: fn(&mut Image)| {
            let mut image = good.clone();
            break_it(&mut image);
            image.check().unwrap_err()
        };
        assert!(broken(|image| image.format = 2).contains("format 2"));
        assert!(broken(|image| image.tasks[1].parent = Some(3)).contains("before its parent"));
        assert!(broken(|image| image.tasks[0].zombie = true).contains("cannot be an init"));
        assert!(broken(|image| image.tasks[2].pids[0] = 2).contains("cannot be an init"));
        assert!(broken(|image| image.namespaces[1].init = 1).contains("has no init"));
        assert!(broken(|image| image.namespaces[1].parent = Some(1)).contains("comes before"));
        assert!(broken(|image| image.tasks[1].pids[0] = 0).contains("out of range"));
        assert!(broken(|image| image.tasks[1].pids.push(5)).contains("one pid for each level"));
        assert!(broken(|image| image.tasks[3].namespace = Some(7)).contains("not there"));
        assert!(broken(|image| image.tasks[3].namespace = None).contains("outside"));
    }
}
