# Unpacks the context from standard input and has it built. The arguments are those of buildctl build.
mkdir "$HOOKD_BUILD/archive"
if ! gunzip -c | tar -xpf - -C "$HOOKD_BUILD/archive"; then
  echo 'hookd: the build context did not arrive whole' >&2
  exit 1
fi
echo 'hookd: the build context has arrived' >&2

await_buildkitd

# Build arguments, target and platform: the values of arguments are in no object of the cluster.
if [ -e "$HOOKD_BUILD/archive/hookd/options" ]; then
  while IFS= read -r option; do
    set -- "$@" "--opt=$option"
  done <"$HOOKD_BUILD/archive/hookd/options"
fi

printf %s "$HOOKD_SOURCE_POLICY" >"$HOOKD_BUILD/policy.json"
client build --progress=plain \
  --source-policy-file="$HOOKD_BUILD/policy.json" --metadata-file="$HOOKD_BUILD/metadata.json" "$@" $more
cat "$HOOKD_BUILD/metadata.json" >/dev/termination-log
