#!/bin/bash
# Each argument on a line of its own, in brackets; then a file and an output.
set -euo pipefail

cat /etc/greet-built
for argument; do printf '[%s]\n' "$argument"; done
printf 'INPUT_WHO=%s\n' "$INPUT_WHO"
printf 'INPUT_GREETING-STYLE=%s\n' "$(printenv INPUT_GREETING-STYLE)"

echo "hello $INPUT_WHO$PUNCTUATION" > /github/workspace/greeting.txt
echo "greeting=hello $INPUT_WHO$PUNCTUATION" >> "$GITHUB_OUTPUT"
