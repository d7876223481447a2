#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Runs a command with the programs of the Debian root, on this host's kernel, processes, network and files.
#
# A chroot, not a container: systemd-nspawn would give a monitor of the host its own processes and a read-only /sys,
# and an old Docker's seccomp profile breaks a new glibc. The mounts are made in a mount namespace of this command's
# own: none to undo or to make again after a boot, none upon another. It still receives what the host mounts later,
# such as a new network namespace in /run/netns.
set -eu

root=/var/lib/sockbpf/debian

if [ "$(id -u)" != 0 ]; then
	echo 'needs root: sudo sockbpf …' >&2
	exit 3
fi
if [ "${1-}" != --mounted ]; then
	exec unshare --mount --propagation slave "$0" --mounted "$@"
fi
shift

# A path means what it means on the host, but for what makes a distribution: that is the root's own.
show() {
	case $1 in
	*/) mkdir -p "$root$1" ;;
	*) [ -e "$root$1" ] || : >"$root$1" ;;
	esac
	mount --rbind "$1" "$root$1"
}
for path in /*/; do
	case $path in
	/bin/ | /etc/ | /lib*/ | /lost+found/ | /sbin/ | /usr/ | /var/) ;;
	*) show "$path" ;;
	esac
done
# The kernel's modules and headers, a configuration in its usual place, how names are resolved.
for path in /lib/modules/ /usr/src/ /etc/sockbpf/ /etc/hosts /etc/resolv.conf; do
	[ ! -e "$path" ] || show "$path"
done

# shellcheck disable=SC2016  # for the shell inside
exec chroot "$root" /bin/sh -c 'cd "$0" 2>/dev/null || cd /; exec "$@"' "$PWD" "$@"
