// SPDX-License-Identifier: GPL-2.0-only

//! What nspid prints: results to stdout, all else to stderr.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use serde::Serialize;

use crate::failure::{Failure, OrFail};

static QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves out all notes from now on.
pub fn be_quiet() {
    QUIET.store(true, Relaxed);
}

pub fn is_quiet() -> bool {
    QUIET.load(Relaxed)
}

/// Prints something that is neither a result nor an error.
pub fn note(text: &str) {
    if !is_quiet() {
        eprintln!("nspid: {text}");
    }
}

/// Prints a result, which ends with a newline.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).or_fail(|| "stdout".to_owned())
}

pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from);
    print(&(text.or_fail(|| "JSON".to_owned())? + "\n"))
}
