#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Puts sockbpf on this host, an Ubuntu LTS as old as 16.04. `vagrant up` runs it; it may be run again, to bring
# the checkout up to date.
#
#   provision.sh [CHECKOUT]      default: /vagrant
#
# SOCKBPF_MIRROR is the address of a Debian archive, default: debootstrap's. The settings of pip (PIP_…) and of
# proxies (http_proxy …) are passed on.
set -euo pipefail

checkout=$(readlink -f "${1:-/vagrant}")
code=/opt/sockbpf
made=/var/lib/sockbpf
mirror=${SOCKBPF_MIRROR:-}
export DEBIAN_FRONTEND=noninteractive
export HOME=/root # sudo of 16.04 leaves the caller's, whose files would become root's

packages() {
	dpkg -s "$@" >/dev/null 2>&1 || {
		# At its first boot a cloud image brings its own packages up to date.
		while fuser -s /var/lib/apt/lists/lock /var/lib/dpkg/lock 2>/dev/null; do sleep 2; done
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends "$@"
	}
}

# Away from the synced folder: its .venv belongs to another machine.
copy_code() {
	packages rsync
	mkdir -p "$code"
	rsync -a --delete --exclude='*.egg-info' --exclude=/node_modules --exclude=/.{cache,git,vagrant,venv} "$checkout/" "$code/"
}

# The types of a kernel without BTF are in its headers.
kernel_types() {
	[ -e /sys/kernel/btf/vmlinux ] || packages "linux-headers-$(uname -r)"
}

# Debian 12, the oldest release whose BCC and Python run sockbpf, in a folder.
debian_root() {
	local fetched=$made/fetched root=$made/debian newer
	[ ! -e "$root" ] || return 0
	packages debootstrap gnupg
	rm -rf --one-file-system "$fetched" "$root.partial"
	mkdir -p "$fetched"
	# No host this old knows the keys of Debian 12, and gpgv of 16.04 reads only the binary form.
	gpg --dearmor <"$checkout/vagrant/debian-12-archive.asc" >"$fetched/keys.gpg"
	# Debian 12's /usr is more than the debootstrap of 16.04 can do. It can fetch and verify packages of a release
	# it has not heard of, by the script of sid: among them the debootstrap that can.
	debootstrap --keyring="$fetched/keys.gpg" --download-only --variant=minbase --include=debootstrap \
		bookworm "$fetched/packages" "$mirror" /usr/share/debootstrap/scripts/sid
	newer=$fetched/debootstrap
	dpkg-deb -x "$fetched"/packages/var/cache/apt/archives/debootstrap_*.deb "$newer"
	# In a mount namespace: when it is killed, its mounts go with it.
	DEBOOTSTRAP_DIR=$newer/usr/share/debootstrap unshare --mount "$newer/usr/sbin/debootstrap" \
		--keyring="$fetched/keys.gpg" --variant=minbase --include=ca-certificates,make \
		--cache-dir="$fetched/packages/var/cache/apt/archives" bookworm "$root.partial" "$mirror"
	mv "$root.partial" "$root"
	rm -rf --one-file-system "$fetched"
}

copy_code
kernel_types
if /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
	packages make
	make -C "$code" setup install
else
	debian_root
	"$code/vagrant/enter.sh" make -C "$code" setup
	for name in sockbpf check_sockbpf; do
		rm -f "/usr/local/bin/$name"
		cat >"/usr/local/bin/$name" <<-end
			#!/bin/sh
			exec $code/vagrant/enter.sh $code/.venv/bin/$name "\$@"
		end
		chmod +x "/usr/local/bin/$name"
	done
fi
sockbpf --version
