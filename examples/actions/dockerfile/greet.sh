#!/bin/sh
# The workspace is /github/workspace; GITHUB_OUTPUT is a file that the runner reads.
set -eu
echo "hello $1" | tee greeting.txt
echo "greeting=hello $1" >> "$GITHUB_OUTPUT"
