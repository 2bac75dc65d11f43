/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What stress/ and bench/ need beyond the helpers of the kselftest, pidns_ioctl.h in
 * tools/testing/selftests/pid_namespace, which they are built with.
 */
#ifndef TASKS_H
#define TASKS_H

#include "pidns_ioctl.h"

#include <err.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define ALL_CAPS (~0ULL >> (63 - CAP_LAST_CAP))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The largest pid_max. */
#define PID_LIMIT 4194304

/* Memory at the same address in this program and in each task forked later. */
void *shared(size_t size);

/* clone3() with @flags, or with the pids of @set_tid from the inside outwards. */
pid_t clone_task(unsigned long flags, int *pidfd, const pid_t *set_tid, int levels);

/* spawn() into a new user namespace, which maps the ids 0 and 1000. */
struct task spawn_user(const struct task *parent, unsigned long flags);

/* Forks a task into the pid namespace @ns, which is below that of this program. */
struct task spawn_in(int ns);

/* Writes @text to the file @path, returns 0 or an error. */
long write_file(const char *path, const char *text);

/* The effective user id and capabilities of a task. It keeps the permitted ones. */
struct creds {
	uid_t euid;
	uint64_t caps;
};

/* Changes the effective credentials of the caller. */
long become(const struct creds *creds);

/* GET: reads up to @levels numbers, returns how many the kernel wrote or an error. */
int get_pids(int ns, unsigned int levels, long *pids);

#endif
