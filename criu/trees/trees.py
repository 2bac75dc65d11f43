#!/usr/bin/env python3
"""trees.py [-k] SPEC|SEED|SEED-SEED|SEEDxTASKS...: dumps, kills and restores trees of tasks in nested pid
namespaces, twice each, and compares what /proc shows of every task before and after: its pids,
process group and session in each pid namespace, its parent, state and threads, the pid
namespace of its children, and the last pid of each pid namespace.

SPEC is a file for build-tree, SEED a number that a tree is made from, TASKS the number of tasks,
at random otherwise. Run as root with CRIU=, the criu program, and BUILD_TREE=, the built build-tree.c.
"""
import argparse
import contextlib
import ctypes
import errno
import fcntl
import os
import pathlib
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

NS_SPECIFIC_IOC = 0xC018B70E
GET_LAST_PID = 2
KEYS = ("NSpid", "NSpgid", "NSsid")
TIMEOUT = 600  # seconds for one call of CRIU


def status(pid, tid=None):
    text = pathlib.Path(f"/proc/{pid}/task/{tid or pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines())


def children(pid):
    return [int(c) for t in os.listdir(f"/proc/{pid}/task")
            for c in pathlib.Path(f"/proc/{pid}/task/{t}/children").read_text().split()]


def ioctl_last_pid(ns):
    """The last pid of a pid namespace, None if it has none any more"""
    buf = ctypes.create_string_buffer(16)
    req = struct.pack("=IIQII", GET_LAST_PID, 0, ctypes.addressof(buf), len(buf), 1)
    with open(ns, "rb") as f:
        try:
            fcntl.ioctl(f, NS_SPECIFIC_IOC, req)
        except ProcessLookupError:
            return None
    # The request is copied, the buffer it points to is ours
    return int(buf.raw.split(b"\0")[0])


def last_pids(paths):
    """The last pid of each pid namespace in a dictionary of paths. Without the ioctl it is the one
    before the next pid: a fork into each of them shows that, and others set it back"""
    try:
        return {ns: ioctl_last_pid(path) for ns, path in paths.items()}
    except OSError as e:
        if e.errno != errno.ENOTTY:
            raise
    found = {}
    for ns in sorted(paths, key=len):
        pids = fork_in(paths[ns])
        found[ns] = pids and pids[-1] - 1
    for ns in sorted(paths, key=len, reverse=True):
        if found[ns] is not None:
            fork_in(paths[ns], found[ns])
    return found


def snapshot(root):
    """All tasks below root by their pid in its namespace"""
    depth = len(status(root)["NSpid"].split()) - 1
    names = {}  # inode of a pid namespace: its init's pids

    def vector(s, key):
        return tuple(map(int, s[key].split()[depth:]))

    def walk(pid):
        yield pid
        for child in children(pid):
            yield from walk(child)

    tasks, spaces = {}, {}
    pids = list(walk(root))
    for pid in pids:
        s = status(pid)
        if vector(s, "NSpid")[-1] == 1:
            names[os.stat(f"/proc/{pid}/ns/pid").st_ino] = vector(s, "NSpid")
    for pid in pids:
        s = status(pid)
        parent = status(int(s["PPid"]))["NSpid"].split()[depth:] if pid != root else [0]
        task = {key: vector(s, key) for key in KEYS}
        task["parent"] = int(parent[0])
        task["state"] = "Z" if s["State"][0] == "Z" else "alive"
        task["exit"] = pathlib.Path(f"/proc/{pid}/stat").read_text().split()[-1] if task["state"] == "Z" else None
        task["threads"] = sorted(vector(status(pid, t), "NSpid") for t in os.listdir(f"/proc/{pid}/task"))
        task["ns"] = names[os.stat(f"/proc/{pid}/ns/pid").st_ino]
        if task["state"] != "Z":
            # The link is missing if that pid namespace has no init
            children_ns = pathlib.Path(f"/proc/{pid}/ns/pid_for_children")
            task["for_children"] = names.get(os.stat(children_ns).st_ino) if children_ns.exists() else None
            spaces[task["ns"]] = f"/proc/{pid}/ns/pid"
        tasks[task["NSpid"][0]] = task
    return tasks, last_pids(spaces), mounts_of(pids, depth, names)


def mounts_of(pids, depth, names):
    """All mounts, by the first task of the mount namespace and the mounts below them: their options,
    which ones share a file system, and the pid namespace of proc unless it is covered"""
    mounts, devices, seen = {}, {}, set()
    living = [(int(s["NSpid"].split()[depth]), pid) for pid in pids if (s := status(pid))["State"][0] != "Z"]
    for first, pid in sorted(living):
        lines = {}
        for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
            mount, parent, device, mnt_root, point, *rest = line.split()
            lines[mount] = (parent, device, mnt_root, point, rest)
        mntns = os.stat(f"/proc/{pid}/ns/mnt").st_ino
        if mntns in seen:
            continue
        seen.add(mntns)
        for mount, (parent, device, mnt_root, point, rest) in lines.items():
            where = [point]
            while parent in lines:
                where.append(lines[parent][3])
                parent = lines[parent][0]
            key = (first, *where)
            mounts[key] = [mnt_root, rest[0], *rest[-3:]]
            devices.setdefault(device, set()).add(key)
            init = pathlib.Path(f"/proc/{pid}/root{point}/1/ns/pid")
            if rest[-3] == "proc" and init.exists():
                mounts[key].append(names.get(os.stat(init).st_ino))
    for keys in devices.values():
        for key in keys:
            mounts[key].append(sorted(keys))
    return mounts


def compare(before, after, what):
    wrong = []
    for kind, old, new in zip(("task", "last pid of", "mount"), before, after):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                wrong.append(f"{kind} {key}:\n  before: {old.get(key)}\n  after:  {new.get(key)}")
    if wrong:
        raise AssertionError(f"{what}:\n" + "\n".join(wrong))


def spec_of_seed(seed, size=None):
    rnd = random.Random(seed)
    path = [(0,)]      # inits down to it
    leaf = [False]     # zombies and tasks that leave have no children, but gone ones do
    lines = ["0 0"]
    unshared = {}      # task: inits down to the pid namespace of its children
    parents = [None]
    gone = set()

    def line(t):
        while t is not None:
            yield t
            t = parents[t]

    def is_there(t):
        """Whether task i can wait for t: nobody forks t who waits for a parent of i to leave"""
        return not any(parents[a] in line(parents[g]) and a > g and a not in line(i)
                       for g in gone.intersection(line(i)) for a in line(t) if a)

    for i in range(1, size or rnd.randint(4, 24)):
        parent = rnd.choice([t for t in range(i) if not leaf[t]])
        parents.append(parent)
        words = []
        where = path[parent]
        end = rnd.random()
        kind = rnd.random()
        leaf.append(False)
        if kind < 0.25 and len(where) < 6:
            words.append("unshare" if rnd.random() < 0.3 and parent not in unshared else "new")
            if words == ["unshare"]:
                unshared[parent] = where + (i,)
            where = where + (i,)
        elif kind < 0.35:
            # Into a namespace below that of the parent whose init is not among those who leave
            below = [t for t in range(i) if path[t][:len(where)] == where and len(path[t]) > len(where)
                     and path[t][-1] == t and not leaf[t] and is_there(t)]
            if below:
                t = rnd.choice(below)
                words.append(f"enter={t}")
                where = path[t]
        elif parent in unshared:
            where = unshared[parent]
        is_init = bool(where) and where[-1] == i
        if is_init and parent in unshared and words == ["new"]:
            # clone() with CLONE_NEWPID fails after unshare()
            words, where, is_init = [], unshared[parent], False
        if is_init and rnd.random() < 0.5:
            words.append(rnd.choice(("proc", "mntns", "mntns")))
        if rnd.random() < 0.2:
            words.append("setsid")
        elif rnd.random() < 0.1:
            words.append("late")
        elif rnd.random() < 0.2:
            words.append("pgrp")
        elif rnd.random() < 0.2:
            words += [f"join={t}" for t in (rnd.randrange(i),) if is_there(t)]
        if "unshare" in words:
            pass  # without an init the parent could not fork again
        elif end < 0.12:
            words.append(f"exit={rnd.randrange(128)}")
            words = [w for w in words if w not in ("proc", "mntns")]
            leaf[i] = True
        elif end < 0.16:
            words.append(f"kill={rnd.choice((1, 9, 15)) if not is_init else 9}")
            words = [w for w in words if w not in ("proc", "mntns")]
            leaf[i] = True
        elif end < 0.3 and not is_init:
            words.append("gone")
            gone.add(i)
        elif rnd.random() < 0.2:
            words.append(f"threads={rnd.randint(1, 3)}")
        path.append(where)
        lines.append(f"{i} {parent} {' '.join(words)}".strip())
    return "\n".join(lines) + "\n"


def fork_in(path, last_pid=None):
    """The pids of a new task in a pid namespace, outermost first, None if there can be none. The
    task sets the last pid, if there is one to set"""
    reader, writer = os.pipe()
    helper = os.fork()
    if helper == 0:
        with open(path, "rb") as ns:
            if ctypes.CDLL(None, use_errno=True).setns(ns.fileno(), 0):
                os._exit(1)
        wait_for, done = os.pipe()
        try:
            child = os.fork()
        except OSError as e:
            os._exit(0 if e.errno == errno.ENOMEM else 1)
        if child == 0:
            if last_pid is not None:
                pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(last_pid))
            os.write(done, b".")
            os.read(reader, 1)
            os._exit(0)
        os.close(done)
        if not os.read(wait_for, 1):
            os._exit(1)
        pids = status(child)["NSpid"]
        os.close(reader)
        os.write(writer, pids.encode())
        os.close(writer)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as f:
        pids = f.read()
    if os.waitpid(helper, 0)[1]:
        raise AssertionError("no fork in a pid namespace")
    return list(map(int, pids.split())) or None


def check_next_forks(root, tasks):
    """Forks in each pid namespace, the deepest first: each level has to give the next pid that none
    of the tasks, threads, groups and sessions has"""
    depth = len(status(root)["NSpid"].split()) - 1
    real = {}

    def walk(pid):
        real[int(status(pid)["NSpid"].split()[depth])] = pid
        for child in children(pid):
            walk(child)

    walk(root)
    inits = {t["ns"]: pid for pid, t in tasks.items() if t["NSpid"] == t["ns"] and t["state"] != "Z"}
    used = {}
    for t in tasks.values():
        ns = t["ns"]
        while ns:
            level = len(ns) - 1
            for vector in (t["NSpid"], t["NSpgid"], t["NSsid"], *t["threads"]):
                used.setdefault(ns, set()).add(vector[level])
            ns = parent_ns(tasks, ns)
    for ns in sorted(inits, key=len, reverse=True):
        chain, expected = [ns], []
        while parent_ns(tasks, chain[0]):
            chain.insert(0, parent_ns(tasks, chain[0]))
        last = last_pids({outer: f"/proc/{real[inits[outer]]}/ns/pid" for outer in chain})
        for outer in chain:
            pid = last[outer] + 1
            while pid in used[outer]:
                pid += 1
            expected.append(pid)
        pids = fork_in(f"/proc/{real[inits[ns]]}/ns/pid")[depth:]
        if pids != expected:
            raise AssertionError(f"the next fork in {ns} got {pids}, not {expected}")


def parent_ns(tasks, ns):
    """Pid namespaces are named by the pids of their inits, whose parents are in the one above"""
    return tasks[tasks[ns[0]]["parent"]]["ns"] if len(ns) > 1 else None


class Refused(Exception):
    pass


def criu(action, images, *options):
    log = images / f"{action}.log"
    args = [os.environ["CRIU"], action, "-D", images, "-o", log, "-v4", "--manage-cgroups=ignore", *options]
    # A file, as a restored tree keeps the descriptors of a failed criu open
    with open(log.with_suffix(".out"), "w+b") as out:
        try:
            done = subprocess.run(list(map(str, args)), stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"criu {action} hangs")
    if done.returncode:
        errors = [l for l in log.read_text(errors="replace").splitlines() if "Error" in l] if log.exists() else []
        refusals = [e for e in errors if "Can't dump" in e]
        if action == "dump" and refusals:
            raise Refused(refusals[0].split("): ", 1)[-1])
        raise AssertionError(f"criu {action} failed, log in {log}:\n" + "\n".join(errors[:12]))


@contextlib.contextmanager
def built(spec, work):
    """Builds a tree, and gives the pid of its root and its root file system"""
    root = work / "root"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tree", root], check=True)
    for name in ("proc", "tmp", "dev", "stack"):
        (root / name).mkdir()
    shutil.copy(os.environ["BUILD_TREE"], root / "build-tree")
    (root / "spec").write_text(spec)
    os.mkfifo(root / "ready")
    pid = int(subprocess.run([os.environ["BUILD_TREE"], root], stdout=subprocess.PIPE, check=True).stdout)
    try:
        # Both ends: a tree that fails must not block the reader for good
        with open(os.open(root / "ready", os.O_RDWR), "rb", buffering=0) as fifo:
            watch = os.pidfd_open(pid)
            ready, _, _ = select.select([fifo, watch], [], [], 60)
            os.close(watch)
            if fifo not in ready:
                raise AssertionError(f"the tree was not built: {(root / 'log').read_text()}")
        (root / "ready").unlink()
        yield pid, root
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        subprocess.run(["umount", "-l", root], check=True)


def run_tree(spec, options, work):
    with built(spec, work) as (pid, root):
        before = snapshot(pid)
        for turn in (1, 2):
            images = work / f"images{turn}"
            images.mkdir()
            criu("dump", images, "-t", pid, *options)
            criu("restore", images, "-d", "--root", root, "--pidfile", images / "pid", *options)
            pid = int((images / "pid").read_text())
            try:
                compare(before, snapshot(pid), f"turn {turn}")
                if turn == 2:
                    check_next_forks(pid, before[0])
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                raise
        os.kill(pid, signal.SIGKILL)
        return before


def run_and_expect(spec, work):
    """A line "# refused: TEXT" in a file says that CRIU refuses the tree, and how; "# options: OPTION"
    is for CRIU"""
    expected = re.search("^# refused: (.*)", spec, re.MULTILINE)
    options = re.findall("^# options: (.*)", spec, re.MULTILINE)
    if expected:
        with built(spec, work) as (pid, _):
            try:
                criu("dump", work, "-t", pid, *options)
            except Refused as e:
                if re.search(expected[1], str(e)):
                    return f"refused, as it should be: {e}"
                raise
        raise AssertionError("not refused")
    before = run_tree(spec, options, work)
    return "{} tasks in {} pid namespaces, {} levels".format(
        len(before[0]), len(before[1]), max(len(t["NSpid"]) for t in before[0].values()) - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", "--keep-going", action="store_true")
    parser.add_argument("--logs", default="/tmp")
    parser.add_argument("trees", nargs="+")
    args = parser.parse_args()
    trees = []
    for tree in args.trees:
        if re.fullmatch(r"\d+-\d+", tree):
            first, last = map(int, tree.split("-"))
            trees += map(str, range(first, last + 1))
        else:
            trees.append(tree)
    passed = failed = 0
    for tree in trees:
        if re.fullmatch(r"\d+(x\d+)?", tree):
            spec = spec_of_seed(*map(int, tree.split("x")))
        else:
            spec = pathlib.Path(tree).read_text()
        with tempfile.TemporaryDirectory(dir="/run", ignore_cleanup_errors=True) as work:
            try:
                print(f"{tree}: {run_and_expect(spec, pathlib.Path(work))}", flush=True)
                passed += 1
            except Exception as e:
                failed += 1
                print(f"FAILED {tree}: {e}\n{spec}", flush=True)
                keep = pathlib.Path(args.logs) / f"tree-{pathlib.Path(tree).name}"
                shutil.rmtree(keep, ignore_errors=True)
                for log in pathlib.Path(work).rglob("*.log"):
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(log, keep / f"{log.parent.name}-{log.name}")
                if not args.keep_going:
                    break
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
