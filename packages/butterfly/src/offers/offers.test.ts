import { silentLogger } from '@butterfly/common';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Catalogue, readCatalogue } from './catalogue.js';
import { fitOfCatalogue, fitOfSpec, specNeedBytes } from './fit.js';
import { localModels } from './local-models.js';
import { type LocalModel, type OfferFacts, offers } from './offers.js';

const gibibyte = 2 ** 30;
const cards = (...sizes: readonly number[]): OfferFacts['cards'] =>
  sizes.map((size, index) => ({ name: `cuda${index}`, memoryBytes: size * gibibyte }));
const machine = (hostGib: number, ...cardGib: readonly number[]): OfferFacts => ({
  cards: cards(...cardGib),
  hostBytes: hostGib * gibibyte,
  diskFreeBytes: null,
});

let catalogue: Catalogue;
let shipped: LocalModel;
beforeAll(async () => {
  catalogue = await readCatalogue();
  const options = { ggmlDirectory: undefined, surveys: null, log: silentLogger };
  const [model] = (await localModels(null, options)).models;
  if (model) shipped = model;
});

/** Such as `qwen3-8b cpu x4`, with `slow` where it is. */
function fitting(facts: OfferFacts, local: readonly LocalModel[] = []): string[] {
  return offers(catalogue, facts, local).fitting.map(
    ({ name, fit, isSlow }) => `${name} ${fit.place} x${fit.parallel}${isSlow ? ' slow' : ''}`,
  );
}

describe('what fits', () => {
  it.each<[string, OfferFacts, string[]]>([
    ['a machine with little memory', machine(1.4), ['llama-3.2-1b cpu x1']],
    [
      'an old laptop',
      machine(4),
      [
        ...['qwen3-4b cpu x2', 'gemma-3-4b cpu x2', 'llama-3.2-3b cpu x2', 'qwen3-1.7b cpu x4'],
        ...['qwen3-0.6b cpu x4', 'llama-3.2-1b cpu x4'],
      ],
    ],
  ])('%s', (_, facts, names) => expect(fitting(facts)).toEqual(names));

  it.each<[string, OfferFacts, string]>([
    ['the mixture before what is slow', machine(28), 'qwen3-30b-a3b cpu x4'],
    ['a card before the CPU', machine(64, 22), 'qwen3-32b cards x2'],
    ['experts beside the card', machine(64, 12), 'gpt-oss-120b cards x4'],
    ['two cards together', machine(8, 22, 22), 'llama-3.3-70b cards x1'],
    ['the CPU where the card is too small', machine(64, 8), 'llama-3.3-70b cpu x4 slow'],
  ])('%s', (_, facts, line) => expect(fitting(facts)).toContain(line));

  it('says what does not, and what it lacks', () => {
    const { fitting: found, misfits } = offers(catalogue, { ...machine(8), diskFreeBytes: 1e9 }, []);
    expect(found.map(({ name }) => name)).toEqual(['qwen3-0.6b', 'llama-3.2-1b']);
    expect(misfits.find(({ name }) => name === 'qwen3-8b')).toMatchObject({
      lacks: 'disk',
      needBytes: 5.03e9,
    });
    expect(misfits.at(-1)).toMatchObject({ name: 'gpt-oss-120b', lacks: 'memory' });
  });

  it('has each model once, and loses none to more memory', () => {
    const size = fc.double({ min: 0, max: 96, noNaN: true });
    const sizes = fc.record({ host: size, card: fc.array(size, { maxLength: 3 }), more: size });
    fc.assert(
      fc.property(sizes, ({ host, card, more }) => {
        const before = offers(catalogue, machine(host, ...card), []);
        const all = [...before.fitting, ...before.misfits].map(({ name }) => name).sort();
        expect(all).toEqual(catalogue.models.map(({ name }) => name).sort());
        const after = offers(catalogue, machine(host + more, ...card.map((each) => each + more)), []);
        const names = new Set(after.fitting.map(({ name }) => name));
        expect(before.fitting.filter(({ name }) => !names.has(name))).toEqual([]);
      }),
    );
  });
});

describe('what is here already', () => {
  const pulled = (): LocalModel => ({ ...shipped, reference: catalogue.models[0]?.model ?? '' });

  it('is offered first, by the name of the catalogue, and not to be fetched again', () => {
    const found = offers(catalogue, machine(16), [shipped, pulled()]).fitting;
    expect(found.slice(0, 3).map(({ kind }) => kind)).toEqual(['pulled', 'shipped', 'download']);
    expect(found.filter(({ name }) => name === 'qwen3-0.6b')).toEqual([
      expect.objectContaining({ kind: 'pulled', model: shipped.path, licence: 'Apache-2.0' }),
    ]);
    expect(found[1]).toMatchObject({ name: 'stories', fit: { place: 'cpu', parallel: 4 }, licence: 'MIT' });
  });

  it('is judged by the planner, on the CPU and on cards', () => {
    const need = specNeedBytes(shipped.spec);
    const facts = (hostBytes: number): OfferFacts => ({ cards: [], hostBytes, diskFreeBytes: null });
    expect(offers(catalogue, facts(need - 1), [shipped]).misfits[0]).toMatchObject({
      ...{ name: 'stories', lacks: 'memory', needBytes: need },
    });
    expect(fitOfSpec(shipped.spec, facts(need))).toEqual({ place: 'cpu', parallel: 1 });
    expect(fitOfSpec(shipped.spec, machine(1, 1, 1))).toEqual({ place: 'cards', parallel: 4 });
    expect(fitOfSpec(shipped.spec, machine(1, 0))).toEqual({ place: 'cpu', parallel: 4 });
  });

  it('has more room by the planner than by the sizes of a catalogue', () => {
    const { bytes, spec } = shipped;
    const entry = { ...catalogue.models[0], bytes, contextTokens: spec.contextTrained, experts: undefined };
    const asCatalogued = { ...entry, cacheBytesPerToken: 2048 } as Catalogue['models'][number];
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1.5, noNaN: true }), (hostGib) => {
        const bySizes = fitOfCatalogue(asCatalogued, machine(hostGib));
        const byPlanner = fitOfSpec(spec, machine(hostGib));
        expect(byPlanner?.parallel ?? 0).toBeGreaterThanOrEqual(bySizes?.parallel ?? 0);
      }),
      { numRuns: 30 },
    );
  });
});
