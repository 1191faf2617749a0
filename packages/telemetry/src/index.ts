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
export { Telemetry } from './live/telemetry.js';
export type { TelemetryView, Watched, WatchedModel, Watching } from './live/telemetry.js';
