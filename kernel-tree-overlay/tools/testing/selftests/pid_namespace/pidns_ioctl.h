/* SPDX-License-Identifier: GPL-2.0 */
/* Tasks in nested pid namespaces, and requests of NS_SPECIFIC_IOC for them. */
#ifndef PIDNS_IOCTL_H
#define PIDNS_IOCTL_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* Exits if @ret is an error of the program itself. Returns @ret otherwise. */
long must(const char *what, long ret);

static inline long or_errno(long ret)
{
	return ret < 0 ? -errno : ret;
}

/* Returns text in memory that nobody frees: a test is over soon. */
char *format(const char *fmt, ...);

/*
 * A task that runs functions for the program. All tasks share their file
 * descriptors; NULL stands for the program itself.
 */
struct task {
	int sock;
	int pidfd;
	pid_t pid; /* as seen by its parent */
};

typedef long (*task_fn)(void *arg);

/* Size of the largest argument. The task gets a copy; call() copies it back. */
#define MAX_ARG 512

long call(const struct task *task, task_fn fn, void *arg, size_t size);

/* The same in two steps. Before the second the task's socket gets readable. */
void call_start(const struct task *task, task_fn fn, const void *arg, size_t size);
long call_finish(const struct task *task, void *arg, size_t size);

/* Forks from a task, with these flags of clone3() and pids of @set_tid. */
long try_spawn(const struct task *parent, unsigned long long flags,
	       const pid_t *set_tid, int set_tid_size, struct task *child);
struct task spawn(const struct task *parent, unsigned long long flags);

/* The child keeps only these capabilities. */
struct task spawn_with_caps(const struct task *parent, unsigned long long flags,
			    unsigned long long caps);
void limit_caps(const struct task *task, unsigned long long caps);
void reap(const struct task *parent, pid_t pid);
void kill_task(const struct task *task);
void end_task(const struct task *parent, const struct task *task);

/* Forks a child that exits. Returns its pids below level 0 as a vector. */
const char *fork_from(const struct task *parent);
const char *fork_unreaped(const struct task *parent, pid_t *pid);

pid_t host_pid(int pidfd);

/* Reads NSpid without level 0, the outermost first. Returns how many. */
int read_nspid(const char *path, pid_t pids[MAX_NESTED]);

/* Opens /proc/PID/ns/NAME. */
int open_ns(const struct task *task, const char *name);

/* Makes a pid namespace for the children of a task, and opens it. */
int open_ns_without_init(const struct task *task);

/* /proc/sys/kernel/NAME; those of pid namespaces are the task's own. */
pid_t read_sysctl(const struct task *task, const char *name);
long try_write_sysctl(const struct task *task, const char *name, pid_t value);
void write_sysctl(const struct task *task, const char *name, pid_t value);

/*
 * The pid namespaces of a test, from the outermost, 1, to the innermost, depth.
 * Only tasks of the test run in them. The test itself runs at level 0.
 */
struct namespaces {
	int depth;
	struct task init[MAX_NESTED + 1];
	int fd[MAX_NESTED + 1];
};

extern struct namespaces ns;

/* Returns a reason to skip all tests, or NULL. */
const char *skip_reason(void);

/* Makes one more namespace in the innermost, or more up to a depth. */
void nest(unsigned long long flags);
void nest_to(int depth);

/* Ends a namespace and those in it. Their files stay open. */
void end_ns(int level);

const struct task *init_of(int level);
const char *fork_at(int level);

/* Reads ns_last_pid inside each namespace. Returns a vector. */
const char *last_pids(void);

/* Sets a different pid_max at each of three levels, and returns them. */
void lower_pid_max(pid_t pid_max[3]);

/* Makes a vector of pids that start with the outermost. */
const char *vector(const pid_t *pids, int count);
int count_numbers(const char *vec);

/* Requests by @task. They return the result of ioctl() or -errno. */
long ioc(int fd, unsigned int cmd, const void *req);
long request(const struct task *task, int fd, struct pidns_ioc_req req,
	     const char *data, size_t size);
long set_as(const struct task *task, int fd, const char *vec);
long try_get(const struct task *task, int fd, __u32 levels, char text[VEC_SIZE]);

/* Returns the vector; a failure ends the test. */
const char *get_as(const struct task *task, int fd, __u32 levels);

/* For the innermost namespace. */
long set(const char *vec);
const char *get(__u32 levels);

#endif
