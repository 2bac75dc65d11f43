// SPDX-License-Identifier: GPL-2.0

//! The rules of `Documentation/userspace-api/pidns_ioctl.rst`, read as simply as can be.
//!
//! This knows nothing of how the kernel does it. It allocates, and does things twice.

/// "1 to 33 decimal numbers".
pub const MAX_LEVELS: usize = 33;

/// The largest `pid_max` that there is.
pub const MAX_PID: i32 = 4_194_304;

/// "The longest vector has 263 bytes".
pub const MAX_LEN: usize = 263;

/// Reads a vector.
pub fn parse(text: &[u8]) -> Option<Vec<i32>> {
    let text = std::str::from_utf8(text).ok()?;
    // "One NUL at the end is allowed".
    let text = text.strip_suffix('\0').unwrap_or(text);
    // "Joined by single `:`".
    let pids: Vec<i32> = text.split(':').map(number).collect::<Option<_>>()?;
    are_last_pids(&pids).then_some(pids)
}

/// "No sign, no blank, no leading zero, nothing before, between or behind": a number is only what
/// it is itself written as.
fn number(text: &str) -> Option<i32> {
    let number: i32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Whether a vector can have these numbers.
pub fn are_last_pids(pids: &[i32]) -> bool {
    (1..=MAX_LEVELS).contains(&pids.len()) && pids.iter().all(|pid| (0..=MAX_PID).contains(pid))
}

/// Writes a vector.
pub fn format(pids: &[i32]) -> String {
    let numbers: Vec<String> = pids.iter().map(i32::to_string).collect();
    numbers.join(":")
}
