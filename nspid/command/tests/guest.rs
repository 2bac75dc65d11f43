// SPDX-License-Identifier: GPL-2.0-only

//! Every command against live namespaces. This needs root and, except for the tests in `here`, a machine
//! that may be lost.
//!
//! With `WITHOUT_IOCTL=1` in the environment nspid runs as on a kernel that lacks the ioctl, so that it
//! needs no special kernel. With `WITHOUT_IOCTL=kernel` the kernel must lack it.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

const NSPID: &str = env!("CARGO_BIN_EXE_nspid");

fn is_without_ioctl() -> bool {
    std::env::var_os("WITHOUT_IOCTL").is_some()
}

#[test]
fn the_kernel_is_as_these_tests_take_it() {
    let status = nspid(&["get", "--how", "ioctl"]).status.code();
    assert_eq!(status, Some(if is_without_ioctl() { 3 } else { 0 }));
}

/// The command, which does not find the ioctl if these tests run without.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    if std::env::var_os("WITHOUT_IOCTL").is_some_and(|how| how != "kernel") {
        hide_ioctl(&mut command);
    }
    command
}

fn nspid(arguments: &[&str]) -> Output {
    command(NSPID).args(arguments).output().unwrap()
}

/// The same without privilege.
fn unprivileged(arguments: &[&str]) -> Output {
    by_user(65534, arguments)
}

fn by_user(id: u32, arguments: &[&str]) -> Output {
    let ids = [format!("--reuid={id}"), format!("--regid={id}")];
    let mut command = command("setpriv");
    command.args(ids).args(["--clear-groups", "--", NSPID]).args(arguments).output().unwrap()
}

/// The same on a kernel that does not know `NS_SPECIFIC_IOC`.
fn without_ioctl(arguments: &[&str]) -> Output {
    let mut command = Command::new(NSPID);
    hide_ioctl(&mut command);
    command.args(arguments).output().unwrap()
}

/// The same under a seccomp filter that does not know `clone3()`, as container runtimes have it.
fn without_clone3(arguments: &[&str]) -> Output {
    let mut command = Command::new(NSPID);
    hide_ioctl(&mut command);
    let filter = vec![
        LOAD_NUMBER,
        skip_unless(libc::SYS_clone3 as u32, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    install(&mut command, filter);
    command.args(arguments).output().unwrap()
}

const LOAD_NUMBER: libc::sock_filter = libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
const LOAD_SECOND_ARGUMENT: libc::sock_filter = libc::sock_filter { k: 24, ..LOAD_NUMBER };

fn skip_unless(value: u32, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: 0x15, jt: 0, jf, k: value }
}

fn answer(value: u32) -> libc::sock_filter {
    libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: value }
}

fn hide_ioctl(command: &mut Command) {
    let filter = vec![
        LOAD_NUMBER,
        skip_unless(libc::SYS_ioctl as u32, 3),
        LOAD_SECOND_ARGUMENT,
        skip_unless(0xc018_b70e, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::ENOTTY as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    install(command, filter);
}

fn install(command: &mut Command, mut filter: Vec<libc::sock_filter>) {
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: `program` is valid for the call.
        let result = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
        };
        match result {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: Only system calls, none of which touches what a lock guards.
    unsafe { command.pre_exec(install) };
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
    starter: Child,
    /// Its init, as it is called here.
    init: i32,
}

impl Container {
    /// Runs `script` as the init of a new pid namespace until it has said "ready".
    fn new(script: &str) -> Self {
        Self::new_by(&["unshare"], script)
    }

    /// The same by another command line that ends in one of `unshare`.
    fn new_by(unshare: &[&str], script: &str) -> Self {
        let options = ["--pid", "--fork", "--kill-child", "--mount-proc"];
        Self::start(&[unshare, &options, &["sh", "-c", script]].concat())
    }

    /// Runs a command whose only child is the init, until somebody in there has said "ready".
    fn start(command: &[&str]) -> Self {
        let command = Command::new(command[0]).args(&command[1..]).stdout(Stdio::piped()).spawn();
        let mut starter = command.unwrap();
        let mut lines = BufReader::new(starter.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let init = child_of(starter.id() as i32);
        Self { starter, init }
    }

    fn pid(&self) -> String {
        self.init.to_string()
    }

    fn ns(&self) -> String {
        format!("/proc/{}/ns/pid", self.init)
    }

    fn end(&mut self) {
        self.starter.kill().unwrap();
        self.starter.wait().unwrap();
        gone(self.init);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.starter.kill();
        let _ = self.starter.wait();
    }
}

/// Its only child.
fn child_of(pid: i32) -> i32 {
    let output = Command::new("pgrep").args(["-P", &pid.to_string()]).output().unwrap();
    stdout(&output).trim().parse().unwrap()
}

/// The child of a container's init with this name.
fn child_in(container: &Container, name: &str) -> i32 {
    let arguments = ["-P", &container.pid(), "-x", name];
    let output = Command::new("pgrep").args(arguments).output().unwrap();
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
        let tree = ok(&["tree", "-t", &self.0]);
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
    ok(&["set", "-t", &container.pid(), "41"]);
    let table = ok(&["show", "-t", &container.pid()]);
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    // namespace, id, owner, pid, last pid, next pid, pid_max, tasks, below
    assert_eq!(&row[2..], ["0", "1", "41", "42", "4194304", "2", "0"]);
    assert_eq!(table.lines().count(), 3);

    let by_file = ok(&["show", "--ns", &container.ns()]);
    assert_eq!(by_file.lines().nth(1).unwrap().split_whitespace().nth(3), Some("-"));

    let json: serde_json::Value =
        serde_json::from_str(&ok(&["show", "--json", "-t", &container.pid()])).unwrap();
    assert_eq!(json["levels"][0]["last_pid"], 41);
    assert_eq!(json["levels"][0]["pid"], 1);
    assert_eq!(json["levels"][1]["pid"], container.init);
    assert_eq!(json["notes"], serde_json::json!([]));
}

#[test]
fn show_tells_the_next_pid() {
    let container = Container::new(
        "sleep inf & (setsid sh -c 'sleep inf & echo; exit' &) | read x; echo ready; wait",
    );
    let pid = container.pid();
    let level = || -> serde_json::Value {
        let report = ok(&["show", "--json", "-t", &pid]);
        serde_json::from_str::<serde_json::Value>(&report).unwrap()["levels"][0].take()
    };
    let next_after = |last_pid: i64| {
        ok(&["set", "-t", &pid, &last_pid.to_string()]);
        let next = level()["next_pid"].as_i64().unwrap();
        let mut fork = Command::new("nsenter");
        let fork = fork.args(["--target", &pid, "--pid", "sh", "-c", "echo $$"]).output().unwrap();
        assert_eq!(stdout(&fork), format!("{next}\n"));
        next
    };
    assert!(next_after(1) > 2);
    let candidates: Vec<_> = (2..10).map(|pid| pid.to_string()).collect();
    let candidates = candidates.iter().map(String::as_str);
    let states = nspid(&["check", "-t", &pid].into_iter().chain(candidates).collect::<Vec<_>>());
    let states = stdout(&states);
    let session = states.lines().find(|line| line.contains("session without its leader")).unwrap();
    let session: i64 = session.split(':').next().unwrap().parse().unwrap();
    assert!(next_after(session - 1) > session);
    assert_eq!(next_after(level()["pid_max"].as_i64().unwrap() - 1), 300);
}

#[test]
fn show_tells_the_pid_max_of_another_namespace_and_moves_nothing() {
    let container = Container::new("echo 5000 >/proc/sys/kernel/pid_max; echo ready; sleep inf");
    let before = ok(&["get", "--levels", "1", "-t", &container.pid()]);
    let json: serde_json::Value =
        serde_json::from_str(&ok(&["show", "--json", "-t", &container.pid()])).unwrap();
    assert_eq!(json["levels"][0]["pid_max"], 5000);
    assert_eq!(ok(&["get", "--levels", "1", "-t", &container.pid()]), before);
}

#[test]
fn show_without_privilege_says_what_is_missing() {
    let container = Container::new("echo ready; sleep inf");
    fails(&unprivileged(&["show", "-t", &container.pid()]), 4, "Permission denied");

    let own = unprivileged(&["show"]);
    assert!(stdout(&own).contains("that you may not look at"), "{own:?}");
    // Anybody may read ns_last_pid, but not by the ioctl.
    let missing = stdout(&own).contains("-  last pid: you may not see it");
    assert_eq!(missing, !is_without_ioctl(), "{own:?}");
}

#[test]
fn show_without_ioctl_has_the_last_pids() {
    let container = Container::new("echo ready; sleep inf");
    ok(&["set", "-t", &container.pid(), "41"]);
    let old = without_ioctl(&["show", "-t", &container.pid()]);
    let row = stdout(&old).lines().nth(1).unwrap().split_whitespace().nth(4).map(str::to_owned);
    assert_eq!(row.as_deref(), Some("41"), "{old:?}");
    // Looking has moved nothing.
    assert_eq!(ok(&["get", "--levels", "1", "-t", &container.pid()]), "41\n");
}

#[test]
fn show_inside_sees_its_own_levels_only() {
    let container = Container::new("echo ready; sleep inf");
    let inside = command("nsenter")
        .args(["--target", &container.pid(), "--pid", "--mount", NSPID, "show", "-t", "1"])
        .output()
        .unwrap();
    assert!(inside.status.success(), "{inside:?}");
    assert_eq!(stdout(&inside).lines().count(), 2, "{inside:?}");
}

#[test]
fn tree() {
    let container = Container::new(NESTED);
    let all = ok(&["tree"]);
    let below = ok(&["tree", "-t", &container.pid()]);
    assert!(all.contains(&format!("─ 1:{}  sh", container.init)), "{all}");
    assert!(below.contains(&format!("─ 1:{}  sh", container.init)), "{below}");
    assert!(below.lines().any(|line| line.contains("   ├─ 1:")), "{below}");
    assert!(without_ioctl(&["tree", "-t", &container.pid()]).status.success());
    fails(&nspid(&["tree", "-t", "4000000"]), 1, "process 4000000");
}

#[test]
fn get_and_set() {
    let container = Container::new(NESTED);
    ok(&["set", "-t", &container.pid(), "300"]);
    assert_eq!(ok(&["get", "--levels", "1", "--ns", &container.ns()]), "300\n");
    ok(&["set", "--ns", &container.ns(), "0"]);
    assert_eq!(ok(&["get", "--levels", "1", "-t", &container.pid()]), "0\n");
}

#[test]
fn set_that_cannot_be() {
    let mut container = Container::new("echo ready; sleep inf");
    let pid = container.pid();
    ok(&["set", "-t", &pid, "77"]);
    let own_pid_max = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let own_pid_max: i32 = own_pid_max.trim().parse().unwrap();
    fails(&nspid(&["set", "-t", &pid, "1:1:1"]), 1, "3 numbers, but there are only 2 levels");
    let above = nspid(&["set", "-t", &pid, &format!("1:{}", own_pid_max + 1)]);
    let limit =
        format!("level 1: {} is above pid_max of that namespace, {own_pid_max}", own_pid_max + 1);
    fails(&above, 5, &limit);
    fails(&nspid(&["set", "-t", &pid, "007"]), 2, "without leading");
    fails(&without_ioctl(&["set", "-t", &pid, "--how", "ioctl", "5"]), 3, "CONFIG_PID_NS_IOCTL");
    fails(&unprivileged(&["set", "5"]), 4, "CAP_CHECKPOINT_RESTORE");
    assert_eq!(ok(&["get", "--levels", "1", "-t", &pid]), "77\n");

    let open = fs::File::open(container.ns()).unwrap();
    container.end();
    let path =
        format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&open));
    fails(&nspid(&["set", "--ns", &path, "5"]), 1, "is gone");
}

/// CRIU's pull request 1248: a `pid_max` below what the dump had.
#[test]
fn set_above_the_pid_max_of_a_namespace() {
    let container = Container::new("echo 400 >/proc/sys/kernel/pid_max; echo ready; sleep inf");
    let output = nspid(&["set", "-t", &container.pid(), "401"]);
    fails(&output, 5, "level 0: 401 is above pid_max of that namespace, 400");
    ok(&["set", "-t", &container.pid(), "400"]);
    fails(&nspid(&["reserve", "-t", &container.pid(), "400"]), 5, "not below pid_max");
}

#[test]
fn a_namespace_without_init() {
    let mut waiting = Command::new("unshare").args(["--pid", "sleep", "inf"]).spawn().unwrap();
    let path = format!("/proc/{}/ns/pid_for_children", waiting.id());
    // unshare has done its work.
    while fs::read_to_string(format!("/proc/{}/comm", waiting.id())).unwrap() != "sleep\n" {
        std::thread::yield_now();
    }
    let opens = fs::read_link(&path).is_ok();
    let output = nspid(&["set", "--ns", &path, "5"]);
    fails(&output, 1, if opens { "has no init yet" } else { "No such file" });
    if !opens {
        // Before Linux 7.3.
    } else if is_without_ioctl() {
        fails(&nspid(&["get", "--ns", &path, "--levels", "1"]), 1, "has no init yet");
    } else {
        assert_eq!(ok(&["get", "--ns", &path, "--levels", "1"]), "0\n");
    }
    waiting.kill().unwrap();
    waiting.wait().unwrap();
}

/// As some seccomp filters have it: then a helper takes the next pids.
#[test]
fn helpers_without_clone3_put_back_what_they_take() {
    let container = Container::new(NESTED);
    let inner = child_of(child_in(&container, "unshare"));
    let inner = inner.to_string();
    ok(&["set", "-t", &inner, "50:60"]);
    let two = ["get", "-t", &inner, "--levels", "2"];
    let output = without_clone3(&two);
    assert_eq!(stdout(&output), "50:60\n", "{output:?}");
    assert!(stderr(&output).contains("helper processes"), "{output:?}");
    assert_eq!(ok(&two), "50:60\n");
    let output = without_clone3(&["set", "-t", &inner, "70"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ok(&two), "70:60\n");
}

/// CRIU's issues 1199 and 1307: container runtimes mount it read-only.
#[test]
fn set_where_proc_sys_is_read_only() {
    let container = Container::new(
        "mount -o bind /proc/sys /proc/sys && \
        mount -o remount,bind,ro /proc/sys && echo ready; sleep inf",
    );
    let caps = if is_without_ioctl() { "+all" } else { "-all,+checkpoint_restore,+sys_ptrace" };
    let output = command("nsenter")
        .args(["--target", &container.pid(), "--pid", "--mount", "setpriv"])
        .args([&format!("--bounding-set={caps}"), "--", NSPID, "set", "500"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut next = command("nsenter");
    let next = next.args(["--target", &container.pid(), "--pid", "sh", "-c", "echo $$"]);
    assert_eq!(stdout(&next.output().unwrap()), "501\n");
}

/// The case of nvcf's issue 925.
#[test]
fn reserve_keeps_pids_free() {
    let container = Container::new("sleep inf & echo ready; sleep inf");
    let pid = container.pid();
    ok(&["reserve", "-t", &pid, "5000"]);
    let run = ["--pid", "--target", &pid, "sh", "-c", "echo $$"];
    assert_eq!(stdout(&Command::new("nsenter").args(run).output().unwrap()), "5000\n");
    // It never goes back.
    ok(&["reserve", "-t", &pid, "300"]);
    assert_eq!(stdout(&Command::new("nsenter").args(run).output().unwrap()), "5001\n");

    let dump = file(&ok(&["dump", "-t", &pid]).replace("\"last_pid\": 5001", "\"last_pid\": 1"));
    ok(&["reserve", "-t", &pid, "--dump", dump.to_str().unwrap()]);
    assert_eq!(ok(&["get", "--levels", "1", "-t", &pid]), "5001\n");
    let image = fs::read_to_string(&dump).unwrap();
    let image = image.replacen("        2\n", "        6000\n", 1);
    fs::write(&dump, image).unwrap();
    ok(&["reserve", "-t", &pid, "--dump", dump.to_str().unwrap()]);
    assert_eq!(ok(&["get", "--levels", "1", "-t", &pid]), "6000\n");
}

#[test]
fn check_says_who_has_a_pid() {
    // 2 is a thread, 3 a zombie, 4 a session without leader, and 6 a group without leader.
    let script = file(
        "import os, signal, threading\n\
        threading.Thread(target=threading.Event().wait).start()\n\
        if os.fork() == 0: os._exit(0)\n\
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)\n\
        ready, done = os.pipe()\n\
        if os.fork() == 0:\n\
        \x20   os.setsid()\n\
        \x20   if os.fork() > 0: os._exit(0)\n\
        \x20   if os.fork() == 0:\n\
        \x20       os.setpgid(0, 0)\n\
        \x20       if os.fork() > 0: os._exit(0)\n\
        \x20       signal.pause()\n\
        \x20   os.waitpid(6, 0)\n\
        \x20   os.write(done, b'.')\n\
        \x20   signal.pause()\n\
        os.waitpid(4, 0)\n\
        os.read(ready, 1)\n\
        print('ready', flush=True)\n",
    );
    let container = Container::new(&format!(
        "echo 400 >/proc/sys/kernel/pid_max; exec /usr/bin/python3 {}",
        script.display()
    ));
    let arguments = ["check", "-t", &container.pid(), "1", "2", "3", "4", "6", "300", "400"];
    let output = nspid(&arguments);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let lines = stdout(&output);
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert_eq!(lines[0], format!("1: taken by process {}, python3", container.init));
    assert!(lines[1].contains("taken by thread"), "{lines:?}");
    assert!(lines[2].contains("a zombie until process"), "{lines:?}");
    assert!(lines[3].contains("4: taken as a session without its leader, of process"), "{lines:?}");
    assert!(lines[4].contains("6: taken as a process group without its leader"), "{lines:?}");
    assert_eq!(lines[5], "300: free");
    assert_eq!(lines[6], "400: not below pid_max, 400");

    let json = nspid(&["check", "--json", "-t", &container.pid(), "3", "300"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["pids"][0]["state"], "zombie");
    assert_eq!(json["pids"][1]["state"], "free");
    assert_eq!(json["pid_max"], 400);
    assert_eq!(ok(&["check", "-t", &container.pid(), "300"]), "300: free\n");
}

#[test]
fn check_a_dump() {
    let container = Container::new(NESTED);
    let dump = file(&ok(&["dump", "-t", &container.pid()]));
    let dump = dump.to_str().unwrap();
    let output = nspid(&["check", "--dump", dump, "-t", &container.pid()]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(stdout(&output).ends_with("0 of 7 are free\n"), "{output:?}");
    let empty = Container::new("echo ready; exec sleep inf");
    let output = nspid(&["check", "--dump", dump, "-t", &empty.pid()]);
    assert!(stdout(&output).ends_with("6 of 7 are free\n"), "{output:?}");
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let container = Container::new("echo ready; sleep inf");
    let mut head = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let stdin = head.stdin.take().unwrap();
    head.wait().unwrap();
    tree_ends_quietly(&container, stdin);
}

/// Prints the tree into a pipe that its reader closes.
fn tree_ends_quietly(container: &Container, pipe: std::process::ChildStdin) {
    use std::os::unix::process::ExitStatusExt;

    let output = command(NSPID)
        .args(["tree", "-t", &container.pid()])
        .stdout(pipe)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGPIPE), "{output:?}");
    assert_eq!(stderr(&output), "");
}

/// What `nspid tree | head -1` does. The pipe has less room than the tree needs.
#[test]
fn a_tree_of_1000_tasks_ends_quietly_after_its_first_line() {
    use std::os::fd::AsRawFd;

    let container = Container::new("for i in $(seq 1000); do sleep inf & done; echo ready; wait");
    let mut head = Command::new("head")
        .arg("-1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = head.stdin.take().unwrap();
    // SAFETY: A plain system call.
    assert!(unsafe { libc::fcntl(stdin.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } >= 4096);
    tree_ends_quietly(&container, stdin);
    let line = stdout(&head.wait_with_output().unwrap());
    assert!(line.starts_with("pid:[") && line.lines().count() == 1, "{line}");
}

#[test]
fn json_and_quiet() {
    let container = Container::new(NESTED);
    let pid = container.pid();
    let json: serde_json::Value =
        serde_json::from_str(&ok(&["get", "--json", "-t", &pid])).unwrap();
    assert_eq!(json["how"], if is_without_ioctl() { "helper" } else { "ioctl" });
    assert_eq!(json["last_pids"].as_array().unwrap().len(), 2);
    let json: serde_json::Value =
        serde_json::from_str(&ok(&["tree", "--json", "-t", &pid])).unwrap();
    assert_eq!(json["processes"][0]["pids"][0], 1);
    assert_eq!(json["namespaces"][0]["processes"][0]["pids"][0], 1);
    let output = without_ioctl(&["get", "--quiet", "-t", &pid]);
    assert_eq!(stderr(&output), "");
    let output = without_ioctl(&["get", "-t", &pid]);
    assert!(stderr(&output).contains("they used up no pids"), "{output:?}");
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
    // The command is what follows, with or without --, and of any bytes.
    let bytes = std::ffi::OsStr::from_bytes(b"\xff-v");
    let output = command(NSPID)
        .args(["run", "--ns", &container.ns(), "--pids", "99", "printf", "%s"])
        .arg(bytes)
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"\xff-v", "{output:?}");
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
    let mut nspid = command(NSPID)
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
    let dump = file(&ok(&["dump", "-t", pid]));
    let dump = dump.to_str().unwrap();
    ok(&["verify", "--fork", "-t", pid, dump]);
    container.end();
    let restored = Restored::new(&["restore", dump]);
    let report = ok(&["verify", "--fork", "-t", &restored.0, dump]);
    // And once more, since looking must not have changed it.
    assert_eq!(ok(&["verify", "--fork", "-t", &restored.0, dump]), report);
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
    let pid = container.starter.id().to_string();
    assert!(there_and_back(container, &pid).contains("3 processes"));
}

#[test]
fn dump_and_restore_zombies_and_threads() {
    let script = "import os, threading\n\
        if os.fork() == 0: os._exit(0)\n\
        for i in range(3): threading.Thread(target=threading.Event().wait).start()\n\
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)\n\
        print('ready', flush=True)";
    let container = Container::new(&format!("exec /usr/bin/python3 -c \"{script}\""));
    let pid = container.pid();
    let dump = ok(&["dump", "-t", &pid]);
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
    let dump = file(&ok(&["dump", "-t", &pid]));
    // The script nests 31 more below the container's own.
    let report = there_and_back(container, &pid);
    assert!(report.contains(", 32 namespaces"), "{report}");

    // One more is one too many.
    let around = Container::new("echo ready; sleep inf");
    let before = processes();
    let output = nspid(&["restore", "--ns", &around.ns(), dump.to_str().unwrap()]);
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

/// It should take no more than twice the time that making them took.
#[test]
fn restore_2000_tasks_in_one_container() {
    let start = Instant::now();
    let mut container = Container::new(
        "for i in $(seq 2000); do sleep inf & [ $((i % 10)) != 0 ] || /bin/true; done; echo ready; wait",
    );
    let making = start.elapsed();
    let dump = file(&ok(&["dump", "-t", &container.pid()]));
    container.end();
    let start = Instant::now();
    let restored = Restored::new(&["restore", dump.to_str().unwrap()]);
    let restoring = start.elapsed();
    println!("made in {making:?}, restored in {restoring:?}");
    let report = ok(&["verify", "--fork", "-t", &restored.0, dump.to_str().unwrap()]);
    assert!(report.contains("the same: 2001 processes"), "{report}");
}

#[test]
fn restore_into_another_namespace() {
    let container = Container::new(NESTED);
    let dump = file(&ok(&["dump", "-t", &container.pid()]));
    let around = Container::new("echo ready; sleep inf");
    let dump = dump.to_str().unwrap();
    let restored = Restored::new(&["restore", "--ns", &around.ns(), dump]);
    ok(&["verify", "--fork", "-t", &restored.0, dump]);
    assert!(ok(&["tree", "-t", &around.pid()]).contains(&format!(":{}  sh", restored.0)));
}

#[test]
fn restore_with_the_outer_pids() {
    let mut container = Container::new(NESTED);
    let dump = file(&ok(&["dump", "--outer", "-t", &container.pid()]));
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
    ok(&["verify", "--fork", "-t", &restored.0, dump]);
}

#[test]
fn restore_below_a_smaller_pid_max() {
    let container = Container::new(NESTED);
    let dump = ok(&["dump", "--outer", "-t", &container.pid()]);
    let mut image: serde_json::Value = serde_json::from_str(&dump).unwrap();
    let pids = image["tasks"][1]["pids"].as_array_mut().unwrap();
    *pids.last_mut().unwrap() = 4000.into();
    let dump = file(&image.to_string());
    let around = Container::new("echo 400 >/proc/sys/kernel/pid_max; echo ready; sleep inf");
    let before = processes();
    let output = nspid(&["restore", "--ns", &around.ns(), dump.to_str().unwrap()]);
    fails(&output, 5, "pid 4000 is not below pid_max, 400");
    assert_eq!(processes(), before);
}

#[test]
fn restore_that_fails_halfway_leaves_nothing() {
    let container = Container::new(NESTED);
    let dump = ok(&["dump", "-t", &container.pid()]);
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
    let mut restore = command(NSPID)
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
    let report = ok(&["verify", "--fork", "-t", &restored.0, dump.to_str().unwrap()]);
    assert!(report.contains("the same: 3000 processes"), "{report}");
}

#[test]
fn restore_with_ioctl_alone_or_without_privilege() {
    let container = Container::new(NESTED);
    fails(
        &without_ioctl(&["dump", "--how", "ioctl", "-t", &container.pid()]),
        3,
        "CONFIG_PID_NS_IOCTL",
    );
    let dump = without_ioctl(&["dump", "-t", &container.pid()]);
    assert!(dump.status.success());
    let dump = file(&stdout(&dump));
    let dump = dump.to_str().unwrap();
    fails(&without_ioctl(&["restore", "--how", "ioctl", dump]), 3, "CONFIG_PID_NS_IOCTL");
    let before = processes();
    fails(&unprivileged(&["restore", dump]), 4, "not permitted");
    assert_eq!(processes(), before);
    fails(&unprivileged(&["dump", "-t", &container.pid()]), 4, "as root");
}

/// CRIU's issue 1462.
#[test]
fn dump_and_restore_pid_max() {
    let container =
        Container::new("echo 400 >/proc/sys/kernel/pid_max; sleep inf & echo ready; wait");
    let pid = container.pid();
    let dump = file(&ok(&["dump", "-t", &pid]));
    assert!(fs::read_to_string(&dump).unwrap().contains("\"pid_max\": 400"));
    there_and_back(container, &pid);

    let restored = Restored::new(&["restore", dump.to_str().unwrap()]);
    let json: serde_json::Value =
        serde_json::from_str(&ok(&["show", "--json", "-t", &restored.0])).unwrap();
    assert_eq!(json["levels"][0]["pid_max"], 400);
    let inside =
        ["--target", &restored.0, "--pid", "sh", "-c", "echo 500 >/proc/sys/kernel/pid_max"];
    assert!(Command::new("nsenter").args(inside).status().unwrap().success());
    // The pid of nsenter's child was taken from the cursor.
    let output = nspid(&["verify", "-t", &restored.0, dump.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(
        stdout(&output).contains("the pid_max in the namespace of sh [1] is 500 instead of 400")
    );
}

/// Three levels, each owned by a user namespace of its own, made by user 1000 without privilege. With
/// sessions, one of which has lost its leader.
fn rootless() -> Container {
    let innermost = file(
        "sleep inf & /bin/true; (setsid sh -c 'sleep inf & sleep inf & echo; exit' &) | read x; \
        echo ready >&9; wait",
    );
    let middle = file(&format!(
        "sleep inf & /bin/true; \
        unshare --user --pid --fork --map-root-user --mount-proc sh {} & wait",
        innermost.display()
    ));
    let outermost = file(&format!(
        "setsid sh -c 'sleep inf & wait' & exec 9>&1; \
        bwrap --dev-bind / / --unshare-user --unshare-pid --proc /proc sh {} & wait",
        middle.display()
    ));
    Container::new_by(
        &[
            "setpriv",
            "--reuid=1000",
            "--regid=1000",
            "--clear-groups",
            "unshare",
            "--user",
            "--map-root-user",
        ],
        &format!("exec sh {}", outermost.display()),
    )
}

#[test]
fn dump_and_restore_rootless_containers() {
    let container = rootless();
    let pid = container.pid();
    let dump = ok(&["dump", "-t", &pid]);
    let image: serde_json::Value = serde_json::from_str(&dump).unwrap();
    assert_eq!(image["user_namespaces"].as_array().unwrap().len(), 3, "{dump}");
    assert_eq!(image["user_namespaces"][0]["owner_uid"], 1000);
    assert_eq!(image["user_namespaces"][0]["uid_map"], serde_json::json!([[0, 1000, 1]]));
    assert_eq!(image["namespaces"][2]["user"], 2);
    let tasks = image["tasks"].as_array().unwrap();
    assert!(tasks.iter().any(|task| task["session"].is_array()), "{dump}");
    let dump = file(&dump);
    assert!(there_and_back(container, &pid).contains(", 3 namespaces"));

    // Another map is a difference.
    let restored = Restored::new(&["restore", dump.to_str().unwrap()]);
    let other = fs::read_to_string(&dump).unwrap().replacen("1000,", "1001,", 1);
    fs::write(&dump, other).unwrap();
    let output = nspid(&["verify", "-t", &restored.0, dump.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(stdout(&output).contains("user namespace 0: another"), "{output:?}");
}

/// The user namespaces are his own.
#[test]
fn the_user_of_rootless_containers_needs_no_root() {
    let user = |arguments: &[&str]| {
        let output = by_user(1000, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        stdout(&output)
    };
    let mut container = rootless();
    let pid = container.pid();
    let tree = user(&["tree", "-t", &pid]);
    let vectors = tree.lines().filter_map(|line| line.split("─ ").nth(1)?.split(' ').next());
    let mut innermost = vectors.filter(|vector| vector.matches(':').count() == 3);
    let inner = innermost.next().unwrap().rsplit(':').next().unwrap();

    assert!(ok(&["get", "-t", inner]).starts_with(&user(&["get", "-t", inner]).replace('\n', ":")));
    user(&["set", "-t", inner, "100:200:300"]);
    assert_eq!(user(&["get", "-t", inner]), "100:200:300\n");
    assert_eq!(user(&["check", "-t", &pid, "99"]), "99: free\n");
    let dump = user(&["dump", "-t", &pid]);
    assert_eq!(dump, ok(&["dump", "-t", &pid]));
    let left = Command::new("pgrep").args(["-x", "nspid"]).output().unwrap();
    assert_eq!(stdout(&left), "", "helpers");
    // Another user is not permitted.
    fails(&unprivileged(&["get", "-t", inner]), 4, "Permission denied");
    fails(&unprivileged(&["dump", "-t", &pid]), 4, "may not look");

    let dump = file(&dump);
    let dump = dump.to_str().unwrap();
    container.end();
    let restored = Restored(user(&["restore", dump]).trim().to_owned());
    assert!(user(&["verify", "--fork", "-t", &restored.0, dump]).contains(", 3 namespaces"));
    ok(&["verify", "--fork", "-t", &restored.0, dump]);
}

/// Who has unshared a pid namespace owned by another user namespace cannot leave it for his children.
#[test]
fn restore_children_of_one_who_cannot_come_back() {
    let container = Container::new(
        "unshare --user --map-root-user --pid sh -c 'sleep inf & sleep inf & echo ready; wait' & wait",
    );
    let pid = container.pid();
    assert!(there_and_back(container, &pid).contains("4 processes"));
}

/// There helpers are, as a rule.
#[test]
fn restore_pids_near_pid_max() {
    let pid_max = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let last: i32 = pid_max.trim().parse::<i32>().unwrap() - 1;
    for outer in [false, true] {
        let task = |parent: Option<usize>, namespace: usize, pids: &[i32], around: i32| {
            let around = outer.then_some(&around);
            let pids: Vec<_> = pids.iter().chain(around).collect();
            serde_json::json!(
                { "parent": parent, "namespace": namespace, "pids": pids, "name": "sleep" }
            )
        };
        let tasks = [
            task(None, 0, &[1], last - 1),
            task(Some(0), 0, &[last], last),
            task(Some(0), 0, &[last - 1], last - 2),
            task(Some(0), 1, &[1, last - 2], last - 4),
            task(Some(3), 1, &[last, last - 3], last - 3),
        ];
        let space = |parent: Option<usize>, init: usize| {
            serde_json::json!({
                "parent": parent, "init": init, "last_pid": last, "pid_max": null, "owner_uid": null
            })
        };
        let image = serde_json::json!({
            "format": 1, "kernel": "", "outer": outer,
            "namespaces": [space(None, 0), space(Some(0), 3)], "tasks": tasks
        });
        let dump = file(&image.to_string());
        let restored = Restored::new(&["restore", dump.to_str().unwrap()]);
        ok(&["verify", "--fork", "-t", &restored.0, dump.to_str().unwrap()]);
    }
}

/// An agent with fewer capabilities than pid 1 cannot look at all tasks.
#[test]
fn dump_needs_to_see_only_the_tree() {
    let fewer = "--bounding-set=-sys_ptrace,-wake_alarm";
    let container =
        Container::new_by(&["setpriv", fewer, "unshare"], "sleep inf & echo ready; wait");
    let look =
        command("setpriv").args([fewer, "--", "readlink", "/proc/1/ns/pid"]).output().unwrap();
    assert!(!look.status.success(), "{look:?}");
    let dump = command("setpriv")
        .args([fewer, "--", NSPID, "dump", "-t", &container.pid()])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{dump:?}");
    assert_eq!(stdout(&dump), ok(&["dump", "-t", &container.pid()]));
}

/// A dump of the first format, which had no user namespaces and sessions.
#[test]
fn restore_the_first_format() {
    let dump = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/format-1.json");
    let restored = Restored::new(&["restore", dump]);
    assert!(ok(&["verify", "--fork", "-t", &restored.0, dump]).starts_with("the same: 5 processes"));
}

/// In a shell the children before setsid() stay in the old session.
#[test]
fn dump_and_restore_sessions_and_groups() {
    let script = file(
        "import os, signal\n\
        def child(*calls):\n\
        \x20   read, write = os.pipe()\n\
        \x20   pid = os.fork()\n\
        \x20   if pid == 0:\n\
        \x20       for call in calls: call()\n\
        \x20       os.write(write, b'.')\n\
        \x20       while True: signal.pause()\n\
        \x20   os.read(read, 1)\n\
        \x20   return pid\n\
        def late():\n\
        \x20   child()\n\
        \x20   os.setsid()\n\
        \x20   child()\n\
        \x20   leader = child(lambda: os.setpgid(0, 0))\n\
        \x20   child(lambda: os.setpgid(0, leader))\n\
        child(late)\n\
        child(os.setsid)\n\
        print('ready', flush=True)\n\
        signal.pause()\n",
    );
    let container = Container::new(&format!("exec /usr/bin/python3 {}", script.display()));
    let pid = container.pid();
    let dump = file(&ok(&["dump", "-t", &pid]));
    assert!(there_and_back(container, &pid).contains("7 processes"));

    let restored = Restored::new(&["restore", dump.to_str().unwrap()]);
    let other = fs::read_to_string(&dump).unwrap().replacen("\"group\": 1", "\"group\": 4", 1);
    fs::write(&dump, other).unwrap();
    let output = nspid(&["verify", "-t", &restored.0, dump.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(stdout(&output).contains("is in another process group"), "{output:?}");
}

#[test]
fn dump_refuses_strangers() {
    let container = Container::new("echo ready; sleep inf");
    let mut stranger = command("nsenter")
        .args(["--target", &container.pid(), "--pid", "sh", "-c", "echo ready; exec sleep inf"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(stranger.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let inside = child_of(stranger.id() as i32);
    fails(&nspid(&["dump", "-t", &container.pid()]), 1, &format!("{inside} (sleep)"));
    let output = nspid(&["dump", "--without-entered", "-t", &container.pid()]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        stderr(&output).contains(&format!("{inside} (sleep); they are left out")),
        "{output:?}"
    );
    let dump = file(&stdout(&output));
    ok(&["verify", "--without-entered", "-t", &container.pid(), dump.to_str().unwrap()]);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn verify_finds_differences() {
    let container = Container::new(NESTED);
    let dump = file(&ok(&["dump", "-t", &container.pid()]));
    let dump = dump.to_str().unwrap();
    let different = |text: &str| {
        let output = nspid(&["verify", "-t", &container.pid(), dump]);
        assert_eq!(output.status.code(), Some(6), "{output:?}");
        assert!(stdout(&output).contains(text), "{output:?}");
    };

    let last_pid = ok(&["get", "--levels", "1", "-t", &container.pid()]);
    ok(&["set", "-t", &container.pid(), "2000"]);
    different("the last pid in the namespace of sh [1] is 2000");
    ok(&["set", "-t", &container.pid(), last_pid.trim()]);
    ok(&["verify", "-t", &container.pid(), dump]);

    let output = nspid(&["run", "-t", &container.pid(), "--pids", "2", "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
    // "sleep" with pid 2 in the container.
    let tree = ok(&["tree", "-t", &container.pid()]);
    let line = tree.lines().find(|line| line.contains("─ 2:")).unwrap();
    let sleep = line.split("─ 2:").nth(1).unwrap().split(' ').next().unwrap();
    // SAFETY: A plain system call.
    unsafe { libc::kill(sleep.parse().unwrap(), libc::SIGKILL) };
    gone(sleep.parse().unwrap());
    let output = nspid(&["verify", "-t", &container.pid(), dump]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
}

/// What people ask of nspid, on any kernel. These tests change nothing outside of their containers.
mod here {
    use super::*;

    const USER: u32 = 1000;
    const BY_USER: [&str; 5] = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--"];
    const SCRIPT: &str = "sleep inf & /bin/true; sleep inf & /bin/true; echo ready; wait";

    fn use_nspid(mut container: Container, user: Option<u32>) {
        let run = |arguments: &[&str]| match user {
            Some(id) => by_user(id, arguments),
            None => nspid(arguments),
        };
        let ok = |arguments: &[&str]| {
            let output = run(arguments);
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            stdout(&output)
        };
        let pid = container.pid();
        let fork = || {
            let inside = ["--target", &pid, "--pid", "sh", "-c", "echo $$"];
            stdout(&Command::new("nsenter").args(inside).output().unwrap()).trim().to_owned()
        };

        let shown: serde_json::Value =
            serde_json::from_str(&ok(&["show", "--json", "-t", &pid])).unwrap();
        assert_eq!(fork(), shown["levels"][0]["next_pid"].to_string());
        ok(&["set", "-t", &pid, "100"]);
        assert_eq!(ok(&["get", "--levels", "1", "-t", &pid]), "100\n");
        assert_eq!(fork(), "101");
        ok(&["reserve", "-t", &pid, "500"]);
        assert_eq!(fork(), "500");
        let check = run(&["check", "-t", &pid, "1", "499"]);
        assert_eq!(check.status.code(), Some(5), "{check:?}");
        let taken = format!("1: taken by process {pid}, ");
        assert!(stdout(&check).starts_with(&taken) && stdout(&check).ends_with("\n499: free\n"));
        assert!(ok(&["tree", "-t", &pid]).contains("  sleep\n"));

        let dump = file(&ok(&["dump", "-t", &pid]));
        let dump = dump.to_str().unwrap();
        ok(&["verify", "--fork", "-t", &pid, dump]);
        container.end();
        let restored = Restored(ok(&["restore", dump]).trim().to_owned());
        assert!(ok(&["verify", "--fork", "-t", &restored.0, dump]).contains(", 1 namespaces"));
    }

    fn bubblewrap(before: &[&str], more: &[&str]) -> Container {
        let bwrap = ["bwrap", "--die-with-parent", "--dev-bind", "/", "/", "--unshare-pid"];
        let command = ["--proc", "/proc", "sh", "-c", SCRIPT];
        Container::start(&[before, &bwrap, more, &command].concat())
    }

    #[test]
    fn unshare() {
        use_nspid(Container::new(SCRIPT), None);
    }

    #[test]
    fn unshare_by_a_user() {
        let unshare = [&BY_USER[..], &["unshare", "--user", "--map-root-user"]].concat();
        use_nspid(Container::new_by(&unshare, SCRIPT), Some(USER));
    }

    #[test]
    fn bubblewrap_by_root() {
        use_nspid(bubblewrap(&[], &[]), None);
    }

    #[test]
    fn bubblewrap_by_a_user() {
        use_nspid(bubblewrap(&BY_USER, &["--unshare-user"]), Some(USER));
    }
}
