#!/usr/bin/env bash
# demo.sh            builds and runs the actions greet and fail as a runner would
# demo.sh <folder>   builds and runs the container action in <folder>
#
# HOOKD_BIN_DIR      folder of the static hookd, hook, stepd and fake-runner
# INPUTS             inputs of the action in <folder>: "name=value name=value"
# PLACEMENT          runner-pod: jobs and builds run in the runner pod, the default;
#                    own-pod: in pods of their own, with a claim and a registry
# KUBECONFIG         a cluster of your own, see ../README.md; without it one is
#                    started here (../devcluster)
#
# Ends with 0 only if all came out as expected. One at a time per cluster.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DEPLOY=$(dirname "$HERE")
NAMESPACE=hookd-demo
RUNNER_NAME=demo-runner
CLAIM_NAME=demo-work
WORKSPACE=/home/runner/_work/demo/demo
FAKE_RUNNER=/tmp/fake-runner

say() { printf 'demo: %s\n' "$*"; }
die() {
  printf 'demo: %s\n' "$*" >&2
  exit 1
}
k() { kubectl -n "$NAMESPACE" "$@"; }
in_runner() { k exec "$RUNNER_NAME" -c runner -- "$@" </dev/null; }

# ---- what runs where --------------------------------------------------------

check_binaries() {
  local name
  [ -n "${HOOKD_BIN_DIR:-}" ] || die "HOOKD_BIN_DIR is not set: the folder of the static binaries (make demo builds them and sets it)."
  for name in "$@"; do
    [ -f "$HOOKD_BIN_DIR/$name" ] || die "there is no $name in HOOKD_BIN_DIR ($HOOKD_BIN_DIR)."
  done
}

use_devcluster() {
  check_binaries hookd hook stepd fake-runner
  say "using a cluster on this machine (deploy/devcluster); set KUBECONFIG to use your own"
  "$DEPLOY/devcluster/up.sh" </dev/null
  # shellcheck disable=SC1091
  . "$STATE/env"
  say "making the image of hookd"
  # By digest: a tag that moves is not pulled again.
  HOOKD_IMAGE=$("$DEPLOY/devcluster/images.sh" hookd "$HOOKD_BIN_DIR" </dev/null | awk '$1 == "hookd:dev" { print $2 }')
  [ -n "$HOOKD_IMAGE" ] || die "devcluster/images.sh named no image of hookd."
  # Nothing outside is reached from here: Docker Hub's images are in there too.
  : "${HOOKD_REGISTRY_MAP=index.docker.io=$HOOKD_REGISTRY_HOST:$HOOKD_REGISTRY_PORT}"
}

need() {
  [ -n "${!1:-}" ] && return
  printf 'demo: %s is not set: %s.\n' "$1" "$2" >&2
  return 1
}

use_own_cluster() {
  local missing=
  need HOOKD_IMAGE "the image made from deploy/Containerfile, where your nodes can pull it" || missing=yes
  need HOOKD_RUNNER_IMAGE "the runner's image, for instance ghcr.io/actions/actions-runner:latest" || missing=yes
  need HOOKD_KANIKO_IMAGE "the image of the Kaniko executor" || missing=yes
  if [ "$PLACEMENT" = own-pod ]; then
    need HOOKD_REGISTRY_HOST "the registry's name or address for pods, for instance registry.hookd-registry.svc with deploy/registry.yaml" || missing=yes
    need HOOKD_REGISTRY_PORT "the registry's port for pods, for instance 5000" || missing=yes
    need HOOKD_REGISTRY_NODE_PORT "the node port of the registry, for instance 30500" || missing=yes
  fi
  [ -z "$missing" ] || exit 1
  command -v kubectl >/dev/null || die "kubectl is not installed."
  check_binaries fake-runner
}

# ---- the runner ---------------------------------------------------------------

# fill <file>: its text with each ${NAME} replaced by the setting
fill() {
  local setting value expressions=()
  for setting in \
    "NAMESPACE=$NAMESPACE" \
    "RUNNER_NAME=$RUNNER_NAME" \
    "CLAIM_NAME=$CLAIM_NAME" \
    "VOLUME_PATH=$STATE/volumes/$NAMESPACE" \
    "HOOKD_IMAGE=$HOOKD_IMAGE" \
    "RUNNER_IMAGE=$HOOKD_RUNNER_IMAGE" \
    "KANIKO_IMAGE=$HOOKD_KANIKO_IMAGE" \
    "REGISTRY_HOST=${HOOKD_REGISTRY_HOST:-}" \
    "REGISTRY_PORT=${HOOKD_REGISTRY_PORT:-}" \
    "REGISTRY_NODE_PORT=${HOOKD_REGISTRY_NODE_PORT:-}" \
    "REGISTRY_PULL_HOST=${HOOKD_REGISTRY_PULL_HOST:-}" \
    "REGISTRY_MAP=${HOOKD_REGISTRY_MAP:-}" \
    "LOCAL_NAMES=" \
    "INSECURE_REGISTRIES=${HOOKD_INSECURE_REGISTRIES-${HOOKD_REGISTRY_HOST:+$HOOKD_REGISTRY_HOST:${HOOKD_REGISTRY_PORT:-}}}"; do
    value=$(printf %s "${setting#*=}" | sed 's/[&|\\]/\\&/g')
    expressions+=(-e "s|\${${setting%%=*}}|$value|g")
  done
  # Empty in the file: most registries of a demo have no password.
  value=$(printf %s "${HOOKD_REGISTRY_SECRET:-}" | sed 's/[&|\\]/\\&/g')
  expressions+=(-e "/_REGISTRY_SECRET\$/{n;s|\"\"|\"$value\"|;}")
  sed "${expressions[@]}" "$1"
}

# A new and empty work volume for each run, as ARC has it.
make_volume() {
  local folder=$STATE/volumes/$NAMESPACE
  k delete pvc "$CLAIM_NAME" --ignore-not-found --timeout=60s >/dev/null
  if [ -n "$DEVCLUSTER" ]; then
    kubectl delete pv "$NAMESPACE-work" --ignore-not-found --timeout=60s >/dev/null
    rm -rf --one-file-system "$folder"
    mkdir -p "$folder"
    chown 1001:1001 "$folder"
    fill "$HERE/devcluster-volume.yaml" | kubectl create -f - >/dev/null
  fi
  fill "$DEPLOY/work-claim.yaml" | k create -f - >/dev/null
}

start_runner() {
  say "starting the runner pod $RUNNER_NAME in the namespace $NAMESPACE; placement of jobs: $PLACEMENT"
  sed "s/name: arc-runners/name: $NAMESPACE/" "$DEPLOY/namespace.yaml" | kubectl apply -f - >/dev/null
  # What an earlier demo could not delete.
  k delete pod "$RUNNER_NAME" --ignore-not-found --timeout=60s >/dev/null
  if [ "$PLACEMENT" = own-pod ]; then
    k apply -f "$DEPLOY/rbac-own-pod.yaml" >/dev/null
    make_volume
    STARTED=yes
    fill "$DEPLOY/runner-own-pod.yaml" | k create -f - >/dev/null
  else
    k apply -f "$DEPLOY/rbac.yaml" >/dev/null
    STARTED=yes
    fill "$DEPLOY/runner-pod.yaml" | k create -f - >/dev/null
  fi
  await_runner
}

await_runner() {
  local waiting until=$((SECONDS + 180))
  until k wait --for=condition=Ready "pod/$RUNNER_NAME" --timeout=5s >/dev/null 2>&1; do
    waiting=$(k get pod "$RUNNER_NAME" -o 'jsonpath={.status..state.waiting.reason}')
    case $waiting in
      *ImagePullBackOff* | *InvalidImageName* | *CreateContainerConfigError*) until=0 ;;
    esac
    [ $SECONDS -lt $until ] && continue
    k describe pod "$RUNNER_NAME" | sed -n '/^Status:/p; /^Events:/,$p' >&2
    die "the runner pod did not become ready."
  done
}

# copy_action <folder> <name>
copy_action() {
  COPYFILE_DISABLE=1 tar -C "$1" -cf - . |
    k exec -i "$RUNNER_NAME" -c runner -- sh -c "mkdir -p /tmp/actions/$2 && tar -C /tmp/actions/$2 -xmf -"
}

copy_fake_runner() {
  k exec -i "$RUNNER_NAME" -c runner -- sh -c "cat > $FAKE_RUNNER && chmod 755 $FAKE_RUNNER" <"$HOOKD_BIN_DIR/fake-runner"
}

# run_action <name> [<arguments of fake-runner>]: sets CODE; keeps the output in $LOG
run_action() {
  local name=$1
  shift
  say "running the action $name, as the runner does: bash -e /run/hookd/hook.sh"
  CODE=0
  in_runner $FAKE_RUNNER run --action "/tmp/actions/$name" --uses "demo/$name@v1" "$@" 2>&1 | tee "$LOG" || CODE=${PIPESTATUS[0]}
}

# However the demo ends: what hookd said last, and no runner pod.
on_exit() {
  rm -f "$LOG"
  [ -n "$STARTED" ] || return 0
  k logs "$RUNNER_NAME" -c hookd --tail=20 2>/dev/null | sed 's/^/hookd: /' >&2 || true
  k delete "pod/$RUNNER_NAME" "pvc/$CLAIM_NAME" --ignore-not-found --wait=false >/dev/null 2>&1 || true
}

stop_runner() {
  local left until=$((SECONDS + 60))
  say "deleting the runner pod"
  k delete pod "$RUNNER_NAME" --timeout=60s >/dev/null
  STARTED=
  while left=$(k get pods,jobs,secrets -l "runner-pod=$RUNNER_NAME" -o name) && [ -n "$left" ]; do
    [ $SECONDS -lt $until ] || die "left behind 60 s after the runner's end: $(echo "$left" | tr '\n' ' ')"
    sleep 0.5
  done
  k delete pvc "$CLAIM_NAME" --ignore-not-found --wait=false >/dev/null
}

# ---- what is expected -----------------------------------------------------------

FAULTS=0
expect() {
  [ "$2" = "$3" ] && return
  FAULTS=$((FAULTS + 1))
  printf 'demo: NOT AS EXPECTED: %s is "%s", not "%s"\n' "$1" "$3" "$2" >&2
}

expect_line() {
  grep -Fxq -- "$1" "$LOG" && return
  FAULTS=$((FAULTS + 1))
  printf 'demo: NOT AS EXPECTED: the output has no line "%s"\n' "$1" >&2
}

run_samples() {
  local line greet fail file
  copy_action "$HERE/greet" greet
  copy_action "$HERE/fail" fail
  run_action greet --new-job
  greet=$CODE
  expect "the exit code of greet" 0 "$greet"
  # shellcheck disable=SC2016
  for line in 'built from debian bookworm' '[first argument of the image]' '[hello world]' '[say "hi"]' \
    '[$$ and $(HOME)]' "[it's \${HOME}, not *]" '[]' 'INPUT_WHO=world' 'INPUT_GREETING-STYLE=warm & plain' \
    'runner: output greeting="hello world!"'; do
    expect_line "$line"
  done
  file=$(in_runner cat "$WORKSPACE/greeting.txt") || file=
  expect "greeting.txt in the workspace" 'hello world!' "$file"

  run_action fail
  fail=$CODE
  expect "the exit code of fail" 7 "$fail"
  expect_line 'this step fails on purpose'
  stop_runner
  [ $FAULTS = 0 ] || die "$FAULTS of the demo's expectations did not hold."
  say "all as expected, $SECONDS s in all"
  cat <<TEXT
  greet         exit code $greet
  fail          exit code $fail, the process's own
  greeting.txt  $file (written by greet, read in the runner's workspace)
  left behind   nothing labelled runner-pod=$RUNNER_NAME
TEXT
}

# run_own <folder>
run_own() {
  local name input inputs=()
  # Without stdin: an input's value has no space here.
  for input in ${INPUTS:-}; do inputs+=(--input "$input"); done
  name=$(basename "$1" | tr -c 'A-Za-z0-9._\n-' -)
  copy_action "$1" "$name"
  run_action "$name" --new-job ${inputs[@]+"${inputs[@]}"}
  stop_runner
  say "the action $name ended with exit code $CODE, $SECONDS s in all"
  [ "$CODE" = 0 ]
}

[ $# -le 1 ] || die "usage: demo.sh [<folder of an action>]"
PLACEMENT=${PLACEMENT:-runner-pod}
case $PLACEMENT in runner-pod | own-pod) ;; *) die "PLACEMENT is \"$PLACEMENT\", and must be runner-pod or own-pod." ;; esac
ACTION=
if [ -n "${1:-}" ]; then
  ACTION=$(cd "$1" 2>/dev/null && pwd) || die "$1 is no folder."
  [ -f "$ACTION/action.yml" ] || [ -f "$ACTION/action.yaml" ] || [ -f "$ACTION/Dockerfile" ] ||
    die "there is neither an action.yml nor a Dockerfile in $1."
fi
STATE=${HOOKD_DEVCLUSTER_DIR:-/var/lib/hookd-devcluster}
DEVCLUSTER=
[ "${KUBECONFIG:-$STATE/kubeconfig}" != "$STATE/kubeconfig" ] || DEVCLUSTER=yes
STARTED=
LOG=$(mktemp)
trap on_exit EXIT
if [ -n "$DEVCLUSTER" ]; then use_devcluster; else use_own_cluster; fi
start_runner
copy_fake_runner
if [ -n "$ACTION" ]; then run_own "$ACTION"; else run_samples; fi
