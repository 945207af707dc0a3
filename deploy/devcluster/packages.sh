#!/usr/bin/env bash
# packages.sh <package>...: installs those of these Debian packages that the machine lacks, and starts no service
# of theirs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

require_root
[ $# -gt 0 ] || die "usage: packages.sh <package>..."
installed=$(dpkg-query -W -f '${Package}:${db:Status-Status}\n' "$@" 2>/dev/null || true)
missing=()
for package; do
  grep -qx "$package:installed" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
say "installing ${missing[*]}"
mkdir -p "$LOGS"
# Packages start their services; who needs them here starts its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi
{
  apt-get update -q && DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
} >"$LOGS/apt.log" 2>&1 </dev/null ||
  die "apt-get could not install ${missing[*]}: $(grep '^E:' "$LOGS/apt.log" | head -n 1) (log: $LOGS/apt.log)"
