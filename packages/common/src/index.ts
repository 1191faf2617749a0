export { ButterflyError, ensure, errorTable, exitCodes, isErrorCode, toButterflyError } from './errors.js';
export type { ErrorCode, ErrorKind } from './errors.js';
export { deadlines, limits } from './limits.js';
export { systemClock } from './clock.js';
export type { Clock } from './clock.js';
export { createLogger, logLevels, silentLogger } from './log.js';
export type { Logger, LogLevel } from './log.js';
export { parseAddress, parseConfig } from './config.js';
export type { ArenaCopy, FileChunk, SamplingParams, Step, StepResult, StepSequence } from './wire/types.js';
