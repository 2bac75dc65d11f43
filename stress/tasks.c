// SPDX-License-Identifier: GPL-2.0
#include "tasks.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <linux/sched.h>

long must(const char *what, long ret)
{
	if (ret < 0)
		errx(1, "cannot %s: %s", what, strerror(-ret));
	return ret;
}

void *shared(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		err(1, "mmap");
	return mem;
}

struct message {
	task_fn fn;
	long result;
	long long arg[MAX_ARG / sizeof(long long)];
};

long call(const struct task *task, task_fn fn, void *arg, size_t size)
{
	ssize_t message_size = offsetof(struct message, arg) + size;
	struct message message;

	if (!task)
		return fn(arg);
	must("pass so large an argument", size > MAX_ARG ? -E2BIG : 0);
	message.fn = fn;
	memcpy(message.arg, arg, size);
	if (send(task->sock, &message, message_size, MSG_NOSIGNAL) != message_size ||
	    recv(task->sock, &message, message_size, 0) != message_size)
		errx(1, "a task is gone");
	memcpy(arg, message.arg, size);
	return message.result;
}

static void serve(int sock)
{
	struct message message = {};
	ssize_t size;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (send(sock, &message, 1, MSG_NOSIGNAL) != 1)
		_exit(1);
	while ((size = recv(sock, &message, sizeof(message), 0)) > 0) {
		message.result = message.fn(message.arg);
		if (send(sock, &message, size, MSG_NOSIGNAL) != size)
			break;
	}
	_exit(0);
}

pid_t clone_task(unsigned long flags, int *pidfd, const pid_t *set_tid, int levels)
{
	struct clone_args args = {
		.flags = flags | (pidfd ? CLONE_PIDFD : 0),
		.pidfd = (uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)set_tid,
		.set_tid_size = levels,
	};

	return or_errno(syscall(SYS_clone3, &args, sizeof(args)));
}

struct fork_arg {
	unsigned long flags;
	int sock, pidfd;
};

static long run_fork(void *p)
{
	struct fork_arg *arg = p;
	pid_t pid;
	int pidfd;

	pid = clone_task(arg->flags | CLONE_FILES, &pidfd, NULL, 0);
	if (!pid)
		serve(arg->sock);
	arg->pidfd = pidfd;
	return pid;
}

static struct task fork_task(const struct task *parent, unsigned long flags)
{
	struct fork_arg arg = { .flags = flags };
	int socks[2];
	char ready;
	pid_t pid;

	must("make sockets", or_errno(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC,
						 0, socks)));
	arg.sock = socks[1];
	pid = must("fork", call(parent, run_fork, &arg, sizeof(arg)));
	/* From here on the task dies with its parent. */
	if (recv(socks[0], &ready, 1, 0) != 1)
		errx(1, "a new task is gone");
	return (struct task){
		.sock = socks[0], .peer = socks[1], .pidfd = arg.pidfd, .pid = pid,
	};
}

static long run_map_ids(void *path)
{
	return write_file(path, "0 0 1\n1000 1000 1\n");
}

static void map_ids(const struct task *parent, const struct task *child, const char *map)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", host_pid(child->pidfd), map);
	must("map ids", call(parent, run_map_ids, path, sizeof(path)));
}

struct task spawn(const struct task *parent, unsigned long flags)
{
	struct task child = fork_task(parent, flags);

	if (flags & CLONE_NEWUSER) {
		map_ids(parent, &child, "uid_map");
		map_ids(parent, &child, "gid_map");
	}
	return child;
}

struct task spawn_in(int ns, unsigned long flags)
{
	int own = open_ns(NULL, "pid");
	struct task child;

	must("enter a pid namespace", or_errno(setns(ns, CLONE_NEWPID)));
	child = fork_task(NULL, flags);
	must("leave a pid namespace", or_errno(setns(own, CLONE_NEWPID)));
	close(own);
	return child;
}

void wait_for_exit(const struct task *task)
{
	struct pollfd p = { .fd = task->pidfd, .events = POLLIN };

	must("wait for a task", or_errno(poll(&p, 1, -1)));
}

void kill_task(const struct task *task)
{
	must("kill a task", or_errno(syscall(SYS_pidfd_send_signal, task->pidfd, SIGKILL,
					     NULL, 0)));
}

static long run_reap(void *pid)
{
	return or_errno(waitpid(*(pid_t *)pid, NULL, __WALL));
}

void reap(const struct task *parent, pid_t pid)
{
	must("reap", call(parent, run_reap, &pid, sizeof(pid)));
}

void forget(const struct task *task)
{
	close(task->pidfd);
	close(task->sock);
	close(task->peer);
}

void end_task(const struct task *parent, const struct task *task)
{
	kill_task(task);
	reap(parent, task->pid);
	forget(task);
}

/* Finds the value of "@name:" in a file of proc. */
static char *read_field(const char *path, const char *name, char *buf, size_t size)
{
	int fd = must(path, or_errno(open(path, O_RDONLY | O_CLOEXEC)));
	long len = must(path, or_errno(read(fd, buf, size - 1)));
	char *field;

	close(fd);
	buf[len] = '\0';
	field = strstr(buf, name);
	if (!field || field[strlen(name)] != ':')
		errx(1, "%s has no field %s", path, name);
	return field + strlen(name) + 1;
}

pid_t host_pid(int pidfd)
{
	char path[64], buf[1024];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	return atoi(read_field(path, "\nPid", buf, sizeof(buf)));
}

int read_nspid(const char *path, pid_t pids[MAX_NESTED])
{
	char buf[4096], *field = read_field(path, "\nNSpid", buf, sizeof(buf));
	int count = 0;

	strtol(field, &field, 10);	/* in the namespace of this program */
	while (*field == '\t' && count < MAX_NESTED)
		pids[count++] = strtol(field, &field, 10);
	return count;
}

int open_ns(const struct task *task, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s",
		 task ? host_pid(task->pidfd) : getpid(), name);
	return must(path, or_errno(open(path, O_RDONLY | O_CLOEXEC)));
}

long write_file(const char *path, const char *text)
{
	int fd = or_errno(open(path, O_WRONLY | O_CLOEXEC));
	long ret;

	if (fd < 0)
		return fd;
	ret = or_errno(write(fd, text, strlen(text)));
	close(fd);
	return ret < 0 ? ret : 0;
}

struct sysctl_arg {
	char path[64];
	pid_t value;
};

static long run_read_sysctl(void *p)
{
	struct sysctl_arg *arg = p;
	int fd = or_errno(open(arg->path, O_RDONLY | O_CLOEXEC));
	char text[16] = "";
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
	char text[16];

	snprintf(text, sizeof(text), "%d", arg->value);
	return write_file(arg->path, text);
}

pid_t read_sysctl(const struct task *task, const char *name)
{
	struct sysctl_arg arg;

	snprintf(arg.path, sizeof(arg.path), "/proc/sys/kernel/%s", name);
	must("read a sysctl", call(task, run_read_sysctl, &arg, sizeof(arg)));
	return arg.value;
}

void write_sysctl(const struct task *task, const char *name, pid_t value)
{
	struct sysctl_arg arg = { .value = value };

	snprintf(arg.path, sizeof(arg.path), "/proc/sys/kernel/%s", name);
	must("write a sysctl", call(task, run_write_sysctl, &arg, sizeof(arg)));
}

static long set_effective(uint64_t caps)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		return -errno;
	data[0].effective = data[0].permitted & caps;
	data[1].effective = data[1].permitted & (caps >> 32);
	return or_errno(syscall(SYS_capset, &header, data));
}

/* The saved user id stays 0, so the permitted capabilities stay too. */
long become(const struct creds *creds)
{
	long ret = set_effective(ALL_CAPS);

	if (!ret)
		ret = or_errno(setresuid(-1, creds->euid, -1));
	if (!ret)
		ret = set_effective(creds->caps);
	return ret;
}

long set_vec(int ns, const char *vec)
{
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_SET_LAST_PID_VEC,
		.data = (uintptr_t)vec,
		.data_size = strlen(vec),
	};

	return or_errno(ioctl(ns, NS_SPECIFIC_IOC, &req));
}

int get_vec(int ns, unsigned int levels, long *pids)
{
	char text[VEC_SIZE], *end = text;
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_GET_LAST_PID_VEC,
		.data = (uintptr_t)text,
		.data_size = VEC_SIZE - 1,
		.levels = levels,
	};
	unsigned int count = 0;
	long len, pid;

	len = or_errno(ioctl(ns, NS_SPECIFIC_IOC, &req));
	if (len < 0)
		return len;
	text[len] = '\0';
	for (;; end++) {
		pid = strtol(end, &end, 10);
		if (count < levels)
			pids[count] = pid;
		count++;
		if (*end != ':')
			return count;
	}
}
