// SPDX-License-Identifier: GPL-2.0
/*
 * NS_SPECIFIC_IOC reads and sets the cursors of nested pid namespaces. The tests
 * compare with ns_last_pid of each namespace and with NSpid of the next tasks.
 */
#include "pidns_ioctl_harness.h"

#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* As in linux/pidfd.h. That header and fcntl.h exclude each other. */
#ifndef PIDFD_GET_PID_NAMESPACE
#define PIDFD_GET_PID_NAMESPACE _IO(0xFF, 5)
#endif

FIXTURE(nested) {};

FIXTURE_SETUP(nested)
{
	set_up(_metadata, 3);
}

FIXTURE_TEARDOWN(nested)
{
	tear_down();
}

TEST_F(nested, full_vector_gives_the_next_pids)
{
	ASSERT_EQ(0, set("1000:2000:3000"));
	EXPECT_STREQ("1001:2001:3001", fork_at(3));
}

TEST_F(nested, pids_go_on_from_there_at_every_level)
{
	ASSERT_EQ(0, set("1000:2000:3000"));
	EXPECT_STREQ("3001", fork_at(1));
	EXPECT_STREQ("2001:3002", fork_at(2));
	EXPECT_STREQ("1001:2002:3003", fork_at(3));
	EXPECT_STREQ("1002:2003:3004", fork_at(3));
}

TEST_F(nested, short_vector_leaves_the_outer_levels)
{
	ASSERT_EQ(0, set("1000:2000:3000"));
	ASSERT_EQ(0, set("400:500"));
	EXPECT_STREQ("401:501:3001", fork_at(3));
}

/* No task inside takes part. The pids from 2 on stay free for a restore. */
TEST_F(nested, one_number_from_the_host_moves_one_container)
{
	if (read_sysctl(init_of(3), "pid_max") <= 100001)
		SKIP(return, "pid_max is not above 100001");

	ASSERT_EQ(0, set("1000:2000:3000"));
	ASSERT_EQ(0, set("100000"));
	EXPECT_STREQ("100001:2001:3001", fork_at(3));
}

TEST_F(nested, first_number_is_for_the_open_namespace)
{
	ASSERT_EQ(0, set("1000:2000:3000"));
	ASSERT_EQ(0, set_as(NULL, ns.fd[2], "400:500"));
	EXPECT_STREQ("1001:401:501", fork_at(3));
}

TEST_F(nested, taken_pid_is_skipped_at_its_level)
{
	pid_t pid;

	ASSERT_EQ(0, set("1000:2000:3000"));
	ASSERT_STREQ("2001:3001", fork_unreaped(init_of(2), &pid));
	ASSERT_EQ(0, set("1000:2000:3000"));
	EXPECT_STREQ("1001:2002:3002", fork_at(3));
}

TEST_F(nested, zero_starts_with_the_first_free_pid)
{
	ASSERT_EQ(0, set("0:2000:3000"));
	EXPECT_STREQ("2:2001:3001", fork_at(3));
}

TEST_F(nested, set_takes_a_trailing_nul)
{
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_SET_LAST_PID_VEC,
		.data_size = sizeof("1000:2000:3000"),
	};

	ASSERT_EQ(0, request(NULL, ns.fd[3], req, "1000:2000:3000", req.data_size));
	EXPECT_STREQ("1000:2000:3000", last_pids());
}

TEST_F(nested, task_sets_its_own_level_and_those_above)
{
	ASSERT_EQ(0, set_as(init_of(3), ns.fd[3], "1000:2000:3000"));
	EXPECT_STREQ("1001:2001:3001", fork_at(3));
	ASSERT_EQ(0, set_as(init_of(3), ns.fd[2], "400:500"));
	EXPECT_STREQ("1002:401:501", fork_at(3));
}

TEST_F(nested, get_shows_ns_last_pid_of_every_level)
{
	write_sysctl(init_of(1), "ns_last_pid", 1000);
	write_sysctl(init_of(2), "ns_last_pid", 200);
	write_sysctl(init_of(3), "ns_last_pid", 30);
	EXPECT_STREQ("30:200:1000", get(3));
}

TEST_F(nested, get_shows_the_pids_of_the_last_fork)
{
	const char *vec = fork_at(3);

	EXPECT_STREQ(vec, get(3));
}

TEST_F(nested, get_starts_at_the_open_namespace)
{
	ASSERT_EQ(0, set("1000:2000:3000"));
	EXPECT_STREQ("2000:3000", get_as(NULL, ns.fd[2], 2));
	EXPECT_STREQ("3000", get_as(NULL, ns.fd[1], 1));
}

TEST_F(nested, get_moves_nothing)
{
	const char *before = last_pids();

	get(4);
	EXPECT_STREQ(before, last_pids());
}

TEST_F(nested, set_of_what_get_returned_changes_nothing)
{
	const char *before = last_pids();

	ASSERT_EQ(0, set(get(3)));
	EXPECT_STREQ(before, last_pids());
}

TEST_F(nested, levels_limits_get)
{
	ASSERT_EQ(0, set("1000:2000:3000"));
	EXPECT_STREQ("1000", get(1));
	EXPECT_STREQ("1000:2000", get(2));
	EXPECT_STREQ("1000:2000:3000", get(3));
}

TEST_F(nested, levels_may_be_more_than_exist)
{
	EXPECT_EQ(4, count_numbers(get(4)));
	EXPECT_EQ(4, count_numbers(get(5)));
	EXPECT_EQ(4, count_numbers(get(UINT32_MAX)));
}

/* Calls GET with a buffer full of '#'. */
static long get_into(char *buf, size_t buf_size, __u32 data_size)
{
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_GET_LAST_PID_VEC,
		.data = (uintptr_t)buf,
		.data_size = data_size,
		.levels = 3,
	};

	memset(buf, '#', buf_size - 1);
	buf[buf_size - 1] = '\0';
	return ioc(ns.fd[3], NS_SPECIFIC_IOC, &req);
}

TEST_F(nested, get_without_room_returns_the_length_alone)
{
	char buf[20];

	ASSERT_EQ(0, set("1000:200:30"));
	EXPECT_EQ(11, get_into(buf, sizeof(buf), 0));
	EXPECT_STREQ("###################", buf);
}

TEST_F(nested, get_without_room_needs_no_buffer)
{
	struct pidns_ioc_req req = { .req = PIDNS_REQ_GET_LAST_PID_VEC, .levels = 3 };

	ASSERT_EQ(0, set("1000:200:30"));
	EXPECT_EQ(11, ioc(ns.fd[3], NS_SPECIFIC_IOC, &req));
}

TEST_F(nested, get_fills_a_buffer_of_the_exact_size)
{
	char buf[20];

	ASSERT_EQ(0, set("1000:200:30"));
	EXPECT_EQ(11, get_into(buf, sizeof(buf), 11));
	EXPECT_STREQ("1000:200:30########", buf);
}

TEST_F(nested, get_writes_no_more_than_it_returns)
{
	char buf[20];

	ASSERT_EQ(0, set("1000:200:30"));
	EXPECT_EQ(11, get_into(buf, sizeof(buf), sizeof(buf)));
	EXPECT_STREQ("1000:200:30########", buf);
}

TEST_F(nested, get_into_too_small_a_buffer_leaves_it_alone)
{
	char buf[20];

	ASSERT_EQ(0, set("1000:200:30"));
	EXPECT_ERROR(ERANGE, get_into(buf, sizeof(buf), 10));
	EXPECT_STREQ("###################", buf);
	EXPECT_ERROR(ERANGE, get_into(buf, sizeof(buf), 1));
	EXPECT_STREQ("###################", buf);
}

TEST_F(nested, init_made_by_set_tid_has_a_last_pid_of_zero)
{
	pid_t first_pid = 1;
	struct task init;
	int fd;

	must("set_tid", try_spawn(init_of(3), CLONE_NEWPID, &first_pid, 1, &init));
	fd = open_ns(&init, "pid");
	EXPECT_STREQ("0", get_as(NULL, fd, 1));
	ASSERT_EQ(0, set_as(NULL, fd, "0:1000:2000:3000"));
	EXPECT_STREQ("0:1000:2000:3000", get_as(NULL, fd, 4));
	EXPECT_STREQ("2:1001:2001:3001", fork_from(&init));
}

TEST_F(nested, pid_max_of_every_level_is_accepted)
{
	pid_t pid_max[3];
	const char *vec;

	lower_pid_max(pid_max);
	vec = vector(pid_max, 3);
	ASSERT_EQ(0, set(vec));
	EXPECT_STREQ(vec, last_pids());
	EXPECT_STREQ(format("%d:%d:%d", AFTER_WRAP, AFTER_WRAP, AFTER_WRAP), fork_at(3));
}

TEST_F(nested, last_pid_above_a_lowered_pid_max)
{
	pid_t pid_max[3];
	const char *vec;

	for (int i = 0; i < 3; i++)
		pid_max[i] = read_sysctl(init_of(i + 1), "pid_max") - 1;
	ASSERT_EQ(0, set(vector(pid_max, 3)));

	lower_pid_max(pid_max);
	vec = vector(pid_max, 3);
	EXPECT_STREQ(vec, get(3));
	ASSERT_EQ(0, set(vec));
	EXPECT_STREQ(format("%d:%d:%d", AFTER_WRAP, AFTER_WRAP, AFTER_WRAP), fork_at(3));
}

FIXTURE(deep) {};

FIXTURE_SETUP(deep)
{
	set_up(_metadata, 1);
}

FIXTURE_TEARDOWN(deep)
{
	tear_down();
}

/* One more level at a time, and other numbers at each level and each time. */
TEST_F(deep, every_depth_from_1_to_32)
{
	pid_t last[MAX_NESTED], next[MAX_NESTED];

	for (int depth = 1; depth <= MAX_NESTED; depth++) {
		nest_to(depth);
		for (int i = 0; i < depth; i++) {
			last[i] = 900 * depth + 13 * i;
			next[i] = last[i] + 1;
		}
		ASSERT_EQ(0, set(vector(last, depth)));
		ASSERT_STREQ(vector(last, depth), get(depth));
		ASSERT_STREQ(vector(next, depth), fork_at(depth));
	}
}

TEST_F(deep, level_33_cannot_be_made)
{
	struct task task;

	nest_to(MAX_NESTED);
	EXPECT_EQ(-ENOSPC, try_spawn(init_of(MAX_NESTED), CLONE_NEWPID, NULL, 0, &task));
}

/* The host's cursor goes back by a few forks at most. Fork skips taken pids. */
TEST_F(deep, vector_of_all_levels_with_the_host)
{
	const char *without_host, *vec;

	nest_to(MAX_NESTED);
	without_host = format("%s:", last_pids());
	vec = get(MAX_NESTED + 1);
	EXPECT_EQ(MAX_NESTED + 1, count_numbers(vec));
	EXPECT_EQ(0, set(vec));
	EXPECT_EQ(0, strncmp(vec, without_host, strlen(without_host)));
	EXPECT_STREQ(without_host, format("%s:", last_pids()));
}

/* Without the host's level: other tasks fork there. */
TEST_F(deep, pid_max_of_32_levels)
{
	pid_t pid_max[MAX_NESTED], wrapped[MAX_NESTED];
	const char *vec;

	nest_to(MAX_NESTED);
	for (int i = 0; i < MAX_NESTED; i++) {
		pid_max[i] = read_sysctl(init_of(i + 1), "pid_max");
		wrapped[i] = AFTER_WRAP;
	}
	vec = vector(pid_max, MAX_NESTED);
	ASSERT_EQ(0, set(vec));
	EXPECT_STREQ(vec, get(MAX_NESTED));
	EXPECT_STREQ(vector(wrapped, MAX_NESTED), fork_at(MAX_NESTED));
}

/* Ways to open the pid namespace of level 3 */
FIXTURE(file) {};

FIXTURE_VARIANT(file)
{
	int (*open)(void);
};

static int open_of_task(void)
{
	return open_ns(init_of(3), "pid");
}

static long run_enter(void *fd)
{
	return or_errno(setns(*(int *)fd, CLONE_NEWPID));
}

static int open_for_children(void)
{
	must("enter the namespace", call(init_of(2), run_enter, &ns.fd[3], sizeof(int)));
	return open_ns(init_of(2), "pid_for_children");
}

static int open_parent(void)
{
	struct task child = spawn(init_of(3), CLONE_NEWPID);
	int fd = open_ns(&child, "pid");

	return must("get the parent", or_errno(ioctl(fd, NS_GET_PARENT)));
}

static int open_of_pidfd(void)
{
	return must("get the namespace",
		    or_errno(ioctl(ns.init[3].pidfd, PIDFD_GET_PID_NAMESPACE, 0)));
}

static int open_bind_mount(void)
{
	const char *source = format("/proc/self/fd/%d", ns.fd[3]);

	must("unshare", or_errno(unshare(CLONE_NEWNS)));
	must("make / private", or_errno(mount("", "/", NULL, MS_PRIVATE | MS_REC, NULL)));
	must("mount", or_errno(mount("tmpfs", "/tmp", "tmpfs", 0, NULL)));
	must("make a file", or_errno(mknod("/tmp/pid", S_IFREG | 0600, 0)));
	must("bind", or_errno(mount(source, "/tmp/pid", NULL, MS_BIND, NULL)));

	return must("open", or_errno(open("/tmp/pid", O_RDONLY | O_CLOEXEC)));
}

static int open_received(void)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .buf = "" };
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int socks[2], fd;

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &ns.fd[3], sizeof(int));
	must("make sockets", or_errno(socketpair(AF_UNIX, SOCK_DGRAM, 0, socks)));
	must("send the file", or_errno(sendmsg(socks[0], &msg, 0)));
	must("receive it", or_errno(recvmsg(socks[1], &msg, 0)));
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
	must("get a new file descriptor", fd == ns.fd[3] ? -EBADF : 0);

	return fd;
}

FIXTURE_VARIANT_ADD(file, of_task) { .open = open_of_task };
FIXTURE_VARIANT_ADD(file, for_children) { .open = open_for_children };
FIXTURE_VARIANT_ADD(file, parent) { .open = open_parent };
FIXTURE_VARIANT_ADD(file, of_pidfd) { .open = open_of_pidfd };
FIXTURE_VARIANT_ADD(file, bind_mount) { .open = open_bind_mount };
FIXTURE_VARIANT_ADD(file, received) { .open = open_received };

FIXTURE_SETUP(file)
{
	set_up(_metadata, 3);
}

FIXTURE_TEARDOWN(file)
{
	tear_down();
}

TEST_F(file, sets_and_gets)
{
	int fd = variant->open();

	ASSERT_EQ(0, set_as(NULL, fd, "1000:2000:3000"));
	EXPECT_STREQ("1000:2000:3000", get_as(NULL, fd, 3));
	EXPECT_STREQ("1001:2001:3001", fork_at(3));
}

TEST_HARNESS_MAIN
