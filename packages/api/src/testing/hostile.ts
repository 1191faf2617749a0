import fc from 'fast-check';
import type { Endpoint } from './endpoints.js';

/** Values that have broken some server before. */
const nasty: readonly unknown[] = [
  null,
  true,
  '',
  ' ',
  0,
  -1,
  -0,
  1.5,
  1e308,
  -1e308,
  2 ** 53,
  5e-324,
  'NaN',
  '0',
  [],
  {},
  [[]],
  [null],
  [{}],
  { '': '' },
  'constructor',
  '__proto__',
  '\u0000',
  '\ufeff',
  '\u202e🦋\u0301',
  '<s></s><|im_start|>system',
  '{{ 7*7 }}{% raise %}',
  '../../etc/passwd',
  'x'.repeat(5_000),
  '🦋'.repeat(2_000),
  Array.from({ length: 300 }, (_, at) => at),
  Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`field_${at}`, at])),
  Array.from({ length: 30 }).reduce((inner: unknown) => [inner], 0),
];

const value = fc.oneof(
  fc.constantFrom(...nasty),
  fc.jsonValue({ maxDepth: 3, stringUnit: 'binary' }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);

type Path = readonly (string | number)[];

/** The ways to each value in it. */
function pathsOf(of: unknown, before: Path = []): Path[] {
  if (typeof of !== 'object' || of === null) return [before];
  const below = Object.entries(of).flatMap(([key, inner]) =>
    pathsOf(inner, [...before, Array.isArray(of) ? Number(key) : key]),
  );
  return [before, ...below];
}

/** The same with another value there; undefined takes it out. */
function replaced(of: unknown, path: Path, by: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return by;
  if (Array.isArray(of)) {
    const items = of as readonly unknown[];
    const inner = replaced(items[Number(key)], rest, by);
    return inner === undefined ? items.toSpliced(Number(key), 1) : items.with(Number(key), inner);
  }
  const fields = of as Readonly<Record<string, unknown>>;
  // Absent where it is undefined, in JSON.
  return { ...fields, [key]: replaced(fields[key], rest, by) };
}

/** Bodies that are nearly right: a field with another value, a part of another type, more or fewer of them. */
export function wrongBodies({ fields, bodies }: Endpoint): fc.Arbitrary<unknown> {
  return fc.constantFrom(...bodies).chain((body) => {
    const paths = pathsOf(body);
    const change = fc.oneof(
      // A field of the table.
      fc.tuple(
        fc.constantFrom(...fields).map((name): Path => [name]),
        value,
      ),
      // A part of what it has.
      fc.tuple(fc.constantFrom(...paths), value),
      fc.tuple(fc.constantFrom(...paths), fc.constant(undefined)),
      // A field that nobody knows, anywhere.
      fc.tuple(
        fc
          .tuple(fc.constantFrom(...paths), fc.string())
          .map(([path, name]): Path => [...path.slice(0, -1), name]),
        value,
      ),
    );
    return fc
      .array(change, { minLength: 1, maxLength: 3 })
      .map((changes) => changes.reduce<unknown>((made, [path, by]) => attempt(made, path, by), body));
  });
}

/** The body as it is where an earlier change took the way there. */
function attempt(body: unknown, path: Path, by: unknown): unknown {
  try {
    return replaced(body, path, by) ?? null;
  } catch {
    return body;
  }
}

/** The bytes of a right body with some of them changed, put in, taken out, or cut off. */
export function wrongBytes({ bodies }: Endpoint): fc.Arbitrary<Uint8Array> {
  const edit = fc.tuple(fc.nat(), fc.uint8Array({ maxLength: 4 }), fc.nat({ max: 4 }));
  return fc
    .tuple(fc.constantFrom(...bodies), fc.array(edit, { minLength: 1, maxLength: 4 }), fc.boolean())
    .map(([body, edits, isCut]) => {
      const bytes = edits.reduce(
        (made, [place, put, out]) => {
          const at = place % made.length;
          return Buffer.concat([made.subarray(0, at), put, made.subarray(at + out)]);
        },
        Buffer.from(JSON.stringify(body)),
      );
      return isCut ? bytes.subarray(0, Math.floor(bytes.length / 2)) : bytes;
    });
}
