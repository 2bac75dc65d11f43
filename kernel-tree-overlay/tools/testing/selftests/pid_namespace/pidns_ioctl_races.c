// SPDX-License-Identifier: GPL-2.0
/*
 * NS_SPECIFIC_IOC before a pid namespace has an init, after its init is gone, and
 * while tasks fork in it.
 */
#include "pidns_ioctl_harness.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

FIXTURE(lifetime) {};

FIXTURE_SETUP(lifetime)
{
	set_up(_metadata, 3);
}

FIXTURE_TEARDOWN(lifetime)
{
	tear_down();
}

TEST_F(lifetime, set_without_init)
{
	struct task parent = spawn(init_of(3), 0);
	int fd = open_ns_without_init(&parent);

	EXPECT_ERROR(EAGAIN, set_as(NULL, fd, "1000"));
	EXPECT_ERROR(EAGAIN, set_as(NULL, fd, "0"));
	EXPECT_ERROR(EAGAIN, set_as(NULL, fd, "1000:2000:3000:4000"));
}

/* Its first pid is 1. */
TEST_F(lifetime, get_without_init_reads_0)
{
	struct task parent = spawn(init_of(3), 0);
	int fd = open_ns_without_init(&parent);

	ASSERT_EQ(0, set("1000:2000:3000"));
	EXPECT_STREQ("0", get_as(NULL, fd, 1));
	EXPECT_STREQ("0:1000:2000:3000", get_as(NULL, fd, 4));
}

TEST_F(lifetime, too_large_a_number_comes_before_no_init)
{
	struct task parent = spawn(init_of(3), 0);
	int fd = open_ns_without_init(&parent);

	EXPECT_ERROR(ERANGE, set_as(NULL, fd, "1000:4194305"));
	EXPECT_ERROR(EINVAL, set_as(NULL, fd, format("1000:2000:3000:4000:%d:500", getpid())));
	EXPECT_HOST_NOT_SET_TO_OWN_PID();
}

TEST_F(lifetime, set_once_init_is_there)
{
	struct task parent = spawn(init_of(3), 0);
	int fd = open_ns_without_init(&parent);
	struct task init = spawn(&parent, 0);

	ASSERT_EQ(0, set_as(NULL, fd, "1000:2000:3000:4000"));
	EXPECT_STREQ("1001:2001:3001:4001", fork_from(&init));
}

TEST_F(lifetime, init_is_gone)
{
	end_ns(3);
	EXPECT_ERROR(ESRCH, set_as(NULL, ns.fd[3], "1000"));
	EXPECT_ERROR(ESRCH, set_as(NULL, ns.fd[3], "1000:2000:3000"));
	EXPECT_GET_ERROR(ESRCH, NULL, ns.fd[3]);
}

TEST_F(lifetime, too_large_a_number_comes_before_a_dead_init)
{
	end_ns(3);
	EXPECT_ERROR(ERANGE, set_as(NULL, ns.fd[3], "1000:4194305"));
	EXPECT_ERROR(EINVAL, set_as(NULL, ns.fd[3], format("1000:2000:3000:%d:500", getpid())));
	EXPECT_HOST_NOT_SET_TO_OWN_PID();
}

TEST_F(lifetime, dead_init_comes_before_too_small_a_buffer)
{
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_GET_LAST_PID_VEC,
		.data_size = 1,
		.levels = 3,
	};

	end_ns(3);
	EXPECT_ERROR(ESRCH, request(NULL, ns.fd[3], req, "", 0));
}

/*
 * An init that dies kills all tasks in its namespace, the inner inits too. Stop
 * the innermost init at its exit: the one outside has begun to die by then, and
 * the innermost namespace itself could still allocate pids.
 */
TEST_F(lifetime, init_of_an_ancestor_is_gone)
{
	pid_t inner = host_pid(ns.init[3].pidfd);
	int status;

	must("trace", or_errno(ptrace(PTRACE_SEIZE, inner, NULL,
				      (void *)PTRACE_O_TRACEEXIT)));
	kill_task(&ns.init[2]);
	must("wait", or_errno(waitpid(inner, &status, __WALL)));
	ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXIT << 8, status >> 8);

	ns.depth = 1;
	EXPECT_ERROR(ESRCH, set_as(NULL, ns.fd[3], "1000"));
	EXPECT_ERROR(ESRCH, set_as(NULL, ns.fd[3], "1000:2000:3000"));
	EXPECT_GET_ERROR(ESRCH, NULL, ns.fd[3]);
	EXPECT_EQ(0, set_as(NULL, ns.fd[1], "3000"));

	must("let go", or_errno(ptrace(PTRACE_DETACH, inner, NULL, NULL)));
}

/* It can never get an init. */
TEST_F(lifetime, dead_ancestor_comes_before_no_init)
{
	struct task parent = spawn(init_of(3), 0);
	int fd = open_ns_without_init(&parent);

	end_ns(3);
	EXPECT_ERROR(ESRCH, set_as(NULL, fd, "1000"));
	EXPECT_ERROR(ESRCH, set_as(NULL, fd, "1000:2000:3000:4000"));
	EXPECT_GET_ERROR(ESRCH, NULL, fd);
}

/*
 * One task sets two vectors in turn and reads them, while others fork in the
 * innermost of three namespaces. If the kernel sets, reads and uses each vector
 * as a whole, then all pids of a task have the same distance from one of the two
 * vectors, at all three levels. A single task with other pids fails the test.
 *
 * Proof by induction, for the pids above the start of a run: Nobody else forks in
 * these namespaces. So a task takes, and gives back, one pid at each level, in one
 * section of pidmap_lock. A distance is in use at all levels or at none. From
 * cursors of equal distance, the next free pids have equal distance again, even
 * if alloc_pid() skips some. The tasks of the fixture have pids far below.
 *
 * One exception: alloc_pid() drops the lock between two levels when the kernel is
 * out of memory.
 */
FIXTURE(forkers)
{
	pid_t (*pids)[MAX_NESTED];
	struct task forker[2];
};

/* How often each of them forks. */
#define FORKS 500

/* Far enough from each other, and from 32768, for all forks of a run. */
static const pid_t runs[2][3] = {
	{ 1000, 2000, 3000 },
	{ 20000, 19000, 18000 },
};

/* Forks FORKS times, and leaves the pids in shared memory. */
static long run_forks(void *arg)
{
	pid_t (*pids)[MAX_NESTED] = *(void **)arg;

	for (int i = 0; i < FORKS; i++) {
		pid_t child = vfork();
		int pidfd;

		if (!child)
			_exit(0);
		if (child < 0)
			return -errno;
		pidfd = syscall(__NR_pidfd_open, child, 0);
		read_nspid(format("/proc/self/fdinfo/%d", pidfd), pids[i]);
		close(pidfd);
		waitpid(child, NULL, 0);
	}

	return 0;
}

FIXTURE_SETUP(forkers)
{
	self->pids = mmap(NULL, 2 * FORKS * sizeof(*self->pids),
			  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must("map memory", self->pids == MAP_FAILED ? -errno : 0);

	if (!set_up(_metadata, 3))
		return;
	for (int i = 0; i < 2; i++)
		self->forker[i] = spawn(init_of(3), 0);
}

FIXTURE_TEARDOWN(forkers)
{
	tear_down();
}

/* Returns the run of these pids, or -1 if their distances differ. */
static int run_of(const pid_t pids[3])
{
	int run = pids[0] >= runs[1][0];
	int distance = pids[0] - runs[run][0];

	for (int i = 0; i < 3; i++)
		if (pids[i] - runs[run][i] != distance)
			return -1;

	return distance >= 0 && distance <= 2 * (FORKS + 1) ? run : -1;
}

TEST_F_TIMEOUT(forkers, use_a_vector_as_a_whole, 120)
{
	const char *vecs[2] = { vector(runs[0], 3), vector(runs[1], 3) };
	struct pollfd done[2];
	int seen[2] = {};
	int turn = 0;

	ASSERT_EQ(0, set(vecs[0]));
	for (int i = 0; i < 2; i++) {
		void *pids = self->pids + i * FORKS;

		call_start(&self->forker[i], run_forks, &pids, sizeof(pids));
		done[i] = (struct pollfd){ .fd = self->forker[i].sock, .events = POLLIN };
	}

	do {
		char text[VEC_SIZE];
		char *number = text;
		pid_t pids[3];

		turn = !turn;
		ASSERT_EQ(0, set(vecs[turn]));
		ASSERT_LT(0, try_get(NULL, ns.fd[3], 3, text));
		for (int i = 2; i >= 0; i--, number++)
			pids[i] = strtol(number, &number, 10);
		ASSERT_EQ(turn, run_of(pids)) TH_LOG("read %s", text);

		for (int i = 0; i < 2; i++) {
			struct pollfd dead = { .fd = self->forker[i].pidfd, .events = POLLIN };

			ASSERT_EQ(0, poll(&dead, 1, 0)) TH_LOG("forker %d died", i);
		}
	} while (poll(done, 2, 0) < 2);

	for (int i = 0; i < 2; i++) {
		void *pids;

		ASSERT_EQ(0, call_finish(&self->forker[i], &pids, sizeof(pids)));
	}
	for (int i = 0; i < 2 * FORKS; i++) {
		int run = run_of(self->pids[i]);

		ASSERT_LE(0, run) TH_LOG("forked %s", vector(self->pids[i], 3));
		seen[run]++;
	}
	EXPECT_LT(0, seen[0]);
	EXPECT_LT(0, seen[1]);
}

TEST_HARNESS_MAIN
