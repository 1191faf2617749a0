import { fileURLToPath } from 'node:url';
import type { ButterflyEvent, Observer } from '@butterfly/common';
import { cacheBytesPerSlot, describeFamilyModel, openGguf } from '@butterfly/model';
import { beforeAll, describe, expect, it } from 'vitest';
import { modelPlanner, plannerInput } from './model-planner.js';
import { lan } from './testing/problems.js';
import { plainWishes, type PlannerMember } from './types.js';

const path = fileURLToPath(new URL('../../../../shared/models/aidreams-260k.gguf', import.meta.url));
let spec: ReturnType<typeof describeFamilyModel>;
beforeAll(async () => {
  spec = describeFamilyModel(await openGguf(path));
});

const curve = [{ rows: 1, micros: 100 }];
const member = (workerId: string, f16: number, bf16: number, memoryBytes = 2 ** 30): PlannerMember => ({
  workerId,
  name: workerId,
  memoryBytes,
  profile: { layerCurve: curve, outputCurve: curve, attentionMicros: { f16, bf16, q8_0: 1 } },
});
const link = () => lan;
const options = () => ({ spec, arenaSlots: 1024, rowsMax: 64, wishes: plainWishes, concurrency: 4 }) as const;
const plannerFor = (kvCacheType?: string, observe: Observer = () => undefined) =>
  modelPlanner({ ...options(), kvCacheType, observe }).plan;

describe('modelPlanner', () => {
  it('chooses the cache for the workers of the first plan, says why once, and keeps it', () => {
    const told: ButterflyEvent[] = [];
    const plan = plannerFor(undefined, (event) => void told.push(event));
    expect(plan([member('a', 10, 5)], link).cacheType).toBe('bf16');
    expect(plan([member('a', 10, 5), member('b', 10, 500)], link).cacheType).toBe('bf16');
    expect(plan([member('b', 10, 500)], link).cacheType).toBe('bf16');
    expect(told).toEqual([
      {
        kind: 'cacheTypeChosen',
        cacheType: 'bf16',
        reason: 'Attention takes bf16 0.50 of the time that it takes with f16.',
      },
    ]);
  });

  it('refuses replicas beside an objective of one’s own, which judges one pipeline', () => {
    const objective = { name: 'joules per token', costOf: () => 1 };
    const planner = (replicasMax: number) =>
      modelPlanner({
        ...options(),
        wishes: { ...plainWishes, objective, replicasMax },
        observe: () => undefined,
      });
    expect(planner(1).plan([member('a', 10, 5)], link).objective).toEqual({ name: objective.name, cost: 1 });
    expect(() => planner(2)).toThrow(/"joules per token" judges one pipeline, and 2 replicas are several/);
  });

  it('chooses again after a plan that could not be made, since no number came of it', () => {
    const plan = plannerFor();
    expect(() => plan([member('a', 10, 5, 1000)], link)).toThrow(
      expect.objectContaining({ code: 'MODEL_TOO_LARGE' }),
    );
    expect(plan([member('b', 10, 20)], link).cacheType).toBe('f16');
    expect(plan([member('a', 10, 5)], link).cacheType).toBe('f16');
  });

  it('takes what is asked for, and counts the memory that it takes', () => {
    const heads = { keySize: 64, valueSize: 64 };
    const bytesOf = (kvCacheType: string, slots: number): number =>
      modelPlanner({
        ...options(),
        spec: { ...spec, attention: spec.attention.map((layer) => layer && { ...layer, ...heads }) },
        arenaSlots: slots,
        kvCacheType,
        observe: () => undefined,
      }).plan([member('a', 10, 5)], link).stages[0]?.bytes ?? NaN;
    for (const type of ['f16', 'bf16', 'q8_0'] as const)
      expect(bytesOf(type, 2048) - bytesOf(type, 1024)).toBe(
        1024 *
          spec.attention.reduce(
            (sum, layer) => sum + cacheBytesPerSlot(layer && { ...layer, ...heads }, type),
            0,
          ),
      );
  });

  it.each([
    ['q8_0', /Heads of 16 elements/],
    ['q4_0', /no KV cache type "q4_0"/],
  ])('refuses %s before there is any worker', (kvCacheType, message) => {
    expect(() => plannerFor(kvCacheType)).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: expect.stringMatching(message) as string,
      }),
    );
  });
});

describe('plannerInput', () => {
  it('counts the free memory of a machine once, however many workers of it offer it', () => {
    const shared = (id: string, memoryBytes: number) => ({
      ...member(id, 1, 1, memoryBytes),
      memoryOf: 'desk',
    });
    const members = [shared('a', 900), shared('b', 450), member('c', 1, 1, 700), member('d', 1, 1, 300)];
    const { workers } = plannerInput(options(), members, link, 'f16');
    expect(workers.map(({ memoryBytes }) => memoryBytes)).toEqual([600, 300, 700, 300]);
    const [alone] = plannerInput(options(), [shared('a', 900)], link, 'f16').workers;
    expect(alone?.memoryBytes).toBe(900);
  });

  it('takes sizes from the model and curves from the profiles', () => {
    const input = plannerInput(
      { ...options(), wishes: { ...plainWishes, stagesMin: 2 } },
      [member('a', 10, 5)],
      link,
      'bf16',
    );
    expect(input).toMatchObject({ objective: 'throughput', concurrency: 4, stagesMin: 2 });
    expect(input.model).toMatchObject({
      name: spec.name,
      cacheType: 'bf16',
      activationBytes: 4 * spec.hidden,
      kvBytesPerSlot: spec.attention.map((layer) => cacheBytesPerSlot(layer, 'bf16')),
    });
    expect(input.model.layerBytes).toHaveLength(spec.layers);
    expect(input.workers).toEqual([
      {
        workerId: 'a',
        name: 'a',
        memoryBytes: 2 ** 30,
        layerCurve: curve,
        curvesByKind: [curve],
        outputCurve: curve,
      },
    ]);
  });
});
