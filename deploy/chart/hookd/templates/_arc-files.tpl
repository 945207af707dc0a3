{{/* A file of values for each of ARC's charts and each placement. */}}

{{- define "hookd.arc.values" -}}
# hookd with ARC: values for the chart gha-runner-scale-set as it is. Jobs, container steps and builds run
# in the runner pod, without claim or registry (docs/placement.md; values-own-pod.yaml is the other way).
# Apply rbac.yaml in the runners' namespace first, or install hookd's chart. Fill in the lines with <...>, then
#   helm install <scale set> -n <namespace> -f values.yaml \
#     oci://ghcr.io/actions/actions-runner-controller-charts/gha-runner-scale-set
{{ include "hookd.arc.stable" (dict "root" . "ownPod" false) }}
{{- end }}

{{- define "hookd.arc.values-own-pod" -}}
# hookd with ARC, jobs in pods of their own: values for the chart gha-runner-scale-set as it is. Apply
# rbac-own-pod.yaml in the runners' namespace first, or install hookd's chart. Fill in the lines with <...>, then
#   helm install <scale set> -n <namespace> -f values-own-pod.yaml \
#     oci://ghcr.io/actions/actions-runner-controller-charts/gha-runner-scale-set
{{ include "hookd.arc.stable" (dict "root" . "ownPod" true) }}
{{- end }}

{{- define "hookd.arc.stable" }}
githubConfigUrl: https://github.com/<owner>
githubConfigSecret: <secret>

# containerMode stays unset: the chart would add its own hook and permissions.

template:
  spec:
    # Naming one keeps the chart from making its own. The listener has another.
    serviceAccountName: hookd
    {{- include "hookd.arc.pod" . | nindent 4 }}
    containers:
      - name: runner
        {{- include "hookd.arc.runner" . | nindent 8 }}
    volumes:
      {{- include "hookd.arc.volumes" . | nindent 6 }}
{{- end }}

{{- define "hookd.arc.values-experimental" -}}
# hookd with ARC's chart gha-runner-scale-set-experimental 0.14.2: as values.yaml, in the words of that chart.
# Apply rbac.yaml in the runners' namespace first, and bind its Role to the account that the chart makes:
#   kubectl -n <namespace> create rolebinding <scale set>-hookd --role hookd-runner-pod \
#     --serviceaccount <namespace>:<scale set>-no-permission
# or install hookd's chart with that account in rbac.accounts. Fill in the lines with <...>, then
#   helm install <scale set> -n <namespace> -f values-experimental.yaml \
#     oci://ghcr.io/actions/actions-runner-controller-charts/gha-runner-scale-set-experimental
{{- $call := dict "root" . "ownPod" false "experimental" true }}

scaleset:
  name: <scale set>

auth:
  url: https://github.com/<owner>
  secretName: <secret>

runner:
  # Not "kubernetes": there the chart mounts nothing but the work directory in the runner container, so that
  # a hook at `runner.kubernetesMode.hookPath` could not reach hookd.
  mode: ""
  container:
    {{- include "hookd.arc.runner" $call | nindent 4 }}
    # The chart's volume `work` has no limit: beyond this one, of all that the pod writes, the kubelet evicts it.
    resources:
      requests:
        ephemeral-storage: 1Gi
      limits:
        ephemeral-storage: 40Gi
  pod:
    spec:
      {{- include "hookd.arc.pod" $call | nindent 6 }}
      volumes:
        {{- include "hookd.arc.volumes" $call | nindent 8 }}
{{- end }}
