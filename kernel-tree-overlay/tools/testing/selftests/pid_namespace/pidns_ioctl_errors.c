// SPDX-License-Identifier: GPL-2.0
/*
 * The errors of NS_SPECIFIC_IOC that depend neither on the caller nor on an init,
 * in the order of the kernel's checks. No error moves a cursor, at any level.
 */
#include "pidns_ioctl_harness.h"

#include <sys/mman.h>

/* A longer request than this kernel knows, as long as a command can express. */
struct long_req {
	struct pidns_ioc_req req;
	char tail[_IOC_SIZEMASK - PIDNS_IOC_REQ_SIZE_VER0];
};

static unsigned int sized_cmd(size_t size)
{
	return _IOC(_IOC_DIR(NS_SPECIFIC_IOC), _IOC_TYPE(NS_SPECIFIC_IOC),
		    _IOC_NR(NS_SPECIFIC_IOC), size);
}

static struct pidns_ioc_req set_req(const char *vec)
{
	return (struct pidns_ioc_req){
		.req = PIDNS_REQ_SET_LAST_PID_VEC,
		.data = (uintptr_t)vec,
		.data_size = strlen(vec),
	};
}

static struct pidns_ioc_req get_req(char buf[VEC_SIZE])
{
	return (struct pidns_ioc_req){
		.req = PIDNS_REQ_GET_LAST_PID_VEC,
		.data = (uintptr_t)buf,
		.data_size = VEC_SIZE,
		.levels = 3,
	};
}

FIXTURE(nested) {};

FIXTURE_SETUP(nested)
{
	set_up(_metadata, 3);
}

FIXTURE_TEARDOWN(nested)
{
	tear_down();
}

/* ENOTTY: no such command */
TEST_F(nested, other_types_of_namespaces)
{
	static const char * const types[] = {
		"cgroup", "ipc", "mnt", "net", "time", "user", "uts",
	};
	char text[VEC_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		int fd;

		if (access(format("/proc/self/ns/%s", types[i]), F_OK))
			continue;
		fd = open_ns(NULL, types[i]);
		EXPECT_ERROR(ENOTTY, set_as(NULL, fd, "1000"));
		EXPECT_ERROR(ENOTTY, try_get(NULL, fd, 1, text));
	}
}

TEST_F(nested, commands_of_other_sizes_and_directions)
{
	static const struct {
		unsigned int dir;
		unsigned int size;
	} cmds[] = {
		{ _IOC_READ | _IOC_WRITE, 0 },
		{ _IOC_READ | _IOC_WRITE, PIDNS_IOC_REQ_SIZE_VER0 - 1 },
		{ _IOC_READ, PIDNS_IOC_REQ_SIZE_VER0 },
		{ _IOC_WRITE, PIDNS_IOC_REQ_SIZE_VER0 },
		{ _IOC_NONE, PIDNS_IOC_REQ_SIZE_VER0 },
	};
	struct pidns_ioc_req req = set_req("1000:2000:3000");

	for (size_t i = 0; i < ARRAY_SIZE(cmds); i++) {
		unsigned int cmd = _IOC(cmds[i].dir, _IOC_TYPE(NS_SPECIFIC_IOC),
					_IOC_NR(NS_SPECIFIC_IOC), cmds[i].size);

		EXPECT_ERROR(ENOTTY, ioc(ns.fd[3], cmd, &req));
	}
}

/* E2BIG: fields of a newer kernel */
TEST_F(nested, longer_struct_with_zeroes)
{
	struct long_req req = { .req = set_req("1000:2000:3000") };

	EXPECT_EQ(0, ioc(ns.fd[3], sized_cmd(sizeof(req.req) + 1), &req));
	EXPECT_STREQ("1000:2000:3000", last_pids());
	req.req = set_req("400:500:600");
	EXPECT_EQ(0, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), &req));
	EXPECT_STREQ("400:500:600", last_pids());
}

TEST_F(nested, longer_struct_with_an_unknown_field)
{
	struct long_req req = { .req = set_req("1000:2000:3000") };

	req.tail[0] = 1;
	EXPECT_ERROR(E2BIG, ioc(ns.fd[3], sized_cmd(sizeof(req.req) + 1), &req));
	EXPECT_ERROR(E2BIG, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), &req));
	req.tail[0] = 0;
	req.tail[sizeof(req.tail) - 1] = 1;
	EXPECT_ERROR(E2BIG, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), &req));
	EXPECT_EQ(0, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK - 1), &req));
}

TEST_F(nested, get_with_an_unknown_field_leaves_the_buffer_alone)
{
	char buf[VEC_SIZE] = "";
	struct long_req req = { .req = get_req(buf), .tail = { 1 } };

	EXPECT_ERROR(E2BIG, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), &req));
	EXPECT_STREQ("", buf);
}

TEST_F(nested, unknown_field_comes_before_unknown_request_and_flags)
{
	struct long_req req = { .req = { .req = 3, .flags = 1 }, .tail = { 1 } };

	EXPECT_ERROR(E2BIG, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), &req));
}

/* ENOTTY: no such request */
TEST_F(nested, unknown_request_comes_before_flags)
{
	static const __u32 unknown[] = { 0, 3, 0x80000001, UINT32_MAX };
	struct pidns_ioc_req req = set_req("1000:2000:3000");

	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		req.req = unknown[i];
		req.flags = 0;
		EXPECT_ERROR(ENOTTY, ioc(ns.fd[3], NS_SPECIFIC_IOC, &req));
		req.flags = 1;
		EXPECT_ERROR(ENOTTY, ioc(ns.fd[3], NS_SPECIFIC_IOC, &req));
	}
}

/* EFAULT: memory whose next byte cannot be read or written */
FIXTURE(fault)
{
	char *end;
};

FIXTURE_SETUP(fault)
{
	long page_size = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must("map memory", pages == MAP_FAILED ? -errno : 0);
	self->end = pages + page_size;
	must("protect", or_errno(mprotect(self->end, page_size, PROT_NONE)));
	set_up(_metadata, 3);
}

FIXTURE_TEARDOWN(fault)
{
	tear_down();
}

TEST_F(fault, struct_at_null)
{
	EXPECT_ERROR(EFAULT, ioc(ns.fd[3], NS_SPECIFIC_IOC, NULL));
}

TEST_F(fault, struct_unmapped)
{
	EXPECT_ERROR(EFAULT, ioc(ns.fd[3], NS_SPECIFIC_IOC, self->end));
}

TEST_F(fault, struct_crosses_into_unmapped)
{
	struct pidns_ioc_req req = set_req("1000:2000:3000");
	char *addr = self->end - sizeof(req) + 1;

	memcpy(addr, &req, sizeof(req) - 1);
	EXPECT_ERROR(EFAULT, ioc(ns.fd[3], NS_SPECIFIC_IOC, addr));
}

TEST_F(fault, struct_is_not_read_past_its_end)
{
	struct pidns_ioc_req req = set_req("1000:2000:3000");
	char *addr = self->end - sizeof(req);

	memcpy(addr, &req, sizeof(req));
	EXPECT_EQ(0, ioc(ns.fd[3], NS_SPECIFIC_IOC, addr));
	EXPECT_STREQ("1000:2000:3000", last_pids());
}

TEST_F(fault, tail_crosses_into_unmapped)
{
	struct pidns_ioc_req req = set_req("1000:2000:3000");
	char *addr = self->end - sizeof(req);

	memcpy(addr, &req, sizeof(req));
	EXPECT_ERROR(EFAULT, ioc(ns.fd[3], sized_cmd(sizeof(req) + 1), addr));
	EXPECT_ERROR(EFAULT, ioc(ns.fd[3], sized_cmd(_IOC_SIZEMASK), addr));
}

TEST_F(fault, unreadable_tail_comes_before_an_unknown_request)
{
	struct pidns_ioc_req req = { .req = 3 };
	char *addr = self->end - sizeof(req);

	memcpy(addr, &req, sizeof(req));
	EXPECT_ERROR(EFAULT, ioc(ns.fd[3], sized_cmd(sizeof(req) + 1), addr));
}

static long set_at(__u64 data, __u32 data_size)
{
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_SET_LAST_PID_VEC,
		.data = data,
		.data_size = data_size,
	};

	return ioc(ns.fd[3], NS_SPECIFIC_IOC, &req);
}

static long get_at(__u64 data, __u32 data_size)
{
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_GET_LAST_PID_VEC,
		.data = data,
		.data_size = data_size,
		.levels = 3,
	};

	return ioc(ns.fd[3], NS_SPECIFIC_IOC, &req);
}

TEST_F(fault, set_data_unmapped)
{
	EXPECT_ERROR(EFAULT, set_at(0, 4));
	EXPECT_ERROR(EFAULT, set_at((uintptr_t)self->end, 4));
}

TEST_F(fault, set_data_crosses_into_unmapped)
{
	char *addr = self->end - 4;

	memcpy(addr, "1000", 4);
	EXPECT_ERROR(EFAULT, set_at((uintptr_t)addr, 5));
}

TEST_F(fault, unreadable_data_comes_before_malformed)
{
	char *addr = self->end - 4;

	memcpy(addr, "a:-1", 4);
	EXPECT_ERROR(EFAULT, set_at((uintptr_t)addr, 5));
}

TEST_F(fault, set_data_is_not_read_past_its_end)
{
	char *addr = self->end - 14;

	memcpy(addr, "1000:2000:3000", 14);
	EXPECT_EQ(0, set_at((uintptr_t)addr, 14));
	EXPECT_STREQ("1000:2000:3000", last_pids());
}

TEST_F(fault, too_large_data_is_not_read)
{
	EXPECT_ERROR(EINVAL, set_at((uintptr_t)self->end, VEC_SIZE + 1));
}

TEST_F(fault, get_data_unmapped)
{
	EXPECT_ERROR(EFAULT, get_at(0, VEC_SIZE));
	EXPECT_ERROR(EFAULT, get_at((uintptr_t)self->end, VEC_SIZE));
}

TEST_F(fault, get_data_crosses_into_unmapped)
{
	EXPECT_ERROR(EFAULT, get_at((uintptr_t)(self->end - 4), VEC_SIZE));
}

TEST_F(fault, get_data_read_only)
{
	char *page = self->end - sysconf(_SC_PAGESIZE);

	must("protect", or_errno(mprotect(page, 1, PROT_READ)));
	EXPECT_ERROR(EFAULT, get_at((uintptr_t)page, VEC_SIZE));
}

TEST_F(fault, too_small_a_buffer_comes_before_an_unmapped_one)
{
	EXPECT_ERROR(ERANGE, get_at((uintptr_t)self->end, 1));
}

TEST_F(fault, address_is_not_cut_to_32_bits)
{
	/* Only a 32-bit program can tell: its pages are below 4 GiB. */
	__u64 high = 1ULL << 63;
	char *page = self->end - sysconf(_SC_PAGESIZE);

	memcpy(page, "1000", 4);
	EXPECT_ERROR(EFAULT, set_at(high | (uintptr_t)page, 4));
	EXPECT_ERROR(EFAULT, get_at(high | (uintptr_t)page, VEC_SIZE));
}

/* EINVAL: requests that are wrong for any caller and namespace */
FIXTURE(invalid)
{
	struct task powerless;
	struct pidns_ioc_req req;
};

FIXTURE_VARIANT(invalid)
{
	char text[VEC_SIZE + 1];
	__u32 size; /* of text if that has a NUL in it or is cut off */
	__u32 req; /* 0 stands for SET */
	__u32 flags;
	__u32 levels;
};

FIXTURE_SETUP(invalid)
{
	self->req = (struct pidns_ioc_req){
		.req = variant->req ?: PIDNS_REQ_SET_LAST_PID_VEC,
		.flags = variant->flags,
		.data_size = variant->size ?: strlen(variant->text),
		.levels = variant->levels,
	};
	if (set_up(_metadata, 3))
		self->powerless = spawn_with_caps(init_of(2), 0, 0);
}

FIXTURE_TEARDOWN(invalid)
{
	tear_down();
}

#define SEVEN_DIGITS_33_TIMES						\
	"4194304:4194304:4194304:4194304:4194304:4194304:4194304:"	\
	"4194304:4194304:4194304:4194304:4194304:4194304:4194304:"	\
	"4194304:4194304:4194304:4194304:4194304:4194304:4194304:"	\
	"4194304:4194304:4194304:4194304:4194304:4194304:4194304:"	\
	"4194304:4194304:4194304:4194304:4194304"

FIXTURE_VARIANT_ADD(invalid, no_data) { .text = "" };
FIXTURE_VARIANT_ADD(invalid, only_nul) { .text = "", .size = 1 };
FIXTURE_VARIANT_ADD(invalid, only_colon) { .text = ":" };
FIXTURE_VARIANT_ADD(invalid, colon_last) { .text = "1:" };
FIXTURE_VARIANT_ADD(invalid, colon_first) { .text = ":1" };
FIXTURE_VARIANT_ADD(invalid, two_colons) { .text = "1::2" };
FIXTURE_VARIANT_ADD(invalid, plus) { .text = "+1" };
FIXTURE_VARIANT_ADD(invalid, minus) { .text = "-1" };
FIXTURE_VARIANT_ADD(invalid, blank_first) { .text = " 1" };
FIXTURE_VARIANT_ADD(invalid, blank_last) { .text = "1 " };
FIXTURE_VARIANT_ADD(invalid, newline) { .text = "1\n" };
FIXTURE_VARIANT_ADD(invalid, leading_zero) { .text = "01" };
FIXTURE_VARIANT_ADD(invalid, two_zeroes) { .text = "00" };
FIXTURE_VARIANT_ADD(invalid, leading_zero_later) { .text = "1:02" };
FIXTURE_VARIANT_ADD(invalid, hexadecimal) { .text = "0x1" };
FIXTURE_VARIANT_ADD(invalid, taken_in_2017) { .text = "5x: 7" };
FIXTURE_VARIANT_ADD(invalid, comma) { .text = "1,2" };
FIXTURE_VARIANT_ADD(invalid, byte_before_digits) { .text = "/" };
FIXTURE_VARIANT_ADD(invalid, byte_with_high_bit) { .text = "1\xb1" };
FIXTURE_VARIANT_ADD(invalid, two_nuls) { .text = "1", .size = 3 };
FIXTURE_VARIANT_ADD(invalid, nul_within) { .text = "1\0:2", .size = 4 };
FIXTURE_VARIANT_ADD(invalid, nul_first) { .text = "\0001", .size = 2 };
FIXTURE_VARIANT_ADD(invalid, nul_after_colon) { .text = "1:", .size = 3 };
FIXTURE_VARIANT_ADD(invalid, too_large_before_malformed) { .text = "99999999999:x" };
FIXTURE_VARIANT_ADD(invalid, numbers_34) {
	.text = "1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1",
};

FIXTURE_VARIANT_ADD(invalid, bytes_265) { .text = SEVEN_DIGITS_33_TIMES, .size = 265 };
FIXTURE_VARIANT_ADD(invalid, size_of_all_memory) { .text = "1", .size = UINT32_MAX };
FIXTURE_VARIANT_ADD(invalid, set_with_lowest_flag) { .text = "1", .flags = 1 };
FIXTURE_VARIANT_ADD(invalid, set_with_highest_flag) { .text = "1", .flags = 1U << 31 };
FIXTURE_VARIANT_ADD(invalid, set_with_levels) { .text = "1", .levels = 1 };
FIXTURE_VARIANT_ADD(invalid, get_without_levels) {
	.req = PIDNS_REQ_GET_LAST_PID_VEC, .size = VEC_SIZE,
};

FIXTURE_VARIANT_ADD(invalid, get_with_lowest_flag) {
	.req = PIDNS_REQ_GET_LAST_PID_VEC, .size = VEC_SIZE, .levels = 1, .flags = 1,
};

FIXTURE_VARIANT_ADD(invalid, get_with_highest_flag) {
	.req = PIDNS_REQ_GET_LAST_PID_VEC, .size = VEC_SIZE, .levels = 1, .flags = 1U << 31,
};

TEST_F(invalid, moves_nothing)
{
	EXPECT_ERROR(EINVAL, request(NULL, ns.fd[3], self->req, variant->text,
				     sizeof(variant->text)));
}

/*
 * More numbers than levels are EINVAL too, but only with the capability: the
 * error must not reveal the depth.
 */
TEST_F(invalid, is_found_before_permission)
{
	EXPECT_ERROR(EINVAL, request(&self->powerless, ns.fd[3], self->req,
				     variant->text, sizeof(variant->text)));
}

TEST_F(nested, longest_vector_is_well_formed)
{
	struct task powerless = spawn_with_caps(init_of(2), 0, 0);
	struct pidns_ioc_req req = {
		.req = PIDNS_REQ_SET_LAST_PID_VEC,
		.data_size = VEC_SIZE,
	};

	EXPECT_ERROR(EPERM, request(&powerless, ns.fd[3], req, SEVEN_DIGITS_33_TIMES,
				    VEC_SIZE));
}

/* ERANGE: a number above the pid_max of its level */
TEST_F(nested, one_above_pid_max_of_its_level)
{
	pid_t pids[] = { 3000, 2000, 1000 };
	pid_t pid_max[3];

	lower_pid_max(pid_max);
	for (int i = 0; i < 3; i++) {
		pid_t pid = pids[i];

		pids[i] = pid_max[i] + 1;
		EXPECT_ERROR(ERANGE, set(vector(pids, 3)));
		pids[i] = pid;
	}
}

FIXTURE(too_large) {};

FIXTURE_VARIANT(too_large)
{
	const char *number;
};

FIXTURE_VARIANT_ADD(too_large, above_any_pid_max) { .number = "4194305" };
FIXTURE_VARIANT_ADD(too_large, above_31_bits) { .number = "2147483648" };
FIXTURE_VARIANT_ADD(too_large, one_above_32_bits) { .number = "4294967297" };
FIXTURE_VARIANT_ADD(too_large, one_above_64_bits) { .number = "18446744073709551617" };
FIXTURE_VARIANT_ADD(too_large, digits_64) {
	.number = "1000000000000000000000000000000000000000000000000000000000000000",
};

FIXTURE_SETUP(too_large)
{
	set_up(_metadata, 3);
}

FIXTURE_TEARDOWN(too_large)
{
	tear_down();
}

TEST_F(too_large, at_every_level)
{
	const char *number = variant->number;

	EXPECT_ERROR(ERANGE, set(number));
	EXPECT_ERROR(ERANGE, set(format("%s:2000:3000", number)));
	EXPECT_ERROR(ERANGE, set(format("1000:%s:3000", number)));
	EXPECT_ERROR(ERANGE, set(format("1000:2000:%s", number)));
	EXPECT_ERROR(ERANGE, set(format("1000:2000:3000:%s", number)));
}

/* EINVAL: more numbers than levels */
TEST_F(nested, set_with_more_numbers_than_levels)
{
	EXPECT_ERROR(EINVAL, set(format("1000:2000:3000:%d:500", getpid())));
	EXPECT_HOST_NOT_SET_TO_OWN_PID();
}

TEST_F(nested, number_above_pid_max_comes_before_too_many_numbers)
{
	pid_t pid_max[3];

	lower_pid_max(pid_max);
	EXPECT_ERROR(ERANGE, set(format("1000:2000:%d:%d:500", pid_max[0] + 1, getpid())));
	EXPECT_HOST_NOT_SET_TO_OWN_PID();
}

TEST_HARNESS_MAIN
