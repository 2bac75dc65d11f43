// SPDX-License-Identifier: GPL-2.0-only

//! Signals: who handles them, and when.

use std::{mem, ptr};

/// Those that ask for an end.
const ENDING: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Ends the process when it writes to a closed pipe, as in `nspid tree | head`. Rust ignores the
/// signal, and would print a message instead.
pub fn end_on_closed_pipe() {
    // SAFETY: It installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Leaves to others what a terminal sends to all.
pub fn ignore_terminal() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: It installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Makes signals that ask for an end wait for [`is_end_wanted`].
pub fn block() {
    mask(libc::SIG_BLOCK);
}

/// Undoes [`block`].
pub fn unblock() {
    mask(libc::SIG_UNBLOCK);
}

fn mask(how: libc::c_int) {
    // SAFETY: An all-zero set is valid, and `sigemptyset` makes it an empty one.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is valid for all of these calls.
    unsafe {
        libc::sigemptyset(&mut set);
        for signal in ENDING {
            libc::sigaddset(&mut set, signal);
        }
        libc::sigprocmask(how, &set, ptr::null_mut());
    }
}

/// Whether a signal has come since [`block`].
pub fn is_end_wanted() -> bool {
    // SAFETY: An all-zero set is valid.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is valid for both calls.
    ENDING.iter().any(|signal| unsafe {
        libc::sigpending(&mut set) == 0 && libc::sigismember(&set, *signal) == 1
    })
}
