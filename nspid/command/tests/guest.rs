// SPDX-License-Identifier: GPL-2.0

//! Every command against live namespaces. This needs root, a kernel with the ioctl, and a machine
//! that may be lost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

const NSPID: &str = env!("CARGO_BIN_EXE_nspid");

fn nspid(arguments: &[&str]) -> Output {
    Command::new(NSPID).args(arguments).output().unwrap()
}

/// The same without privilege.
fn unprivileged(arguments: &[&str]) -> Output {
    let drop = ["--reuid=65534", "--regid=65534", "--clear-groups", "--", NSPID];
    Command::new("setpriv").args(drop).args(arguments).output().unwrap()
}

/// The same on a kernel that does not know `NS_SPECIFIC_IOC`.
fn without_ioctl(arguments: &[&str]) -> Output {
    let mut command = Command::new(NSPID);
    // SAFETY: Only system calls, none of which touches what a lock guards.
    unsafe { command.args(arguments).pre_exec(forget_the_ioctl) };
    command.output().unwrap()
}

fn forget_the_ioctl() -> std::io::Result<()> {
    let load = |offset| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
    let skip_unless = |value, jf| libc::sock_filter { code: 0x15, jt: 0, jf, k: value };
    let answer = |value| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: value };
    let mut filter = [
        load(0), // number of the system call
        skip_unless(libc::SYS_ioctl as u32, 3),
        load(24), // second argument
        skip_unless(0xc018_b70e, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::ENOTTY as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: `program` is valid for the call.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
    };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs nspid, which must succeed, and returns what it prints.
fn ok(arguments: &[&str]) -> String {
    let output = nspid(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    stdout(&output)
}

#[track_caller]
fn fails(output: &Output, code: i32, text: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(stderr(output).contains(text), "{output:?}");
}

/// A container made by standard tools; it ends with this value.
struct Container {
    unshare: Child,
    /// Its init, as it is called here.
    init: i32,
}

impl Container {
    /// Runs `script` as the init of a new pid namespace until it has said "ready".
    fn new(script: &str) -> Self {
        let mut unshare = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(unshare.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let init = child_of(unshare.id() as i32);
        Self { unshare, init }
    }

    fn pid(&self) -> String {
        self.init.to_string()
    }

    fn ns(&self) -> String {
        format!("/proc/{}/ns/pid", self.init)
    }

    fn end(&mut self) {
        self.unshare.kill().unwrap();
        self.unshare.wait().unwrap();
        gone(self.init);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// Its only child.
fn child_of(pid: i32) -> i32 {
    let output = Command::new("pgrep").args(["-P", &pid.to_string()]).output().unwrap();
    stdout(&output).trim().parse().unwrap()
}

/// Waits until a process is gone.
fn gone(pid: i32) {
    // SAFETY: Plain system calls.
    unsafe {
        let pidfd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as libc::c_int;
        if pidfd >= 0 {
            let mut poll = libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 };
            assert_eq!(libc::poll(&mut poll, 1, 60_000), 1);
            libc::close(pidfd);
        }
    }
}

/// A tree that was restored; it ends with this value.
struct Restored(String);

impl Restored {
    fn new(arguments: &[&str]) -> Self {
        Self(ok(arguments).trim().to_owned())
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        // All that are there, as the first need not be the init of a namespace.
        let tree = ok(&["tree", &self.0]);
        let vectors = tree.lines().filter_map(|line| line.split("─ ").nth(1)?.split(' ').next());
        let pids = vectors.filter_map(|vector| vector.rsplit(':').next()?.parse::<i32>().ok());
        for pid in pids.collect::<Vec<_>>() {
            // SAFETY: A plain system call.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            gone(pid);
        }
    }
}

/// A file with this text, in a place of its own.
fn file(text: &str) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let path = std::env::temp_dir().join(format!("nspid-{}-{number}", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

/// How many processes there are of those that tests make. Kernel threads come and go.
fn processes() -> usize {
    let ours = ["-x", "sh|sleep|unshare|nspid|touch"];
    stdout(&Command::new("pgrep").args(ours).output().unwrap()).lines().count()
}

/// Two levels with gaps between the pids, and after the last.
const NESTED: &str = "sleep inf & /bin/true; /bin/true; sleep inf & \
    unshare --pid --fork --mount-proc sh -c 'sleep inf & /bin/true; sleep inf & /bin/true; echo ready; wait' & \
    wait";

#[test]
fn show() {
    let container = Container::new("sleep inf & echo ready; wait");
    ok(&["set", "--pid", &container.pid(), "41"]);
    let table = ok(&["show", &container.pid()]);
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    // namespace, id, owner, pid, last pid, pid_max, tasks, below
    assert_eq!(&row[2..], ["0", "1", "41", "4194304", "2", "0"]);
    assert_eq!(table.lines().count(), 3);

    let by_file = ok(&["show", "--ns", &container.ns()]);
    assert_eq!(by_file.lines().nth(1).unwrap().split_whitespace().nth(3), Some("-"));

    let json: serde_json::Value =
        serde_json::from_str(&ok(&["show", "--json", &container.pid()])).unwrap();
    assert_eq!(json["levels"][0]["last_pid"], 41);
    assert_eq!(json["levels"][0]["pid"], 1);
    assert_eq!(json["levels"][1]["pid"], container.init);
    assert_eq!(json["notes"], serde_json::json!([]));
}

#[test]
fn show_tells_the_pid_max_of_another_namespace_and_moves_nothing() {
    let container = Container::new("echo 5000 >/proc/sys/kernel/pid_max; echo ready; sleep inf");
    let before = ok(&["get", "--levels", "1", "--pid", &container.pid()]);
    let json: serde_json::Value =
        serde_json::from_str(&ok(&["show", "--json", &container.pid()])).unwrap();
    assert_eq!(json["levels"][0]["pid_max"], 5000);
    assert_eq!(ok(&["get", "--levels", "1", "--pid", &container.pid()]), before);
}

#[test]
fn show_without_privilege_or_ioctl_says_what_is_missing() {
    let container = Container::new("echo ready; sleep inf");
    fails(&unprivileged(&["show", &container.pid()]), 4, "Permission denied");

    let own = unprivileged(&["show", "--ns", "/proc/self/ns/pid"]);
    assert!(stdout(&own).contains("-  last pid: you may not see it"), "{own:?}");
    assert!(stdout(&own).contains("that you may not look at"), "{own:?}");

    let old = without_ioctl(&["show", &container.pid()]);
    assert!(old.status.success());
    assert!(stdout(&old).contains("-  last pid: this kernel cannot tell it"), "{old:?}");
    let row = stdout(&old).lines().nth(1).unwrap().split_whitespace().nth(4).map(str::to_owned);
    assert_eq!(row.as_deref(), Some("-"));
}

#[test]
fn show_inside_sees_its_own_levels_only() {
    let container = Container::new("echo ready; sleep inf");
    let inside = Command::new("nsenter")
        .args(["--target", &container.pid(), "--pid", "--mount", NSPID, "show", "1"])
        .output()
        .unwrap();
    assert!(inside.status.success(), "{inside:?}");
    assert_eq!(stdout(&inside).lines().count(), 2, "{inside:?}");
}

#[test]
fn tree() {
    let container = Container::new(NESTED);
    let all = ok(&["tree"]);
    let below = ok(&["tree", &container.pid()]);
    assert!(all.contains(&format!("─ 1:{}  sh", container.init)), "{all}");
    assert!(below.contains(&format!("─ 1:{}  sh", container.init)), "{below}");
    assert!(below.lines().any(|line| line.contains("   ├─ 1:")), "{below}");
    assert!(without_ioctl(&["tree", &container.pid()]).status.success());
    fails(&nspid(&["tree", "4000000"]), 1, "process 4000000");
}

#[test]
fn get_and_set() {
    let container = Container::new(NESTED);
    ok(&["set", "--pid", &container.pid(), "300"]);
    assert_eq!(ok(&["get", "--levels", "1", "--ns", &container.ns()]), "300\n");
    ok(&["set", "--ns", &container.ns(), "0"]);
    assert_eq!(ok(&["get", "--levels", "1", "--pid", &container.pid()]), "0\n");
}

#[test]
fn set_that_cannot_be() {
    let mut container = Container::new("echo ready; sleep inf");
    let pid = container.pid();
    ok(&["set", "--pid", &pid, "77"]);
    fails(&nspid(&["set", "--pid", &pid, "1:1:1"]), 1, "more levels than there are");
    fails(&nspid(&["set", "--pid", &pid, "1:4000000"]), 1, "above the pid_max");
    fails(&nspid(&["set", "--pid", &pid, "007"]), 2, "without leading");
    fails(&without_ioctl(&["set", "--pid", &pid, "5"]), 3, "ns_last_pid");
    let mine = ["set", "--ns", "/proc/self/ns/pid", "5"];
    fails(&unprivileged(&mine), 4, "CAP_CHECKPOINT_RESTORE");
    assert_eq!(ok(&["get", "--levels", "1", "--pid", &pid]), "77\n");

    let open = fs::File::open(container.ns()).unwrap();
    container.end();
    let path =
        format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&open));
    fails(&nspid(&["set", "--ns", &path, "5"]), 1, "is gone");
}

#[test]
fn run_gives_exactly_these_pids() {
    let container = Container::new("echo ready; sleep inf");
    for how in ["auto", "vector", "set-tid"] {
        let script = ["sh", "-c", "sed -n 's/^NSpid:.//p' /proc/self/status; exit 7"];
        let arguments = ["run", "--ns", &container.ns(), "--pids", "123:4567", "--how", how, "--"];
        let output = nspid(&[&arguments[..], &script].concat());
        assert_eq!(output.status.code(), Some(7), "{how}: {output:?}");
    }
    // "sh" itself, whose pid is the chosen one.
    let output =
        nspid(&["run", "--ns", &container.ns(), "--pids", "99", "--", "sh", "-c", "echo $$"]);
    assert_eq!(stdout(&output), "99\n", "{output:?}");
}

#[test]
fn run_leaves_no_wrong_task() {
    let container = Container::new("sleep inf & echo ready; wait");
    let ns = container.ns();
    for how in ["vector", "set-tid"] {
        let arguments =
            ["run", "--ns", &ns, "--pids", "2", "--how", how, "--", "touch", "/tmp/ran"];
        let before = processes();
        fails(&nspid(&arguments), 125, "is taken by process");
        assert_eq!(processes(), before);
        assert!(!std::path::Path::new("/tmp/ran").exists());
    }
    fails(&nspid(&["run", "--ns", &ns, "--pids", "0", "--", "true"]), 125, "no pid 0");
    fails(&nspid(&["run", "--ns", &ns, "--pids", "1:1:1:1", "--", "true"]), 125, "fewer levels");
    fails(&nspid(&["run", "--ns", &ns, "--pids", "50", "--", "/nowhere"]), 127, "/nowhere");
    fails(&nspid(&["run", "--ns", &ns, "--pids", "50", "--", "/proc/self"]), 126, "/proc/self");
    let killed = nspid(&["run", "--ns", &ns, "--pids", "50", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status.code(), Some(137));
}

#[test]
fn run_takes_the_command_with_it() {
    let container = Container::new("echo ready; sleep inf");
    let mut nspid = Command::new(NSPID)
        .args(["run", "--ns", &container.ns(), "--pids", "99", "--", "sh", "-c"])
        .arg("echo ready; exec sleep inf")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(nspid.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let sleep = child_of(nspid.id() as i32);
    nspid.kill().unwrap();
    nspid.wait().unwrap();
    gone(sleep);
}

#[test]
fn run_by_vector_while_others_fork() {
    let container = Container::new("while :; do /bin/true; done & echo ready; wait");
    let script = ["--", "sh", "-c", "echo $$"];
    let arguments = ["run", "--ns", &container.ns(), "--pids", "20000", "--how", "vector"];
    let output = nspid(&[&arguments[..], &script].concat());
    // Either it has been had or nothing has run.
    match output.status.code() {
        Some(0) => assert_eq!(stdout(&output), "20000\n"),
        _ => {
            assert_eq!(stdout(&output), "");
            fails(&output, 125, "");
        }
    }
}

/// Dumps, ends, restores and verifies.
fn there_and_back(mut container: Container, pid: &str) -> String {
    let dump = file(&ok(&["dump", pid]));
    let dump = dump.to_str().unwrap();
    ok(&["verify", "--fork", dump, pid]);
    container.end();
    let restored = Restored::new(&["restore", dump]);
    let report = ok(&["verify", "--fork", dump, &restored.0]);
    // And once more, since looking must not have changed it.
    assert_eq!(ok(&["verify", "--fork", dump, &restored.0]), report);
    report
}

#[test]
fn dump_and_restore_nested_namespaces() {
    let container = Container::new(NESTED);
    let pid = container.pid();
    assert!(there_and_back(container, &pid).contains(", 2 namespaces"));
}

#[test]
fn dump_and_restore_a_parent_outside() {
    let container = Container::new("sleep inf & /bin/true; echo ready; wait");
    let pid = container.unshare.id().to_string();
    assert!(there_and_back(container, &pid).contains("3 processes"));
}

#[test]
fn dump_and_restore_zombies_and_threads() {
    let script = "import os, threading\n\
        if os.fork() == 0: os._exit(0)\n\
        for i in range(3): threading.Thread(target=threading.Event().wait).start()\n\
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)\n\
        print('ready', flush=True)";
    let container = Container::new(&format!("exec python3 -c \"{script}\""));
    let pid = container.pid();
    let dump = ok(&["dump", &pid]);
    assert_eq!(dump.matches("\"zombie\": true").count(), 1, "{dump}");
    assert!(there_and_back(container, &pid).contains("2 processes, 3 threads more, 1 namespaces"));
}

#[test]
fn restore_32_levels() {
    let nested =
        "if [ $1 -gt 1 ]; then unshare --pid --fork --mount-proc sh -c \"$0\" \"$0\" $(($1-1)) & \
        else echo ready; fi; sleep inf & wait";
    let container = Container::new(&format!("S='{nested}'; sh -c \"$S\" \"$S\" 32 & wait"));
    let pid = container.pid();
    let dump = file(&ok(&["dump", &pid]));
    // The script nests 31 more below the container's own.
    let report = there_and_back(container, &pid);
    assert!(report.contains(", 32 namespaces"), "{report}");

    // One more is one too many.
    let around = Container::new("echo ready; sleep inf");
    let before = processes();
    let output = nspid(&["restore", "--into", &around.ns(), dump.to_str().unwrap()]);
    fails(&output, 5, "cannot be nested deeper than 32");
    assert_eq!(processes(), before);
}

#[test]
fn restore_1000_tasks_in_3_levels() {
    let sleepers = "for i in $(seq 340); do sleep inf & [ $((i % 10)) != 0 ] || /bin/true; done";
    let inner = format!("{sleepers}; echo ready; wait");
    let middle = format!("{sleepers}; unshare --pid --fork --mount-proc sh -c '{inner}' & wait");
    let middle = file(&middle);
    let outer =
        format!("{sleepers}; unshare --pid --fork --mount-proc sh {} & wait", middle.display());
    let container = Container::new(&outer);
    let pid = container.pid();
    let report = there_and_back(container, &pid);
    assert!(report.contains("the same: 1025 processes"), "{report}");
    assert!(report.contains(", 3 namespaces"), "{report}");
}

#[test]
fn restore_into_another_namespace() {
    let container = Container::new(NESTED);
    let dump = file(&ok(&["dump", &container.pid()]));
    let around = Container::new("echo ready; sleep inf");
    let dump = dump.to_str().unwrap();
    let restored = Restored::new(&["restore", "--into", &around.ns(), dump]);
    ok(&["verify", "--fork", dump, &restored.0]);
    assert!(ok(&["tree", &around.pid()]).contains(&format!(":{}  sh", restored.0)));
}

#[test]
fn restore_with_the_outer_pids() {
    let mut container = Container::new(NESTED);
    let dump = file(&ok(&["dump", "--outer", &container.pid()]));
    let dump = dump.to_str().unwrap();

    // While they are there they are taken, and nothing is made.
    let before = processes();
    let output = nspid(&["restore", dump]);
    let expected = format!("pid {} is taken by process {}, sh", container.init, container.init);
    fails(&output, 5, &expected);
    fails(&output, 5, "nothing was created");
    assert_eq!(processes(), before);

    let init = container.init;
    container.end();
    let restored = Restored::new(&["restore", dump]);
    assert_eq!(restored.0, init.to_string());
    ok(&["verify", "--fork", dump, &restored.0]);
}

#[test]
fn restore_below_a_smaller_pid_max() {
    let container = Container::new(NESTED);
    let dump = ok(&["dump", "--outer", &container.pid()]);
    let mut image: serde_json::Value = serde_json::from_str(&dump).unwrap();
    let pids = image["tasks"][1]["pids"].as_array_mut().unwrap();
    *pids.last_mut().unwrap() = 4000.into();
    let dump = file(&image.to_string());
    let around = Container::new("echo 400 >/proc/sys/kernel/pid_max; echo ready; sleep inf");
    let before = processes();
    let output = nspid(&["restore", "--into", &around.ns(), dump.to_str().unwrap()]);
    fails(&output, 5, "pid 4000 is not below pid_max, 400");
    assert_eq!(processes(), before);
}

#[test]
fn restore_that_fails_halfway_leaves_nothing() {
    let container = Container::new(NESTED);
    let dump = ok(&["dump", &container.pid()]);
    let dump = file(&dump);
    let before = processes();
    // Two are there, one more is made, and the second of the tree cannot be.
    let limit = fs::read_to_string("/proc/sys/user/max_pid_namespaces").unwrap();
    fs::write("/proc/sys/user/max_pid_namespaces", "3").unwrap();
    let output = nspid(&["restore", dump.to_str().unwrap()]);
    fs::write("/proc/sys/user/max_pid_namespaces", limit).unwrap();
    fails(&output, 1, "No space left");
    assert_eq!(processes(), before);
}

#[test]
fn restore_that_is_interrupted_leaves_nothing() {
    let tasks: Vec<_> = (1..=3000)
        .map(|pid| {
            let parent = if pid == 1 { serde_json::Value::Null } else { 0.into() };
            serde_json::json!({ "parent": parent, "namespace": 0, "pids": [pid], "name": "sleep" })
        })
        .collect();
    let space = serde_json::json!({
        "parent": null, "init": 0, "last_pid": 3000, "pid_max": null, "owner_uid": null
    });
    let image = serde_json::json!({
        "format": 1, "kernel": "", "outer": false, "namespaces": [space], "tasks": tasks
    });
    let dump = file(&image.to_string());

    let before = processes();
    let mut restore = Command::new(NSPID)
        .args(["restore", dump.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(restore.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "nspid: 1000 of 3000 processes");
    // SAFETY: A plain system call.
    unsafe { libc::kill(restore.id() as i32, libc::SIGTERM) };
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(rest.last().unwrap().contains("interrupted"), "{rest:?}");
    assert_eq!(restore.wait().unwrap().code(), Some(1));
    assert_eq!(processes(), before);

    // All of them, if nobody interrupts.
    let restored = Restored::new(&["restore", dump.to_str().unwrap()]);
    let report = ok(&["verify", "--fork", dump.to_str().unwrap(), &restored.0]);
    assert!(report.contains("the same: 3000 processes"), "{report}");
}

#[test]
fn restore_without_ioctl_or_privilege() {
    let container = Container::new(NESTED);
    let dump = without_ioctl(&["dump", &container.pid()]);
    assert!(dump.status.success());
    assert!(stderr(&dump).contains("last pids are missing"), "{dump:?}");
    let dump = file(&stdout(&dump));
    let dump = dump.to_str().unwrap();
    fails(&without_ioctl(&["restore", dump]), 3, "CONFIG_PID_NS_IOCTL");
    let before = processes();
    fails(&unprivileged(&["restore", dump]), 4, "not permitted");
    assert_eq!(processes(), before);
    fails(&unprivileged(&["dump", &container.pid()]), 4, "as root");
}

#[test]
fn dump_refuses_strangers() {
    let container = Container::new("echo ready; sleep inf");
    let mut stranger = Command::new("nsenter")
        .args(["--target", &container.pid(), "--pid", "sh", "-c", "echo ready; exec sleep inf"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(stranger.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let inside = child_of(stranger.id() as i32);
    fails(&nspid(&["dump", &container.pid()]), 1, &format!("{inside} (sleep)"));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn verify_finds_differences() {
    let container = Container::new(NESTED);
    let dump = file(&ok(&["dump", &container.pid()]));
    let dump = dump.to_str().unwrap();
    let different = |text: &str| {
        let output = nspid(&["verify", dump, &container.pid()]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stdout(&output).contains(text), "{output:?}");
    };

    let last_pid = ok(&["get", "--levels", "1", "--pid", &container.pid()]);
    ok(&["set", "--pid", &container.pid(), "2000"]);
    different("the last pid in the namespace of sh [1] is 2000");
    ok(&["set", "--pid", &container.pid(), last_pid.trim()]);
    ok(&["verify", dump, &container.pid()]);

    let output = nspid(&["run", "--pid", &container.pid(), "--pids", "2", "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
    // "sleep" with pid 2 in the container.
    let tree = ok(&["tree", &container.pid()]);
    let line = tree.lines().find(|line| line.contains("─ 2:")).unwrap();
    let sleep = line.split("─ 2:").nth(1).unwrap().split(' ').next().unwrap();
    // SAFETY: A plain system call.
    unsafe { libc::kill(sleep.parse().unwrap(), libc::SIGKILL) };
    gone(sleep.parse().unwrap());
    let output = nspid(&["verify", dump, &container.pid()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
