// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{fmt, io};

use crate::vector::MAX_LEVELS;

/// Why last pids could not be read or set.
///
/// ```
/// use pidns::{Cursors, Error, How, LastPids, PidNamespace, MAX_LEVELS};
///
/// let cursors = Cursors::open(PidNamespace::own()?, How::Auto)?;
/// // One number more than there are levels.
/// match cursors.set(&LastPids::new(vec![300; MAX_LEVELS])?) {
///     Err(Error::TooManyLevels { numbers, .. }) => println!("{numbers} are too many"),
///     Err(Error::NotPermitted { level }) => println!("not permitted at {level:?}"),
///     Err(Error::AbovePidMax { level, number, pid_max }) => {
///         println!("level {level:?}: {number:?} is above {pid_max:?}");
///     }
///     other => other?,
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The kernel lacks the ioctl, and [`How::Ioctl`](crate::How::Ioctl) was asked for.
    NoIoctl,
    /// The caller may not set the last pid of a level.
    NotPermitted {
        /// Which, if that is known; 0 is the innermost.
        level: Option<usize>,
    },
    /// A number is above the `pid_max` of its level.
    AbovePidMax {
        /// Which, if that is known; 0 is the innermost.
        level: Option<usize>,
        /// The number.
        number: Option<i32>,
        /// The limit.
        pid_max: Option<i32>,
    },
    /// The vector has more numbers than there are levels.
    TooManyLevels {
        /// How many numbers it has.
        numbers: usize,
        /// How many levels there are, if that is known.
        levels: Option<usize>,
    },
    /// The namespace has no init yet.
    NoInit,
    /// The init of the namespace, or of an ancestor, is gone: no process can start there any more.
    InitGone,
    /// A helper can enter neither the namespace nor an ancestor that the vector has a number for:
    /// it is neither the caller's own nor below that.
    OutOfReach,
    /// Less than one level was asked for.
    NoLevel,
    /// Something else.
    Io {
        /// What was being done.
        step: Step,
        /// What the kernel said.
        error: io::Error,
    },
}

/// What was being done when an [`Error`] came up.
///
/// ```
/// use pidns::{Error, Step};
///
/// fn is_of_procfs(error: &Error) -> bool {
///     matches!(error, Error::Io { step: Step::LastPid | Step::PidMax, .. })
/// }
/// # assert!(!is_of_procfs(&Error::NoInit));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Calling the ioctl.
    Ioctl,
    /// Making a helper process in the namespace.
    Enter,
    /// Reading or writing `/proc/sys/kernel/ns_last_pid` in there.
    LastPid,
    /// Reading or writing `/proc/sys/kernel/pid_max` in there.
    PidMax,
}

impl Error {
    pub(crate) fn io(step: Step, error: io::Error) -> Self {
        Self::Io { step, error }
    }

    pub(crate) fn of_last_pid(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { level: None },
            _ => Self::io(Step::LastPid, error),
        }
    }

    /// The same with the level, where it has one and does not say it.
    pub(crate) fn at(self, level: usize) -> Self {
        match self {
            Self::NotPermitted { level: None } => Self::NotPermitted { level: Some(level) },
            error => error,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIoctl => {
                f.write_str("the kernel lacks the ioctl for last pids (CONFIG_PID_NS_IOCTL)")
            }
            Self::NotPermitted { level } => {
                f.write_str("not permitted")?;
                if let Some(level) = level {
                    write!(f, " at level {level}")?;
                }
                f.write_str(
                    ": each level needs, in the user namespace that owns it, \
                     CAP_CHECKPOINT_RESTORE at or below your own pid namespace and CAP_SYS_ADMIN \
                     elsewhere or for a helper",
                )
            }
            Self::AbovePidMax { level: Some(level), number: Some(number), pid_max } => {
                write!(f, "level {level}: {number} is above pid_max of that namespace")?;
                match pid_max {
                    Some(pid_max) => write!(f, ", {pid_max}"),
                    None => Ok(()),
                }
            }
            Self::AbovePidMax { .. } => {
                f.write_str("a number is above the pid_max of its level, which cannot be read here")
            }
            Self::TooManyLevels { numbers, levels: Some(1) } => {
                write!(f, "{numbers} numbers, but there is only one level")
            }
            Self::TooManyLevels { numbers, levels: Some(levels) } => {
                write!(f, "{numbers} numbers, but there are only {levels} levels")
            }
            Self::TooManyLevels { numbers, levels: None } => {
                write!(f, "{numbers} numbers, but there are fewer levels")
            }
            Self::NoInit => f.write_str("the namespace has no init yet"),
            Self::InitGone => f.write_str(
                "the init of the namespace, or of an ancestor, is gone: no process can start there",
            ),
            Self::OutOfReach => f.write_str(
                "a helper can only enter your own pid namespace and those below it, and a level is \
                 neither",
            ),
            Self::NoLevel => write!(f, "at least one level has to be asked for, at most {MAX_LEVELS}"),
            Self::Io { step, error } => {
                let what = match step {
                    Step::Ioctl => "the ioctl for last pids",
                    Step::Enter => "a helper in the namespace",
                    Step::LastPid => "/proc/sys/kernel/ns_last_pid in the namespace",
                    Step::PidMax => "/proc/sys/kernel/pid_max in the namespace",
                };
                write!(f, "{what}: {error}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
