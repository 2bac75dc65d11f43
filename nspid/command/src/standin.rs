// SPDX-License-Identifier: GPL-2.0-only

//! The tasks that `restore` makes: each makes its children on orders, then waits.
//!
//! All share one piece of memory with a slot for each task and thread. Orders and answers are
//! numbers in there, waited for with futexes, so that thousands of tasks need no files.

use std::{
    ffi::CString,
    fs::{self, File},
    io, mem, process, ptr, slice,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use pidns::{fork_with_owner, fork_with_pids, Forked, PidNamespace, UserNamespace};
use rustix::{
    io::Errno,
    mm::{mmap_anonymous, MapFlags, ProtFlags},
    process::{
        kill_process, set_dumpable_behavior, set_parent_process_death_signal, setpgid, setsid,
        waitpid, DumpableBehavior, Pid, Signal, WaitOptions,
    },
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
    thread::{futex, set_name},
};

use crate::{
    plan::{Group, Plan, Session},
    signals,
};

/// What takes longer does not come.
const DEADLINE: Duration = Duration::from_secs(60);

/// Orders: an operation in the high bits, the slot that it is about in the low ones.
const NONE: u32 = 0;
const MAKE: u32 = 1 << 28;
const UNDO: u32 = 2 << 28;
const LEAD: u32 = 3 << 28;
const EXIT: u32 = 4 << 28;
const SLOT: u32 = MAKE - 1;

/// The answer to an order before there is one; then an error number, or 0.
const UNANSWERED: u32 = u32::MAX;

#[derive(Default)]
struct Slot {
    order: AtomicU32,
    answer: AtomicU32,
    /// What `/proc` calls it, or a negative error number.
    pid: AtomicU32,
    /// Counts the maps of user namespaces: odd when it waits for them, even when they are written.
    maps: AtomicU32,
}

/// All that is made, and the foreman, who makes the first task and is gone in the end. The slots
/// are those of the tasks, in the order of the image, of their threads, and of the foreman.
#[derive(Clone, Copy)]
pub struct Crew {
    slots: &'static [Slot],
    /// For each user namespace the slot of a task in it, plus 1.
    users: &'static [AtomicU32],
    plan: &'static Plan,
}

/// In [`Crew::users`]: it is there, but no task is in it.
const EMPTY: u32 = u32::MAX;

impl Crew {
    /// Starts the foreman, in the namespace around the tree.
    pub fn start(plan: &'static Plan, around: &PidNamespace) -> io::Result<Self> {
        let count = plan.image.count() + 1;
        let size = count * mem::size_of::<Slot>();
        let users = plan.image.user_namespaces.len();
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        let all = size + users * mem::size_of::<AtomicU32>();
        // SAFETY: A new mapping, at an address of the kernel's choice.
        let memory = unsafe { mmap_anonymous(ptr::null_mut(), all, rights, MapFlags::SHARED)? };
        // SAFETY: The mapping starts at a page, is as large as the slots and users, zeroed, which is
        // valid for both, and is never unmapped.
        let (slots, users) = unsafe {
            let users = slice::from_raw_parts(memory.byte_add(size).cast(), users);
            (slice::from_raw_parts(memory.cast::<Slot>(), count), users)
        };
        for slot in slots {
            slot.answer.store(UNANSWERED, SeqCst);
        }
        let crew = Self { slots, users, plan };

        // Not everybody may enter his own.
        let own = PidNamespace::own()?;
        let elsewhere = around.inode()? != own.inode()?;
        if elsewhere {
            around.enter_for_children()?;
        }
        let forked = fork_with_pids(false, &[]);
        if forked.as_ref().ok() == Some(&Forked::Child) {
            leave_terminal();
            crew.slots[crew.foreman()].set_pid(own_pid("/proc/self"));
            crew.live(crew.foreman());
        }
        if elsewhere {
            own.enter_for_children()?;
        }
        forked?;
        crew.slots[crew.foreman()].wait_for_pid()?;
        Ok(crew)
    }

    /// What `/proc` calls the foreman.
    pub fn foreman_pid(&self) -> i32 {
        self.slots[self.foreman()].pid()
    }

    /// What `/proc` calls the tasks that are there, also one that is not yet what it should be.
    pub fn pids(&self) -> impl Iterator<Item = i32> {
        let tasks = &self.slots[..self.plan.image.tasks.len()];
        tasks.iter().map(Slot::pid).filter(|pid| *pid > 0)
    }

    fn foreman(&self) -> usize {
        self.slots.len() - 1
    }

    fn maker_of(&self, task: usize) -> usize {
        self.plan.makers[task].unwrap_or(self.foreman())
    }

    /// Lets the foreman go. What he has made stays.
    pub fn dismiss(&self) {
        let foreman = &self.slots[self.foreman()];
        foreman.send(EXIT);
        let _ = waitpid(Pid::from_raw(foreman.pid()), WaitOptions::empty());
    }

    /// Lets a task come to life, by its maker, with all that follow it, and writes the maps of the user
    /// namespaces that it makes. Returns what `/proc` calls it. For a task that follows, this waits.
    pub fn make_task(
        &self,
        task: usize,
        mut write_maps: impl FnMut(usize, i32) -> io::Result<()>,
    ) -> io::Result<i32> {
        let slot = &self.slots[task];
        if !self.plan.is_follower[task] {
            slot.maps.store(0, SeqCst);
            slot.answer.store(UNANSWERED, SeqCst);
            self.slots[self.maker_of(task)].send(MAKE | task as u32);
        }
        for (number, user) in self.plan.users(task).into_iter().enumerate() {
            let waiting = 2 * number as u32 + 1;
            slot.wait_while(&slot.maps, |maps| maps < waiting)?;
            if self.users[user].load(SeqCst) == 0 {
                write_maps(user, slot.pid())?;
                self.users[user].store(EMPTY, SeqCst);
            }
            slot.maps.store(waiting + 1, SeqCst);
            let _ = futex::wake(&slot.maps, futex::Flags::empty(), 1);
        }
        slot.wait_for_answer()?;
        if let Some(user) = self.plan.image.tasks[task].user {
            self.users[user].store(task as u32 + 1, SeqCst);
        }
        Ok(slot.pid())
    }

    /// Starts the thread of a slot.
    pub fn make_thread(&self, process: usize, slot: usize) -> io::Result<i32> {
        self.slots[process].send(MAKE | slot as u32);
        self.slots[slot].wait_for_pid()
    }

    /// Lets a task start a session.
    pub fn lead_session(&self, task: usize) -> io::Result<()> {
        self.slots[task].order(LEAD)
    }

    /// Ends a task, as if it had never been.
    pub fn undo_task(&self, task: usize) -> io::Result<()> {
        self.slots[self.maker_of(task)].order(UNDO | task as u32)
    }

    /// What a task does from its first to its last moment, once it has its pid.
    fn live(&self, index: usize) -> ! {
        let slot = &self.slots[index];
        let mut children = Vec::new();
        // Whether its children come to life in another namespace than its own.
        let mut away = false;
        loop {
            let order = slot.wait_for_order();
            let about = (order & SLOT) as usize;
            let result = match order & !SLOT {
                NONE => continue,
                EXIT => process::exit(0),
                MAKE => {
                    // What is made answers, unless it cannot be made.
                    let mut next = Some(about);
                    while let Some(about) = next {
                        let result = if about < self.plan.image.tasks.len() {
                            next = self.plan.followers[about];
                            self.make(about, &mut away).map(|pid| children.push((about, pid)))
                        } else {
                            next = None;
                            self.start_thread(about)
                        };
                        if let Err(error) = result {
                            self.slots[about].answer(error_number(&error));
                            break;
                        }
                    }
                    continue;
                }
                LEAD => setsid().map(|_| ()).map_err(io::Error::from),
                _ => match children.iter().position(|(child, _)| *child == about) {
                    Some(place) => end_child(children.swap_remove(place).1)
                        .map(|()| self.slots[about].pid.store(0, SeqCst)),
                    None => Ok(()),
                },
            };
            slot.answer(result.map_or_else(|error| error_number(&error), |()| 0));
        }
    }

    /// What a task does before that.
    fn be_born(&self, task: usize) -> ! {
        let slot = &self.slots[task];
        slot.pid.store(own_pid("/proc/self") as u32, SeqCst);
        let image = &self.plan.image.tasks[task];
        if let Ok(name) = CString::new(image.name.as_str()) {
            let _ = set_name(&name);
        }
        let result = self.enter_users(task).and_then(|()| self.enter_groups(task));
        if let Err(error) = result {
            slot.answer(error_number(&error));
            process::exit(1);
        }
        slot.answer(0);
        if image.zombie {
            process::exit(0);
        }
        self.live(task)
    }

    fn enter_users(&self, task: usize) -> io::Result<()> {
        let born_in = self.plan.owner_of_birth(task);
        for (number, user) in self.plan.users(task).into_iter().enumerate() {
            match self.users[user].load(SeqCst) {
                EMPTY => return Err(Errno::OPNOTSUPP.into()),
                0 if born_in == Some(user) => {}
                0 => {
                    set_user(self.plan.image.user_namespaces[user].owner_uid)?;
                    unshare_user()?;
                }
                holder => {
                    let pid = self.slots[holder as usize - 1].pid();
                    UserNamespace::of_process(pid)?.enter()?;
                }
            }
            let slot = &self.slots[task];
            let waiting = 2 * number as u32 + 1;
            slot.maps.store(waiting, SeqCst);
            let _ = futex::wake(&slot.maps, futex::Flags::empty(), 1);
            slot.wait_while(&slot.maps, |maps| maps == waiting)?;

            let user = &self.plan.image.user_namespaces[user];
            if let (Some([uid, ..]), Some([gid, ..])) = (user.uid_map.first(), user.gid_map.first())
            {
                set_group(*gid)?;
                set_user(*uid)?;
            }
            // Its siblings look at it.
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
        Ok(())
    }

    fn enter_groups(&self, task: usize) -> io::Result<()> {
        if self.plan.sessions[task] == Session::Lead {
            setsid()?;
        }
        match self.plan.groups[task] {
            // A leader of a session leads a group already.
            Group::Lead if self.plan.sessions[task] == Session::Inherit => setpgid(None, None)?,
            Group::Join(leader) => {
                let image = &self.plan.image;
                let leader = &image.tasks[leader];
                let level = image.chain(leader.namespace);
                let level = level.take_while(|ns| Some(*ns) != image.tasks[task].namespace).count();
                setpgid(None, Pid::from_raw(leader.pids[level]))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Makes a child in the namespace where it belongs. Returns its pid in that of the caller.
    fn make(&self, index: usize, away: &mut bool) -> io::Result<i32> {
        let image = &self.plan.image;
        let task = &image.tasks[index];
        let maker = self.plan.makers[index].map(|maker| &image.tasks[maker]);
        let is_init = image.is_init(index);
        // An init is made from where the caller is already: the parent of its namespace.
        let elsewhere = !is_init && maker.is_some_and(|maker| maker.namespace != task.namespace);

        if let Some(namespace) = task.namespace.filter(|_| elsewhere) {
            let init = self.slots[image.namespaces[namespace].init].pid();
            PidNamespace::of_process(init)?.enter_for_children()?;
        } else if *away {
            PidNamespace::own()?.enter_for_children()?;
        }
        *away = elsewhere;
        let forked = match self.plan.owner_of_birth(index) {
            Some(user) => fork_with_users(image.user_namespaces[user].owner_uid),
            None => fork_with_pids(is_init, &[]),
        };
        if forked.as_ref().ok() == Some(&Forked::Child) {
            self.be_born(index);
        }
        match forked? {
            Forked::Parent(pid) => Ok(pid),
            Forked::Child => process::exit(1),
        }
    }

    fn start_thread(&self, slot: usize) -> io::Result<()> {
        let crew = *self;
        std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
            crew.slots[slot].set_pid(own_pid("/proc/thread-self"));
            loop {
                std::thread::park();
            }
        })?;
        Ok(())
    }
}

impl Slot {
    fn pid(&self) -> i32 {
        self.pid.load(SeqCst) as i32
    }

    fn set_pid(&self, pid: i32) {
        self.pid.store(pid as u32, SeqCst);
        let _ = futex::wake(&self.pid, futex::Flags::empty(), 1);
    }

    fn wait_for_pid(&self) -> io::Result<i32> {
        self.wait_while(&self.pid, |pid| pid == 0)?;
        match self.pid() {
            error @ ..=-1 => Err(io::Error::from_raw_os_error(-error)),
            pid => Ok(pid),
        }
    }

    fn wait_while(&self, value: &AtomicU32, holds: impl Fn(u32) -> bool) -> io::Result<()> {
        let deadline = futex::Timespec::try_from(DEADLINE).map_err(io::Error::other)?;
        loop {
            let now = value.load(SeqCst);
            if !holds(now) {
                return Ok(());
            }
            // A task that cannot become what it should be says so here.
            let answer = self.answer.load(SeqCst);
            if !ptr::eq(value, &self.answer) && !matches!(answer, 0 | UNANSWERED) {
                return Err(io::Error::from_raw_os_error(answer as i32));
            }
            let flags = futex::Flags::empty();
            if futex::wait(value, flags, now, Some(&deadline)) == Err(Errno::TIMEDOUT) {
                return Err(io::Error::other("a task does not answer"));
            }
        }
    }

    fn send(&self, order: u32) {
        self.order.store(order, SeqCst);
        let _ = futex::wake(&self.order, futex::Flags::empty(), 1);
    }

    /// Sends an order and waits for the answer.
    fn order(&self, order: u32) -> io::Result<()> {
        self.answer.store(UNANSWERED, SeqCst);
        self.send(order);
        self.wait_for_answer()
    }

    fn wait_for_answer(&self) -> io::Result<()> {
        self.wait_while(&self.answer, |answer| answer == UNANSWERED)?;
        match self.answer.load(SeqCst) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error as i32)),
        }
    }

    fn answer(&self, answer: u32) {
        self.answer.store(answer, SeqCst);
        let _ = futex::wake(&self.answer, futex::Flags::empty(), 1);
        // Who waits for the maps or the pid has to look here too.
        if answer != 0 {
            let _ = futex::wake(&self.maps, futex::Flags::empty(), 1);
            let _ = futex::wake(&self.pid, futex::Flags::empty(), 1);
        }
    }

    fn wait_for_order(&self) -> u32 {
        if self.order.load(SeqCst) == NONE {
            let _ = futex::wait(&self.order, futex::Flags::empty(), NONE, None);
        }
        self.order.swap(NONE, SeqCst)
    }
}

fn error_number(error: &io::Error) -> u32 {
    error.raw_os_error().unwrap_or(libc::EIO) as u32
}

/// Forks into a new pid namespace and a new user namespace that owns it, made by `owner`.
fn fork_with_users(owner: u32) -> io::Result<Forked> {
    let before = rustix::process::geteuid().as_raw();
    if owner == before {
        return fork_with_owner();
    }
    set_effective_user(owner)?;
    let forked = fork_with_owner();
    if matches!(forked, Ok(Forked::Child)) {
        return forked;
    }
    set_effective_user(before)?;
    let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
    forked
}

fn unshare_user() -> io::Result<()> {
    // SAFETY: Nobody else is in this process.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })
}

// Not those of libc, which wants all threads to take part: there are none yet.
fn set_user(uid: u32) -> io::Result<()> {
    // SAFETY: It takes numbers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) } as libc::c_int)
}

fn set_group(gid: u32) -> io::Result<()> {
    // SAFETY: It takes numbers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) } as libc::c_int)
}

fn set_effective_user(uid: u32) -> io::Result<()> {
    let keep = u32::MAX;
    // SAFETY: It takes numbers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, keep, uid, keep) } as libc::c_int)
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn end_child(pid: i32) -> io::Result<()> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("no pid"))?;
    kill_process(pid, Signal::KILL)?;
    waitpid(Some(pid), WaitOptions::empty())?;
    Ok(())
}

/// What `/proc` calls the caller, which need not be what its own namespace calls it.
fn own_pid(link: &str) -> i32 {
    let path = fs::read_link(link).ok();
    let name = path.as_ref().and_then(|path| path.file_name()?.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or(-libc::ENOENT)
}

/// Nothing here is to end with nspid, or to keep open what it has open, except the foreman, who has
/// nothing to do without it.
fn leave_terminal() {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = setsid();
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null).and(dup2_stdout(&null)).and(dup2_stderr(&null));
    }
    // SAFETY: Whoever owns one of these files is never dropped: a stand-in does not return.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    signals::unblock();
}
