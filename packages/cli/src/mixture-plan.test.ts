import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { architectureFixtures, architectureHeader, encodeGgufHeader } from '@butterfly/testkit';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { Folder } from './testing/models.js';

const folder = new Folder();
const path = join(folder.path, 'qwen3-235b.gguf');
const layers = 94;
const gib = 2 ** 30;

/** A header with the shapes of Qwen3-235B-A22B in Q4_K, and a hole where its weights would be. */
beforeAll(async () => {
  const fixture = architectureFixtures().find(({ name }) => name === 'qwen3moe');
  if (!fixture) throw new RangeError('there is no fixture qwen3moe');
  const header = architectureHeader(
    {
      ...fixture,
      metadata: {
        ...fixture.metadata,
        context_length: 40_960,
        embedding_length: 4096,
        block_count: layers,
        feed_forward_length: 12_288,
        'attention.head_count': 64,
        'attention.head_count_kv': 4,
        'attention.key_length': 128,
        'attention.value_length': 128,
        'rope.dimension_count': 128,
        expert_count: 128,
        expert_used_count: 8,
        expert_feed_forward_length: 1536,
      },
      small: {
        embedding_length: 256,
        feed_forward_length: 256,
        expert_count: 16,
        expert_feed_forward_length: 256,
      },
    },
    'Q4_K',
  );
  const bytes = encodeGgufHeader(header.metadata, header.tensors);
  await writeFile(path, bytes);
  await truncate(path, bytes.length + header.dataBytes);
  expect(header.dataBytes).toBeGreaterThan(120e9);
});
afterAll(() => folder[Symbol.dispose]());

const card = {
  name: 'card',
  memory: '22G',
  weightBytesPerSecond: '900GB',
  machine: 'desk',
  host: { memory: '58G', weightBytesPerSecond: '60GB' },
};
/** Of 128 GB, of which macOS gives its GPU three quarters. */
const mac = { name: 'mac', memory: '96G', weightBytesPerSecond: '400GB' };
const box = { name: 'box', memory: '60G', weightBytesPerSecond: '40GB' };

interface Planned {
  readonly stages: readonly {
    readonly workerId: string;
    readonly layerStart: number;
    readonly layerEnd: number;
    readonly bytes: number;
    readonly host?: { readonly bytes: number; readonly experts: number };
  }[];
  readonly predicted: { readonly latencyMicros: number };
  readonly reasons: readonly {
    readonly workerId: string;
    readonly isUsed: boolean;
    readonly reason: string;
  }[];
}

async function planFor(workers: readonly object[], args: readonly string[] = []): Promise<Planned> {
  const network = { latencyMs: 0.1, bandwidth: '10Gbit' };
  const file = folder.write('machines.json', JSON.stringify({ workers, network }));
  const wishes = ['--objective', 'latency', '--parallel', '1', '--ctx', '8192', '--json'];
  const { code, stdout, stderr } = await run(['plan', path, '--workers-file', file, ...wishes, ...args]);
  expect([code, stderr]).toEqual([0, []]);
  return (JSON.parse(stdout.join('\n')) as { readonly plan: Planned }).plan;
}

const stageOf = (plan: Planned, workerId: string): Planned['stages'][number] | undefined =>
  plan.stages.find((stage) => stage.workerId === workerId);
const reasonOf = (plan: Planned, workerId: string): string =>
  plan.reasons.find((each) => each.workerId === workerId)?.reason ?? '';

it('gives a mixture of 235 thousand million weights to a card with the memory beside it, and to a Mac', async () => {
  const plan = await planFor([card, mac, box]);
  const [onCard, onMac] = [stageOf(plan, 'card'), stageOf(plan, 'mac')];
  if (!onCard?.host || !onMac) throw new RangeError('the card or the Mac has no place');
  // Each to its memory, and the slow box only with what is left.
  expect(onCard.bytes).toBeLessThanOrEqual(22 * gib);
  expect(onCard.host.bytes).toBeLessThanOrEqual(58 * gib);
  expect(onMac.bytes).toBeLessThanOrEqual(96 * gib);
  expect(onMac.host).toBeUndefined();
  expect(plan.reasons.map(({ workerId, isUsed }) => [workerId, isUsed])).toEqual([
    ['card', true],
    ['mac', true],
    ['box', false],
  ]);
  // Attention and cache of all of its layers are on the card, and the experts of as few as must lie beside it.
  expect(onCard.host.experts).toBeGreaterThan(0);
  expect(onCard.host.experts).toBeLessThan(onCard.layerEnd - onCard.layerStart);
  expect(onCard.bytes).toBeGreaterThan(20 * gib);
  expect(reasonOf(plan, 'card')).toMatch(
    /of the 58(?:\.\d+)? GiB beside it, where the experts of .* are, as the card has no room/u,
  );
  expect(reasonOf(plan, 'box')).toMatch(/slow each token/u);

  // Without the memory beside the card the rest has to go to the box, which is slower.
  const { name, memory, weightBytesPerSecond, machine } = card;
  const bare = { name, memory, weightBytesPerSecond, machine };
  const without = await planFor([bare, mac, box]);
  expect(stageOf(without, 'box')).toBeDefined();
  expect(without.predicted.latencyMicros).toBeGreaterThan(plan.predicted.latencyMicros * 1.1);
});

it('counts the memory of a machine once, whoever of its workers offers it', async () => {
  const beside = { ...box, name: 'beside', memory: '58G', machine: 'desk' };
  const plan = await planFor([card, beside, mac, { ...box, name: 'attic' }], ['--stages', '3']);
  const hostBytes = (stageOf(plan, 'card')?.host?.bytes ?? 0) + (stageOf(plan, 'beside')?.bytes ?? 0);
  expect(hostBytes).toBeGreaterThan(0);
  expect(hostBytes).toBeLessThanOrEqual(58 * gib);
});

it('keeps experts where the owner of the card wants them', async () => {
  const plan = await planFor([{ ...card, host: { ...card.host, experts: 'device' } }, mac, box]);
  expect(stageOf(plan, 'card')?.host?.experts ?? 0).toBe(0);
  const always = await planFor([{ ...card, host: { ...card.host, experts: 'host' } }, mac, box]);
  const stage = stageOf(always, 'card');
  expect(stage?.host?.experts).toBe((stage?.layerEnd ?? 0) - (stage?.layerStart ?? 0));
});
