// SPDX-License-Identifier: GPL-2.0-only

//! What needs neither root nor a kernel with the ioctl.

#![allow(clippy::unwrap_used)]

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

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

const COMMANDS: [&str; 11] = [
    "show",
    "tree",
    "get",
    "set",
    "reserve",
    "check",
    "run",
    "dump",
    "restore",
    "verify",
    "criu-action",
];

#[test]
fn man_pages() {
    let page = text(&nspid(&["man"]).stdout);
    for command in COMMANDS {
        let listed = format!("nspid\\-{}(1)", command.replace('-', "\\-"));
        assert!(page.contains(&listed), "{command}");
        let page = text(&nspid(&["man", command]).stdout);
        for heading in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "FILES", "\"SEE ALSO\""] {
            assert!(page.contains(&format!(".SH {heading}\n")), "{command}: {heading}: {page}");
        }
    }
    for heading in ["\"EXIT STATUS\"", "EXAMPLES", "FILES", "\"SEE ALSO\""] {
        assert!(page.contains(&format!(".SH {heading}\n")), "{heading}: {page}");
    }
    assert!(page.contains("CONFIG_PID_NS_IOCTL"));
    assert_eq!(nspid(&["man", "nothing"]).status.code(), Some(1));
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
        &["show", "-t", "1", "--ns", "/proc/1/ns/pid"],
        &["show", "-t", "0"],
        &["get", "--levels", "0"],
        &["set"],
        &["set", "-t", "1", "01:2"],
        &["set", "-t", "1", ""],
        &["check"],
        &["reserve", "0"],
        &["run", "-t", "1", "--pids", "5"],
    ] {
        assert_eq!(nspid(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = nspid(&["set", "-t", "1", "1:+2"]);
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

#[test]
fn a_dump_of_another_format_is_refused_by_name() {
    let mut restore = Command::new(env!("CARGO_BIN_EXE_nspid"))
        .args(["restore", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    restore.stdin.take().unwrap().write_all(b"{\"format\":3,\"new\":1}").unwrap();
    let output = restore.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("stdin: format 3 is not known"), "{output:?}");
}
