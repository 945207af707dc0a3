#!/usr/bin/env bash
# component.sh stop|start|restart|pid <component>: faults on purpose, for tests.
# stop is SIGKILL at once; start returns when the component is healthy.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage="usage: component.sh stop|start|restart|pid <one of: ${COMPONENTS[*]}>"
[ $# = 2 ] || die "$usage"
case " ${COMPONENTS[*]} " in *" $2 "*) ;; *) die "$usage" ;; esac
require_root
locate_binaries || die "the cluster is down (up.sh starts it)"
case $1 in
  pid) component_pid "$2" || die "$2 does not run" ;;
  stop) component_stop "$2" ;;
  start | restart)
    [ "$1" = start ] || component_stop "$2"
    component_start "$2"
    component_wait "$2"
    ;;
  *) die "$usage" ;;
esac
