# Run by rootlesskit, as root of a user namespace: it starts buildkitd; buildkit.sh follows.
set -eu -o pipefail
# rootlesskit says much about a program that fails.
trap 'echo $? >"$HOOKD_BUILD/code"; exit 0' EXIT
address=unix://$HOOKD_BUILD/buildkitd.sock

# A RUN has no PID namespace of its own: none may mount /proc in a pod. What is kept goes with the pod; garbage
# collection would begin a second after the start, and a RUN whose cache mount it measures gets an empty one.
buildkitd --addr "$address" --root "$HOOKD_BUILD/state" --oci-worker-no-process-sandbox --oci-worker-gc=false \
  </dev/null >"$HOOKD_BUILD/buildkitd.log" 2>&1 &
buildkitd=$!

# As docker does, it ends what a RUN leaves running, for which BuildKit would wait: the
# children of a runc whose container has stopped, and orphans of those that have ended.
# Without sleep: a RUN sees the processes of the pod.
end_rests() {
  mkfifo "$HOOKD_BUILD/never"
  exec 3<>"$HOOKD_BUILD/never"
  while true; do
    read -rt 1 _ <&3 || true
    for runc in $(children $buildkitd); do
      id=$(tr '\0' '\n' <"/proc/$runc/cmdline" | tail -n 1) || continue
      case $(runc state "$id") in
        *'"status": "stopped"'*) kill -KILL $(children "$runc") || true ;;
      esac
    done
    for process in $(children $PPID); do
      [ "$process" = $$ ] || kill -KILL "$process" || true
    done
  done
}
children() { cat "/proc/$1"/task/*/children || true; }
end_rests >/dev/null 2>&1 &

more=
client() { buildctl --addr "$address" "$@"; }

await_buildkitd() {
  until client debug workers >/dev/null 2>&1; do
    if ! kill -0 $buildkitd 2>/dev/null; then
      tail -n 20 "$HOOKD_BUILD/buildkitd.log" >&2
      echo 'error: buildkitd did not start' >&2
      exit 1
    fi
    sleep 0.1
  done
}

