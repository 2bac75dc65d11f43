#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs pidns_ioctl_32, and skips it where 32-bit programs cannot be run: without
# CONFIG_IA32_EMULATION (126, what the shell returns then) or without their
# libraries (127).

program=$(dirname "$0")/pidns_ioctl_32
if [ ! -x "$program" ]; then
	echo "$program is missing or not executable"
	exit 1
fi

"$program"
status=$?
case $status in
126 | 127)
	echo "1..0 # SKIP 32-bit programs cannot be run"
	exit 4
	;;
esac
exit $status
