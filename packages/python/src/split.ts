import { failure } from './errors.js';
import { leadingSpace, spaces, trailingSpace } from './white-space.js';
import { Text } from './text.js';

/** Python's `strip` and its halves; `characters` of null means white space. */
export function strip(text: Text, characters: string | null, sides: 'both' | 'left' | 'right'): Text {
  const { value } = text;
  if (characters === null) {
    const start = sides === 'right' ? 0 : (leadingSpace.exec(value)?.[0].length ?? 0);
    const end = sides === 'left' ? value.length : (trailingSpace.exec(value)?.index ?? value.length);
    return text.slice(start, Math.max(start, end));
  }
  const points = text.points();
  const isStripped = (point: Text | undefined): boolean =>
    point !== undefined && Array.from(characters).includes(point.value);
  let [start, end] = [0, points.length];
  if (sides !== 'right') while (start < end && isStripped(points[start])) start++;
  if (sides !== 'left') while (end > start && isStripped(points[end - 1])) end--;
  return Text.concat(points.slice(start, end));
}

/** Python's `split` and `rsplit`; a separator of null means runs of white space, `most` below 0 no bound. */
export function split(text: Text, separator: string | null, most: number, fromRight: boolean): Text[] {
  if (separator === '') throw failure('ValueError: empty separator');
  const bound = most < 0 ? Infinity : most;
  const { value } = text;
  const cuts: [start: number, end: number][] = [];
  if (separator === null)
    for (const match of value.matchAll(spaces)) cuts.push([match.index, match.index + match[0].length]);
  else {
    const find = (from: number): number =>
      fromRight
        ? from < separator.length
          ? -1
          : value.lastIndexOf(separator, from - separator.length)
        : value.indexOf(separator, from);
    for (let at = find(fromRight ? value.length : 0); at !== -1 && cuts.length < bound;) {
      cuts.push([at, at + separator.length]);
      at = find(fromRight ? at : at + separator.length);
    }
    if (fromRight) cuts.reverse();
  }
  if (separator !== null) return pieces(text, cuts);
  return splitAtSpace(text, cuts, bound, fromRight);
}

function pieces(text: Text, cuts: readonly (readonly [number, number])[]): Text[] {
  const starts = [0, ...cuts.map(([, end]) => end)];
  return starts.map((start, index) => text.slice(start, cuts[index]?.[0]));
}

function splitAtSpace(
  text: Text,
  cuts: readonly (readonly [number, number])[],
  bound: number,
  fromRight: boolean,
): Text[] {
  const { length } = text.value;
  const inner = cuts.filter(([start, end]) => start > 0 && end < length);
  const chosen = fromRight
    ? inner.slice(Math.max(0, inner.length - bound))
    : inner.slice(0, Math.min(bound, inner.length));
  const parts = pieces(text, chosen);
  const isCut = chosen.length < inner.length;
  // What is left uncut keeps the white space at its far end.
  return parts
    .map((part, index) => {
      const isFirst = index === 0;
      const isLast = index === parts.length - 1;
      const left = isFirst && !(isCut && fromRight) ? strip(part, null, 'left') : part;
      return isLast && !(isCut && !fromRight) ? strip(left, null, 'right') : left;
    })
    .filter((part, index) => part.value !== '' || (index > 0 && isCut));
}

/** What ends lines for Python beside those of JavaScript: separators of files, groups and records. */
const separators = String.fromCharCode(0x1c, 0x1d, 0x1e);
const lineEnds = new RegExp(`\\r\\n|[\\n\\r\\v\\f${separators}\\x85\\u2028\\u2029]`, 'g');

/** Python's `splitlines`. */
export function splitLines(text: Text, keepEnds: boolean): Text[] {
  const lines: Text[] = [];
  let start = 0;
  for (const match of text.value.matchAll(lineEnds)) {
    const end = match.index + match[0].length;
    lines.push(text.slice(start, keepEnds ? end : match.index));
    start = end;
  }
  if (start < text.value.length) lines.push(text.slice(start));
  return lines;
}

/** Python's `replace`; `most` below 0 is no bound. */
export function replace(text: Text, old: string, by: Text, most: number): Text {
  const bound = most < 0 ? Infinity : most;
  if (old !== '') return Text.join(split(text, old, most, false), by);
  const points = text.points();
  const parts = points.flatMap((point, index) => (index < bound ? [by, point] : [point]));
  return Text.concat(points.length < bound ? [...parts, by] : parts);
}
