#!/bin/sh
# Installs nginx and HAProxy from Debian, if one of them is missing.
set -eu

if [ -x /usr/sbin/nginx ] && [ -x /usr/sbin/haproxy ]; then
	exit
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo 'nginx or haproxy is missing, and only root can install them' >&2
	exit 1
fi
# They are not to start as services.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
fi
apt-get -q -o DPkg::Lock::Timeout=300 update
DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends nginx-light haproxy
