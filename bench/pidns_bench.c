// SPDX-License-Identifier: GPL-2.0
/*
 * The cost of choosing the pids of new tasks in nested pid namespaces, and of
 * moving the cursor of one namespace from outside. Prints CSV; main() names the
 * columns.
 *
 * The ways to make a task:
 *   clone    the kernel chooses the pids: the floor
 *   vector   PIDNS_REQ_SET_LAST_PID_VEC, then clone
 *   set_tid  clone3() with set_tid
 *   helpers  a task in each namespace writes its ns_last_pid when the program
 *            asks it over a socket, then clone
 *
 * The ways to move one cursor from outside:
 *   SET      PIDNS_REQ_SET_LAST_PID_VEC with one number
 *   setns    the program calls setns() and forks a task that writes ns_last_pid
 *   nsenter  a child of the program does that, as nsenter(1) is one
 *
 * Each chain of namespaces has one init per level, which is also the helper
 * there. This program is outside of all of them and makes tasks in the innermost
 * one. Level 0 is the innermost, as in the vector. The program compares the pids
 * of every task with the pids that it wanted.
 */
#include "tasks.h"

#include <time.h>
#include <linux/membarrier.h>
#include <sys/socket.h>

#define MAX_LEVELS MAX_NESTED
#define SAMPLES 101	/* odd, for the median */
#define NODE 64		/* pids in a node of the idr */
#define TREE_TASKS 1000
#define TREE_LEVELS 3
#define TREES 3		/* of each kind */

static const int depths[] = { 1, 2, 3, 4, 8, 16, 32 };
static const int run_lengths[] = { 1, 10, 100 };

enum way { CLONE, VECTOR, SET_TID, HELPERS, WAYS };
static const char *const way_name[] = { "clone", "vector", "set_tid", "helpers" };
static int available[WAYS];

enum outside { SET, SETNS, NSENTER, OUTSIDES };
static const char *const outside_name[] = { "SET", "setns", "nsenter" };

/* Columns with the same value in all rows. */
static const char *run_name, *unit;
static int count_instructions;

/*
 * Under "qemu -icount shift=0" the time stamp counter counts instructions. On
 * real hardware its rate differs from the processor's, so read the clock.
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
	int ns;			/* file of the innermost namespace */
	int helper[MAX_LEVELS];	/* socket to the init of each level */
};

/* Writes the digits of @pid before @end, two at a time. */
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

/* Writes before @end the vector that makes @pids the next ones. */
static char *format_vector(char *end, const pid_t *pids, int levels)
{
	for (int i = levels - 1; i >= 0; i--) {
		end = format_pid(end, pids[i] - 1);
		if (i > 0)
			*--end = ':';
	}
	return end;
}

/* CRIU does the same for each pid. */
static long write_last_pid(pid_t next)
{
	char buf[16];
	int fd, len;
	long ret;

	fd = or_errno(open("/proc/sys/kernel/ns_last_pid", O_RDWR | O_CLOEXEC));
	if (fd < 0)
		return fd;
	len = snprintf(buf, sizeof(buf), "%d", next - 1);
	ret = or_errno(write(fd, buf, len));
	close(fd);
	return ret < 0 ? ret : 0;
}

/* What an init does. Asked for pid 0, it returns the cursor. */
static long run_helper(void *sock)
{
	int fd = *(int *)sock;
	pid_t next;
	long ret;

	while (recv(fd, &next, sizeof(next), 0) == sizeof(next)) {
		ret = next ? write_last_pid(next) : read_sysctl(NULL, "ns_last_pid");
		if (send(fd, &ret, sizeof(ret), MSG_NOSIGNAL) != sizeof(ret))
			break;
	}
	_exit(1);
}

static long ask_helper(int sock, pid_t next)
{
	long ret;

	if (send(sock, &next, sizeof(next), MSG_NOSIGNAL) != sizeof(next) ||
	    recv(sock, &ret, sizeof(ret), 0) != sizeof(ret))
		errx(1, "a helper is gone");
	return ret;
}

/* One level after another, as OpenVZ's CRIU does it. */
static long ask_helpers(const struct chain *c, const pid_t *pids)
{
	long ret = 0;

	for (int i = 0; i < c->levels && !ret; i++)
		ret = ask_helper(c->helper[i], pids[i]);
	return ret;
}

/* Makes @pids the next ones by @way, for a clone() that does not choose them. */
static long prepare(const struct chain *c, enum way way, const pid_t *pids)
{
	struct pidns_ioc_req set = { .req = PIDNS_REQ_SET_LAST_PID_VEC };
	char buf[MAX_LEVELS * 8], *text;

	switch (way) {
	case VECTOR:
		text = format_vector(buf + sizeof(buf), pids, c->levels);
		set.data = (uintptr_t)text;
		set.data_size = buf + sizeof(buf) - text;
		return or_errno(ioctl(c->ns, NS_SPECIFIC_IOC, &set));
	case HELPERS:
		return ask_helpers(c, pids);
	default:
		return 0;
	}
}

/* The last of the expected tasks writes to the pipe. */
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

/* The task waits for SIGKILL. Returns its pid here, or an error. */
static pid_t make_task(enum way way, const pid_t *pids, int levels)
{
	pid_t pid = way == SET_TID ? clone_task(0, NULL, pids, levels)
				   : clone_task(0, NULL, NULL, 0);

	if (pid != 0)
		return pid;
	if (__atomic_add_fetch(&roll->started, 1, __ATOMIC_SEQ_CST) == roll->expected &&
	    write(roll->pipe[1], "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* The next children of the program are in this namespace. */
static void enter(int ns)
{
	must("enter a pid namespace", or_errno(setns(ns, CLONE_NEWPID)));
}

/* Leaves the program in the innermost namespace, as enter() does. */
static void make_chain(struct chain *c, int levels)
{
	int socks[MAX_LEVELS][2];

	c->levels = levels;
	for (int i = 0; i < levels; i++)
		must("make sockets", or_errno(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks[i])));
	nest_to(levels);
	for (int i = 0; i < levels; i++)
		call_start(init_of(levels - i), run_helper, &socks[i][1], sizeof(socks[i][1]));
	/*
	 * From here on a file of the program costs what it costs a program that
	 * shares its files with nobody, and it has no more than it needs.
	 */
	must("unshare the files", or_errno(unshare(CLONE_FILES)));
	for (int i = 0; i < levels; i++) {
		c->helper[i] = socks[i][0];
		close(socks[i][1]);
	}
	c->ns = must("open a namespace", or_errno(dup(ns.fd[levels])));
	must("close files", or_errno(close_range(ns.init[1].sock, ns.fd[levels], 0)));
	enter(c->ns);
}

/*
 * The kernel frees tasks after a grace period of RCU, and a thousand tasks in
 * several. Wait, so that it does not do so during a measurement.
 */
static void settle(int grace_periods)
{
	while (grace_periods--)
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

static void end_chain(struct chain *c)
{
	int own = open_ns(NULL, "pid");

	must("kill a task", or_errno(kill(ns.init[1].pid, SIGKILL)));
	while (wait(NULL) > 0)
		;
	ns.depth = 0;
	for (int i = 0; i < c->levels; i++)
		close(c->helper[i]);
	close(c->ns);
	enter(own);
	close(own);
}

static void check_pids(const struct chain *c, pid_t pid, const pid_t *pids)
{
	pid_t outermost_first[MAX_NESTED];
	char path[64];
	int levels;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	levels = read_nspid(path, outermost_first);
	if (levels != c->levels)
		errx(1, "%s: %d levels, should be %d", path, levels, c->levels);
	for (int i = 0; i < levels; i++)
		if (outermost_first[levels - 1 - i] != pids[i])
			errx(1, "level %d: pid %d, should be %d", i,
			     outermost_first[levels - 1 - i], pids[i]);
}

/* A pid of four digits at each level, the first of a node of the idr. */
static void base_pids(pid_t *pids, int levels, int add)
{
	for (int i = 0; i < levels; i++)
		pids[i] = 1024 + NODE * i + add;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report(const char *job, const char *way, int levels, const char *what,
		   uint64_t *samples, int nr)
{
	qsort(samples, nr, sizeof(*samples), compare);
	printf("%s,%s,%s,%d,%s,%d,%llu\n", run_name, job, way, levels, what, nr,
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
	pid_t pids[MAX_LEVELS];

	for (int s = 0; s < SAMPLES; s++) {
		start = now();
		if (ioctl(c->ns, NS_GET_NSTYPE) != CLONE_NEWPID)
			errx(1, "NS_GET_NSTYPE");
		samples[s] = now() - start;
	}
	report("ioctl", "NS_GET_NSTYPE", c->levels, unit, samples, SAMPLES);

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
	report("ioctl", "SET", c->levels, unit, samples, SAMPLES);

	for (int s = 0; s < SAMPLES; s++) {
		start = now();
		if (ioctl(c->ns, NS_SPECIFIC_IOC, &get) != (int)set.data_size)
			err(1, "PIDNS_REQ_GET_LAST_PID_VEC");
		samples[s] = now() - start;
		if (memcmp(read_back, text, set.data_size))
			errx(1, "GET is not what was SET");
	}
	report("ioctl", "GET", c->levels, unit, samples, SAMPLES);
}

/* Without the ioctl: a task inside writes the cursor. */
static void fork_and_write(const struct chain *c, pid_t next)
{
	pid_t pid;
	int status;

	enter(c->ns);
	pid = must("clone", clone_task(0, NULL, NULL, 0));
	if (!pid)
		_exit(write_last_pid(next) ? 1 : 0);
	if (waitpid(pid, &status, 0) != pid || status)
		errx(1, "a task inside cannot write ns_last_pid");
}

static void move_cursor(const struct chain *c, enum outside way, int own, pid_t next)
{
	char vec[16], *text;
	struct pidns_ioc_req set = { .req = PIDNS_REQ_SET_LAST_PID_VEC };
	int status;
	pid_t pid;

	switch (way) {
	case SET:
		text = format_vector(vec + sizeof(vec), &next, 1);
		set.data = (uintptr_t)text;
		set.data_size = vec + sizeof(vec) - text;
		must("set", or_errno(ioctl(c->ns, NS_SPECIFIC_IOC, &set)));
		break;
	case SETNS:
		fork_and_write(c, next);
		enter(own);
		break;
	default:
		pid = must("clone", clone_task(0, NULL, NULL, 0));
		if (!pid) {
			fork_and_write(c, next);
			_exit(0);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			errx(1, "a child cannot write ns_last_pid");
	}
}

/*
 * Moves the cursor of the innermost namespace alone. A pid that this takes there
 * is also taken in its parent, where nothing else forks: compare its cursor.
 */
static void measure_outside(const struct chain *c)
{
	static uint64_t costs[OUTSIDES][SAMPLES], taken[OUTSIDES][SAMPLES];
	int own = open_ns(NULL, "pid");
	pid_t before = 0, next;
	uint64_t start;

	enter(own);
	for (int s = 0; s < SAMPLES; s++) {
		for (enum outside way = available[VECTOR] ? SET : SETNS; way < OUTSIDES; way++) {
			next = 1024 + OUTSIDES * s + way;
			if (c->levels > 1)
				before = ask_helper(c->helper[1], 0);
			settle(1);

			start = now();
			move_cursor(c, way, own, next);
			costs[way][s] = now() - start;

			if (c->levels > 1)
				taken[way][s] = ask_helper(c->helper[1], 0) - before;
			if (ask_helper(c->helper[0], 0) != next - 1)
				errx(1, "%s has not moved the cursor", outside_name[way]);
		}
	}
	for (enum outside way = available[VECTOR] ? SET : SETNS; way < OUTSIDES; way++) {
		report("outside", outside_name[way], c->levels, unit, costs[way], SAMPLES);
		if (c->levels > 1)
			report("pids taken", outside_name[way], c->levels, "pids",
			       taken[way], SAMPLES);
	}
	enter(c->ns);
	close(own);
}

/* The available ways in random order. */
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

/* Makes tasks by all ways in turn, so that disturbances meet all ways alike. */
static void measure_tasks(const struct chain *c)
{
	static uint64_t samples[WAYS][SAMPLES];
	pid_t first[MAX_LEVELS], pids[MAX_LEVELS];
	enum way ways[WAYS], way;
	uint64_t start;
	pid_t pid;
	int nr;

	base_pids(first, c->levels, 1);
	for (int s = 0; s < SAMPLES; s++) {
		nr = shuffle(ways);
		for (int w = 0; w < nr; w++) {
			way = ways[w];
			/* Only the floor gets the pids that come next anyway. */
			base_pids(pids, c->levels,
				  way == CLONE ? 1 : 2 + s % (NODE - 2));
			must("ask the helpers", prepare(c, HELPERS, first));
			settle(1);

			start = now();
			must("prepare the pids", prepare(c, way, pids));
			pid = make_task(way, pids, c->levels);
			samples[way][s] = now() - start;

			must("clone", pid);
			check_pids(c, pid, pids);
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
	}
	for (int w = 0; w < nr; w++)
		report("task", way_name[ways[w]], c->levels, unit, samples[ways[w]], SAMPLES);
}

/*
 * Makes TREE_TASKS tasks and waits until all have started. Their pids have a gap
 * after each @run_length. A restorer knows the cursors, so it prepares once for
 * each run.
 */
static uint64_t tree_cost(enum way way, int run_length)
{
	static pid_t pids[TREE_TASKS][TREE_LEVELS];
	static pid_t tasks[TREE_TASKS];
	struct chain c;
	uint64_t cost;

	make_chain(&c, TREE_LEVELS);
	for (int n = 0; n < TREE_TASKS; n++)
		for (int i = 0; i < TREE_LEVELS; i++)
			pids[n][i] = 1000 * (i + 1) + n + (way == CLONE ? 0 : n / run_length);
	must("ask the helpers", prepare(&c, HELPERS, pids[0]));
	settle(10);

	call_roll(TREE_TASKS);
	cost = now();
	for (int n = 0; n < TREE_TASKS; n++) {
		if (n % run_length == 0)
			must("prepare the pids", prepare(&c, way, pids[n]));
		tasks[n] = must("clone", make_task(way, pids[n], TREE_LEVELS));
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
		report(job, way_name[ways[w]], TREE_LEVELS, unit, costs[ways[w]], TREES);
}

/* Finds the ways that this kernel has, and allows to the caller. */
static void find_ways(void)
{
	pid_t pids[] = { 300 };
	struct chain c;
	long pid;

	make_chain(&c, 1);
	for (enum way way = 0; way < WAYS; way++) {
		pids[0]++;
		pid = prepare(&c, way, pids);
		if (!pid)
			pid = make_task(way, pids, 1);
		available[way] = pid > 0;
		if (pid < 0)
			warnx("%s is not available here: %s", way_name[way], strerror(-pid));
		else if (way != CLONE)
			check_pids(&c, pid, pids);
	}
	end_chain(&c);
	if (!available[HELPERS])
		errx(1, "cannot write ns_last_pid, with which each measurement starts");
}

int main(int argc, char **argv)
{
	const struct sched_param priority = { .sched_priority = 1 };

	if (argc != 3 || (strcmp(argv[1], "instructions") && strcmp(argv[1], "ns")))
		errx(2, "usage: %s instructions|ns NAME-OF-THE-RUN", argv[0]);
	unit = argv[1];
	count_instructions = !strcmp(unit, "instructions");
	run_name = argv[2];

	/* A new task runs only when this one waits. */
	must("change the priority",
	     or_errno(sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority)));
	roll = shared(sizeof(*roll));
	must("make a pipe", or_errno(pipe(roll->pipe)));
	find_ways();

	printf("run,job,way,levels,unit,samples,median\n");
	for (size_t d = 0; d < ARRAY_SIZE(depths); d++) {
		pid_t pids[MAX_LEVELS];
		struct chain c;

		make_chain(&c, depths[d]);
		measure_ioctls(&c);

		measure_outside(&c);

		/*
		 * A task that stays keeps the memory of the idr, so that no way
		 * pays for it.
		 */
		base_pids(pids, c.levels, 0);
		must("ask the helpers", prepare(&c, HELPERS, pids));
		must("clone", make_task(HELPERS, pids, c.levels));
		measure_tasks(&c);
		end_chain(&c);
	}

	for (size_t r = 0; r < ARRAY_SIZE(run_lengths); r++)
		measure_trees(run_lengths[r]);
	return 0;
}
