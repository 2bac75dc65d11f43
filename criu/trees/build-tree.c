// SPDX-License-Identifier: GPL-2.0
/*
 * build-tree ROOT: starts a container with the root file system ROOT (a tmpfs that holds this
 * program as /build-tree), prints the pid of its init, and leaves. The init and its descendants
 * are the tasks of ROOT/spec. When all of them are there, the init writes to the fifo ROOT/ready.
 *
 * One task a line, a parent before its children, the first line is the init, # starts a comment:
 *
 *	ID PARENT [WORD...]
 *
 *	new		the task is the init of a new pid namespace (clone)
 *	unshare		likewise, but its parent calls unshare() and goes on so
 *	enter=ID	its parent forks it into the pid namespace of task ID (setns)
 *	setsid, late	session leader before or after it has forked its children
 *	pgrp		leader of a process group
 *	join=ID		member of the process group of task ID; no error if that is impossible
 *	moved=ID	when it has forked its children, its parent puts it into the group of task ID; both
 *			are in the container's pid namespace
 *	threads=N	it has N threads besides the first
 *	exit=N		zombie with exit status N
 *	kill=N		zombie by signal N
 *	proc		it mounts proc on /proc-ID
 *	mntns		it has a new mount namespace, with proc on /stack and a mount on /stack/sys
 *	shared		its mounts propagate
 *	bind		it binds the folder of task 1 in its proc to /bind
 *	idle		it calls unshare() for a pid namespace, without a fork after that
 *	crash		it is a zombie by SIGILL
 *	user		it has a new user namespace
 *	gone		it exits when it has forked its children, and its parent waits for it
 *	aside		it is no child of its parent but of the one above (CLONE_PARENT)
 *	pidfd=ID, owner=ID	it has got a pidfd of task ID, a pipe with task ID as the owner, from its
 *			parent, which is in the container's pid namespace
 *	nobody		it has given up root's user id
 *	dead		its proc on /stack has a dead task, whose folder it has open
 *	inherit		task 0 stays in the session from outside
 *	outside		of task 0: there are two pid namespaces whose inits, pid 3 and 4 of the container,
 *			are not among its descendants, one in the other
 *	into=PID	its parent forks it into the pid namespace of one of these
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX 512

static struct task {
	int id, parent, enter, join, threads, exit, kill, pidfd, owner;
	int new, unshare, setsid, late, pgrp, proc, mntns, gone, shared, bind, idle, crash, user;
	int aside, dead, inherit, outside, into, moved, nobody;
} tasks[MAX];
static int nr;

/* Shared by all tasks */
static struct {
	int pid[MAX]; /* as the container's /proc shows it */
	int grouped[MAX];
	int forked[MAX];
	int built;
} *shared;

static void set(int *word, int value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, word, FUTEX_WAKE, MAX, NULL, NULL, 0);
}

static int wait_for(int *word)
{
	int value;

	while (!(value = __atomic_load_n(word, __ATOMIC_SEQ_CST)))
		syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
	return value;
}

static struct task *by_id(int id)
{
	for (int i = 0; i < nr; i++)
		if (tasks[i].id == id)
			return &tasks[i];
	errx(1, "no task %d", id);
}

#define INDEX(task) ((task) - tasks)

static void *thread(void *arg)
{
	pthread_barrier_wait(arg);
	for (;;)
		pause();
	return NULL;
}

static int pid_ns(int pid, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static void set_children_ns(int fd)
{
	if (setns(fd, CLONE_NEWPID))
		err(1, "setns");
	close(fd);
}

static void run(struct task *t);

static int open_for_child(struct task *t)
{
	int fds[2];

	if (t->pidfd >= 0) {
		fds[0] = syscall(SYS_pidfd_open, wait_for(&shared->pid[INDEX(by_id(t->pidfd))]), 0);
		if (fds[0] < 0)
			err(1, "pidfd");
		return fds[0];
	}
	if (t->owner >= 0) {
		if (pipe(fds) || fcntl(fds[0], F_SETOWN, wait_for(&shared->pid[INDEX(by_id(t->owner))])))
			err(1, "owner");
		close(fds[1]);
		return fds[0];
	}
	return -1;
}

static void spawn(struct task *t)
{
	int parent = shared->pid[INDEX(by_id(t->parent))];
	int own = -1, fd = open_for_child(t);
	pid_t pid;

	if (t->unshare && unshare(CLONE_NEWPID))
		err(1, "unshare");
	if (t->enter >= 0 || t->into) {
		own = pid_ns(parent, "pid_for_children");
		set_children_ns(pid_ns(t->into ? t->into : wait_for(&shared->pid[INDEX(by_id(t->enter))]), "pid"));
	}

	pid = syscall(SYS_clone,
		      SIGCHLD | (t->new ? CLONE_NEWPID : 0) | (t->user ? CLONE_NEWUSER : 0) | (t->aside ? CLONE_PARENT : 0),
		      NULL, NULL, NULL, NULL);
	if (pid < 0)
		err(1, "fork of %d", t->id);
	if (pid == 0)
		run(t);

	if (own >= 0)
		set_children_ns(own);
	if (fd >= 0)
		close(fd);
	if (t->moved >= 0) {
		wait_for(&shared->forked[INDEX(t)]);
		if (setpgid(pid, wait_for(&shared->pid[INDEX(by_id(t->moved))])))
			err(1, "group of %d", t->id);
	}
	if (t->gone && waitpid(pid, NULL, 0) != pid)
		err(1, "wait for %d", t->id);
	if (t->exit >= 0 || t->kill >= 0 || t->crash) {
		siginfo_t info;

		if (t->kill >= 0) {
			wait_for(&shared->pid[INDEX(t)]);
			kill(pid, t->kill);
		}
		if (waitid(P_PID, pid, &info, WEXITED | WNOWAIT))
			err(1, "wait for %d", t->id);
	}
}

/* Opens the folder in /stack of a task that is dead by then */
static void open_dead(void)
{
	char path[32];
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0)
		_exit(pause());
	snprintf(path, sizeof(path), "/stack/%d", pid);
	if (pid < 0 || open(path, O_RDONLY) < 0 || kill(pid, SIGKILL) || waitpid(pid, &status, 0) != pid)
		err(1, "dead task");
}

static void run(struct task *t)
{
	pthread_barrier_t barrier;
	char self[16] = "";

	if (readlink("/proc/self", self, sizeof(self) - 1) < 0)
		err(1, "/proc/self");
	if (t->setsid)
		setsid();
	if (t->pgrp)
		setpgid(0, 0);
	set(&shared->grouped[INDEX(t)], 1);
	if (t->join >= 0) {
		struct task *leader = by_id(t->join);
		int fd, pid;
		char path[64], status[4096], *line;

		/* The leader's pid as this task sees it */
		wait_for(&shared->grouped[INDEX(leader)]);
		pid = wait_for(&shared->pid[INDEX(leader)]);
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		fd = open(path, O_RDONLY);
		if (fd >= 0) {
			ssize_t len = read(fd, status, sizeof(status) - 1);
			int depth = 0, mine = 0;
			char own[64], mystat[4096], *p;

			status[len > 0 ? len : 0] = 0;
			close(fd);
			snprintf(own, sizeof(own), "/proc/%s/status", self);
			fd = open(own, O_RDONLY);
			len = read(fd, mystat, sizeof(mystat) - 1);
			mystat[len > 0 ? len : 0] = 0;
			close(fd);
			line = strstr(mystat, "NSpid:");
			for (p = line + 6; *p != '\n'; p++)
				mine += *p == '\t';
			line = strstr(status, "NSpid:");
			for (p = line + 6; line && *p != '\n'; p++)
				if (*p == '\t' && ++depth == mine)
					setpgid(0, atoi(p + 1));
		}
	}
	set(&shared->pid[INDEX(t)], atoi(self));

	if (t->proc) {
		char path[32];

		snprintf(path, sizeof(path), "/proc-%d", t->id);
		if (mkdir(path, 0755) || mount("proc", path, "proc", 0, NULL))
			err(1, "mount of %s", path);
	}
	if (t->mntns && (unshare(CLONE_NEWNS) || mount("proc", "/stack", "proc", MS_NOSUID, NULL) ||
			 mount("mask", "/stack/sys", "tmpfs", 0, NULL)))
		err(1, "mount namespace");
	if (t->shared && mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL))
		err(1, "shared");
	if (t->bind && (mkdir("/bind", 0755) || mount("/stack/1", "/bind", NULL, MS_BIND, NULL)))
		err(1, "bind");
	if (t->dead)
		open_dead();
	if (t->crash) {
		prctl(PR_SET_DUMPABLE, 0);
		__builtin_trap();
	}
	if (t->exit >= 0)
		_exit(t->exit);
	while (t->kill >= 0)
		pause();

	/* Before an unshare(), after which there can be no new ones */
	pthread_barrier_init(&barrier, NULL, t->threads + 1);
	for (int i = 0; i < t->threads; i++) {
		pthread_t id;

		if (pthread_create(&id, NULL, thread, &barrier))
			errx(1, "pthread_create");
	}
	pthread_barrier_wait(&barrier);

	for (int i = 0; i < nr; i++)
		if (&tasks[i] != t && tasks[i].parent == t->id)
			spawn(&tasks[i]);
	set(&shared->forked[INDEX(t)], 1);

	if (t->late)
		setsid();
	if (t->idle && unshare(CLONE_NEWPID))
		err(1, "unshare");
	if (t->gone)
		_exit(0);

	if (t->nobody && setresuid(65534, 65534, 65534))
		err(1, "nobody");
	__atomic_add_fetch(&shared->built, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &shared->built, FUTEX_WAKE, MAX, NULL, NULL, 0);
	if (t == tasks) {
		int living = 0, built, fd;

		for (int i = 0; i < nr; i++)
			living += tasks[i].exit < 0 && tasks[i].kill < 0 && !tasks[i].crash && !tasks[i].gone;
		while ((built = __atomic_load_n(&shared->built, __ATOMIC_SEQ_CST)) < living)
			syscall(SYS_futex, &shared->built, FUTEX_WAIT, built, NULL, NULL, 0);
		fd = open("/ready", O_WRONLY);
		if (fd < 0 || write(fd, "ok", 2) != 2)
			err(1, "/ready");
		close(fd);
	}
	for (;;)
		pause();
}

static void read_spec(const char *root)
{
	char path[4096];
	FILE *f;
	char *line = NULL, *word;
	size_t size = 0;

	snprintf(path, sizeof(path), "%s/spec", root);
	f = fopen(path, "re");
	if (!f)
		err(1, "%s", path);
	while (getline(&line, &size, f) > 0) {
		struct task *t = &tasks[nr];

		if (*line == '#' || *line == '\n')
			continue;
		if (++nr > MAX)
			errx(1, "too many tasks");
		t->enter = t->join = t->exit = t->kill = t->pidfd = t->owner = t->moved = -1;
		if (sscanf(line, "%d %d", &t->id, &t->parent) != 2)
			errx(1, "no task: %s", line);
		strtok(line, " \n");
		strtok(NULL, " \n");
		while ((word = strtok(NULL, " \n"))) {
			char *value = strchr(word, '=');
			int number = value ? atoi(value + 1) : 1;
			struct {
				const char *name;
				int *field;
			} words[] = {
				{ "new", &t->new },	  { "unshare", &t->unshare }, { "enter", &t->enter },
				{ "setsid", &t->setsid }, { "late", &t->late },	      { "pgrp", &t->pgrp },
				{ "join", &t->join },	  { "threads", &t->threads }, { "exit", &t->exit },
				{ "kill", &t->kill },	  { "gone", &t->gone },	      { "proc", &t->proc },
				{ "mntns", &t->mntns },	  { "shared", &t->shared },   { "bind", &t->bind },
				{ "idle", &t->idle },	  { "crash", &t->crash },     { "user", &t->user },
				{ "aside", &t->aside },	  { "dead", &t->dead },	      { "inherit", &t->inherit },
				{ "pidfd", &t->pidfd },	  { "owner", &t->owner },     { "into", &t->into },
				{ "outside", &t->outside }, { "moved", &t->moved },   { "nobody", &t->nobody },
			};
			size_t i = 0;

			if (value)
				*value = 0;
			while (strcmp(word, words[i].name))
				if (++i == sizeof(words) / sizeof(*words))
					errx(1, "no word: %s", word);
			*words[i].field = number;
		}
	}
	fclose(f);
}

static void container(const char *root)
{
	int fd;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || chdir(root) ||
	    syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/") ||
	    mount("proc", "/proc", "proc", 0, NULL))
		err(1, "mounts of %s", root);
	if (!tasks[0].inherit && setsid() < 0)
		err(1, "setsid");
	fd = open("/log", O_RDWR | O_CREAT | O_APPEND, 0600);
	if (fd < 0)
		err(1, "/log");
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	syscall(SYS_close_range, 3, ~0U, 0);
	execl("/build-tree", "build-tree", NULL);
	err(1, "/build-tree");
}

/* A task of the container's pid namespace that is not below its init, and two inits below each other */
static void run_outside(int ready)
{
	pid_t pid = 0;

	for (int level = 0; level < 2 && pid == 0; level++) {
		pid = syscall(SYS_clone, SIGCHLD | CLONE_NEWPID, NULL, NULL, NULL, NULL);
		if (pid < 0)
			err(1, "fork outside");
	}
	if (pid == 0 && write(ready, "", 1) != 1)
		err(1, "pipe");
	syscall(SYS_close_range, 0, ~0U, 0);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	int ready[2], go[2];
	pid_t pid;
	char byte;

	if (argc == 1) {
		read_spec("");
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (shared == MAP_FAILED)
			err(1, "mmap");
		run(tasks);
	}

	read_spec(argv[1]);
	if (pipe(ready) || pipe(go) || unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS))
		err(1, "unshare");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		if (read(go[0], &byte, 1) != 1)
			err(1, "pipe");
		container(argv[1]);
	}
	if (tasks[0].outside) {
		pid_t outside = fork();

		if (outside < 0)
			err(1, "fork");
		if (outside == 0)
			run_outside(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			err(1, "pipe");
	}
	if (write(go[1], "", 1) != 1)
		err(1, "pipe");
	printf("%d\n", pid);
	return 0;
}
