#!/usr/bin/env bash
# packages.sh <package>...: installs those of these Debian packages that the machine lacks. None of their services starts,
# now or at the next boot: where the machine has systemd, the units that the install enables are disabled again.
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

enabled_units() {
  command -v systemctl >/dev/null || return 0
  { systemctl list-unit-files --no-legend --no-pager --state=enabled 2>/dev/null || true; } | awk '{ print $1 }' | sort
}

# disable_new <units>: disables all that are enabled but these.
disable_new() {
  local new
  mapfile -t new < <(comm -13 <(echo "$1") <(enabled_units))
  [ ${#new[@]} -gt 0 ] || return 0
  systemctl disable --quiet "${new[@]}" >>"$LOGS/apt.log" 2>&1 </dev/null ||
    die "systemctl could not disable ${new[*]} (log: $LOGS/apt.log)"
}

# Packages start their services; who needs them here starts its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi
before=$(enabled_units)
failed=
{
  apt-get update -q && DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
} >"$LOGS/apt.log" 2>&1 </dev/null || failed=1
disable_new "$before"
[ -z "$failed" ] ||
  die "apt-get could not install ${missing[*]}: $(grep '^E:' "$LOGS/apt.log" | head -n 1) (log: $LOGS/apt.log)"
