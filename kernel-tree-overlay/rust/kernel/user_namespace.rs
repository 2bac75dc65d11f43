// SPDX-License-Identifier: GPL-2.0

//! User namespaces.
//!
//! C header: [`include/linux/user_namespace.h`](srctree/include/linux/user_namespace.h)

use crate::{
    bindings,
    sync::aref::AlwaysRefCounted,
    types::Opaque, //
};
use core::ptr;

/// Wraps the kernel's `struct user_namespace`.
///
/// A task holds its capabilities in a user namespace. A user namespace owns each namespace of
/// another type.
///
/// # Invariants
///
/// Instances of this type are always ref-counted, that is, a call to `get_user_ns` ensures that the
/// allocation remains valid at least until the matching call to `put_user_ns`.
///
/// # Examples
///
/// ```
/// use kernel::{
///     sync::aref::ARef,
///     user_namespace::UserNamespace, //
/// };
///
/// // Take a reference.
/// let initial: ARef<UserNamespace> = UserNamespace::initial().into();
///
/// assert!(*initial == *UserNamespace::initial());
/// ```
#[repr(transparent)]
pub struct UserNamespace {
    inner: Opaque<bindings::user_namespace>,
}

// SAFETY:
// - `UserNamespace::dec_ref` can be called from any thread.
// - It is okay to send ownership of `UserNamespace` across thread boundaries.
unsafe impl Send for UserNamespace {}

// SAFETY: It's OK to access `UserNamespace` through shared references from other threads because
// we're either accessing properties that don't change or that are properly synchronised by C code.
unsafe impl Sync for UserNamespace {}

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
    /// The caller must ensure that `ptr` is valid, remains valid, and has a non-zero reference
    /// count for the lifetime of the returned [`UserNamespace`] reference.
    #[inline]
    pub unsafe fn from_ptr<'a>(ptr: *const bindings::user_namespace) -> &'a Self {
        // SAFETY: The safety requirements guarantee the validity of the dereference, while the
        // `UserNamespace` type being transparent makes the cast ok.
        unsafe { &*ptr.cast() }
    }

    /// Returns the initial user namespace, the ancestor of all others.
    #[doc(alias = "init_user_ns")]
    #[inline]
    pub fn initial() -> &'static Self {
        // SAFETY: `init_user_ns` is a static with a reference that is never dropped.
        unsafe { Self::from_ptr(&raw const bindings::init_user_ns) }
    }
}

impl PartialEq for UserNamespace {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }
}

impl Eq for UserNamespace {}

// SAFETY: The type invariants guarantee that `UserNamespace` is always ref-counted.
unsafe impl AlwaysRefCounted for UserNamespace {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The existence of a shared reference means that the refcount is nonzero.
        unsafe { bindings::get_user_ns(self.as_ptr()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: ptr::NonNull<UserNamespace>) {
        // SAFETY: The safety requirements guarantee that the refcount is nonzero. The cast is okay
        // because `UserNamespace` has the same representation as `struct user_namespace`.
        unsafe { bindings::put_user_ns(obj.cast().as_ptr()) };
    }
}
