#!/usr/bin/env bash
# Starts a one-node Kubernetes on this machine, or completes one that lacks a
# part. Everything it needs is installed or compiled on the first run.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$HERE/machine.sh"
. "$HERE/config.sh"

PACKAGES=(etcd-server containernetworking-plugins docker-registry iptables conntrack busybox-static
  mmdebstrap gcc libc6-dev libseccomp-dev pkg-config iproute2 openssl curl ca-certificates)

running() {
  local name
  for name in "${COMPONENTS[@]}"; do component_pid "$name" >/dev/null || return 1; done
}

start_all() {
  local name
  for name in etcd containerd; do component_start "$name"; done
  for name in etcd containerd; do component_wait "$name"; done
  component_start kube-apiserver
  "$HERE/images.sh" import
  component_wait kube-apiserver
  for name in kube-controller-manager kube-scheduler kubelet kube-proxy; do component_start "$name"; done
  for name in kube-controller-manager kube-scheduler kubelet kube-proxy; do component_wait "$name"; done
}

start_registry() {
  mkdir -p "$STATE/registry" "$STATE/volumes"
  chown 65534:65534 "$STATE/registry"
  local until=$((SECONDS + 120))
  probe "http://$REGISTRY/v2/" && return
  until k get serviceaccount default -n default >/dev/null 2>&1; do
    [ $SECONDS -lt $until ] || die "the API server does not serve (log: $LOGS/kube-apiserver.log)"
    sleep 0.2
  done
  sed "s|/var/lib/hookd-devcluster/|$STATE/|" "$HERE/registry.yaml" | k apply -f - >/dev/null
  until probe "http://$REGISTRY/v2/"; do
    [ $SECONDS -lt $until ] || die "the registry does not answer on $REGISTRY; see: kubectl -n hookd-registry describe pods"
    sleep 0.2
  done
}

write_env() {
  cat >"$STATE/env" <<-ENV
	export KUBECONFIG='$STATE/kubeconfig'
	export HOOKD_DEVCLUSTER_DIR='$STATE'
	export HOOKD_REGISTRY_HOST=$REGISTRY_IP
	export HOOKD_REGISTRY_PORT=$REGISTRY_PORT
	export HOOKD_REGISTRY_NODE_PORT=$REGISTRY_NODE_PORT
	export HOOKD_IMAGE=localhost:$REGISTRY_NODE_PORT/hookd:dev
	export HOOKD_RUNNER_IMAGE=localhost:$REGISTRY_NODE_PORT/actions/actions-runner:latest
	export HOOKD_KANIKO_IMAGE=localhost:$REGISTRY_NODE_PORT/kaniko-project/executor:$KANIKO_VERSION
	export PATH='$BIN':"\$PATH"
	ENV
}

require_root
[ "$(uname -m)" = x86_64 ] || die "this cluster's images are made for x86_64 only; use a cluster of your own (see README.md)"
for tool in apt-get dpkg-query; do
  command -v $tool >/dev/null || die "$tool is missing: this cluster is made for Debian and its kin; use a cluster of your own (see README.md)"
done
command -v go >/dev/null || die "go is not installed (needed to compile Kubernetes from its Go modules)"
# It fetches Node.js for the runner image.
command -v npm >/dev/null || PACKAGES+=(npm)

[ -e "$MARK" ] || [ -z "$(find "$STATE" -mindepth 1 -maxdepth 1 ! -name logs 2>/dev/null)" ] ||
  die "$STATE has files that are not this cluster's; set HOOKD_DEVCLUSTER_DIR to a folder of its own"
mkdir -p "$LOGS"
exec 9>"$STATE/lock"
flock -w 600 9 || die "another up.sh or down.sh is still at work after 10 minutes"

# Processes, mounts and interfaces ended with the last boot: start afresh.
boot=$(cat /proc/sys/kernel/random/boot_id)
if [ -e "$MARK" ] && [ "$(cat "$MARK")" != "$boot" ]; then
  say "the machine has been started anew since; starting afresh"
  empty_state
fi
echo "$boot" >"$MARK"

"$HERE/packages.sh" "${PACKAGES[@]}"
build_binaries
echo "$BIN" >"$STATE/bin"
mkdir -p "$RUN" "$CONF"
if ! running; then
  for name in "${COMPONENTS[@]}"; do
    component_pid "$name" >/dev/null || check_ports "$name"
  done
  machine_up
  write_certificates
  write_containerd_config
  write_kubelet_config
  write_audit_policy
  say "starting (cgroup $(cgroup_version))"
  start_all
fi
start_registry
write_env
"$HERE/images.sh" base
k wait --for=condition=Ready "node/$NODE" --timeout=60s >/dev/null
cat <<TEXT
Kubernetes $(module_version . k8s.io/kubernetes) runs here, one node, cgroup $(cgroup_version); logs in $LOGS
  export KUBECONFIG=$STATE/kubeconfig     # or, all settings: . $STATE/env
TEXT
