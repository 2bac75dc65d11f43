#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Nested containers, made by unshare and bubblewrap, are dumped, killed and restored
# with the same pids at every level. For a machine of its own: needs root, and nspid
# in PATH. Fails on any difference.
set -eu

dir=$(mktemp -d)
mkfifo "$dir/ready"

# What comes and goes leaves gaps between the pids.
cat >"$dir/innermost" <<END
sleep inf & /bin/true; /bin/true; sleep inf &
echo >$dir/ready
wait
END
cat >"$dir/middle" <<END
/bin/true; /bin/true; sleep inf & /bin/true; sleep inf &
unshare --pid --fork --mount-proc sh $dir/innermost &
wait
END
cat >"$dir/outermost" <<END
sleep inf & /bin/true; sleep inf & /bin/true; /bin/true
bwrap --dev-bind / / --unshare-pid --proc /proc sh $dir/middle &
wait
END

printf '\n1. Containers in containers: unshare, bubblewrap in it, unshare in that\n'
unshare --pid --fork --kill-child --mount-proc sh "$dir/outermost" &
unshare=$!
read -r _ <"$dir/ready"
root=$(pgrep -P $unshare)
nspid tree -t "$root"

printf '\n2. One of the innermost tasks, at each level\n'
nspid show -t "$(pgrep -n -x sleep)"

printf '\n3. Dump it, and kill it\n'
nspid dump -t "$root" >"$dir/dump"
nspid verify --fork -t "$root" "$dir/dump"
kill -9 $unshare
wait $unshare || true
tail --pid="$root" -f /dev/null
echo "all gone, and with them the cursors"

printf '\n4. Restore it: each task a stand-in with the same pids inside\n'
restored=$(nspid restore "$dir/dump")
nspid tree -t "$restored"

printf '\n5. Is it the same, down to the next pid at every level?\n'
nspid verify --fork -t "$restored" "$dir/dump"
kill -9 "$restored"
