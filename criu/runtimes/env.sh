# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are for those who source this
# Sourced by the scripts of this folder.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/env.sh"

runtimes_root=$cache/runtimes-forky
