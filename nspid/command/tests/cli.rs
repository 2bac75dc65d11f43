// SPDX-License-Identifier: GPL-2.0

//! What needs neither root nor a kernel with the ioctl.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::process::{Command, Output};

fn nspid(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nspid")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_has_exit_status_and_examples() {
    let output = nspid(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("Exit status:"));
    assert!(text(&output.stdout).contains("Examples:"));
}

#[test]
fn man_page_has_all_commands() {
    let page = text(&nspid(&["man"]).stdout);
    for heading in ["SHOW", "TREE", "GET", "SET", "RUN", "DUMP", "RESTORE", "VERIFY"] {
        assert!(page.contains(&format!(".SH {heading}\n")), "{heading}");
    }
    assert!(page.contains("CONFIG_PID_NS_IOCTL"));
}

#[test]
fn completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = nspid(&["completions", shell]);
        assert!(text(&output.stdout).contains("nspid"), "{shell}");
    }
}

#[test]
fn wrong_usage() {
    for arguments in [
        &[][..],
        &["show"],
        &["show", "1", "--ns", "/proc/1/ns/pid"],
        &["set", "1:2"],
        &["set", "--pid", "1", "01:2"],
        &["set", "--pid", "1", ""],
        &["run", "--pid", "1", "--pids", "5"],
    ] {
        assert_eq!(nspid(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = nspid(&["set", "--pid", "1", "1:+2"]);
    assert!(text(&output.stderr).contains("\"+2\" is not a pid"), "{output:?}");
}

#[test]
fn something_else_than_a_namespace() {
    for file in ["/dev/null", "/proc/self/ns/uts", "/nowhere"] {
        let output = nspid(&["get", "--ns", file]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains(file), "{output:?}");
    }
}

#[test]
fn something_else_than_a_dump() {
    for json in [
        "",
        "{}",
        "[1]",
        r#"{"format":1,"kernel":"","outer":false,"namespaces":[],"tasks":[],"x":1}"#,
    ] {
        let path = std::env::temp_dir().join(format!("nspid-test-{}.json", std::process::id()));
        std::fs::write(&path, json).unwrap();
        let output = nspid(&["restore", path.to_str().unwrap()]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(output.status.code(), Some(1), "{json}: {output:?}");
    }
}
