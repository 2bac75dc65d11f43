// SPDX-License-Identifier: GPL-2.0-only

//! What `dump` writes and `restore` and `verify` read: the skeleton of a process tree.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, OrFail};

const FORMAT: u32 = 2;

/// The one without user namespaces, sessions and process groups.
const FIRST_FORMAT: u32 = 1;

/// The innermost pid namespace is at most so deep. User namespaces are limited to the same depth.
pub const MAX_DEPTH: usize = 32;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The version of this format: 2.
    pub format: u32,
    /// The release of the kernel it was dumped on.
    pub kernel: String,
    /// Whether `pids` end with those in the namespace around the tree.
    pub outer: bool,
    /// The user namespaces below that around the tree, a parent before its children.
    #[serde(default)]
    pub user_namespaces: Vec<UserSpace>,
    /// The pid namespaces whose init is in the tree, a parent before its children.
    pub namespaces: Vec<Space>,
    /// The processes, in an order in which they can be made.
    pub tasks: Vec<Task>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserSpace {
    /// Index of the user namespace it is in; none: that around the tree.
    pub parent: Option<usize>,
    /// Who made it, as its parent calls him.
    pub owner_uid: u32,
    /// As `/proc/PID/uid_map` shows it to its parent: first id inside, first in the parent, count.
    pub uid_map: Vec<[u32; 3]>,
    /// The same for groups.
    pub gid_map: Vec<[u32; 3]>,
    /// Whether setgroups(2) is allowed in it.
    pub setgroups: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// Index of the namespace it is in; none: that around the tree.
    pub parent: Option<usize>,
    /// Index of its init in `tasks`.
    pub init: usize,
    /// Index of the user namespace that owns it; none: that around the tree.
    #[serde(default)]
    pub user: Option<usize>,
    /// Null if it could not be read.
    pub last_pid: Option<i32>,
    /// Null if it could not be read.
    pub pid_max: Option<i32>,
    /// Of the first format, which had no user namespaces.
    #[serde(default, skip_serializing)]
    pub owner_uid: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Index of its parent; none for the first.
    pub parent: Option<usize>,
    /// Index of its namespace; none: that around the tree.
    pub namespace: Option<usize>,
    /// Index of its user namespace; none: that around the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<usize>,
    /// Its pids in the namespaces of the tree, innermost first.
    pub pids: Vec<i32>,
    /// The same for each thread but the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<Vec<i32>>,
    /// The leader of its session; none if that is outside of the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Leader>,
    /// The leader of its process group; none if that is outside of the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Leader>,
    /// Whether it had ended already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zombie: bool,
    /// What it was called.
    pub name: String,
}

/// The leader of a session or process group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Leader {
    /// Index in `tasks`.
    Task(usize),
    /// The pids of one that is gone, innermost first.
    Gone(Vec<i32>),
}

impl Image {
    pub fn new(outer: bool) -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        Self { format: FORMAT, kernel, outer, ..Self::default() }
    }

    /// Reads a dump; `-` is stdin.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let is_stdin = path == Path::new("-");
        let about = || if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
        let mut text = Vec::new();
        if is_stdin {
            io::stdin().lock().read_to_end(&mut text).or_fail(about)?;
        } else {
            File::open(path).and_then(|mut file| file.read_to_end(&mut text)).or_fail(about)?;
        }
        Self::parse(&text).map_err(|what| Failure::other(format!("{}: {what}", about())))
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        check_format(version.format)?;
        let image: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        image.check()?;
        Ok(image)
    }

    /// Whether this dump says something of user namespaces, sessions and process groups.
    pub fn has_users_and_sessions(&self) -> bool {
        self.format > FIRST_FORMAT
    }

    /// A namespace and those around it in the tree, from the inside outwards.
    pub fn chain(&self, namespace: Option<usize>) -> impl Iterator<Item = usize> + Clone + '_ {
        std::iter::successors(namespace, |index| self.namespaces.get(*index)?.parent)
    }

    /// The same for user namespaces.
    pub fn user_chain(&self, user: Option<usize>) -> impl Iterator<Item = usize> + Clone + '_ {
        std::iter::successors(user, |index| self.user_namespaces.get(*index)?.parent)
    }

    pub fn is_init(&self, task: usize) -> bool {
        let namespace = self.tasks[task].namespace;
        namespace.is_some_and(|namespace| self.namespaces[namespace].init == task)
    }

    /// All vectors of pids, of processes and threads, with the namespace that they start in.
    pub fn all_pids(&self) -> impl Iterator<Item = (Option<usize>, &Vec<i32>)> {
        self.tasks.iter().flat_map(|task| {
            std::iter::once(&task.pids).chain(&task.threads).map(|pids| (task.namespace, pids))
        })
    }

    /// The pids of leaders that are gone, with the namespace of a member.
    pub fn gone_leaders(&self) -> impl Iterator<Item = (Option<usize>, &Vec<i32>)> {
        self.tasks.iter().flat_map(|task| {
            [&task.session, &task.group].into_iter().filter_map(|leader| match leader {
                Some(Leader::Gone(pids)) => Some((task.namespace, pids)),
                _ => None,
            })
        })
    }

    /// The pids at the outermost level that there are pids of: with `outer` that around the tree.
    pub fn outermost_pids(&self) -> impl Iterator<Item = i32> + '_ {
        let around = usize::from(self.outer);
        let pids = self.all_pids().chain(self.gone_leaders());
        pids.filter_map(move |(namespace, pids)| {
            let levels = self.chain(namespace).count() + around;
            pids.last().copied().filter(|_| levels > 0)
        })
    }

    /// The namespace of a leader that is gone, who has that many pids: that of a member or one
    /// further out.
    pub fn namespace_of_gone(&self, member: Option<usize>, levels: usize) -> Option<usize> {
        let depth = self.chain(member).count() + usize::from(self.outer);
        self.chain(member).map(Some).chain([None]).nth(depth.saturating_sub(levels)).flatten()
    }

    /// How many processes and threads there are.
    pub fn count(&self) -> usize {
        self.all_pids().count()
    }

    /// Whether tasks can be made of this, one after another.
    pub fn check(&self) -> Result<(), String> {
        check_format(self.format)?;
        for (index, user) in self.user_namespaces.iter().enumerate() {
            if user.parent.is_some_and(|parent| parent >= index) {
                return Err(format!("user namespace {index} comes before the one it is in"));
            }
            if self.user_chain(Some(index)).count() > MAX_DEPTH {
                return Err(format!("user namespace {index} is more than {MAX_DEPTH} levels deep"));
            }
        }
        let user_exists =
            |user: Option<usize>| user.is_none_or(|user| user < self.user_namespaces.len());
        for (index, space) in self.namespaces.iter().enumerate() {
            if space.parent.is_some_and(|parent| parent >= index) {
                return Err(format!("namespace {index} comes before the one it is in"));
            }
            if self.tasks.get(space.init).map(|task| task.namespace) != Some(Some(index)) {
                return Err(format!("namespace {index} has no init"));
            }
            if self.chain(Some(index)).count() > MAX_DEPTH {
                return Err(format!("namespace {index} is more than {MAX_DEPTH} levels deep"));
            }
            if space.last_pid.is_some_and(|pid| !(0..=pidns::MAX_PID).contains(&pid)) {
                return Err(format!("the last pid of namespace {index} is out of range"));
            }
            if space.pid_max.is_some_and(|pid_max| !(301..=pidns::MAX_PID).contains(&pid_max)) {
                return Err(format!("the pid_max of namespace {index} is out of range"));
            }
            if !user_exists(space.user) {
                return Err(format!(
                    "namespace {index} is owned by a user namespace that is not there"
                ));
            }
        }
        for index in 0..self.tasks.len() {
            if !user_exists(self.tasks[index].user) {
                return Err(format!("task {index} is in a user namespace that is not there"));
            }
            self.check_task(index)?;
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
        self.check_leaders()
    }

    fn check_task(&self, index: usize) -> Result<(), String> {
        let task = &self.tasks[index];
        let parent = match (task.parent, index) {
            (None, 0) => None,
            (Some(parent), 1..) if parent < index => Some(&self.tasks[parent]),
            _ => return Err(format!("task {index} comes before its parent")),
        };
        let parent_ns = parent.and_then(|parent| parent.namespace);
        if parent.is_some_and(|parent| parent.zombie) {
            return Err(format!("task {index} is the child of a zombie"));
        }
        let parent_user = parent.and_then(|parent| parent.user);
        if parent_user.is_some()
            && !self.user_chain(task.user).any(|user| Some(user) == parent_user)
        {
            return Err(format!("task {index} is outside of its parent's user namespace"));
        }
        let Some(namespace) = task.namespace else {
            return match parent_ns {
                Some(_) => Err(format!("task {index} is outside of its parent's namespace")),
                None => Ok(()),
            };
        };
        let Some(space) = self.namespaces.get(namespace) else {
            return Err(format!("task {index} is in a namespace that is not there"));
        };
        if space.init == index {
            if task.pids.first() != Some(&1) || task.zombie {
                return Err(format!("task {index} cannot be an init"));
            }
            if space.parent != parent_ns {
                return Err(format!(
                    "task {index} ({}) is the init of a namespace that its parent could not make",
                    task.name
                ));
            }
        } else if space.init > index {
            return Err(format!("task {index} comes before the init of its namespace"));
        } else if parent_ns.is_some() && !self.chain(task.namespace).any(|ns| Some(ns) == parent_ns)
        {
            return Err(format!("task {index} is outside of its parent's namespace"));
        }
        Ok(())
    }

    fn check_leaders(&self) -> Result<(), String> {
        for (index, task) in self.tasks.iter().enumerate() {
            for leader in [&task.session, &task.group].into_iter().flatten() {
                let good = match leader {
                    Leader::Task(leader) => *leader < self.tasks.len(),
                    Leader::Gone(pids) => {
                        !pids.is_empty()
                            && pids.len() <= task.pids.len()
                            && pids.iter().all(|pid| (1..pidns::MAX_PID).contains(pid))
                    }
                };
                if !good {
                    return Err(format!("task {index} has a session or group that is not there"));
                }
            }
        }
        Ok(())
    }
}

fn check_format(format: u32) -> Result<(), String> {
    if (FIRST_FORMAT..=FORMAT).contains(&format) {
        return Ok(());
    }
    Err(format!(
        "format {format} is not known, only {FIRST_FORMAT} to {FORMAT}: it is of another nspid"
    ))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a task of [`image_of`] does, by the bits of a number.
    const NAMESPACE: u8 = 1;
    const USER: u8 = 2;
    const SESSION: u8 = 4;
    const GROUP: u8 = 8;
    /// Stays in the session that its parent had before it led one.
    const EARLY: u8 = 16;
    /// Is in a session whose leader is gone.
    const ORPHAN: u8 = 32;

    /// A tree in which each task picks its parent, and what it starts, by numbers.
    pub fn image_of(choices: &[(u8, u8)]) -> Image {
        let mut image = Image { format: FORMAT, ..Image::default() };
        let mut last = Vec::<i32>::new();
        for (index, (choice, bits)) in choices.iter().enumerate() {
            let parent = (index > 0).then(|| usize::from(*choice) % index.max(1));
            let of_parent = parent.map(|parent| image.tasks[parent].clone()).unwrap_or_default();
            let mut task = Task { parent, name: format!("task-{index}"), ..Task::default() };

            task.user = of_parent.user;
            if bits & USER != 0 && image.user_chain(of_parent.user).count() < 5 {
                task.user = Some(image.user_namespaces.len());
                let uid_map = vec![[0, u32::from(*choice), 1]];
                let user = UserSpace { parent: of_parent.user, uid_map, ..UserSpace::default() };
                image.user_namespaces.push(user);
            }
            task.namespace = of_parent.namespace;
            let starts = bits & NAMESPACE != 0 && image.chain(of_parent.namespace).count() < 5;
            if index == 0 || starts {
                task.namespace = Some(image.namespaces.len());
                let (parent, user) = (of_parent.namespace, task.user);
                let pid_max = Some(301 + i32::from(*choice));
                image.namespaces.push(Space {
                    parent,
                    init: index,
                    user,
                    pid_max,
                    ..Space::default()
                });
                last.push(0);
            }
            let mut next_pids = |image: &mut Image| -> Vec<i32> {
                let levels: Vec<_> = image.chain(task.namespace).collect();
                let next = levels.into_iter().map(|ns| {
                    last[ns] += 1;
                    image.namespaces[ns].last_pid = Some(last[ns]);
                    last[ns]
                });
                next.collect()
            };
            let is_init = image.namespaces.iter().any(|space| space.init == index);
            let adopted = image.namespaces.iter().any(|space| Some(space.init) == parent);
            (task.session, task.group) = (of_parent.session.clone(), of_parent.group.clone());
            if bits & ORPHAN != 0 && adopted && !is_init {
                let gone = Some(Leader::Gone(next_pids(&mut image)));
                (task.session, task.group) = (gone.clone(), gone);
            } else if bits & SESSION != 0 {
                let own = Some(Leader::Task(index));
                (task.session, task.group) = (own.clone(), own);
            } else if bits & EARLY != 0 && of_parent.session == parent.map(Leader::Task) {
                let before = of_parent.parent.map(|index| &image.tasks[index]);
                task.session = before.and_then(|task| task.session.clone());
                task.group = before.and_then(|task| task.group.clone());
            } else if bits & GROUP != 0 {
                task.group = Some(Leader::Task(index));
            }
            task.pids = next_pids(&mut image);
            image.tasks.push(task);
        }
        image
    }

    proptest! {
        #[test]
        fn round_trip(choices in prop::collection::vec(any::<(u8, u8)>(), 1..40)) {
            let image = image_of(&choices);
            prop_assert_eq!(image.check(), Ok(()));
            let text = serde_json::to_string(&image).unwrap();
            prop_assert_eq!(Image::parse(text.as_bytes()).unwrap(), image);
        }

        #[test]
        fn one_pid_twice_is_found(
            choices in prop::collection::vec(any::<(u8, u8)>(), 2..40),
            choice in any::<prop::sample::Index>(),
        ) {
            let mut image = image_of(&choices);
            let index = choice.index(image.tasks.len() - 1) + 1;
            let outermost = image.tasks[0].pids.len() - 1;
            let pids = &mut image.tasks[index].pids;
            let last = pids.len() - 1 - outermost;
            pids[last] = 1;
            prop_assert!(image.check().is_err());
        }
    }

    #[test]
    fn what_cannot_be_made_is_found() {
        let good = image_of(&[(0, NAMESPACE), (0, 0), (0, NAMESPACE | USER), (2, SESSION)]);
        assert_eq!(good.check(), Ok(()));
        let broken = |break_it: fn(&mut Image)| {
            let mut image = good.clone();
            break_it(&mut image);
            image.check().unwrap_err()
        };
        assert!(broken(|image| image.format = 3).contains("format 3"));
        assert!(broken(|image| image.tasks[1].user = Some(7)).contains("not there"));
        assert!(broken(|image| image.tasks[3].user = None).contains("outside"));
        assert!(broken(|image| image.namespaces[1].user = Some(7)).contains("not there"));
        assert!(broken(|image| image.namespaces[1].pid_max = Some(300)).contains("pid_max"));
        assert!(broken(|image| image.user_namespaces[0].parent = Some(0)).contains("comes before"));
        let far = Some(Leader::Task(9));
        assert!(Image {
            tasks: vec![Task { session: far, ..good.tasks[0].clone() }],
            ..good.clone()
        }
        .check()
        .is_err());
        assert!(
            broken(|image| image.tasks[1].group = Some(Leader::Gone(vec![]))).contains("session")
        );
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
    #[test]
    fn an_old_dump_is_read_and_a_newer_one_refused_by_name() {
        let old = include_bytes!("../tests/format-1.json");
        assert!(!Image::parse(old).unwrap().has_users_and_sessions());
        let newer = r#"{"format":9,"something":"new"}"#;
        assert!(Image::parse(newer.as_bytes()).unwrap_err().contains("format 9 is not known"));
    }
}
