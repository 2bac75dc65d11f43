// SPDX-License-Identifier: GPL-2.0

//! User namespaces.
//!
//! C headers: [`include/linux/user_namespace.h`](srctree/include/linux/user_namespace.h) and
//! [`include/linux/capability.h`](srctree/include/linux/capability.h)

use crate::{
    bindings,
    ffi::c_int,
    types::Opaque, //
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

/// Wraps the kernel's `struct user_namespace`.
///
/// A user namespace is what a capability is held in. The namespaces of other types refer to the
/// user namespace that owns them.
#[repr(transparent)]
pub struct UserNamespace {
    inner: Opaque<bindings::user_namespace>,
}

impl UserNamespace {
    /// Returns a raw pointer to the inner C struct.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::user_namespace {
        self.inner.get()
    }

    /// Creates a reference to a [`UserNamespace`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// The caller must ensure that `ptr` is valid and remains valid for the lifetime of the
    /// returned [`UserNamespace`] reference.
    #[inline]
    pub unsafe fn from_ptr<'a>(ptr: *const bindings::user_namespace) -> &'a Self {
        // SAFETY: The safety requirements guarantee the validity of the dereference, while the
        // `UserNamespace` type being transparent makes the cast ok.
        unsafe { &*ptr.cast() }
    }

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

    /// The same as [`capable`](Self::capable), but never audited.
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

    /// The same as [`checkpoint_restore_capable`](Self::checkpoint_restore_capable), but never
    /// audited.
    #[doc(alias = "checkpoint_restore_ns_capable_noaudit")]
    #[inline]
    pub fn checkpoint_restore_capable_noaudit(&self) -> bool {
        // SAFETY: `self.as_ptr()` is valid as `self` is a reference.
        unsafe { bindings::checkpoint_restore_ns_capable_noaudit(self.as_ptr()) }
    }
}
