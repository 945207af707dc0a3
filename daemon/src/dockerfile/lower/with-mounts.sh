#!/bin/sh
# Runs a program with files and directories where docker would mount them, and takes them away again:
# a build has no right to mount.
#
#   with-mounts [MOUNT]... -- PROGRAM [ARGUMENT]...
#
#   seed ID PATH                 what the cache that follows begins with
#   cache ID TARGET MODE OWNER   a directory that later programs with the same ID find again; - for none
#   context SOURCE TARGET        a copy of what the context has there
#   moved PATH TARGET            what lies at the path, which goes with the mount
#   tmpfs TARGET                 an empty directory
#   variable NAME                an empty variable
#
# Its variables have a prefix: the program inherits those that the Dockerfile has set.
set -e

_hookd_state=/kaniko/hookd-mounts
[ -d $_hookd_state ] || { mkdir -p $_hookd_state && chmod 777 $_hookd_state; }
_hookd_count=0
_hookd_directory=$PWD

# Only words of letters, digits, and a few signs have a $ here.
expanded() {
  case $1 in
  *\$*) eval "_hookd_word=\"$1\"" ;;
  *) _hookd_word=$1 ;;
  esac
}

# Makes room at the target.
begin() {
  _hookd_count=$((_hookd_count + 1))
  expanded "$1"
  _hookd_target=$_hookd_word
  case $_hookd_target in /*) ;; *) _hookd_target=${_hookd_directory%/}/$_hookd_target ;; esac
  while :; do
    case $_hookd_target in
    */) _hookd_target=${_hookd_target%/} ;;
    */.) _hookd_target=${_hookd_target%/.} ;;
    *) break ;;
    esac
  done
  [ -n "$_hookd_target" ] || { echo "a mount cannot hide the root" >&2 && exit 1; }
  _hookd_made=
  if [ -e "$_hookd_target" ] || [ -L "$_hookd_target" ]; then
    mv "$_hookd_target" "$_hookd_state/aside-$$-$_hookd_count"
  else
    _hookd_made=$_hookd_target
    while _hookd_parent=${_hookd_made%/*} && [ -n "$_hookd_parent" ] && ! [ -e "$_hookd_parent" ]; do
      _hookd_made=$_hookd_parent
    done
    mkdir -p "${_hookd_target%/*}/"
  fi
  _hookd_back=
}

# Remembers what is to be done at the end.
begun() {
  eval "_hookd_target_$_hookd_count=\$_hookd_target _hookd_made_$_hookd_count=\$_hookd_made \
    _hookd_back_$_hookd_count=\$_hookd_back"
}

end() {
  eval "_hookd_target=\$_hookd_target_$_hookd_count _hookd_made=\$_hookd_made_$_hookd_count \
    _hookd_back=\$_hookd_back_$_hookd_count"
  if [ -n "$_hookd_back" ]; then mv "$_hookd_target" "$_hookd_back"; else rm -rf "$_hookd_target"; fi
  if [ -z "$_hookd_made" ]; then
    mv "$_hookd_state/aside-$$-$_hookd_count" "$_hookd_target"
  fi
  # The directories that were made for it, unless the program has put something there.
  while [ -n "$_hookd_made" ] && [ "$_hookd_target" != "$_hookd_made" ]; do
    _hookd_target=${_hookd_target%/*}
    rmdir "$_hookd_target" 2>/dev/null || break
  done
  _hookd_count=$((_hookd_count - 1))
}

# The directory that it is in may be moved.
cd /
while [ "$1" != -- ]; do
  case $1 in
  cache)
    begin "$3"
    _hookd_back=$_hookd_state/cache-$2
    [ -d "$_hookd_back" ] || mkdir -p "$_hookd_back"
    mv "$_hookd_back" "$_hookd_target"
    [ "$4" = - ] || chmod "$4" "$_hookd_target"
    [ "$5" = - ] || chown "$5" "$_hookd_target"
    begun
    shift 5
    ;;
  seed)
    [ -d "$_hookd_state/cache-$2" ] || mv "$3" "$_hookd_state/cache-$2"
    rm -rf "$3"
    shift 3
    ;;
  context)
    expanded "$2"
    _hookd_source=/kaniko/buildcontext/context/$_hookd_word
    begin "$3"
    if [ -d "$_hookd_source" ]; then
      mkdir "$_hookd_target"
      cp -a "$_hookd_source/." "$_hookd_target"
    else
      cp -p "$_hookd_source" "$_hookd_target"
    fi
    begun
    shift 3
    ;;
  moved)
    begin "$3"
    mv "$2" "$_hookd_target"
    begun
    shift 3
    ;;
  tmpfs)
    begin "$2"
    mkdir "$_hookd_target"
    begun
    shift 2
    ;;
  variable)
    export "$2="
    shift 2
    ;;
  esac
done
shift
cd "$_hookd_directory"
_hookd_status=0
"$@" || _hookd_status=$?
cd /
while [ $_hookd_count -gt 0 ]; do end; done
exit $_hookd_status
