/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Random calls, in three parts:
 *	model.c		the namespaces and callers, and the result of each call
 *	generator.c	makes random namespaces and random calls
 *	calls.c		makes the calls and compares
 */
#ifndef CALLS_H
#define CALLS_H

#include "tasks.h"

/* --- model.c --------------------------------------------------------------- */

#define MAX_LEVELS (MAX_NESTED + 1)

struct user_ns {
	int level;
	struct user_ns *parent;
};

enum state { NO_INIT, ALIVE, GONE };

struct pid_ns {
	int level;
	struct pid_ns *parent;
	struct user_ns *owner;
	enum state state;
	long last;		/* 0 without init: the first pid is 1 */
	long pid_max;
	struct task init;	/* without init, the task that made the namespace */
	int fd;
};

struct caller {
	struct task task;
	struct pid_ns *pid_ns;
	struct user_ns *user_ns;
	struct creds creds;
};

/* A call. The task of the caller uses only what is not a pointer. */
struct call {
	const struct caller *caller;
	struct creds creds;	/* those of @caller */
	struct pid_ns *ns;	/* NULL: the file is not that of a pid namespace */
	int fd;
	long fd_error;		/* the error of any ioctl on this file */
	unsigned int cmd;
	struct pidns_ioc_req req;
	uintptr_t addr;		/* of the struct */
	/* How many bytes can be read or written from @addr and from @req.data on. */
	size_t struct_readable;
	size_t data_readable, data_writable;
	long result;
};

/* Returns whether @inner is @outer or a descendant of it. */
bool is_within(const struct pid_ns *inner, const struct pid_ns *outer);

/* Returns whether the init of @p or of an ancestor is gone. */
bool is_dead(const struct pid_ns *p);

/* Returns the cursor as GET reports it. */
long reported_last(const struct pid_ns *p);

/* Returns how many numbers @text has, or 0 if it is not a vector. */
int parse(const char *text, size_t len, long pids[MAX_LEVELS]);

/* Returns the length of the vector of @pids. */
size_t text_len(const long *pids, int count);

/*
 * Returns the result that the kernel must return. On success @pids are the
 * numbers that SET stores or GET reports.
 */
long expect(const struct call *c, long pids[MAX_LEVELS], int *count);

/* --- generator.c ------------------------------------------------------------ */

#define MAX_NS 48

/* The struct and the data of a call. Behind each is a page without access. */
#define REQ_MEM (5 * 4096)
#define DATA_MEM (2 * 4096)
extern char *req_mem, *data_mem;

extern struct pid_ns pid_ns[MAX_NS];
extern int pid_ns_count;

/* Makes what all rounds use. */
void prepare_calls(void);

/* Makes the namespaces and callers of the round @round of @seed. */
void build(uint64_t seed, uint64_t round);
void demolish(void);

/*
 * In most rounds one namespace dies. After start_to_die() nobody can allocate a
 * pid in it, after finish_to_die() it has no task.
 */
void start_to_die(void);
void finish_to_die(void);

/* Now and then writes ns_last_pid or pid_max. */
void maybe_write_sysctl(void);

/* Makes a random call. */
void choose(struct call *c);

/* Reads ns_last_pid inside of @p. */
long last_pid(const struct pid_ns *p);

#endif
