import { z } from 'zod';
import { limits } from '@butterfly/common';

/** Cut, not refused, when longer: a failure must be reported however wordy it is. */
export const prose = z.string().overwrite((text) => text.slice(0, 4096));
export const name = z.string().min(1).max(256);
export const count = z.int().min(0);
export const positive = z.int().min(1);
export const port = z.int().min(1).max(65_535);
export const epoch = count.max(0xffff_ffff);
/** Of a model, on the connection to the orchestrator and between workers. */
export const channel = positive.max(limits.channelsMax);
export const requestId = count.max(0xffff_ffff);
export const layer = count.max(65_535);
export const stage = count.max(limits.workersMax);
/** A day; timers of more than 24 days would fire at once. */
export const intervalMs = positive.max(24 * 3_600_000);
export const timestampMs = z.number();
/** Description of a model; the model package validates it. */
export const model = z.record(z.string(), z.unknown()).readonly();
/** A random text that proves membership. */
export const secret = z.string().min(1).max(512);
/** Identifies a shard wherever it is loaded: the same layers, arena and settings of the same weights. */
export const shardId = z.string().regex(/^[0-9a-f]{16,64}$/u);
/** Measured time by rows; rows ascend. */
export const stepTimes = z
  .array(z.object({ rows: positive.max(limits.stepRowsMax), micros: z.number().positive() }).readonly())
  .min(1)
  .max(64)
  .readonly();
/** Where a worker listens for other workers. */
export const peerAddress = z
  .object({
    workerId: name,
    host: name,
    port,
    /** Whom its certificate must name; absent where there are none. */
    member: name.optional(),
  })
  .readonly();
