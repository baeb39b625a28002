#!/bin/sh
# run.sh SUITE: runs the tests of one suite, `unit` or `api`, and fails if one of them did.
set -eu
cd "$(dirname "$0")/.."
rm -rf tmp
mkdir tmp
: >tmp/service.log
failures=0
count=0

# check WHAT EXPECTED GOT
check() {
    count=$((count + 1))
    if [ "$2" = "$3" ]; then
        echo "ok $count - $1"
    else
        failures=$((failures + 1))
        printf 'not ok %d - %s\n  expected: %s\n  got:      %s\n' "$count" "$1" "$2" "$3"
    fi
}

. "./test/$1.sh"

echo "$1: $count tests, $failures failed"
[ "$failures" -eq 0 ]
