# Shared by the scripts of this folder: names, the build, processes, components.
# shellcheck shell=bash disable=SC2034

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE=${HOOKD_DEVCLUSTER_DIR:-/var/lib/hookd-devcluster}
CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hookd
LOGS=$STATE/logs
RUN=$STATE/run
PKI=$STATE/pki
MARK=$STATE/.hookd-devcluster
CONF=$STATE/conf

NODE=devcluster
BRIDGE=cni0
NODE_IP=10.88.0.1
POD_CIDR=10.88.0.0/24
SERVICE_CIDR=10.96.0.0/16
API_SERVICE_IP=10.96.0.1
REGISTRY_IP=10.96.0.50
REGISTRY_PORT=5000
REGISTRY_NODE_PORT=30500
REGISTRY=127.0.0.1:$REGISTRY_NODE_PORT
API=https://$NODE_IP:6443
CONTAINERD_SOCK=$RUN/containerd.sock
PAUSE_IMAGE=localhost/hookd-devcluster/pause:1
REGISTRY_IMAGE=localhost/hookd-devcluster/registry:1

COMPONENTS=(etcd containerd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)

say() { printf 'devcluster: %s\n' "$*"; }
die() {
  printf 'devcluster: %s\n' "$*" >&2
  exit 70
}

# Each script that fails says why, once: with 70 that is done already.
unforeseen() {
  [ "$1" = 70 ] || printf 'devcluster: %s failed at line %s: %s\n' "${BASH_SOURCE[1]##*/}" "$2" "$BASH_COMMAND" >&2
  exit 70
}
set -E
shopt -s inherit_errexit
trap 'unforeseen $? $LINENO' ERR

require_root() {
  [ "$(uname -s)" = Linux ] || die "this cluster runs on Linux only; use a cluster of your own (see README.md)"
  # Scripts here empty this folder.
  [[ $STATE =~ ^/[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+$ ]] ||
    die "HOOKD_DEVCLUSTER_DIR must be an absolute path below a folder of the root, of letters, digits and ._-"
  [ "$(id -u)" = 0 ] || die "root is needed (mounts, network namespaces, iptables); run it as root"
}

cgroup_version() { [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && echo v2 || echo v1; }

# ---- the build ------------------------------------------------------------

# name, folder of the go.mod that pins it, whether with cgo (runc: libseccomp), package
binaries() {
  cat <<-LIST
	crane . 0 github.com/google/go-containerregistry/cmd/crane
	pause . 0 ./pause
	kubectl . 0 k8s.io/kubernetes/cmd/kubectl
	runc runc 1 github.com/opencontainers/runc
	kaniko kaniko 0 github.com/GoogleContainerTools/kaniko/cmd/executor
	containerd containerd 0 github.com/containerd/containerd/v2/cmd/containerd
	containerd-shim-runc-v2 containerd 0 github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
	ctr containerd 0 github.com/containerd/containerd/v2/cmd/ctr
	kube-apiserver . 0 k8s.io/kubernetes/cmd/kube-apiserver
	kube-controller-manager . 0 k8s.io/kubernetes/cmd/kube-controller-manager
	kube-scheduler . 0 k8s.io/kubernetes/cmd/kube-scheduler
	kubelet . 0 k8s.io/kubernetes/cmd/kubelet
	kube-proxy . 0 k8s.io/kubernetes/cmd/kube-proxy
	LIST
}

# The go.mod files name every version, so they and the compiler are the key.
build_key() {
  local go
  go=$(go env GOVERSION 2>/dev/null) || die "go is not installed (needed to compile Kubernetes from its Go modules)"
  { echo "$go" && cd "$HERE" && cat {.,containerd,kaniko,runc}/go.{mod,sum} pause/main.go; } |
    sha256sum | cut -c1-16
}

# Sets BIN. down.sh and status.sh run with what is recorded, go or no go.
locate_binaries() {
  BIN=$(cat "$STATE/bin" 2>/dev/null || true)
  [ -n "$BIN" ] || return 1
}

module_version() { awk -v m="$2" '$1 == m { print $2; exit }' "$HERE/$1/go.mod"; }

KANIKO=github.com/GoogleContainerTools/kaniko
KANIKO_VERSION=$(module_version kaniko $KANIKO)

build_binaries() {
  BIN=$CACHE/$(build_key)/bin
  local total n=0 name dir cgo package kube containerd flags
  total=$(binaries | wc -l)
  kube=$(module_version . k8s.io/kubernetes)
  containerd=$(module_version containerd github.com/containerd/containerd/v2)
  flags="-s -w -X k8s.io/component-base/version.gitVersion=$kube -X k8s.io/client-go/pkg/version.gitVersion=$kube"
  flags="$flags -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(echo "$kube" | cut -d. -f2)"
  flags="$flags -X github.com/containerd/containerd/v2/version.Version=$containerd"
  flags="$flags -X $KANIKO/pkg/version.version=$KANIKO_VERSION"
  flags="$flags -X main.version=$(module_version runc github.com/opencontainers/runc)"
  mkdir -p "$BIN"
  while read -r name dir cgo package; do
    n=$((n + 1))
    [ -x "$BIN/$name" ] && continue
    say "compiling $name ($n/$total); the first run takes some minutes"
    (cd "$HERE/$dir" && CGO_ENABLED=$cgo GOFLAGS=-mod=readonly GOWORK=off nice -n 5 \
      go build -trimpath -buildvcs=false -tags no_btrfs,no_devmapper,no_zfs,seccomp \
      -ldflags "$flags" -o "$BIN/.$name" "$package" </dev/null) ||
      die "compiling $name failed (see above)"
    mv "$BIN/.$name" "$BIN/$name"
  done < <(binaries)
}

# ---- processes ------------------------------------------------------------

# A process's start time distinguishes it from a later one with the same pid; a zombie
# has none.
start_time() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'; }

# The pid of a component of ours that runs, or failure.
component_pid() {
  local pid started
  read -r pid started 2>/dev/null <"$RUN/$1.pid" || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] && echo "$pid"
}

# Starts a daemon in a session of its own which holds none of the caller's
# files open and sees none of its environment (proxies, certificate paths).
spawn() {
  local name=$1
  shift
  # shellcheck disable=SC2016
  env -i PATH="$BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root \
    setsid -f bash -c '
      # No redirection of the loop: bash keeps the outer file in a descriptor that is closed here.
      for fd in /proc/$$/fd/*; do
        fd=${fd##*/}
        [ "$fd" -le 2 ] || eval "exec $fd>&-"
      done
      cd /
      started=$(sed "s/^.*) //" /proc/$$/stat | cut -d" " -f20)
      echo "$$ $started" >"$1.new" && mv "$1.new" "$1"
      shift
      exec "$@"' spawn "$RUN/$name.pid" "$@" </dev/null >>"$LOGS/$name.log" 2>&1
  local i
  for i in $(seq 100); do
    component_pid "$name" >/dev/null && return
    sleep 0.05
  done
  component_failed "$name"
}

component_failed() {
  die "$1 did not start: $(grep -aE '^F|[Ee]rror|failed|refused' "$LOGS/$1.log" | tail -n 1 | cut -c1-300) (log: $LOGS/$1.log)"
}

port_owner() { ss -Hltnp "sport = :$2" 2>/dev/null | awk -v a="$1" '{ split($4, l, /:[0-9]+$/); if (a == l[1] || l[1] == "0.0.0.0" || l[1] == "*" || l[1] == "[::]") { print $NF; exit } }'; }

# address:port of what each component listens on
component_ports() {
  case $1 in
    etcd) echo 127.0.0.1:2379 127.0.0.1:2380 ;;
    kube-apiserver) echo $NODE_IP:6443 ;;
    kube-controller-manager) echo 127.0.0.1:10257 ;;
    kube-scheduler) echo 127.0.0.1:10259 ;;
    kubelet) echo $NODE_IP:10250 127.0.0.1:10248 ;;
    kube-proxy) echo 127.0.0.1:10256 127.0.0.1:10249 127.0.0.1:$REGISTRY_NODE_PORT ;;
  esac
}

check_ports() {
  local p owner
  for p in $(component_ports "$1"); do
    owner=$(port_owner "${p%:*}" "${p##*:}")
    [ -z "$owner" ] || die "port $p, which $1 needs, is in use by $owner"
  done
}

# ---- components: how each is started, and when it is well -------------------

component_start() {
  local name=$1
  component_pid "$name" >/dev/null && return
  check_ports "$name"
  case $name in
    etcd)
      # A test cluster may lose its data with the machine: no fsync.
      spawn etcd /usr/bin/etcd --data-dir="$STATE/etcd" --unsafe-no-fsync \
        --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
        --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
        --initial-cluster=default=http://127.0.0.1:2380 --logger=zap
      ;;
    containerd)
      spawn containerd "$BIN/containerd" --config "$CONF/containerd.toml"
      ;;
    kube-apiserver)
      spawn kube-apiserver "$BIN/kube-apiserver" \
        --etcd-servers=http://127.0.0.1:2379 \
        --bind-address=$NODE_IP --advertise-address=$NODE_IP --secure-port=6443 \
        --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
        --client-ca-file="$PKI/ca.crt" --authorization-mode=Node,RBAC \
        --enable-admission-plugins=NodeRestriction --allow-privileged=true \
        --service-cluster-ip-range=$SERVICE_CIDR \
        --service-account-issuer=https://kubernetes.default.svc \
        --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
        --kubelet-preferred-address-types=InternalIP --kubelet-certificate-authority="$PKI/ca.crt" \
        --kubelet-client-certificate="$PKI/apiserver-kubelet.crt" \
        --kubelet-client-key="$PKI/apiserver-kubelet.key" \
        --audit-policy-file="$CONF/audit-policy.yaml" --audit-log-path="$LOGS/audit.log" \
        --shutdown-delay-duration=0s
      ;;
    kube-controller-manager)
      spawn kube-controller-manager "$BIN/kube-controller-manager" \
        --kubeconfig="$CONF/kube-controller-manager.kubeconfig" --bind-address=127.0.0.1 \
        --leader-elect=false --use-service-account-credentials=true \
        --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
        --service-cluster-ip-range=$SERVICE_CIDR --flex-volume-plugin-dir="$STATE/volume-plugins" \
        --kube-api-qps=200 --kube-api-burst=400
      ;;
    kube-scheduler)
      spawn kube-scheduler "$BIN/kube-scheduler" \
        --kubeconfig="$CONF/kube-scheduler.kubeconfig" --bind-address=127.0.0.1 \
        --leader-elect=false --kube-api-qps=200 --kube-api-burst=400
      ;;
    kubelet)
      spawn kubelet "$BIN/kubelet" --config="$CONF/kubelet.yaml" --root-dir="$STATE/kubelet" \
        --kubeconfig="$CONF/kubelet.kubeconfig" --hostname-override=$NODE --node-ip=$NODE_IP
      ;;
    kube-proxy)
      # The conntrack limits stay the machine's own.
      spawn kube-proxy "$BIN/kube-proxy" --kubeconfig="$CONF/kube-proxy.kubeconfig" \
        --hostname-override=$NODE --proxy-mode=iptables --cluster-cidr=$POD_CIDR \
        --iptables-localhost-nodeports=true --nodeport-addresses=127.0.0.0/8 \
        --conntrack-max-per-core=0 --conntrack-min=0 \
        --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 \
        --healthz-bind-address=127.0.0.1:10256 --metrics-bind-address=127.0.0.1:10249 \
        --iptables-min-sync-period=100ms
      ;;
    *) die "no such component: $name (one of: ${COMPONENTS[*]})" ;;
  esac
}

component_healthy() {
  case $1 in
    etcd) probe http://127.0.0.1:2379/health ;;
    containerd) timeout 5 "$BIN/ctr" -a "$CONTAINERD_SOCK" version >/dev/null 2>&1 ;;
    kube-apiserver) probe $API/readyz ;;
    kube-controller-manager) probe https://127.0.0.1:10257/healthz ;;
    kube-scheduler) probe https://127.0.0.1:10259/healthz ;;
    kubelet) probe http://127.0.0.1:10248/healthz ;;
    kube-proxy) probe http://127.0.0.1:10256/healthz ;;
  esac
}

# -k: some of these have certificates that they sign themselves, on loopback.
probe() { curl -sfk --noproxy '*' -m 5 -o /dev/null "$1"; }

# Waits for a component; a process that has ended is reported at once.
component_wait() {
  local name=$1 until=$((SECONDS + 120))
  until component_healthy "$name"; do
    component_pid "$name" >/dev/null || component_failed "$name"
    [ $SECONDS -lt $until ] || die "$name is not healthy after 120 s (log: $LOGS/$name.log)"
    sleep 0.1
  done
}

# Ends one process of ours: TERM first when there are seconds to wait, then KILL.
component_stop() {
  local name=$1 grace=${2:-0} pid until
  if pid=$(component_pid "$name"); then
    until=$((SECONDS + grace))
    [ "$grace" = 0 ] || kill -TERM "$pid" 2>/dev/null || true
    while component_pid "$name" >/dev/null && [ $SECONDS -lt $until ]; do sleep 0.05; done
    if component_pid "$name" >/dev/null; then kill -KILL "$pid" 2>/dev/null || true; fi
    while component_pid "$name" >/dev/null; do sleep 0.02; done
    # The last thread of a killed process closes its ports, a moment after the first is gone.
    until=$((SECONDS + 10))
    until (check_ports "$name") 2>/dev/null || [ $SECONDS -ge $until ]; do sleep 0.02; done
  fi
  rm -f "$RUN/$name.pid"
}

# Leaves only the logs.
empty_state() { find "$STATE" -mindepth 1 -maxdepth 1 ! -name logs ! -name lock -exec rm -rf --one-file-system {} +; }

k() { "$BIN/kubectl" --kubeconfig="$STATE/kubeconfig" "$@"; }
