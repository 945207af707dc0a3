# For a buildkitd elsewhere; buildkit.sh follows.
set -eu -o pipefail
name=$(cat /proc/sys/kernel/random/uuid)
set -- "$@" --opt="build-arg:BUILDKIT_CACHE_MOUNT_NS=$name" \
  --local=context="$HOOKD_BUILD/archive/context" \
  --local="dockerfile-$name=$HOOKD_BUILD/archive/hookd" --opt="dockerfilekey=dockerfile-$name"

more=
buildkitd="--addr $HOOKD_BUILDKITD --tlsdir $HOOKD_BUILDKITD_TLS"
client() { buildctl $buildkitd "$@"; }

# The contexts of all builds have one name. buildkitd asks only for files whose size or time
# differs from those of the last one, which may be another job's: no two have one time.
await_buildkitd() {
  local time=$((1000000000 + 0x${name%%-*} % 700000000))
  find "$HOOKD_BUILD/archive/context" ! -type l -exec touch -d "@$time" {} +
  # A layer that a cache is a part of is not even of two builds that run at the same time.
  if grep -qx no-cache= "$HOOKD_BUILD/archive/hookd/options"; then
    more=--opt=hostname=buildkitsandbox-$name
  fi
  # It may be starting anew.
  for pause in 1 2 4 8 0; do
    problem=$(timeout 10 buildctl $buildkitd debug workers 2>&1 >/dev/null) && return
    sleep $pause
  done
  problem=$(echo "${problem#error: }" | tr '\n' ' ')
  echo "error: no answer of the buildkitd at $HOOKD_BUILDKITD: $problem" >&2
  exit 1
}

