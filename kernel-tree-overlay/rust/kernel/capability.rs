// SPDX-License-Identifier: GPL-2.0

//! Capabilities.
//!
//! C header: [`include/linux/capability.h`](srctree/include/linux/capability.h)

use crate::{
    bindings,
    ffi::c_int,
    user_namespace::UserNamespace, //
};

/// A capability, as in [`capabilities(7)`].
///
/// # Invariants
///
/// The value is one that `cap_valid()` accepts.
///
/// [`capabilities(7)`]: https://man7.org/linux/man-pages/man7/capabilities.7.html
#[derive(Clone, Copy)]
pub struct Capability(c_int);

impl Capability {
    /// System administration, `CAP_SYS_ADMIN`.
    // INVARIANT: `CAP_SYS_ADMIN` is not above `CAP_LAST_CAP`.
    pub const SYS_ADMIN: Self = Self(bindings::CAP_SYS_ADMIN as c_int);
}

/// Capabilities of the current task in a user namespace.
///
/// # Examples
///
/// ```
/// use kernel::{
///     capability::Capability,
///     user_namespace::UserNamespace, //
/// };
///
/// // A kernel thread has all capabilities.
/// let initial = UserNamespace::initial();
/// assert!(initial.capable(Capability::SYS_ADMIN));
/// assert!(initial.capable_noaudit(Capability::SYS_ADMIN));
/// assert!(initial.checkpoint_restore_capable_noaudit());
/// ```
impl UserNamespace {
    /// Returns whether the current task has the capability `cap` in this user namespace.
    ///
    /// The answer may be audited. If it is yes, the task is marked as having used a privilege.
    #[doc(alias = "ns_capable")]
    #[inline]
    pub fn capable(&self, cap: Capability) -> bool {
        // SAFETY: `self.as_ptr()` is valid as `self` is a reference, and `cap` is a capability by
        // its type invariant.
        unsafe { bindings::ns_capable(self.as_ptr(), cap.0) }
    }

    /// The same as [`capable`](Self::capable), but the answer is never audited.
    #[doc(alias = "ns_capable_noaudit")]
    #[inline]
    pub fn capable_noaudit(&self, cap: Capability) -> bool {
        // SAFETY: `self.as_ptr()` is valid as `self` is a reference, and `cap` is a capability by
        // its type invariant.
        unsafe { bindings::ns_capable_noaudit(self.as_ptr(), cap.0) }
    }

    /// Returns whether the current task may checkpoint and restore what this user namespace owns:
    /// whether it has `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN` in it.
    ///
    /// The answer may be audited. If it is yes, the task is marked as having used a privilege.
    #[doc(alias = "checkpoint_restore_ns_capable")]
    #[inline]
    pub fn checkpoint_restore_capable(&self) -> bool {
        // SAFETY: `self.as_ptr()` is valid as `self` is a reference.
        unsafe { bindings::checkpoint_restore_ns_capable(self.as_ptr()) }
    }

    /// The same as [`checkpoint_restore_capable`](Self::checkpoint_restore_capable), but the answer
    /// is never audited.
    #[doc(alias = "checkpoint_restore_ns_capable_noaudit")]
    #[inline]
    pub fn checkpoint_restore_capable_noaudit(&self) -> bool {
        // SAFETY: `self.as_ptr()` is valid as `self` is a reference.
        unsafe { bindings::checkpoint_restore_ns_capable_noaudit(self.as_ptr()) }
    }
}
