// SPDX-License-Identifier: GPL-2.0

//! `NS_SPECIFIC_IOC` on the file of a pid namespace.
//!
//! A task has a pid in its own pid namespace and one in each ancestor of that. The pids that the
//! next fork gets come from one cursor per namespace. The requests here read the cursors of a
//! namespace and its ancestors in one step, or set them, all or none, for those who checkpoint and
//! restore nested pid namespaces. `Documentation/userspace-api/pidns_ioctl.rst` has the interface.
//!
//! C keeps the mechanism: the cursors and the lock that guards them are in `kernel/pid.c`. Here is
//! the policy: what is a request, which levels it names, and who may ask for it. Nothing here
//! allocates, the longest vector is small enough for the stack.

use core::{
    mem::offset_of,
    ptr, //
};

use kernel::{
    bindings,
    current,
    error::from_result,
    ioctl::_IOC_SIZE,
    pid_namespace::PidNamespace,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader, //
    },
    uapi,
    user_namespace::{
        Capability,
        UserNamespace, //
    }, //
};

mod pidns_last_pid_vec;
use pidns_last_pid_vec::{
    LastPidVec,
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

type RawBytes = [u8; size_of::<RawRequest>()];

static_assert!(size_of::<RawRequest>() == uapi::PIDNS_IOC_REQ_SIZE_VER0 as usize);
static_assert!(offset_of!(RawRequest, req) == offset_of!(uapi::pidns_ioc_req, req));
static_assert!(offset_of!(RawRequest, flags) == offset_of!(uapi::pidns_ioc_req, flags));
static_assert!(offset_of!(RawRequest, data) == offset_of!(uapi::pidns_ioc_req, data));
static_assert!(offset_of!(RawRequest, data_size) == offset_of!(uapi::pidns_ioc_req, data_size));
static_assert!(offset_of!(RawRequest, levels) == offset_of!(uapi::pidns_ioc_req, levels));

/// Where a request is read from: user memory, or the memory of a test.
trait Source {
    /// The size of the caller's struct in bytes.
    fn size(&self) -> usize;

    /// Reads the fields of the first published struct.
    fn read_known(&mut self) -> Result<RawBytes>;

    /// Returns whether all that follows these fields is zero.
    fn rest_is_zeroed(self) -> Result<bool>;
}

impl Source for UserSliceReader {
    fn size(&self) -> usize {
        self.len()
    }

    fn read_known(&mut self) -> Result<RawBytes> {
        self.read()
    }

    fn rest_is_zeroed(self) -> Result<bool> {
        self.is_zeroed()
    }
}

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
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
    fn read_from(mut source: impl Source) -> Result<Self> {
        if source.size() < size_of::<RawRequest>() {
            return Err(ENOTTY);
        }

        let RawRequest {
            req,
            flags,
            data,
            data_size,
            levels,
        } = zerocopy::transmute!(source.read_known()?);

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

        if !source.rest_is_zeroed()? {
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

/// What the caller must be capable of in the user namespace that owns a level.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// At or below its own pid namespace, what `ns_last_pid` and `clone3(set_tid)` ask for.
    CheckpointRestore,

    /// Above or beside its own pid namespace. A container that may restore what is in it must not
    /// for that reason rewind the pids of its host.
    SysAdmin,
}

/// Decides which levels the caller may read and set.
struct Access<'a> {
    /// The level of the caller's pid namespace, if that is the open one or an ancestor of it.
    own_level: Option<u32>,

    /// What was granted last. Mostly one user namespace owns many levels: it is asked once.
    granted: Option<(Rule, &'a UserNamespace)>,
}

impl<'a> Access<'a> {
    /// Starts to decide about `open` and its ancestors.
    fn new(open: &'a PidNamespace) -> Self {
        Self {
            own_level: current!()
                .active_pid_ns()
                .filter(|own| open.is_within(own))
                .map(|own| own.level()),
            granted: None,
        }
    }

    /// Returns whether the caller may read and set the cursor of `level`.
    fn granted(&mut self, level: &'a PidNamespace, audit: Audit) -> bool {
        let rule = match self.own_level {
            Some(own_level) if own_level <= level.level() => Rule::CheckpointRestore,
            _ => Rule::SysAdmin,
        };
        let user_ns = level.user_ns();

        if let Some((granted_rule, granted_in)) = self.granted {
            if granted_rule == rule && ptr::eq(granted_in, user_ns) {
                return true;
            }
        }

        let granted = match (rule, audit) {
            (Rule::CheckpointRestore, Audit::Yes) => user_ns.checkpoint_restore_capable(),
            (Rule::CheckpointRestore, Audit::No) => user_ns.checkpoint_restore_capable_noaudit(),
            (Rule::SysAdmin, Audit::Yes) => user_ns.capable(Capability::SYS_ADMIN),
            (Rule::SysAdmin, Audit::No) => user_ns.capable_noaudit(Capability::SYS_ADMIN),
        };
        if granted {
            self.granted = Some((rule, user_ns));
        }
        granted
    }
}

/// Sets the cursors of `open` and its ancestors from the vector in user memory.
fn set_last_pid_vec(open: &PidNamespace, data: u64, data_size: u32) -> Result<c_long> {
    // One more for a trailing NUL.
    let mut buf = [0; MAX_LEN + 1];
    let text = buf.get_mut(..data_size as usize).ok_or(EINVAL)?;
    if text.is_empty() {
        return Err(EINVAL);
    }
    user_slice(data, text.len())?.reader().read_slice(text)?;

    let vec = LastPidVec::parse(text)?;
    let mut access = Access::new(open);
    let mut levels = open.ancestors();

    // Without the capability nothing is learned: neither a limit nor whether there is a level.
    for &pid in vec.as_slice() {
        let level = levels.next().ok_or(EINVAL)?;
        if !access.granted(level, Audit::Yes) {
            return Err(EPERM);
        }
        if pid > level.pid_max() {
            return Err(EINVAL);
        }
    }

    open.set_last_pids(vec.as_slice())?;
    Ok(0)
}

/// Writes the cursors of `open` and its ancestors to user memory, and returns their length.
fn get_last_pid_vec(open: &PidNamespace, data: u64, data_size: u32, levels: u32) -> Result<c_long> {
    let mut access = Access::new(open);
    if !access.granted(open, Audit::Yes) {
        return Err(EPERM);
    }

    // That an ancestor is out of reach is no offence: the vector just ends before it.
    let levels = if levels == 0 { u32::MAX } else { levels };
    let readable = open
        .ancestors()
        .take(levels as usize)
        .take_while(|level| access.granted(level, Audit::No))
        .count();

    let mut vec = LastPidVec::zeroed(readable);
    open.get_last_pids(vec.as_mut_slice())?;

    // A cursor can be above a `pid_max` that was lowered, where it would not be taken back. For the
    // next pid it makes no difference.
    for (pid, level) in vec.as_mut_slice().iter_mut().zip(open.ancestors()) {
        *pid = (*pid).min(level.pid_max());
    }

    let mut buf = [0; MAX_LEN];
    let text = vec.format(&mut buf).ok_or(EINVAL)?;

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
/// `ns` must be embedded in a `struct pid_namespace` that stays valid during the call.
#[export]
pub unsafe extern "C" fn pidns_ioctl(
    ns: *mut bindings::ns_common,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: The safety requirements are the same.
    let open = unsafe { PidNamespace::from_ns_common(ns) };
    let reader = UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd)).reader();

    from_result(|| match Request::read_from(reader)? {
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

    const VER0: usize = size_of::<RawRequest>();

    /// A struct in user memory, which ends `readable` bytes from its start.
    struct Memory {
        bytes: [u8; 2 * VER0],
        size: usize,
        readable: usize,
    }

    impl Source for &Memory {
        fn size(&self) -> usize {
            self.size
        }

        fn read_known(&mut self) -> Result<RawBytes> {
            if self.readable < VER0 {
                return Err(EFAULT);
            }
            self.bytes.first_chunk().copied().ok_or(EFAULT)
        }

        fn rest_is_zeroed(self) -> Result<bool> {
            if self.readable < self.size {
                return Err(EFAULT);
            }
            Ok(self.bytes[VER0..self.size].iter().all(|byte| *byte == 0))
        }
    }

    impl Memory {
        /// A struct of `size` bytes with these fields, all of it readable.
        fn new(size: usize, req: u32, flags: u32, levels: u32) -> Self {
            let mut bytes = [0; 2 * VER0];
            bytes[0..4].copy_from_slice(&req.to_ne_bytes());
            bytes[4..8].copy_from_slice(&flags.to_ne_bytes());
            bytes[8..16].copy_from_slice(&0x1122_3344_5566_7788_u64.to_ne_bytes());
            bytes[16..20].copy_from_slice(&264_u32.to_ne_bytes());
            bytes[20..24].copy_from_slice(&levels.to_ne_bytes());
            Self {
                bytes,
                size,
                readable: size,
            }
        }

        fn set(size: usize) -> Self {
            Self::new(size, uapi::PIDNS_REQ_SET_LAST_PID_VEC, 0, 0)
        }

        fn get(size: usize, levels: u32) -> Self {
            Self::new(size, uapi::PIDNS_REQ_GET_LAST_PID_VEC, 0, levels)
        }

        fn request(&self) -> Result<Request> {
            Request::read_from(self)
        }
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
    fn short() {
        assert_eq!(Memory::set(0).request(), Err(ENOTTY));
        assert_eq!(Memory::set(VER0 - 1).request(), Err(ENOTTY));
        assert_eq!(Memory::get(VER0 - 1, 3).request(), Err(ENOTTY));
    }

    #[test]
    fn exact() {
        assert_eq!(Memory::set(VER0).request(), Ok(SET));
        assert_eq!(Memory::get(VER0, 3).request(), Ok(GET_3));
    }

    #[test]
    fn longer_with_zero_tail() {
        assert_eq!(Memory::set(VER0 + 1).request(), Ok(SET));
        assert_eq!(Memory::get(2 * VER0, 3).request(), Ok(GET_3));
    }

    #[test]
    fn longer_with_non_zero_tail() {
        for at in VER0..2 * VER0 {
            let mut memory = Memory::get(2 * VER0, 3);
            memory.bytes[at] = 1;
            assert_eq!(memory.request(), Err(E2BIG));

            // What stands behind the struct is not looked at.
            memory.size = at;
            assert_eq!(memory.request(), Ok(GET_3));
        }
    }

    #[test]
    fn not_readable() {
        for readable in [0, VER0 - 1, VER0, 2 * VER0 - 1] {
            let mut memory = Memory::set(2 * VER0);
            memory.readable = readable;
            assert_eq!(memory.request(), Err(EFAULT));
        }
    }

    #[test]
    fn unknown_request() {
        for req in [0, 3, 0x101, u32::MAX] {
            assert_eq!(Memory::new(VER0, req, 0, 0).request(), Err(ENOTTY));
        }
    }

    #[test]
    fn unknown_request_before_its_new_fields() {
        let mut memory = Memory::new(2 * VER0, 3, 1, 1);
        memory.bytes[VER0] = 1;
        assert_eq!(memory.request(), Err(ENOTTY));
    }

    #[test]
    fn flags() {
        for flags in [1, 1 << 31, u32::MAX] {
            for req in [
                uapi::PIDNS_REQ_SET_LAST_PID_VEC,
                uapi::PIDNS_REQ_GET_LAST_PID_VEC,
            ] {
                assert_eq!(Memory::new(VER0, req, flags, 0).request(), Err(EINVAL));
            }
        }
    }

    #[test]
    fn non_zero_tail_before_flags() {
        let mut memory = Memory::new(2 * VER0, uapi::PIDNS_REQ_SET_LAST_PID_VEC, 1, 1);
        memory.bytes[VER0] = 1;
        assert_eq!(memory.request(), Err(E2BIG));
    }

    #[test]
    fn levels_only_to_get() {
        let set = Memory::new(VER0, uapi::PIDNS_REQ_SET_LAST_PID_VEC, 0, 1);
        assert_eq!(set.request(), Err(EINVAL));

        for levels in [0, 1, 33, 34, u32::MAX] {
            let get = Request::Get {
                data: 0x1122_3344_5566_7788,
                data_size: 264,
                levels,
            };
            assert_eq!(Memory::get(VER0, levels).request(), Ok(get));
        }
    }
}
