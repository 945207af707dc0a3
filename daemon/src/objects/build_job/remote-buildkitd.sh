# For a buildkitd elsewhere; buildkit.sh follows.
set -eu -o pipefail
# It takes contexts and caches with one name for the same, and compares files by size and time only.
name=$(cat /proc/sys/kernel/random/uuid)
set -- "$@" \
  --local="context-$name=$HOOKD_BUILD/archive/context" --opt="contextkey=context-$name" \
  --local="dockerfile-$name=$HOOKD_BUILD/archive/hookd" --opt="dockerfilekey=dockerfile-$name" \
  --opt="build-arg:BUILDKIT_CACHE_MOUNT_NS=$name"

buildkitd="--addr $HOOKD_BUILDKITD --tlsdir $HOOKD_BUILDKITD_TLS"
client() { buildctl $buildkitd "$@"; }

# It may be starting anew.
await_buildkitd() {
  for pause in 1 2 4 8 0; do
    problem=$(timeout 10 buildctl $buildkitd debug workers 2>&1 >/dev/null) && return
    sleep $pause
  done
  problem=$(echo "${problem#error: }" | tr '\n' ' ')
  echo "error: no answer of the buildkitd at $HOOKD_BUILDKITD: $problem" >&2
  exit 1
}

