/* SPDX-License-Identifier: GPL-2.0 */
/* What the stress tests share: tasks in namespaces, and requests. */
#ifndef STRESS_COMMON_H
#define STRESS_COMMON_H

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

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Facts of the interface, Documentation/userspace-api/pidns_ioctl.rst */
#define MAX_LEVELS 33
#define MAX_LEN 263
#define PID_LIMIT 4194304

/*
 * A task that does what it is told. All of them share their file descriptors,
 * so that a number means the same in each, and what shared() returns.
 */
struct task {
	int sock, peer;
	int pidfd;
	pid_t pid;	/* as its parent sees it */
	pid_t host_pid;
};

typedef long (*job_fn)(void *arg);

/* Ends the test where not the ioctl has failed but what the test is made of. */
long must(long ret, const char *what);

/* Memory at the same address in each task that is forked later. */
void *shared(size_t size);

/* Returns what @fn returns in @task, or right here if that is NULL. */
long run(const struct task *task, job_fn fn, void *arg);

/* Forks a task from @parent with the flags of clone3(), CLONE_FILES included. */
struct task spawn(const struct task *parent, unsigned long flags);

/* The same in the pid namespace @ns, which is below that of this program. */
struct task spawn_in(int ns, unsigned long flags);

/* Waits until @task is gone; it stays a zombie until @parent reaps it. */
void wait_for_exit(const struct task *task);
void reap(const struct task *parent, struct task *task);
void end(const struct task *parent, struct task *task);

/* A task that is the first of a new user namespace needs ids. */
void map_ids(const struct task *parent, const struct task *child);

/* Opens /proc/PID/ns/@type of @task, or of this program if that is NULL. */
int open_ns(const struct task *task, const char *type);

/* /proc/sys/kernel/@name as a task sees it; writes return 0 or -errno. */
long read_sysctl(const struct task *task, const char *name);
long write_sysctl(const struct task *task, const char *name, long value);

/* Writes @text to the file @path; returns 0 or -errno. */
long write_file(const char *path, const char *text);

/* The effective ids and capabilities of @task, which keeps the others. */
struct creds {
	uid_t euid;
	uint64_t caps;
};
#define ALL_CAPS (~0ULL >> (63 - CAP_LAST_CAP))
#define CAP_BIT(cap) (1ULL << (cap))
long become(void *creds);

/* Sets @vec, returns 0 or -errno. */
long set_vec(int ns, const char *vec);

/* Reads at most @levels numbers into @pids, returns how many or -errno. */
int get_vec(int ns, unsigned int levels, long pids[MAX_LEVELS]);

int calls(int argc, char **argv);
int races(int argc, char **argv);
int lifetime(int argc, char **argv);
int who(int argc, char **argv);
int faults(int argc, char **argv);

#endif
