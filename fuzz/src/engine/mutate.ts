/** Numbers from 0 up to, but not including, a bound, in an order that the seed decides. */
export type Below = (bound: number) => number;

/** Edges of the widths that numbers have in what we read. */
const oddNumbers: readonly bigint[] = [
  ...[0n, 1n, 2n, 3n, 4n, 7n, 8n, 31n, 32n, 63n, 64n, 127n, 128n, 255n, 256n, 257n, 1023n, 1024n, 4095n],
  ...[4096n, 4097n, 32_767n, 32_768n, 65_535n, 65_536n, 2n ** 20n, 2n ** 24n, 2n ** 28n, 2n ** 31n - 1n],
  ...[2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n],
  ...[2n ** 64n - 1n, 2n ** 64n - 32n, 2n ** 61n, 2n ** 62n + 1n],
];
const oddDoubles = [NaN, Infinity, -Infinity, -0, Number.MIN_VALUE, Number.MAX_VALUE, 1e-45, 3.4e38, -1, 0.5];
const oddDigits = [
  ...['0', '-1', '1', '255', '1000', '1001', '65536', '2147483648', '4294967296', '9007199254740993'],
  ...['1e309', '-0', '0.1', '1e-400', '00', '99999999999999999999'],
];

type Mutation = (input: Uint8Array, below: Below, other: Uint8Array) => Uint8Array;

/** Puts bytes in the place of others. */
function spliced(input: Uint8Array, at: number, gone: number, bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(at + bytes.length + Math.max(0, input.length - at - gone));
  result.set(input.subarray(0, at));
  result.set(bytes, at);
  result.set(input.subarray(Math.min(input.length, at + gone)), at + bytes.length);
  return result;
}

/** Some bytes of an input, mostly few. */
function piece(input: Uint8Array, below: Below): Uint8Array {
  const start = below(input.length + 1);
  return input.subarray(start, start + 1 + below(below(4) === 0 ? input.length + 1 : 16));
}

const flipBit: Mutation = (input, below) => {
  const at = below(input.length);
  const result = new Uint8Array(input);
  result[at] = (result[at] ?? 0) ^ (1 << below(8));
  return result;
};

const setByte: Mutation = (input, below) => {
  const result = new Uint8Array(input);
  result[below(input.length)] = below(256);
  return result;
};

const writeNumber: Mutation = (input, below) => {
  const width = [1, 2, 4, 8][below(4)] ?? 1;
  const bytes = Buffer.alloc(8);
  if (below(8) === 0) bytes.writeDoubleLE(oddDoubles[below(oddDoubles.length)] ?? 0);
  else bytes.writeBigUInt64LE(oddNumbers[below(oddNumbers.length)] ?? 0n);
  return spliced(input, below(input.length), width, bytes.subarray(0, width));
};

const addToNumber: Mutation = (input, below) => {
  if (input.length < 4) return setByte(input, below, input);
  const result = Buffer.from(input);
  const at = below(input.length - 3);
  result.writeUInt32LE((result.readUInt32LE(at) + below(33) - 16) >>> 0, at);
  return result;
};

const insertBytes: Mutation = (input, below) =>
  spliced(
    input,
    below(input.length + 1),
    0,
    Uint8Array.from({ length: 1 + below(8) }, () => below(256)),
  );

const remove: Mutation = (input, below) =>
  spliced(input, below(input.length), piece(input, below).length, new Uint8Array(0));

const repeat: Mutation = (input, below) => {
  const part = piece(input, below);
  const times = below(8) === 0 ? 1 + below(200) : 1;
  const whole = Buffer.concat(Array.from({ length: times }, () => part));
  return spliced(input, below(input.length + 1), 0, whole);
};

const cut: Mutation = (input, below) => input.subarray(0, below(input.length + 1));

const fromOther: Mutation = (input, below, other) =>
  spliced(input, below(input.length + 1), below(3) === 0 ? below(16) : 0, piece(other, below));

const cross: Mutation = (input, below, other) =>
  spliced(input, below(input.length + 1), input.length, other.subarray(below(other.length + 1)));

const otherDigits: Mutation = (input, below) => {
  const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 48 && byte <= 57;
  const start = below(input.length);
  const at = input.findIndex((byte, index) => index >= start && isDigit(byte));
  if (at < 0) return setByte(input, below, input);
  let length = 1;
  while (isDigit(input[at + length])) length++;
  return spliced(input, at, length, Buffer.from(oddDigits[below(oddDigits.length)] ?? '0'));
};

const mutations: readonly Mutation[] = [
  ...[
    flipBit,
    flipBit,
    setByte,
    setByte,
    writeNumber,
    writeNumber,
    writeNumber,
    addToNumber,
    addToNumber,
    insertBytes,
  ],
  ...[remove, remove, repeat, cut, fromOther, fromOther, cross, otherDigits],
];

/**
 * An input that was changed in one place or some.
 * @param words are put in now and then
 * @param other another input, of which pieces may be taken
 */
export function mutated(
  input: Uint8Array,
  options: { readonly below: Below; readonly words: readonly Uint8Array[]; readonly other: Uint8Array },
): Uint8Array {
  const { below, words, other } = options;
  let result = input;
  for (let change = 1 + (below(3) === 0 ? below(8) : below(2)); change > 0; change--) {
    if (result.length === 0) result = Uint8Array.of(below(256));
    const kind = below(mutations.length + (words.length > 0 ? 4 : 0));
    const mutation = mutations[kind];
    result = mutation
      ? mutation(result, below, other)
      : spliced(result, below(result.length + 1), below(2) * below(8), words[below(words.length)] ?? result);
  }
  return result;
}
