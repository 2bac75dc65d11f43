// SPDX-License-Identifier: GPL-2.0

//! The kernel's parser of pid vectors, built for the host from the kernel's own file, and checks
//! that compare it with a second implementation, [`rules`].

#[path = "../../kernel-tree-overlay/kernel/pidns_last_pid_vec.rs"]
mod pidns_last_pid_vec;
pub mod rules;

// The kernel has the limits of the rules.
const _: () = assert!(
    pidns_last_pid_vec::MAX_LEVELS == rules::MAX_LEVELS
        && pidns_last_pid_vec::MAX_PID == rules::MAX_PID
        && pidns_last_pid_vec::MAX_LEN == rules::MAX_LEN
);

/// The numbers that the kernel reads from `text`, with [`rules::TOO_LARGE`] for each that no
/// `pid_max` allows.
pub fn kernel_parse(text: &[u8]) -> Option<Vec<i32>> {
    // Not a pid, so that an element that the parser skipped shows.
    let mut pids = [-1; pidns_last_pid_vec::MAX_LEVELS];
    let pids = pidns_last_pid_vec::parse(text, &mut pids).ok()?;
    Some(
        pids.iter()
            .map(|pid| (*pid).min(rules::TOO_LARGE))
            .collect(),
    )
}

/// The text that the kernel writes for `pids`. No element is negative.
pub fn kernel_format(pids: &[i32]) -> Option<Vec<u8>> {
    // Not zeroes, so that a byte that the kernel skipped shows.
    let mut buf = [0xff; pidns_last_pid_vec::MAX_LEN];
    pidns_last_pid_vec::format(pids, &mut buf).map(<[u8]>::to_vec)
}

/// Panics unless the kernel parses `text` as the rules do.
pub fn check_text(text: &[u8]) {
    let parsed = kernel_parse(text);
    assert_eq!(parsed, rules::parse(text), "{:?}", text.escape_ascii());

    // Each vector that the kernel can report has one spelling.
    if let Some(pids) = parsed.filter(|pids| rules::are_last_pids(pids)) {
        let without_nul = text.strip_suffix(b"\0").unwrap_or(text);
        assert_eq!(kernel_format(&pids).as_deref(), Some(without_nul));
    }
}

/// Panics unless the kernel formats `pids` as the rules do.
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
