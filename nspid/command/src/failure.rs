// SPDX-License-Identifier: GPL-2.0-only

//! What went wrong, for people and, as exit status, for scripts.

use std::{fmt, io, process::ExitCode};

use pidns::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Other = 1,
    NoIoctl = 3,
    NotPermitted = 4,
    Taken = 5,
}

/// The exit status of `verify` for a tree that differs from the dump.
pub const DIFFERENT: u8 = 6;

impl Kind {
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::Other,
        }
    }
}

#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    text: String,
}

impl Failure {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub fn other(text: impl Into<String>) -> Self {
        Self::new(Kind::Other, text)
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::NoIoctl => Kind::NoIoctl,
            Error::NotPermitted { .. } => Kind::NotPermitted,
            Error::AbovePidMax { .. } => Kind::Taken,
            Error::Io { error, .. } => Kind::of(error),
            _ => Kind::Other,
        };
        let advice = match &error {
            Error::NoIoctl => "; --how helper does without it",
            _ => "",
        };
        Self::new(kind, format!("{error}{advice}"))
    }
}

/// Turns an error into a failure that says what it is about.
pub trait OrFail<T> {
    fn or_fail(self, about: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> OrFail<T> for Result<T, E> {
    fn or_fail(self, about: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| {
            let error = error.into();
            Failure::new(Kind::of(&error), format!("{}: {error}", about()))
        })
    }
}
