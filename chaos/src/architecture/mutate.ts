import type { ArchitectureHeader, MetadataEntry, TensorEntry } from '@butterfly/testkit';

/** Numbers below a bound, in an order that the seed decides. */
export type Below = (bound: number) => number;

/** One change of a header, and in words what it is. */
export interface Mutation {
  readonly header: Pick<ArchitectureHeader, 'metadata' | 'tensors'>;
  readonly change: string;
}

const oddWholes = [
  0,
  1,
  2,
  3,
  5,
  7,
  13,
  31,
  33,
  64,
  255,
  256,
  1000,
  4096,
  65_535,
  65_536,
  1_000_003,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
];
const oddFloats = [NaN, Infinity, -Infinity, 3.4e38, -3.4e38, 0, -0, 1, -1, 1e-40, 1000];
const oddTexts = ['', ' ', 'none', 'linear', 'yarn', 'longrope', 'butterfly', 'x'.repeat(2000), '\0', '🦋'];
const listLengths = [0, 1, 2, 3, 5, 6, 7, 64, 513, 5000];

/** Takes a key away, gives it another value or type, or another shape to a tensor; the file is as long as that wants. */
export function mutate(header: ArchitectureHeader, architecture: string, below: Below): Mutation {
  const keys = Object.keys(header.metadata).filter((key) => key.startsWith(`${architecture}.`));
  const key = keys[below(keys.length)] ?? '';
  const isOfTensor = below(3) === 0;
  if (isOfTensor) return mutateTensor(header, below);
  if (below(3) === 0) {
    const metadata = Object.fromEntries(Object.entries(header.metadata).filter(([name]) => name !== key));
    return { header: { ...header, metadata }, change: `without ${key}` };
  }
  const before = header.metadata[key];
  const after = below(4) === 0 || !before ? anyEntry(below) : otherEntry(before, below);
  return {
    header: { ...header, metadata: { ...header.metadata, [key]: after } },
    change: `${key} as ${JSON.stringify(after).slice(0, 200)}`,
  };
}

function pick<T>(values: readonly [T, ...T[]] | readonly T[], below: Below): T {
  const value = values[below(values.length)];
  if (value === undefined) throw new RangeError('there is nothing to pick from');
  return value;
}

function anyEntry(below: Below): MetadataEntry {
  const entries: readonly MetadataEntry[] = [
    { type: 'u32', value: pick(oddWholes, below) },
    { type: 'i32', value: -pick(oddWholes.slice(0, -2), below) },
    { type: 'f32', value: pick(oddFloats, below) },
    { type: 'bool', value: below(2) === 0 },
    { type: 'string', value: pick(oddTexts, below) },
    { type: 'strings', value: ['a', 'b'] },
    { type: 'bools', value: listOf(() => below(2) === 0, below) },
    { type: 'u32s', value: listOf(() => pick(oddWholes, below), below) },
    { type: 'f32s', value: listOf(() => pick(oddFloats, below), below) },
  ];
  return pick(entries, below);
}

function listOf<T>(value: () => T, below: Below): T[] {
  return Array.from({ length: pick(listLengths, below) }, value);
}

/** An entry of the same type. */
function otherEntry(entry: MetadataEntry, below: Below): MetadataEntry {
  const whole = (value: number): number =>
    pick([value + 1, Math.max(0, value - 1), value * 2, ...oddWholes], below);
  switch (entry.type) {
    case 'u16':
    case 'u32':
      return { type: 'u32', value: Math.min(2 ** 32 - 1, whole(entry.value)) };
    case 'i32':
      return { type: 'i32', value: -entry.value - 1 };
    case 'f32':
      return { type: 'f32', value: pick([entry.value * 2, -entry.value, ...oddFloats], below) };
    case 'bool':
      return { type: 'bool', value: !entry.value };
    case 'string':
      return { type: 'string', value: pick(oddTexts, below) };
    case 'bools':
      return { type: 'bools', value: listOf(() => below(2) === 0, below) };
    case 'u32s':
    case 'i32s':
      return {
        type: 'u32s',
        value: entry.value.map((value) => Math.min(2 ** 32 - 1, Math.abs(whole(value)))),
      };
    case 'f32s':
      return { type: 'f32s', value: listOf(() => pick(oddFloats, below), below) };
    case 'strings':
      return { type: 'strings', value: listOf(() => pick(oddTexts, below), below) };
    default:
      return entry satisfies never;
  }
}

function mutateTensor(header: ArchitectureHeader, below: Below): Mutation {
  const at = below(header.tensors.length);
  const tensor = header.tensors[at];
  if (!tensor) throw new RangeError('a model has at least one tensor');
  const { name } = tensor;
  const others = header.tensors.filter((_, i) => i !== at);
  const changed = (change: Partial<TensorEntry>): readonly TensorEntry[] =>
    header.tensors.map((each, i) => (i === at ? { ...each, ...change } : each));
  const dimension = below(tensor.shape.length);
  const size = tensor.shape[dimension] ?? 1;
  const other = pick([size * 2, Math.max(1, size >> 1), size + 32, size + 1, 1, 32, 2 ** 20], below);
  const resized = tensor.shape.map((each, i) => (i === dimension ? other : each));
  const all: readonly (() => readonly [readonly TensorEntry[], string])[] = [
    () => [others, `without ${name}`],
    () => [changed({ shape: resized }), `${name} of ${resized.join('x')}`],
    () => [changed({ shape: tensor.shape.toReversed() }), `${name} turned round`],
    () => [changed({ shape: [...tensor.shape, 2].slice(0, 4) }), `${name} of one more dimension`],
    () => [changed({ name: `${name}.other` }), `${name} renamed`],
    () => [changed({ type: pick([0, 1, 8, 24, 26, 30, 39], below) }), `${name} of another type`],
    () => [[...header.tensors, { ...tensor, name: 'blk.0.more.weight' }], 'one tensor more'],
  ];
  const [tensors, change] = pick(all, below)();
  return { header: { ...header, tensors }, change };
}
