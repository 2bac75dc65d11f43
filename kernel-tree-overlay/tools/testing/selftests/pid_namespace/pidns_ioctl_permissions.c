// SPDX-License-Identifier: GPL-2.0
/*
 * Permissions of NS_SPECIFIC_IOC. For each level of the vector, the innermost
 * first, the caller needs a capability in the user namespace of that level:
 * CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN at and below its own level,
 * CAP_SYS_ADMIN above and beside it. A refusal reveals nothing else.
 */
#include "pidns_ioctl_harness.h"

#include <sys/mount.h>

/* A task of level 2 with some capabilities */
FIXTURE(caps)
{
	struct task task;
	int inside; /* the error at its own level and below */
	int outside; /* the error above and beside */
};

FIXTURE_VARIANT(caps)
{
	unsigned long long caps;
};

FIXTURE_VARIANT_ADD(caps, none) { .caps = 0 };
FIXTURE_VARIANT_ADD(caps, all_others) {
	.caps = (CAP_BIT(CAP_CHECKPOINT_RESTORE) - 1) & ~CAP_BIT(CAP_SYS_ADMIN),
};

FIXTURE_VARIANT_ADD(caps, checkpoint_restore) { .caps = CAP_BIT(CAP_CHECKPOINT_RESTORE) };
FIXTURE_VARIANT_ADD(caps, sys_admin) { .caps = CAP_BIT(CAP_SYS_ADMIN) };

FIXTURE_SETUP(caps)
{
	unsigned long long sys_admin = CAP_BIT(CAP_SYS_ADMIN);
	unsigned long long either = sys_admin | CAP_BIT(CAP_CHECKPOINT_RESTORE);

	if (!set_up(_metadata, 3))
		return;
	self->task = spawn_with_caps(init_of(2), 0, variant->caps);
	self->inside = variant->caps & either ? 0 : EPERM;
	self->outside = variant->caps & sys_admin ? 0 : EPERM;
}

FIXTURE_TEARDOWN(caps)
{
	tear_down();
}

TEST_F(caps, set_own_level)
{
	EXPECT_SET(self->inside, &self->task, ns.fd[2], "1000");
}

TEST_F(caps, set_below)
{
	EXPECT_SET(self->inside, &self->task, ns.fd[3], "1000");
	EXPECT_SET(self->inside, &self->task, ns.fd[3], "1000:2000");
}

TEST_F(caps, set_above)
{
	EXPECT_SET(self->outside, &self->task, ns.fd[1], "1000");
	EXPECT_SET(self->outside, &self->task, ns.fd[2], "1000:2000");
	EXPECT_SET(self->outside, &self->task, ns.fd[3], "1000:2000:3000");
}

TEST_F(caps, set_beside)
{
	struct task beside = spawn_with_caps(init_of(2), CLONE_NEWPID, variant->caps);

	EXPECT_SET(self->outside, &beside, ns.fd[3], "1000");
	EXPECT_SET(self->outside, &beside, ns.fd[3], "1000:2000");
}

TEST_F(caps, set_from_the_innermost)
{
	struct task task = spawn_with_caps(init_of(3), 0, variant->caps);

	EXPECT_SET(self->inside, &task, ns.fd[3], "1000");
	EXPECT_SET(self->outside, &task, ns.fd[3], "1000:2000");
	EXPECT_SET(self->outside, &task, ns.fd[2], "2000");
}

TEST_F(caps, set_from_the_host)
{
	struct task task = spawn_with_caps(NULL, 0, variant->caps);

	EXPECT_SET(self->inside, &task, ns.fd[3], "1000:2000:3000");
}

TEST_F(caps, set_of_the_host_from_below)
{
	if (self->outside) {
		EXPECT_ERROR(EPERM, set_as(&self->task, ns.fd[0], format("%d", getpid())));
		EXPECT_ERROR(EPERM, set_as(&self->task, ns.fd[3],
					   format("1000:2000:3000:%d", getpid())));
		EXPECT_HOST_NOT_SET_TO_OWN_PID();
	} else {
		EXPECT_EQ(0, set_as(&self->task, ns.fd[3], get(4)));
	}
}

TEST_F(caps, get_ends_before_what_set_refuses)
{
	char text[VEC_SIZE];
	int all = self->outside ? 2 : 4;

	if (self->inside) {
		EXPECT_GET_ERROR(EPERM, &self->task, ns.fd[3]);
		return;
	}
	for (int levels = 1; levels < 6; levels++) {
		ASSERT_LT(0, try_get(&self->task, ns.fd[3], levels, text));
		EXPECT_EQ(levels < all ? levels : all, count_numbers(text));
	}
}

TEST_F(caps, get_above_and_beside)
{
	struct task beside = spawn_with_caps(init_of(2), CLONE_NEWPID, variant->caps);

	if (self->outside) {
		EXPECT_GET_ERROR(EPERM, &self->task, ns.fd[1]);
		EXPECT_GET_ERROR(EPERM, &beside, ns.fd[3]);
	} else {
		EXPECT_EQ(2, count_numbers(get_as(&self->task, ns.fd[1], 2)));
		EXPECT_EQ(4, count_numbers(get_as(&beside, ns.fd[3], 4)));
	}
}

/* A task of level 2 without capabilities */
FIXTURE(powerless)
{
	struct task task;
};

FIXTURE_SETUP(powerless)
{
	if (set_up(_metadata, 3))
		self->task = spawn_with_caps(init_of(2), 0, 0);
}

FIXTURE_TEARDOWN(powerless)
{
	tear_down();
}

TEST_F(powerless, learns_no_pid_max_and_no_depth)
{
	static const char * const vecs[] = {
		"1000", "1000:2000:3000", "4194304", "99999999999",
		"1000:4194304:4194304", "1000:99999999999", "1000:2000:3000:400:500",
		"1000:4194304:0:0:0:0:0:0:0",
	};

	write_sysctl(init_of(3), "pid_max", read_sysctl(init_of(3), "pid_max") / 2);
	for (size_t i = 0; i < ARRAY_SIZE(vecs); i++)
		EXPECT_ERROR(EPERM, set_as(&self->task, ns.fd[3], vecs[i]));
	EXPECT_GET_ERROR(EPERM, &self->task, ns.fd[3]);
}

TEST_F(powerless, learns_no_length)
{
	struct pidns_ioc_req req = { .req = PIDNS_REQ_GET_LAST_PID_VEC, .levels = 3 };

	EXPECT_ERROR(EPERM, request(&self->task, ns.fd[3], req, "", 0));
	req.data_size = 1;
	EXPECT_ERROR(EPERM, request(&self->task, ns.fd[3], req, "", 0));
}

TEST_F(powerless, learns_no_state_of_init)
{
	struct task parent = spawn(init_of(2), 0);
	int fd = open_ns_without_init(&parent);

	EXPECT_ERROR(EPERM, set_as(&self->task, fd, "1000"));
	EXPECT_GET_ERROR(EPERM, &self->task, fd);
	end_ns(3);
	EXPECT_ERROR(EPERM, set_as(&self->task, ns.fd[3], "1000"));
	EXPECT_GET_ERROR(EPERM, &self->task, ns.fd[3]);
}

/* Levels 2 and 3 belong to a nested user namespace. */
FIXTURE(owned)
{
	pid_t pid_max[3];
};

FIXTURE_SETUP(owned)
{
	if (!set_up(_metadata, 1))
		return;
	if (access("/proc/self/ns/user", F_OK))
		SKIP(return, "kernel without CONFIG_USER_NS");
	nest(CLONE_NEWUSER);
	nest(0);
	lower_pid_max(self->pid_max);
}

FIXTURE_TEARDOWN(owned)
{
	tear_down();
}

TEST_F(owned, root_of_user_ns_sets_its_levels)
{
	EXPECT_SET(0, init_of(2), ns.fd[3], "1000:2000");
	EXPECT_SET(0, init_of(3), ns.fd[3], "400:500");
}

TEST_F(owned, root_of_user_ns_cannot_set_outer_levels)
{
	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[3], "1000:2000:3000"));
	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[2], "2000:3000"));
	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[1], "3000"));
	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[0], format("%d", getpid())));
	EXPECT_HOST_NOT_SET_TO_OWN_PID();
}

TEST_F(owned, checkpoint_restore_of_user_ns_is_enough_inside)
{
	struct task task = spawn_with_caps(init_of(2), 0, CAP_BIT(CAP_CHECKPOINT_RESTORE));

	EXPECT_SET(0, &task, ns.fd[2], "2000");
	EXPECT_SET(0, &task, ns.fd[3], "1000:2000");
	EXPECT_STREQ("1000:2000", get_as(&task, ns.fd[3], 4));
	EXPECT_ERROR(EPERM, set_as(&task, ns.fd[3], "1000:2000:3000"));
	EXPECT_ERROR(EPERM, set_as(&task, ns.fd[1], "3000"));
	EXPECT_GET_ERROR(EPERM, &task, ns.fd[1]);
}

TEST_F(owned, capability_in_another_user_ns_is_none)
{
	struct task task = spawn(init_of(1), CLONE_NEWUSER);

	EXPECT_ERROR(EPERM, set_as(&task, ns.fd[1], "1000"));
	EXPECT_ERROR(EPERM, set_as(&task, ns.fd[3], "1000"));
	EXPECT_GET_ERROR(EPERM, &task, ns.fd[1]);
	EXPECT_GET_ERROR(EPERM, &task, ns.fd[3]);
}

/*
 * clone3(set_tid) needs a capability at each level. The task has it in its own
 * user namespace only. So a task outside sets the cursors, and this one forks.
 */
TEST_F(owned, plain_fork_gets_what_set_tid_is_refused)
{
	static const pid_t set_tid[] = { 10, 5001, 7001 };
	struct task task;

	EXPECT_EQ(-EPERM, try_spawn(init_of(3), 0, set_tid, 3, &task));
	ASSERT_LT(0, try_spawn(init_of(3), 0, set_tid, 2, &task));
	end_task(init_of(3), &task);

	ASSERT_EQ(0, set("9:5000:7000"));
	EXPECT_STREQ("10:5001:7001", fork_at(3));
}

TEST_F(owned, get_by_root_of_user_ns_ends_before_outer_levels)
{
	ASSERT_EQ(0, set("1000:2000:3000"));
	EXPECT_STREQ("1000:2000", get_as(init_of(2), ns.fd[3], UINT32_MAX));
	EXPECT_STREQ("1000:2000", get_as(init_of(3), ns.fd[3], 4));
	EXPECT_STREQ("1000:2000", get_as(init_of(2), ns.fd[3], 3));
	EXPECT_STREQ("2000", get_as(init_of(2), ns.fd[2], 3));
	EXPECT_STREQ("1000", get_as(init_of(2), ns.fd[3], 1));
}

TEST_F(owned, get_by_root_of_user_ns_on_an_outer_level)
{
	EXPECT_GET_ERROR(EPERM, init_of(2), ns.fd[1]);
	EXPECT_GET_ERROR(EPERM, init_of(2), ns.fd[0]);
}

TEST_F(owned, set_of_what_get_returned_to_root_of_user_ns)
{
	const char *before = last_pids();

	EXPECT_EQ(0, set_as(init_of(3), ns.fd[3], get_as(init_of(3), ns.fd[3], 4)));
	EXPECT_STREQ(before, last_pids());
}

TEST_F(owned, pid_max_within_comes_before_permission_outside)
{
	const char *inner = format("%d:2000:3000", self->pid_max[2] + 1);
	const char *middle = format("1000:%d:3000", self->pid_max[1] + 1);

	EXPECT_ERROR(ERANGE, set_as(init_of(2), ns.fd[3], inner));
	EXPECT_ERROR(ERANGE, set_as(init_of(2), ns.fd[3], middle));
}

TEST_F(owned, permission_comes_before_pid_max_of_its_level)
{
	const char *vec = format("1000:2000:%d", self->pid_max[0] + 1);

	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[3], vec));
	EXPECT_ERROR(ERANGE, set_as(NULL, ns.fd[3], vec));
}

TEST_F(owned, permission_comes_before_too_many_numbers)
{
	const char *vec = format("1000:2000:3000:%d:500", getpid());

	EXPECT_ERROR(EPERM, set_as(init_of(2), ns.fd[3], vec));
	EXPECT_ERROR(EINVAL, set_as(NULL, ns.fd[3], vec));
	EXPECT_HOST_NOT_SET_TO_OWN_PID();
}

/* Container runtimes mount /proc/sys read-only. */
FIXTURE(proc_sys_read_only)
{
	struct task task;
};

static long run_make_proc_sys_read_only(void *unused)
{
	(void)unused;
	if (unshare(CLONE_NEWNS) ||
	    mount("", "/", NULL, MS_PRIVATE | MS_REC, NULL) ||
	    mount("/proc/sys", "/proc/sys", NULL, MS_BIND, NULL) ||
	    mount("", "/proc/sys", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL))
		return -errno;
	return 0;
}

FIXTURE_SETUP(proc_sys_read_only)
{
	if (!set_up(_metadata, 3))
		return;
	self->task = spawn(init_of(3), 0);
	must("make /proc/sys read-only",
	     call(&self->task, run_make_proc_sys_read_only, NULL, 0));
	limit_caps(&self->task, CAP_BIT(CAP_CHECKPOINT_RESTORE));
}

FIXTURE_TEARDOWN(proc_sys_read_only)
{
	tear_down();
}

TEST_F(proc_sys_read_only, checkpoint_restore_alone_sets)
{
	ASSERT_EQ(0, set("400:2000:3000"));
	EXPECT_ERROR(EROFS, try_write_sysctl(&self->task, "ns_last_pid", 1000));
	EXPECT_EQ(0, set_as(&self->task, ns.fd[3], "1000"));
	EXPECT_STREQ("1001:2001:3001", fork_from(&self->task));
}

TEST_HARNESS_MAIN
