// SPDX-License-Identifier: GPL-2.0
/*
 * Stress tests for NS_SPECIFIC_IOC on pid namespaces. Run them as root in a guest:
 * they change the sysctls of the machine and use up its pids.
 */
#include "stress.h"
#include "tasks.h"

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *usage;
} tests[] = {
	{ "calls", calls, "SEED CALLS [ROUND]" },
	{ "races", races, "FORKS" },
	{ "lifetime", lifetime, "HIERARCHIES" },
	{ "who", who, "" },
	{ "faults", faults, "" },
};

int main(int argc, char **argv)
{
	setlinebuf(stdout);
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(tests); i++)
		if (!strcmp(argv[1], tests[i].name))
			return tests[i].main(argc - 1, argv + 1);
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		fprintf(stderr, "usage: %s %s %s\n", argv[0], tests[i].name, tests[i].usage);
	return 2;
}
