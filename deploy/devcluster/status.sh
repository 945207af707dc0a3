#!/usr/bin/env bash
# Which parts of the cluster run, and whether they are well; exit 0 if all are.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

locate_binaries || die "the cluster is down (up.sh starts it)"
result=0
report() {
  printf '%-24s %s\n' "$1" "$2"
  case $2 in well*) ;; *) result=1 ;; esac
}
for name in "${COMPONENTS[@]}"; do
  if ! pid=$(component_pid "$name"); then
    report "$name" stopped
  elif component_healthy "$name"; then
    report "$name" "well, pid $pid"
  else
    report "$name" "not healthy, pid $pid (log: $LOGS/$name.log)"
  fi
done
if probe "http://$REGISTRY/v2/"; then
  report registry "well, localhost:$REGISTRY_NODE_PORT on the node, $REGISTRY_IP:$REGISTRY_PORT in pods"
else
  report registry "does not answer on $REGISTRY"
fi
exit $result
