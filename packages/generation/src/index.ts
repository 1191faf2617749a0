export { answerConstraint } from './formats/call-constraint.js';
export type { AnswerConstraint, ArgumentsForm, CallForm } from './formats/call-constraint.js';
export { startAnswer } from './answer.js';
export type { StartOptions } from './answer.js';
export type { Answering, OutputSink } from './answering.js';
export type { AnsweringModel } from './answering-model.js';
export type { AnswerTiming, FinishReason, OutputEvent, ScoredToken, TokenLogprob, Usage } from './events.js';
export { modelCapabilities } from './formats/answer-reading.js';
export { EmbeddingRun } from './embed.js';
export type { EmbedSpec, Embeddings } from './embed.js';
export { promptText, promptTokens } from './prompt.js';
export { noTape } from './tape.js';
export type { HeardLine, Tape, TapeChoiceLine, TapeLine } from './tape.js';
export { decodeTapeLine, encodeTapeLine } from './tape-codec.js';
export { noTools } from './spec.js';
export type {
  AnswerFormat,
  ChatInput,
  DrySpec,
  GenerationInput,
  GenerationSpec,
  InfillFile,
  InfillInput,
  OneInput,
  PlainInput,
  ToolChoice,
  ToolDefinition,
  ToolUse,
} from './spec.js';
export { AnswerCollector } from './whole-answer.js';
export type { Choice, ToolCall, WholeAnswer } from './whole-answer.js';
