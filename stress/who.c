// SPDX-License-Identifier: GPL-2.0
/*
 * Who may read and set which level, as a table. The caller is in the pid
 * namespace "own"; the lines about a host caller are about one in the initial
 * pid namespace.
 *
 *	host (init)             the initial user namespace
 *	└─ ancestor             outer
 *	   ├─ own               inner, which is below outer
 *	   │  └─ descendant     inner
 *	   └─ sibling           outer
 *	stranger (in host)      a user namespace beside outer
 */
#include "common.h"

#include <sys/socket.h>

enum { HOST, ANCESTOR, OWN, DESCENDANT, SIBLING, STRANGER, COLUMNS };

static const char *const column[] = {
	"host", "ancestor", "own", "descendant", "sibling", "stranger",
};

/* In which user namespace the caller is. */
enum place { INIT_USER, OUTER_USER, INNER_USER, STRANGER_USER };

#define SYS_ADMIN CAP_BIT(CAP_SYS_ADMIN)
#define RESTORE CAP_BIT(CAP_CHECKPOINT_RESTORE)

/* For each column + or -: S may set, G may get. */
static const struct {
	const char *name;
	enum place user;
	bool on_host;
	struct creds creds;
	const char *expected;
} rows[] = {
	/*						  host anc own desc sib str */
	{ "host root", INIT_USER, true,
	  { 0, ALL_CAPS },				"SG SG SG SG SG SG" },
	{ "host, CAP_SYS_ADMIN", INIT_USER, true,
	  { 1000, SYS_ADMIN },				"SG SG SG SG SG SG" },
	{ "host, CAP_CHECKPOINT_RESTORE", INIT_USER, true,
	  { 1000, RESTORE },				"SG SG SG SG SG SG" },
	{ "host, all but these two", INIT_USER, true,
	  { 1000, ALL_CAPS & ~(SYS_ADMIN | RESTORE) },	"-- -- -- -- -- --" },
	/* Who has made a user namespace has all capabilities in it. */
	{ "host, uid 0 without any", INIT_USER, true,
	  { 0, 0 },					"-- SG SG SG SG SG" },
	{ "host, unprivileged", INIT_USER, true,
	  { 1000, 0 },					"-- -- -- -- -- --" },

	{ "in own, host's root", INIT_USER, false,
	  { 0, ALL_CAPS },				"SG SG SG SG SG SG" },
	{ "in own, host's CAP_SYS_ADMIN", INIT_USER, false,
	  { 1000, SYS_ADMIN },				"SG SG SG SG SG SG" },
	{ "in own, host's CAP_CHECKPOINT_RESTORE", INIT_USER, false,
	  { 1000, RESTORE },				"-- -- SG SG -- --" },
	{ "in own, host's all but these two", INIT_USER, false,
	  { 1000, ALL_CAPS & ~(SYS_ADMIN | RESTORE) },	"-- -- -- -- -- --" },
	{ "in own, unprivileged of the host", INIT_USER, false,
	  { 1000, 0 },					"-- -- -- -- -- --" },

	{ "in own, root of outer", OUTER_USER, false,
	  { 0, ALL_CAPS },				"-- SG SG SG SG --" },
	{ "in own, CAP_SYS_ADMIN in outer", OUTER_USER, false,
	  { 1000, SYS_ADMIN },				"-- SG SG SG SG --" },
	{ "in own, CAP_CHECKPOINT_RESTORE in outer", OUTER_USER, false,
	  { 1000, RESTORE },				"-- -- SG SG -- --" },
	{ "in own, unprivileged of outer", OUTER_USER, false,
	  { 1000, 0 },					"-- -- -- -- -- --" },

	{ "in own, root of inner", INNER_USER, false,
	  { 0, ALL_CAPS },				"-- -- SG SG -- --" },
	{ "in own, CAP_SYS_ADMIN in inner", INNER_USER, false,
	  { 1000, SYS_ADMIN },				"-- -- SG SG -- --" },
	{ "in own, CAP_CHECKPOINT_RESTORE in inner", INNER_USER, false,
	  { 1000, RESTORE },				"-- -- SG SG -- --" },
	{ "in own, all but these two in inner", INNER_USER, false,
	  { 1000, ALL_CAPS & ~(SYS_ADMIN | RESTORE) },	"-- -- -- -- -- --" },
	{ "in own, unprivileged of inner", INNER_USER, false,
	  { 1000, 0 },					"-- -- -- -- -- --" },

	{ "in stranger, its root", STRANGER_USER, false,
	  { 0, ALL_CAPS },				"-- -- -- -- -- SG" },
};

static struct task init[COLUMNS];
static int fd[COLUMNS];

/* What a caller does, in its own process. It is given the files over a socket. */
static struct attempt {
	struct creds creds;
	int sock, user_ns;
	long set, get;
	char vec[16];
} *attempt;

static int receive_fd(int sock)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int received;

	must(recvmsg(sock, &msg, 0), "receive a file");
	memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(received));
	return received;
}

static void send_fd(int sock, int sent)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &sent, sizeof(sent));
	must(sendmsg(sock, &msg, 0), "send a file");
}

static long try(void *arg)
{
	int ns = receive_fd(attempt->sock);
	long pids[MAX_LEVELS];

	(void)arg;
	attempt->set = set_vec(ns, attempt->vec);
	attempt->get = get_vec(ns, 1, pids);
	close(ns);
	return 0;
}

static long enter_user_ns(void *arg)
{
	(void)arg;
	return setns(attempt->user_ns, CLONE_NEWUSER) ? -errno : 0;
}

static long do_become(void *arg)
{
	(void)arg;
	return become(&attempt->creds);
}

static void build(void)
{
	init[ANCESTOR] = spawn(NULL, CLONE_NEWPID | CLONE_NEWUSER);
	init[OWN] = spawn(&init[ANCESTOR], CLONE_NEWPID | CLONE_NEWUSER);
	init[DESCENDANT] = spawn(&init[OWN], CLONE_NEWPID);
	init[SIBLING] = spawn(&init[ANCESTOR], CLONE_NEWPID);
	init[STRANGER] = spawn(NULL, CLONE_NEWPID | CLONE_NEWUSER);
	fd[HOST] = open_ns(NULL, "pid");
	for (int i = ANCESTOR; i < COLUMNS; i++)
		fd[i] = open_ns(&init[i], "pid");
}

int who(int argc, char **argv)
{
	const struct task *user[] = {
		[OUTER_USER] = &init[ANCESTOR],
		[INNER_USER] = &init[OWN],
		[STRANGER_USER] = &init[STRANGER],
	};
	int passed = 0, failed = 0, socks[2];

	(void)argc;
	(void)argv;
	attempt = shared(sizeof(*attempt));
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, socks), "make sockets");
	attempt->sock = socks[1];
	build();

	printf("S: may set, G: may get\n%-42s", "");
	for (int i = 0; i < COLUMNS; i++)
		printf(" %10s", column[i]);
	puts("");

	for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
		enum place place = rows[r].user;
		struct task caller;

		/* Enter the pid namespace from the host, then the user namespace. */
		caller = rows[r].on_host ? spawn(NULL, 0)
			 : spawn_in(place == STRANGER_USER ? fd[STRANGER] : fd[OWN], 0);
		if (place != INIT_USER) {
			attempt->user_ns = open_ns(user[place], "user");
			must(run(&caller, enter_user_ns, NULL), "enter a user namespace");
			close(attempt->user_ns);
		}
		attempt->creds = rows[r].creds;
		must(run(&caller, do_become, NULL), "change the credentials");

		printf("%-42s", rows[r].name);
		for (int i = 0; i < COLUMNS; i++) {
			const char *expected = rows[r].expected + 3 * i;
			long before[MAX_LEVELS], after[MAX_LEVELS], wanted;
			bool moved, ok;
			char seen[3];

			wanted = 5000 + 10 * (long)r;
			must(get_vec(fd[i], 1, before), "read the cursor");
			snprintf(attempt->vec, sizeof(attempt->vec), "%ld", wanted);
			send_fd(socks[0], fd[i]);
			run(&caller, try, NULL);
			must(get_vec(fd[i], 1, after), "read the cursor");
			/* In the host's namespace others fork. */
			moved = i ? after[0] != before[0] : labs(after[0] - before[0]) > 100;
			if (attempt->set == 0)
				moved = labs(after[0] - wanted) <= (i ? 0 : 100);
			snprintf(seen, sizeof(seen), "%c%c", attempt->set == 0 ? 'S' : '-',
				 attempt->get == 1 ? 'G' : '-');
			ok = !strncmp(seen, expected, 2) && moved == (seen[0] == 'S') &&
			     (attempt->set == 0 || attempt->set == -EPERM) &&
			     (attempt->get == 1 || attempt->get == -EPERM);
			ok ? passed++ : failed++;
			printf(" %*s%s%s", ok ? 10 : 4, seen, ok ? "" : " not ", ok ? "" : "ok");
			if (!ok)
				printf("(%.2s, %ld, %ld)", expected, attempt->set, attempt->get);
		}
		puts("");
		end(NULL, &caller);
	}
	printf("%d passed, %d failed\n", passed, failed);
	end(NULL, &init[ANCESTOR]);
	end(NULL, &init[STRANGER]);
	return failed ? 1 : 0;
}
