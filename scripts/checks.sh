# shellcheck shell=bash
# shellcheck disable=SC2154 # log is that of env.sh
# Sourced after env.sh by what runs tests: one line for each, and a closing
# "N passed, N failed".

passed=0
failed=0

count() { # NAME PASSED FAILED
	passed=$((passed + $2))
	failed=$((failed + $3))
	printf '%-52s %3d passed, %d failed\n' "$1" "$2" "$3"
}

# One test: a command, whose output is shown if it fails.
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

# Many tests: a command that closes with "N passed, N failed". It can fail after
# that: scripts/boot does if the kernel has complained.
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

close_with_totals() {
	printf '\n%d passed, %d failed\n' "$passed" "$failed"
	[ "$failed" = 0 ]
}
