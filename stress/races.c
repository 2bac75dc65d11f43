// SPDX-License-Identifier: GPL-2.0
/*
 * Two processes set two vectors in turn. Others fork at every level, write
 * ns_last_pid, lower pid_max, and kill namespaces. No task and no GET may see a
 * part of one vector and a part of the other.
 *
 * Each vector starts a range of pids, and between two SETs far fewer tasks are
 * forked than a range has pids. ns_last_pid and a low pid_max put one level
 * outside of both ranges; the test then judges by the other levels.
 *
 *	level 1 (outermost)	pid_max goes up and down
 *	level 2			ns_last_pid is written
 *	level 3 (innermost)	whose vectors are set
 *	level 4			namespaces that come and die
 */
#include "stress.h"
#include "tasks.h"

#include <stdatomic.h>

/* <linux/pidfd.h> and <fcntl.h> define the same names. */
#define PIDFD_GET_PID_NAMESPACE _IO(0xff, 5)

#define LEVELS 3
#define RANGE 400000
#define A 1000000
#define B 2000000
#define WRITTEN 3000000		/* to ns_last_pid in level 2 */
#define LOW_PID_MAX 1500000	/* between A and B */

static struct {
	atomic_bool stop;
	long wanted;
	atomic_long forks, sets, gets, torn, deaths;
	atomic_long seen_a, seen_b, wraps, refused;
	atomic_long writes, limits;
} *count;

enum vec { VEC_A, VEC_B, NEITHER, ODD };

static bool in(long pid, long start)
{
	return pid >= start && pid <= start + RANGE;
}

/* Returns the vector that a pid or cursor of @level comes from. */
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

/* @pids are those of levels @level to 1. */
static void judge(const char *who, const long *pids, int level)
{
	bool seen[4] = {};

	for (int i = 0; i < level; i++)
		seen[vec_of(level - i, pids[i])] = true;
	count->seen_a += seen[VEC_A];
	count->seen_b += seen[VEC_B];
	count->wraps += vec_of(1, pids[level - 1]) == NEITHER;
	if ((!seen[VEC_A] || !seen[VEC_B]) && !seen[ODD])
		return;
	if (count->torn++ < 10) {
		printf("torn, %s:", who);
		for (int i = 0; i < level; i++)
			printf("%c%ld", i ? ':' : ' ', pids[i]);
		puts("");
	}
}

static void fail(const char *what, long ret)
{
	count->stop = true;
	errx(1, "%s: %ld", what, ret);
}

/* --- The processes ------------------------------------------------------------ */

static void set_in_turn(int start)
{
	char vecs[2][64];
	long ret;

	sprintf(vecs[0], "%d:%d:%d", A, A, A);
	sprintf(vecs[1], "%d:%d:%d", B, B, B);
	for (int i = start; !count->stop; i++) {
		ret = set_as(NULL, ns.fd[LEVELS], vecs[i & 1]);
		/* B is above a low pid_max. */
		if (ret == -ERANGE && (i & 1))
			count->refused++;
		else if (ret)
			fail("set", ret);
		count->sets++;
	}
}

static void get_in_turn(int unused)
{
	long pids[LEVELS];
	int n;

	(void)unused;
	while (!count->stop) {
		n = get_pids(ns.fd[LEVELS], LEVELS, pids);
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

	return must("fork", or_errno(clone(be_child, stack + sizeof(stack), flags | CLONE_PIDFD | SIGCHLD,
			  flags & CLONE_NEWPID ? stack : NULL, pidfd)));
}

/* The pids of a task before it is reaped, from level @level to level 1. */
static void read_pids(int pidfd, long *pids, int level)
{
	pid_t outermost_first[MAX_NESTED];
	char path[64];
	int n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	n = read_nspid(path, outermost_first);
	if (n < level)
		fail("levels of a task", n);
	for (int i = 0; i < level; i++)
		pids[i] = outermost_first[level - 1 - i];
}

static void reap_one(int pidfd)
{
	siginfo_t info;

	must("reap", or_errno(waitid(P_PIDFD, pidfd, &info, WEXITED)));
	close(pidfd);
}

/* From outside, as nsenter does. */
static void fork_in(int level)
{
	long pids[LEVELS];
	int pidfd;

	must("enter", or_errno(setns(ns.fd[level], CLONE_NEWPID)));
	while (!count->stop) {
		fork_with_pidfd(CLONE_VM | CLONE_VFORK, &pidfd);
		read_pids(pidfd, pids, level);
		judge("fork", pids, level);
		reap_one(pidfd);
		if (++count->forks >= count->wanted)
			count->stop = true;
	}
}

/* SET on a namespace that dies: after the first ESRCH every one fails so. */
static void let_die(int unused)
{
	char vecs[2][64];
	long pids[LEVELS], ret;
	int pidfd, fd;
	pid_t pid;

	(void)unused;
	sprintf(vecs[0], "7:%d:%d:%d", A, A, A);
	sprintf(vecs[1], "7:%d:%d:%d", B, B, B);
	while (!count->stop) {
		pid = fork_with_pidfd(CLONE_NEWPID, &pidfd);
		read_pids(pidfd, pids, LEVELS);
		judge("init", pids, LEVELS);
		fd = must("open a namespace", or_errno(ioctl(pidfd, PIDFD_GET_PID_NAMESPACE, 0)));
		ret = set_as(NULL, fd, vecs[0]);
		if (ret)
			fail("set in a new namespace", ret);
		must("kill", or_errno(kill(pid, SIGKILL)));
		for (int i = 0; ret != -ESRCH; i++) {
			ret = set_as(NULL, fd, vecs[i & 1]);
			if (ret && ret != -ESRCH && !(ret == -ERANGE && (i & 1)))
				fail("set in a dying namespace", ret);
		}
		reap_one(pidfd);
		ret = set_as(NULL, fd, vecs[0]);
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
		must("write ns_last_pid", write_file("/proc/sys/kernel/ns_last_pid", text));
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
		must("write pid_max", write_file("/proc/sys/kernel/pid_max", limits[i & 1]));
		count->limits++;
		sched_yield();
	}
}

/* --- All of them together ------------------------------------------------------ */

static const struct {
	void (*fn)(int arg);
	int arg;
	int level;	/* of the process, 0: that of this program */
} actors[] = {
	{ set_in_turn, 0, 0 }, { set_in_turn, 1, 0 }, { get_in_turn, 0, 0 },
	{ fork_in, 3, 0 }, { fork_in, 3, 0 }, { fork_in, 2, 0 }, { fork_in, 1, 0 },
	{ let_die, 0, 3 },
	{ write_last_pid, WRITTEN, 2 }, { change_pid_max, LOW_PID_MAX, 1 },
};

static void start(size_t i)
{
	int status;

	if (must("fork", or_errno(fork())))
		return;
	/* setns() changes the pid namespace of the next child. */
	if (actors[i].level) {
		must("enter", or_errno(setns(ns.fd[actors[i].level], CLONE_NEWPID)));
		if (must("fork", or_errno(fork()))) {
			must("wait", or_errno(wait(&status)));
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
	write_sysctl(NULL, "pid_max", PID_LIMIT);
	nest_to(LEVELS);
	for (int level = 1; level <= LEVELS; level++)
		write_sysctl(init_of(level), "pid_max", PID_LIMIT);
	sprintf(vec, "%d:%d:%d", A, A, A);
	must("set", set(vec));

	for (size_t i = 0; i < ARRAY_SIZE(actors); i++)
		start(i);
	/* The first process ends after the last fork, or because it failed. */
	for (size_t i = 0; i < ARRAY_SIZE(actors); i++) {
		must("wait", or_errno(wait(&status)));
		count->stop = true;
		bad += status != 0;
	}
	end_ns(1);

	printf("%ld forks, %ld SETs, %ld GETs, %ld namespaces died, %ld writes to ns_last_pid, %ld to pid_max\n",
	       count->forks, count->sets, count->gets, count->deaths, count->writes,
	       count->limits);
	printf("seen: %ld times one vector, %ld times the other, %ld times after a wrap; %ld refused\n",
	       count->seen_a, count->seen_b, count->wraps, count->refused);
	printf("%ld torn\n", count->torn);
	if (bad)
		errx(1, "%d processes failed", bad);
	if (!count->seen_a || !count->seen_b || !count->wraps || !count->refused || !count->deaths)
		errx(1, "one of these numbers is 0: this run did not test it");
	return count->torn ? 1 : 0;
}
