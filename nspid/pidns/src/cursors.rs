// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::{AsFd, BorrowedFd},
};

use crate::{
    error::{Error, Step},
    helper::{Helper, Setting},
    sys, LastPids, PidNamespace,
};

/// The way to the last pids.
///
/// ```
/// use pidns::{Cursors, Error, How, PidNamespace};
///
/// match Cursors::open(PidNamespace::own()?, How::Ioctl) {
///     Err(Error::NoIoctl) => println!("with How::Auto that would be How::Helper"),
///     cursors => assert!(!cursors?.uses_helper()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum How {
    /// [`How::Ioctl`] if the kernel has it, else [`How::Helper`].
    #[default]
    Auto,
    /// The ioctl `NS_SPECIFIC_IOC`: all levels in one step.
    Ioctl,
    /// A process that enters the namespace and uses `/proc/sys/kernel/ns_last_pid`: one level after
    /// the other, from the innermost outwards.
    Helper,
}

/// Reads and sets the last pids of a pid namespace and its ancestors.
///
/// With the ioctl that is one step. Without it a helper process enters one level after the other;
/// others can fork in between. A helper has a pid at each level. `clone3(2)` can choose them, which
/// moves no last pid. Where it may not, the helper takes the next pid and
///
/// - the last pid that [`get`](Self::get) reports is the one below the helper's, which gives the same
///   next pid, but can be larger than it was if the pids in between were taken,
/// - what the helper used is put back at each level that the caller may set, and counted by
///   [`spent`](Self::spent) at the others.
///
/// A helper takes `CAP_SYS_ADMIN` in the user namespaces of the caller and of the level, or a caller
/// who made the user namespace of a container himself, without privilege. It works only in the
/// caller's own pid namespace and below it.
///
/// ```
/// use pidns::{Cursors, How, PidNamespace};
///
/// // Anybody may read that of his own namespace.
/// let cursors = Cursors::open(PidNamespace::own()?, How::Helper)?;
/// println!("the last pid is {}", cursors.get(1)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// ```no_run
/// # use pidns::{Cursors, How, PidNamespace};
/// let cursors = Cursors::open(PidNamespace::of_process(4711)?, How::Auto)?;
/// // The next fork in there gets pid 4, and 23 and 112 in the two namespaces above.
/// cursors.set(&"3:22:111".parse()?)?;
/// if cursors.uses_helper() {
///     println!("in several steps, which used {} pids elsewhere", cursors.spent());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cursors {
    ns: PidNamespace,
    by_ioctl: bool,
    may_spend: bool,
    /// One that stays in the namespace.
    kept: RefCell<Option<Helper>>,
    spent: Cell<usize>,
}

/// For helpers that end before anybody forks.
const ANY: fn(i32) -> bool = |_| false;

/// For [`Cursors::get`]: as many levels as there are, up to the first that the caller may not set.
pub const ALL_LEVELS: u32 = u32::MAX;

impl Cursors {
    /// Finds out which way there is. The namespace can be had back with
    /// [`namespace`](Self::namespace).
    ///
    /// # Errors
    ///
    /// [`Error::NoIoctl`] if the ioctl was asked for and is not there.
    pub fn open(ns: PidNamespace, how: How) -> Result<Self, Error> {
        let by_ioctl = how != How::Helper && has_ioctl(ns.as_fd());
        if how == How::Ioctl && !by_ioctl {
            return Err(Error::NoIoctl);
        }
        let (kept, spent) = (RefCell::new(None), Cell::new(0));
        Ok(Self { ns, by_ioctl, may_spend: true, kept, spent })
    }

    /// Lets no helper take a pid that moves the last pid of the namespace itself: where pids cannot be
    /// chosen, [`Error::NotPermitted`] comes back.
    #[must_use]
    pub fn without_spending(self) -> Self {
        Self { may_spend: false, ..self }
    }

    /// Leaves a helper in the namespace for as long as this value lives. It serves
    /// [`get`](Self::get) and [`set`](Self::set) of that namespace alone, and
    /// [`pid_max`](Self::pid_max), at the price of two system calls instead of a fork. With the
    /// ioctl only `pid_max` needs it. It gets no pid that `avoid` names.
    ///
    /// The namespace cannot end before its helper: wait for its init only after
    /// [`end_helper`](Self::end_helper).
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`] also where the pids of a helper cannot be chosen.
    pub fn keep_helper(&self, avoid: impl Fn(i32) -> bool) -> Result<(), Error> {
        let helper = Helper::enter(&self.reach()?, false, &avoid)?;
        self.note_spent(&helper)?;
        *self.kept.borrow_mut() = Some(helper);
        Ok(())
    }

    /// Ends what [`keep_helper`](Self::keep_helper) began.
    pub fn end_helper(&self) {
        *self.kept.borrow_mut() = None;
    }

    /// The namespace.
    pub fn namespace(&self) -> &PidNamespace {
        &self.ns
    }

    /// Whether this goes by helper processes, not in one step.
    pub fn uses_helper(&self) -> bool {
        !self.by_ioctl
    }

    /// How many pids helpers have used up and not put back, at all levels together.
    pub fn spent(&self) -> usize {
        self.spent.get()
    }

    /// Reads the last pids of the namespace and of its ancestors, of at most `levels`. Fewer come
    /// back if there are fewer, or if the caller may not set the next.
    ///
    /// A namespace without init has last pid 0 for the ioctl, and is [`Error::NoInit`] for a helper.
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`] if the caller may not set that of the namespace itself, and
    /// [`Error::InitGone`].
    pub fn get(&self, levels: u32) -> Result<LastPids, Error> {
        if levels == 0 {
            return Err(Error::NoLevel);
        }
        if self.by_ioctl {
            return self.get_by_ioctl(levels);
        }
        if let (1, Some(helper)) = (levels, self.kept.borrow_mut().as_mut()) {
            let last_pid = helper.read(Setting::LastPid).map_err(Error::of_last_pid)?;
            return vector(vec![last_pid]);
        }
        let levels = usize::try_from(levels).unwrap_or(usize::MAX);
        let reach = self.reach()?;
        let count = levels.min(reach.len());
        let mut last_pids = Vec::new();
        for level in 0..count {
            let is_own = level + 1 == reach.len();
            if is_own && level > 0 && !may_choose_pids() {
                break;
            }
            let mut helper = match Helper::enter(&reach[level..], self.may_spend, &ANY) {
                Err(Error::NotPermitted { .. }) if level > 0 => break,
                helper => helper.map_err(|error| error.at(level))?,
            };
            if let Some(before) = self.note_spent(&helper)? {
                // It took a pid at each level, so it knows all.
                last_pids.extend(before.iter().take(count - level));
                self.write_all(&reach[level..], vec![helper], &before)?;
                break;
            }
            last_pids.push(helper.read(Setting::LastPid).map_err(Error::of_last_pid)?);
        }
        vector(last_pids)
    }

    /// Sets the last pids of the namespace and of as many ancestors as `last_pids` has more numbers.
    ///
    /// With the ioctl all are set or none. A helper checks all first, and puts back what it has set
    /// if a later level fails.
    ///
    /// # Errors
    ///
    /// Each of [`Error`]. After one, no last pid has changed.
    pub fn set(&self, last_pids: &LastPids) -> Result<(), Error> {
        if self.by_ioctl {
            let mut text = last_pids.to_string().into_bytes();
            return sys::pidns_request(self.ns.as_fd(), sys::SET_LAST_PID_VEC, &mut text, 0)
                .map(|_| ())
                .map_err(|error| self.explain_set(last_pids, error));
        }
        let numbers = last_pids.as_slice();
        if let ([number], Some(helper)) = (numbers, self.kept.borrow_mut().as_mut()) {
            check(helper, 0, *number)?;
            return helper.write(Setting::LastPid, *number).map_err(Error::of_last_pid);
        }
        let reach = self.reach()?;
        if numbers.len() > reach.len() {
            let levels = reach.len();
            return Err(match reach[levels - 1].is_initial() {
                true => Error::TooManyLevels { numbers: numbers.len(), levels: Some(levels) },
                false => Error::NotPermitted { level: Some(levels) },
            });
        }

        let mut helpers = Vec::new();
        let mut spent = None;
        for level in 0..numbers.len() {
            let helper = Helper::enter(&reach[level..], self.may_spend, &ANY)
                .map_err(|error| error.at(level));
            let helper = match helper {
                Ok(helper) => helper,
                Err(error) => {
                    self.put_back(&reach, helpers, spent.as_deref())?;
                    return Err(error);
                }
            };
            let before = self.note_spent(&helper)?;
            if level == 0 {
                spent = before;
            }
            helpers.push(helper);
        }
        let mut before = Vec::new();
        for (level, (helper, number)) in helpers.iter_mut().zip(numbers).enumerate() {
            match check(helper, level, *number) {
                Ok(last_pid) => before.push(last_pid),
                Err(error) => {
                    self.put_back(&reach, helpers, spent.as_deref())?;
                    return Err(error);
                }
            }
        }
        match spent {
            // The levels further out get back what the helpers took.
            Some(spent) => {
                let further = spent.iter().skip(numbers.len());
                let all: Vec<_> = numbers.iter().chain(further).copied().collect();
                self.write_all(&reach, helpers, &all)
            }
            None => write_or_undo(&mut helpers, numbers, &before),
        }
    }

    /// Reads the `pid_max` of the namespace: pids in there are below it.
    ///
    /// `/proc/sys/kernel/pid_max` shows each reader that of its own namespace, so that this takes a
    /// helper. It moves no last pid.
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`] also where the pids of a helper cannot be chosen.
    pub fn pid_max(&self) -> Result<i32, Error> {
        let read = |helper: &mut Helper| {
            helper.read(Setting::PidMax).map_err(|error| Error::io(Step::PidMax, error))
        };
        if let Some(helper) = self.kept.borrow_mut().as_mut() {
            return read(helper);
        }
        read(&mut Helper::enter(&self.reach()?, false, &ANY)?)
    }

    /// Sets the `pid_max` of the namespace, by a helper. Before v6.14 there is one for all.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is out of range: 301 is the least.
    pub fn set_pid_max(&self, pid_max: i32) -> Result<(), Error> {
        let kept =
            self.kept.borrow_mut().as_mut().map(|helper| helper.write(Setting::PidMax, pid_max));
        let result = match kept {
            Some(result) => result,
            None => {
                let reach = self.reach()?;
                let mut helper = Helper::enter(&reach, self.may_spend, &ANY)?;
                let spent = self.note_spent(&helper)?;
                let result = helper.write(Setting::PidMax, pid_max);
                self.put_back(&reach, vec![helper], spent.as_deref())?;
                result
            }
        };
        result.map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Error::NotPermitted { level: None },
            _ => Error::io(Step::PidMax, error),
        })
    }

    /// The namespace and its ancestors up to the caller's own.
    fn reach(&self) -> Result<Vec<PidNamespace>, Error> {
        let list = || -> io::Result<Option<Vec<PidNamespace>>> {
            let own = PidNamespace::own()?.inode()?;
            let mut reach = Vec::new();
            for ns in self.ns.try_clone()?.chain()? {
                let found = ns.inode()? == own;
                reach.push(ns);
                if found {
                    return Ok(Some(reach));
                }
            }
            Ok(None)
        };
        list().map_err(|error| Error::io(Step::Enter, error))?.ok_or(Error::OutOfReach)
    }

    /// Counts what a helper took where its pids could not be chosen. If that is at all levels,
    /// returns the last pids before.
    fn note_spent(&self, helper: &Helper) -> Result<Option<Vec<i32>>, Error> {
        let (chosen, pids) = helper.spent().map_err(|error| Error::io(Step::Enter, error))?;
        self.spent.set(self.spent.get() + pids.len() + helper.messengers());
        let everywhere = chosen == 0 && !pids.is_empty();
        Ok(everywhere.then(|| pids.iter().map(|pid| pid - 1).collect()))
    }

    /// Puts back what helpers took, if they took pids at all levels.
    fn put_back(
        &self,
        reach: &[PidNamespace],
        helpers: Vec<Helper>,
        before: Option<&[i32]>,
    ) -> Result<(), Error> {
        before.map_or(Ok(()), |before| self.write_all(reach, helpers, before))
    }

    /// Writes a last pid at each level, from the innermost outwards, since each helper takes a pid
    /// further out. There are helpers at the first levels already. Where it is not permitted, what
    /// was taken stays spent.
    fn write_all(
        &self,
        reach: &[PidNamespace],
        helpers: Vec<Helper>,
        last_pids: &[i32],
    ) -> Result<(), Error> {
        let wanted = helpers.len();
        let mut helpers = helpers.into_iter();
        let mut taken = 0;
        for (level, last_pid) in last_pids.iter().enumerate().take(reach.len()) {
            let helper = match helpers.next() {
                Some(helper) => Ok(helper),
                None => Helper::enter(&reach[level..], self.may_spend, &ANY),
            };
            let result = helper.and_then(|mut helper| {
                if level >= wanted {
                    self.note_spent(&helper)?;
                }
                taken += usize::from(!matches!(helper, Helper::Caller));
                helper.write(Setting::LastPid, *last_pid).map_err(Error::of_last_pid)
            });
            match result {
                // All that helpers took at this level.
                Ok(()) => self.spent.set(self.spent.get().saturating_sub(taken)),
                Err(Error::NotPermitted { .. }) if level >= wanted => {}
                Err(error) => return Err(error.at(level)),
            }
        }
        Ok(())
    }

    fn get_by_ioctl(&self, levels: u32) -> Result<LastPids, Error> {
        let get = |text: &mut [u8]| {
            sys::pidns_request(self.ns.as_fd(), sys::GET_LAST_PID_VEC, text, levels)
        };
        let read = || -> io::Result<LastPids> {
            let mut text = vec![0; 512];
            let mut length = get(&mut text);
            while matches!(&length, Err(error) if error.raw_os_error() == Some(libc::ERANGE)) {
                text.resize(get(&mut [])?, 0);
                length = get(&mut text);
            }
            text.truncate(length?);
            let text = String::from_utf8(text).map_err(io::Error::other)?;
            text.parse().map_err(io::Error::other)
        };
        read().map_err(|error| match error.raw_os_error() {
            Some(libc::ENOTTY) => Error::NoIoctl,
            Some(libc::EPERM) => Error::NotPermitted { level: Some(0) },
            Some(libc::ESRCH) => Error::InitGone,
            _ => Error::io(Step::Ioctl, error),
        })
    }

    fn explain_set(&self, last_pids: &LastPids, error: io::Error) -> Error {
        let settable = || match self.get_by_ioctl(ALL_LEVELS) {
            Ok(levels) => Some(levels.as_slice().len()),
            Err(Error::NotPermitted { .. }) => Some(0),
            Err(_) => None,
        };
        match error.raw_os_error() {
            Some(libc::ENOTTY) => Error::NoIoctl,
            Some(libc::EPERM) => Error::NotPermitted { level: settable() },
            Some(libc::EINVAL) => {
                Error::TooManyLevels { numbers: last_pids.as_slice().len(), levels: settable() }
            }
            Some(libc::ERANGE) => self.above_pid_max(last_pids),
            Some(libc::EAGAIN) => Error::NoInit,
            Some(libc::ESRCH) => Error::InitGone,
            _ => Error::io(Step::Ioctl, error),
        }
    }

    /// Finds the number that the kernel refused.
    fn above_pid_max(&self, last_pids: &LastPids) -> Error {
        let reach = self.reach().unwrap_or_default();
        for (level, number) in last_pids.as_slice().iter().enumerate().take(reach.len()) {
            let pid_max = Helper::enter(&reach[level..], false, &ANY)
                .and_then(|mut helper| helper.read(Setting::PidMax).map_err(Error::of_last_pid));
            match pid_max {
                Ok(pid_max) if *number > pid_max => {
                    let (level, number, pid_max) = (Some(level), Some(*number), Some(pid_max));
                    return Error::AbovePidMax { level, number, pid_max };
                }
                Ok(_) => {}
                // It can be this level.
                Err(_) => break,
            }
        }
        Error::AbovePidMax { level: None, number: None, pid_max: None }
    }
}

fn vector(last_pids: Vec<i32>) -> Result<LastPids, Error> {
    LastPids::new(last_pids).map_err(|error| Error::io(Step::LastPid, io::Error::other(error)))
}

/// Sees whether a helper could set this last pid, and returns what it is now.
fn check(helper: &mut Helper, level: usize, number: i32) -> Result<i32, Error> {
    let pid_max = helper.read(Setting::PidMax).map_err(|error| Error::io(Step::PidMax, error))?;
    if number > pid_max {
        return Err(Error::AbovePidMax {
            level: Some(level),
            number: Some(number),
            pid_max: Some(pid_max),
        });
    }
    helper.read(Setting::LastPid).map_err(Error::of_last_pid)
}

fn write_or_undo(helpers: &mut [Helper], numbers: &[i32], before: &[i32]) -> Result<(), Error> {
    for level in 0..helpers.len() {
        if let Err(error) = helpers[level].write(Setting::LastPid, numbers[level]) {
            for (helper, last_pid) in helpers[..level].iter_mut().zip(before) {
                let _ = helper.write(Setting::LastPid, *last_pid);
            }
            return Err(Error::of_last_pid(error).at(level));
        }
    }
    Ok(())
}

/// Whether the caller may choose pids, and set the last pid, in its own namespace.
fn may_choose_pids() -> bool {
    // Pid 1 is taken, but EPERM comes first.
    // SAFETY: No child comes of it.
    let result = unsafe { sys::clone(0, libc::SIGCHLD, &[1]) };
    matches!(result, Err(error) if error.raw_os_error() == Some(libc::EEXIST))
}

fn has_ioctl(ns: BorrowedFd<'_>) -> bool {
    let result = sys::pidns_request(ns, sys::GET_LAST_PID_VEC, &mut [], 1);
    !matches!(result, Err(error) if error.raw_os_error() == Some(libc::ENOTTY))
}
