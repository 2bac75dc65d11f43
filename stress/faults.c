// SPDX-License-Identifier: GPL-2.0
/*
 * Injects one fault into each request: at the first place that can fail, at the
 * second, and so on, until a request ends without a fault. Needs
 * CONFIG_FAULT_INJECTION_USERCOPY, CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC.
 * Documentation/fault-injection/fault-injection.rst explains fail-nth.
 */
#include "stress.h"
#include "tasks.h"

#define LEVELS 3
#define MANY 100	/* more places than a request has */
#define START "1000:2000:3000"

static int fail_nth, passed, failed;

/* Faults of all kinds. The kernel must not log each. */
static void arm(void)
{
	static const char *const settings[][2] = {
		{ "fail_usercopy/verbose", "0" },
		{ "failslab/verbose", "0" },
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/cache-filter", "N" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
	};
	char path[96];

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", settings[i][0]);
		must(path, write_file(path, settings[i][1]));
	}
	fail_nth = must("open fail-nth", or_errno(open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC)));
}

/*
 * Returns whether the kernel injected the fault. If it did not yet, the fault can
 * hit the accesses to fail-nth here.
 */
static bool was_injected(void)
{
	char text[16] = "";
	bool injected = pread(fail_nth, text, sizeof(text) - 1, 0) > 0 && !atoi(text);

	while (pwrite(fail_nth, "0", 1, 0) != 1)
		;
	return injected;
}

static char *page;

static void expect_cursors(const char *what, int nth, const long *wanted)
{
	long pids[LEVELS];

	if (get_pids(ns.fd[LEVELS], LEVELS, pids) == LEVELS && !memcmp(pids, wanted, LEVELS * sizeof(*pids))) {
		passed++;
		return;
	}
	printf("%s, fault %d: the cursors are %ld:%ld:%ld\n", what, nth, pids[0], pids[1], pids[2]);
	failed++;
}

/*
 * If the page is @absent, the kernel has to allocate it. It recovers from some of
 * these faults, so the request may succeed.
 */
static void try_all(const char *what, const char *vec, uint32_t data_size, size_t size, bool absent)
{
	static const long before[] = { 1000, 2000, 3000 }, after[] = { 11, 22, 33 };
	struct pidns_ioc_req req = {
		.req = vec ? PIDNS_REQ_SET_LAST_PID_VEC : PIDNS_REQ_GET_LAST_PID_VEC,
		.data_size = data_size,
		.levels = vec ? 0 : LEVELS,
	};
	unsigned int cmd = _IOC(_IOC_READ | _IOC_WRITE, _IOC_TYPE(NS_SPECIFIC_IOC),
				_IOC_NR(NS_SPECIFIC_IOC), size);
	long wanted = vec ? 0 : (long)strlen(START);
	char image[4096] = "", text[16];
	bool injected;
	int nth = 0;
	long ret;

	do {
		if (++nth > MANY) {
			printf("%s: no end of faults\n", what);
			failed++;
			return;
		}
		must("set", set(START));
		if (vec)
			strcpy(page, vec);
		else
			memset(page, 0xa5, 64);
		if (absent)
			must("drop a page", or_errno(madvise(page, 4096, MADV_DONTNEED)));
		req.data = (uintptr_t)page;
		memcpy(image, &req, sizeof(req));
		snprintf(text, sizeof(text), "%d", nth);
		if (write(fail_nth, text, strlen(text)) < 0)
			err(1, "fail-nth");
		ret = ioc(ns.fd[LEVELS], cmd, image);
		injected = was_injected();
		if (ret != (injected ? -EFAULT : wanted) && !(absent && ret == wanted)) {
			printf("%s, fault %d: %ld\n", what, nth, ret);
			failed++;
		} else {
			passed++;
		}
		expect_cursors(what, nth, vec && !injected ? after : before);
	} while (injected);
	printf("%-40s %d faults injected\n", what, nth - 1);
	/* Reading the struct can fail, so there is one fault at least. */
	if (nth == 1) {
		printf("%s: no fault\n", what);
		failed++;
	}
}

int faults(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		err(1, "mmap");
	nest_to(LEVELS);
	arm();

	try_all("SET", "11:22:33", 8, sizeof(struct pidns_ioc_req), false);
	try_all("SET with a NUL", "11:22:33", 9, sizeof(struct pidns_ioc_req), false);
	try_all("SET, longer struct", "11:22:33", 8, 4096, false);
	try_all("GET", NULL, VEC_SIZE - 1, sizeof(struct pidns_ioc_req), false);
	try_all("GET, longer struct", NULL, VEC_SIZE - 1, 4096, false);
	try_all("GET of the length", NULL, 0, sizeof(struct pidns_ioc_req), false);
	try_all("GET into an absent page", NULL, VEC_SIZE - 1, sizeof(struct pidns_ioc_req), true);

	end_ns(1);
	printf("%d passed, %d failed\n", passed, failed);
	return failed ? 1 : 0;
}
