# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are for those who source this
# Sourced by the scripts of this folder and of those below.
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/env.sh"

criu_version=4.2.1
criu_patches=$repo/patches/criu-$criu_version
# What the series is applied to: a checkout of one's own, CRIU_DIR, or what Debian
# has of this version.
criu_base=$cache/criu-$criu_version
criu_name=$criu_version
if [ -n "${CRIU_DIR:-}" ]; then
	criu_base=$(realpath "$CRIU_DIR")
	criu_name=own-$(printf %s "$criu_base" | sha256sum | cut -c 1-8)
fi
criu_tree=$cache/criu-tree-$criu_name     # clone with the series, as branch pidns
criu_before=$cache/criu-before-$criu_name # clone without the series
criu_tar=$criu_tree.tar                   # $criu_tree when it was built
runtimes_root=$cache/runtimes-forky       # a Debian with runc, crun and podman

# CRIU's own tests of all that depends on pids or on a namespace, as a pattern: those that
# its CI runs.
criu_tests='caps00|env00|fd_from_pidfd|file_locks.*|fown|helper_zombie_child|mntns_.*|netns_sub.*|pid00'
criu_tests+='|pidfd_(child|dead|diffdead|kill|self)|pthread0[01].*|pthread_timers.*|pty.*'
criu_tests+='|remap_dead_pid(_root)?|session0[01]|timens_for_kids|tty0[023]|zombie0[01]|zombie_leader'
# Those of the series.
nested_tests='pidns[0-9][0-9]'
our_tests="pidns_last_pid|$nested_tests"

# CRIU can dump no descriptor that is a file of the host, such as the one that the guest's
# console leaves open.
close_descriptors() {
	local descriptor
	for descriptor in "/proc/$$/fd"/*; do
		descriptor=${descriptor##*/}
		[ "$descriptor" -le 2 ] || [ "$descriptor" = 255 ] || exec {descriptor}>&-
	done
}
