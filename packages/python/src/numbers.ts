import { failure } from './errors.js';

/** Longest whole number that is computed: a template that wants more is a mistake or an attack. */
const bitsMax = 16_384;

type Arithmetic = '+' | '-' | '*' | '/' | '//' | '%' | '**';

/** Python's arithmetic: whole numbers stay whole, except through `/` and negative powers; `//` and `%` round down. */
export function calculate(
  operator: Arithmetic,
  left: bigint | number,
  right: bigint | number,
): bigint | number {
  if (typeof left === 'bigint' && typeof right === 'bigint') return calculateWhole(operator, left, right);
  return calculateFloat(operator, Number(left), Number(right));
}

function calculateWhole(operator: Arithmetic, left: bigint, right: bigint): bigint | number {
  switch (operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      checkBits(bits(left) + bits(right));
      return left * right;
    case '/':
      if (right === 0n) throw failure('ZeroDivisionError: division by zero');
      return Number(left) / Number(right);
    case '//':
    case '%': {
      if (right === 0n) throw failure('ZeroDivisionError: integer division or modulo by zero');
      const remainder = left % right;
      const isDown = remainder !== 0n && remainder < 0n !== right < 0n;
      if (operator === '%') return isDown ? remainder + right : remainder;
      return left / right - (isDown ? 1n : 0n);
    }
    case '**':
      if (right < 0n) return calculateFloat('**', Number(left), Number(right));
      checkBits(bits(left) * Number(right));
      return left ** right;
    default:
      return operator satisfies never;
  }
}

function calculateFloat(operator: Arithmetic, left: number, right: number): number {
  switch (operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '/':
      if (right === 0) throw failure('ZeroDivisionError: float division by zero');
      return left / right;
    case '//':
      if (right === 0) throw failure('ZeroDivisionError: float floor division by zero');
      return Math.floor((left - floatRemainder(left, right)) / right + 0.5);
    case '%':
      if (right === 0) throw failure('ZeroDivisionError: float modulo');
      return floatRemainder(left, right);
    case '**':
      if (left === 0 && right < 0)
        throw failure('ZeroDivisionError: 0.0 cannot be raised to a negative power');
      if (left < 0 && !Number.isInteger(right)) throw failure('TypeError: complex numbers are not supported');
      return left ** right;
    default:
      return operator satisfies never;
  }
}

function floatRemainder(left: number, right: number): number {
  const remainder = left % right;
  if (remainder === 0) return right < 0 ? -0 : 0;
  return remainder < 0 !== right < 0 ? remainder + right : remainder;
}

const bits = (value: bigint): number => value.toString(16).length * 4;

function checkBits(count: number): void {
  if (count > bitsMax) throw failure('OverflowError: the number is too large');
}

/** Python's `int(text, base)`; null where it is none. */
export function parseWhole(text: string, base = 10): bigint | null {
  const match = /^([+-]?)(0[xX]|0[oO]|0[bB])?([\da-zA-Z]+(?:_[\da-zA-Z]+)*)$/.exec(text);
  if (match === null) return null;
  const [, sign = '', prefix = '', digitsWithMarks = ''] = match;
  const bases: Readonly<Record<string, number>> = { x: 16, o: 8, b: 2 };
  const prefixBase = bases[prefix.slice(1).toLowerCase()];
  const digits = prefixBase === base || prefix === '' ? digitsWithMarks : prefix + digitsWithMarks;
  let value = 0n;
  for (const digit of digits.replaceAll('_', '')) {
    const weight = parseInt(digit, 36);
    if (Number.isNaN(weight) || weight >= base) return null;
    value = value * BigInt(base) + BigInt(weight);
    checkBits(bits(value));
  }
  return sign === '-' ? -value : value;
}

/** Python's `float(text)`; null where it is none. */
export function parseFloating(text: string): number | null {
  if (/^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:[eE][+-]?\d+)?$/.test(text))
    return Number(text.replaceAll('_', ''));
  const named = /^([+-]?)(inf|infinity|nan)$/i.exec(text);
  if (named === null) return null;
  const value = named[2]?.toLowerCase() === 'nan' ? NaN : Infinity;
  return named[1] === '-' ? -value : value;
}

/** Python's `round`: halves go to the even neighbour, and digits are those of the number's exact value. */
export function roundHalfEven(value: number, digits: number): number {
  if (!Number.isFinite(value)) return value;
  if (digits === 0) {
    const below = Math.floor(value);
    const part = value - below;
    const rounded = part < 0.5 || (part === 0.5 && below % 2 === 0) ? below : below + 1;
    return rounded === 0 && value < 0 ? -0 : rounded;
  }
  // toFixed is exact too, and ties of an exact binary value are rare: those alone need care.
  if (digits > 0) return digits > 20 ? value : fixedHalfEven(value, digits);
  const scale = 10 ** -digits;
  return roundHalfEven(value / scale, 0) * scale;
}

function fixedHalfEven(value: number, digits: number): number {
  const fixed = Number(value.toFixed(digits));
  const scale = 2 ** 20;
  const isTie = Number.isInteger(value * scale) && Math.abs(value * 10 ** digits) % 1 === 0.5;
  return isTie ? roundHalfEven(value * 10 ** digits, 0) / 10 ** digits : fixed;
}
