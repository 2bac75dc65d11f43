#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the 32-bit builds of the pidns_ioctl_* tests. Skips them where the kernel
# lacks CONFIG_IA32_EMULATION (126 from the shell) or the machine lacks the
# libraries (127).

cd "$(dirname "$0")" || exit 1
failed=0
for test in errors permissions races vector; do
	program=./pidns_ioctl_${test}_32
	if [ ! -x "$program" ]; then
		echo "$program is missing or not executable"
		exit 1
	fi

	"$program"
	case $? in
	0) ;;
	126 | 127)
		echo "1..0 # SKIP 32-bit programs cannot be run"
		exit 4
		;;
	*) failed=1 ;;
	esac
done
exit $failed
