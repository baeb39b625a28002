#!/bin/sh
# build.sh DIR: puts everything a release needs into DIR, and checks that it can be read.
set -eu
rm -rf "$1"
mkdir -p "$1"
cp -R bin src migrations VERSION "$1/"
for file in "$1"/bin/* "$1"/src/* "$1"/migrations/*; do
    sh -n "$file"
done
echo "packed version $(cat "$1/VERSION")"
