// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to choose the pids of new tasks in nested pid namespaces, by
 * each way that there is. Prints CSV; the columns are named in main().
 *
 * The ways to make a task:
 *   clone    pids as they come: the floor
 *   vector   PIDNS_REQ_SET_LAST_PID_VEC, then clone
 *   set_tid  clone3() with set_tid
 *   helpers  a task in each namespace writes its ns_last_pid when asked to over
 *            a socket, then clone
 *
 * Each chain of namespaces has one init per level, which is also the helper
 * there. Tasks are made by this program, outside of all of them, in the
 * innermost one. Levels are numbered from the inside outwards, as in the vector.
 * The pids of every task are compared with what was asked for.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/membarrier.h>
#include <linux/nsfs.h>
#include <linux/sched.h>

#define MAX_LEVELS 32
#define SAMPLES 101	/* odd, for the median */
#define NODE 64		/* pids in a node of the idr */
#define TREE_TASKS 1000
#define TREE_LEVELS 3
#define TREES 3		/* of each kind */

static const int depths[] = { 1, 2, 3, 4, 8, 16, 32 };
static const int run_lengths[] = { 1, 10, 100 };

#define ARRAY_SIZE(a) ((int)(sizeof(a) / sizeof((a)[0])))

enum way { CLONE, VECTOR, SET_TID, HELPERS, WAYS };
static const char *const way_name[] = { "clone", "vector", "set_tid", "helpers" };
static int available[WAYS];

/* Columns that are the same in all rows. */
static const char *run_name, *unit;
static int count_instructions;

/*
 * Under "qemu -icount shift=0" the time stamp counter counts instructions. On
 * real hardware it counts at a rate that says nothing: there the clock is read.
 */
static inline uint64_t now(void)
{
	struct timespec t;

#ifdef __x86_64__
	if (count_instructions)
		return __builtin_ia32_rdtsc();
#endif
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

struct chain {
	int levels;
	int ns;				/* file of the innermost namespace */
	pid_t outermost;		/* its init; with it the whole chain dies */
	int helper[MAX_LEVELS];		/* socket to the init of each level */
};

/* Write the digits of @pid so that they end at @end, two at a time. */
static char *format_pid(char *end, unsigned int pid)
{
	static const char two_digits[] =
		"00010203040506070809101112131415161718192021222324"
		"25262728293031323334353637383940414243444546474849"
		"50515253545556575859606162636465666768697071727374"
		"75767778798081828384858687888990919293949596979899";

	for (; pid >= 10; pid /= 100) {
		end -= 2;
		memcpy(end, two_digits + 2 * (pid % 100), 2);
		if (pid < 100)
			return end;
	}
	*--end = '0' + pid;
	return end;
}

/* Write the vector of what comes before @pids to the end of @buf. */
static char *format_vector(char *end, const int *pids, int levels)
{
	for (int i = levels - 1; i >= 0; i--) {
		end = format_pid(end, pids[i] - 1);
		if (i > 0)
			*--end = ':';
	}
	return end;
}

/* What a helper does about a pid that is wanted next, as CRIU does it. */
static int write_ns_last_pid(int pid)
{
	char buf[16];
	int fd, len, ret = 0;

	fd = open("/proc/sys/kernel/ns_last_pid", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno;
	len = snprintf(buf, sizeof(buf), "%d", pid - 1);
	if (write(fd, buf, len) != len)
		ret = errno;
	close(fd);
	return ret;
}

/* Be a helper: answer each request with 0 or an error. */
static void serve(int sock)
{
	int msg;
	while (read(sock, &msg, sizeof(msg)) == sizeof(msg)) {
		msg = write_ns_last_pid(msg);
		if (write(sock, &msg, sizeof(msg)) != sizeof(msg))
			break;
	}
	_exit(0);
}

/* One level after another, as OpenVZ's CRIU does it. */
static int ask_helpers(const struct chain *c, const int *pids)
{
	int msg;

	for (int i = 0; i < c->levels; i++) {
		if (write(c->helper[i], &pids[i], sizeof(*pids)) != sizeof(*pids) ||
		    read(c->helper[i], &msg, sizeof(msg)) != sizeof(msg))
			errx(1, "a helper is gone");
		if (msg) {
			errno = msg;
			return -1;
		}
	}
	return 0;
}

static pid_t clone_task(unsigned long flags, const int *set_tid, int levels)
{
	struct clone_args args = {
		.flags = flags,
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)set_tid,
		.set_tid_size = levels,
	};

	return syscall(SYS_clone3, &args, sizeof(args));
}

/* Prepare @pids, if there are any, so that they are the next, by @way. */
static int prepare(const struct chain *c, enum way way, const int *pids)
{
	struct pidns_ioc_req set = { .req = PIDNS_REQ_SET_LAST_PID_VEC };
	char buf[MAX_LEVELS * 8], *text;

	switch (way) {
	case VECTOR:
		text = format_vector(buf + sizeof(buf), pids, c->levels);
		set.data = (uintptr_t)text;
		set.data_size = buf + sizeof(buf) - text;
		return ioctl(c->ns, NS_SPECIFIC_IOC, &set);
	case HELPERS:
		return ask_helpers(c, pids);
	default:
		return 0;
	}
}

/* The last of so many tasks says that all have started. */
static struct { int expected, started, pipe[2]; } *roll;

static void call_roll(int tasks)
{
	roll->expected = tasks;
	roll->started = 0;
}

static void wait_for_all(void)
{
	char c;

	if (read(roll->pipe[0], &c, 1) != 1)
		err(1, "pipe");
}

/* The task waits for its end. Returns its pid here, or -1. */
static pid_t make_task(enum way way, const int *pids, int levels)
{
	pid_t pid = way == SET_TID ? clone_task(0, pids, levels) : clone_task(0, NULL, 0);

	if (pid != 0)
		return pid;
	if (__atomic_add_fetch(&roll->started, 1, __ATOMIC_SEQ_CST) == roll->expected &&
	    write(roll->pipe[1], "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Children are made in that namespace from now on. */
static void enter(int ns)
{
	if (setns(ns, CLONE_NEWPID))
		err(1, "setns");
}

/* The pid of the caller in the namespace that /proc was mounted in. */
static int pid_in_proc(void)
{
	char text[16] = "";

	return readlink("/proc/self", text, sizeof(text) - 1) < 0 ? -1 : atoi(text);
}

/* Be the init of level @i, make those below it, and serve. */
static void be_init(int i, int sock[][2])
{
	pid_t pid = 1;

	while (i > 0 && (pid = clone_task(CLONE_NEWPID, NULL, 0)) == 0)
		i--;
	if (pid < 0)
		_exit(1);

	/* With a socket left open elsewhere, nobody would see an init's end. */
	for (int j = 0; j < MAX_LEVELS; j++)
		if (sock[j][0] >= 0) {
			close(sock[j][0]);
			if (j != i)
				close(sock[j][1]);
		}

	if (i == 0) {
		pid = pid_in_proc();
		if (write(sock[0][1], &pid, sizeof(pid)) != sizeof(pid))
			_exit(1);
	}
	serve(sock[i][1]);
}

static int open_ns(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static void make_chain(struct chain *c, int levels)
{
	int sock[MAX_LEVELS][2];
	pid_t innermost;

	memset(sock, -1, sizeof(sock));
	c->levels = levels;
	for (int i = 0; i < levels; i++) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock[i]))
			err(1, "socketpair");
		c->helper[i] = sock[i][0];
	}

	c->outermost = clone_task(CLONE_NEWPID, NULL, 0);
	if (c->outermost < 0)
		err(1, "clone3(CLONE_NEWPID)");
	if (c->outermost == 0)
		be_init(levels - 1, sock);
	for (int i = 0; i < levels; i++)
		close(sock[i][1]);

	if (read(c->helper[0], &innermost, sizeof(innermost)) != sizeof(innermost))
		errx(1, "pid namespaces cannot be nested %d deep here", levels);
	c->ns = open_ns(innermost);
	enter(c->ns);
}

/*
 * What has ended is freed after a grace period of RCU, and a thousand tasks are
 * freed bit by bit: not while we measure.
 */
static void settle(int grace_periods)
{
	while (grace_periods--)
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

static void end_chain(struct chain *c)
{
	int own = open_ns(getpid());

	kill(c->outermost, SIGKILL);
	while (wait(NULL) > 0)
		;
	for (int i = 0; i < c->levels; i++)
		close(c->helper[i]);
	close(c->ns);
	enter(own);
	close(own);
}

/*
 * The pids of a task, which procfs gives from the outermost inwards and starts
 * with the one here. No @pids: any will do, if there are enough of them.
 */
static void check_pids(const struct chain *c, pid_t pid, const int *pids)
{
	char path[64], line[512], *text;
	FILE *status;
	int nr;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	status = fopen(path, "re");
	if (!status)
		err(1, "%s", path);
	do {
		if (!fgets(line, sizeof(line), status))
			errx(1, "%s: no NSpid", path);
	} while (strncmp(line, "NSpid:", 6));
	fclose(status);

	text = strchr(line + 7, '\t');
	for (int i = c->levels - 1; i >= 0; i--) {
		if (!text)
			errx(1, "%s: too few levels", path);
		nr = strtol(text, &text, 10);
		if (pids && nr != pids[i])
			errx(1, "level %d: pid %d, should be %d", i, nr, pids[i]);
	}
	if (*text != '\n')
		errx(1, "%s: too many levels", path);
}

/* A pid of four digits at each level, the first of a node. */
static void base_pids(int *pids, int levels, int add)
{
	for (int i = 0; i < levels; i++)
		pids[i] = 1024 + NODE * i + add;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report(const char *job, const char *way, int levels, uint64_t *samples,
		   int nr)
{
	qsort(samples, nr, sizeof(*samples), compare);
	printf("%s,%s,%s,%d,%s,%d,%llu\n", run_name, job, way, levels, unit, nr,
	       (unsigned long long)samples[nr / 2]);
}

static void measure_ioctls(const struct chain *c)
{
	char buf[MAX_LEVELS * 8], read_back[MAX_LEVELS * 8], *text;
	struct pidns_ioc_req get = {
		.req = PIDNS_REQ_GET_LAST_PID_VEC,
		.data = (uintptr_t)read_back,
		.data_size = sizeof(read_back),
		.levels = c->levels,
	};
	struct pidns_ioc_req set = { .req = PIDNS_REQ_SET_LAST_PID_VEC };
	uint64_t samples[SAMPLES], start;
	int pids[MAX_LEVELS];

	for (int s = 0; s < SAMPLES; s++) {
		start = now();
		if (ioctl(c->ns, NS_GET_NSTYPE) != CLONE_NEWPID)
			err(1, "NS_GET_NSTYPE");
		samples[s] = now() - start;
	}
	report("ioctl", "NS_GET_NSTYPE", c->levels, samples, SAMPLES);

	if (!available[VECTOR])
		return;

	base_pids(pids, c->levels, 0);
	text = format_vector(buf + sizeof(buf), pids, c->levels);
	set.data = (uintptr_t)text;
	set.data_size = buf + sizeof(buf) - text;
	for (int s = 0; s < SAMPLES; s++) {
		start = now();
		if (ioctl(c->ns, NS_SPECIFIC_IOC, &set))
			err(1, "PIDNS_REQ_SET_LAST_PID_VEC");
		samples[s] = now() - start;
	}
	report("ioctl", "SET", c->levels, samples, SAMPLES);

	for (int s = 0; s < SAMPLES; s++) {
		start = now();
		if (ioctl(c->ns, NS_SPECIFIC_IOC, &get) != (int)set.data_size)
			err(1, "PIDNS_REQ_GET_LAST_PID_VEC");
		samples[s] = now() - start;
		if (memcmp(read_back, text, set.data_size))
			errx(1, "GET is not what was SET");
	}
	report("ioctl", "GET", c->levels, samples, SAMPLES);
}

/* The available ways, in an order that is another one each time. */
static int shuffle(enum way *ways)
{
	int nr = 0;

	for (enum way way = 0; way < WAYS; way++) {
		if (available[way]) {
			int at = rand() % (nr + 1);

			ways[nr++] = ways[at];
			ways[at] = way;
		}
	}
	return nr;
}

/* Makes tasks by all ways in turn, so that what else goes on meets them alike. */
static void measure_tasks(const struct chain *c)
{
	static uint64_t samples[WAYS][SAMPLES];
	int first[MAX_LEVELS], pids[MAX_LEVELS];
	enum way ways[WAYS], way;
	uint64_t start;
	pid_t pid;
	int nr;

	base_pids(first, c->levels, 1);
	for (int s = 0; s < SAMPLES; s++) {
		nr = shuffle(ways);
		for (int w = 0; w < nr; w++) {
			way = ways[w];
			/* Never right by accident, but for the floor. */
			base_pids(pids, c->levels,
				  way == CLONE ? 1 : 2 + s % (NODE - 2));
			if (prepare(c, HELPERS, first))
				err(1, "a helper");
			settle(1);

			start = now();
			if (prepare(c, way, pids))
				err(1, "%s", way_name[way]);
			pid = make_task(way, pids, c->levels);
			samples[way][s] = now() - start;

			if (pid < 0)
				err(1, "clone3");
			check_pids(c, pid, pids);
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
	}
	for (int w = 0; w < nr; w++)
		report("task", way_name[ways[w]], c->levels, samples[ways[w]], SAMPLES);
}

/*
 * TREE_TASKS tasks whose pids are consecutive but for a gap after each
 * @run_length, until all have started. A restorer knows where the cursors are, so
 * it prepares once for each run.
 */
static uint64_t tree_cost(enum way way, int run_length)
{
	static int pids[TREE_TASKS][TREE_LEVELS];
	static pid_t tasks[TREE_TASKS];
	struct chain c;
	uint64_t cost;

	make_chain(&c, TREE_LEVELS);
	for (int n = 0; n < TREE_TASKS; n++)
		for (int i = 0; i < TREE_LEVELS; i++)
			pids[n][i] = 1000 * (i + 1) + n + (way == CLONE ? 0 : n / run_length);
	if (prepare(&c, HELPERS, pids[0]))
		err(1, "a helper");
	settle(10);

	call_roll(TREE_TASKS);
	cost = now();
	for (int n = 0; n < TREE_TASKS; n++) {
		if (n % run_length == 0 && prepare(&c, way, pids[n]))
			err(1, "%s", way_name[way]);
		tasks[n] = make_task(way, pids[n], TREE_LEVELS);
		if (tasks[n] < 0)
			err(1, "clone3");
	}
	wait_for_all();
	cost = now() - cost;
	call_roll(0);

	for (int n = 0; n < TREE_TASKS; n++)
		check_pids(&c, tasks[n], pids[n]);
	end_chain(&c);
	return cost;
}

static void measure_trees(int run_length)
{
	static uint64_t costs[WAYS][TREES];
	enum way ways[WAYS];
	char job[64];
	int nr;

	for (int t = 0; t < TREES; t++) {
		nr = shuffle(ways);
		for (int w = 0; w < nr; w++)
			costs[ways[w]][t] = tree_cost(ways[w], run_length);
	}
	snprintf(job, sizeof(job), "tree in runs of %d", run_length);
	for (int w = 0; w < nr; w++)
		report(job, way_name[ways[w]], TREE_LEVELS, costs[ways[w]], TREES);
}

/* Which ways does this kernel have, and does it let the caller use them? */
static void find_ways(void)
{
	int pids[] = { 300 };
	struct chain c;
	pid_t pid;

	make_chain(&c, 1);
	for (enum way way = 0; way < WAYS; way++) {
		pids[0]++;
		pid = prepare(&c, way, pids) ? -1 : make_task(way, pids, 1);
		available[way] = pid > 0;
		if (pid < 0)
			warn("%s is not available here", way_name[way]);
		else if (way != CLONE)
			check_pids(&c, pid, pids);
	}
	end_chain(&c);
	if (!available[HELPERS])
		errx(1, "ns_last_pid, with which each measurement starts, cannot be written");
}

int main(int argc, char **argv)
{
	const struct sched_param priority = { .sched_priority = 1 };

	if (argc != 3 || (strcmp(argv[1], "instructions") && strcmp(argv[1], "ns")))
		errx(2, "usage: %s instructions|ns NAME-OF-THE-RUN", argv[0]);
	unit = argv[1];
	count_instructions = !strcmp(unit, "instructions");
	run_name = argv[2];

	/* So that a new task runs only when this one waits. */
	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority))
		err(1, "sched_setscheduler");
	roll = mmap(NULL, sizeof(*roll), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (roll == MAP_FAILED || pipe(roll->pipe))
		err(1, "mmap or pipe");
	find_ways();

	printf("run,job,way,levels,unit,samples,median\n");
	for (int d = 0; d < ARRAY_SIZE(depths); d++) {
		int pids[MAX_LEVELS];
		struct chain c;

		make_chain(&c, depths[d]);
		measure_ioctls(&c);

		/*
		 * A task that stays, so that the memory of the idr does too,
		 * and no way pays for it.
		 */
		base_pids(pids, c.levels, 0);
		if (prepare(&c, HELPERS, pids) || make_task(HELPERS, pids, c.levels) < 0)
			err(1, "the first task");
		measure_tasks(&c);
		end_chain(&c);
	}

	for (int r = 0; r < ARRAY_SIZE(run_lengths); r++)
		measure_trees(run_lengths[r]);
	return 0;
}
