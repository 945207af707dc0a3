# What the cluster changes on the machine outside its own folder, and how that
# is put back: bridge, iptables, sysctls, folders that the parts have built in.
# shellcheck shell=bash disable=SC2086

SAVED=$STATE/saved

# Written by kube-proxy, the kubelet and the bridge plugin.
SYSCTLS=(
  net/ipv4/ip_forward net/ipv4/conf/all/route_localnet
  net/bridge/bridge-nf-call-iptables net/bridge/bridge-nf-call-ip6tables
  vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes
)
FOLDERS=(/run/containerd /var/lib/cni /var/log/containers /var/lib/kubelet)

machine_up() {
  local name folder
  if [ ! -e "$SAVED/sysctl" ]; then
    mkdir -p "$SAVED"
    for name in "${SYSCTLS[@]}"; do
      [ ! -e "/proc/sys/$name" ] || echo "$name $(cat "/proc/sys/$name")"
    done >"$SAVED/sysctl.new"
    for folder in "${FOLDERS[@]}"; do
      [ -e "$folder" ] || echo "$folder"
    done >"$SAVED/folders"
    cgroup_folders | sort >"$SAVED/cgroups"
    mv "$SAVED/sysctl.new" "$SAVED/sysctl"
  fi
  if ! ip link show $BRIDGE >/dev/null 2>&1; then
    # A fixed address, or the bridge takes that of whichever pod is there.
    ip link add $BRIDGE address 0a:58:0a:58:00:01 type bridge
    touch "$SAVED/bridge"
  elif [ ! -e "$SAVED/bridge" ]; then
    die "a network interface named $BRIDGE exists that is not this cluster's; remove it, or use a cluster of your own"
  fi
  ip addr show dev $BRIDGE | grep -q "inet $NODE_IP/" || ip addr add "$NODE_IP/${POD_CIDR#*/}" dev $BRIDGE
  ip link set $BRIDGE up
  echo 1 >/proc/sys/net/ipv4/ip_forward
  [ ! -e /proc/sys/net/bridge ] || echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables

  # No host from outside reaches the cluster, and a pod that tries to leave it is
  # refused at once.
  if ! iptables -w -n -L HOOKD-FORWARD >/dev/null 2>&1; then
    iptables -w -N HOOKD-INPUT
    iptables -w -A HOOKD-INPUT -i lo -j RETURN
    iptables -w -A HOOKD-INPUT ! -i $BRIDGE -d $NODE_IP -j REJECT
    iptables -w -I INPUT -j HOOKD-INPUT
    iptables -w -N HOOKD-FORWARD
    iptables -w -A HOOKD-FORWARD ! -i $BRIDGE -o $BRIDGE -m conntrack --ctstate NEW -j REJECT
    iptables -w -A HOOKD-FORWARD -i $BRIDGE ! -o $BRIDGE -j REJECT
    iptables -w -I FORWARD -j HOOKD-FORWARD
  fi
}

cgroup_folders() { find /sys/fs/cgroup -mindepth 1 -type d \( -name kubepods -o -name k8s.io \) -not -path '*/kubepods/*' 2>/dev/null || true; }

machine_down() {
  local mount name value folder
  # Without it this cluster has changed nothing (and another may be here).
  [ -e "$SAVED/sysctl" ] || return 0
  # Deepest first; the kubelet's and containerd's are all below the state folder.
  awk -v s="$STATE/" 'index($5, s) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do
    umount "$mount" 2>/dev/null || umount -l "$mount"
  done
  if [ -e "$SAVED/bridge" ]; then
    { ip -o link show master $BRIDGE 2>/dev/null || true; } | sed 's/^[0-9]*: \([^@:]*\).*/\1/' | while read -r name; do
      ip link del "$name" 2>/dev/null || true
    done
    ip link del $BRIDGE 2>/dev/null || true
  fi
  iptables_down iptables
  iptables_down ip6tables
  while read -r name value; do echo "$value" >"/proc/sys/$name"; done <"$SAVED/sysctl"
  cgroup_folders | sort | comm -23 - "$SAVED/cgroups" | while read -r folder; do
    find "$folder" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  done
  while read -r folder; do rm -rf --one-file-system "$folder"; done <"$SAVED/folders"
}

# Removes the chains of kube-proxy, the kubelet, the CNI plugins and our own,
# and the rules that lead to them.
iptables_down() {
  local table rules chain chains ours='(KUBE-|CNI-|HOOKD-)'
  for table in nat filter mangle; do
    rules=$("$1" -w -t $table -S 2>/dev/null) || continue
    { grep -E -- "-j $ours" <<<"$rules" || true; } | { grep -vE "^-A $ours" || true; } |
      sed 's/^-A/-D/' | xargs -r -L1 "$1" -w -t $table
    chains=$(awk -v o="^$ours" '$1 == "-N" && $2 ~ o { print $2 }' <<<"$rules")
    # All are empty before the first goes: they refer to each other.
    for chain in $chains; do "$1" -w -t $table -F "$chain"; done
    for chain in $chains; do "$1" -w -t $table -X "$chain"; done
  done
}
