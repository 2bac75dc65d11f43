// SPDX-License-Identifier: GPL-2.0

//! `NS_SPECIFIC_IOC` on the file of a pid namespace.
//!
//! A task has one pid in its own pid namespace and one in each ancestor of it. Each namespace has a
//! cursor, from which fork takes the next pid. The requests here read the cursors of a namespace
//! and its ancestors in one step, or set all of them or none. Tools use them to checkpoint and
//! restore containers. `Documentation/userspace-api/pidns_ioctl.rst` describes the interface.
//!
//! C keeps the mechanism: `kernel/pid.c` has the cursors and the lock that guards them. This file
//! has the policy: it decodes a request, finds the levels that it names, and decides whether the
//! caller may make it. It allocates nothing: the longest vector is small enough for the stack.

use kernel::{
    bindings,
    capability::Capability,
    error::from_result,
    ioctl::_IOC_SIZE,
    num::casts::{
        self,
        FromSafeCast, //
    },
    pid_namespace::PidNamespace,
    prelude::*,
    transmute,
    uaccess::UserSlice,
    uapi,
    user_namespace::UserNamespace, //
};

mod pidns_last_pid_vec;
use pidns_last_pid_vec::{
    format,
    parse,
    Malformed,
    MAX_LEN,
    MAX_LEVELS,
    MAX_PID, //
};

static_assert!(MAX_LEVELS == casts::u32_as_usize(PidNamespace::MAX_LEVEL) + 1);
static_assert!(MAX_PID >= PidNamespace::PID_MAX_LIMIT);

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        EINVAL
    }
}

/// The argument of the ioctl.
#[repr(transparent)]
struct Argument(uapi::pidns_ioc_req);

// SAFETY: All fields are integers, so any bytes are valid, and there is no interior mutability.
unsafe impl transmute::FromBytes for Argument {}

/// What the caller asks for.
#[cfg_attr(CONFIG_PID_NS_IOCTL_KUNIT_TEST, derive(Debug, PartialEq, Eq))]
enum Request {
    /// Set the cursors from the vector in user memory.
    Set { data: u64, data_size: u32 },

    /// Write the vector of at most `levels` levels to user memory.
    Get {
        data: u64,
        data_size: u32,
        levels: u32,
    },
}

impl TryFrom<Argument> for Request {
    type Error = Error;

    fn try_from(Argument(arg): Argument) -> Result<Self> {
        let uapi::pidns_ioc_req {
            req,
            flags,
            data,
            data_size,
            levels,
        } = arg;

        let request = match req {
            uapi::PIDNS_REQ_SET_LAST_PID_VEC => Self::Set { data, data_size },
            uapi::PIDNS_REQ_GET_LAST_PID_VEC => Self::Get {
                data,
                data_size,
                levels,
            },
            _ => return Err(ENOTTY),
        };

        let takes_levels = matches!(request, Self::Get { .. });
        if flags != 0 || takes_levels != (levels != 0) {
            return Err(EINVAL);
        }

        Ok(request)
    }
}

/// Returns `size` bytes of user memory at `addr`.
fn user_slice(addr: u64, size: usize) -> Result<UserSlice> {
    // A 32-bit kernel has no user memory above 4 GiB.
    let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
    Ok(UserSlice::new(UserPtr::from_addr(addr), size))
}

/// Whether the audit log records a refusal.
#[derive(Clone, Copy)]
enum Audit {
    Yes,
    No,
}

/// Decides which levels the caller may read and set.
struct Access<'a> {
    /// The level of the caller's own pid namespace, if that is the open one or an ancestor of it.
    own_level: Option<u32>,

    /// The last user namespace that granted a level at or below the caller's own. One user
    /// namespace often owns many levels, and is asked once.
    grants_restore: Option<&'a UserNamespace>,

    /// The last user namespace that granted a level above or beside the caller's own.
    grants_admin: Option<&'a UserNamespace>,
}

impl<'a> Access<'a> {
    /// Starts to decide about `open` and its ancestors.
    fn new(open: &'a PidNamespace) -> Self {
        Self {
            own_level: current!()
                .active_pid_ns()
                .filter(|own| open.is_within(own))
                .map(|own| own.level()),
            grants_restore: None,
            grants_admin: None,
        }
    }

    /// Returns whether the caller may read and set the cursor of `level`.
    fn granted(&mut self, level: &'a PidNamespace, audit: Audit) -> bool {
        let user_ns = level.user_ns();

        if self.own_level.is_some_and(|own| level.level() >= own) {
            // The rule of `ns_last_pid` and `clone3(set_tid)`.
            granted_or_ask(&mut self.grants_restore, user_ns, || match audit {
                Audit::Yes => user_ns.checkpoint_restore_capable(),
                Audit::No => user_ns.checkpoint_restore_capable_noaudit(),
            })
        } else {
            // `ns_last_pid` does not reach these levels. A container with `CAP_CHECKPOINT_RESTORE`
            // may restore its own tasks, but must not rewind the pids of its host.
            granted_or_ask(&mut self.grants_admin, user_ns, || match audit {
                Audit::Yes => user_ns.capable(Capability::SYS_ADMIN),
                Audit::No => user_ns.capable_noaudit(Capability::SYS_ADMIN),
            })
        }
    }
}

/// Returns whether `user_ns` grants a capability. Asks only if `last`, the last user namespace that
/// granted it, is another one.
fn granted_or_ask<'a>(
    last: &mut Option<&'a UserNamespace>,
    user_ns: &'a UserNamespace,
    ask: impl FnOnce() -> bool,
) -> bool {
    let granted = *last == Some(user_ns) || ask();
    if granted {
        *last = Some(user_ns);
    }
    granted
}

/// Sets the cursors of `open` and its ancestors from the vector in user memory.
fn set_last_pid_vec(open: &PidNamespace, data: u64, data_size: u32) -> Result<c_long> {
    // One more for a trailing NUL.
    let mut buf = [0; MAX_LEN + 1];
    let text = buf
        .get_mut(..usize::from_safe_cast(data_size))
        .ok_or(EINVAL)?;
    user_slice(data, text.len())?.reader().read_slice(text)?;

    let mut pids = [0; MAX_LEVELS];
    let pids = parse(text, &mut pids)?;
    let mut access = Access::new(open);
    let mut levels = open.ancestors();

    // Stop at the first level that is refused: the caller learns neither its `pid_max` nor how many
    // levels follow.
    for &pid in pids {
        let level = levels.next().ok_or(EINVAL)?;
        if !access.granted(level, Audit::Yes) {
            return Err(EPERM);
        }
        if pid > level.pid_max() {
            return Err(ERANGE);
        }
    }

    open.set_last_pids(pids)?;
    Ok(0)
}

/// Writes the cursors of `open` and its ancestors to user memory, and returns their length.
fn get_last_pid_vec(open: &PidNamespace, data: u64, data_size: u32, levels: u32) -> Result<c_long> {
    let mut access = Access::new(open);
    if !access.granted(open, Audit::Yes) {
        return Err(EPERM);
    }

    // An ancestor that the caller may not set ends the vector. GET does not fail then, and the
    // audit log records nothing.
    let readable = open
        .ancestors()
        .take(usize::from_safe_cast(levels))
        .take_while(|level| access.granted(level, Audit::No))
        .count();

    let mut pids = [0; MAX_LEVELS];
    // Cannot fail: there are at most `MAX_LEVELS` levels.
    let pids = pids.get_mut(..readable).ok_or(EINVAL)?;
    open.get_last_pids(pids)?;

    // A cursor can be above a `pid_max` that was lowered. SET would refuse it; `pid_max` itself has
    // the same next pid.
    for (pid, level) in pids.iter_mut().zip(open.ancestors()) {
        *pid = (*pid).min(level.pid_max());
    }

    let mut buf = [0; MAX_LEN];
    // Cannot fail: no `pid_max` is above `MAX_PID`.
    let text = format(pids, &mut buf).ok_or(EINVAL)?;

    if data_size != 0 {
        if text.len() > usize::from_safe_cast(data_size) {
            return Err(ERANGE);
        }
        user_slice(data, text.len())?.writer().write_slice(text)?;
    }
    // CAST: It is at most `MAX_LEN`.
    Ok(text.len() as c_long)
}

/// Answers `NS_SPECIFIC_IOC` on the file of a pid namespace.
///
/// The C initializer of `pidns_operations` names this function. It needs the symbol and a
/// declaration in a header. [`export`] provides the one and checks the function against the other.
///
/// # Safety
///
/// `ns` must be embedded in a `struct pid_namespace` that stays valid and referenced during the
/// call.
#[export]
pub unsafe extern "C" fn pidns_ioctl(
    ns: *mut bindings::ns_common,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: The safety requirements are the same, and `open` is not used after this call.
    let open = unsafe { PidNamespace::from_ns_common(ns) };
    // nsfs has compared the size with that of the first published struct.
    let arg = UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd));

    from_result(|| match arg.read_struct::<Argument>()?.try_into()? {
        Request::Set { data, data_size } => set_last_pid_vec(open, data, data_size),
        Request::Get {
            data,
            data_size,
            levels,
        } => get_last_pid_vec(open, data, data_size, levels),
    })
}

#[cfg(CONFIG_PID_NS_IOCTL_KUNIT_TEST)]
#[kunit_tests(pidns_ioctl_request)]
mod tests {
    use super::*;

    /// Decodes a struct with a `data` and a `data_size` that can be told apart.
    fn decode(req: u32, flags: u32, levels: u32) -> Result<Request> {
        Request::try_from(Argument(uapi::pidns_ioc_req {
            req,
            flags,
            data: 0x1122_3344_5566_7788,
            data_size: 264,
            levels,
        }))
    }

    #[test]
    fn set() {
        let set = Request::Set {
            data: 0x1122_3344_5566_7788,
            data_size: 264,
        };
        assert_eq!(decode(uapi::PIDNS_REQ_SET_LAST_PID_VEC, 0, 0), Ok(set));
    }

    #[test]
    fn get() {
        for levels in [1, 33, 34, u32::MAX] {
            let get = Request::Get {
                data: 0x1122_3344_5566_7788,
                data_size: 264,
                levels,
            };
            assert_eq!(decode(uapi::PIDNS_REQ_GET_LAST_PID_VEC, 0, levels), Ok(get));
        }
    }

    #[test]
    fn only_get_takes_levels() {
        for levels in [1, 33, u32::MAX] {
            let set = decode(uapi::PIDNS_REQ_SET_LAST_PID_VEC, 0, levels);
            assert_eq!(set, Err(EINVAL));
        }
        assert_eq!(decode(uapi::PIDNS_REQ_GET_LAST_PID_VEC, 0, 0), Err(EINVAL));
    }

    #[test]
    fn unknown_request() {
        for req in [0, 3, 0x101, u32::MAX] {
            assert_eq!(decode(req, 0, 0), Err(ENOTTY));
            assert_eq!(decode(req, 1, 1), Err(ENOTTY));
        }
    }

    #[test]
    fn flags() {
        for flags in [1, 1 << 31, u32::MAX] {
            assert_eq!(
                decode(uapi::PIDNS_REQ_SET_LAST_PID_VEC, flags, 0),
                Err(EINVAL)
            );
            assert_eq!(
                decode(uapi::PIDNS_REQ_GET_LAST_PID_VEC, flags, 1),
                Err(EINVAL)
            );
        }
    }
}
