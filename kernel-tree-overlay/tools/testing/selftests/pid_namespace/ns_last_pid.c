// SPDX-License-Identifier: GPL-2.0
/* Writes to /proc/sys/kernel/ns_last_pid while other tasks fork. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "kselftest_harness.h"

#define NS_LAST_PID "/proc/sys/kernel/ns_last_pid"

/* How often the races fork. */
#define FORKS 2000

/* Exit status of a task that failed in its own part of the test */
#define BROKEN 99

/* The child dies with its parent. */
static pid_t fork_child(void)
{
	pid_t pid = fork();

	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* Runs a function in the init of a new pid namespace, and returns its result. */
static int run_as_init(int (*fn)(const void *arg), const void *arg)
{
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWPID))
		return BROKEN;
	pid = fork_child();
	if (!pid)
		_exit(fn(arg));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return BROKEN;
	return WEXITSTATUS(status);
}

static int write_number(int fd, long number)
{
	return dprintf(fd, "%ld", number) < 0 ? -1 : 0;
}

static long read_number(int fd)
{
	char text[16] = "";

	return pread(fd, text, sizeof(text) - 1, 0) > 0 ? atol(text) : -1;
}

/* Returns the pid of a child that has exited and was reaped. */
static pid_t fork_and_reap(void)
{
	pid_t pid = vfork();

	if (!pid)
		_exit(0);
	return pid > 0 && waitpid(pid, NULL, 0) == pid ? pid : -1;
}

static void skip_unless_possible(struct __test_metadata *_metadata)
{
	if (geteuid())
		SKIP(return, "not root");
	if (access("/proc/self/ns/pid", F_OK))
		SKIP(return, "kernel without CONFIG_PID_NS");
	if (access(NS_LAST_PID, F_OK))
		SKIP(return, "kernel without CONFIG_CHECKPOINT_RESTORE");
}

FIXTURE(write) {};

FIXTURE_SETUP(write)
{
	skip_unless_possible(_metadata);
}

FIXTURE_TEARDOWN(write) {}

static int write_and_fork(const void *unused)
{
	int fd = open(NS_LAST_PID, O_WRONLY | O_CLOEXEC);

	(void)unused;
	if (write_number(fd, 1000))
		return BROKEN;
	return fork_and_reap() != 1001;
}

TEST_F(write, makes_the_next_pid_one_above)
{
	EXPECT_EQ(0, run_as_init(write_and_fork, NULL));
}

/* Writes numbers above all pids until the forker is done. */
static int write_while_another_forks(const void *unused)
{
	int fd = open(NS_LAST_PID, O_RDWR | O_CLOEXEC);
	pid_t forker = fork_child();
	long number = 1000;
	int status;

	(void)unused;
	if (!forker) {
		for (int i = 0; i < FORKS; i++)
			if (fork_and_reap() < 0)
				_exit(BROKEN);
		_exit(0);
	}

	while (!waitpid(forker, &status, WNOHANG)) {
		char text[24];
		long seen;

		snprintf(text, sizeof(text), "%ld", number);
		if (pwrite(fd, text, strlen(text), 0) < 0)
			return BROKEN;
		seen = read_number(fd);
		if (seen < number) {
			fprintf(stderr, "# wrote %ld, read %ld\n", number, seen);
			return 1;
		}
		/* Start again far below any pid_max. */
		number = seen < 20000 ? seen + 10 : 1000;
	}

	return status ? BROKEN : 0;
}

TEST_F_TIMEOUT(write, is_not_lost_to_a_fork, 120)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "a write and a fork collide only on two processors");
	EXPECT_EQ(0, run_as_init(write_while_another_forks, NULL));
}

/* Writes that store nothing. */
FIXTURE(without_value) {};

struct writes {
	long first; /* goes ahead of them on the same file, if not 0 */
	const char *text;
};

FIXTURE_VARIANT(without_value)
{
	struct writes writes;
};

FIXTURE_VARIANT_ADD(without_value, empty) { .writes = { .text = "" } };

/* By default only a write at position 0 counts: sysctl_writes_strict. */
FIXTURE_VARIANT_ADD(without_value, second) { .writes = { .first = 1000, .text = "500" } };

FIXTURE_SETUP(without_value)
{
	int fd = open("/proc/sys/kernel/sysctl_writes_strict", O_RDONLY | O_CLOEXEC);

	skip_unless_possible(_metadata);
	if (variant->writes.first && read_number(fd) != 1)
		SKIP(return, "sysctl_writes_strict is not 1");
}

FIXTURE_TEARDOWN(without_value) {}

static int fork_while_another_writes(const void *arg)
{
	const struct writes *writes = arg;
	int fd = open(NS_LAST_PID, O_WRONLY | O_CLOEXEC);
	pid_t writer, last;

	if (writes->first && write_number(fd, writes->first))
		return BROKEN;
	writer = fork_child();
	if (!writer) {
		while (write(fd, writes->text, strlen(writes->text)) >= 0)
			;
		_exit(BROKEN);
	}

	last = writer;
	for (int i = 0; i < FORKS; i++) {
		pid_t pid = fork_and_reap();

		if (pid <= last) {
			fprintf(stderr, "# forked %d after %d\n", pid, last);
			return 1;
		}
		last = pid;
	}

	/* The writer ends with its pid namespace. */
	return waitpid(writer, NULL, WNOHANG) ? BROKEN : 0;
}

TEST_F_TIMEOUT(without_value, hands_out_no_pid_again, 120)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "a write and a fork collide only on two processors");
	EXPECT_EQ(0, run_as_init(fork_while_another_writes, &variant->writes));
}

TEST_HARNESS_MAIN
