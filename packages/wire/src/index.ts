export { blockSpeed } from './connection/block-speed.js';
export type { TimedBlock } from './connection/block-speed.js';
export { Channel } from './connection/channel.js';
export type { Outlet } from './connection/channel.js';
export { Connection } from './connection/connection.js';
export type { ByteStream, ConnectionHandlers } from './connection/connection.js';
export { callerOf, Doorkeeper, turnAway } from './connection/doorkeeper.js';
export type { Caller } from './connection/doorkeeper.js';
export { RangeServer } from './connection/range-server.js';
export type { AskedRange, RangeDigests, RangeReader } from './connection/range-server.js';
export {
  dial,
  dialOver,
  listen,
  listenError,
  listenOn,
  memberAt,
  tcpTransport,
} from './connection/transport.js';
export type {
  DialOptions,
  ExpectedPeer,
  IncomingStream,
  ListenOptions,
  Listener,
  Opening,
  PeerIdentity,
  Transport,
} from './connection/transport.js';
export { decodeActivations, encodeActivations } from './frames/activations.js';
export { FrameDecoder, encodeFrame, protocolVersion } from './frames/frame.js';
export type { Frame, FrameType, ReceivedFrame } from './frames/frame.js';
export { poolings } from './frames/pooling.js';
export type { Pooling } from './frames/pooling.js';
export { greedySampling } from './frames/sampling.js';
export {
  decodeFileChunk,
  decodeStep,
  decodeStepResult,
  encodeFileChunk,
  encodeStep,
  encodeStepResult,
} from './frames/step.js';
export { firstToKeep, holdsWindow, roomBlockSlots, roomFits, roomSlotsFor } from './frames/rooms.js';
export type { WindowRooms } from './frames/rooms.js';
export type { SequenceConstraint } from './frames/step-constraint.js';
export { decodeVocabulary, encodeVocabulary } from './frames/vocabulary.js';
export type { TokenTable } from './frames/vocabulary.js';
export { decodeWitnessed, encodeWitnessed } from './frames/witnessed.js';
export type { Witnessed } from './frames/witnessed.js';
export { emptyState, firstOwnState, tokenOfStepBefore, wasteState } from './frames/types.js';
export type {
  Activations,
  ArenaCopy,
  DrySampling,
  FileChunk,
  LogitBias,
  Logprobs,
  SamplingParams,
  ScoredTokens,
  SequenceState,
  StageTime,
  Step,
  StepOutput,
  SequenceWindow,
  StepResult,
  StepSequence,
} from './frames/types.js';
export { cacheTypes } from './messages/cache-type.js';
export type { CacheType } from './messages/cache-type.js';
export { decodeControl, encodeControl } from './messages/messages.js';
export type {
  ControlMessage,
  ControlMessageOf,
  StageReport,
  WorkerIdentity,
  WorkerProfile,
} from './messages/messages.js';
