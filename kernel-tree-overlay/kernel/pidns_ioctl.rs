// SPDX-License-Identifier: GPL-2.0

//! `NS_SPECIFIC_IOC` on the file of a pid namespace.
//!
//! A task has a pid in its own pid namespace and one in each ancestor of that. The pids that the
//! next fork gets come from one cursor per namespace. The requests here read the cursors of a
//! namespace and its ancestors in one step, or set them, all or none, for those who checkpoint and
//! restore nested pid namespaces. `Documentation/userspace-api/pidns_ioctl.rst` has the interface.
//!
//! C keeps the mechanism: the cursors and the lock that guards them are in `kernel/pid.c`. Here is
//! the policy: what a request is, which levels it names, and who may make it. Nothing is allocated:
//! the longest vector is small enough for the stack.

use core::{
    mem::{
        offset_of,
        MaybeUninit, //
    },
    ptr, //
};

use kernel::{
    bindings,
    error::from_result,
    ioctl::_IOC_SIZE,
    pid_namespace::PidNamespace,
    prelude::*,
    uaccess::UserSlice,
    uapi,
    user_namespace::{
        Capability,
        UserNamespace, //
    }, //
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

static_assert!(MAX_LEVELS == PidNamespace::MAX_LEVEL as usize + 1);
static_assert!(MAX_PID >= PidNamespace::PID_MAX_LIMIT);

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        EINVAL
    }
}

/// `struct pidns_ioc_req` as first published.
#[derive(FromBytes)]
#[repr(C)]
struct RawRequest {
    req: u32,
    flags: u32,
    data: u64,
    data_size: u32,
    levels: u32,
}

static_assert!(size_of::<RawRequest>() == uapi::PIDNS_IOC_REQ_SIZE_VER0 as usize);
static_assert!(offset_of!(RawRequest, req) == offset_of!(uapi::pidns_ioc_req, req));
static_assert!(offset_of!(RawRequest, flags) == offset_of!(uapi::pidns_ioc_req, flags));
static_assert!(offset_of!(RawRequest, data) == offset_of!(uapi::pidns_ioc_req, data));
static_assert!(offset_of!(RawRequest, data_size) == offset_of!(uapi::pidns_ioc_req, data_size));
static_assert!(offset_of!(RawRequest, levels) == offset_of!(uapi::pidns_ioc_req, levels));

/// What is asked.
#[cfg_attr(CONFIG_PID_NS_IOCTL_KUNIT_TEST, derive(Debug, PartialEq, Eq))]
enum Request {
    /// Set the cursors from the vector in user memory.
    Set { data: u64, data_size: u32 },

    /// Write the vector of at most `levels` levels to user memory, where 0 stands for all.
    Get {
        data: u64,
        data_size: u32,
        levels: u32,
    },
}

impl Request {
    /// Decodes the fields that were first published. Newer ones follow them in user memory if the
    /// caller knows such.
    fn decode(known: RawRequest, rest_is_zeroed: impl FnOnce() -> Result<bool>) -> Result<Self> {
        let RawRequest {
            req,
            flags,
            data,
            data_size,
            levels,
        } = known;

        // An unknown request comes first: it tells a newer program more than its new fields do.
        let request = match req {
            uapi::PIDNS_REQ_SET_LAST_PID_VEC => Self::Set { data, data_size },
            uapi::PIDNS_REQ_GET_LAST_PID_VEC => Self::Get {
                data,
                data_size,
                levels,
            },
            _ => return Err(ENOTTY),
        };

        if !rest_is_zeroed()? {
            return Err(E2BIG);
        }

        if flags != 0 || (matches!(request, Self::Set { .. }) && levels != 0) {
            return Err(EINVAL);
        }

        Ok(request)
    }
}

/// Returns `size` bytes of user memory at `addr`.
fn user_slice(addr: u64, size: usize) -> Result<UserSlice> {
    // Where pointers have 32 bits there is no memory above.
    let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
    Ok(UserSlice::new(UserPtr::from_addr(addr), size))
}

/// Whether a refusal is to be audited.
#[derive(Clone, Copy)]
enum Audit {
    Yes,
    No,
}

/// Decides which levels the caller may read and set.
struct Access<'a> {
    /// The level of the caller's own pid namespace. If that is neither the open one nor an ancestor
    /// of it, no level is deep enough.
    own_level: u32,

    /// A user namespace that has been asked and grants what lies at or below the caller's own pid
    /// namespace. Mostly one owns many levels.
    grants_restore: Option<&'a UserNamespace>,

    /// The same for what lies above or beside it.
    grants_admin: Option<&'a UserNamespace>,
}

impl<'a> Access<'a> {
    /// Starts to decide about `open` and its ancestors.
    fn new(open: &'a PidNamespace) -> Self {
        Self {
            own_level: current!()
                .active_pid_ns()
                .filter(|own| open.is_within(own))
                .map_or(u32::MAX, |own| own.level()),
            grants_restore: None,
            grants_admin: None,
        }
    }

    /// Returns whether the caller may read and set the cursor of `level`.
    fn granted(&mut self, level: &'a PidNamespace, audit: Audit) -> bool {
        let user_ns = level.user_ns();

        if level.level() >= self.own_level {
            // What `ns_last_pid` and `clone3(set_tid)` ask for.
            once(&mut self.grants_restore, user_ns, || match audit {
                Audit::Yes => user_ns.checkpoint_restore_capable(),
                Audit::No => user_ns.checkpoint_restore_capable_noaudit(),
            })
        } else {
            // Where those do not reach. A container that may restore what is in it must not for
            // that reason rewind the pids of its host.
            once(&mut self.grants_admin, user_ns, || match audit {
                Audit::Yes => user_ns.capable(Capability::SYS_ADMIN),
                Audit::No => user_ns.capable_noaudit(Capability::SYS_ADMIN),
            })
        }
    }
}

/// Asks whether `user_ns` grants something, unless `grants` is it.
fn once<'a>(
    grants: &mut Option<&'a UserNamespace>,
    user_ns: &'a UserNamespace,
    ask: impl FnOnce() -> bool,
) -> bool {
    let granted = grants.is_some_and(|grants| ptr::eq(grants, user_ns)) || ask();
    if granted {
        *grants = Some(user_ns);
    }
    granted
}

/// Sets the cursors of `open` and its ancestors from the vector in user memory.
fn set_last_pid_vec(open: &PidNamespace, data: u64, data_size: u32) -> Result<c_long> {
    // One more for a trailing NUL.
    let mut buf = [MaybeUninit::uninit(); MAX_LEN + 1];
    let buf = buf.get_mut(..data_size as usize).ok_or(EINVAL)?;
    if buf.is_empty() {
        return Err(EINVAL);
    }
    let text = user_slice(data, buf.len())?.reader().read_uninit(buf)?;

    let mut pids = [MaybeUninit::uninit(); MAX_LEVELS];
    let pids = parse(text, &mut pids)?;
    let mut access = Access::new(open);
    let mut levels = open.ancestors();

    // The first level that is refused ends it: no limit is told, nor what lies beyond.
    for &pid in pids {
        let level = levels.next().ok_or(EINVAL)?;
        if !access.granted(level, Audit::Yes) {
            return Err(EPERM);
        }
        if pid > level.pid_max() {
            return Err(EINVAL);
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

    // An ancestor that is out of reach ends the vector. It is not an error, and not audited.
    let levels = if levels == 0 { u32::MAX } else { levels };
    let readable = open
        .ancestors()
        .take(levels as usize)
        .take_while(|level| access.granted(level, Audit::No))
        .count();

    let mut pids = [0; MAX_LEVELS];
    let pids = pids.get_mut(..readable).ok_or(EINVAL)?;
    open.get_last_pids(pids)?;

    // A cursor can be above a `pid_max` that was lowered, where it would not be taken back. For the
    // next pid it makes no difference.
    for (pid, level) in pids.iter_mut().zip(open.ancestors()) {
        *pid = (*pid).min(level.pid_max());
    }

    let mut buf = [0; MAX_LEN];
    let text = format(pids, &mut buf).ok_or(EINVAL)?;

    if data_size != 0 {
        if text.len() > data_size as usize {
            return Err(ERANGE);
        }
        user_slice(data, text.len())?.writer().write_slice(text)?;
    }
    Ok(text.len() as c_long)
}

/// Answers `NS_SPECIFIC_IOC` on the file of a pid namespace.
///
/// It is named in `pidns_operations`, a vtable, for which [`export`] is not meant. But that vtable
/// is a constant of C code, which needs a name to refer to and a declaration to check it against.
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
    // nsfs has seen to it that this is not shorter than `RawRequest`.
    let mut reader = UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd)).reader();

    from_result(|| {
        // Aligned as the struct is, so that the fields are not put together from bytes.
        let known: [u64; size_of::<RawRequest>() / size_of::<u64>()] = reader.read()?;

        match Request::decode(zerocopy::transmute!(known), || reader.is_zeroed())? {
            Request::Set { data, data_size } => set_last_pid_vec(open, data, data_size),
            Request::Get {
                data,
                data_size,
                levels,
            } => get_last_pid_vec(open, data, data_size, levels),
        }
    })
}

#[cfg(CONFIG_PID_NS_IOCTL_KUNIT_TEST)]
#[kunit_tests(pidns_ioctl_request)]
mod tests {
    use super::*;

    /// A struct with a `data` and a `data_size` that can be told apart.
    fn raw(req: u32, flags: u32, levels: u32) -> RawRequest {
        RawRequest {
            req,
            flags,
            data: 0x1122_3344_5566_7788,
            data_size: 264,
            levels,
        }
    }

    fn raw_set() -> RawRequest {
        raw(uapi::PIDNS_REQ_SET_LAST_PID_VEC, 0, 0)
    }

    fn raw_get(levels: u32) -> RawRequest {
        raw(uapi::PIDNS_REQ_GET_LAST_PID_VEC, 0, levels)
    }

    /// Decodes a struct followed by `tail`.
    fn decode(known: RawRequest, tail: &[u8]) -> Result<Request> {
        Request::decode(known, || Ok(tail.iter().all(|byte| *byte == 0)))
    }

    const SET: Request = Request::Set {
        data: 0x1122_3344_5566_7788,
        data_size: 264,
    };

    const GET_3: Request = Request::Get {
        data: 0x1122_3344_5566_7788,
        data_size: 264,
        levels: 3,
    };

    #[test]
    fn exact() {
        assert_eq!(decode(raw_set(), &[]), Ok(SET));
        assert_eq!(decode(raw_get(3), &[]), Ok(GET_3));
    }

    #[test]
    fn longer_with_zero_tail() {
        assert_eq!(decode(raw_set(), &[0]), Ok(SET));
        assert_eq!(decode(raw_get(3), &[0; 100]), Ok(GET_3));
    }

    #[test]
    fn longer_with_non_zero_tail() {
        assert_eq!(decode(raw_set(), &[1]), Err(E2BIG));
        assert_eq!(decode(raw_get(3), &[0, 0, 0x80]), Err(E2BIG));
    }

    #[test]
    fn longer_with_unreadable_tail() {
        assert_eq!(Request::decode(raw_set(), || Err(EFAULT)), Err(EFAULT));
    }

    #[test]
    fn unknown_request() {
        for req in [0, 3, 0x101, u32::MAX] {
            assert_eq!(decode(raw(req, 0, 0), &[]), Err(ENOTTY));
        }
    }

    #[test]
    fn unknown_request_before_its_new_fields() {
        assert_eq!(decode(raw(3, 1, 1), &[1]), Err(ENOTTY));
        assert_eq!(Request::decode(raw(3, 1, 1), || Err(EFAULT)), Err(ENOTTY));
    }

    #[test]
    fn flags() {
        for flags in [1, 1 << 31, u32::MAX] {
            for req in [
                uapi::PIDNS_REQ_SET_LAST_PID_VEC,
                uapi::PIDNS_REQ_GET_LAST_PID_VEC,
            ] {
                assert_eq!(decode(raw(req, flags, 0), &[]), Err(EINVAL));
            }
        }
    }

    #[test]
    fn non_zero_tail_before_flags() {
        let known = raw(uapi::PIDNS_REQ_SET_LAST_PID_VEC, 1, 1);
        assert_eq!(decode(known, &[1]), Err(E2BIG));
    }

    #[test]
    fn levels_only_to_get() {
        let known = raw(uapi::PIDNS_REQ_SET_LAST_PID_VEC, 0, 1);
        assert_eq!(decode(known, &[]), Err(EINVAL));

        for levels in [0, 1, 33, 34, u32::MAX] {
            let get = Request::Get {
                data: 0x1122_3344_5566_7788,
                data_size: 264,
                levels,
            };
            assert_eq!(decode(raw_get(levels), &[]), Ok(get));
        }
    }
}
