// SPDX-License-Identifier: GPL-2.0
/*
 * Makes hierarchies of pid namespaces, uses them, and kills them while their files
 * are open. After that the kernel must have freed every object of them. Nothing
 * else in the guest nests namespaces: /proc/slabinfo counts none before and after.
 */
#include "stress.h"
#include "tasks.h"

#include <poll.h>
#include <time.h>
#include <linux/membarrier.h>

#define LEVELS 3
#define HELD 4		/* dead hierarchies with open files, in each worker */
#define WORKERS 16	/* each mostly waits for the kernel */
#define SECONDS 120	/* for the kernel to free the last objects */

static const char *const caches[] = {
	"pid_namespace", "pid_2", "pid_3", "pid_4", "user_namespace",
};

struct hierarchy {
	int fd[LEVELS];		/* innermost last */
	int pidfd;
};

/* The memory that a worker shares with its inits. */
static struct {
	int fd[LEVELS];
	int ready;
} *chain;

static pid_t fork_init(unsigned long flags, int *pidfd)
{
	return must("fork", clone_task(CLONE_NEWPID | CLONE_FILES | flags, pidfd, NULL, 0));
}

/*
 * The init of a level forks the next one. Then it waits for SIGKILL, or for the
 * next init to fail.
 */
static void be_inits(void)
{
	int level = 0;

	do {
		chain->fd[level] = must("open", or_errno(open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC)));
	} while (++level < LEVELS && !fork_init(0, NULL));
	if (level < LEVELS) {
		waitpid(-1, NULL, 0);
		_exit(1);
	}
	must("say that all are there", or_errno(write(chain->ready, "", 1)));
	for (;;)
		pause();
}

static struct hierarchy make(int ready)
{
	struct hierarchy h;
	struct pollfd events[2] = { { .fd = ready, .events = POLLIN } };
	char byte;

	if (!fork_init(CLONE_NEWUSER, &h.pidfd))
		be_inits();
	events[1] = (struct pollfd){ .fd = h.pidfd, .events = POLLIN };
	must("wait for all", or_errno(poll(events, 2, -1)));
	if (!events[0].revents)
		errx(1, "an init failed");
	must("wait for all", or_errno(read(ready, &byte, 1)));
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
	long pids[LEVELS];
	siginfo_t info;

	expect(set_as(NULL, h->fd[LEVELS - 1], "1000:2000:3000"), 0, "set");
	expect(get_pids(h->fd[LEVELS - 1], LEVELS, pids), LEVELS, "get");
	expect(pids[0] + pids[1] + pids[2], 6000, "pids");
	must("kill", or_errno(syscall(SYS_pidfd_send_signal, h->pidfd, SIGKILL, NULL, 0)));
	must("wait", or_errno(waitid(P_PIDFD, h->pidfd, &info, WEXITED)));
}

static void let_go(struct hierarchy *h, int which)
{
	long pids[LEVELS];

	for (int i = 0; i < LEVELS; i++) {
		expect(set_as(NULL, h->fd[i], "1000"), -ESRCH, "set in a dead namespace");
		expect(get_pids(h->fd[i], 1, pids), -ESRCH, "get in a dead namespace");
	}
	/* Outermost first, innermost first, or the middle last. */
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
		err(1, "/proc/slabinfo needs CONFIG_SLUB_DEBUG");
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
		errx(1, "/proc/slabinfo has no pid_namespace: it needs CONFIG_SLUB_DEBUG_ON");
	return sum;
}

static void work(int count)
{
	long objects[ARRAY_SIZE(caches)];
	struct hierarchy held[HELD];
	int ready[2];

	chain = shared(sizeof(*chain));
	must("make a pipe", or_errno(pipe(ready)));
	chain->ready = ready[1];
	for (int i = 0; i < count + HELD; i++) {
		struct hierarchy *h = &held[i % HELD];

		if (i >= HELD)
			let_go(h, i);
		if (i < count) {
			*h = make(ready[0]);
			if (!i && count_objects(objects) < 2 * LEVELS)
				errx(1, "/proc/slabinfo does not count live namespaces");
			use_and_kill(h);
		}
	}
}

static int work_in_parallel(int count)
{
	/* At least as many as a worker holds at a time. */
	int each = count / WORKERS > HELD ? count / WORKERS : HELD;
	pid_t pid[WORKERS];
	int status;

	for (int i = 0; i < WORKERS; i++) {
		pid[i] = must("fork", or_errno(fork()));
		if (!pid[i]) {
			work(each);
			_exit(0);
		}
	}
	for (int i = 0; i < WORKERS; i++) {
		must("wait", or_errno(waitpid(pid[i], &status, 0)));
		if (status)
			errx(1, "a worker failed");
	}
	return each * WORKERS;
}

/* KASAN keeps freed objects for a while, and slabinfo counts them as active. */
static void shrink(const char *cache)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", cache);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	/* The first namespace of a level makes its cache. */
	if (fd < 0)
		return;
	must(path, or_errno(write(fd, "1", 1)));
	close(fd);
}

/*
 * The kernel frees after a grace period, some objects in a work item after that.
 * No event tells when it is done.
 */
static long wait_until_none(long count[ARRAY_SIZE(caches)])
{
	time_t start = time(NULL);
	long sum;

	do {
		must("membarrier", or_errno(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0)));
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
		errx(1, "the guest has nested pid namespaces or user namespaces already");

	made = work_in_parallel(atoi(argv[1]));
	left = wait_until_none(count);

	printf("%d hierarchies of %d pid namespaces\n", made, LEVELS);
	for (size_t i = 0; i < ARRAY_SIZE(caches); i++)
		printf("%-16s %6ld objects left\n", caches[i], count[i]);
	return left ? 1 : 0;
}
