// SPDX-License-Identifier: GPL-2.0
/*
 * NS_SPECIFIC_IOC on pid namespaces: read and set the last pids of nested pid
 * namespaces.
 *
 * Every test makes pid namespaces of its own, each nested in the one before.
 * What a request did to them is seen without the ioctl: in ns_last_pid, read by
 * a task inside of each, and in the NSpid of tasks that are forked there.
 */
#define _GNU_SOURCE
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kselftest_harness.h"
#include "../pidfd/pidfd.h"

#ifndef CAP_CHECKPOINT_RESTORE
#define CAP_CHECKPOINT_RESTORE 40
#endif

#define CAP_BIT(cap) (1ULL << (cap))

/* Below the initial pid namespace, MAX_PID_NS_LEVEL in the kernel. */
#define MAX_NESTED 32

/* The longest vector, a number of 7 digits for each level, and a NUL. */
#define VEC_SIZE ((MAX_NESTED + 1) * 8)

/* Where pids start again after the largest, RESERVED_PIDS in the kernel. */
#define AFTER_WRAP 300

/* How often the forkers of fixture race fork, each of them. */
#define FORKERS 2
#define FORKS 500

/* Something for a task to do, and what became of it. */
struct job {
	long (*run)(struct job *job);
	long result;
	long long number;
	int fd;
	struct pidns_ioc_req req;
	char text[VEC_SIZE + 8];
};

/* A task that runs jobs. It shares its file descriptors with the test. */
struct task {
	int sock;
	int pidfd;
	pid_t pid; /* as seen by its parent */
};

/*
 * The pid namespaces of a test, from the outermost, 1, to the innermost, depth.
 * Nothing runs in them but what the test itself starts. Level 0 is the pid
 * namespace of the test. There is one such set, as each test is a process.
 */
static struct {
	int depth;
	struct task init[MAX_NESTED + 1];
	int fd[MAX_NESTED + 1];
} ns;

/* Ends the test where not the ioctl failed but what the test is made of. */
static long must(const char *what, long ret)
{
	if (ret >= 0)
		return ret;

	fprintf(TH_LOG_STREAM, "# cannot %s: %s\n", what, strerror(-ret));
	_exit(KSFT_FAIL);
}

static long or_errno(long ret)
{
	return ret < 0 ? -errno : ret;
}

/* Nobody frees the result: the test is over soon. */
static char *format(const char *fmt, ...)
{
	va_list args;
	char *text;
	int ret;

	va_start(args, fmt);
	ret = vasprintf(&text, fmt, args);
	va_end(args);
	must("allocate memory", ret < 0 ? -ENOMEM : 0);

	return text;
}

/* Writes pids, which start with the outermost, as a vector. */
static const char *vector(const pid_t *pids, int count)
{
	const char *text = "";

	while (count--)
		text = format("%s%s%d", text, *text ? ":" : "", pids[count]);

	return text;
}

static int count_numbers(const char *vec)
{
	int count = 1;

	for (; *vec; vec++)
		count += *vec == ':';

	return count;
}

static bool starts_with(const char *vec, const char *start)
{
	size_t len = strlen(start);

	return !strncmp(vec, start, len) && (vec[len] == ':' || !vec[len]);
}

/* Runs a job in a task, or right here if it is NULL. */
static long call(const struct task *task, struct job *job)
{
	if (!task)
		return job->run(job);

	must("send a job", or_errno(send(task->sock, job, sizeof(*job), 0)));
	must("get the result", or_errno(recv(task->sock, job, sizeof(*job), 0)));

	return job->result;
}

static void serve(int sock)
{
	struct job job;

	prctl(PR_SET_PDEATHSIG, SIGKILL);

	while (recv(sock, &job, sizeof(job), 0) == sizeof(job)) {
		job.result = job.run(&job);
		if (send(sock, &job, sizeof(job), 0) != sizeof(job))
			break;
	}
}

/* Forks with the flags in number a child that serves fd, or exits at once. */
static long run_fork(struct job *job)
{
	pid_t first_pid = 1;
	int pidfd = -1;
	struct __clone_args args = {
		.flags = job->number | CLONE_PIDFD,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid;

	if (!strcmp(job->text, "set_tid")) {
		args.set_tid = (uintptr_t)&first_pid;
		args.set_tid_size = 1;
	}

	pid = sys_clone3(&args, sizeof(args));
	if (pid < 0)
		return -errno;
	if (!pid) {
		if (job->fd >= 0)
			serve(job->fd);
		_exit(0);
	}

	job->fd = pidfd;
	return pid;
}

static long run_reap(struct job *job)
{
	return or_errno(waitpid(job->number, NULL, 0));
}

static long run_unshare(struct job *job)
{
	return or_errno(unshare(job->number));
}

static long run_setns(struct job *job)
{
	return or_errno(setns(job->fd, job->number));
}

static long run_limit_caps(struct job *job)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{ .effective = job->number, .permitted = job->number },
		{ .effective = job->number >> 32, .permitted = job->number >> 32 },
	};

	return or_errno(syscall(__NR_capset, &header, data));
}

static long run_read_sysctl(struct job *job)
{
	char text[16] = "";
	int fd = open(job->text, O_RDONLY | O_CLOEXEC);
	long ret = or_errno(read(fd, text, sizeof(text) - 1));

	close(fd);
	job->number = atoll(text);
	return ret;
}

static long run_write_sysctl(struct job *job)
{
	int fd = open(job->text, O_WRONLY | O_CLOEXEC);
	long ret = or_errno(dprintf(fd, "%lld", job->number));

	close(fd);
	return ret;
}

/* With one file, whose position the first write moves. */
static long run_write_sysctl_twice(struct job *job)
{
	int fd = open(job->text, O_WRONLY | O_CLOEXEC);
	long ret = or_errno(dprintf(fd, "%lld", job->number));

	if (ret >= 0)
		ret = or_errno(dprintf(fd, "%lld", job->number + 1));
	close(fd);
	return ret;
}

static long run_write_nothing(struct job *job)
{
	int fd = open(job->text, O_WRONLY | O_CLOEXEC);
	long ret = or_errno(write(fd, "", 0));

	close(fd);
	return ret;
}

static long run_request(struct job *job)
{
	job->req.data = (uintptr_t)job->text;
	return or_errno(ioctl(job->fd, NS_SPECIFIC_IOC, &job->req));
}

/* The sysctls of pid namespaces are those of the task that opens them. */
static pid_t read_sysctl(const struct task *task, const char *name)
{
	struct job job = { .run = run_read_sysctl };

	snprintf(job.text, sizeof(job.text), "/proc/sys/kernel/%s", name);
	must("read a sysctl", call(task, &job));

	return job.number;
}

static void write_sysctl(const struct task *task, const char *name, pid_t value)
{
	struct job job = { .run = run_write_sysctl, .number = value };

	snprintf(job.text, sizeof(job.text), "/proc/sys/kernel/%s", name);
	must("write a sysctl", call(task, &job));
}

/* Returns what stands behind a name in a file of proc. */
static char *read_field(const char *path, const char *name)
{
	char *pattern = format("\n%s:", name);
	char buf[4096] = "";
	int fd = must(path, or_errno(open(path, O_RDONLY | O_CLOEXEC)));
	char *value;

	must(path, or_errno(read(fd, buf, sizeof(buf) - 1)));
	close(fd);
	value = strstr(buf, pattern);
	must(path, value ? 0 : -ENODATA);
	value += strlen(pattern);

	return format("%.*s", (int)strcspn(value, "\n"), value);
}

/* Reads the pids in all namespaces below that of the test, outermost first. */
static int read_nspid(const char *path, pid_t pids[MAX_NESTED])
{
	char *field = read_field(path, "NSpid");
	int count = 0;

	strtol(field, &field, 10);
	while (*field && count < MAX_NESTED)
		pids[count++] = strtol(field, &field, 10);

	return count;
}

static pid_t host_pid(int pidfd)
{
	return atoi(read_field(format("/proc/self/fdinfo/%d", pidfd), "Pid"));
}

static int open_ns(const struct task *task, const char *name)
{
	const char *path = task ? format("/proc/%d/ns/%s", host_pid(task->pidfd), name)
				: format("/proc/self/ns/%s", name);

	return must(path, or_errno(open(path, O_RDONLY | O_CLOEXEC)));
}

static ino_t inode(int fd)
{
	struct stat st;

	must("stat", or_errno(fstat(fd, &st)));
	return st.st_ino;
}

static const struct task *init_of(int level)
{
	return level ? &ns.init[level] : NULL;
}

/* Forks a task that runs jobs. */
static long try_spawn(const struct task *parent, unsigned int flags,
		      const char *option, struct task *child)
{
	struct job job = { .run = run_fork, .number = flags | CLONE_FILES };
	int socks[2];
	long ret;

	must("make sockets", or_errno(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks)));
	job.fd = socks[1];
	strcpy(job.text, option);
	ret = call(parent, &job);

	*child = (struct task){ .sock = socks[0], .pidfd = job.fd, .pid = ret };
	return ret;
}

static struct task spawn(const struct task *parent, unsigned int flags)
{
	struct task child;

	must("start a task", try_spawn(parent, flags, "", &child));
	return child;
}

static struct task spawn_with_caps(const struct task *parent, unsigned int flags,
				   unsigned long long caps)
{
	struct task child = spawn(parent, flags);
	struct job job = { .run = run_limit_caps, .number = caps };

	must("limit the capabilities", call(&child, &job));
	return child;
}

/* Forks a child that stays a zombie, and returns its pids. */
static const char *fork_unreaped(const struct task *parent, pid_t *pid)
{
	struct job job = { .run = run_fork, .fd = -1 };
	pid_t pids[MAX_NESTED];
	int count;

	*pid = must("fork", call(parent, &job));
	count = read_nspid(format("/proc/%d/status", host_pid(job.fd)), pids);
	close(job.fd);

	return vector(pids, count);
}

static const char *fork_from(const struct task *parent)
{
	struct job job = { .run = run_reap };
	const char *vec;
	pid_t pid;

	vec = fork_unreaped(parent, &pid);
	job.number = pid;
	must("reap", call(parent, &job));

	return vec;
}

static const char *fork_at(int level)
{
	return fork_from(init_of(level));
}

/* What ns_last_pid shows inside of each namespace of the test, as a vector. */
static const char *last_pids(void)
{
	pid_t pids[MAX_NESTED];

	for (int level = 1; level <= ns.depth; level++)
		pids[level - 1] = read_sysctl(init_of(level), "ns_last_pid");

	return vector(pids, ns.depth);
}

static long ioc(int fd, unsigned int cmd, const void *req)
{
	return or_errno(ioctl(fd, cmd, req));
}

/* A request whose data stays in the task that makes it. */
static long request(const struct task *task, int fd, struct pidns_ioc_req req,
		    const char *data, size_t size)
{
	struct job job = { .run = run_request, .fd = fd, .req = req };

	memcpy(job.text, data, size);
	return call(task, &job);
}

static long set_as(const struct task *task, int fd, const char *vec)
{
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_SET_LAST_PID_VEC,
		.data_size = strlen(vec),
	};

	return request(task, fd, req, vec, strlen(vec));
}

static long set(const char *vec)
{
	return set_as(NULL, ns.fd[ns.depth], vec);
}

static long try_get(const struct task *task, int fd, __u32 levels,
		    char text[VEC_SIZE])
{
	struct job job = {
		.run = run_request,
		.fd = fd,
		.req = {
			.req = PIDNS_REQ_GET_LAST_PID_VEC,
			.data_size = VEC_SIZE - 1,
			.levels = levels,
		},
	};
	long ret = call(task, &job);

	memcpy(text, job.text, VEC_SIZE);
	return ret;
}

static const char *get_as(const struct task *task, int fd, __u32 levels)
{
	char text[VEC_SIZE];

	must("get the last pids", try_get(task, fd, levels, text));
	return format("%s", text);
}

static long get_error(const struct task *task, int fd)
{
	char text[VEC_SIZE];

	return try_get(task, fd, 0, text);
}

static const char *get(__u32 levels)
{
	return get_as(NULL, ns.fd[ns.depth], levels);
}

/* Makes one more namespace, nested in the innermost. */
static void nest(unsigned int flags)
{
	struct task init = spawn(init_of(ns.depth), CLONE_NEWPID | flags);

	ns.depth++;
	ns.init[ns.depth] = init;
	ns.fd[ns.depth] = open_ns(&init, "pid");
}

/* Ends a namespace and those in it. Their files stay open. */
static void end(int level)
{
	struct job job = { .run = run_reap, .number = ns.init[level].pid };

	must("kill", or_errno(sys_pidfd_send_signal(ns.init[level].pidfd,
						    SIGKILL, NULL, 0)));
	ns.depth = level - 1;
	must("reap", call(init_of(ns.depth), &job));
}

/* A kernel without this type of namespace has no file for it. */
static bool is_initial(const char *type, ino_t initial)
{
	return access(format("/proc/self/ns/%s", type), F_OK) ||
	       inode(open_ns(NULL, type)) == initial;
}

/* Whether the test may do all that the ioctl asks for, found out without it. */
static bool is_host_root(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	must("get the capabilities", or_errno(syscall(__NR_capget, &header, data)));

	return !geteuid() && (data[0].effective & CAP_BIT(CAP_SYS_ADMIN)) &&
	       is_initial("user", USER_NS_INIT_INO) &&
	       is_initial("pid", PID_NS_INIT_INO);
}

/* Makes the first namespaces, unless the tests cannot run here. */
static void set_up(struct __test_metadata *_metadata, int depth)
{
	struct pidns_ioc_req req = { .req = PIDNS_REQ_GET_LAST_PID_VEC };
	long ret;

	if (!is_host_root())
		SKIP(return, "not root with CAP_SYS_ADMIN in the initial namespaces");
	if (access("/proc/self/ns/pid", F_OK))
		SKIP(return, "kernel without CONFIG_PID_NS");

	ns.fd[0] = open_ns(NULL, "pid");
	ret = ioc(ns.fd[0], NS_SPECIFIC_IOC, &req);
	if (ret == -ENOTTY)
		SKIP(return, "kernel without CONFIG_PID_NS_IOCTL");
	must("get the last pids", ret);

	while (ns.depth < depth)
		nest(0);
}

static void tear_down(void)
{
	if (ns.depth)
		end(1);
}

/* A request fails with an error, or not if that is 0. Then nothing moves. */
#define EXPECT_ERROR(error, call_) do {				\
	const char *before_ = last_pids();			\
	int error_ = error;					\
								\
	EXPECT_EQ(-error_, call_);				\
	if (error_)						\
		EXPECT_STREQ(before_, last_pids());		\
} while (0)

/*
 * The host's cursor moves while others fork, but not to a pid that is in use: to
 * the test's own only if that is set.
 */
#define EXPECT_HOST_NOT_SET_TO_OWN_PID()			\
	EXPECT_STRNE(format("%d", getpid()), get_as(NULL, ns.fd[0], 1))

/* Setting a vector fails with an error and moves nothing, or it is set. */
#define EXPECT_SET(error, task, fd, vec) do {			\
	const char *vec_ = vec;					\
	int refused_ = error;					\
	int fd_ = fd;						\
								\
	EXPECT_ERROR(refused_, set_as(task, fd_, vec_));	\
	if (!refused_)						\
		EXPECT_STREQ(vec_, get_as(NULL, fd_, count_numbers(vec_))); \
} while (0)

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

TEST_F(nested, one_number_leaves_all_but_the_open_level)
{
	ASSERT_EQ(0, set("1000:2000:3000"));
	ASSERT_EQ(0, set("400"));
	EXPECT_STREQ("401:2001:3001", fork_at(3));
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

TEST_F(nested, set_with_more_numbers_than_levels)
{
	EXPECT_ERROR(EINVAL, set(format("1000:2000:3000:%d:500", getpid())));
	EXPECT_HOST_NOT_SET_TO_OWN_PID();
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

TEST_F(nested, empty_write_to_ns_last_pid_stores_nothing)
{
	struct job job = {
		.run = run_write_nothing,
		.text = "/proc/sys/kernel/ns_last_pid",
	};

	ASSERT_EQ(0, set("1000:2000:3000"));
	ASSERT_EQ(0, call(init_of(3), &job));
	EXPECT_STREQ("1000:2000:3000", last_pids());
}

TEST_F(nested, second_write_to_ns_last_pid_stores_nothing)
{
	struct job job = {
		.run = run_write_sysctl_twice,
		.number = 400,
		.text = "/proc/sys/kernel/ns_last_pid",
	};

	if (read_sysctl(NULL, "sysctl_writes_strict") != 1)
		SKIP(return, "sysctl_writes_strict is not 1");

	ASSERT_EQ(0, set("1000:2000:3000"));
	ASSERT_LT(0, call(init_of(3), &job));
	EXPECT_STREQ("400:2000:3000", last_pids());
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

	get(0);
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

TEST_F(nested, no_levels_stands_for_all_with_the_host)
{
	const char *vec = get(0);

	EXPECT_EQ(4, count_numbers(vec));
	EXPECT_TRUE(starts_with(vec, last_pids()));
}

/* What GET with so much room returns and leaves in a buffer full of '#'. */
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
	struct task init;
	int fd;

	must("set_tid", try_spawn(init_of(3), CLONE_NEWPID, "set_tid", &init));
	fd = open_ns(&init, "pid");
	EXPECT_STREQ("0", get_as(NULL, fd, 1));
	ASSERT_EQ(0, set_as(NULL, fd, "0:1000:2000:3000"));
	EXPECT_STREQ("0:1000:2000:3000", get_as(NULL, fd, 4));
	EXPECT_STREQ("2:1001:2001:3001", fork_from(&init));
}

/* Sets a different pid_max at every level, all below what pids can be. */
static void lower_pid_max(pid_t pid_max[3])
{
	for (int i = 0; i < 3; i++) {
		const struct task *init = init_of(i + 1);

		pid_max[i] = read_sysctl(init, "pid_max") / 2 - i;
		write_sysctl(init, "pid_max", pid_max[i]);
	}
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

TEST_F(nested, pid_above_pid_max_of_its_level)
{
	pid_t pid_max[3];

	lower_pid_max(pid_max);
	for (int i = 0; i < 3; i++) {
		pid_max[i]++;
		EXPECT_ERROR(EINVAL, set(vector(pid_max, 3)));
		pid_max[i]--;
	}
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

/* Unshares a pid namespace in a task, which cannot have a child yet. */
static int open_without_init(const struct task *task)
{
	struct job job = { .run = run_unshare, .number = CLONE_NEWPID };

	must("unshare", call(task, &job));
	return open_ns(task, "pid_for_children");
}

TEST_F(nested, namespace_without_init)
{
	struct task parent = spawn(init_of(3), 0);
	int fd = open_without_init(&parent);

	EXPECT_ERROR(EINVAL, set_as(NULL, fd, "1000"));
	EXPECT_ERROR(EINVAL, set_as(NULL, fd, "1000:2000:3000:4000"));
	EXPECT_ERROR(EINVAL, get_error(NULL, fd));
}

TEST_F(nested, namespace_that_gets_its_init)
{
	struct task parent = spawn(init_of(3), 0);
	int fd = open_without_init(&parent);
	struct task init = spawn(&parent, 0);

	ASSERT_EQ(0, set_as(NULL, fd, "1000:2000:3000:4000"));
	EXPECT_STREQ("1001:2001:3001:4001", fork_from(&init));
}

TEST_F(nested, namespace_whose_init_is_gone)
{
	end(3);
	EXPECT_ERROR(ESRCH, set_as(NULL, ns.fd[3], "1000"));
	EXPECT_ERROR(ESRCH, set_as(NULL, ns.fd[3], "1000:2000:3000"));
	EXPECT_ERROR(ESRCH, get_error(NULL, ns.fd[3]));
}

/*
 * An init that dies kills what is in its namespace, the inits of inner ones too.
 * Hold the innermost when it is about to exit: then the one outside of it has
 * begun to die, while the innermost namespace itself could still allocate pids.
 */
TEST_F(nested, ancestor_whose_init_is_gone)
{
	pid_t inner = host_pid(ns.init[3].pidfd);
	int status;

	must("trace", or_errno(ptrace(PTRACE_SEIZE, inner, NULL,
				      (void *)PTRACE_O_TRACEEXIT)));
	must("kill", or_errno(sys_pidfd_send_signal(ns.init[2].pidfd, SIGKILL, NULL, 0)));
	must("wait", or_errno(waitpid(inner, &status, __WALL)));
	ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXIT << 8, status >> 8);

	ns.depth = 1;
	EXPECT_ERROR(ESRCH, set_as(NULL, ns.fd[3], "1000"));
	EXPECT_ERROR(ESRCH, set_as(NULL, ns.fd[3], "1000:2000:3000"));
	EXPECT_ERROR(ESRCH, get_error(NULL, ns.fd[3]));
	EXPECT_EQ(0, set_as(NULL, ns.fd[1], "3000"));

	must("let go", or_errno(ptrace(PTRACE_DETACH, inner, NULL, NULL)));
}

TEST_F(nested, no_init_comes_before_an_ancestor_whose_init_is_gone)
{
	struct task parent = spawn(init_of(3), 0);
	int fd = open_without_init(&parent);

	end(3);
	EXPECT_ERROR(EINVAL, set_as(NULL, fd, "1000"));
	EXPECT_ERROR(EINVAL, get_error(NULL, fd));
}

TEST_F(nested, other_types_of_namespaces)
{
	static const char * const types[] = {
		"cgroup", "ipc", "mnt", "net", "time", "user", "uts",
	};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (access(format("/proc/self/ns/%s", types[i]), F_OK))
			continue;
		EXPECT_ERROR(ENOTTY, set_as(NULL, open_ns(NULL, types[i]), "1000"));
	}
}

TEST_F(nested, without_capability_nothing_is_learned)
{
	static const char * const vecs[] = {
		"1000", "1000:2000:3000", "4194304", "1000:4194304:4194304",
		"1000:2000:3000:400:500", "1000:4194304:0:0:0:0:0:0:0",
	};
	struct task task = spawn_with_caps(init_of(2), 0, 0);
	char text[VEC_SIZE];

	write_sysctl(init_of(3), "pid_max", read_sysctl(init_of(3), "pid_max") / 2);
	for (size_t i = 0; i < ARRAY_SIZE(vecs); i++)
		EXPECT_ERROR(EPERM, set_as(&task, ns.fd[3], vecs[i]));
	for (__u32 levels = 0; levels < 6; levels++)
		EXPECT_ERROR(EPERM, try_get(&task, ns.fd[3], levels, text));
}

TEST_F(nested, without_capability_the_size_is_not_learned)
{
	struct pidns_ioc_req req = { .req = PIDNS_REQ_GET_LAST_PID_VEC };
	struct task task = spawn_with_caps(init_of(2), 0, 0);

	EXPECT_ERROR(EPERM, request(&task, ns.fd[3], req, "", 0));
	req.data_size = 1;
	EXPECT_ERROR(EPERM, request(&task, ns.fd[3], req, "", 0));
}

TEST_F(nested, without_capability_the_state_of_init_is_not_learned)
{
	struct task parent = spawn(init_of(2), 0);
	struct task task = spawn_with_caps(init_of(2), 0, 0);
	int fd = open_without_init(&parent);

	EXPECT_ERROR(EPERM, set_as(&task, fd, "1000"));
	EXPECT_ERROR(EPERM, get_error(&task, fd));
	end(3);
	EXPECT_ERROR(EPERM, set_as(&task, ns.fd[3], "1000"));
	EXPECT_ERROR(EPERM, get_error(&task, ns.fd[3]));
}

/* A longer request than this kernel knows, as long as a command can express. */
struct long_req {
	struct pidns_ioc_req req;
	char tail[_IOC_SIZEMASK - PIDNS_IOC_REQ_SIZE_VER0];
};

static unsigned int sized_cmd(size_t size)
{
	return _IOC(_IOC_DIR(NS_SPECIFIC_IOC), _IOC_TYPE(NS_SPECIFIC_IOC),
		    _IOC_NR(NS_SPECIFIC_IOC), size);
}

static struct pidns_ioc_req set_req(const char *vec)
{
	return (struct pidns_ioc_req){
		.req = PIDNS_REQ_SET_LAST_PID_VEC,
		.data = (uintptr_t)vec,
		.data_size = strlen(vec),
	};
}

TEST_F(nested, longer_struct_with_zeroes)
{
	struct long_req req = { .req = set_req("1000:2000:3000") };

	EXPECT_EQ(0, ioc(ns.fd[3], sized_cmd(sizeof(req.req) + 1), &req));
	EXPECT_STREQ("1000:2000:3000", last_pids());
	req.req = set_req("400:500:600");
	EXPECT_EQ(0, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), &req));
	EXPECT_STREQ("400:500:600", last_pids());
}

TEST_F(nested, longer_struct_with_an_unknown_field)
{
	struct long_req req = { .req = set_req("1000") };

	req.tail[0] = 1;
	EXPECT_ERROR(E2BIG, ioc(ns.fd[3], sized_cmd(sizeof(req.req) + 1), &req));
	EXPECT_ERROR(E2BIG, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), &req));
	req.tail[0] = 0;
	req.tail[sizeof(req.tail) - 1] = 1;
	EXPECT_ERROR(E2BIG, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), &req));
	EXPECT_EQ(0, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK - 1), &req));
}

TEST_F(nested, unknown_field_comes_before_invalid_fields)
{
	struct long_req req = { .req = set_req("malformed"), .tail = { 1 } };

	req.req.flags = 1;
	EXPECT_ERROR(E2BIG, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), &req));
}

TEST_F(nested, unknown_request_comes_before_unknown_fields)
{
	static const __u32 unknown[] = { 0, 3, 0x80000001, UINT32_MAX };
	struct long_req req = { .req = set_req("1000") };

	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		req.req.req = unknown[i];
		req.tail[0] = 0;
		EXPECT_ERROR(ENOTTY, ioc(ns.fd[3], NS_SPECIFIC_IOC, &req));
		req.tail[0] = 1;
		EXPECT_ERROR(ENOTTY, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), &req));
	}
}

TEST_F(nested, commands_of_other_sizes_and_directions)
{
	static const struct {
		unsigned int dir;
		unsigned int size;
	} cmds[] = {
		{ _IOC_READ | _IOC_WRITE, 0 },
		{ _IOC_READ | _IOC_WRITE, PIDNS_IOC_REQ_SIZE_VER0 - 1 },
		{ _IOC_READ, PIDNS_IOC_REQ_SIZE_VER0 },
		{ _IOC_WRITE, PIDNS_IOC_REQ_SIZE_VER0 },
		{ _IOC_NONE, PIDNS_IOC_REQ_SIZE_VER0 },
	};
	struct pidns_ioc_req req = set_req("1000:2000:3000");

	for (size_t i = 0; i < ARRAY_SIZE(cmds); i++) {
		unsigned int cmd = _IOC(cmds[i].dir, _IOC_TYPE(NS_SPECIFIC_IOC),
					_IOC_NR(NS_SPECIFIC_IOC), cmds[i].size);

		EXPECT_ERROR(ENOTTY, ioc(ns.fd[3], cmd, &req));
	}
}

/* Memory that ends where the next byte cannot be read or written. */
FIXTURE(fault)
{
	char *end;
};

FIXTURE_SETUP(fault)
{
	long page_size = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must("map memory", pages == MAP_FAILED ? -errno : 0);
	self->end = pages + page_size;
	must("unmap", or_errno(mprotect(self->end, page_size, PROT_NONE)));
	set_up(_metadata, 3);
}

FIXTURE_TEARDOWN(fault)
{
	tear_down();
}

TEST_F(fault, struct_at_null)
{
	EXPECT_ERROR(EFAULT, ioc(ns.fd[3], NS_SPECIFIC_IOC, NULL));
}

TEST_F(fault, struct_unmapped)
{
	EXPECT_ERROR(EFAULT, ioc(ns.fd[3], NS_SPECIFIC_IOC, self->end));
}

TEST_F(fault, struct_crosses_into_unmapped)
{
	struct pidns_ioc_req req = set_req("1000");
	char *addr = self->end - sizeof(req) + 1;

	memcpy(addr, &req, sizeof(req) - 1);
	EXPECT_ERROR(EFAULT, ioc(ns.fd[3], NS_SPECIFIC_IOC, addr));
}

TEST_F(fault, struct_is_not_read_past_its_end)
{
	struct pidns_ioc_req req = set_req("1000:2000:3000");
	char *addr = self->end - sizeof(req);

	memcpy(addr, &req, sizeof(req));
	EXPECT_EQ(0, ioc(ns.fd[3], NS_SPECIFIC_IOC, addr));
	EXPECT_STREQ("1000:2000:3000", last_pids());
}

TEST_F(fault, tail_crosses_into_unmapped)
{
	struct pidns_ioc_req req = set_req("1000");
	char *addr = self->end - sizeof(req);

	memcpy(addr, &req, sizeof(req));
	EXPECT_ERROR(EFAULT, ioc(ns.fd[3], sized_cmd(sizeof(req) + 1), addr));
	EXPECT_ERROR(EFAULT, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), addr));
}

TEST_F(fault, unknown_request_comes_before_an_unreadable_tail)
{
	struct pidns_ioc_req req = { .req = 3 };
	char *addr = self->end - sizeof(req);

	memcpy(addr, &req, sizeof(req));
	EXPECT_ERROR(ENOTTY, ioc(ns.fd[3], sized_cmd(sizeof(req) + 1), addr));
}

/* A request with data of this size at this address. */
static long data_at(__u32 req, __u64 data, __u32 data_size)
{
	struct pidns_ioc_req arg = {
		.req = req,
		.data = data,
		.data_size = data_size,
	};

	return ioc(ns.fd[3], NS_SPECIFIC_IOC, &arg);
}

TEST_F(fault, set_data_unmapped)
{
	EXPECT_ERROR(EFAULT, data_at(PIDNS_REQ_SET_LAST_PID_VEC, 0, 4));
	EXPECT_ERROR(EFAULT, data_at(PIDNS_REQ_SET_LAST_PID_VEC, (uintptr_t)self->end, 4));
}

TEST_F(fault, set_data_crosses_into_unmapped)
{
	char *addr = self->end - 4;

	memcpy(addr, "1000", 4);
	EXPECT_ERROR(EFAULT, data_at(PIDNS_REQ_SET_LAST_PID_VEC, (uintptr_t)addr, 5));
}

TEST_F(fault, set_data_is_not_read_past_its_end)
{
	char *addr = self->end - 14;

	memcpy(addr, "1000:2000:3000", 14);
	EXPECT_EQ(0, data_at(PIDNS_REQ_SET_LAST_PID_VEC, (uintptr_t)addr, 14));
	EXPECT_STREQ("1000:2000:3000", last_pids());
}

TEST_F(fault, get_data_unmapped)
{
	EXPECT_ERROR(EFAULT, data_at(PIDNS_REQ_GET_LAST_PID_VEC, 0, VEC_SIZE));
	EXPECT_ERROR(EFAULT, data_at(PIDNS_REQ_GET_LAST_PID_VEC, (uintptr_t)self->end, VEC_SIZE));
}

TEST_F(fault, get_data_crosses_into_unmapped)
{
	char *addr = self->end - 4;

	EXPECT_ERROR(EFAULT, data_at(PIDNS_REQ_GET_LAST_PID_VEC, (uintptr_t)addr, VEC_SIZE));
}

TEST_F(fault, get_data_read_only)
{
	char *page = self->end - sysconf(_SC_PAGESIZE);

	must("protect", or_errno(mprotect(page, 1, PROT_READ)));
	EXPECT_ERROR(EFAULT, data_at(PIDNS_REQ_GET_LAST_PID_VEC, (uintptr_t)page, VEC_SIZE));
}

TEST_F(fault, address_is_not_cut_to_32_bits)
{
	__u64 high = 1ULL << 63;
	char *page = self->end - sysconf(_SC_PAGESIZE);

	memcpy(page, "1000", 4);
	EXPECT_ERROR(EFAULT, data_at(PIDNS_REQ_SET_LAST_PID_VEC, high | (uintptr_t)page, 4));
	EXPECT_ERROR(EFAULT, data_at(PIDNS_REQ_GET_LAST_PID_VEC, high | (uintptr_t)page, VEC_SIZE));
}

TEST_F(fault, too_large_data_is_not_read)
{
	EXPECT_ERROR(EINVAL, data_at(PIDNS_REQ_SET_LAST_PID_VEC, (uintptr_t)self->end,
				     VEC_SIZE + 1));
}

/* Requests that are wrong in themselves, whoever makes them. */
FIXTURE(invalid)
{
	struct task powerless;
	struct pidns_ioc_req req;
};

FIXTURE_VARIANT(invalid)
{
	char text[VEC_SIZE + 1];
	__u32 size; /* of text if that has a NUL in it or is cut off */
	__u32 req; /* 0 stands for SET */
	__u32 flags;
	__u32 levels;
};

FIXTURE_SETUP(invalid)
{
	self->req = (struct pidns_ioc_req){
		.req = variant->req ?: PIDNS_REQ_SET_LAST_PID_VEC,
		.flags = variant->flags,
		.data_size = variant->size ?: strlen(variant->text),
		.levels = variant->levels,
	};
	set_up(_metadata, 3);
	if (ns.depth)
		self->powerless = spawn_with_caps(init_of(2), 0, 0);
}

FIXTURE_TEARDOWN(invalid)
{
	tear_down();
}

#define SEVEN_DIGITS_33_TIMES						\
	"4194304:4194304:4194304:4194304:4194304:4194304:4194304:"	\
	"4194304:4194304:4194304:4194304:4194304:4194304:4194304:"	\
	"4194304:4194304:4194304:4194304:4194304:4194304:4194304:"	\
	"4194304:4194304:4194304:4194304:4194304:4194304:4194304:"	\
	"4194304:4194304:4194304:4194304:4194304"

FIXTURE_VARIANT_ADD(invalid, no_data) { .text = "" };
FIXTURE_VARIANT_ADD(invalid, only_nul) { .text = "", .size = 1 };
FIXTURE_VARIANT_ADD(invalid, only_colon) { .text = ":" };
FIXTURE_VARIANT_ADD(invalid, colon_last) { .text = "1:" };
FIXTURE_VARIANT_ADD(invalid, colon_first) { .text = ":1" };
FIXTURE_VARIANT_ADD(invalid, two_colons) { .text = "1::2" };
FIXTURE_VARIANT_ADD(invalid, plus) { .text = "+1" };
FIXTURE_VARIANT_ADD(invalid, minus) { .text = "-1" };
FIXTURE_VARIANT_ADD(invalid, blank_first) { .text = " 1" };
FIXTURE_VARIANT_ADD(invalid, blank_last) { .text = "1 " };
FIXTURE_VARIANT_ADD(invalid, newline) { .text = "1\n" };
FIXTURE_VARIANT_ADD(invalid, leading_zero) { .text = "01" };
FIXTURE_VARIANT_ADD(invalid, two_zeroes) { .text = "00" };
FIXTURE_VARIANT_ADD(invalid, leading_zero_later) { .text = "1:02" };
FIXTURE_VARIANT_ADD(invalid, hexadecimal) { .text = "0x1" };
FIXTURE_VARIANT_ADD(invalid, taken_in_2017) { .text = "5x:+7" };
FIXTURE_VARIANT_ADD(invalid, comma) { .text = "1,2" };
FIXTURE_VARIANT_ADD(invalid, byte_before_digits) { .text = "/" };
FIXTURE_VARIANT_ADD(invalid, byte_with_high_bit) { .text = "1\xb1" };
FIXTURE_VARIANT_ADD(invalid, two_nuls) { .text = "1", .size = 3 };
FIXTURE_VARIANT_ADD(invalid, nul_within) { .text = "1\0:2", .size = 4 };
FIXTURE_VARIANT_ADD(invalid, nul_first) { .text = "\0001", .size = 2 };
FIXTURE_VARIANT_ADD(invalid, nul_after_colon) { .text = "1:", .size = 3 };
FIXTURE_VARIANT_ADD(invalid, above_any_pid_max) { .text = "4194305" };
FIXTURE_VARIANT_ADD(invalid, above_32_bits) { .text = "4294967297" };
FIXTURE_VARIANT_ADD(invalid, above_64_bits) { .text = "18446744073709551617" };
FIXTURE_VARIANT_ADD(invalid, numbers_34) {
	.text = "1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1",
};

FIXTURE_VARIANT_ADD(invalid, bytes_265) { .text = SEVEN_DIGITS_33_TIMES, .size = 265 };
FIXTURE_VARIANT_ADD(invalid, size_of_all_memory) { .text = "1", .size = UINT32_MAX };
FIXTURE_VARIANT_ADD(invalid, set_with_lowest_flag) { .text = "1", .flags = 1 };
FIXTURE_VARIANT_ADD(invalid, set_with_highest_flag) { .text = "1", .flags = 1U << 31 };
FIXTURE_VARIANT_ADD(invalid, set_with_levels) { .text = "1", .levels = 1 };
FIXTURE_VARIANT_ADD(invalid, get_with_lowest_flag) {
	.req = PIDNS_REQ_GET_LAST_PID_VEC, .size = VEC_SIZE, .flags = 1,
};

FIXTURE_VARIANT_ADD(invalid, get_with_highest_flag) {
	.req = PIDNS_REQ_GET_LAST_PID_VEC, .size = VEC_SIZE, .flags = 1U << 31,
};

TEST_F(invalid, moves_nothing)
{
	EXPECT_ERROR(EINVAL, request(NULL, ns.fd[3], self->req, variant->text,
				     sizeof(variant->text)));
}

/*
 * Elsewhere EINVAL could also mean that a level does not exist or has a smaller
 * pid_max. But that is not told to who lacks the capability.
 */
TEST_F(invalid, is_found_before_permission)
{
	EXPECT_ERROR(EINVAL, request(&self->powerless, ns.fd[3], self->req,
				     variant->text, sizeof(variant->text)));
}

/* Where a vector is as long as can be, it is still well-formed. */
TEST_F(nested, longest_vector_is_well_formed)
{
	struct task powerless = spawn_with_caps(init_of(2), 0, 0);
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_SET_LAST_PID_VEC,
		.data_size = VEC_SIZE,
	};

	EXPECT_EQ(-EPERM, request(&powerless, ns.fd[3], req, SEVEN_DIGITS_33_TIMES,
				  VEC_SIZE));
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

	for (;;) {
		for (int i = 0; i < ns.depth; i++) {
			last[i] = 900 * ns.depth + 13 * i;
			next[i] = last[i] + 1;
		}
		ASSERT_EQ(0, set(vector(last, ns.depth)));
		ASSERT_STREQ(vector(last, ns.depth), get(ns.depth));
		ASSERT_STREQ(vector(next, ns.depth), fork_at(ns.depth));
		if (ns.depth == MAX_NESTED)
			break;
		nest(0);
	}
}

static void nest_all(void)
{
	while (ns.depth < MAX_NESTED)
		nest(0);
}

TEST_F(deep, level_33_cannot_be_made)
{
	struct task task;

	nest_all();
	EXPECT_EQ(-ENOSPC, try_spawn(init_of(MAX_NESTED), CLONE_NEWPID, "", &task));
}

/* The host goes back to where it was a moment ago, which skips taken pids. */
TEST_F(deep, vector_of_all_levels_with_the_host)
{
	const char *vec;

	nest_all();
	vec = get(0);
	EXPECT_EQ(MAX_NESTED + 1, count_numbers(vec));
	EXPECT_EQ(0, set(vec));
	EXPECT_TRUE(starts_with(vec, last_pids()));
}

/* Without the host's level: other tasks fork there. */
TEST_F(deep, pid_max_of_32_levels)
{
	pid_t pid_max[MAX_NESTED], wrapped[MAX_NESTED];
	const char *vec;

	nest_all();
	for (int i = 0; i < MAX_NESTED; i++) {
		pid_max[i] = read_sysctl(init_of(i + 1), "pid_max");
		wrapped[i] = AFTER_WRAP;
	}
	vec = vector(pid_max, MAX_NESTED);
	ASSERT_EQ(0, set(vec));
	EXPECT_STREQ(vec, get(MAX_NESTED));
	EXPECT_STREQ(vector(wrapped, MAX_NESTED), fork_at(MAX_NESTED));
}

/* Ways to open the pid namespace of level 3. */
FIXTURE(file) {};

FIXTURE_VARIANT(file)
{
	int (*open)(void);
};

static int open_of_task(void)
{
	return open_ns(init_of(3), "pid");
}

static int open_for_children(void)
{
	struct job job = { .run = run_setns, .number = CLONE_NEWPID, .fd = ns.fd[3] };

	must("enter the namespace", call(init_of(2), &job));
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

/* What a task of level 2 may do with these capabilities. */
FIXTURE(caps)
{
	struct task task;
	int inside; /* the error at its own level and below */
	int outside; /* the error above and beside */
};

FIXTURE_VARIANT(caps)
{
	unsigned long long caps;
};

FIXTURE_VARIANT_ADD(caps, none) { .caps = 0 };
FIXTURE_VARIANT_ADD(caps, all_others) {
	.caps = (CAP_BIT(CAP_CHECKPOINT_RESTORE) - 1) & ~CAP_BIT(CAP_SYS_ADMIN),
};

FIXTURE_VARIANT_ADD(caps, checkpoint_restore) { .caps = CAP_BIT(CAP_CHECKPOINT_RESTORE) };
FIXTURE_VARIANT_ADD(caps, sys_admin) { .caps = CAP_BIT(CAP_SYS_ADMIN) };

FIXTURE_SETUP(caps)
{
	unsigned long long sys_admin = CAP_BIT(CAP_SYS_ADMIN);
	unsigned long long either = sys_admin | CAP_BIT(CAP_CHECKPOINT_RESTORE);

	set_up(_metadata, 3);
	if (!ns.depth)
		return;
	self->task = spawn_with_caps(init_of(2), 0, variant->caps);
	self->inside = variant->caps & either ? 0 : EPERM;
	self->outside = variant->caps & sys_admin ? 0 : EPERM;
}

FIXTURE_TEARDOWN(caps)
{
	tear_down();
}

TEST_F(caps, set_own_level)
{
	EXPECT_SET(self->inside, &self->task, ns.fd[2], "1000");
}

TEST_F(caps, set_below)
{
	EXPECT_SET(self->inside, &self->task, ns.fd[3], "1000");
	EXPECT_SET(self->inside, &self->task, ns.fd[3], "1000:2000");
}

TEST_F(caps, set_above)
{
	EXPECT_SET(self->outside, &self->task, ns.fd[1], "1000");
	EXPECT_SET(self->outside, &self->task, ns.fd[2], "1000:2000");
	EXPECT_SET(self->outside, &self->task, ns.fd[3], "1000:2000:3000");
}

TEST_F(caps, set_beside)
{
	struct task beside = spawn_with_caps(init_of(2), CLONE_NEWPID, variant->caps);

	EXPECT_SET(self->outside, &beside, ns.fd[3], "1000");
	EXPECT_SET(self->outside, &beside, ns.fd[3], "1000:2000");
}

TEST_F(caps, set_from_the_innermost)
{
	struct task task = spawn_with_caps(init_of(3), 0, variant->caps);

	EXPECT_SET(self->inside, &task, ns.fd[3], "1000");
	EXPECT_SET(self->outside, &task, ns.fd[3], "1000:2000");
	EXPECT_SET(self->outside, &task, ns.fd[2], "2000");
}

TEST_F(caps, set_from_the_host)
{
	struct task task = spawn_with_caps(NULL, 0, variant->caps);

	EXPECT_SET(self->inside, &task, ns.fd[3], "1000:2000:3000");
}

TEST_F(caps, get_ends_before_what_set_refuses)
{
	char text[VEC_SIZE];
	int expected = self->outside ? 2 : 4;

	for (__u32 levels = 0; levels < 6; levels++) {
		int limit = levels && (int)levels < expected ? (int)levels : expected;

		if (self->inside) {
			EXPECT_EQ(-EPERM, try_get(&self->task, ns.fd[3], levels, text));
		} else {
			ASSERT_LT(0, try_get(&self->task, ns.fd[3], levels, text));
			EXPECT_EQ(limit, count_numbers(text));
		}
	}
}

TEST_F(caps, get_above_and_beside)
{
	struct task beside = spawn_with_caps(init_of(2), CLONE_NEWPID, variant->caps);
	char text[VEC_SIZE];
	long ret;

	ret = try_get(&self->task, ns.fd[1], 0, text);
	EXPECT_EQ(self->outside ? -EPERM : (long)strlen(text), ret);
	ret = try_get(&beside, ns.fd[3], 0, text);
	EXPECT_EQ(self->outside ? -EPERM : (long)strlen(text), ret);
}

/* Levels 2 and 3 belong to a user namespace of their own. */
FIXTURE(owned)
{
	pid_t pid_max[3];
};

FIXTURE_SETUP(owned)
{
	set_up(_metadata, 1);
	if (!ns.depth)
		return;
	if (access("/proc/self/ns/user", F_OK))
		SKIP(return, "kernel without CONFIG_USER_NS");
	nest(CLONE_NEWUSER);
	nest(0);
	lower_pid_max(self->pid_max);
}

FIXTURE_TEARDOWN(owned)
{
	tear_down();
}

TEST_F(owned, root_of_user_ns_sets_its_levels)
{
	ASSERT_EQ(0, set_as(init_of(2), ns.fd[3], "1000:2000"));
	EXPECT_STREQ("1000:2000", get(2));
	ASSERT_EQ(0, set_as(init_of(3), ns.fd[3], "400:500"));
	EXPECT_STREQ("400:500", get(2));
}

TEST_F(owned, root_of_user_ns_cannot_set_outer_levels)
{
	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[3], "1000:2000:3000"));
	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[2], "2000:3000"));
	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[1], "3000"));
	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[0], format("%d", getpid())));
	EXPECT_HOST_NOT_SET_TO_OWN_PID();
}

TEST_F(owned, get_by_root_of_user_ns_ends_before_outer_levels)
{
	ASSERT_EQ(0, set("1000:2000:3000"));
	EXPECT_STREQ("1000:2000", get_as(init_of(2), ns.fd[3], 0));
	EXPECT_STREQ("1000:2000", get_as(init_of(3), ns.fd[3], 0));
	EXPECT_STREQ("1000:2000", get_as(init_of(2), ns.fd[3], 3));
	EXPECT_STREQ("2000", get_as(init_of(2), ns.fd[2], 0));
	EXPECT_STREQ("1000", get_as(init_of(2), ns.fd[3], 1));
}

TEST_F(owned, get_by_root_of_user_ns_on_an_outer_level)
{
	EXPECT_ERROR(EPERM, get_error(init_of(2), ns.fd[1]));
	EXPECT_ERROR(EPERM, get_error(init_of(2), ns.fd[0]));
}

TEST_F(owned, set_of_what_get_returned_to_root_of_user_ns)
{
	const char *before = last_pids();

	EXPECT_EQ(0, set_as(init_of(3), ns.fd[3], get_as(init_of(3), ns.fd[3], 0)));
	EXPECT_STREQ(before, last_pids());
}

TEST_F(owned, capability_in_another_user_ns_is_none)
{
	struct task task = spawn(init_of(1), CLONE_NEWUSER);

	EXPECT_ERROR(EPERM, set_as(&task, ns.fd[1], "1000"));
	EXPECT_ERROR(EPERM, set_as(&task, ns.fd[3], "1000"));
	EXPECT_ERROR(EPERM, get_error(&task, ns.fd[3]));
}

TEST_F(owned, pid_max_within_comes_before_permission_outside)
{
	const char *inner = format("%d:2000:3000", self->pid_max[2] + 1);
	const char *middle = format("1000:%d:3000", self->pid_max[1] + 1);

	EXPECT_ERROR(EINVAL, set_as(init_of(2), ns.fd[3], inner));
	EXPECT_ERROR(EINVAL, set_as(init_of(2), ns.fd[3], middle));
}

TEST_F(owned, permission_comes_before_pid_max_of_its_level)
{
	const char *vec = format("1000:2000:%d", self->pid_max[0] + 1);

	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[3], vec));
	EXPECT_ERROR(EINVAL, set_as(NULL, ns.fd[3], vec));
}

TEST_F(owned, permission_comes_before_too_many_numbers)
{
	const char *vec = format("1000:2000:3000:%d:500", getpid());

	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[3], vec));
	EXPECT_ERROR(EINVAL, set_as(NULL, ns.fd[3], vec));
	EXPECT_HOST_NOT_SET_TO_OWN_PID();
}

/*
 * One task sets two vectors in turn and reads them, while others fork in the
 * innermost of three namespaces. That a vector is set, read and used as a whole
 * can be told exactly from any pids that are seen, not only on average: they
 * have the same distance from the same vector at all three levels.
 *
 * This holds for all pids above the start of a run, by induction. Nobody else
 * forks in these namespaces, so every pid there belongs to a task that has one
 * at each level, which it gets, and gives back, in one section of the kernel's
 * lock. Thus a distance is taken at all levels or at none, and from cursors of
 * equal distance the next free pids have equal distance again, also where some
 * are skipped. The tasks of the fixture itself have pids far below. The only
 * exception is a kernel so short of memory that the allocation of one pid has
 * to give up the lock for it.
 */
FIXTURE(race)
{
	pid_t (*pids)[MAX_NESTED];
	struct task forker[FORKERS];
};

/* No run reaches the next, nor does one reach the smallest pid_max, 32768. */
static const pid_t runs[2][3] = {
	{ 1000, 2000, 3000 },
	{ 20000, 19000, 18000 },
};

/* Forks FORKS times, with the pids going to where number points. */
static long run_fork_many(struct job *job)
{
	pid_t (*pids)[MAX_NESTED] = (void *)(uintptr_t)job->number;

	for (int i = 0; i < FORKS; i++) {
		pid_t child = vfork();
		int pidfd;

		if (!child)
			_exit(0);
		if (child < 0)
			return -errno;
		pidfd = sys_pidfd_open(child, 0);
		read_nspid(format("/proc/self/fdinfo/%d", pidfd), pids[i]);
		close(pidfd);
		waitpid(child, NULL, 0);
	}

	return 0;
}

FIXTURE_SETUP(race)
{
	self->pids = mmap(NULL, FORKERS * FORKS * sizeof(*self->pids),
			  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must("map memory", self->pids == MAP_FAILED ? -errno : 0);

	set_up(_metadata, 3);
	for (int i = 0; ns.depth && i < FORKERS; i++)
		self->forker[i] = spawn(init_of(3), 0);
}

FIXTURE_TEARDOWN(race)
{
	tear_down();
}

/* Returns which run pids belong to, or -1 if they do not belong together. */
static int run_of(const pid_t pids[3])
{
	int run = pids[0] >= runs[1][0];
	int distance = pids[0] - runs[run][0];

	for (int i = 0; i < 3; i++)
		if (pids[i] - runs[run][i] != distance)
			return -1;

	return distance >= 0 && distance <= FORKERS * (FORKS + 1) ? run : -1;
}

TEST_F_TIMEOUT(race, vector_is_set_and_read_as_a_whole, 120)
{
	const char *vecs[2] = { vector(runs[0], 3), vector(runs[1], 3) };
	struct pollfd done[FORKERS];
	int seen[2] = {};
	int turn = 0;

	ASSERT_EQ(0, set(vecs[0]));
	for (int i = 0; i < FORKERS; i++) {
		struct job job = {
			.run = run_fork_many,
			.number = (uintptr_t)(self->pids + i * FORKS),
		};

		must("start", or_errno(send(self->forker[i].sock, &job, sizeof(job), 0)));
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
	} while (poll(done, FORKERS, 0) < FORKERS);

	for (int i = 0; i < FORKERS * FORKS; i++) {
		int run = run_of(self->pids[i]);

		ASSERT_LE(0, run) TH_LOG("forked %s", vector(self->pids[i], 3));
		seen[run]++;
	}
	EXPECT_LT(0, seen[0]);
	EXPECT_LT(0, seen[1]);
}

TEST_HARNESS_MAIN
