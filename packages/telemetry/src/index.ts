export { openMetrics } from './metrics/open-metrics.js';
export type { Metrics, MetricsPage, MetricsWishes } from './metrics/metrics-page.js';
export type { MeasuredModel, MeasuredServer } from './metrics/state-metrics.js';
export type {
  ClusterGlance,
  EventView,
  JoinLine,
  LiveMessage,
  ModelGlance,
  Percentiles,
  Pulse,
  SeriesBucket,
} from './view/live-view.js';
export type {
  RequestSpan,
  RequestState,
  RequestTimeline,
  RequestView,
  SpanStage,
} from './view/request-view.js';
export { exactTracesEndpoint, openTraces, tracesEndpoint } from './traces/open-traces.js';
export type { TracedServer, Traces, TracesWishes } from './traces/traces.js';
export { Telemetry } from './live/telemetry.js';
export type { TelemetryView, Watched, WatchedModel, Watching } from './live/telemetry.js';
