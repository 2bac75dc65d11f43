// SPDX-License-Identifier: GPL-2.0
/*
 * A random caller, and a model of what must happen: which error, or which
 * result, and what has moved. The calls are made in rounds. A round has
 * namespaces of its own and random numbers that only depend on the seed and on
 * its number, so it can be run again alone.
 *
 * The initial pid namespace is not ours alone: a kernel thread can be forked at
 * any time. Its cursor is compared with some tolerance.
 */
#include "common.h"

#define CALLS_PER_ROUND 4000
#define MAX_NS 48
#define MAX_USER_NS 8
#define MAX_CALLERS 8
#define STRAYS 100		/* kernel threads that may be forked in between */
#define MIN_PID_MAX 400		/* the kernel wants more than 300 */

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

/* --- The model ------------------------------------------------------------- */

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
	long last, pid_max;
	struct task init;	/* or who holds a namespace without init */
	int fd;
};

struct caller {
	struct task task;
	struct pid_ns *pid_ns;
	struct user_ns *user_ns;
	struct creds creds;
};

static struct user_ns user_ns[MAX_USER_NS];
static struct pid_ns ns[MAX_NS];
static struct caller caller[MAX_CALLERS];
static int user_ns_count, ns_count, caller_count;

/* Every owner here has uid 0 in the initial user namespace. */
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

static bool is_within(const struct pid_ns *inner, const struct pid_ns *outer)
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

/* 0, or why no pid can be allocated in @open. */
static long no_pids(const struct pid_ns *open)
{
	if (open->state == NO_INIT)
		return -EINVAL;
	for (; open; open = open->parent)
		if (open->state == GONE)
			return -ESRCH;
	return 0;
}

/* Returns how many numbers @text has, or 0 if it is not a vector. */
static int parse(const char *text, size_t len, long pids[MAX_LEVELS])
{
	int count = 0;
	size_t i = 0;

	if (len && !text[len - 1])
		len--;
	for (;;) {
		size_t start = i;
		long pid = 0;

		while (i < len && text[i] >= '0' && text[i] <= '9' && i - start < 8)
			pid = pid * 10 + text[i++] - '0';
		if (i == start || (text[start] == '0' && i - start > 1) || pid > PID_LIMIT ||
		    count == MAX_LEVELS)
			return 0;
		pids[count++] = pid;
		if (i == len)
			return count;
		if (text[i++] != ':')
			return 0;
	}
}

/* What a call is given, beside the memory that its pointers lead to. */
struct call {
	const struct caller *caller;
	struct creds creds;	/* its own, for the task that makes the call */
	struct pid_ns *ns;	/* NULL: the file is of something else */
	int fd;
	long fd_error;		/* what happens to any call on it */
	unsigned int cmd;
	struct pidns_ioc_req req;
	/* Where the struct and the data are, and how much is there. */
	uintptr_t at;
	size_t at_readable;
	size_t data_readable, data_writable;
	long result;
};

/* Where a request and data come from. Behind the memory is a hole. */
#define REQ_MEM (5 * 4096)
#define DATA_MEM (2 * 4096)
static char *req_mem, *data_mem, *read_only_mem;
static int read_only_file;
static char data_before[DATA_MEM], req_before[REQ_MEM];

static size_t text_len(const long *pids, int count)
{
	char text[MAX_LEN + 1];
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += snprintf(text, sizeof(text), "%s%ld", i ? ":" : "", pids[i]);
	return len;
}

/* What the call must return. If it sets, @pids and @count are what. If it gets
 * they are the numbers, and also if they do not fit.
 */
static long expect(const struct call *c, long pids[MAX_LEVELS], int *count)
{
	const size_t known = PIDNS_IOC_REQ_SIZE_VER0;
	const struct pid_ns *level;
	size_t size = _IOC_SIZE(c->cmd);
	size_t len;
	int n;

	*count = 0;
	if (c->fd_error)
		return c->fd_error;
	if (_IOC_DIR(c->cmd) != (_IOC_READ | _IOC_WRITE) || size < known)
		return -ENOTTY;
	if (!c->ns)
		return -ENOTTY;
	if (c->at_readable < known)
		return -EFAULT;
	if (c->req.req != PIDNS_REQ_SET_LAST_PID_VEC && c->req.req != PIDNS_REQ_GET_LAST_PID_VEC)
		return -ENOTTY;
	for (size_t i = known; i < size; i++) {
		if (i >= c->at_readable)
			return -EFAULT;
		if (((const char *)c->at)[i])
			return -E2BIG;
	}
	if (c->req.flags)
		return -EINVAL;

	if (c->req.req == PIDNS_REQ_SET_LAST_PID_VEC) {
		if (c->req.levels || !c->req.data_size || c->req.data_size > MAX_LEN + 1)
			return -EINVAL;
		if (c->data_readable < c->req.data_size)
			return -EFAULT;
		n = parse((const char *)(uintptr_t)c->req.data, c->req.data_size, pids);
		if (!n)
			return -EINVAL;
		level = c->ns;
		for (int i = 0; i < n; i++, level = level->parent) {
			if (!level)
				return -EINVAL;
			if (!may(c->caller, level))
				return -EPERM;
			if (pids[i] > level->pid_max)
				return -EINVAL;
		}
		if (no_pids(c->ns))
			return no_pids(c->ns);
		*count = n;
		return 0;
	}

	n = 0;
	for (level = c->ns; level; level = level->parent) {
		if (!may(c->caller, level) || (c->req.levels && n == (int)c->req.levels))
			break;
		pids[n++] = level->last < level->pid_max ? level->last : level->pid_max;
	}
	if (!n)
		return -EPERM;
	if (no_pids(c->ns))
		return no_pids(c->ns);
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

/* --- A world for each round ------------------------------------------------- */

static struct user_ns *new_user_ns(struct user_ns *parent)
{
	struct user_ns *u = &user_ns[user_ns_count++];

	*u = (struct user_ns){ .parent = parent, .level = parent ? parent->level + 1 : 0 };
	return u;
}

/* The user namespace that a task in the root of @p is in is the owner. */
static struct pid_ns *new_ns(struct pid_ns *parent)
{
	struct pid_ns *p = &ns[ns_count++];
	unsigned long flags = CLONE_NEWPID;

	*p = (struct pid_ns){ .parent = parent, .level = parent->level + 1,
			      .owner = parent->owner, .state = ALIVE };
	if (user_ns_count < MAX_USER_NS && percent(40)) {
		flags |= CLONE_NEWUSER;
		p->owner = new_user_ns(parent->owner);
	}
	p->init = spawn(parent->level ? &parent->init : NULL, flags);
	p->fd = open_ns(&p->init, "pid");
	return p;
}

static long unshare_pid(void *arg)
{
	(void)arg;
	return unshare(CLONE_NEWPID) ? -errno : 0;
}

static struct pid_ns *new_ns_without_init(struct pid_ns *parent)
{
	struct pid_ns *p = &ns[ns_count++];

	*p = (struct pid_ns){ .parent = parent, .level = parent->level + 1,
			      .owner = parent->owner, .state = NO_INIT };
	p->init = spawn(parent->level ? &parent->init : NULL, 0);
	must(run(&p->init, unshare_pid, NULL), "unshare");
	p->fd = open_ns(&p->init, "pid_for_children");
	p->pid_max = PID_LIMIT;
	return p;
}

static void new_caller(struct pid_ns *in)
{
	struct caller *c = &caller[caller_count++];

	*c = (struct caller){ .pid_ns = in, .user_ns = in->owner,
			      .creds = { .caps = ALL_CAPS } };
	c->task = spawn(in->level ? &in->init : NULL, 0);
}

static long last_pid(const struct pid_ns *p)
{
	long last = read_sysctl(p->level ? &p->init : NULL, "ns_last_pid");

	return last < 0 ? 0 : last;
}

/* Take over what was not done by the ioctl: forks. */
static void learn(void)
{
	for (int i = 0; i < ns_count; i++)
		if (ns[i].state == ALIVE && !no_pids(&ns[i]))
			ns[i].last = last_pid(&ns[i]);
}

static struct pid_ns *random_ns(enum state state)
{
	struct pid_ns *p;

	do {
		p = &ns[below(ns_count)];
	} while (p->state != state);
	return p;
}

static struct pid_ns *victim;
static struct task holder;	/* a zombie in the victim, which cannot end before it */

static void build(void)
{
	int depth = percent(6) ? 32 : 1 + below(8);
	struct pid_ns *p;

	user_ns_count = ns_count = caller_count = 0;
	p = &ns[ns_count++];
	*p = (struct pid_ns){ .owner = new_user_ns(NULL), .state = ALIVE };
	p->fd = open_ns(NULL, "pid");
	while (p->level < depth)
		p = new_ns(p);
	/* Some beside and below. */
	for (int i = below(6); i > 0; i--) {
		p = random_ns(ALIVE);
		if (p->level < 32)
			new_ns(p);
	}
	for (int i = 0; i < 2; i++) {
		p = random_ns(ALIVE);
		if (p->level < 32)
			new_ns_without_init(p);
	}
	for (int i = 0; i < ns_count; i++) {
		p = &ns[i];
		p->pid_max = i && percent(50) ? MIN_PID_MAX + below(PID_LIMIT - MIN_PID_MAX)
					      : PID_LIMIT;
		if (p->state == ALIVE)
			must(write_sysctl(i ? &p->init : NULL, "pid_max", p->pid_max),
			     "set pid_max");
		else
			p->pid_max = PID_LIMIT;
	}
	new_caller(&ns[0]);
	while (caller_count < MAX_CALLERS)
		new_caller(random_ns(ALIVE));
	victim = ns_count > 2 ? &ns[1 + below(ns_count - 1)] : NULL;
	if (victim && victim->state != ALIVE)
		victim = NULL;
	learn();
}

/* Callers and holders that are in @p or below die with it. */
static void forget_within(const struct pid_ns *p)
{
	for (int i = 0; i < caller_count; i++)
		if (is_within(caller[i].pid_ns, p)) {
			close(caller[i].task.sock);
			close(caller[i].task.peer);
			close(caller[i].task.pidfd);
			caller[i--] = caller[--caller_count];
		}
}

/* From here on no pid can be allocated in the victim, and below it. */
static void start_to_die(void)
{
	holder = spawn_in(victim->fd, 0);
	must(syscall(SYS_pidfd_send_signal, victim->init.pidfd, SIGKILL, NULL, 0), "kill");
	/* Who dies first of all is no longer init: that has said so before. */
	wait_for_exit(&holder);
	forget_within(victim);
	for (int i = 0; i < ns_count; i++)
		if (is_within(&ns[i], victim) && ns[i].state == ALIVE)
			ns[i].state = GONE;
	learn();
}

static const struct task *init_of(const struct pid_ns *p)
{
	return p->level ? &p->init : NULL;
}

static void finish_to_die(void)
{
	reap(NULL, &holder);
	wait_for_exit(&victim->init);
}

static void demolish(void)
{
	for (int i = 0; i < caller_count; i++)
		if (!caller[i].pid_ns->level)
			end(NULL, &caller[i].task);
		else {
			close(caller[i].task.sock);
			close(caller[i].task.peer);
			close(caller[i].task.pidfd);
		}
	/* With the outermost all die. */
	for (int i = ns_count - 1; i >= 0; i--) {
		struct pid_ns *p = &ns[i];

		close(p->fd);
		if (!i)
			continue;
		if (p->parent->level == 0) {
			end(NULL, &p->init);
		} else {
			close(p->init.sock);
			close(p->init.peer);
			close(p->init.pidfd);
		}
	}
}

/* --- One call ---------------------------------------------------------------- */

static int other_fd[6];

static void open_others(void)
{
	other_fd[0] = open_ns(NULL, "user");
	other_fd[1] = open_ns(NULL, "net");
	other_fd[2] = open_ns(NULL, "mnt");
	other_fd[3] = must(open("/proc/self/status", O_RDONLY), "open a file");
	other_fd[4] = must(open("/proc/self/ns/pid", O_PATH), "open a path");
	other_fd[5] = -1;
}

static void choose_fd(struct call *c)
{
	if (percent(97)) {
		c->ns = &ns[below(ns_count)];
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

/* Addresses where a program has nothing. */
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

/* Valid or not, as far as @p and the limits of its levels are concerned. */
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
		len += sprintf(text + len, "%s%ld", i ? ":" : "", pid);
		p = p ? p->parent : NULL;
	}
	text[len] = '\0';
	for (int i = percent(12) ? 1 + below(3) : 0; i > 0 && len > 1; i--) {
		static const char bytes[] = "0123456789:::00 +-x\n\377";
		size_t at = below(len);

		switch (below(4)) {
		case 0:
			text[at] = bytes[below(sizeof(bytes))];
			break;
		case 1:
			memmove(text + at, text + at + 1, len-- - at);
			break;
		case 2:
			memmove(text + at + 1, text + at, len++ - at + 1);
			break;
		default:
			text[at] ^= 1 << below(8);
		}
	}
	if (percent(20))
		len++;	/* the NUL too */
	return len;
}

/* Puts a vector of @len bytes, or room for one, somewhere. */
static void place_data(struct call *c, const char *text, size_t len, size_t size)
{
	size_t room = DATA_MEM, at;
	char *mem = data_mem;

	if (percent(3)) {
		c->req.data = nowhere();
		return;
	}
	if (percent(3)) {
		/* Only to read */
		mem = read_only_mem;
		at = below(DATA_MEM - 512);
		must(pwrite(read_only_file, text, len, at), "write");
		c->req.data = (uintptr_t)mem + at;
		c->data_readable = room - at;
		return;
	}
	/* Before the hole, or over its edge, or anywhere. */
	if (percent(30))
		at = room - (size < room ? size : room);
	else if (percent(10))
		at = room - below(len + 1);
	else
		at = below(room - 512);
	for (size_t i = 0; i < len && at + i < room; i++)
		mem[at + i] = text[i];
	c->req.data = (uintptr_t)mem + at;
	c->data_readable = c->data_writable = room - at;
}

static void place_req(struct call *c)
{
	size_t size = _IOC_SIZE(c->cmd), at, n;
	char image[_IOC_SIZEMASK + 1];

	if (percent(2)) {
		c->at = nowhere();
		return;
	}
	memset(image, 0, sizeof(image));
	memcpy(image, &c->req, sizeof(c->req));
	if (size > sizeof(c->req) && percent(40))
		image[sizeof(c->req) + below(size - sizeof(c->req))] = 1 + below(255);
	n = size > sizeof(c->req) ? size : sizeof(c->req);
	if (percent(20))
		at = REQ_MEM - n;
	else if (percent(4))
		at = REQ_MEM - below(n);
	else
		at = below(REQ_MEM - n);
	memcpy(req_mem + at, image, n < REQ_MEM - at ? n : REQ_MEM - at);
	c->at = (uintptr_t)req_mem + at;
	c->at_readable = REQ_MEM - at;
}

static void choose(struct call *c)
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
		static const uint32_t levels[] = { 0, 0, 0, 1, 2, 3, 32, 33, 34, UINT32_MAX };
		long pids[MAX_LEVELS];
		int n = 0;

		c->req.levels = levels[below(ARRAY_SIZE(levels))];
		for (struct pid_ns *p = c->ns; p; p = p->parent)
			if (!c->req.levels || n < (int)c->req.levels || c->req.levels > 33)
				pids[n++] = p->last;
		len = text_len(pids, n);
		c->req.data_size = percent(60) ? 264 : percent(50) ? below(300)
				 : percent(50) ? len + below(3) - 1 : (uint32_t)next();
		place_data(c, text, 0, len);
	}
	place_req(c);
}

static long do_call(void *arg)
{
	struct call *c = arg;
	long ret = become(&c->creds);

	if (ret)
		errx(1, "cannot change the credentials: %s", strerror(-ret));
	c->result = syscall(SYS_ioctl, c->fd, c->cmd, c->at);
	if (c->result < 0)
		c->result = -errno;
	return 0;
}

/* --- Checks ------------------------------------------------------------------ */

static uint64_t seed, round_nr, call_nr;
static long outcomes[256], successes[2];

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
	return (seen >= p->last && seen <= p->last + STRAYS) || (seen >= 300 && seen <= 300 + STRAYS);
}

/* GET by who may do everything: all cursors of the chain are those of the model. */
static void check_cursors(const struct call *c)
{
	const struct pid_ns *p = c->ns;
	long pids[MAX_LEVELS];
	int n;

	if (!p || no_pids(p))
		return;
	n = get_vec(p->fd, 0, pids);
	if (n != p->level + 1)
		complain(c, "levels after it", n, p->level + 1);
	for (int i = 0; i < n; i++, p = p->parent) {
		struct pid_ns shown = *p;

		if (shown.last > p->pid_max)
			shown.last = p->pid_max;
		if (!is_last(&shown, pids[i]))
			complain(c, "cursor after it", pids[i], shown.last);
	}
}

/* The same seen without the ioctl, in all namespaces. */
static void check_all(const struct call *c)
{
	for (int i = 0; i < ns_count; i++)
		if (ns[i].state == ALIVE && !no_pids(&ns[i]) && !is_last(&ns[i], last_pid(&ns[i])))
			complain(c, "ns_last_pid after it", last_pid(&ns[i]), ns[i].last);
	ns[0].last = last_pid(&ns[0]);
}

static void check_memory(const struct call *c, const long *pids, int count)
{
	size_t offset = c->req.data - (uintptr_t)data_mem, written = 0;
	char text[MAX_LEN + 1];
	long seen[MAX_LEVELS];
	struct pid_ns *p = c->ns;

	if (memcmp(req_before, req_mem, REQ_MEM))
		complain(c, "the struct has changed", 1, 0);
	if (c->result > 0 && c->req.data_size) {
		written = c->result;
		memcpy(text, data_mem + offset, written);
		if (parse(text, written, seen) != count || !text[written - 1])
			complain(c, "numbers", parse(text, written, seen), count);
		for (int i = 0; i < count; i++, p = p->parent)
			if (p->level ? seen[i] != pids[i] : !is_last(p, seen[i]))
				complain(c, "number", seen[i], pids[i]);
	} else if (c->result == -EFAULT && offset < DATA_MEM) {
		/* What comes before the hole */
		written = DATA_MEM - offset;
	}
	memcpy(data_before + (written ? offset : 0), data_mem + (written ? offset : 0), written);
	if (memcmp(data_before, data_mem, DATA_MEM))
		complain(c, "the data has changed", 1, 0);
}

/* A length near to what it takes, where a kernel thread can make a difference. */
static bool uncertain(const struct call *c, long wanted)
{
	return c->req.req == PIDNS_REQ_GET_LAST_PID_VEC && c->ns &&
	       (wanted > 0 || wanted == -ERANGE || wanted == -EFAULT) &&
	       (c->result > 0 || c->result == -ERANGE || c->result == -EFAULT) &&
	       last_pid(&ns[0]) != ns[0].last;
}

static void one_call(struct call *c)
{
	long pids[MAX_LEVELS], wanted;
	struct pid_ns *p;
	int count;

	choose(c);
	p = c->ns;
	ns[0].last = last_pid(&ns[0]);
	wanted = expect(c, pids, &count);
	memcpy(data_before, data_mem, DATA_MEM);
	memcpy(req_before, req_mem, REQ_MEM);
	run(&c->caller->task, do_call, c);
	if (c->result != wanted && !uncertain(c, wanted))
		complain(c, "result", c->result, wanted);
	if (c->result < 0)
		outcomes[-c->result & 255]++;
	else
		successes[c->req.req - 1]++;
	check_memory(c, pids, count);
	if (c->req.req == PIDNS_REQ_SET_LAST_PID_VEC && !c->result)
		for (int i = 0; i < count; i++, p = p->parent)
			p->last = pids[i];
	check_cursors(c);
}

/* What else moves cursors and limits. */
static void one_sysctl(void)
{
	struct pid_ns *p = random_ns(ALIVE);
	long value;

	if (!p->level || no_pids(p))
		return;
	if (percent(50)) {
		value = percent(50) ? PID_LIMIT : MIN_PID_MAX + below(PID_LIMIT - MIN_PID_MAX);
		must(write_sysctl(init_of(p), "pid_max", value), "set pid_max");
		p->pid_max = value;
	} else {
		value = below(p->pid_max + 1);
		must(write_sysctl(init_of(p), "ns_last_pid", value), "set ns_last_pid");
		p->last = value;
	}
}

static void one_round(int length)
{
	static struct call *c;

	if (!c)
		c = shared(sizeof(*c));
	rng = seed * 0x9e3779b97f4a7c15 + round_nr * 0xd1342543de82ef95;
	build();
	for (int i = 0; i < length; i++, call_nr++) {
		if (victim && i == length / 2)
			start_to_die();
		if (victim && i == length * 3 / 4) {
			finish_to_die();
			learn();
		}
		if (percent(2))
			one_sysctl();
		one_call(c);
		if (i % 64 == 0)
			check_all(c);
	}
	demolish();
}

int calls(int argc, char **argv)
{
	static const int errors[] = { EPERM, ESRCH, E2BIG, EBADF, EFAULT, EINVAL, ENOTTY, ERANGE };
	long total, left;

	cpu_set_t one;

	if (argc < 3)
		errx(2, "calls SEED CALLS [ROUND]");
	/* One task runs at a time: do not wake up another processor for each call. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	must(sched_setaffinity(0, sizeof(one), &one), "stay on a processor");
	seed = strtoull(argv[1], NULL, 0);
	total = left = atol(argv[2]);
	round_nr = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;

	/* Behind what can be written is a page that nobody may touch. */
	req_mem = shared(REQ_MEM + 4096);
	data_mem = shared(DATA_MEM + 4096);
	read_only_file = must(memfd_create("read-only", MFD_CLOEXEC), "make a file");
	must(ftruncate(read_only_file, DATA_MEM), "make a file");
	read_only_mem = mmap(NULL, DATA_MEM, PROT_READ, MAP_SHARED, read_only_file, 0);
	if (read_only_mem == MAP_FAILED)
		err(1, "mmap");
	must(mprotect(req_mem + REQ_MEM, 4096, PROT_NONE), "mprotect");
	must(mprotect(data_mem + DATA_MEM, 4096, PROT_NONE), "mprotect");
	memset(data_mem, 0xa5, DATA_MEM);
	must(write_sysctl(NULL, "pid_max", PID_LIMIT), "set pid_max");
	open_others();

	for (; left > 0; left -= CALLS_PER_ROUND, round_nr++)
		one_round(left < CALLS_PER_ROUND ? left : CALLS_PER_ROUND);

	printf("%ld calls in %llu rounds of seed %llu: %ld set, %ld got", total,
	       (unsigned long long)round_nr, (unsigned long long)seed, successes[0], successes[1]);
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		printf(", %ld %s", outcomes[errors[i]], strerrorname_np(errors[i]));
	puts("");
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (total >= 20000 && !outcomes[errors[i]])
			errx(1, "no call failed with %s: this has not tested it",
			     strerrorname_np(errors[i]));
	return 0;
}
