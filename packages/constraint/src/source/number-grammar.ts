import { choiceOf, digits, maybe, sequenceOf, text, times, type Pattern } from './pattern.js';

/** Digits that numbers have where a schema bounds them: then their doubles are in the order of their texts. */
const wholeDigitsMax = 9;
const fractionDigitsMax = 6;
/** Digits of integers: all doubles that long are whole and apart. */
const integerDigitsMax = 15;
const digit = digits(0, 9);

/** Which numbers are meant; null for no bound. */
export interface NumberBounds {
  readonly least: number | null;
  /** Whether `least` itself is left out. */
  readonly isAboveLeast: boolean;
  readonly most: number | null;
  readonly isBelowMost: boolean;
}

/** A number of JSON of at most 15 digits before the point, 15 behind it and two in the exponent: none is infinite. */
export const anyNumber: Pattern = sequenceOf([
  maybe(text('-')),
  choiceOf([text('0'), sequenceOf([digits(1, 9), times(digit, 0, 14)])]),
  maybe(sequenceOf([text('.'), times(digit, 1, 15)])),
  maybe(
    sequenceOf([
      choiceOf([text('e'), text('E')]),
      maybe(choiceOf([text('+'), text('-')])),
      times(digit, 1, 2),
    ]),
  ),
]);

/** An integer of at most 15 digits. */
export const anyInteger: Pattern = sequenceOf([
  maybe(text('-')),
  choiceOf([text('0'), sequenceOf([digits(1, 9), times(digit, 0, integerDigitsMax - 1)])]),
]);

/**
 * Integers within bounds, of at most 15 digits; null where there is none.
 * @param bounds of at most 15 digits
 */
export function integerGrammar({ least, isAboveLeast, most, isBelowMost }: NumberBounds): Pattern | null {
  const end = 10 ** integerDigitsMax - 1;
  const low = least === null ? -end : isAboveLeast ? Math.floor(least) + 1 : Math.ceil(least);
  const high = most === null ? end : isBelowMost ? Math.ceil(most) - 1 : Math.floor(most);
  const options: Pattern[] = [];
  if (low < 0 && low <= high)
    options.push(sequenceOf([text('-'), naturals(BigInt(Math.max(1, -high)), BigInt(-low))]));
  if (high >= 0 && low <= high) options.push(naturals(BigInt(Math.max(0, low)), BigInt(high)));
  return options.length === 0 ? null : choiceOf(options);
}

/** Natural numbers from one to another. */
function naturals(low: bigint, high: bigint): Pattern {
  const options: Pattern[] = [];
  for (let length = low.toString().length; length <= high.toString().length; length++) {
    const first = 10n ** BigInt(length - 1);
    const from = length === 1 || low > first ? low : first;
    const to = high < 10n * first - 1n ? high : 10n * first - 1n;
    options.push(digitsBetween(from.toString(), to.toString()));
  }
  return choiceOf(options);
}

/** Texts of as many digits as both have, from one to the other. */
function digitsBetween(low: string, high: string): Pattern {
  if (low === high) return text(low);
  const [l = '', h = ''] = [low[0], high[0]];
  const rest = low.length - 1;
  if (rest === 0) return digits(Number(l), Number(h));
  if (l === h) return sequenceOf([text(l), digitsBetween(low.slice(1), high.slice(1))]);
  const nines = '9'.repeat(rest);
  const zeros = '0'.repeat(rest);
  const isLowWhole = low.slice(1) === zeros;
  const isHighWhole = high.slice(1) === nines;
  const from = Number(l) + (isLowWhole ? 0 : 1);
  const to = Number(h) - (isHighWhole ? 0 : 1);
  return choiceOf([
    ...(isLowWhole ? [] : [sequenceOf([text(l), digitsBetween(low.slice(1), nines)])]),
    ...(from <= to ? [sequenceOf([digits(from, to), times(digit, rest, rest)])] : []),
    ...(isHighWhole ? [] : [sequenceOf([text(h), digitsBetween(zeros, high.slice(1))])]),
  ]);
}

/** Whether a bound has few enough digits for `numberGrammar`. */
export function isPlainBound(bound: number): boolean {
  const decimal = /^-?(\d+)(?:\.(\d+))?$/u.exec(String(bound));
  return (
    decimal !== null &&
    (decimal[1] ?? '').length <= wholeDigitsMax &&
    (decimal[2] ?? '').length <= fractionDigitsMax
  );
}

/**
 * Numbers within bounds, without exponents, of at most nine digits before the point and six behind it; null where there is
 * none.
 * @param bounds for which `isPlainBound` holds
 */
export function numberGrammar(bounds: NumberBounds): Pattern | null {
  const { least, isAboveLeast, most, isBelowMost } = bounds;
  const options: Pattern[] = [];
  const positive = magnitudes(
    least === null || least < 0 ? { value: 0, isStrict: false } : { value: least, isStrict: isAboveLeast },
    most === null ? null : { value: most, isStrict: isBelowMost },
  );
  if (positive !== null) options.push(positive);
  const negative = magnitudes(
    most === null || most >= 0 ? { value: 0, isStrict: true } : { value: -most, isStrict: isBelowMost },
    least === null ? null : { value: -least, isStrict: isAboveLeast },
  );
  if (negative !== null) options.push(sequenceOf([text('-'), negative]));
  return options.length === 0 ? null : choiceOf(options);
}

interface Bound {
  readonly value: number;
  readonly isStrict: boolean;
}

/** A bound as whole number and digits behind the point. */
interface Decimal {
  readonly whole: bigint;
  readonly fraction: string;
  readonly isStrict: boolean;
}

function decimal({ value, isStrict }: Bound): Decimal {
  const [whole = '0', fraction = ''] = String(value).split('.');
  return { whole: BigInt(whole), fraction: fraction.padEnd(fractionDigitsMax, '0'), isStrict };
}

/** Numbers from 0 on, with their last digits fixed to six places or cut off where they are zeros. */
function magnitudes(least: Bound, most: Bound | null): Pattern | null {
  const low = decimal(least);
  const high = most === null || most.value < 0 ? null : decimal(most);
  if (most !== null && high === null) return null;
  const top = high?.whole ?? 10n ** BigInt(wholeDigitsMax) - 1n;
  if (low.whole > top) return null;
  const options: (Pattern | null)[] = [];
  if (high !== null && low.whole === high.whole) options.push(withFraction(low.whole, low, high));
  else {
    options.push(withFraction(low.whole, low, null));
    const last = high === null ? top : top - 1n;
    if (low.whole + 1n <= last) options.push(sequenceOf([naturals(low.whole + 1n, last), anyFraction]));
    if (high !== null) options.push(withFraction(high.whole, null, high));
  }
  const said = options.filter((option) => option !== null);
  return said.length === 0 ? null : choiceOf(said);
}

const anyFraction: Pattern = maybe(sequenceOf([text('.'), times(digit, 1, fractionDigitsMax)]));

/** A whole number and what may stand behind its point, between the fractions of two bounds. */
function withFraction(whole: bigint, low: Decimal | null, high: Decimal | null): Pattern | null {
  const scale = 10n ** BigInt(fractionDigitsMax);
  const from = low === null ? 0n : BigInt(low.fraction) + (low.isStrict ? 1n : 0n);
  const to = high === null ? scale - 1n : BigInt(high.fraction) - (high.isStrict ? 1n : 0n);
  if (from > to) return null;
  if (from === 0n && to === scale - 1n) return sequenceOf([text(whole.toString()), anyFraction]);
  const pad = (value: bigint): string => value.toString().padStart(fractionDigitsMax, '0');
  const fraction = sequenceOf([text('.'), fractionBetween(pad(from), pad(to))]);
  return sequenceOf([text(whole.toString()), from === 0n ? maybe(fraction) : fraction]);
}

/** At most as many digits as the bounds have, at least one, that say a fraction between them when filled with zeros. */
function fractionBetween(low: string, high: string): Pattern {
  const options: Pattern[] = [];
  const rest = low.length - 1;
  const nines = '9'.repeat(rest);
  const zeros = '0'.repeat(rest);
  for (let first = Number(low[0]); first <= Number(high[0]); first++) {
    const from = first === Number(low[0]) ? low.slice(1) : zeros;
    const to = first === Number(high[0]) ? high.slice(1) : nines;
    const more =
      rest === 0
        ? null
        : from === zeros && to === nines
          ? times(digit, 0, rest)
          : from === zeros
            ? maybe(fractionBetween(from, to))
            : fractionBetween(from, to);
    options.push(sequenceOf([text(String(first)), ...(more ? [more] : [])]));
  }
  return choiceOf(options);
}
