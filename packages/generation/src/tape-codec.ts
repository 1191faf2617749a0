import { ButterflyError } from '@butterfly/common';
import type { TokenLogprobs } from '@butterfly/engine';
import type { HeardLine, TapeLine } from './tape.js';

/** JSON knows no infinity, and a probability of 0 has that logarithm. */
type WrittenLogprob = number | null;
type WrittenLogprobs = readonly [WrittenLogprob, readonly (readonly [number, WrittenLogprob])[]];

/** Short, since there is one for each token. */
type Written =
  | { readonly i: number; readonly tokens: string }
  | { readonly c: number; readonly p: readonly (readonly [number, WrittenLogprobs | null])[] }
  | { readonly c: number; readonly t: number; readonly l?: WrittenLogprobs }
  | {
      readonly c: number;
      readonly end: 'stop' | 'length';
      readonly cached: number;
      readonly queued: number | null;
    };

/** A line as bytes: JSON, which whoever looks into a journal can read. */
export function encodeTapeLine(line: TapeLine): Uint8Array {
  return Buffer.from(JSON.stringify(written(line)));
}

/** @throws ButterflyError INTERNAL for what is no such line */
export function decodeTapeLine(bytes: Uint8Array): TapeLine {
  try {
    return lineOf(JSON.parse(Buffer.from(bytes).toString()) as Written);
  } catch (cause) {
    throw new ButterflyError('INTERNAL', 'What was kept of an answer cannot be read.', { cause });
  }
}

function written(line: TapeLine): Written {
  switch (line.kind) {
    case 'input': {
      const { buffer, byteOffset, byteLength } = line.tokens;
      return { i: line.input, tokens: Buffer.from(buffer, byteOffset, byteLength).toString('base64') };
    }
    case 'prompt':
      return {
        c: line.choice,
        p: line.tokens.map(({ token, logprobs }) => [token, logprobs && writtenLogprobs(logprobs)]),
      };
    case 'token':
      return {
        c: line.choice,
        t: line.token,
        ...(line.logprobs ? { l: writtenLogprobs(line.logprobs) } : {}),
      };
    case 'end':
      return {
        c: line.choice,
        end: line.reason,
        cached: line.cachedPromptTokens,
        queued: line.queuedMs,
      };
    default:
      return line satisfies never;
  }
}

function lineOf(from: Written): TapeLine {
  if ('i' in from) {
    const bytes = Uint8Array.from(Buffer.from(from.tokens, 'base64'));
    return { kind: 'input', input: from.i, tokens: new Int32Array(bytes.buffer) };
  }
  return { choice: from.c, ...heardOf(from) };
}

function heardOf(from: Exclude<Written, { readonly i: number }>): HeardLine {
  if ('p' in from) {
    const tokens = from.p.map(([token, logprobs]) => ({ token, logprobs: logprobs && logprobsOf(logprobs) }));
    return { kind: 'prompt', tokens };
  }
  if ('t' in from)
    return { kind: 'token', token: from.t, ...(from.l ? { logprobs: logprobsOf(from.l) } : {}) };
  return { kind: 'end', reason: from.end, cachedPromptTokens: from.cached, queuedMs: from.queued };
}

function writtenLogprobs({ logprob, top }: TokenLogprobs): WrittenLogprobs {
  return [writtenLogprob(logprob), top.map((each) => [each.token, writtenLogprob(each.logprob)])];
}

function logprobsOf([logprob, top]: WrittenLogprobs): TokenLogprobs {
  return {
    logprob: logprob ?? -Infinity,
    top: top.map(([token, each]) => ({ token, logprob: each ?? -Infinity })),
  };
}

const writtenLogprob = (value: number): WrittenLogprob => (Number.isFinite(value) ? value : null);
