{{- define "tributary.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "tributary.operator" -}}
{{ include "tributary.fullname" . }}-operator
{{- end }}

{{- define "tributary.serviceAccount" -}}
{{ default (include "tributary.operator" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "tributary.selector" -}}
app.kubernetes.io/name: tributary
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "tributary.labels" -}}
{{ include "tributary.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The release's namespace and platformNamespaces, each once. */}}
{{- define "tributary.platformNamespaces" -}}
{{ concat (list .Release.Namespace) .Values.platformNamespaces | uniq | join "," }}
{{- end }}

{{- define "tributary.subject" -}}
- kind: ServiceAccount
  name: {{ include "tributary.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Rules of NetworkPolicies. */}}
{{- define "tributary.dnsEgress" -}}
- ports:
  - {port: 53, protocol: UDP}
  - {port: 53, protocol: TCP}
{{- end }}

{{/* `ports` and `to` of one server; an empty `to` is anywhere on these ports. */}}
{{- define "tributary.egressTo" -}}
- ports:
  {{- range .ports }}
  - {port: {{ . }}, protocol: TCP}
  {{- end }}
  {{- with .to }}
  to: {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Nobody, when nobody is named: an empty list of peers in a rule would mean everybody. */}}
{{- define "tributary.metricsIngress" -}}
{{- if .from -}}
- from: {{- toYaml .from | nindent 2 }}
  ports:
  - {port: {{ .port }}, protocol: TCP}
{{- else -}}
[]
{{- end }}
{{- end }}
