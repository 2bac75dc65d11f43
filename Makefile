# What a person types. Each line is one script in scripts/, which says what it
# does. KDIR=/path/to/linux uses a kernel tree of your own as the base.

SHELL := /bin/bash
export KDIR KERNEL

.PHONY: help demo test check test-debug bench bench-time bench-record export clean

help:
	@echo 'make demo    install, build, boot: dump, kill and restore nested containers'
	@echo 'make test    run all tests'
	@echo 'make check   all that a maintainer or a build robot would check; hours'
	@echo 'make test-debug'
	@echo '             try to break it: debug kernels, faults, random calls, races; hours'
	@echo 'make bench   count the instructions of each way to choose pids, 12 minutes'
	@echo 'make bench-time'
	@echo '             the same in nanoseconds, under KVM or on the running kernel'
	@echo 'make bench-record'
	@echo '             put bench/instructions.csv into README.md and the plot'
	@echo 'make export FROM=TREE SINCE=REV'
	@echo '             write patches/ and kernel-tree-overlay/ from a kernel branch'
	@echo 'make clean   delete what was downloaded and built'

demo:
	@scripts/demo

test:
	@scripts/test

check:
	@check/run

test-debug:
	@stress/run

bench:
	@bench/run instructions

bench-time:
	@bench/run time

bench-record:
	@bench/record

export:
	@scripts/export-series "$(FROM)" "$(SINCE)"

clean:
	@scripts/clean
