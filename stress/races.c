// SPDX-License-Identifier: GPL-2.0
/*
 * Two vectors that can be told apart are set in turn, while others fork in every
 * level, write ns_last_pid, lower pid_max, and let namespaces die. No task and no
 * GET may see a part of one and a part of the other.
 *
 * Each vector has a range of pids, the forks in between are far fewer than it is
 * long. What ns_last_pid and a low pid_max do to one level is seen there alone:
 * that level then says nothing about which vector it was.
 *
 *	level 1 (outermost)	pid_max goes up and down
 *	level 2			ns_last_pid is written
 *	level 3 (innermost)	whose vectors are set
 *	level 4			namespaces that come and die
 */
#include "common.h"

#include <stdatomic.h>

/* <linux/pidfd.h> and <fcntl.h> cannot both be had. */
#define PIDFD_GET_PID_NAMESPACE _IO(0xff, 5)

#define LEVELS 3
#define RANGE 400000
#define A 1000000
#define B 2000000
#define WRITTEN 3000000		/* to ns_last_pid in level 2 */
#define LOW_PID_MAX 1500000	/* between A and B */
#define AFTER_WRAP 300

static struct {
	atomic_bool stop;
	long wanted;
	atomic_long forks, sets, gets, torn, deaths;
	atomic_long seen_a, seen_b, wraps, refused;
	atomic_long writes, limits;
} *count;

static struct task init[LEVELS + 1];	/* by level, from 1 */
static int ns[LEVELS + 1];

enum vec { VEC_A, VEC_B, NEITHER, ODD };

static bool in(long pid, long start)
{
	return pid >= start && pid <= start + RANGE;
}

/* Which vector a pid or cursor of @level is from. */
static enum vec vec_of(int level, long pid)
{
	if (in(pid, A))
		return VEC_A;
	if (in(pid, B))
		return VEC_B;
	if (level == 2 && in(pid, WRITTEN))
		return NEITHER;
	if (level == 1 && (in(pid, AFTER_WRAP) || pid == LOW_PID_MAX))
		return NEITHER;
	return ODD;
}

/* @pids start with that of level @level and go outwards. */
static void judge(const char *who, const long *pids, int level)
{
	bool seen[4] = {};
	int levels = level;

	for (int i = 0; i < levels; i++)
		seen[vec_of(level - i, pids[i])] = true;
	count->seen_a += seen[VEC_A];
	count->seen_b += seen[VEC_B];
	count->wraps += level >= 1 && vec_of(1, pids[level - 1]) == NEITHER;
	if ((!seen[VEC_A] || !seen[VEC_B]) && !seen[ODD])
		return;
	if (count->torn++ < 10) {
		printf("torn, %s:", who);
		for (int i = 0; i < levels; i++)
			printf("%c%ld", i ? ':' : ' ', pids[i]);
		puts("");
	}
}

static void fail(const char *what, long ret)
{
	count->stop = true;
	errx(1, "%s: %ld", what, ret);
}

/* --- Who does what ------------------------------------------------------------ */

static void set_in_turn(int start)
{
	char vecs[2][64];
	long ret;

	sprintf(vecs[0], "%d:%d:%d", A, A, A);
	sprintf(vecs[1], "%d:%d:%d", B, B, B);
	for (int i = start; !count->stop; i++) {
		ret = set_vec(ns[LEVELS], vecs[i & 1]);
		/* Above what pid_max is now. */
		if (ret == -EINVAL && (i & 1))
			count->refused++;
		else if (ret)
			fail("set", ret);
		count->sets++;
	}
}

static void get_in_turn(int unused)
{
	long pids[MAX_LEVELS];
	int n;

	(void)unused;
	while (!count->stop) {
		n = get_vec(ns[LEVELS], LEVELS, pids);
		if (n != LEVELS)
			fail("get", n);
		judge("get", pids, LEVELS);
		count->gets++;
	}
}

static int be_child(void *init)
{
	while (init)
		pause();
	_exit(0);
}

static pid_t fork_with_pidfd(int flags, int *pidfd)
{
	static char stack[16384] __attribute__((aligned(16)));

	return must(clone(be_child, stack + sizeof(stack), flags | CLONE_PIDFD | SIGCHLD,
			  flags & CLONE_NEWPID ? stack : NULL, pidfd),
		    "fork");
}

/* The pids of a task that has not been reaped, from level @level outwards. */
static void read_pids(int pidfd, long *pids, int level)
{
	char path[64], text[1024], *at;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	fd = must(open(path, O_RDONLY | O_CLOEXEC), "open fdinfo");
	len = must(read(fd, text, sizeof(text) - 1), "read fdinfo");
	close(fd);
	text[len] = '\0';
	at = strstr(text, "NSpid:");
	if (!at)
		errx(1, "fdinfo has no NSpid");
	at += strlen("NSpid:");
	strtol(at, &at, 10);	/* that of the host */
	for (int i = level - 1; i >= 0; i--)
		pids[i] = strtol(at, &at, 10);
}

static void reap_one(int pidfd)
{
	siginfo_t info;

	must(waitid(P_PIDFD, pidfd, &info, WEXITED), "reap");
	close(pidfd);
}

/* From the outside, as nsenter does. */
static void fork_in(int level)
{
	long pids[MAX_LEVELS];
	int pidfd;

	must(setns(ns[level], CLONE_NEWPID), "enter");
	while (!count->stop) {
		fork_with_pidfd(CLONE_VM | CLONE_VFORK, &pidfd);
		read_pids(pidfd, pids, level);
		judge("fork", pids, level);
		reap_one(pidfd);
		if (++count->forks >= count->wanted)
			count->stop = true;
	}
}

/* A namespace that dies while it is set: from some time on, and for good. */
static void let_die(int unused)
{
	char vecs[2][64];
	long pids[MAX_LEVELS], ret;
	int pidfd, fd;
	pid_t pid;

	(void)unused;
	sprintf(vecs[0], "7:%d:%d:%d", A, A, A);
	sprintf(vecs[1], "7:%d:%d:%d", B, B, B);
	while (!count->stop) {
		pid = fork_with_pidfd(CLONE_NEWPID, &pidfd);
		read_pids(pidfd, pids, LEVELS);
		judge("init", pids, LEVELS);
		fd = must(ioctl(pidfd, PIDFD_GET_PID_NAMESPACE, 0), "open a namespace");
		ret = set_vec(fd, vecs[0]);
		if (ret)
			fail("set in a new namespace", ret);
		must(kill(pid, SIGKILL), "kill");
		for (int i = 0; ret != -ESRCH; i++) {
			ret = set_vec(fd, vecs[i & 1]);
			if (ret && ret != -ESRCH && !(ret == -EINVAL && (i & 1)))
				fail("set in a dying namespace", ret);
		}
		reap_one(pidfd);
		ret = set_vec(fd, vecs[0]);
		if (ret != -ESRCH)
			fail("set in a dead namespace", ret);
		close(fd);
		count->deaths++;
	}
}

static void write_last_pid(int pid)
{
	char text[16];

	sprintf(text, "%d", pid);
	while (!count->stop) {
		must(write_file("/proc/sys/kernel/ns_last_pid", text), "write ns_last_pid");
		count->writes++;
		sched_yield();
	}
}

static void change_pid_max(int low)
{
	char limits[2][16];

	sprintf(limits[0], "%d", low);
	sprintf(limits[1], "%d", PID_LIMIT);
	for (int i = 0; !count->stop; i++) {
		must(write_file("/proc/sys/kernel/pid_max", limits[i & 1]), "write pid_max");
		count->limits++;
		sched_yield();
	}
}

/* --- All of them together ------------------------------------------------------ */

static const struct {
	void (*fn)(int arg);
	int arg;
	int level;	/* 0: in the pid namespace of this program */
} actors[] = {
	{ set_in_turn, 0, 0 }, { set_in_turn, 1, 0 }, { get_in_turn, 0, 0 },
	{ fork_in, 3, 0 }, { fork_in, 3, 0 }, { fork_in, 2, 0 }, { fork_in, 1, 0 },
	{ let_die, 0, 3 },
	{ write_last_pid, WRITTEN, 2 }, { change_pid_max, LOW_PID_MAX, 1 },
};

static void start(size_t i)
{
	int status;

	if (must(fork(), "fork"))
		return;
	/* To be in a namespace takes one more fork. */
	if (actors[i].level) {
		must(setns(ns[actors[i].level], CLONE_NEWPID), "enter");
		if (must(fork(), "fork")) {
			must(wait(&status), "wait");
			_exit(status ? 1 : 0);
		}
	}
	actors[i].fn(actors[i].arg);
	_exit(0);
}

int races(int argc, char **argv)
{
	int status, bad = 0;
	char vec[64];

	if (argc < 2)
		errx(2, "races FORKS");
	count = shared(sizeof(*count));
	count->wanted = atol(argv[1]);
	must(write_sysctl(NULL, "pid_max", PID_LIMIT), "set pid_max");
	for (int level = 1; level <= LEVELS; level++) {
		init[level] = spawn(level > 1 ? &init[level - 1] : NULL, CLONE_NEWPID);
		ns[level] = open_ns(&init[level], "pid");
		must(write_sysctl(&init[level], "pid_max", PID_LIMIT), "set pid_max");
	}
	sprintf(vec, "%d:%d:%d", A, A, A);
	must(set_vec(ns[LEVELS], vec), "set");

	for (size_t i = 0; i < ARRAY_SIZE(actors); i++)
		start(i);
	/* The first one ends when there were enough forks, or has failed. */
	for (size_t i = 0; i < ARRAY_SIZE(actors); i++) {
		must(wait(&status), "wait");
		count->stop = true;
		bad += status != 0;
	}
	end(NULL, &init[1]);

	printf("%ld forks, %ld SETs, %ld GETs, %ld namespaces died, %ld writes to ns_last_pid, %ld to pid_max\n",
	       count->forks, count->sets, count->gets, count->deaths, count->writes,
	       count->limits);
	printf("seen: %ld times one vector, %ld times the other, %ld times after a wrap; %ld refused\n",
	       count->seen_a, count->seen_b, count->wraps, count->refused);
	printf("%ld torn\n", count->torn);
	if (bad)
		errx(1, "%d of those who did it have failed", bad);
	if (!count->seen_a || !count->seen_b || !count->wraps || !count->refused || !count->deaths)
		errx(1, "something has not happened at all: this has not tested it");
	return count->torn ? 1 : 0;
}
