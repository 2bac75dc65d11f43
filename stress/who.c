// SPDX-License-Identifier: GPL-2.0
/*
 * A table of callers, and of the levels that each may get and set. The caller is
 * in the pid namespace "own", a host caller in the initial one.
 *
 *	host (init)             the initial user namespace
 *	└─ ancestor             outer
 *	   ├─ own               inner, which is below outer
 *	   │  └─ descendant     inner
 *	   └─ sibling           outer
 *	stranger (in host)      a user namespace beside outer
 */
#include "stress.h"
#include "tasks.h"

enum { HOST, ANCESTOR, OWN, DESCENDANT, SIBLING, STRANGER, COLUMNS };

static const char *const column[] = {
	"host", "ancestor", "own", "descendant", "sibling", "stranger",
};

/* The user namespace of the caller. */
enum place { INIT_USER, OUTER_USER, INNER_USER, STRANGER_USER };

#define SYS_ADMIN CAP_BIT(CAP_SYS_ADMIN)
#define RESTORE CAP_BIT(CAP_CHECKPOINT_RESTORE)

/* For each column, S: the caller may set, G: it may get. */
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
	/* The owner of a user namespace has all capabilities in it. */
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

struct attempt {
	int ns;
	char vec[16];
	long set, get;
};

static long run_requests(void *p)
{
	struct attempt *attempt = p;
	long pids[1];

	attempt->set = set_as(NULL, attempt->ns, attempt->vec);
	attempt->get = get_pids(attempt->ns, 1, pids);
	return 0;
}

static long run_enter_user_ns(void *fd)
{
	return or_errno(setns(*(int *)fd, CLONE_NEWUSER));
}

static long run_become(void *creds)
{
	return become(creds);
}

static void build(void)
{
	init[ANCESTOR] = spawn_user(NULL, CLONE_NEWPID);
	init[OWN] = spawn_user(&init[ANCESTOR], CLONE_NEWPID);
	init[DESCENDANT] = spawn(&init[OWN], CLONE_NEWPID);
	init[SIBLING] = spawn(&init[ANCESTOR], CLONE_NEWPID);
	init[STRANGER] = spawn_user(NULL, CLONE_NEWPID);
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
	int passed = 0, failed = 0;

	(void)argc;
	(void)argv;
	build();

	printf("S: the caller may set, G: it may get\n%-42s", "");
	for (int i = 0; i < COLUMNS; i++)
		printf(" %10s", column[i]);
	puts("");

	for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
		struct creds creds = rows[r].creds;
		enum place place = rows[r].user;
		struct task caller;

		/* Enter the pid namespace from the host, then the user namespace. */
		caller = rows[r].on_host ? spawn(NULL, 0)
			 : spawn_in(place == STRANGER_USER ? fd[STRANGER] : fd[OWN]);
		if (place != INIT_USER) {
			int user_ns = open_ns(user[place], "user");

			must("enter a user namespace",
			     call(&caller, run_enter_user_ns, &user_ns, sizeof(user_ns)));
			close(user_ns);
		}
		must("change the credentials", call(&caller, run_become, &creds, sizeof(creds)));

		printf("%-42s", rows[r].name);
		for (int i = 0; i < COLUMNS; i++) {
			const char *expected = rows[r].expected + 3 * i;
			struct attempt attempt = { .ns = fd[i] };
			long before[1], after[1], wanted;
			bool moved, ok;
			char seen[3];

			wanted = 5000 + 10 * (long)r;
			must("read the cursor", get_pids(fd[i], 1, before));
			snprintf(attempt.vec, sizeof(attempt.vec), "%ld", wanted);
			call(&caller, run_requests, &attempt, sizeof(attempt));
			must("read the cursor", get_pids(fd[i], 1, after));
			/* The kernel forks threads in the host's namespace. */
			moved = i ? after[0] != before[0] : labs(after[0] - before[0]) > 100;
			if (attempt.set == 0)
				moved = labs(after[0] - wanted) <= (i ? 0 : 100);
			snprintf(seen, sizeof(seen), "%c%c", attempt.set == 0 ? 'S' : '-',
				 attempt.get == 1 ? 'G' : '-');
			ok = !strncmp(seen, expected, 2) && moved == (seen[0] == 'S') &&
			     (attempt.set == 0 || attempt.set == -EPERM) &&
			     (attempt.get == 1 || attempt.get == -EPERM);
			ok ? passed++ : failed++;
			printf(" %*s%s%s", ok ? 10 : 4, seen, ok ? "" : " not ", ok ? "" : "ok");
			if (!ok)
				printf("(%.2s, %ld, %ld)", expected, attempt.set, attempt.get);
		}
		puts("");
		end_task(NULL, &caller);
	}
	printf("%d passed, %d failed\n", passed, failed);
	end_task(NULL, &init[ANCESTOR]);
	end_task(NULL, &init[STRANGER]);
	return failed ? 1 : 0;
}
