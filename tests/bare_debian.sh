#!/usr/bin/env bash
# A stranger's start: on a bare Debian 12 (debootstrap, nothing else installed), from a fresh clone,
#   as a user without sudo   ./dev test   names the missing packages in one line and fails
#   as a user with sudo      ./dev run    installs, builds, serves, and stops cleanly on Ctrl-C
#   as root                  ./dev test   passes everything
# Needs root, debootstrap and git; takes about ten minutes. Everything happens in a temporary folder and in namespaces
# of its own, so nothing stays mounted or running whatever happens.
#
# usage: tests/bare_debian.sh [--keep]        DEBIAN_MIRROR names another mirror
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ "$(id -u)" = 0 ] || { echo "bare_debian.sh needs root" >&2; exit 1; }

if [ "${1:-}" = --inside ]; then # in our own mount and process namespaces: enter the root and run the words given
    root=$2
    shift 2
    mount -t proc proc "$root/proc"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    mount -t tmpfs tmpfs "$root/dev/shm"
    exec chroot "$root" env -i HOME=/root TERM="${TERM:-dumb}" PATH=/usr/sbin:/usr/bin:/sbin:/bin CI="${CI:-}" \
        NODE_EXTRA_CA_CERTS=/etc/this-machines-certificates.crt "$@"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/cohort-bare.XXXXXX")
[ "${1:-}" = --keep ] || trap 'rm -rf "$work"' EXIT

# in ROOT COMMAND …: runs it there; every process and mount of it is gone afterwards
in_root() { unshare --mount --pid --fork --kill-child "${BASH_SOURCE[0]}" --inside "$@" </dev/null; }

say() { printf '== %s\n' "$*"; }
fail() {
    printf 'bare Debian: %s\n' "$*" >&2
    exit 1
}

say "debootstrap"
debootstrap --variant=minbase bookworm "$work/base" ${DEBIAN_MIRROR:-} >"$work/debootstrap.txt" 2>&1 ||
    { tail -n 3 "$work/debootstrap.txt" >&2 && fail "debootstrap failed"; }
# This machine's way to the network, where it has one of its own.
cp /etc/resolv.conf /etc/hosts "$work/base/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$work/base/etc/this-machines-certificates.crt"
echo "127.0.0.1 $(hostname)" >>"$work/base/etc/hosts"
grep -lsE '^[^/#]*Acquire::' /etc/apt/apt.conf.d/* | while read -r file; do
    cp "$file" "$work/base/etc/apt/apt.conf.d/"
done
git clone --quiet "file://$project" "$work/base/home/cohort"
in_root "$work/base" useradd --create-home stranger
in_root "$work/base" chown -R stranger /home/cohort
cp -a "$work/base" "$work/sudo"

say "as a user without sudo"
set +e
words=$(in_root "$work/base" su stranger -c 'cd /home/cohort && ./dev test' 2>&1)
status=$?
set -e
[ $status != 0 ] || fail "./dev test succeeded without its packages"
[ "$(printf '%s\n' "$words" | wc -l)" = 1 ] || fail "more than one line: $words"
case "$words" in *"apt-get install gcc"*) printf '%s\n' "$words" ;; *) fail "does not name the packages: $words" ;; esac

say "as a user with sudo: ./dev run"
in_root "$work/sudo" apt-get -qq update
in_root "$work/sudo" apt-get -qq install -y --no-install-recommends sudo >/dev/null 2>&1
echo 'stranger ALL=(ALL) NOPASSWD: ALL' >"$work/sudo/etc/sudoers.d/stranger"
cat >"$work/sudo/run.sh" <<'END'
set -m # a process group of its own, as at a terminal
cd /home/cohort
./dev run --port 16379 >/tmp/run.txt &
running=$!
for try in $(seq 600); do
    sleep 1
    kill -0 $running 2>/dev/null || exit 1
    grep -q 'stop it:' /tmp/run.txt && break
done
exec 3<>/dev/tcp/127.0.0.1/16379
printf 'PING\r\nSET greeting hello\r\nGET greeting\r\nQUIT\r\n' >&3
timeout 10 cat <&3 | tr -d '\r' | tr '\n' ' ' | tee /tmp/replies
echo
grep -q '^+PONG +OK $5 hello +OK $' /tmp/replies || exit 1
kill -INT -- -$running # Ctrl-C goes to the whole group
wait $running
END
in_root "$work/sudo" su stranger -c 'bash /run.sh' || fail "./dev run failed"
rm -rf "$work/sudo"

say "as root: ./dev test"
in_root "$work/base" chown -R root /home/cohort
in_root "$work/base" /home/cohort/dev test
