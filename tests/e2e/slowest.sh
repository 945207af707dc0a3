#!/bin/sh
# usage: slowest.sh FILE; prints the 20 tests that held the cluster longest, from the lines
# "begin end test" of FILE. A test with several runner pods counts from its first to its last.
set -eu
[ -s "$1" ] || exit 0
echo
echo "slowest tests, in seconds:"
LC_ALL=C awk '
  !($3 in begin) || $1 < begin[$3] { begin[$3] = $1 }
  !($3 in end) || $2 > end[$3] { end[$3] = $2 }
  END { for (test in begin) printf "%8.1f  %s\n", end[test] - begin[test], test }
' "$1" | LC_ALL=C sort -rn | head -n 20
