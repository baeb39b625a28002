#!/bin/sh
# Makes the images that tests run in, without a registry: a small Debian under the names that configs
# use, and a BusyBox image that has no bash. Does nothing where the images exist. Needs root.
set -eu

for tool in docker debootstrap; do
    command -v "$tool" >/dev/null || { echo "make-test-images: $tool is not installed" >&2; exit 1; }
done
docker info >/dev/null 2>&1 || { echo "make-test-images: no Docker engine answers" >&2; exit 1; }

have() { docker image inspect "$1" >/dev/null 2>&1; }

if have cimg/base:stable && have cimg/base:current && have debian:bookworm-slim && have busybox:latest; then
    exit 0
fi

# The mirror is the one that this machine's own package manager uses.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null |
    grep -m 1 -i debian | grep -v security || true)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

debootstrap --variant=minbase \
    --include=bash,git,openssh-client,tar,gzip,ca-certificates,busybox-static \
    bookworm "$work/root" ${mirror:+"$mirror"} >&2
rm -rf "$work/root/var/cache/apt/archives" "$work/root/var/lib/apt/lists"

mkdir -p "$work/box/bin" "$work/box/tmp" "$work/box/root" "$work/box/etc"
cp "$work/root/bin/busybox" "$work/box/bin/busybox"
for applet in sh cat echo env ls mkdir mv rm cp id sleep test true false sed grep head tail tar gzip wc; do
    ln -s busybox "$work/box/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$work/box/etc/passwd"
chmod 1777 "$work/box/tmp"
tar -C "$work/box" -c . | docker import --change 'CMD ["sh"]' - busybox:latest

tar -C "$work/root" -c . | docker import --change 'CMD ["bash"]' - debian:bookworm-slim

# The convenience images run steps as this user.
chroot "$work/root" groupadd -g 3434 circleci
chroot "$work/root" useradd -u 3434 -g 3434 -m -s /bin/bash circleci
tar -C "$work/root" -c . | docker import --change 'USER circleci' --change 'CMD ["bash"]' - cimg/base:stable
docker tag cimg/base:stable cimg/base:current
