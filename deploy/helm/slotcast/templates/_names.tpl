{{- define "slotcast.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "slotcast.workers" -}}
{{ include "slotcast.name" . }}-workers
{{- end }}

{{- define "slotcast.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "slotcast.labels" -}}
{{ include "slotcast.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "slotcast.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* The [kafka] section that the workers read: the file's, and what the environment says over it. */}}
{{- define "slotcast.kafka" -}}
{{- $config := fromToml .Values.config }}
{{- if hasKey $config "Error" }}{{ fail (printf "config is no TOML: %s" $config.Error) }}{{ end }}
{{- $kafka := $config.kafka | default dict }}
{{- range $name, $value := .Values.env }}
{{- if hasPrefix "SLOTCAST_KAFKA__" $name }}
{{- $_ := set $kafka (trimPrefix "SLOTCAST_KAFKA__" $name | lower) $value }}
{{- end }}
{{- end }}
{{- toJson $kafka }}
{{- end }}
