// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel must answer to a call, written from
 * Documentation/userspace-api/pidns_ioctl.rst. No function here makes a system
 * call.
 */
#include "calls.h"

/* The owner of each user namespace has uid 0 in the initial user namespace. */
static bool capable(const struct caller *c, const struct user_ns *in, uint64_t caps)
{
	for (; in; in = in->parent) {
		if (in == c->user_ns)
			return c->creds.caps & caps;
		if (in->parent == c->user_ns && c->creds.euid == 0)
			return true;
	}
	return false;
}

bool is_within(const struct pid_ns *inner, const struct pid_ns *outer)
{
	for (; inner; inner = inner->parent)
		if (inner == outer)
			return true;
	return false;
}

static bool may(const struct caller *c, const struct pid_ns *level)
{
	uint64_t caps = CAP_BIT(CAP_SYS_ADMIN);

	if (is_within(level, c->pid_ns))
		caps |= CAP_BIT(CAP_CHECKPOINT_RESTORE);
	return capable(c, level->owner, caps);
}

bool is_dead(const struct pid_ns *p)
{
	for (; p; p = p->parent)
		if (p->state == GONE)
			return true;
	return false;
}

long reported_last(const struct pid_ns *p)
{
	return p->last < p->pid_max ? p->last : p->pid_max;
}

int parse(const char *text, size_t len, long pids[MAX_LEVELS])
{
	int count = 0;
	size_t i = 0;

	if (len && !text[len - 1])
		len--;
	for (;;) {
		size_t start = i;
		long pid = 0;

		for (; i < len && text[i] >= '0' && text[i] <= '9'; i++)
			if (pid <= PID_LIMIT)
				pid = pid * 10 + text[i] - '0';
		if (i == start || (text[start] == '0' && i - start > 1) || count == MAX_LEVELS)
			return 0;
		pids[count++] = pid;
		if (i == len)
			return count;
		if (text[i++] != ':')
			return 0;
	}
}

size_t text_len(const long *pids, int count)
{
	char number[24];
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += snprintf(number, sizeof(number), "%s%ld", i ? ":" : "", pids[i]);
	return len;
}

static long expect_set(const struct call *c, long pids[MAX_LEVELS], int *count)
{
	const struct pid_ns *level = c->ns;
	int n;

	if (c->req.levels || !c->req.data_size || c->req.data_size > VEC_SIZE)
		return -EINVAL;
	if (c->data_readable < c->req.data_size)
		return -EFAULT;
	n = parse((const char *)(uintptr_t)c->req.data, c->req.data_size, pids);
	if (!n)
		return -EINVAL;
	for (int i = 0; i < n; i++, level = level->parent) {
		if (!level)
			return -EINVAL;
		if (!may(c->caller, level))
			return -EPERM;
		if (pids[i] > level->pid_max)
			return -ERANGE;
	}
	if (is_dead(c->ns))
		return -ESRCH;
	if (c->ns->state == NO_INIT)
		return -EAGAIN;
	*count = n;
	return 0;
}

static long expect_get(const struct call *c, long pids[MAX_LEVELS], int *count)
{
	const struct pid_ns *level;
	size_t len;
	int n = 0;

	if (!c->req.levels)
		return -EINVAL;
	for (level = c->ns; level && may(c->caller, level); level = level->parent) {
		if ((uint32_t)n == c->req.levels)
			break;
		pids[n++] = reported_last(level);
	}
	if (!n)
		return -EPERM;
	if (is_dead(c->ns))
		return -ESRCH;
	*count = n;
	len = text_len(pids, n);
	if (!c->req.data_size)
		return len;
	if (c->req.data_size < len)
		return -ERANGE;
	if (c->data_writable < len)
		return -EFAULT;
	return len;
}

long expect(const struct call *c, long pids[MAX_LEVELS], int *count)
{
	const size_t known = PIDNS_IOC_REQ_SIZE_VER0;
	size_t size = _IOC_SIZE(c->cmd);

	*count = 0;
	if (c->fd_error)
		return c->fd_error;
	if (_IOC_DIR(c->cmd) != (_IOC_READ | _IOC_WRITE) || size < known)
		return -ENOTTY;
	if (!c->ns)
		return -ENOTTY;
	if (c->struct_readable < known)
		return -EFAULT;
	for (size_t i = known; i < size; i++) {
		if (i >= c->struct_readable)
			return -EFAULT;
		if (((const char *)c->addr)[i])
			return -E2BIG;
	}
	if (c->req.req != PIDNS_REQ_SET_LAST_PID_VEC && c->req.req != PIDNS_REQ_GET_LAST_PID_VEC)
		return -ENOTTY;
	if (c->req.flags)
		return -EINVAL;
	if (c->req.req == PIDNS_REQ_SET_LAST_PID_VEC)
		return expect_set(c, pids, count);
	return expect_get(c, pids, count);
}
