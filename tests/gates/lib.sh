# shellcheck shell=bash
# What the gates share. A gate is a program `tests/gates/NAME [TREE]`: it looks at TREE (default:
# this checkout), prints each finding as PATH:LINE: what, and exits 1 if there are any. A gate
# that finds no file to look at fails: a gate that checks nothing is a defect.

GATES=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
TREE=$(cd "${1:-$GATES/../..}" && pwd)
export BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$GATES/../../$BUILD
cd "$TREE" || exit 2

# Relative paths of the tree's own files; the fixtures of the gates are no part of it.
files() {
    find . \( -path ./build -o -path ./.local -o -path ./.git -o -path ./tests/gates/fixtures \) \
        -prune -o -type f "$@" -print | sed 's|^\./||' | sort
}
c_files() { files -name '*.[ch]'; }

# none FILES: fails loudly where there is nothing to check.
need_files() {
    if [[ -z $1 ]]; then
        echo "$0: no file to check in $TREE"
        exit 1
    fi
}

# knows_err FILE: analysis.h may be read before it: it uses common/err.h and does not define it.
knows_err() {
    [[ -e common/err.h ]] || return 1
    case $1 in
    common/err.c | tests/modelsim/* | tests/mockkafka/*) return 1 ;;
    esac
}
