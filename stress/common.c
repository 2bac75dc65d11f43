// SPDX-License-Identifier: GPL-2.0
#include "common.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <linux/sched.h>

long must(long ret, const char *what)
{
	if (ret < 0)
		errx(1, "cannot %s: %s", what, strerror(ret == -1 ? errno : -ret));
	return ret;
}

static long or_errno(long ret)
{
	return ret < 0 ? -errno : ret;
}

void *shared(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		err(1, "mmap");
	return mem;
}

struct job {
	job_fn fn;
	void *arg;
	long result;
};

long run(const struct task *task, job_fn fn, void *arg)
{
	struct job job = { .fn = fn, .arg = arg };

	if (!task)
		return fn(arg);
	if (send(task->sock, &job, sizeof(job), MSG_NOSIGNAL) != sizeof(job) ||
	    recv(task->sock, &job, sizeof(job), 0) != sizeof(job))
		errx(1, "a task is gone");
	return job.result;
}

static void serve(int sock)
{
	struct job job;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (recv(sock, &job, sizeof(job), 0) == sizeof(job)) {
		job.result = job.fn(job.arg);
		if (send(sock, &job, sizeof(job), MSG_NOSIGNAL) != sizeof(job))
			break;
	}
	_exit(0);
}

/* For jobs: what goes in and what comes out. There is one at a time. */
static struct {
	unsigned long flags;
	int ns, sock, pidfd;
	pid_t pid;
	char path[64], text[64];
} *io;

static long do_fork(void *arg)
{
	struct clone_args args = {
		.flags = io->flags | CLONE_FILES | CLONE_PIDFD,
		.pidfd = (uintptr_t)&io->pidfd,
		.exit_signal = SIGCHLD,
	};
	int sock = io->sock;
	long pid;

	(void)arg;
	pid = or_errno(syscall(SYS_clone3, &args, sizeof(args)));
	if (!pid)
		serve(sock);
	return pid;
}

static long do_fork_in(void *arg)
{
	int own = or_errno(open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
	long pid;

	if (own < 0)
		return own;
	pid = or_errno(setns(io->ns, CLONE_NEWPID));
	if (!pid)
		pid = do_fork(arg);
	if (setns(own, CLONE_NEWPID))
		return -errno;
	close(own);
	return pid;
}

static pid_t host_pid(int pidfd)
{
	char path[64], line[128];
	pid_t pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Pid: %d", &pid) == 1)
			break;
	if (pid <= 0)
		errx(1, "%s has no pid", path);
	fclose(f);
	return pid;
}

static struct task spawn_by(const struct task *parent, job_fn fn, int ns, unsigned long flags)
{
	struct task task;
	int socks[2];

	if (!io)
		io = shared(sizeof(*io));
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), "make sockets");
	io->flags = flags;
	io->ns = ns;
	io->sock = socks[1];
	task.pid = must(run(parent, fn, NULL), "fork");
	task.sock = socks[0];
	task.peer = socks[1];
	task.pidfd = io->pidfd;
	task.host_pid = host_pid(task.pidfd);
	return task;
}

struct task spawn(const struct task *parent, unsigned long flags)
{
	struct task task = spawn_by(parent, do_fork, -1, flags);

	if (flags & CLONE_NEWUSER)
		map_ids(parent, &task);
	return task;
}

struct task spawn_in(int ns, unsigned long flags)
{
	return spawn_by(NULL, do_fork_in, ns, flags);
}

void wait_for_exit(const struct task *task)
{
	struct pollfd p = { .fd = task->pidfd, .events = POLLIN };

	must(poll(&p, 1, -1), "wait for a task");
}

static long do_reap(void *arg)
{
	(void)arg;
	return or_errno(waitpid(io->pid, NULL, __WALL));
}

void reap(const struct task *parent, struct task *task)
{
	io->pid = task->pid;
	must(run(parent, do_reap, NULL), "reap");
	close(task->pidfd);
	close(task->sock);
	close(task->peer);
}

void end(const struct task *parent, struct task *task)
{
	must(syscall(SYS_pidfd_send_signal, task->pidfd, SIGKILL, NULL, 0), "kill");
	wait_for_exit(task);
	reap(parent, task);
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

static long do_write(void *arg)
{
	(void)arg;
	return write_file(io->path, io->text);
}

void map_ids(const struct task *parent, const struct task *child)
{
	strcpy(io->text, "0 0 1\n1000 1000 1\n");
	snprintf(io->path, sizeof(io->path), "/proc/%d/uid_map", child->host_pid);
	must(run(parent, do_write, NULL), "map user ids");
	snprintf(io->path, sizeof(io->path), "/proc/%d/gid_map", child->host_pid);
	must(run(parent, do_write, NULL), "map group ids");
}

int open_ns(const struct task *task, const char *type)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", task ? task->host_pid : getpid(), type);
	return must(or_errno(open(path, O_RDONLY | O_CLOEXEC)), path);
}

static long do_read_sysctl(void *arg)
{
	char text[32] = "";
	int fd = or_errno(open(io->path, O_RDONLY | O_CLOEXEC));
	long ret;

	(void)arg;
	if (fd < 0)
		return fd;
	ret = or_errno(read(fd, text, sizeof(text) - 1));
	close(fd);
	memcpy(io->text, text, sizeof(text));
	return ret;
}

long read_sysctl(const struct task *task, const char *name)
{
	if (!io)
		io = shared(sizeof(*io));
	snprintf(io->path, sizeof(io->path), "/proc/sys/kernel/%s", name);
	must(run(task, do_read_sysctl, NULL), "read a sysctl");
	return atol(io->text);
}

long write_sysctl(const struct task *task, const char *name, long value)
{
	if (!io)
		io = shared(sizeof(*io));
	snprintf(io->path, sizeof(io->path), "/proc/sys/kernel/%s", name);
	snprintf(io->text, sizeof(io->text), "%ld", value);
	return run(task, do_write, NULL);
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

/* The saved user id stays 0, which keeps what is permitted. */
long become(void *arg)
{
	const struct creds *creds = arg;
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

int get_vec(int ns, unsigned int levels, long pids[MAX_LEVELS])
{
	char text[MAX_LEN + 1], *end = text;
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_GET_LAST_PID_VEC,
		.data = (uintptr_t)text,
		.data_size = MAX_LEN,
		.levels = levels,
	};
	int count = 0;
	long len;

	len = or_errno(ioctl(ns, NS_SPECIFIC_IOC, &req));
	if (len < 0)
		return len;
	text[len] = '\0';
	for (;; end++) {
		pids[count++] = strtol(end, &end, 10);
		if (*end != ':')
			return count;
	}
}
