#!/usr/bin/env bash
# Makes BuildKit's image from its Go modules and puts the seccomp profile of its
# builds on the node. For the cluster of up.sh, which runs without it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PACKAGES=(uidmap libcap2-bin)

# name, package, version with its variable
binaries() {
  cat <<-LIST
	rootlesskit github.com/rootless-containers/rootlesskit/v2/cmd/rootlesskit
	buildctl github.com/moby/buildkit/cmd/buildctl
	buildkitd github.com/moby/buildkit/cmd/buildkitd
	LIST
}

# Sets BUILDKIT; its go.mod names every version, so it and the compiler are the key.
build_buildkit() {
  local name package version flags
  BUILDKIT=$CACHE/buildkit-$({ go env GOVERSION && cat "$HERE"/buildkit/go.{mod,sum}; } | sha256sum | cut -c1-16)
  version=$(module_version buildkit github.com/moby/buildkit)
  flags="-s -w -X github.com/moby/buildkit/version.Version=$version"
  mkdir -p "$BUILDKIT"
  while read -r name package; do
    [ -x "$BUILDKIT/$name" ] && continue
    say "compiling $name; the first run takes some minutes"
    (cd "$HERE/buildkit" && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off nice -n 10 \
      go build -trimpath -buildvcs=false -tags netgo,osusergo,seccomp \
      -ldflags "$flags" -o "$BUILDKIT/.$name" "$package" </dev/null) ||
      die "compiling $name failed (see above)"
    mv "$BUILDKIT/.$name" "$BUILDKIT/$name"
  done < <(binaries)
}

install_missing() {
  local package
  for package in "${PACKAGES[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed && continue
    say "installing $package"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$package"; } \
      >"$LOGS/apt.log" 2>&1 </dev/null || die "apt-get could not install $package (log: $LOGS/apt.log)"
  done
}

require_root
locate_binaries || die "the cluster is down (up.sh starts it)"
command -v go >/dev/null || die "go is not installed (needed to compile BuildKit from its Go modules)"
install_missing
build_buildkit
# As the DaemonSet does it on other clusters' nodes.
install -D -m 644 "$HERE/../buildkit/seccomp.json" "$STATE/kubelet/seccomp/hookd/buildkit.json"
"$HERE/images.sh" buildkit "$BUILDKIT"
