// SPDX-License-Identifier: GPL-2.0-only

//! What `restore` makes of a dump, and in which order.

use std::collections::HashMap;

use crate::image::{Image, Leader, Task};

/// When a task starts a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    Inherit,
    Lead,
    /// After it has made the children that stay in its former session.
    LeadLater,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Inherit,
    Lead,
    /// Join that of another task.
    Join(usize),
}

/// The tasks of a dump, and further ones, which lead sessions and groups whose leaders are gone, and
/// go in the end.
#[derive(Debug)]
pub struct Plan {
    /// With the further tasks after those of the dump.
    pub image: Image,
    /// How many tasks are of the dump.
    pub lasting: usize,
    /// Who makes each; none: the foreman. A child whose maker goes gets its init for a parent.
    pub makers: Vec<Option<usize>>,
    pub sessions: Vec<Session>,
    pub groups: Vec<Group>,
    pub order: Vec<usize>,
    /// The task that the maker of this one makes straight after it, without another order.
    pub followers: Vec<Option<usize>>,
    /// Whether it is such a one.
    pub is_follower: Vec<bool>,
    /// What cannot be restored.
    pub notes: Vec<String>,
}

impl Plan {
    pub fn new(image: Image) -> Result<Self, String> {
        let lasting = image.tasks.len();
        let makers = image.tasks.iter().map(|task| task.parent).collect();
        let (sessions, groups, order, notes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (followers, is_follower) = (Vec::new(), Vec::new());
        let mut plan =
            Self { image, lasting, makers, sessions, groups, order, followers, is_follower, notes };
        plan.add_leaders();
        plan.choose_sessions();
        plan.choose_groups();
        plan.arrange();
        plan.check_users()?;
        plan.find_followers();
        Ok(plan)
    }

    /// The user namespaces that a task enters or makes after its birth, or with it.
    pub fn users(&self, task: usize) -> Vec<usize> {
        let from = self.makers[task].and_then(|maker| self.image.tasks[maker].user);
        let chain = self.image.user_chain(self.image.tasks[task].user);
        let mut path: Vec<_> = chain.take_while(|user| Some(*user) != from).collect();
        path.reverse();
        path
    }

    /// The owner of the namespace that an init is born with, if that is another user namespace than
    /// its maker's.
    pub fn owner_of_birth(&self, task: usize) -> Option<usize> {
        let space = self.image.tasks[task].namespace.filter(|_| self.image.is_init(task))?;
        let from = self.makers[task].and_then(|maker| self.image.tasks[maker].user);
        self.image.namespaces[space].user.filter(|owner| Some(*owner) != from)
    }

    fn add_leaders(&mut self) {
        let mut added = HashMap::<(Option<usize>, Vec<i32>), usize>::new();
        for index in 0..self.lasting {
            let task = self.image.tasks[index].clone();
            if let Some(Leader::Gone(pids)) = &task.session {
                // A leader's own parent, for a child that was there before the session.
                let former = task.parent.and_then(|parent| match self.leads_session(parent) {
                    true => self.image.tasks[parent].parent,
                    false => Some(parent),
                });
                let born_with = former.map(|former| &self.image.tasks[former].session);
                let namespace = self.image.namespace_of_gone(task.namespace, pids.len());
                let adopter = namespace.map(|namespace| self.image.namespaces[namespace].init);
                if born_with == Some(&task.session) {
                    // Born into it.
                } else if task.parent.is_some() && adopter == task.parent {
                    let key = (namespace, pids.clone());
                    let leader = *added.entry(key).or_insert_with(|| {
                        self.add(task.parent, namespace, pids, |leader| Task {
                            session: Some(Leader::Task(leader)),
                            group: Some(Leader::Task(leader)),
                            ..Task::default()
                        })
                    });
                    self.makers[index] = Some(leader);
                } else {
                    self.cannot("session", index);
                }
            }
            if let Some(Leader::Gone(pids)) = &task.group {
                let namespace = self.image.namespace_of_gone(task.namespace, pids.len());
                let maker = self.makers[index];
                let parent = task.parent.map(|parent| &self.image.tasks[parent].group);
                let key = (namespace, pids.clone());
                if !added.contains_key(&key) && parent != Some(&task.group) {
                    let session = task.session.clone();
                    let leader = self.add(maker, namespace, pids, |leader| Task {
                        session,
                        group: Some(Leader::Task(leader)),
                        ..Task::default()
                    });
                    added.insert(key, leader);
                }
            }
        }
        // From here on each leader is a task.
        for index in 0..self.lasting {
            let member = self.image.tasks[index].namespace;
            let resolve = |leader: &Option<Leader>| match leader {
                Some(Leader::Gone(pids)) => {
                    let namespace = self.image.namespace_of_gone(member, pids.len());
                    added.get(&(namespace, pids.clone())).map(|leader| Leader::Task(*leader))
                }
                leader => leader.clone(),
            };
            let (session, group) = (
                resolve(&self.image.tasks[index].session),
                resolve(&self.image.tasks[index].group),
            );
            self.image.tasks[index].session = session;
            self.image.tasks[index].group = group;
        }
        for index in self.lasting..self.image.tasks.len() {
            if let Some(Leader::Gone(pids)) = &self.image.tasks[index].session {
                let namespace = self.image.tasks[index].namespace;
                let namespace = self.image.namespace_of_gone(namespace, pids.len());
                let leader = added.get(&(namespace, pids.clone())).copied();
                self.image.tasks[index].session = leader.map(Leader::Task);
            }
        }
    }

    /// Adds a task that goes in the end.
    fn add(
        &mut self,
        maker: Option<usize>,
        namespace: Option<usize>,
        pids: &[i32],
        task: impl FnOnce(usize) -> Task,
    ) -> usize {
        let index = self.image.tasks.len();
        let user = maker.and_then(|maker| self.image.tasks[maker].user);
        let (pids, name) = (pids.to_vec(), "leader".to_owned());
        self.image.tasks.push(Task { parent: maker, namespace, user, pids, name, ..task(index) });
        self.makers.push(maker);
        index
    }

    fn cannot(&mut self, what: &str, index: usize) {
        let task = &self.image.tasks[index];
        self.notes.push(format!("the {what} of {} {:?} is not restored", task.name, task.pids));
    }

    fn leads_session(&self, index: usize) -> bool {
        self.image.tasks[index].session == Some(Leader::Task(index))
    }

    /// Whether a task is born before its maker starts a session.
    pub fn is_early(&self, index: usize) -> bool {
        let Some(maker) = self.makers[index] else { return false };
        self.leads_session(maker)
            && !self.leads_session(index)
            && self.image.tasks[index].session != Some(Leader::Task(maker))
    }

    fn choose_sessions(&mut self) {
        let count = self.image.tasks.len();
        self.sessions = vec![Session::Inherit; count];
        for index in 0..count {
            if self.leads_session(index) && self.sessions[index] == Session::Inherit {
                self.sessions[index] = Session::Lead;
            }
            if self.is_early(index) {
                if let Some(maker) = self.makers[index] {
                    self.sessions[maker] = Session::LeadLater;
                }
            }
        }
        for index in 0..count {
            if self.leads_session(index) {
                continue;
            }
            // What it is born with.
            let mut maker = self.makers[index];
            if self.is_early(index) {
                maker = maker.and_then(|maker| self.makers[maker]);
            }
            let born_with = maker.and_then(|maker| self.image.tasks[maker].session.clone());
            if born_with != self.image.tasks[index].session {
                self.cannot("session", index);
            }
        }
    }

    fn choose_groups(&mut self) {
        self.groups = vec![Group::Inherit; self.image.tasks.len()];
        for index in 0..self.image.tasks.len() {
            let task = &self.image.tasks[index];
            let mut maker = self.makers[index];
            if self.is_early(index) {
                maker = maker.and_then(|maker| self.makers[maker]);
            }
            let born_with = maker.and_then(|maker| self.image.tasks[maker].group.clone());
            self.groups[index] = match &task.group {
                Some(Leader::Task(leader)) if *leader == index => Group::Lead,
                group if *group == born_with => Group::Inherit,
                // The leader needs a pid where the task is.
                Some(Leader::Task(leader))
                    if self
                        .image
                        .chain(self.image.tasks[*leader].namespace)
                        .any(|ns| Some(ns) == task.namespace) =>
                {
                    Group::Join(*leader)
                }
                _ => {
                    self.cannot("process group", index);
                    Group::Inherit
                }
            };
        }
    }

    /// A task after its maker, the init of its namespace and the leader of its group.
    fn arrange(&mut self) {
        let count = self.image.tasks.len();
        let mut early = vec![0; count];
        for index in 0..count {
            if let Some(maker) = self.makers[index].filter(|_| self.is_early(index)) {
                early[maker] += 1;
            }
        }
        let mut made = vec![false; count];
        let mut pending: Vec<usize> = (0..count).collect();
        let mut strict = true;
        while !pending.is_empty() {
            let before = pending.len();
            pending.retain(|index| {
                let (index, task) = (*index, &self.image.tasks[*index]);
                let is_init = self.image.is_init(index);
                let needed = task.namespace.map(|namespace| self.image.namespaces[namespace].init);
                let needed = needed.filter(|_| !is_init).into_iter().chain(self.makers[index]);
                let mut ready = needed.into_iter().all(|needed| made[needed]);
                if strict {
                    let leader = match self.groups[index] {
                        Group::Join(leader) => Some(leader),
                        _ => None,
                    };
                    ready &= leader.is_none_or(|leader| made[leader]);
                    let late = !self.is_early(index);
                    ready &= self.makers[index].is_none_or(|maker| !late || early[maker] == 0);
                }
                if ready {
                    made[index] = true;
                    self.order.push(index);
                    if let Some(maker) = self.makers[index].filter(|_| self.is_early(index)) {
                        early[maker] -= 1;
                    }
                }
                !ready
            });
            // Then a session or group comes out wrong, or there is no way at all.
            if pending.len() == before {
                if !strict {
                    break;
                }
                strict = false;
            }
        }
    }

    /// Runs of tasks with consecutive pids, which nothing has to come in between of. All of a run are
    /// in a namespace of the tree, where nobody else forks and whose init takes them with it.
    fn find_followers(&mut self) {
        self.followers = vec![None; self.image.tasks.len()];
        self.is_follower = vec![false; self.image.tasks.len()];
        for pair in self.order.windows(2) {
            let [index, next] = [pair[0], pair[1]];
            let (task, follower) = (&self.image.tasks[index], &self.image.tasks[next]);
            let next_pids: Vec<_> = task.pids.iter().map(|pid| pid + 1).collect();
            let is_plain = self.sessions[next] == Session::Inherit
                && self.groups[next] == Group::Inherit
                && self.users(next).is_empty()
                && !self.image.is_init(next)
                // Who makes it opens the namespace of an init by its pid.
                && !self.image.is_init(index);
            if is_plain
                && !self.image.outer
                && follower.namespace.is_some()
                && follower.namespace == task.namespace
                && follower.pids == next_pids
                && self.makers[next] == self.makers[index]
                && !self.is_early(index)
                && !self.is_early(next)
            {
                self.followers[index] = Some(next);
                self.is_follower[next] = true;
            }
        }
    }

    fn check_users(&self) -> Result<(), String> {
        if self.order.len() < self.image.tasks.len() {
            return Err("its tasks cannot be put in an order in which they can be made".to_owned());
        }
        let mut made = vec![false; self.image.user_namespaces.len()];
        for index in &self.order {
            let path = self.users(*index);
            if let Some(owner) = self.owner_of_birth(*index) {
                if path.first() != Some(&owner) || made[owner] {
                    return Err(format!(
                        "the namespace of task {index} is owned by a user namespace that its parent \
                         cannot make with it"
                    ));
                }
            }
            for user in path {
                made[user] = true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::image_of;
    use proptest::prelude::*;

    /// What comes out: the sessions and groups, by the index of their leader.
    fn outcome(plan: &Plan) -> Vec<(Option<usize>, Option<usize>)> {
        let count = plan.image.tasks.len();
        let mut now = vec![None; count];
        let early = |index: usize| plan.makers[index].filter(|_| plan.is_early(index));
        for index in &plan.order {
            let (mut session, mut group) = plan.makers[*index]
                .map_or((None, None), |maker| now[maker].expect("a maker is made first"));
            if plan.sessions[*index] == Session::Lead {
                (session, group) = (Some(*index), Some(*index));
            }
            match plan.groups[*index] {
                Group::Lead if plan.sessions[*index] == Session::Inherit => group = Some(*index),
                Group::Join(leader) => group = Some(leader),
                _ => {}
            }
            now[*index] = Some((session, group));
            if let Some(maker) = early(*index) {
                let left = |other: &usize| early(*other) == Some(maker) && now[*other].is_none();
                if !(0..count).any(|other| left(&other)) {
                    now[maker] = Some((Some(maker), Some(maker)));
                }
            }
        }
        now.into_iter().map(|task| task.expect("all are made")).collect()
    }

    #[test]
    fn runs_of_plain_tasks_with_consecutive_pids() {
        let task = |parent, pid, group| Task {
            parent,
            namespace: Some(0),
            pids: vec![pid],
            group: Some(Leader::Task(group)),
            session: Some(Leader::Task(0)),
            ..Task::default()
        };
        let mut image = image_of(&[(0, 1)]);
        // A gap before 5, a leader, a child of another.
        image.tasks = vec![
            task(None, 1, 0),
            task(Some(0), 2, 0),
            task(Some(0), 3, 0),
            task(Some(0), 5, 0),
            task(Some(0), 6, 4),
            task(Some(0), 7, 0),
            task(Some(1), 8, 0),
        ];
        assert_eq!(image.check(), Ok(()));
        let plan = Plan::new(image).unwrap();
        assert_eq!(plan.order, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(plan.followers, [None, Some(2), None, None, Some(5), None, None]);

        // One outside makes the init and its sibling.
        let mut image = plan.image;
        image.tasks.truncate(3);
        image.namespaces[0].init = 1;
        image.tasks[0] = Task { namespace: None, pids: Vec::new(), ..image.tasks[0].clone() };
        image.tasks[1].pids = vec![1];
        image.tasks[2].pids = vec![2];
        assert_eq!(image.check(), Ok(()));
        assert_eq!(Plan::new(image).unwrap().followers, [None; 3]);
    }

    proptest! {
        #[test]
        fn sessions_and_groups_come_out_as_they_were(
            choices in prop::collection::vec(any::<(u8, u8)>(), 1..40),
        ) {
            let image = image_of(&choices);
            prop_assert_eq!(image.check(), Ok(()));
            let plan = Plan::new(image.clone()).unwrap();
            prop_assert_eq!(&plan.notes, &Vec::<String>::new());
            let outcome = outcome(&plan);
            for (task, (session, group)) in image.tasks.iter().zip(&outcome) {
                for (wanted, got) in [(&task.session, session), (&task.group, group)] {
                    let got = got.map(|leader| match leader < plan.lasting {
                        true => Leader::Task(leader),
                        false => Leader::Gone(plan.image.tasks[leader].pids.clone()),
                    });
                    prop_assert_eq!(wanted, &got, "{}", task.name);
                }
            }
        }
    }
}
