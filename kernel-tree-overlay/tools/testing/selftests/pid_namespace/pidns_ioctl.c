// SPDX-License-Identifier: GPL-2.0
#include "pidns_ioctl.h"

#include <linux/sched.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct namespaces ns;

long must(const char *what, long ret)
{
	if (ret >= 0)
		return ret;

	fprintf(stderr, "# cannot %s: %s\n", what, strerror(-ret));
	_exit(1);
}

char *format(const char *fmt, ...)
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

struct message {
	task_fn fn;
	long result;
	long long arg[MAX_ARG / sizeof(long long)];
};

static size_t message_size(size_t size)
{
	must("pass so large an argument", size > MAX_ARG ? -E2BIG : 0);
	return offsetof(struct message, arg) + size;
}

void call_start(const struct task *task, task_fn fn, const void *arg, size_t size)
{
	struct message message = { .fn = fn };

	memcpy(message.arg, arg, size);
	must("call a task", or_errno(send(task->sock, &message, message_size(size),
					  MSG_NOSIGNAL)));
}

long call_finish(const struct task *task, void *arg, size_t size)
{
	struct message message = {};
	struct pollfd fds[] = {
		{ .fd = task->sock, .events = POLLIN },
		{ .fd = task->pidfd, .events = POLLIN },
	};

	must("wait for a task", or_errno(poll(fds, 2, -1)));
	must("get a result, the task is gone", fds[0].revents & POLLIN ? 0 : -ESRCH);
	must("get a result", or_errno(recv(task->sock, &message, message_size(size), 0)));
	memcpy(arg, message.arg, size);

	return message.result;
}

long call(const struct task *task, task_fn fn, void *arg, size_t size)
{
	if (!task)
		return fn(arg);

	call_start(task, fn, arg, size);
	return call_finish(task, arg, size);
}

static void serve(int sock)
{
	struct message message;
	ssize_t size;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		size = recv(sock, &message, sizeof(message), 0);
		if (size <= 0)
			_exit(1);
		message.result = message.fn(message.arg);
		if (send(sock, &message, size, MSG_NOSIGNAL) != size)
			_exit(1);
	}
}

struct fork_arg {
	unsigned long long flags;
	pid_t set_tid[MAX_NESTED + 1];
	int set_tid_size;
	int sock; /* -1: the child exits at once */
	int pidfd;
};

static long run_fork(void *p)
{
	struct fork_arg *arg = p;
	int pidfd = -1;
	struct clone_args args = {
		.flags = arg->flags | CLONE_PIDFD | CLONE_FILES,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.set_tid = arg->set_tid_size ? (uintptr_t)arg->set_tid : 0,
		.set_tid_size = arg->set_tid_size,
	};
	long pid = syscall(__NR_clone3, &args, sizeof(args));

	if (!pid) {
		if (arg->sock >= 0)
			serve(arg->sock);
		_exit(0);
	}
	arg->pidfd = pidfd;
	return or_errno(pid);
}

long try_spawn(const struct task *parent, unsigned long long flags,
	       const pid_t *set_tid, int set_tid_size, struct task *child)
{
	struct fork_arg arg = { .flags = flags, .set_tid_size = set_tid_size };
	int socks[2];

	must("make sockets", or_errno(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks)));
	arg.sock = socks[1];
	if (set_tid_size)
		memcpy(arg.set_tid, set_tid, set_tid_size * sizeof(*set_tid));

	child->pid = call(parent, run_fork, &arg, sizeof(arg));
	child->sock = socks[0];
	child->pidfd = arg.pidfd;

	return child->pid;
}

struct task spawn(const struct task *parent, unsigned long long flags)
{
	struct task child;

	must("start a task", try_spawn(parent, flags, NULL, 0, &child));
	return child;
}

static long run_limit_caps(void *caps)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	__u32 low = *(unsigned long long *)caps;
	__u32 high = *(unsigned long long *)caps >> 32;
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{ .effective = low, .permitted = low },
		{ .effective = high, .permitted = high },
	};

	return or_errno(syscall(__NR_capset, &header, data));
}

void limit_caps(const struct task *task, unsigned long long caps)
{
	must("limit the capabilities", call(task, run_limit_caps, &caps, sizeof(caps)));
}

struct task spawn_with_caps(const struct task *parent, unsigned long long flags,
			    unsigned long long caps)
{
	struct task child = spawn(parent, flags);

	limit_caps(&child, caps);
	return child;
}

static long run_reap(void *pid)
{
	return or_errno(waitpid(*(pid_t *)pid, NULL, 0));
}

void reap(const struct task *parent, pid_t pid)
{
	must("reap", call(parent, run_reap, &pid, sizeof(pid)));
}

void kill_task(const struct task *task)
{
	must("kill", or_errno(syscall(__NR_pidfd_send_signal, task->pidfd, SIGKILL,
				      NULL, 0)));
}

void end_task(const struct task *parent, const struct task *task)
{
	kill_task(task);
	reap(parent, task->pid);
}

/* Returns the value of a field in a file of /proc. */
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

pid_t host_pid(int pidfd)
{
	return atoi(read_field(format("/proc/self/fdinfo/%d", pidfd), "Pid"));
}

int read_nspid(const char *path, pid_t pids[MAX_NESTED])
{
	char *field = read_field(path, "NSpid");
	int count = 0;

	strtol(field, &field, 10);
	while (*field && count < MAX_NESTED)
		pids[count++] = strtol(field, &field, 10);

	return count;
}

const char *fork_unreaped(const struct task *parent, pid_t *pid)
{
	struct fork_arg arg = { .sock = -1 };
	pid_t pids[MAX_NESTED];
	int count;

	*pid = must("fork", call(parent, run_fork, &arg, sizeof(arg)));
	count = read_nspid(format("/proc/self/fdinfo/%d", arg.pidfd), pids);
	close(arg.pidfd);

	return vector(pids, count);
}

const char *fork_from(const struct task *parent)
{
	pid_t pid;
	const char *vec = fork_unreaped(parent, &pid);

	reap(parent, pid);
	return vec;
}

int open_ns(const struct task *task, const char *name)
{
	const char *path = task ? format("/proc/%d/ns/%s", host_pid(task->pidfd), name)
				: format("/proc/self/ns/%s", name);

	return must(path, or_errno(open(path, O_RDONLY | O_CLOEXEC)));
}

static long run_unshare(void *flags)
{
	return or_errno(unshare(*(int *)flags));
}

int open_ns_without_init(const struct task *task)
{
	int flags = CLONE_NEWPID;

	must("unshare", call(task, run_unshare, &flags, sizeof(flags)));
	return open_ns(task, "pid_for_children");
}

struct sysctl_arg {
	char path[64];
	pid_t value;
};

static struct sysctl_arg sysctl_arg(const char *name, pid_t value)
{
	struct sysctl_arg arg = { .value = value };

	snprintf(arg.path, sizeof(arg.path), "/proc/sys/kernel/%s", name);
	return arg;
}

static long run_read_sysctl(void *p)
{
	struct sysctl_arg *arg = p;
	char text[16] = "";
	int fd = or_errno(open(arg->path, O_RDONLY | O_CLOEXEC));
	long ret;

	if (fd < 0)
		return fd;
	ret = or_errno(read(fd, text, sizeof(text) - 1));
	close(fd);
	arg->value = atoi(text);

	return ret;
}

static long run_write_sysctl(void *p)
{
	struct sysctl_arg *arg = p;
	int fd = or_errno(open(arg->path, O_WRONLY | O_CLOEXEC));
	long ret;

	if (fd < 0)
		return fd;
	ret = or_errno(dprintf(fd, "%d", arg->value));
	close(fd);

	return ret < 0 ? ret : 0;
}

pid_t read_sysctl(const struct task *task, const char *name)
{
	struct sysctl_arg arg = sysctl_arg(name, 0);

	must(arg.path, call(task, run_read_sysctl, &arg, sizeof(arg)));
	return arg.value;
}

long try_write_sysctl(const struct task *task, const char *name, pid_t value)
{
	struct sysctl_arg arg = sysctl_arg(name, value);

	return call(task, run_write_sysctl, &arg, sizeof(arg));
}

void write_sysctl(const struct task *task, const char *name, pid_t value)
{
	must(name, try_write_sysctl(task, name, value));
}

static ino_t inode(int fd)
{
	struct stat st;

	must("stat", or_errno(fstat(fd, &st)));
	return st.st_ino;
}

/* A kernel without this type of namespace has no file for it. */
static bool is_initial(const char *type, ino_t initial)
{
	return access(format("/proc/self/ns/%s", type), F_OK) ||
	       inode(open_ns(NULL, type)) == initial;
}

/* Returns whether the caller may do everything, without a call of the ioctl. */
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

const char *skip_reason(void)
{
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_GET_LAST_PID_VEC,
		.levels = 1,
	};
	long ret;

	if (!is_host_root())
		return "not root with CAP_SYS_ADMIN in the initial namespaces";
	if (access("/proc/self/ns/pid", F_OK))
		return "kernel without CONFIG_PID_NS";

	ns.fd[0] = open_ns(NULL, "pid");
	ret = ioc(ns.fd[0], NS_SPECIFIC_IOC, &req);
	if (ret == -ENOTTY)
		return "kernel without CONFIG_PID_NS_IOCTL";
	must("get the last pids", ret);

	return NULL;
}

void nest(unsigned long long flags)
{
	struct task init = spawn(init_of(ns.depth), CLONE_NEWPID | flags);

	ns.depth++;
	ns.init[ns.depth] = init;
	ns.fd[ns.depth] = open_ns(&init, "pid");
}

void nest_to(int depth)
{
	while (ns.depth < depth)
		nest(0);
}

void end_ns(int level)
{
	ns.depth = level - 1;
	end_task(init_of(ns.depth), &ns.init[level]);
}

const struct task *init_of(int level)
{
	return level ? &ns.init[level] : NULL;
}

const char *fork_at(int level)
{
	return fork_from(init_of(level));
}

const char *last_pids(void)
{
	pid_t pids[MAX_NESTED];

	for (int level = 1; level <= ns.depth; level++)
		pids[level - 1] = read_sysctl(init_of(level), "ns_last_pid");

	return vector(pids, ns.depth);
}

void lower_pid_max(pid_t pid_max[3])
{
	for (int i = 0; i < 3; i++) {
		pid_max[i] = read_sysctl(init_of(i + 1), "pid_max") / 2 - i;
		write_sysctl(init_of(i + 1), "pid_max", pid_max[i]);
	}
}

const char *vector(const pid_t *pids, int count)
{
	const char *text = "";

	while (count--)
		text = format("%s%s%d", text, *text ? ":" : "", pids[count]);

	return text;
}

int count_numbers(const char *vec)
{
	int count = 1;

	for (; *vec; vec++)
		count += *vec == ':';

	return count;
}

long ioc(int fd, unsigned int cmd, const void *req)
{
	return or_errno(ioctl(fd, cmd, req));
}

struct request_arg {
	int fd;
	struct pidns_ioc_req req;
	char data[VEC_SIZE + 8];
};

static long run_request(void *p)
{
	struct request_arg *arg = p;

	arg->req.data = (uintptr_t)arg->data;
	return ioc(arg->fd, NS_SPECIFIC_IOC, &arg->req);
}

long request(const struct task *task, int fd, struct pidns_ioc_req req,
	     const char *data, size_t size)
{
	struct request_arg arg = { .fd = fd, .req = req };

	memcpy(arg.data, data, size);
	return call(task, run_request, &arg, sizeof(arg));
}

long set_as(const struct task *task, int fd, const char *vec)
{
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_SET_LAST_PID_VEC,
		.data_size = strlen(vec),
	};

	return request(task, fd, req, vec, strlen(vec));
}

long try_get(const struct task *task, int fd, __u32 levels, char text[VEC_SIZE])
{
	struct request_arg arg = {
		.fd = fd,
		.req = {
			.req = PIDNS_REQ_GET_LAST_PID_VEC,
			.data_size = VEC_SIZE - 1,
			.levels = levels,
		},
	};
	long ret = call(task, run_request, &arg, sizeof(arg));

	memcpy(text, arg.data, VEC_SIZE);
	return ret;
}

const char *get_as(const struct task *task, int fd, __u32 levels)
{
	char text[VEC_SIZE];

	must("get the last pids", try_get(task, fd, levels, text));
	return format("%s", text);
}

long set(const char *vec)
{
	return set_as(NULL, ns.fd[ns.depth], vec);
}

const char *get(__u32 levels)
{
	return get_as(NULL, ns.fd[ns.depth], levels);
}
