import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { endianness, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkerObserver } from '@butterfly/common';
import { ManualClock } from '@butterfly/common/testing';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { AwakeCores } from './awake-cores.js';

const directory = mkdtempSync(join(tmpdir(), 'butterfly-awake-'));
const system = { latencyFile: join(directory, 'latency'), driverFile: join(directory, 'driver') };

beforeEach(() => {
  writeFileSync(system.latencyFile, '');
  writeFileSync(system.driverFile, 'intel_idle\n');
});
afterAll(() => rmSync(directory, { recursive: true }));

function requestedMicros(): number {
  const { buffer, byteOffset, byteLength } = readFileSync(system.latencyFile);
  return new DataView(buffer, byteOffset, byteLength).getInt32(0, endianness() === 'LE');
}

describe('cores kept awake', () => {
  it('asks at the first step, holds that while steps pass, and lets go after the last', () => {
    const clock = new ManualClock();
    using cores = new AwakeCores({ clock, observe: () => undefined, system });
    expect(cores.isHeld).toBe(false);
    for (let step = 0; step < 50; step++) {
      cores.stepPassed();
      expect(cores.isHeld).toBe(true);
      expect(clock.waiting).toBe(1);
      clock.jump(30);
    }
    clock.jump(169);
    expect(cores.isHeld).toBe(true);
    clock.jump(1);
    expect(cores.isHeld).toBe(false);
    expect(clock.waiting).toBe(0);
    cores.stepPassed();
    expect(cores.isHeld).toBe(true);
  });

  it('lets cores rest lightly, but not where that leaves a virtual machine', () => {
    const clock = new ManualClock();
    using onMetal = new AwakeCores({ clock, observe: () => undefined, system });
    onMetal.stepPassed();
    expect(requestedMicros()).toBe(2);
    writeFileSync(system.driverFile, 'haltpoll\n');
    using inMachine = new AwakeCores({ clock, observe: () => undefined, system });
    inMachine.stepPassed();
    expect(requestedMicros()).toBe(0);
    rmSync(system.driverFile);
    using unknown = new AwakeCores({ clock, observe: () => undefined, system });
    unknown.stepPassed();
    expect(requestedMicros()).toBe(2);
  });

  it('does without where the system has no such request, and asks once', () => {
    const kinds: string[] = [];
    const observe: WorkerObserver = ({ kind }) => void kinds.push(kind);
    const absent = { ...system, latencyFile: join(directory, 'absent') };
    using cores = new AwakeCores({ clock: new ManualClock(), observe, system: absent });
    cores.stepPassed();
    cores.stepPassed();
    expect(cores.isHeld).toBe(false);
    expect(kinds).toEqual(['coresMaySleep']);
  });

  it('lets go for good when it is disposed', () => {
    const clock = new ManualClock();
    const cores = new AwakeCores({ clock, observe: () => undefined, system });
    cores.stepPassed();
    cores[Symbol.dispose]();
    expect(cores.isHeld).toBe(false);
    expect(clock.waiting).toBe(0);
    cores.stepPassed();
    expect(cores.isHeld).toBe(false);
  });
});
