#!/bin/sh
# smoke.sh PLACE PART: asks the current release of PLACE whether it works.
set -eu
release=$1/releases/$(cat "$1/current")
db=$1/db
case $2 in
app)
    answer=$(printf 'HEALTH\nPRICE bread 2\n' | "$release/bin/service" "$db")
    expected=$(printf 'OK %s\n6.40' "$(cat "$release/VERSION")")
    ;;
workers)
    answer=$("$release/bin/worker" "$db" | grep bread)
    expected='bread            3.20'
    ;;
esac
if [ "$answer" != "$expected" ]; then
    printf '%s: expected\n%s\ngot\n%s\n' "$1" "$expected" "$answer"
    exit 1
fi
echo "$1: $2 answers as it should"
