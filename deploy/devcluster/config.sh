# Certificates and configuration files of the cluster; read by up.sh.
# shellcheck shell=bash

# issue <file> <subject> [<subjectAltName>]
issue() {
  [ -s "$PKI/$1.crt" ] && return
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
    -keyout "$PKI/$1.key" -subj "$2" -out "$PKI/$1.csr" 2>/dev/null
  openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days 3650 \
    -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\n%s\n' "${3:+subjectAltName=$3}") \
    -out "$PKI/$1.new" 2>/dev/null
  rm "$PKI/$1.csr"
  mv "$PKI/$1.new" "$PKI/$1.crt"
}

# client_config <file> <name of the certificate>: a kubeconfig with both inside
client_config() {
  [ -s "$1" ] && return
  (
    umask 077
    cat >"$1" <<-CONFIG
	apiVersion: v1
	kind: Config
	clusters:
	- name: $NODE
	  cluster:
	    server: $API
	    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
	users:
	- name: $2
	  user:
	    client-certificate-data: $(base64 -w0 "$PKI/$2.crt")
	    client-key-data: $(base64 -w0 "$PKI/$2.key")
	contexts:
	- name: $NODE
	  context: {cluster: $NODE, user: $2}
	current-context: $NODE
	CONFIG
  )
}

write_certificates() {
  mkdir -p "$PKI"
  chmod 700 "$PKI"
  if [ ! -s "$PKI/ca.crt" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
      -subj "/CN=hookd-devcluster" -keyout "$PKI/ca.key" -out "$PKI/ca.crt" 2>/dev/null
  fi
  if [ ! -s "$PKI/sa.pub" ]; then
    openssl genrsa -out "$PKI/sa.key" 2048 2>/dev/null
    openssl rsa -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" 2>/dev/null
  fi
  issue apiserver /CN=kube-apiserver \
    "IP:$NODE_IP,IP:$API_SERVICE_IP,IP:127.0.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
  issue kubelet-serving "/CN=$NODE" "IP:$NODE_IP,DNS:$NODE"
  issue apiserver-kubelet /O=system:masters/CN=apiserver-kubelet
  issue admin /O=system:masters/CN=admin
  issue kubelet "/O=system:nodes/CN=system:node:$NODE"
  issue kube-controller-manager /CN=system:kube-controller-manager
  issue kube-scheduler /CN=system:kube-scheduler
  issue kube-proxy /CN=system:kube-proxy
  client_config "$STATE/kubeconfig" admin
  local name
  for name in kubelet kube-controller-manager kube-scheduler kube-proxy; do
    client_config "$CONF/$name.kubeconfig" "$name"
  done
}

write_containerd_config() {
  # Every registry that an image may name is the one in this cluster, and there
  # is no other to fall back to: an unknown image fails at once, with its message.
  mkdir -p "$CONF/registries/_default" "$CONF/registries/localhost_${REGISTRY_NODE_PORT}_" "$CONF/cni"
  cat >"$CONF/registries/_default/hosts.toml" <<-CONFIG
	server = "http://$REGISTRY"
	[host."http://$REGISTRY"]
	  capabilities = ["pull", "resolve"]
	CONFIG
  cp "$CONF/registries/_default/hosts.toml" "$CONF/registries/localhost_${REGISTRY_NODE_PORT}_/hosts.toml"

  # restrict_oom_score_adj: this may run without CAP_SYS_RESOURCE.
  cat >"$CONF/containerd.toml" <<-CONFIG
	version = 3
	root = "$STATE/containerd"
	state = "$RUN/containerd"
	disabled_plugins = ["io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
	[grpc]
	  address = "$CONTAINERD_SOCK"
	[plugins."io.containerd.cri.v1.images"]
	  snapshotter = "overlayfs"
	  max_concurrent_downloads = 8
	  [plugins."io.containerd.cri.v1.images".pinned_images]
	    sandbox = "$PAUSE_IMAGE"
	  [plugins."io.containerd.cri.v1.images".registry]
	    config_path = "$CONF/registries"
	[plugins."io.containerd.cri.v1.runtime"]
	  restrict_oom_score_adj = true
	  netns_mounts_under_state_dir = true
	  [plugins."io.containerd.cri.v1.runtime".cni]
	    bin_dirs = ["/usr/lib/cni"]
	    conf_dir = "$CONF/cni"
	  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
	    runtime_type = "io.containerd.runc.v2"
	    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
	      BinaryName = "$BIN/runc"
	      Root = "$RUN/runc"
	      SystemdCgroup = false
	CONFIG

  cat >"$CONF/cni/10-pods.conflist" <<-CONFIG
	{
	  "cniVersion": "1.0.0",
	  "name": "pods",
	  "plugins": [
	    {
	      "type": "bridge",
	      "bridge": "$BRIDGE",
	      "isGateway": true,
	      "hairpinMode": true,
	      "ipam": {
	        "type": "host-local",
	        "dataDir": "$RUN/cni",
	        "ranges": [[{"subnet": "$POD_CIDR", "gateway": "$NODE_IP"}]],
	        "routes": [{"dst": "0.0.0.0/0"}]
	      }
	    },
	    {"type": "portmap", "capabilities": {"portMappings": true}}
	  ]
	}
	CONFIG
}

write_kubelet_config() {
  # There is no DNS here: a look-up in a pod is to fail at once, and it is
  # refused there. (With no clusterDNS each pod would get warning events.)
  printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >"$CONF/resolv.conf"

  # Nothing is evicted or collected because the disk is full, and nothing is throttled.
  cat >"$CONF/kubelet.yaml" <<-CONFIG
	apiVersion: kubelet.config.k8s.io/v1beta1
	kind: KubeletConfiguration
	address: $NODE_IP
	healthzBindAddress: 127.0.0.1
	authentication:
	  anonymous: {enabled: false}
	  webhook: {enabled: true}
	  x509: {clientCAFile: $PKI/ca.crt}
	authorization: {mode: Webhook}
	tlsCertFile: $PKI/kubelet-serving.crt
	tlsPrivateKeyFile: $PKI/kubelet-serving.key
	containerRuntimeEndpoint: unix://$CONTAINERD_SOCK
	podLogsDir: $STATE/pod-logs
	volumePluginDir: $STATE/volume-plugins
	resolvConf: $CONF/resolv.conf
	clusterDNS: [127.0.0.1]
	clusterDomain: cluster.local
	maxPods: 200
	serializeImagePulls: false
	registryPullQPS: 0
	# 0 is no limit by its description, and client-go's 5 a second in fact.
	eventRecordQPS: 200
	eventBurst: 400
	kubeAPIQPS: 200
	kubeAPIBurst: 400
	nodeStatusUpdateFrequency: 5s
	imageGCHighThresholdPercent: 100
	imageGCLowThresholdPercent: 99
	evictionHard:
	  memory.available: 0%
	  nodefs.available: 0%
	  nodefs.inodesFree: 0%
	  imagefs.available: 0%
	  imagefs.inodesFree: 0%
	oomScoreAdj: 0
	failSwapOn: false
	cgroupDriver: cgroupfs
	failCgroupV1: false
	CONFIG
}

write_audit_policy() {
  # Who did what to which object, without bodies; the cluster's own parts,
  # which only keep it running, are left out.
  cat >"$CONF/audit-policy.yaml" <<-CONFIG
	apiVersion: audit.k8s.io/v1
	kind: Policy
	omitStages: [RequestReceived]
	rules:
	- level: None
	  users:
	  - system:apiserver
	  - system:kube-controller-manager
	  - system:kube-scheduler
	  - system:kube-proxy
	- level: None
	  userGroups: [system:nodes, "system:serviceaccounts:kube-system"]
	- level: None
	  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version", "/openapi/*"]
	- level: Metadata
	CONFIG
}
