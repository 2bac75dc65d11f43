// SPDX-License-Identifier: GPL-2.0

//! The tasks that `restore` makes: each makes its children when it is told to, then waits.
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

use pidns::{clone_with_pids, Forked, PidNamespace};
use rustix::{
    mm::{mmap_anonymous, MapFlags, ProtFlags},
    process::{
        kill_process, set_parent_process_death_signal, setsid, waitpid, Pid, Signal, WaitOptions,
    },
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
    thread::{futex, set_name},
};

use crate::image::Image;

/// What takes longer does not come.
const DEADLINE: Duration = Duration::from_secs(60);

/// Orders: nothing, to end the child that was made last, to exit, and to make what belongs to a
/// slot, whose number is added.
const NONE: u32 = 0;
const UNDO: u32 = 1;
const EXIT: u32 = 2;
const MAKE: u32 = 3;

#[derive(Default)]
struct Slot {
    order: AtomicU32,
    /// How `/proc` calls what was made here, or a negative error number.
    pid: AtomicU32,
}

/// All that is made, and the foreman, who makes the first task and is gone in the end. The slots
/// are those of the tasks, in the order of the image, of their threads, and of the foreman.
#[derive(Clone, Copy)]
pub struct Crew {
    slots: &'static [Slot],
    image: &'static Image,
}

impl Crew {
    /// Starts the foreman, in the namespace around the tree.
    pub fn start(image: &'static Image, around: &PidNamespace) -> io::Result<Self> {
        let count = image.count() + 1;
        let size = count * mem::size_of::<Slot>();
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: A new mapping, at an address of the kernel's choice.
        let memory = unsafe { mmap_anonymous(ptr::null_mut(), size, rights, MapFlags::SHARED)? };
        // SAFETY: The mapping starts at a page, is as large as the slots, zeroed, which is a valid
        // slot, and is never unmapped.
        let slots = unsafe { slice::from_raw_parts(memory.cast(), count) };
        let crew = Self { slots, image };

        around.enter_for_children()?;
        let forked = clone_with_pids(false, &[]);
        if forked.as_ref().ok() == Some(&Forked::Child) {
            leave_terminal();
            crew.live(crew.foreman());
        }
        PidNamespace::own()?.enter_for_children()?;
        forked?;
        crew.wait_for_pid(crew.foreman(), 0)?;
        Ok(crew)
    }

    fn foreman(&self) -> usize {
        self.slots.len() - 1
    }

    /// Lets the foreman go. What he has made stays.
    pub fn dismiss(&self) {
        self.order(self.foreman(), EXIT);
        let _ = waitpid(Pid::from_raw(self.pid(self.foreman())), WaitOptions::empty());
    }

    fn pid(&self, at: usize) -> i32 {
        self.slots.get(at).map_or(0, |slot| slot.pid.load(SeqCst) as i32)
    }

    fn set_pid(&self, at: usize, pid: i32) {
        if let Some(slot) = self.slots.get(at) {
            slot.pid.store(pid as u32, SeqCst);
            let _ = futex::wake(&slot.pid, futex::Flags::empty(), 1);
        }
    }

    /// Waits until slot `at` has another pid than `old`.
    fn wait_for_pid(&self, at: usize, old: i32) -> io::Result<i32> {
        let Some(slot) = self.slots.get(at) else { return Err(io::Error::other("no slot")) };
        let deadline = futex::Timespec::try_from(DEADLINE).map_err(io::Error::other)?;
        while slot.pid.load(SeqCst) == old as u32 {
            let flags = futex::Flags::empty();
            if futex::wait(&slot.pid, flags, old as u32, Some(&deadline))
                == Err(rustix::io::Errno::TIMEDOUT)
            {
                return Err(io::Error::other("a task does not answer"));
            }
        }
        match self.pid(at) {
            error @ ..=-1 => Err(io::Error::from_raw_os_error(-error)),
            pid => Ok(pid),
        }
    }

    fn order(&self, to: usize, order: u32) {
        if let Some(slot) = self.slots.get(to) {
            slot.order.store(order, SeqCst);
            let _ = futex::wake(&slot.order, futex::Flags::empty(), 1);
        }
    }

    fn maker_of(&self, at: usize) -> usize {
        let parent = self.image.tasks.get(at).and_then(|task| task.parent);
        parent.unwrap_or(self.foreman())
    }

    /// Lets a task come to life, by its parent. Returns what `/proc` calls it.
    pub fn make_task(&self, at: usize) -> io::Result<i32> {
        self.order(self.maker_of(at), MAKE + at as u32);
        self.wait_for_pid(at, 0)
    }

    /// The same for the thread of slot `at`.
    pub fn make_thread(&self, process: usize, at: usize) -> io::Result<i32> {
        self.order(process, MAKE + at as u32);
        self.wait_for_pid(at, 0)
    }

    /// Ends the task that was made last, as if it had never been.
    pub fn undo_task(&self, at: usize) -> io::Result<()> {
        let pid = self.pid(at);
        self.order(self.maker_of(at), UNDO);
        self.wait_for_pid(at, pid).map(|_| ())
    }

    /// What a task does from its first to its last moment.
    fn live(&self, at: usize) -> ! {
        let task = self.image.tasks.get(at);
        if let Some(name) = task.and_then(|task| CString::new(task.name.as_str()).ok()) {
            let _ = set_name(&name);
        }
        self.set_pid(at, own_pid("/proc/self"));
        if task.is_some_and(|task| task.zombie) {
            process::exit(0);
        }
        let mut last = None;
        loop {
            let order = self.wait_for_order(at);
            let result = match order {
                NONE => continue,
                EXIT => process::exit(0),
                UNDO => last
                    .take()
                    .map_or(Ok(()), |(made, pid)| end_child(pid).map(|()| self.set_pid(made, 0))),
                _ => {
                    let made = (order - MAKE) as usize;
                    if made < self.image.tasks.len() {
                        self.make(made).map(|pid| last = Some((made, pid)))
                    } else {
                        self.start_thread(made)
                    }
                }
            };
            if let (Err(error), Some(made)) = (result, order.checked_sub(MAKE)) {
                self.set_pid(made as usize, -error.raw_os_error().unwrap_or(libc::EIO));
            }
        }
    }

    fn wait_for_order(&self, at: usize) -> u32 {
        let Some(slot) = self.slots.get(at) else { return EXIT };
        if slot.order.load(SeqCst) == NONE {
            let _ = futex::wait(&slot.order, futex::Flags::empty(), NONE, None);
        }
        slot.order.swap(NONE, SeqCst)
    }

    /// Makes a child in the namespace where it belongs. Returns its pid in that of the caller.
    fn make(&self, at: usize) -> io::Result<i32> {
        let task = self.image.tasks.get(at).ok_or_else(|| io::Error::other("no task"))?;
        let parent = task.parent.and_then(|parent| self.image.tasks.get(parent));
        let is_init = self.image.is_init(at);
        // An init is made from where the caller is already: the parent of its namespace.
        let elsewhere = !is_init && parent.is_some_and(|parent| parent.namespace != task.namespace);

        if elsewhere {
            let space = task.namespace.and_then(|at| self.image.namespaces.get(at));
            let init = space.map_or(0, |space| self.pid(space.init));
            PidNamespace::of_process(init)?.enter_for_children()?;
        }
        let forked = clone_with_pids(is_init, &[]);
        if forked.as_ref().ok() == Some(&Forked::Child) {
            self.live(at);
        }
        if elsewhere {
            PidNamespace::own()?.enter_for_children()?;
        }
        match forked? {
            Forked::Parent(pid) => Ok(pid),
            Forked::Child => process::exit(1),
        }
    }

    fn start_thread(&self, made: usize) -> io::Result<()> {
        let crew = *self;
        std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
            crew.set_pid(made, own_pid("/proc/thread-self"));
            loop {
                std::thread::park();
            }
        })?;
        Ok(())
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
    crate::restore::unblock_signals();
}
