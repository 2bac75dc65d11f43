// SPDX-License-Identifier: GPL-2.0
/*
 * Makes three nested pid namespaces, sets with one ioctl which pids come next
 * in each of them, forks a task in the innermost one, and compares what /proc
 * says with what was asked for. Exits with 1 on any difference.
 *
 * The init of each namespace forks a task when told to. The namespaces are
 * numbered from the inside outwards, as in the vector.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/nsfs.h>

#define LEVELS 3

static const char *const name[LEVELS] = { "innermost", "middle", "outermost" };
static const int wanted[LEVELS] = { 4, 23, 112 };
static char vector[] = "3:22:111";	/* the last pids: one less */

static int ns[LEVELS];			/* file of the namespace */
static int init[LEVELS][2];		/* socket to its init, and init's end */

static pid_t outermost;		/* its init; all others go with it */
static int differences;

static void compare(const char *what, int is, int should)
{
	printf("    %-36s %4d", what, is);
	if (is != should) {
		printf("   DIFFERENT: should be %d", should);
		differences++;
	}
	printf("\n");
}

static void say(int to, int pid)
{
	if (write(to, &pid, sizeof(pid)) != sizeof(pid))
		_exit(1);
}

static int hear(int from)
{
	int pid;

	if (read(from, &pid, sizeof(pid)) != sizeof(pid))
		errx(1, "an init is gone");
	return pid;
}

/* Become the init of namespace i, start those inside it, and serve. */
static void be_init(int i)
{
	int pid;

	for (; i > 0; i--) {
		pid = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
		if (pid != 0) {
			say(init[i][1], pid);
			break;
		}
	}

	for (;;) {
		hear(init[i][1]);
		pid = fork();
		if (pid == 0) {
			pause();
			_exit(0);
		}
		say(init[i][1], pid);
	}
}

/* Tell the init of namespace i to fork. Returns the pid that it sees. */
static int fork_in(int i)
{
	say(init[i][0], 0);
	return hear(init[i][0]);
}

static int open_ns(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static void show_level(int i, pid_t pid)
{
	struct stat st;

	if (fstat(ns[i], &st))
		err(1, "fstat");
	printf("    %-10s pid:[%lu], its init is pid %d outside\n", name[i],
	       (unsigned long)st.st_ino, pid);
}

static void make_levels(void)
{
	int i, pid;

	for (i = 0; i < LEVELS; i++)
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, init[i]))
			err(1, "socketpair");

	pid = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		err(1, "clone(CLONE_NEWPID)");
	if (pid == 0)
		be_init(LEVELS - 1);

	outermost = pid;
	for (i = LEVELS - 1; ; i--) {
		ns[i] = open_ns(pid);
		show_level(i, pid);
		if (i == 0)
			break;
		/* What an init calls its child, as it is called here. */
		pid = ioctl(ns[i], NS_GET_PID_FROM_PIDNS, hear(init[i][0]));
	}
}

static long request(unsigned int req, char *data, unsigned int size,
		    unsigned int levels)
{
	struct pidns_ioc_req arg = {
		.req = req,
		.data = (uintptr_t)data,
		.data_size = size,
		.levels = levels,
	};
	long ret = ioctl(ns[0], NS_SPECIFIC_IOC, &arg);

	if (ret < 0)
		err(1, "NS_SPECIFIC_IOC");
	return ret;
}

static void show_cursors(void)
{
	char text[264];
	long len = request(PIDNS_REQ_GET_LAST_PID_VEC, text, sizeof(text), LEVELS);

	printf("    GET -> %ld: \"%.*s\"\n", len, (int)len, text);
}

static void check_nspid(int pid)
{
	char path[64], line[512] = "";
	int nspid[LEVELS] = { 0 };
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	status = fopen(path, "re");
	if (!status)
		err(1, "%s", path);
	do {
		if (!fgets(line, sizeof(line), status))
			errx(1, "no NSpid in %s", path);
	} while (strncmp(line, "NSpid:", 6));
	fclose(status);

	printf("    %s: %s", path, line);
	sscanf(line, "NSpid: %*d %d %d %d", &nspid[2], &nspid[1], &nspid[0]);
	for (int i = LEVELS - 1; i >= 0; i--)
		compare(name[i], nspid[i], wanted[i]);
}

int main(void)
{
	int i;

	setlinebuf(stdout);

	printf("\n1. Three nested pid namespaces\n");
	make_levels();
	show_cursors();

	printf("\n2. Set what comes next, in all three with one ioctl\n");
	printf("    SET \"%s\" -> %ld\n", vector,
	       request(PIDNS_REQ_SET_LAST_PID_VEC, vector, strlen(vector), 0));
	show_cursors();

	printf("\n3. Fork in the innermost one\n");
	check_nspid(ioctl(ns[0], NS_GET_PID_FROM_PIDNS, fork_in(0)));

	printf("\n4. The next pid at each level, from a fork in each\n");
	/* A fork further out has taken one there each time. */
	for (i = LEVELS - 1; i >= 0; i--)
		compare(name[i], fork_in(i), wanted[i] + 1);

	kill(outermost, SIGKILL);
	printf("\n%s\n", differences ? "NOT as asked for" : "All as asked for");
	return !!differences;
}
