# What a person types. KDIR=/path/to/linux uses a kernel tree of your own as the base;
# CONTRIBUTING.md has all variables.

MAKEFLAGS += --no-print-directory
export KDIR KERNEL

.PHONY: help demo test test-debug check bench bench-time bench-record export clean

help:
	@echo 'make demo          install, build, boot: dump, kill and restore nested containers'
	@echo 'make test          run tests of every part'
	@echo 'make test-debug    try to break it: debug kernels, faults, random calls, races; hours'
	@echo 'make check         all that a maintainer or a build robot would check; hours, less with -j2'
	@echo 'make check-quick   what CI runs of that'
	@echo 'make check-NAME    one check; make check-list prints the names'
	@echo 'make check-record  write into check/last-run.md which checks have passed'
	@echo 'make bench         count the instructions of each way to choose pids, 12 minutes'
	@echo 'make bench-time    the same in nanoseconds, under KVM or on the running kernel'
	@echo 'make bench-record  put bench/instructions.csv into the tables and the plot'
	@echo 'make export FROM=TREE SINCE=REV'
	@echo '                   write patches/ and kernel-tree-overlay/ from a kernel branch'
	@echo 'make clean         delete what was downloaded and built'

demo:
	@scripts/demo

test:
	@scripts/test

test-debug:
	@stress/run

check:
	@$(MAKE) -C check all
check-%:
	@$(MAKE) -C check $*

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
