# shellcheck shell=bash
# shellcheck disable=SC2154 # log is that of env.sh
# Sourced after env.sh by everything that runs tests: one line for each, and a closing
# "N passed, N failed". This file alone says what counts as a pass:
#
# - check: a command passes if its status is 0.
# - suite: its closing line or report says how many tests passed and failed. A status other
#   than 0, no test at all, or a missing part is one more failure.
# - A skipped test has failed.
# - scripts/boot fails if the kernel complained, whatever the tests say.

passed=0
failed=0

count() { # NAME PASSED FAILED
	passed=$((passed + $2))
	failed=$((failed + $3))
	printf '%-52s %3d passed, %d failed\n' "$1" "$2" "$3"
}

# A command is one test. Its output is shown if it fails.
check() { # NAME COMMAND...
	local name=$1 output
	shift
	if output=$("$@" 2>&1); then
		count "$name" 1 0
	else
		printf '%s\n' "$output"
		count "$name" 0 1
	fi
}

# In a test: fails, and says what is wrong, if EXPECTED and ACTUAL differ.
expect() { # WHAT EXPECTED ACTUAL
	[ "$2" = "$3" ] || {
		echo "$1: expected $2, and it is $3"
		return 1
	}
}

# A command that closes with "N passed, N failed".
suite() { # NAME COMMAND...
	local name=$1 line ok=0 bad=0 output=$log/suite-$$ start=$SECONDS
	shift
	"$@" | tee "$output" || bad=1
	line=$(tail -n 1 "$output")
	rm "$output"
	if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
		ok=${BASH_REMATCH[1]}
		[ "${BASH_REMATCH[2]}" = 0 ] || bad=${BASH_REMATCH[2]}
	fi
	[ "$ok" != 0 ] || [ "$bad" != 0 ] || bad=1
	count "$name, $(((SECONDS - start + 59) / 60)) min" "$ok" "$bad"
}

# The reports of other runners, in LOG: each program's totals behind "# # Totals:", and the
# runner's "ok" for each PROGRAM, or it did not run to its end.
count_kselftest() { # LOG PROGRAM...
	local ok bad program
	read -r ok bad <<<"$(sed -n 's/^# # Totals: //p' "$1" | tr : ' ' |
		awk '{ ok += $2; bad += $4 + $6 + $8 + $10 + $12 } END { print ok + 0, bad + 0 }')"
	count "tests" "$ok" "$bad"
	for program in "${@:2}"; do
		grep -q "^ok [0-9]* selftests: pid_namespace: $program\$" "$1" ||
			count "$program: not ok" 0 1
	done
}

# "Testing complete. Ran 26 tests: passed: 26", and "[PASSED]" for each SUITE.
count_kunit() { # LOG SUITE...
	local ran ok off suite
	read -r ran ok <<<"$(sed -n 's/.*Ran \([0-9]*\) tests: passed: \([0-9]*\).*/\1 \2/p' "$1")"
	# The kernel's test of how KUnit skips a Rust test.
	off=$(grep -c 'SKIPPED\] rust_test_kunit_always_disabled_test$' "$1" || true)
	count "tests" "${ok:-0}" "$((${ran:-0} - ${ok:-0} - off))"
	for suite in "${@:2}"; do
		grep -qF "[PASSED] $suite" "$1" || count "$suite: not passed" 0 1
	done
}

# "test result: ok. 22 passed; 0 failed; 0 ignored; ...", one for each program.
count_cargo() { # LOG
	local ok bad
	read -r ok bad <<<"$(awk '/^test result: / { ok += $4; bad += $6 + $8 }
		END { print ok + 0, bad + !ok }' "$1")"
	count "tests" "$ok" "$bad"
}

close_with_totals() {
	[ "$passed" != 0 ] || [ "$failed" != 0 ] || count "no test ran" 0 1
	printf '\n%d passed, %d failed\n' "$passed" "$failed"
	[ "$failed" = 0 ]
}
