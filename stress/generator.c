// SPDX-License-Identifier: GPL-2.0
/*
 * Random namespaces, callers and calls. They depend on the seed and the number of
 * the round alone, so a round can be repeated without those before it.
 */
#include "calls.h"

#include <poll.h>

#define MAX_USER_NS 8
#define MAX_CALLERS 8
#define MIN_PID_MAX 400		/* the kernel refuses 300 and below */

static struct user_ns user_ns[MAX_USER_NS];
static struct caller caller[MAX_CALLERS];
static int user_ns_count, caller_count;
struct pid_ns pid_ns[MAX_NS];
int pid_ns_count;

/* --- Random numbers -------------------------------------------------------- */

static uint64_t rng;

static uint64_t next(void)
{
	uint64_t z = rng += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint32_t below(uint32_t n)
{
	return next() % n;
}

static bool percent(unsigned int n)
{
	return below(100) < n;
}

/* --- Namespaces and callers -------------------------------------------------- */

static struct user_ns *new_user_ns(struct user_ns *parent)
{
	struct user_ns *u = &user_ns[user_ns_count++];

	*u = (struct user_ns){ .parent = parent, .level = parent ? parent->level + 1 : 0 };
	return u;
}

static const struct task *init_task(const struct pid_ns *p)
{
	return p->level ? &p->init : NULL;
}

/* The owner is the user namespace of the init of @parent, or a new one below it. */
static struct pid_ns *new_ns(struct pid_ns *parent)
{
	struct pid_ns *p = &pid_ns[pid_ns_count++];

	*p = (struct pid_ns){ .parent = parent, .level = parent->level + 1,
			      .owner = parent->owner, .state = ALIVE };
	if (user_ns_count < MAX_USER_NS && percent(40)) {
		p->owner = new_user_ns(parent->owner);
		p->init = spawn_user(init_task(parent), CLONE_NEWPID);
	} else {
		p->init = spawn(init_task(parent), CLONE_NEWPID);
	}
	p->fd = open_ns(&p->init, "pid");
	return p;
}

static struct pid_ns *new_ns_without_init(struct pid_ns *parent)
{
	struct pid_ns *p = &pid_ns[pid_ns_count++];

	*p = (struct pid_ns){ .parent = parent, .level = parent->level + 1,
			      .owner = parent->owner, .state = NO_INIT };
	p->init = spawn(init_task(parent), 0);
	p->fd = open_ns_without_init(&p->init);
	p->pid_max = PID_LIMIT;
	return p;
}

static void new_caller(struct pid_ns *in)
{
	struct caller *c = &caller[caller_count++];

	*c = (struct caller){ .pid_ns = in, .user_ns = in->owner,
			      .creds = { .caps = ALL_CAPS } };
	c->task = spawn(init_task(in), 0);
}

/* ns_last_pid shows a cursor that never moved as -1. */
long last_pid(const struct pid_ns *p)
{
	long last = read_sysctl(init_task(p), "ns_last_pid");

	return last < 0 ? 0 : last;
}

/* Forks have moved cursors: takes them over into the model. */
static void learn(void)
{
	for (int i = 0; i < pid_ns_count; i++)
		if (pid_ns[i].state == ALIVE && !is_dead(&pid_ns[i]))
			pid_ns[i].last = last_pid(&pid_ns[i]);
}

static struct pid_ns *random_ns(enum state state)
{
	struct pid_ns *p;

	do {
		p = &pid_ns[below(pid_ns_count)];
	} while (p->state != state);
	return p;
}

static struct pid_ns *victim;
static struct task holder;	/* a zombie in the victim, which keeps it from its end */

void build(uint64_t seed, uint64_t round)
{
	struct pid_ns *p;
	int depth;

	rng = seed * 0x9e3779b97f4a7c15 + round * 0xd1342543de82ef95;
	depth = percent(6) ? MAX_NESTED : 1 + below(8);
	user_ns_count = pid_ns_count = caller_count = 0;
	p = &pid_ns[pid_ns_count++];
	*p = (struct pid_ns){ .owner = new_user_ns(NULL), .state = ALIVE };
	p->fd = open_ns(NULL, "pid");
	while (p->level < depth)
		p = new_ns(p);
	/* Siblings and descendants of some. */
	for (int i = below(6); i > 0; i--) {
		p = random_ns(ALIVE);
		if (p->level < MAX_NESTED)
			new_ns(p);
	}
	for (int i = 0; i < 2; i++) {
		p = random_ns(ALIVE);
		if (p->level < MAX_NESTED)
			new_ns_without_init(p);
	}
	for (int i = 0; i < pid_ns_count; i++) {
		p = &pid_ns[i];
		p->pid_max = i && percent(50) ? MIN_PID_MAX + below(PID_LIMIT - MIN_PID_MAX)
					      : PID_LIMIT;
		if (p->state == ALIVE)
			write_sysctl(init_task(p), "pid_max", p->pid_max);
		else
			p->pid_max = PID_LIMIT;
	}
	new_caller(&pid_ns[0]);
	while (caller_count < MAX_CALLERS)
		new_caller(random_ns(ALIVE));
	victim = pid_ns_count > 2 ? &pid_ns[1 + below(pid_ns_count - 1)] : NULL;
	if (victim && victim->state != ALIVE)
		victim = NULL;
	learn();
}

/* The callers in @p and its descendants die with it. */
static void forget_within(const struct pid_ns *p)
{
	for (int i = 0; i < caller_count; i++)
		if (is_within(caller[i].pid_ns, p))
			caller[i--] = caller[--caller_count];
}

/* It stays a zombie until it is reaped. */
static void wait_for_exit(const struct task *task)
{
	struct pollfd p = { .fd = task->pidfd, .events = POLLIN };

	must("wait for a task", or_errno(poll(&p, 1, -1)));
}

void start_to_die(void)
{
	if (!victim)
		return;
	holder = spawn_in(victim->fd);
	kill_task(&victim->init);
	/*
	 * The init forbids new pids before it kills the others, so their end
	 * shows that it did.
	 */
	wait_for_exit(&holder);
	forget_within(victim);
	for (int i = 0; i < pid_ns_count; i++)
		if (is_within(&pid_ns[i], victim) && pid_ns[i].state == ALIVE)
			pid_ns[i].state = GONE;
	learn();
}

void finish_to_die(void)
{
	if (!victim)
		return;
	reap(NULL, holder.pid);
	wait_for_exit(&victim->init);
	learn();
}

void demolish(void)
{
	for (int i = 0; i < caller_count; i++)
		if (!caller[i].pid_ns->level)
			end_task(NULL, &caller[i].task);
	/* The descendants of a namespace, and the tasks in them, die with it. */
	for (int i = 0; i < pid_ns_count; i++)
		if (pid_ns[i].level == 1)
			end_task(NULL, &pid_ns[i].init);
	/* The round opened this file first. */
	must("close files", or_errno(close_range(pid_ns[0].fd, ~0U, 0)));
}

void maybe_write_sysctl(void)
{
	struct pid_ns *p;
	long value;

	if (!percent(2))
		return;
	p = random_ns(ALIVE);
	if (!p->level || is_dead(p))
		return;
	if (percent(50)) {
		value = percent(50) ? PID_LIMIT : MIN_PID_MAX + below(PID_LIMIT - MIN_PID_MAX);
		write_sysctl(init_task(p), "pid_max", value);
		p->pid_max = value;
	} else {
		value = below(p->pid_max + 1);
		write_sysctl(init_task(p), "ns_last_pid", value);
		p->last = value;
	}
}

/* --- One call ---------------------------------------------------------------- */

char *req_mem, *data_mem;
static char *read_only_mem;
static int read_only_file;

static int other_fd[6];

void prepare_calls(void)
{
	req_mem = shared(REQ_MEM + 4096);
	data_mem = shared(DATA_MEM + 4096);
	must("protect a page", or_errno(mprotect(req_mem + REQ_MEM, 4096, PROT_NONE)));
	must("protect a page", or_errno(mprotect(data_mem + DATA_MEM, 4096, PROT_NONE)));
	read_only_file = must("make a file", or_errno(memfd_create("read-only", MFD_CLOEXEC)));
	must("make a file", or_errno(ftruncate(read_only_file, DATA_MEM)));
	read_only_mem = mmap(NULL, DATA_MEM, PROT_READ, MAP_SHARED, read_only_file, 0);
	if (read_only_mem == MAP_FAILED)
		err(1, "mmap");

	other_fd[0] = open_ns(NULL, "user");
	other_fd[1] = open_ns(NULL, "net");
	other_fd[2] = open_ns(NULL, "mnt");
	other_fd[3] = must("open a file", or_errno(open("/proc/self/status", O_RDONLY)));
	other_fd[4] = must("open a path", or_errno(open("/proc/self/ns/pid", O_PATH)));
	other_fd[5] = -1;
}

static void choose_fd(struct call *c)
{
	if (percent(97)) {
		c->ns = &pid_ns[below(pid_ns_count)];
		c->fd = c->ns->fd;
		return;
	}

	switch (below(4)) {
	case 0:
		c->fd = other_fd[below(3)];
		c->fd_error = -ENOTTY;
		break;
	case 1:
		c->fd = other_fd[3];
		c->fd_error = -ENOTTY;
		break;
	case 2:
		c->fd = other_fd[4];
		c->fd_error = -EBADF;
		break;
	default:
		c->fd = -1;
		c->fd_error = -EBADF;
	}
}

static void choose_cmd(struct call *c)
{
	unsigned int dir = _IOC_READ | _IOC_WRITE, size = sizeof(struct pidns_ioc_req);

	if (percent(8))
		size = percent(70) ? size + below(64) : below(_IOC_SIZEMASK + 1);
	if (percent(1))
		dir = below(4);
	c->cmd = _IOC(dir, _IOC_TYPE(NS_SPECIFIC_IOC), _IOC_NR(NS_SPECIFIC_IOC), size);
}

/* Addresses where a program has no memory. */
static uint64_t nowhere(void)
{
	static const uint64_t places[] = {
		0, 1, 4095, 0x8000000000000000, 0xffff888000000000, 0xffffffffffffffff,
		0xfffffffffffff000, 0x7ffffffff000, 0x100000000000000,
	};

	if (percent(20))
		return (uintptr_t)req_mem + REQ_MEM + below(4096 - 300);
	return places[below(ARRAY_SIZE(places))];
}

/* Makes a vector for @p, mostly a valid one. Returns its length. */
static size_t choose_vec(const struct pid_ns *p, char *text)
{
	int levels = 1 + below(p ? p->level + 1 : 3);
	int odd = percent(10) ? (int)below(levels) : -1;
	size_t len = 0;

	if (percent(8))
		levels += 1 + below(3);
	else if (percent(2))
		levels = 32 + below(4);
	for (int i = 0; i < levels; i++) {
		long limit = p ? p->pid_max : PID_LIMIT;
		long pid = percent(20) ? (long)below(3) : (long)below(limit + 1);

		if (percent(10))
			pid = limit - below(2);
		if (i == odd)
			pid = percent(50) ? limit + 1 : (long)(next() >> 33);
		len += sprintf(text + len, "%s%ld%s", i ? ":" : "", pid,
			       i == odd && percent(10) ? "00000000000" : "");
		p = p ? p->parent : NULL;
	}
	text[len] = '\0';
	for (int n = percent(12) ? 1 + below(3) : 0; n > 0 && len > 1; n--) {
		static const char bytes[] = "0123456789:::00 +-x\n\377";
		size_t i = below(len);

		switch (below(4)) {
		case 0:
			text[i] = bytes[below(sizeof(bytes))];
			break;
		case 1:
			memmove(text + i, text + i + 1, len-- - i);
			break;
		case 2:
			memmove(text + i + 1, text + i, len++ - i + 1);
			break;
		default:
			text[i] ^= 1 << below(8);
		}
	}
	if (percent(20))
		len++;	/* the NUL too */
	return len;
}

/* Puts the @len bytes of @text, or room for @size bytes, at a random address. */
static void place_data(struct call *c, const char *text, size_t len, size_t size)
{
	size_t offset;

	if (percent(3)) {
		c->req.data = nowhere();
		return;
	}
	if (percent(3)) {
		offset = below(DATA_MEM - 512);
		must("write", or_errno(pwrite(read_only_file, text, len, offset)));
		c->req.data = (uintptr_t)read_only_mem + offset;
		c->data_readable = DATA_MEM - offset;
		return;
	}
	/* Right before the page without access, over its edge, or anywhere. */
	if (percent(30))
		offset = DATA_MEM - size;
	else if (percent(10))
		offset = DATA_MEM - below(len + 1);
	else
		offset = below(DATA_MEM - 512);
	for (size_t i = 0; i < len && offset + i < DATA_MEM; i++)
		data_mem[offset + i] = text[i];
	c->req.data = (uintptr_t)data_mem + offset;
	c->data_readable = c->data_writable = DATA_MEM - offset;
}

static void place_struct(struct call *c)
{
	size_t size = _IOC_SIZE(c->cmd), offset, n;
	char image[_IOC_SIZEMASK + 1];

	if (percent(2)) {
		c->addr = nowhere();
		return;
	}
	memset(image, 0, sizeof(image));
	memcpy(image, &c->req, sizeof(c->req));
	if (size > sizeof(c->req) && percent(40))
		image[sizeof(c->req) + below(size - sizeof(c->req))] = 1 + below(255);
	n = size > sizeof(c->req) ? size : sizeof(c->req);
	if (percent(20))
		offset = REQ_MEM - n;
	else if (percent(4))
		offset = REQ_MEM - below(n);
	else
		offset = below(REQ_MEM - n);
	memcpy(req_mem + offset, image, n < REQ_MEM - offset ? n : REQ_MEM - offset);
	c->addr = (uintptr_t)req_mem + offset;
	c->struct_readable = REQ_MEM - offset;
}

void choose(struct call *c)
{
	struct caller *who = &caller[percent(40) ? 0 : below(caller_count)];
	char text[1024];
	size_t len = 0;

	memset(c, 0, sizeof(*c));
	c->caller = who;
	if (percent(20)) {
		who->creds.euid = percent(70) ? 0 : 1000;
		who->creds.caps = percent(60) ? ALL_CAPS : 0;
		if (percent(40))
			who->creds.caps ^= CAP_BIT(CAP_SYS_ADMIN);
		if (percent(40))
			who->creds.caps ^= CAP_BIT(CAP_CHECKPOINT_RESTORE);
	}
	c->creds = who->creds;
	choose_fd(c);
	choose_cmd(c);
	c->req.req = percent(97) ? 1 + below(2) : (percent(50) ? below(5) : next());
	c->req.flags = percent(98) ? 0 : next();
	if (c->req.req == PIDNS_REQ_SET_LAST_PID_VEC) {
		len = choose_vec(c->ns, text);
		c->req.data_size = percent(96) ? len : percent(50) ? below(300) : (uint32_t)next();
		c->req.levels = percent(99) ? 0 : 1 + below(3);
		place_data(c, text, len, len);
	} else {
		static const uint32_t levels[] = { 0, 1, 2, 3, 32, 33, 34, UINT32_MAX };
		long pids[MAX_LEVELS];
		int n = 0;

		c->req.levels = levels[below(ARRAY_SIZE(levels))];
		for (struct pid_ns *p = c->ns; p; p = p->parent)
			if ((uint32_t)n < c->req.levels)
				pids[n++] = reported_last(p);
		len = text_len(pids, n);
		c->req.data_size = percent(60) ? VEC_SIZE : percent(50) ? below(300)
				 : percent(50) ? len + below(3) - 1 : (uint32_t)next();
		place_data(c, text, 0, len);
	}
	place_struct(c);
}

