/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tasks in pid namespaces, and requests of NS_SPECIFIC_IOC. stress/ and bench/
 * share this file. A function with a name of the kselftest, pidns_ioctl.h in
 * tools/testing/selftests/pid_namespace, does the same as there.
 */
#ifndef TASKS_H
#define TASKS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/nsfs.h>

#ifndef CAP_CHECKPOINT_RESTORE
#define CAP_CHECKPOINT_RESTORE 40
#endif

#define ALL_CAPS (~0ULL >> (63 - CAP_LAST_CAP))
#define CAP_BIT(cap) (1ULL << (cap))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Limits of the kernel: nested pid namespaces, and the largest pid_max. */
#define MAX_NESTED 32
#define PID_LIMIT 4194304

/* The longest vector, a number of 7 digits for each level, and a NUL. */
#define VEC_SIZE ((MAX_NESTED + 1) * 8)

/*
 * A task that runs functions for the program. It shares the file descriptors of
 * its parent. NULL stands for the program itself.
 */
struct task {
	int sock, peer;
	int pidfd;
	pid_t pid;	/* as its parent sees it */
};

/* Exits if the program itself fails, not what it tests; else returns @ret. */
long must(const char *what, long ret);

static inline long or_errno(long ret)
{
	return ret < 0 ? -errno : ret;
}

/* Memory at the same address in this program and in each task forked later. */
void *shared(size_t size);

typedef long (*task_fn)(void *arg);

/* The task gets a copy of the argument, and its changes there come back. */
#define MAX_ARG 256

long call(const struct task *task, task_fn fn, void *arg, size_t size);

/* clone3() with @flags, or with the pids of @set_tid from the inside outwards. */
pid_t clone_task(unsigned long flags, int *pidfd, const pid_t *set_tid, int levels);

/* @parent forks a task. A task in a new user namespace gets the ids 0 and 1000. */
struct task spawn(const struct task *parent, unsigned long flags);

/* Forks a task into the pid namespace @ns, which is below that of this program. */
struct task spawn_in(int ns, unsigned long flags);

void kill_task(const struct task *task);

/* Waits until @task has exited. It stays a zombie until @parent reaps it. */
void wait_for_exit(const struct task *task);
void reap(const struct task *parent, pid_t pid);

/* Closes the files of a task that has exited, or will with its namespace. */
void forget(const struct task *task);

/* Kills, reaps and forgets a task. */
void end_task(const struct task *parent, const struct task *task);

/* Opens /proc/PID/ns/NAME. */
int open_ns(const struct task *task, const char *name);

pid_t host_pid(int pidfd);

/* Reads NSpid without that of the program, the outermost first. Returns how many. */
int read_nspid(const char *path, pid_t pids[MAX_NESTED]);

/* /proc/sys/kernel/NAME; those of pid namespaces are the task's own. */
pid_t read_sysctl(const struct task *task, const char *name);
void write_sysctl(const struct task *task, const char *name, pid_t value);

/* Writes @text to the file @path, returns 0 or an error. */
long write_file(const char *path, const char *text);

/* The effective user id and capabilities of a task. It keeps the permitted ones. */
struct creds {
	uid_t euid;
	uint64_t caps;
};

/* Changes the effective credentials of the caller. */
long become(const struct creds *creds);

/* SET: returns 0 or an error. */
long set_vec(int ns, const char *vec);

/* GET: reads up to @levels numbers, returns how many the kernel wrote or an error. */
int get_vec(int ns, unsigned int levels, long *pids);

#endif
