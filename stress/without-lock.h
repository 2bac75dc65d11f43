/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Takes the lock out of the store, to see that the test of races notices: built
 * into kernel/pid.c with gcc's -include, each cursor is stored outside of it.
 */
#include <linux/idr.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#define idr_set_cursor(idr, val)					\
do {									\
	bool unlocked = !strcmp(__func__, "pidns_set_last_pids");	\
									\
	if (unlocked)							\
		spin_unlock(&pidmap_lock);				\
	idr_set_cursor(idr, val);					\
	if (unlocked)							\
		spin_lock(&pidmap_lock);				\
} while (0)
