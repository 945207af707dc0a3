{{/*
The runner pod of the values for ARC's charts, in the parts that these charts take. deploy/values*.yaml are made
of it, comments and all: UPDATE_VALUES=1 .ci/chart writes them. Calls have the chart's context as root, and ownPod
for jobs in pods of their own. What is off is there as a comment.
*/}}

{{- define "hookd.arc.pod" -}}
# The token is for the sidecar only, see the volume `token`.
automountServiceAccountToken: false
enableServiceLinks: false
{{- if not .ownPod }}
{{- $pull := ternary "" "# " .root.Values.rbac.pullSecret.enabled }}
# The Secret for `credentials:` of workflows (rbac-pull-secret.yaml).
{{ $pull }}imagePullSecrets: [{name: hookd-pull}]
# Names by which containers of a job reach its services, which share the pod's network.
hostAliases:
  - ip: 127.0.0.1
    hostnames: [redis, postgres, mysql, mariadb, mongo, rabbitmq, elasticsearch, memcached, localstack]
# No user here: it would hold for the containers of jobs too.
{{- end }}
securityContext:
  # A new volume belongs to root; the runner has to write to it.
  fsGroup: 1001
  fsGroupChangePolicy: OnRootMismatch
  {{- if not .ownPod }}
  seccompProfile:
    type: RuntimeDefault
  {{- end }}
initContainers:
  {{- include "hookd.arc.sidecar" . | nindent 2 }}
{{- end }}

{{- define "hookd.arc.sidecar" -}}
{{- $values := .root.Values }}
{{- $policy := ternary "" "# " $values.policy.enabled }}
{{- $metrics := ternary "" "# " $values.monitoring.podMonitor.enabled -}}
- name: hookd
  image: {{ with $values.image }}{{ quote . }}{{ else }}<registry>/hookd:<version>{{ end }}
  # A native sidecar: starts before the runner, ends after it.
  restartPolicy: Always
  env:
    {{- include "hookd.arc.variables" . | nindent 4 }}
  {{ $metrics }}ports: [{name: hookd-metrics, containerPort: 9464}]
  # The runner must not start before its hook is there.
  startupProbe:
    exec:
      command: [/usr/local/bin/hookd, ready]
    periodSeconds: 1
    failureThreshold: 120
  # A request and no memory limit: an out-of-memory kill ends this container, and ARC
  # deletes a runner whose sidecar ended. hookd bounds itself (docs/operations.md).
  resources:
    requests:
      cpu: 50m
      memory: 64Mi
  securityContext:
    runAsNonRoot: true
    # The user of the runner's image: hookd answers no other user.
    runAsUser: 1001
    runAsGroup: 1001
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
    seccompProfile:
      type: RuntimeDefault
  volumeMounts:
    - name: hookd
      mountPath: /run/hookd
    # At the runner's own path: that is how the runner names a Dockerfile.
    - name: work
      mountPath: /home/runner/_work
    {{ $policy }}- name: policy
    {{ $policy }}  mountPath: /etc/hookd
    {{ $policy }}  readOnly: true
    - name: token
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
    {{- if not .ownPod }}
    # What the containers of a job mount; docs/placement.md says what each is for.
    {{- range list "tools" "externals" "github" "job" "services" "steps" }}
    - name: hookd-{{ . }}
      mountPath: /run/hookd-agents/{{ . }}
    {{- end }}
    {{- end }}
{{- end }}

{{/* The variables of the hookd container; what arc.env names has its value, once. */}}
{{- define "hookd.arc.variables" -}}
{{- $text := include "hookd.arc.defaults" . }}
{{- $further := "" }}
{{- range $name, $value := .root.Values.arc.env }}
  {{- if has $name (list "ACTIONS_RUNNER_POD_NAME" "ACTIONS_RUNNER_KUBERNETES_NAMESPACE") }}
    {{- fail (printf "arc.env cannot set %s: each pod has its own" $name) }}
  {{- end }}
  {{- /* As JSON a number has no exponent. */}}
  {{- $given := kindIs "string" $value | ternary $value (toJson $value) }}
  {{- $variable := printf "- {name: %s, value: %s}" $name (quote $given) }}
  {{- $default := printf "(?m)^- [{]?name: %s\\b.*(\n  .*)*" $name }}
  {{- if regexMatch $default $text }}
    {{- $text = regexReplaceAllLiteral $default $text $variable }}
  {{- else }}
    {{- $further = printf "%s\n%s" $further $variable }}
  {{- end }}
{{- end }}
{{- $text }}{{ $further }}
{{- end }}

{{- define "hookd.arc.defaults" -}}
{{- $values := .root.Values }}
{{- $policy := ternary "" "# " $values.policy.enabled }}
{{- $metrics := ternary "" "# " $values.monitoring.podMonitor.enabled }}
{{- $pull := ternary "" "# " $values.rbac.pullSecret.enabled -}}
- name: ACTIONS_RUNNER_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: ACTIONS_RUNNER_KUBERNETES_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: HOOKD_SOCKET_DIR
  value: /run/hookd
- name: HOOKD_WORK_DIR
  value: /home/runner/_work
# What workflows may ask for (docs/policy.md): mount a ConfigMap with the file, as below.
{{ $policy }}- name: HOOKD_POLICY
{{ $policy }}  value: /etc/hookd/policy.yaml
{{- if or .ownPod $values.registry.enabled }}
{{- include "hookd.arc.registry" .root | nindent 0 }}
{{- end }}
{{- if not .ownPod }}
# The Secret above.
{{ $pull }}- {name: HOOKD_PULL_SECRET, value: hookd-pull}
{{- end }}
# Metrics for Prometheus (docs/monitoring.md); with the port below.
{{ $metrics }}- {name: HOOKD_METRICS_ADDRESS, value: "0.0.0.0:9464"}
# Traces for an OpenTelemetry collector (docs/monitoring.md).
# - {name: HOOKD_TRACES_ENDPOINT, value: "http://otel-collector.monitoring:4317"}
# A table of phases and builds in the job's summary (docs/operations.md).
# - {name: HOOKD_SUMMARY, value: "true"}
{{- end }}

{{- define "hookd.arc.registry" -}}
{{- $host := include "hookd.registryHost" . -}}
# Where built images go; these fit registry.yaml.
- name: ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST
  value: {{ $host }}
- name: ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PORT
  value: "5000"
{{- if .Values.registry.tls }}
- name: ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PULL_HOST
  value: localhost:{{ .Values.registry.nodePort }}
{{- else }}
- name: ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_NODE_PORT
  value: {{ toString .Values.registry.nodePort | quote }}
{{- end }}
# To push, pull and delete; the head of registry.yaml says how to make it.
- name: ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET
  value: hookd-registry
# What any runner has built of the same content is not built again; registry-gc.yaml deletes what is
# not used any more. `delete`: each job deletes its images (docs/building.md).
- name: HOOKD_BUILT_IMAGES
  value: keep
{{- if .Values.registry.tls }}
# The authority of its certificate.
- name: HOOKD_REGISTRY_TLS
  value: {{ $host }}:5000=hookd-registry-tls
{{- else }}
- name: HOOKD_INSECURE_REGISTRIES
  value: {{ $host }}:5000
{{- end }}
{{- end }}

{{- define "hookd.arc.runner" -}}
image: ghcr.io/actions/actions-runner:latest
command: [/home/runner/run.sh]
env:
  # In `env`, not `envFrom`: ARC looks for it there before it deletes
  # what a runner has left behind.
  # With ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER "true" take hook.js: the runner
  # starts it by an absolute path, and hook.sh by a PATH that jobs add to.
  - name: ACTIONS_RUNNER_CONTAINER_HOOKS
    value: /run/hookd/hook.sh
  - name: ACTIONS_RUNNER_POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  # "true" refuses jobs without `container:`, whose scripts run in the
  # runner's own container; then use hook.js above.
  - name: ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER
    value: "false"
volumeMounts:
  {{- if not .ownPod }}
  # hook copies Node.js into it.
  - name: hookd-externals
    mountPath: /run/hookd-agents/externals
  {{- end }}
  # Read-only is enough to run the hook and to connect to the socket.
  - name: hookd
    mountPath: /run/hookd
    readOnly: true
  - name: work
    mountPath: /home/runner/_work
{{- end }}

{{- define "hookd.arc.volumes" -}}
{{- $policy := ternary "" "# " .root.Values.policy.enabled -}}
- name: hookd
  emptyDir:
    sizeLimit: 64Mi
{{ $policy }}- name: policy
{{ $policy }}  configMap:
{{ $policy }}    name: hookd-policy
{{- if .ownPod }}
# One for every runner, deleted with it.
- name: work
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        resources:
          requests:
            storage: 10Gi
{{- else }}
{{- include "hookd.arc.emptyVolumes" . | nindent 0 }}
{{- end }}
- name: token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end }}

{{- define "hookd.arc.emptyVolumes" -}}
{{- if .experimental -}}
# The chart adds `work`. Jobs cannot fill the node's disk beyond these limits: the kubelet evicts the pod.
{{- else -}}
# Jobs cannot fill the node's disk beyond these limits: the kubelet evicts the pod.
- name: work
  emptyDir:
    sizeLimit: 20Gi
{{- end }}
- name: hookd-tools
  emptyDir:
    sizeLimit: 16Mi
- name: hookd-externals
  emptyDir:
    sizeLimit: 1Gi
- name: hookd-github
  emptyDir:
    sizeLimit: 16Mi
# Sockets, and output that hookd has not read: 64 MiB for each step that runs.
{{- range list "job" "services" "steps" }}
- name: hookd-{{ . }}
  emptyDir:
    sizeLimit: 1Gi
{{- end }}
# For `volumes:` of the workflow; each is given once.
{{- range until 4 }}
- name: hookd-volume-{{ . }}
  emptyDir:
    sizeLimit: 20Gi
{{- end }}
{{- end }}
