// SPDX-License-Identifier: GPL-2.0
/*
 * Makes random calls and compares each with the model: its result, the memory of
 * the caller, and the cursors. A round has namespaces of its own. A mismatch
 * prints the command that repeats its round.
 *
 * The kernel forks threads in the initial pid namespace at any time, so that
 * cursor may be ahead of the model.
 */
#include "calls.h"
#include "stress.h"

#define CALLS_PER_ROUND 4000
#define STRAYS 100		/* threads that the kernel may fork during a call */

static uint64_t seed, round_nr, call_nr;
static char data_before[DATA_MEM], req_before[REQ_MEM];

/* The errors of each request. Each must occur. */
static const struct {
	const char *request;
	int errors[10];	/* up to 0 */
} possible[] = {
	[PIDNS_REQ_SET_LAST_PID_VEC] = { "set", {
		EPERM, ESRCH, E2BIG, EBADF, EAGAIN, EFAULT, EINVAL, ENOTTY, ERANGE } },
	[PIDNS_REQ_GET_LAST_PID_VEC] = { "got", {
		EPERM, ESRCH, E2BIG, EBADF, EFAULT, EINVAL, ENOTTY, ERANGE } },
};

/* How often each request ended with each result */
static long successes[ARRAY_SIZE(possible)], failures[ARRAY_SIZE(possible)][256];

static long run_call(void *arg)
{
	struct call *c = arg;

	must("change the credentials", become(&c->creds));
	return ioc(c->fd, c->cmd, (void *)c->addr);
}

static void complain(const struct call *c, const char *what, long got, long wanted)
{
	printf("not ok: seed %llu round %llu call %llu: %s: %ld, expected %ld\n",
	       (unsigned long long)seed, (unsigned long long)round_nr,
	       (unsigned long long)call_nr, what, got, wanted);
	printf("  level %d state %d cmd size %u req %u flags %#x data %#llx size %u levels %u\n",
	       c->ns ? c->ns->level : -1, c->ns ? (int)c->ns->state : -1, _IOC_SIZE(c->cmd),
	       c->req.req, c->req.flags, (unsigned long long)c->req.data, c->req.data_size,
	       c->req.levels);
	printf("  caller at level %d, user level %d, euid %u, caps %#llx\n",
	       c->caller->pid_ns->level, c->caller->user_ns->level, c->caller->creds.euid,
	       (unsigned long long)c->caller->creds.caps);
	printf("  again: calls %llu %d %llu\n", (unsigned long long)seed, CALLS_PER_ROUND,
	       (unsigned long long)round_nr);
	exit(1);
}

static bool is_last(const struct pid_ns *p, long seen)
{
	if (p->level)
		return seen == p->last;
	return (seen >= p->last && seen <= p->last + STRAYS) || (seen >= AFTER_WRAP && seen <= AFTER_WRAP + STRAYS);
}

/* This program may read all levels, and compares them with the model. */
static void check_cursors(const struct call *c)
{
	const struct pid_ns *p = c->ns;
	long pids[MAX_LEVELS];
	int n;

	if (!p || is_dead(p))
		return;
	n = get_pids(p->fd, MAX_LEVELS, pids);
	if (n != p->level + 1)
		complain(c, "levels after the call", n, p->level + 1);
	for (int i = 0; i < n; i++, p = p->parent) {
		struct pid_ns shown = *p;

		shown.last = reported_last(p);
		if (!is_last(&shown, pids[i]))
			complain(c, "cursor after the call", pids[i], shown.last);
	}
}

/* The cursors of all namespaces without the ioctl. */
static void check_all(const struct call *c)
{
	for (const struct pid_ns *p = pid_ns; p < pid_ns + pid_ns_count; p++)
		if (p->state == ALIVE && !is_dead(p) && !is_last(p, last_pid(p)))
			complain(c, "ns_last_pid after the call", last_pid(p), p->last);
	pid_ns[0].last = last_pid(&pid_ns[0]);
}

static void check_memory(const struct call *c, const long *pids, int count)
{
	size_t offset = c->req.data - (uintptr_t)data_mem, written = 0;
	char text[VEC_SIZE];
	long seen[MAX_LEVELS];
	struct pid_ns *p = c->ns;

	if (memcmp(req_before, req_mem, REQ_MEM))
		complain(c, "the struct changed", 1, 0);
	if (c->result > 0 && c->req.data_size) {
		written = c->result;
		memcpy(text, data_mem + offset, written);
		if (parse(text, written, seen) != count || !text[written - 1])
			complain(c, "numbers", parse(text, written, seen), count);
		for (int i = 0; i < count; i++, p = p->parent)
			if (p->level ? seen[i] != pids[i] : !is_last(p, seen[i]))
				complain(c, "number", seen[i], pids[i]);
	} else if (c->result == -EFAULT && offset < DATA_MEM &&
		   c->req.req == PIDNS_REQ_GET_LAST_PID_VEC) {
		/* The kernel may have written up to the page without access. */
		written = DATA_MEM - offset;
	}
	memcpy(data_before + (written ? offset : 0), data_mem + (written ? offset : 0), written);
	if (memcmp(data_before, data_mem, DATA_MEM))
		complain(c, "other data changed", 1, 0);
}

/* A stray fork can add a digit, which matters where @data_size is that close. */
static bool uncertain(const struct call *c, long wanted)
{
	return c->req.req == PIDNS_REQ_GET_LAST_PID_VEC && c->ns &&
	       (wanted > 0 || wanted == -ERANGE || wanted == -EFAULT) &&
	       (c->result > 0 || c->result == -ERANGE || c->result == -EFAULT) &&
	       last_pid(&pid_ns[0]) != pid_ns[0].last;
}

static void one_call(struct call *c)
{
	long pids[MAX_LEVELS], wanted;
	struct pid_ns *p;
	int count;

	choose(c);
	p = c->ns;
	pid_ns[0].last = last_pid(&pid_ns[0]);
	wanted = expect(c, pids, &count);
	memcpy(data_before, data_mem, DATA_MEM);
	memcpy(req_before, req_mem, REQ_MEM);
	c->result = call(&c->caller->task, run_call, c, sizeof(*c));
	if (c->result != wanted && !uncertain(c, wanted))
		complain(c, "result", c->result, wanted);
	if (c->result >= 0)
		successes[c->req.req]++;
	else if (c->req.req < ARRAY_SIZE(possible))
		failures[c->req.req][-c->result & 255]++;
	check_memory(c, pids, count);
	if (c->req.req == PIDNS_REQ_SET_LAST_PID_VEC && !c->result)
		for (int i = 0; i < count; i++, p = p->parent)
			p->last = pids[i];
	check_cursors(c);
}

static void one_round(int length)
{
	struct call c;

	build(seed, round_nr);
	for (int i = 0; i < length; i++, call_nr++) {
		if (i == length / 2)
			start_to_die();
		if (i == length * 3 / 4)
			finish_to_die();
		maybe_write_sysctl();
		one_call(&c);
		if (i % 64 == 0)
			check_all(&c);
	}
	demolish();
}

int calls(int argc, char **argv)
{
	long total, left;
	cpu_set_t one;

	if (argc < 3)
		errx(2, "calls SEED CALLS [ROUND]");
	/* Only one task runs at a time. On one processor it wakes up the next faster. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	must("stay on a processor", or_errno(sched_setaffinity(0, sizeof(one), &one)));
	seed = strtoull(argv[1], NULL, 0);
	total = left = atol(argv[2]);
	round_nr = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;

	prepare_calls();
	memset(data_mem, 0xa5, DATA_MEM);
	write_sysctl(NULL, "pid_max", PID_LIMIT);

	for (; left > 0; left -= CALLS_PER_ROUND, round_nr++)
		one_round(left < CALLS_PER_ROUND ? left : CALLS_PER_ROUND);

	printf("%ld calls, up to round %llu of seed %llu\n", total,
	       (unsigned long long)round_nr - 1, (unsigned long long)seed);
	for (size_t r = 1; r < ARRAY_SIZE(possible); r++) {
		printf("%ld %s", successes[r], possible[r].request);
		for (const int *e = possible[r].errors; *e; e++)
			printf(", %ld %s", failures[r][*e], strerrorname_np(*e));
		puts("");
		for (const int *e = possible[r].errors; *e; e++)
			if (total >= 20000 && !failures[r][*e])
				errx(1, "no call failed with %s: this run did not test it",
				     strerrorname_np(*e));
	}
	return 0;
}
