// SPDX-License-Identifier: GPL-2.0
#include "tasks.h"

#include <linux/sched.h>

void *shared(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		err(1, "mmap");
	return mem;
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

struct task spawn_user(const struct task *parent, unsigned long flags)
{
	struct task child = spawn(parent, flags | CLONE_NEWUSER);

	map_ids(parent, &child, "uid_map");
	map_ids(parent, &child, "gid_map");
	return child;
}

struct task spawn_in(int ns)
{
	int own = open_ns(NULL, "pid");
	struct task child;

	must("enter a pid namespace", or_errno(setns(ns, CLONE_NEWPID)));
	child = spawn(NULL, 0);
	must("leave a pid namespace", or_errno(setns(own, CLONE_NEWPID)));
	close(own);
	return child;
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

int get_pids(int ns, unsigned int levels, long *pids)
{
	char text[VEC_SIZE], *end = text;
	long len = try_get(NULL, ns, levels, text);
	unsigned int count = 0;

	if (len < 0)
		return len;
	text[len] = '\0';
	for (;; end++) {
		long pid = strtol(end, &end, 10);

		if (count < levels)
			pids[count] = pid;
		count++;
		if (*end != ':')
			return count;
	}
}
