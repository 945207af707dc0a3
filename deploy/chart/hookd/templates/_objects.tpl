{{/* Labels of each object. */}}
{{- define "hookd.labels" -}}
app.kubernetes.io/name: hookd
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/*
The objects of a manifest of deploy/, as a JSON list: with the chart's labels, in a namespace, and with the chart's
namespaces in selectors. Keys of the call:
  root             the chart's context
  file             the manifest
  namespace        where it belongs; none: that of the release
  createNamespace  its Namespace is among the objects
  fill             values of ${NAMES} in the manifest
  without          the end of lines to leave out
*/}}
{{- define "hookd.objects" -}}
{{- $namespace := .namespace | default .root.Release.Namespace }}
{{- if and .createNamespace (eq $namespace .root.Release.Namespace) }}
  {{- fail (printf "namespace %s is the release's own: set createNamespace of the part in it to false" $namespace) }}
{{- end }}
{{- $text := .root.Files.Get .file | required (printf "the chart has no %s" .file) }}
{{- range $name, $value := .fill }}
  {{- $text = replace (printf "${%s}" $name) (toString $value) $text }}
{{- end }}
{{- if .without }}
  {{- $text = regexReplaceAll (printf "(?m)^.* %s$" .without) $text "" }}
{{- end }}
{{- $namespaces := dict "arc-runners" .root.Release.Namespace "hookd-registry" .root.Values.registry.namespace
      "buildkit" .root.Values.buildkitd.namespace }}
{{- range $name, $own := $namespaces }}
  {{- $label := "kubernetes.io/metadata.name: " }}
  {{- /* In quotes, so that none is replaced twice. */}}
  {{- $text = regexReplaceAll (printf "(?m)%s%s$" $label $name) $text (printf "%s%q" $label $own) }}
{{- end }}
{{- $objects := list }}
{{- range regexSplit "(?m)^---$" $text -1 }}
  {{- $object := fromYaml . }}
  {{- if $object.Error }}{{ fail (printf "%s: %s" $.file $object.Error) }}{{ end }}
  {{- $metadata := $object.metadata }}
  {{- $labels := include "hookd.labels" $.root | fromYaml }}
  {{- $_ := set $metadata "labels" (mergeOverwrite $labels ($metadata.labels | default dict)) }}
  {{- /* What cannot be made again: the registry's images, and what others have put into a namespace. */}}
  {{- if has $object.kind (list "Namespace" "PersistentVolumeClaim") }}
    {{- $keep := dict "helm.sh/resource-policy" "keep" }}
    {{- $_ := set $metadata "annotations" (mergeOverwrite ($metadata.annotations | default dict) $keep) }}
  {{- end }}
  {{- if eq $object.kind "Namespace" }}
    {{- $_ := set $metadata "name" $namespace }}
  {{- else if not (hasPrefix "ValidatingAdmissionPolicy" $object.kind) }}
    {{- $_ := set $metadata "namespace" $namespace }}
  {{- end }}
  {{- if or (ne $object.kind "Namespace") $.createNamespace }}
    {{- $objects = append $objects $object }}
  {{- end }}
{{- end }}
{{- toJson $objects }}
{{- end }}

{{/* The head of a ConfigMap of the chart's own. Keys of the call: root, name, namespace, labels. */}}
{{- define "hookd.configmap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}
  namespace: {{ .namespace | default .root.Release.Namespace | quote }}
  labels:
    {{- mergeOverwrite (include "hookd.labels" .root | fromYaml) (.labels | default dict) | toYaml | nindent 4 }}
{{- end }}

{{/* Roles of jobs in pods of their own, and of builds with a registry. */}}
{{- define "hookd.ownPod" -}}
{{- if or .Values.rbac.ownPod .Values.registry.enabled }}true{{ end }}
{{- end }}

{{/* The registry as pods reach it. */}}
{{- define "hookd.registryHost" -}}
registry.{{ .Values.registry.namespace }}.svc
{{- end }}
