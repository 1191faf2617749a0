/** What opening, planning and building a large model takes, told by the process that did it. */
export interface LargeResult {
  readonly fileBytes: number;
  readonly layers: number;
  /** Reading the header, until the survey can begin. */
  readonly openMs: number;
  /** The survey, in a process of its own. */
  readonly surveyMs: number;
  /** The most resident memory of that process. */
  readonly surveyPeakBytes: number;
  readonly planMs: number;
  /** Stages of the plan. */
  readonly stages: number;
  /** Layers of the stage whose graphs were built. */
  readonly stageLayers: number;
  /** Until the first graph can be built, once for each stage. */
  readonly builderMs: number;
  /** By how much the process grew meanwhile and with the graphs below, garbage not collected. */
  readonly builderBytes: number;
  /** Medians of graphs of new shapes. */
  readonly graphMs: { readonly decode: number; readonly prompt: number };
}
