#!/bin/sh
# deploy.sh DIST PLACE PART RELEASE: releases DIST as RELEASE into the directory PLACE.
#
# A place keeps its database, its releases and a file that names the current one. The switch is the
# last thing that happens, and it is one rename, so a release that fails changes nothing.
set -eu
dist=$1 place=$2 part=$3 release=$4
mkdir -p "$place/releases"
if [ -e "$place/releases/$release" ]; then
    echo "$place: there is a release $release already; give the new one another name" >&2
    exit 1
fi
cp -R "$dist" "$place/releases/$release"
echo "$part" >"$place/releases/$release/PART"
"$place/releases/$release/bin/migrate" "$place/db"
if [ -f "$place/current" ]; then
    cp "$place/current" "$place/previous"
fi
echo "$release" >"$place/current.new"
mv "$place/current.new" "$place/current"
echo "$place: $part now runs $release, version $(cat "$dist/VERSION")"
