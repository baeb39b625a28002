#!/bin/sh
# rollback.sh PLACE RELEASE: makes the release before RELEASE current again, if RELEASE ever became it.
set -eu
if [ "$(cat "$1/current" 2>/dev/null)" != "$2" ]; then
    echo "$1: $2 never ran; nothing to take back"
elif [ -f "$1/previous" ]; then
    mv "$1/previous" "$1/current"
    echo "$1: back to $(cat "$1/current")"
else
    rm "$1/current"
    echo "$1: there was no release before $2; nothing runs now"
fi
