import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AnswerLog, type HeardOf, LogReader } from './answer-log.js';

function read(log: AnswerLog, heard: HeardOf): Buffer {
  const reader = new LogReader(log, heard);
  const pieces: Uint8Array[] = [];
  for (let next = reader.next(); next !== null; next = reader.next())
    pieces.push(typeof next === 'string' ? Buffer.from(next) : next);
  return Buffer.concat(pieces);
}

const parts = fc.array(fc.string({ unit: 'binary', minLength: 1 }));

describe('a log of an answer', () => {
  it('gives what is not known yet, by events and by bytes, in the midst of a character too', () => {
    fc.assert(
      fc.property(parts, fc.nat(20), fc.nat(40), (each, events, bytes) => {
        const log = new AnswerLog();
        for (const part of each) log.append(part);
        const whole = Buffer.from(each.map((part) => Buffer.from(part)).reduce(concat, Buffer.alloc(0)));
        expect(log.bytes).toBe(whole.length);
        expect(read(log, { kind: 'bytes', bytes })).toEqual(whole.subarray(bytes));
        const left = each.slice(events).map((part) => Buffer.from(part));
        expect(read(log, { kind: 'events', events })).toEqual(Buffer.concat(left));
      }),
    );
  });

  it('waits for what is known but not there yet, as where it is told again', () => {
    const log = new AnswerLog();
    const reader = new LogReader(log, { kind: 'events', events: 2 });
    log.append('a');
    expect(reader.next()).toBeNull();
    log.append('b');
    log.append('c');
    expect(reader.next()).toBe('c');
  });

  it('tells who listens that it grew, and that it was closed, for the first reason that there is', () => {
    const log = new AnswerLog();
    const seen: unknown[] = [];
    const leave = log.onChange(() => seen.push([log.parts, log.end]));
    log.append('a');
    log.close('cut');
    log.close('over');
    leave();
    log.append('b');
    expect(seen).toEqual([
      [1, null],
      [1, 'cut'],
      [1, 'cut'],
    ]);
  });
});

const concat = (a: Buffer, b: Buffer): Buffer => Buffer.concat([a, b]);
