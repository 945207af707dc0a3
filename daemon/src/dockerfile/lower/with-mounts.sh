#!/bin/sh
# Runs a program with files and directories where docker would mount them, and takes them away again:
# a build has no right to mount.
#
#   with-mounts [MOUNT]... -- PROGRAM [ARGUMENT]...
#
#   cache ID TARGET MODE OWNER   a directory that later programs with the same ID find again; - for none
#   context SOURCE TARGET        a copy of what the context has there
#   moved PATH TARGET            what lies at the path, which goes with the mount
#   tmpfs TARGET                 an empty directory
set -e

state=/kaniko/hookd-mounts
[ -d $state ] || { mkdir -p $state && chmod 777 $state; }
number=0

# Only words of letters, digits, and a few signs have a $ here.
expanded() {
  case $1 in
  *\$*) eval "word=\"$1\"" ;;
  *) word=$1 ;;
  esac
}

# Makes room at the target.
begin() {
  number=$((number + 1))
  expanded "$1"
  target=$word
  case $target in /*) ;; *) target=$PWD/$target ;; esac
  while case $target in /) false ;; */) ;; *) false ;; esac; do target=${target%/}; done
  made=
  if [ -e "$target" ] || [ -L "$target" ]; then
    mv "$target" "$state/aside-$$-$number"
  else
    made=$target
    while parent=${made%/*} && [ -n "$parent" ] && ! [ -e "$parent" ]; do made=$parent; done
    mkdir -p "${target%/*}/"
  fi
  back=
}

# Remembers what is to be done at the end.
begun() {
  eval "target_$number=\$target made_$number=\$made back_$number=\$back"
}

end() {
  eval "target=\$target_$number made=\$made_$number back=\$back_$number"
  if [ -n "$back" ]; then mv "$target" "$back"; else rm -rf "$target"; fi
  if [ -z "$made" ]; then
    mv "$state/aside-$$-$number" "$target"
  fi
  # The directories that were made for it, unless the program has put something there.
  while [ -n "$made" ] && [ "$target" != "$made" ]; do
    target=${target%/*}
    rmdir "$target" 2>/dev/null || break
  done
  number=$((number - 1))
}

while [ "$1" != -- ]; do
  case $1 in
  cache)
    begin "$3"
    back=$state/cache-$2
    [ -d "$back" ] || mkdir -p "$back"
    mv "$back" "$target"
    [ "$4" = - ] || chmod "$4" "$target"
    [ "$5" = - ] || chown "$5" "$target"
    begun
    shift 5
    ;;
  context)
    expanded "$2"
    source=/kaniko/buildcontext/context/$word
    begin "$3"
    if [ -d "$source" ]; then
      mkdir "$target"
      cp -a "$source/." "$target"
    else
      cp -p "$source" "$target"
    fi
    begun
    shift 3
    ;;
  moved)
    begin "$3"
    mv "$2" "$target"
    begun
    shift 3
    ;;
  tmpfs)
    begin "$2"
    mkdir "$target"
    begun
    shift 2
    ;;
  esac
done
shift
status=0
"$@" || status=$?
while [ $number -gt 0 ]; do end; done
exit $status
