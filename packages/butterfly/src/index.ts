export { createCluster } from './cluster/cluster.js';
export type { ChatRequest, Cluster, EmbedOptions, TextRequest } from './cluster/cluster.js';
export type { Answer } from './cluster/answers.js';
export type { ClusterOptions } from './cluster/options.js';
export type { ModelFacts, ModelState, OfferedModel } from '@butterfly/api';
export { ButterflyError, errorTable } from '@butterfly/common';
export type {
  BrokenProtocol,
  ButterflyEvent,
  ClusterEvent,
  EngineEvent,
  ErrorCode,
  ErrorKind,
  EventStage,
  LayerRange,
  LoadedBytes,
  Logger,
  Observer,
  ProcessEvent,
  RequestEvent,
  SequenceEnd,
  StepPart,
  StepTime,
  TraceContext,
  TraceEvent,
} from '@butterfly/common';
export type {
  AnswerTiming,
  Choice,
  EmbedSpec,
  Embeddings,
  FinishReason,
  OutputEvent,
  PlainInput,
  ScoredToken,
  TokenLogprob,
  ToolCall,
  Usage,
  WholeAnswer,
} from '@butterfly/generation';
export type { KindTimes } from '@butterfly/model';
export type { SpeedFigures } from '@butterfly/engine';
export { cacheTypes, workerStates } from '@butterfly/orchestrator';
export type {
  CacheType,
  ClusterDescription,
  DrainDescription,
  HostDescription,
  LinkDescription,
  ProfileDescription,
  ReplicaDescription,
  VerificationDescription,
  WorkerDescription,
  WorkerState,
} from '@butterfly/orchestrator';
export type {
  JudgedPlan,
  JudgedStage,
  Link,
  Objective,
  OwnCost,
  OwnObjective,
  Plan,
  PlanStage,
  Prediction,
} from '@butterfly/planning';
