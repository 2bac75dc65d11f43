// SPDX-License-Identifier: GPL-2.0

//! The rules of `Documentation/userspace-api/pidns_ioctl.rst`, written as simply as possible.
//!
//! This code shares nothing with the kernel's parser, and it allocates.

/// Nested pid namespaces at most, and the initial one.
pub const MAX_LEVELS: usize = 33;

/// The largest `pid_max` of any kernel.
pub const MAX_PID: i32 = 4_194_304;

/// Stands for any larger number. The ioctl refuses them all alike.
pub const TOO_LARGE: i32 = MAX_PID + 1;

/// Bytes of the longest vector: 33 numbers of 7 digits and 32 colons.
pub const MAX_LEN: usize = 263;

/// Reads a vector.
pub fn parse(text: &[u8]) -> Option<Vec<i32>> {
    let text = std::str::from_utf8(text).ok()?;
    // One NUL at the end is allowed.
    let text = text.strip_suffix('\0').unwrap_or(text);
    // Numbers are joined by single colons.
    let pids: Vec<i32> = text.split(':').map(number).collect::<Option<_>>()?;
    (pids.len() <= MAX_LEVELS).then_some(pids)
}

/// Reads a number: no sign, no blank, no leading zero.
fn number(text: &str) -> Option<i32> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && digits).then(|| {
        text.parse()
            .map_or(TOO_LARGE, |pid: i32| pid.min(TOO_LARGE))
    })
}

/// Whether the kernel can report these numbers.
pub fn are_last_pids(pids: &[i32]) -> bool {
    (1..=MAX_LEVELS).contains(&pids.len()) && pids.iter().all(|pid| (0..=MAX_PID).contains(pid))
}

/// Writes a vector.
pub fn format(pids: &[i32]) -> String {
    let numbers: Vec<String> = pids.iter().map(i32::to_string).collect();
    numbers.join(":")
}
