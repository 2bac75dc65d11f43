// SPDX-License-Identifier: GPL-2.0

//! The kernel's parser of pid vectors, built for the host from the very file that the kernel
//! builds, and what it is compared with.

use std::mem::MaybeUninit;

#[path = "../../kernel-tree-overlay/kernel/pidns_last_pid_vec.rs"]
mod pidns_last_pid_vec;
pub mod rules;

/// What the kernel reads out of `text`.
pub fn kernel_parse(text: &[u8]) -> Option<Vec<i32>> {
    let mut pids = [MaybeUninit::uninit(); pidns_last_pid_vec::MAX_LEVELS];
    let pids = pidns_last_pid_vec::parse(text, &mut pids).ok()?;
    Some(pids.to_vec())
}

/// What the kernel writes for `pids`, which are not negative.
pub fn kernel_format(pids: &[i32]) -> Option<Vec<u8>> {
    // Not zeroes: what is not written must not look as if it was.
    let mut buf = [0xff; pidns_last_pid_vec::MAX_LEN];
    pidns_last_pid_vec::format(pids, &mut buf).map(<[u8]>::to_vec)
}

/// Panics unless the kernel does with `text` what the rules say.
pub fn check_text(text: &[u8]) {
    let parsed = kernel_parse(text);
    assert_eq!(parsed, rules::parse(text), "{:?}", text.escape_ascii());

    // There is one way to write a vector.
    if let Some(pids) = parsed {
        let without_nul = text.strip_suffix(b"\0").unwrap_or(text);
        assert_eq!(kernel_format(&pids).as_deref(), Some(without_nul));
    }
}

/// Panics unless the kernel does with `pids` what the rules say.
pub fn check_pids(pids: &[i32]) {
    let text = rules::format(pids);
    let formatted = kernel_format(pids);
    assert_eq!(
        formatted.as_deref(),
        (text.len() <= rules::MAX_LEN).then_some(text.as_bytes())
    );

    if rules::are_last_pids(pids) {
        assert_eq!(
            formatted.and_then(|text| kernel_parse(&text)).as_deref(),
            Some(pids)
        );
    }
}
