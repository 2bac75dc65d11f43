/* SPDX-License-Identifier: GPL-2.0 */
/* Set-up and expectations of the NS_SPECIFIC_IOC tests, for kselftest_harness.h. */
#ifndef PIDNS_IOCTL_HARNESS_H
#define PIDNS_IOCTL_HARNESS_H

#include "pidns_ioctl.h"
#include "kselftest_harness.h"

/* Makes the first namespaces, or skips the test and returns false. */
static inline bool set_up(struct __test_metadata *_metadata, int depth)
{
	const char *reason = skip_reason();

	if (reason)
		SKIP(return false, "%s", reason);
	nest_to(depth);
	return true;
}

static inline void tear_down(void)
{
	if (ns.depth)
		end_ns(1);
}

/* The call fails with an error, and no cursor of the test's levels moves. */
#define EXPECT_ERROR(error, call_) do {				\
	const char *before_ = last_pids();			\
								\
	EXPECT_EQ(-(error), call_);				\
	EXPECT_STREQ(before_, last_pids());			\
} while (0)

/* GET fails with an error, for any number of levels. */
#define EXPECT_GET_ERROR(error, caller, fd) do {			\
	static const __u32 levels_[] = { 1, 2, 5, UINT32_MAX };	\
	const struct task *caller_ = caller;			\
	int error_ = error;					\
	int get_fd_ = fd;					\
	char text_[VEC_SIZE];					\
								\
	for (int i_ = 0; i_ < 4; i_++)				\
		EXPECT_ERROR(error_, try_get(caller_, get_fd_, levels_[i_], text_)); \
} while (0)

/* Error 0: SET stores the vector. Otherwise it fails and no cursor moves. */
#define EXPECT_SET(error, caller, fd, vec) do {			\
	const struct task *caller_ = caller;			\
	const char *vec_ = vec;					\
	int error_ = error;					\
	int set_fd_ = fd;					\
								\
	if (error_) {						\
		EXPECT_ERROR(error_, set_as(caller_, set_fd_, vec_)); \
	} else {						\
		EXPECT_EQ(0, set_as(caller_, set_fd_, vec_));	\
		EXPECT_STREQ(vec_, get_as(NULL, set_fd_, count_numbers(vec_))); \
	}							\
} while (0)

/*
 * The last pid of the host changes while others fork, but never to a pid that is
 * in use. It is the test's own pid only after a SET.
 */
#define EXPECT_HOST_NOT_SET_TO_OWN_PID()			\
	EXPECT_NE(getpid(), read_sysctl(NULL, "ns_last_pid"))

#endif
