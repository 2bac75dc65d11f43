// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{fmt, str::FromStr};

/// The most levels that a vector can have: 32 nested namespaces and the initial one.
pub const MAX_LEVELS: usize = 33;

/// The largest number in a vector, the largest `pid_max` there is.
pub const MAX_PID: i32 = 4 * 1024 * 1024;

/// Last pids, or other pids, from the inside outwards: `3:22:111`.
///
/// From 1 to [`MAX_LEVELS`] numbers, each from 0 to [`MAX_PID`]. There is one way to write a
/// vector: decimal, joined by single `:`, without sign, blank or leading zero.
///
/// ```
/// use pidns::{LastPids, ParseVectorError};
///
/// let last_pids: LastPids = "3:22:111".parse()?;
/// assert_eq!(last_pids.as_slice(), [3, 22, 111]);
/// let error = "3:+22".parse::<LastPids>().unwrap_err();
/// assert_eq!(error, ParseVectorError::Number("+22".to_owned()));
/// # Ok::<(), ParseVectorError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LastPids(Vec<i32>);

impl LastPids {
    /// Makes a vector of `pids`, the innermost first.
    ///
    /// # Errors
    ///
    /// If there are too few or too many, or one of them is out of range.
    pub fn new(pids: Vec<i32>) -> Result<Self, ParseVectorError> {
        if pids.is_empty() || pids.len() > MAX_LEVELS {
            return Err(ParseVectorError::Levels(pids.len()));
        }
        match pids.iter().find(|pid| !(0..=MAX_PID).contains(*pid)) {
            Some(pid) => Err(ParseVectorError::Number(pid.to_string())),
            None => Ok(Self(pids)),
        }
    }

    /// The last pids, the innermost first.
    pub fn as_slice(&self) -> &[i32] {
        &self.0
    }
}

impl fmt::Display for LastPids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (level, pid) in self.0.iter().enumerate() {
            let separator = if level > 0 { ":" } else { "" };
            write!(f, "{separator}{pid}")?;
        }
        Ok(())
    }
}

impl FromStr for LastPids {
    type Err = ParseVectorError;

    fn from_str(text: &str) -> Result<Self, ParseVectorError> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let canonical = digits && (text == "0" || !text.starts_with('0'));
            text.parse()
                .ok()
                .filter(|_| canonical)
                .ok_or_else(|| ParseVectorError::Number(text.to_owned()))
        };
        Self::new(text.split(':').map(number).collect::<Result<_, _>>()?)
    }
}

/// A vector that the kernel would not take.
///
/// ```
/// use pidns::{LastPids, ParseVectorError};
///
/// assert_eq!(LastPids::new(Vec::new()), Err(ParseVectorError::Levels(0)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseVectorError {
    /// So many levels.
    Levels(usize),
    /// This is not a pid.
    Number(String),
}

impl fmt::Display for ParseVectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Levels(levels) => {
                write!(f, "a vector has 1 to {MAX_LEVELS} levels, not {levels}")
            }
            Self::Number(text) => write!(
                f,
                "\"{text}\" is not a pid: a vector has numbers from 0 to {MAX_PID} without leading \
                 zero, joined by \":\", as in 3:22:111"
            ),
        }
    }
}

impl std::error::Error for ParseVectorError {}

/// The pid that a fork gets in a namespace with this last pid, where `pid_max` is the limit.
///
/// Pids below 300 are given out only until the limit has been reached once. Returns `None` if all
/// are taken.
///
/// ```
/// assert_eq!(pidns::next_pid(4, 32768, |pid| pid == 5), Some(6));
/// assert_eq!(pidns::next_pid(32767, 32768, |_| false), Some(300));
/// ```
pub fn next_pid(last_pid: i32, pid_max: i32, taken: impl Fn(i32) -> bool) -> Option<i32> {
    const RESERVED_PIDS: i32 = 300;

    let lowest = if last_pid + 1 > RESERVED_PIDS { RESERVED_PIDS } else { 1 };
    (last_pid + 1..pid_max).chain(lowest..=last_pid.min(pid_max - 1)).find(|pid| !taken(*pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_way_to_write_it() {
        for text in ["3:22:111", "0", "4194304:1", "1:1:1"] {
            assert_eq!(text.parse::<LastPids>().unwrap().to_string(), text);
        }
        for text in [
            "",
            ":",
            "1:",
            ":1",
            "1::2",
            "01",
            "00",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1,2",
            "4194305",
            "5x:+7",
            "99999999999",
            "1\n",
            "1\0",
        ] {
            assert!(text.parse::<LastPids>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn as_many_levels_as_the_kernel_has() {
        assert!(vec!["1"; 33].join(":").parse::<LastPids>().is_ok());
        let error = vec!["1"; 34].join(":").parse::<LastPids>().unwrap_err();
        assert_eq!(error.to_string(), "a vector has 1 to 33 levels, not 34");
    }

    #[test]
    fn next_pid_is_the_next_free_one() {
        assert_eq!(next_pid(3, 100, |_| false), Some(4));
        assert_eq!(next_pid(3, 100, |pid| pid < 10), Some(10));
        // Below 300 the start is 1, above it 300.
        assert_eq!(next_pid(99, 100, |pid| pid == 1), Some(2));
        assert_eq!(next_pid(999, 1000, |pid| pid == 300), Some(301));
        // Beyond a limit that was lowered.
        assert_eq!(next_pid(5000, 1000, |_| false), Some(300));
        assert_eq!(next_pid(5, 10, |_| true), None);
    }

    proptest! {
        #[test]
        fn round_trip(pids in prop::collection::vec(0..=MAX_PID, 1..=MAX_LEVELS)) {
            let vector = LastPids::new(pids).unwrap();
            prop_assert_eq!(vector.to_string().parse::<LastPids>().unwrap(), vector);
        }

        #[test]
        fn what_is_taken_is_what_is_written(text in "[0-9:+ x]{0,20}") {
            if let Ok(vector) = text.parse::<LastPids>() {
                prop_assert_eq!(vector.to_string(), text);
            }
        }
    }
}
