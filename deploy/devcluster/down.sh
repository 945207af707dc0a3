#!/usr/bin/env bash
# Ends the cluster and puts back what it changed on the machine; the logs stay.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$HERE/machine.sh"

require_root
[ -e "$MARK" ] || {
  say "nothing runs here"
  exit 0
}
exec 9>"$STATE/lock"
flock -w 600 9 || die "another up.sh or down.sh is still at work after 10 minutes"
mkdir -p "$RUN"

# All processes below one, itself first.
tree() {
  echo "$1"
  local children child
  children=$(cat "/proc/$1/task/"*/children 2>/dev/null) || true
  for child in $children; do tree "$child"; done
}

# Every process of a pod is below a shim of our containerd (a shim adopts what
# its containers leave), and a shim's command line names our socket.
stop_pods() {
  local exe pid pids
  for exe in /proc/[0-9]*/exe; do
    pid=${exe#/proc/}
    pid=${pid%/exe}
    [ "$(basename "$(readlink "$exe" 2>/dev/null | sed 's/ (deleted)$//')")" = containerd-shim-runc-v2 ] || continue
    tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$CONTAINERD_SOCK" || continue
    # The shim last, so that nothing of its is adopted by anyone else.
    pids=$(tree "$pid" | tail -n +2)
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
    kill -KILL "$pid" 2>/dev/null || true
  done
}

# The kubelet first, or it would start again what is ended here.
for name in kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver; do component_stop "$name" 2; done
component_stop containerd 2
stop_pods
component_stop etcd
machine_down
empty_state
rm -f "$STATE/lock"
say "down; the logs stay in $LOGS"
