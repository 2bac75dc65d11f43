// SPDX-License-Identifier: GPL-2.0

//! The rules of `Documentation/userspace-api/pidns_ioctl.rst`, written as simply as possible.
//!
//! This code shares nothing with the kernel's parser. It allocates, and parses each number by
//! formatting it again.

/// Nested pid namespaces at most, and the initial one.
pub const MAX_LEVELS: usize = 33;

/// The largest `pid_max` of any kernel.
pub const MAX_PID: i32 = 4_194_304;

/// Bytes of the longest vector: 33 numbers of 7 digits and 32 colons.
pub const MAX_LEN: usize = 263;

/// Reads a vector.
pub fn parse(text: &[u8]) -> Option<Vec<i32>> {
    let text = std::str::from_utf8(text).ok()?;
    // One NUL at the end is allowed.
    let text = text.strip_suffix('\0').unwrap_or(text);
    // Numbers are joined by single colons.
    let pids: Vec<i32> = text.split(':').map(number).collect::<Option<_>>()?;
    are_last_pids(&pids).then_some(pids)
}

/// Reads a number. Only its canonical form passes: no sign, no blank, no leading zero.
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
