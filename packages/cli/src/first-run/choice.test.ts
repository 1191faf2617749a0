import type { Misfit, Offer } from 'butterfly/command';
import { describe, expect, it } from 'vitest';
import { choiceOf, serveArguments } from './choice.js';

const offer: Offer = {
  ...{
    kind: 'download',
    name: 'a-1b',
    title: 'A 1B',
    model: 'hf:org/a:a.gguf',
    bytes: 1e9,
    needBytes: 2 ** 30,
  },
  ...{ fit: { place: 'cpu', parallel: 2 }, isSlow: false, goodFor: 'tests', licence: 'MIT' },
};
const pulled: Offer = { ...offer, kind: 'pulled', name: 'b-2b', model: '/models/b.gguf' };
const misfits: Misfit[] = [
  { name: 'c-70b', model: 'hf:org/c:c.gguf', lacks: 'memory', needBytes: 40 * 2 ** 30 },
  { name: 'd-8b', model: 'hf:org/d:d.gguf', lacks: 'disk', needBytes: 5 * 2 ** 30 },
];
const offers = { fitting: [pulled, offer], misfits };

describe('a choice', () => {
  it.each([
    ['1', { model: '/models/b.gguf', isHere: true, offer: pulled }],
    ['b-2b', { model: '/models/b.gguf', isHere: true, offer: pulled }],
    ['a-1b', { model: 'hf:org/a:a.gguf', isHere: false, offer }],
    ['hf:org/a:a.gguf', { model: 'hf:org/a:a.gguf', isHere: false, offer }],
    ['hf:org/other', { model: 'hf:org/other', isHere: false, offer: null }],
    ['mine.gguf', { model: 'mine.gguf', isHere: true, offer: null }],
    ['./mine', { model: './mine', isHere: true, offer: null }],
  ])('%s', (named, choice) => expect(choiceOf(named, offers)).toEqual(choice));

  it.each([
    ['c-70b', 'MODEL_TOO_LARGE', /40\.00 GiB of memory.*butterfly pull hf:org\/c:c\.gguf/],
    ['hf:org/d:d.gguf', 'DISK_FULL', /5\.00 GiB of the disk.*--cache-dir/],
    ['3', 'NOT_FOUND', /no model "3".*--list/],
    ['nothing', 'NOT_FOUND', /no model "nothing"/],
  ])('%s is refused', (named, code, message) => {
    expect(() => choiceOf(named, offers)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) as string }) as Error,
    );
  });
});

describe('the command line of serve', () => {
  const cards = [
    { name: 'cuda0', memoryBytes: 1 },
    { name: 'cuda1', memoryBytes: 1 },
  ];
  const onCards: Offer = { ...pulled, fit: { place: 'cards', parallel: 4 } };
  const ports = { port: 8080, clusterPort: 7600 };
  const usual = ['--port', '8080', '--cluster-port', '7600', '--cluster-host', '0.0.0.0'];

  it.each([
    ['the CPU', pulled, [], ['--device', 'cpu', '--parallel', '2', ...usual]],
    ['all cards', onCards, cards, ['--device', 'cuda0,cuda1', '--parallel', '4', ...usual]],
    [
      'the CPU beside cards that are too small',
      pulled,
      cards,
      ['--device', 'cpu', '--parallel', '2', ...usual],
    ],
    ['what nobody judged', null, cards, ['--device', 'cuda0,cuda1', ...usual]],
  ])('is for %s', (_, chosen, found, args) =>
    expect(serveArguments('m.gguf', { offer: chosen }, { cards: found }, ports)).toEqual(['m.gguf', ...args]),
  );

  it('keeps others out, and has the folders, where that is asked for', () => {
    const wishes = { ...ports, alone: true, cacheDir: '/c', dataDir: '/d' };
    expect(serveArguments('m.gguf', { offer: null }, { cards: [] }, wishes)).toEqual([
      'm.gguf',
      '--device',
      'cpu',
      ...usual.slice(0, 4),
      '--cache-dir',
      '/c',
      '--data-dir',
      '/d',
    ]);
  });
});
