# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are for those who source this
# Sourced by what makes containers. Each is in the current folder, $pid is its init.

# The root file system of a container: what it runs, and the fifos through which it
# is asked and answers.
make_rootfs() { # DIR
	mkdir -p "$1"/{bin,dev,old,proc,sys}
	cp /bin/busybox "$1/bin"
	chroot "$1" /bin/busybox --install -s /bin
	cp "$(dirname "${BASH_SOURCE[0]}")/counter" "$1"
	mkfifo "$1/in" "$1/out"
	mount --bind "$1" "$1" # criu --root wants a mount
}
# None of its descriptors is a file of the host.
counter='sh /counter 0<>/in 1<>/out 2>/errors'

# Asks the container, and prints the answer.
ask() { # QUESTION
	echo "$1" >"/proc/$pid/root/in"
	head -n 1 <"/proc/$pid/root/out"
}

# Starts a container with the root file system DIR, by a COMMAND that makes or enters
# namespaces and gets a command of its own to run.
start() { # DIR COMMAND...
	make_rootfs "$1"
	"${@:2}" sh -ec "
		cd $1
		busybox pivot_root . old
		umount -l old
		mount -t proc proc /proc
		exec setsid $counter" &
	is_ready "$1"
	pid=$(pgrep -P $!) || pid=$!
}

start_unshare() { start root unshare --mount --pid --fork --propagation private; }

start_bwrap() {
	make_rootfs root
	bwrap --bind root / --proc /proc --unshare-pid --as-pid-1 sh -c "exec setsid $counter" &
	is_ready root
	pid=$(pgrep -P $!)
}

# Blocks until the container has opened its fifo.
is_ready() { # ROOTFS
	: >"$1/in"
}

start_oci() { # RUNTIME NAMESPACE...
	runtime=$1
	make_rootfs rootfs
	"$runtime" spec
	jq --arg run "exec $counter" '
		.process.terminal = false | .process.args = ["sh", "-c", $run] |
		.root.readonly = false | del(.linux.seccomp) |
		.linux.namespaces = [$ARGS.positional[] | {type: .}]
	' config.json --args "${@:2}" >config.new
	mv config.new config.json
	name=$runtime-$$
	"$runtime" run --detach "$name" </dev/null >/dev/null 2>&1
	is_ready rootfs
	pid=$("$runtime" state "$name" | jq .pid)
}
