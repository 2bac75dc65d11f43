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

# Settings of a clone in which the scripts commit.
own_settings() { # TREE
	git -C "$1" config user.name "$(git -C "$repo" config user.name || echo pidns-vec)"
	git -C "$1" config user.email "$(git -C "$repo" config user.email || echo pidns-vec@localhost)"
	git -C "$1" config commit.gpgSign false
	git -C "$1" config tag.gpgSign false
	git -C "$1" config core.hooksPath /dev/null
}

# The description of a branch: the cover letter in FOLDER, up to what git adds to it.
cover_letter() { # FOLDER
	sed -n '1s/^Subject: \[PATCH[^]]*\] //p; 2,/^Assisted-by: /p' "$1/0000-cover-letter.txt"
}

# Writes the branch that is checked out in TREE, since BASE, to FOLDER as patches. Its
# description is the cover letter.
write_patches() { # TREE BASE FOLDER [PREFIX]
	local branch new
	[ -n "$(git -C "$1" rev-list "$2..HEAD")" ] || die "no commits since $2 in $1"
	branch=$(git -C "$1" symbolic-ref -q --short HEAD) || die "no branch is checked out in $1"
	# cover_letter and patches/README.md read the cover letter up to this line.
	[[ $(git -C "$1" config "branch.$branch.description" | tail -n 1) = Assisted-by:* ]] ||
		die "the description of branch $branch in $1, the cover letter, does not end with Assisted-by: git branch --edit-description"
	new=$(mktemp -d)
	# The same on every machine: full hashes, no version of git, no settings.
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git -C "$1" -c format.signature= format-patch -q \
		--numbered --zero-commit --full-index --no-renames --stat=72 --subject-prefix="${4:-PATCH}" \
		--cover-letter --cover-from-description=subject -o "$new" "$2..HEAD"
	# Not *.patch: git am stops at a mail without a patch. The subject is one line.
	sed -n '/^Subject: /,$p' "$new/0000-cover-letter.patch" | sed '1{N;s/ *\n / /;P;D}' >"$new/0000-cover-letter.txt"
	rm "$new/0000-cover-letter.patch"
	mkdir -p "$3"
	rm -f "$3"/*.{txt,patch}
	mv "$new"/* "$3"
	rmdir "$new"
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
