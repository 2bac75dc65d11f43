// SPDX-License-Identifier: GPL-2.0
/*
 * Makes hierarchies of pid namespaces, uses them, and lets them die while their
 * files are still open. Then all objects that the kernel had for them must be
 * gone. Nobody else in the guest has such namespaces: before and after,
 * /proc/slabinfo counts none.
 */
#include "common.h"

#include <poll.h>
#include <time.h>
#include <linux/membarrier.h>
#include <linux/sched.h>

#define LEVELS 3
#define HELD 4		/* in each worker so many dead ones have open files at a time */
#define WORKERS 16	/* most of their time they wait for the kernel to tidy up */
#define SECONDS 120	/* for what the kernel frees later */

static const char *const caches[] = {
	"pid_namespace", "pid_2", "pid_3", "pid_4", "user_namespace",
};

struct hierarchy {
	int fd[LEVELS];		/* innermost last */
	int pidfd;
};

/* In each worker: what the inits and the one who makes them share. */
static struct {
	int fd[LEVELS];
	int ready;
} *chain;

static long clone_task(unsigned long flags, int *pidfd)
{
	struct clone_args args = {
		.flags = flags | CLONE_FILES | (pidfd ? CLONE_PIDFD : 0),
		.pidfd = (uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
	};

	return must(syscall(SYS_clone3, &args, sizeof(args)), "clone");
}

/*
 * The init of a level makes the next one, and then lives until it is killed or the
 * next one has failed.
 */
static void be_inits(void)
{
	int level = 0;

	do {
		chain->fd[level] = must(open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC), "open");
	} while (++level < LEVELS && !clone_task(CLONE_NEWPID, NULL));
	if (level < LEVELS) {
		waitpid(-1, NULL, 0);
		_exit(1);
	}
	must(write(chain->ready, "", 1), "say that all are there");
	for (;;)
		pause();
}

static struct hierarchy make(int ready)
{
	struct hierarchy h;
	struct pollfd events[2] = { { .fd = ready, .events = POLLIN } };
	char byte;

	if (!clone_task(CLONE_NEWPID | CLONE_NEWUSER, &h.pidfd))
		be_inits();
	events[1] = (struct pollfd){ .fd = h.pidfd, .events = POLLIN };
	must(poll(events, 2, -1), "wait for all");
	if (!events[0].revents)
		errx(1, "an init has failed");
	must(read(ready, &byte, 1), "wait for all");
	memcpy(h.fd, chain->fd, sizeof(h.fd));
	return h;
}

static void expect(long got, long wanted, const char *what)
{
	if (got != wanted)
		errx(1, "%s: %ld, expected %ld", what, got, wanted);
}

static void use_and_kill(struct hierarchy *h)
{
	long pids[MAX_LEVELS];
	siginfo_t info;

	expect(set_vec(h->fd[LEVELS - 1], "1000:2000:3000"), 0, "set");
	expect(get_vec(h->fd[LEVELS - 1], LEVELS, pids), LEVELS, "get");
	expect(pids[0] + pids[1] + pids[2], 6000, "pids");
	must(syscall(SYS_pidfd_send_signal, h->pidfd, SIGKILL, NULL, 0), "kill");
	must(waitid(P_PIDFD, h->pidfd, &info, WEXITED), "wait");
}

static void let_go(struct hierarchy *h, int which)
{
	long pids[MAX_LEVELS];

	for (int i = 0; i < LEVELS; i++) {
		expect(set_vec(h->fd[i], "1000"), -ESRCH, "set in a dead namespace");
		expect(get_vec(h->fd[i], 0, pids), -ESRCH, "get in a dead namespace");
	}
	/* From the outside, from the inside, and the middle last. */
	for (int i = 0; i < LEVELS; i++)
		close(h->fd[which % 3 == 0 ? i : which % 3 == 1 ? LEVELS - 1 - i : (i * 2) % 3]);
	close(h->pidfd);
}

static long count_objects(long count[ARRAY_SIZE(caches)])
{
	char line[512], name[64];
	FILE *f = fopen("/proc/slabinfo", "re");
	bool found = false;
	long active, sum = 0;

	if (!f)
		err(1, "/proc/slabinfo, which takes CONFIG_SLUB_DEBUG");
	memset(count, 0, sizeof(*count) * ARRAY_SIZE(caches));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %ld", name, &active) != 2)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(caches); i++)
			if (!strcmp(name, caches[i])) {
				found |= !i;
				count[i] = active;
				sum += active;
			}
	}
	fclose(f);
	if (!found)
		errx(1, "/proc/slabinfo has no pid_namespace: it takes CONFIG_SLUB_DEBUG_ON");
	return sum;
}

static void work(int count)
{
	long objects[ARRAY_SIZE(caches)];
	struct hierarchy held[HELD];
	int ready[2];

	chain = shared(sizeof(*chain));
	must(pipe(ready), "make a pipe");
	chain->ready = ready[1];
	for (int i = 0; i < count + HELD; i++) {
		struct hierarchy *h = &held[i % HELD];

		if (i >= HELD)
			let_go(h, i);
		if (i < count) {
			*h = make(ready[0]);
			if (!i && count_objects(objects) < 2 * LEVELS)
				errx(1, "/proc/slabinfo does not see what lives");
			use_and_kill(h);
		}
	}
}

static int work_in_parallel(int count)
{
	/* At least as many as are held at a time. */
	int each = count / WORKERS > HELD ? count / WORKERS : HELD;
	pid_t pid[WORKERS];
	int status;

	for (int i = 0; i < WORKERS; i++) {
		pid[i] = must(fork(), "fork");
		if (!pid[i]) {
			work(each);
			_exit(0);
		}
	}
	for (int i = 0; i < WORKERS; i++) {
		must(waitpid(pid[i], &status, 0), "wait");
		if (status)
			errx(1, "a worker has failed");
	}
	return each * WORKERS;
}

/* KASAN keeps what was freed for a while, which counts as active until then. */
static void shrink(const char *cache)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", cache);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	/* Before the first namespace at its level there is no pid_2. */
	if (fd < 0)
		return;
	must(write(fd, "1", 1), path);
	close(fd);
}

/*
 * The kernel frees after a grace period, and some of it in a work item after
 * that. No event says that all of it is done.
 */
static long wait_until_none(long count[ARRAY_SIZE(caches)])
{
	time_t start = time(NULL);
	long sum;

	do {
		must(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0), "membarrier");
		for (size_t i = 0; i < ARRAY_SIZE(caches); i++)
			shrink(caches[i]);
		sum = count_objects(count);
	} while (sum && time(NULL) - start < SECONDS);
	return sum;
}

int lifetime(int argc, char **argv)
{
	long count[ARRAY_SIZE(caches)], left;
	int made;

	if (argc < 2)
		errx(2, "lifetime HIERARCHIES");
	if (wait_until_none(count))
		errx(1, "there are nested pid namespaces or user namespaces already");

	made = work_in_parallel(atoi(argv[1]));
	left = wait_until_none(count);

	printf("%d hierarchies of %d pid namespaces\n", made, LEVELS);
	for (size_t i = 0; i < ARRAY_SIZE(caches); i++)
		printf("%-16s %6ld objects left\n", caches[i], count[i]);
	return left ? 1 : 0;
}
