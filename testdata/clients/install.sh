#!/bin/sh
# Installs the clients and the proxies: packages of Debian, packages of npm, and what is
# built from the programs of this folder, into .built.
set -eu
cd "$(dirname "$0")"

packages="curl wget python3 python3-requests python3-httpx python3-aiohttp default-jdk-headless libhttpclient-java libhttpmime-java
libhttpclient5-java libcommons-logging-java libslf4j-java libokhttp-java mono-mcs mono-runtime libmono-system-net-http4.0-cil
php-cli php-curl libwww-perl liblwp-protocol-https-perl ruby cargo librust-reqwest-dev librust-serde-json-dev librust-tokio-dev
nginx-light haproxy"

# NodeSource's nodejs has npm in it, Debian's does not.
command -v node >/dev/null || packages="$packages nodejs"
command -v npm >/dev/null || packages="$packages npm"

missing=
for package in $packages; do
	case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
	*" installed") ;;
	*) missing="$missing $package" ;;
	esac
done
if [ -n "$missing" ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "These packages of Debian are missing:$missing" >&2
		exit 1
	fi
	# The proxies that the packages bring are not to start as services.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		trap 'rm -f $policy' EXIT
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod +x $policy
	fi
	apt-get update
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
fi

mkdir -p .built
(cd programs/node && npm ci --no-audit --no-fund)
jars=/usr/share/java
javac -d .built -cp "$jars/httpclient.jar:$jars/httpcore.jar:$jars/httpmime.jar:$jars/httpclient5.jar:$jars/httpcore5.jar:$jars/okhttp.jar:$jars/okio.jar" programs/Client.java
mcs -out:.built/client.exe -r:System.Net.Http programs/client.cs
(cd programs/rust && /usr/bin/cargo build --offline --target-dir ../../.built/rust)
