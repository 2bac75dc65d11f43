# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are for those who source this
# Sourced by the other scripts: where things are, and which tools are used.

set -euo pipefail

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# All downloads and builds. Delete it at any time.
cache=${PIDNS_VEC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pidns-vec}

# The base of the series: your own kernel tree, KDIR, or Debian's source of this mainline
# version.
series_base=${KERNEL:-7.3}
[[ $series_base =~ ^[0-9]+\.[0-9]+(-rc[0-9]+)?$ ]] || die "KERNEL=$series_base is not like 7.3 or 7.3-rc7"
if [ -n "${KDIR:-}" ]; then
	base=$(realpath "$KDIR")
	name=own-$(printf %s "$base" | sha256sum | cut -c 1-8)
else
	base=$cache/linux-$series_base
	name=$series_base
fi
# The series: mainline's, or that of a stable kernel in a folder of its own.
patches=$repo/patches
stable=v$series_base.y
if [ -d "$patches/$stable" ]; then
	patches+=/$stable
else
	stable=
fi
series=("$patches"/*.patch)
series=("${series[@]:0:${UPTO:-${#series[@]}}}") # UPTO=8: no more than the first 8
tree=$cache/tree-$name                  # clone of the base with the series on top
# The guest's kernel. KIND names another one: with guest-kernel/KIND.config on top, built
# by clang; or without-lock, with the change in stress/; or without-ioctl. ARCH=arm64 is for another machine.
kind=${KIND:-}
arch=${ARCH:-x86_64}
build=$cache/build-$name${kind:+-$kind}
[ "$arch" = x86_64 ] || build+=-$arch
build_kunit=$cache/kunit-$name          # kernel for User Mode Linux
log=${LOG_DIR:-$cache/log} # two runs at once need one each

# What a kernel prints when it has found something wrong with itself.
complaints='Kernel panic|BUG:|WARNING:|Oops|INFO: |soft lockup|Call [Tt]race'

[[ $repo$cache$log != *[[:space:]]* ]] || die "this does not work in a path with blanks: $repo, $cache"
mkdir -p "$cache" "$log"

# All of Debian's toolchain: do not mix in a rustup toolchain that comes first in PATH.
bindgen=$cache/tools/bin/bindgen
[ -x "$bindgen" ] || bindgen=/usr/bin/bindgen
toolchain=(
	RUSTC=/usr/bin/rustc
	HOSTRUSTC=/usr/bin/rustc
	RUSTDOC=/usr/bin/rustdoc
	RUSTFMT=/usr/bin/rustfmt
	CLIPPY_DRIVER=/usr/bin/clippy-driver
	BINDGEN="$bindgen"
)
older=()
[[ ! $series_base =~ ^(6\.|7\.[0-2](-|$)) ]] || older=("$repo/guest-kernel/before-7.3.config")
configs=("$repo"/guest-kernel/{kernel,"$arch"}.config "${older[@]}")
[ "$arch" = x86_64 ] || toolchain+=(LLVM=-19)
case $kind in
'') ;;
without-lock) toolchain+=(CFLAGS_pid.o="-include $repo/stress/without-lock.h") ;;
without-ioctl) configs+=("$repo/guest-kernel/$kind.config") ;;
*)
	[ -e "$repo/guest-kernel/$kind.config" ] || die "KIND=$kind: guest-kernel/ has no $kind.config"
	configs+=("$repo/guest-kernel/$kind.config")
	toolchain+=(LLVM=-19) # gcc has neither KASAN with Rust nor kCFI
	;;
esac
if [ -d /usr/lib/llvm-19/lib ]; then
	export LIBCLANG_PATH=/usr/lib/llvm-19/lib
fi
export PATH=$cache/venv/bin:$PATH

# cargo for nspid/, of the same toolchain.
nspid_cargo() {
	(cd "$repo/nspid" && PATH=/usr/bin:$PATH CARGO_TARGET_DIR=$cache/nspid cargo "$@")
}

# Dies if somebody is at work in the kernel tree DIR. Fails if DIR has commits other than
# those of the series that was last applied.
keep_work() { # DIR
	local open
	# Before the first apply is complete, and during one, nobody else works there.
	if [ -e "$1/.git/pidns-vec-busy" ] ||
		! git -C "$1" rev-parse -q --verify pidns-vec-applied >/dev/null; then
		return
	fi
	for open in rebase-apply rebase-merge MERGE_HEAD CHERRY_PICK_HEAD; do
		[ ! -e "$1/.git/$open" ] || die "git is in the middle of something in $1: end it first"
	done
	[ -z "$(git -C "$1" status --porcelain -uno)" ] ||
		die "$1 has changes that are not committed: commit or undo them"
	[ "$(git -C "$1" rev-parse HEAD)" = "$(git -C "$1" rev-parse pidns-vec-applied)" ]
}

# Run a long command with its output in a file, and show the end of that file
# if the command fails.
logged() {
	local file=$log/$1.log
	shift
	"$@" >"$file" 2>&1 || {
		tail -n 40 "$file" >&2
		die "failed: $* (all of its output: $file)"
	}
}
