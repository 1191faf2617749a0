import type { SpecialToken, TokenizeOptions, Vocabulary } from '@butterfly/ggml';
import { Text } from '@butterfly/python';

/** Where a special token is spelt out in a text, in code units. */
interface Occurrence {
  readonly start: number;
  readonly end: number;
  readonly special: SpecialToken;
}

interface TrieNode {
  readonly children: Map<string, TrieNode>;
  special: SpecialToken | null;
}

/** `<|im_start|>`, `<start_of_turn>`: what can only be meant as a marker, unlike `<b>`, `\n\n` or a run of blanks. */
const markerShape = /^<[|\uff5c].*>$|^<.*_.*>$/s;
/** What may be a marker, if the template uses it as one. */
const bracketShape = /^[<[].*[>\]]$/s;

/** Finds in prompts what libllama would read as special tokens, and keeps it from reading the client's words so. */
export class SpecialTokens {
  readonly #root: TrieNode = { children: new Map(), special: null };

  constructor(private readonly vocabulary: Pick<Vocabulary, 'specialTokens' | 'tokenize'>) {
    for (const special of vocabulary.specialTokens) {
      let node = this.#root;
      for (const unit of special.text) {
        const next: TrieNode = node.children.get(unit) ?? { children: new Map(), special: null };
        node.children.set(unit, next);
        node = next;
      }
      node.special ??= special;
    }
  }

  /**
   * The tokens of a text, in which what clients wrote is never a special token. Where no client spells one out, they are
   * those of libllama for the whole text. Otherwise the text is cut beside special tokens of the template, where libllama
   * cuts it too, so that all other tokens stay as they were.
   */
  tokenize(text: Text): Int32Array {
    const occurrences = this.#occurrences(text.value);
    const isClients = ({ start, end }: Occurrence): boolean => text.touchesClient(start, end);
    const forged = occurrences.filter(isClients);
    if (forged.length === 0) return this.#read(text.value, true);
    const own = withoutOverlaps(occurrences.filter((occurrence) => !isClients(occurrence)));
    const ownTokens = new Set(own.map(({ special }) => special.token));
    const parts: Int32Array[] = [];
    let readTo = 0;
    for (const gap of gapsBetween(own, text.value.length)) {
      const inside = forged.filter(({ start, end }) => start < gap.end && end > gap.start);
      if (inside.length === 0) continue;
      if (readTo < gap.start) parts.push(this.#read(text.value.slice(readTo, gap.start), true));
      const marks = inside.filter(({ special }) => isMarker(special, ownTokens));
      parts.push(...this.#plain(text.value.slice(gap.start, gap.end), gap.start, marks));
      readTo = gap.end;
    }
    if (readTo < text.value.length) parts.push(this.#read(text.value.slice(readTo), true));
    return concatenated(parts);
  }

  /** A stretch without special tokens; markers that are read regardless are cut through. */
  #plain(stretch: string, offset: number, marks: readonly Occurrence[]): Int32Array[] {
    const parts: Int32Array[] = [];
    let at = 0;
    for (const { start, end } of marks) {
      const middle = Math.max(start, Math.min(end - 1, start + ((end - start) >> 1))) - offset;
      if (middle <= at || middle >= stretch.length) continue;
      const piece = stretch.slice(at, middle);
      parts.push(at === 0 ? this.#read(piece, false) : this.#continued(piece));
      at = middle;
    }
    const rest = stretch.slice(at);
    parts.push(at === 0 ? this.#read(rest, false) : this.#continued(rest));
    return parts;
  }

  /** Tokens of text that follows other text: without the blank that some vocabularies put before the first word. */
  #continued(piece: string): Int32Array {
    const before = this.#read('\n', false);
    const both = this.#read(`\n${piece}`, false);
    const isPrefix = before.every((token, index) => both[index] === token);
    return isPrefix ? both.slice(before.length) : this.#read(piece, false);
  }

  #read(text: string, parseSpecial: boolean): Int32Array {
    const options: TokenizeOptions = { addSpecial: false, parseSpecial };
    return this.vocabulary.tokenize(text, options);
  }

  #occurrences(text: string): Occurrence[] {
    const found: Occurrence[] = [];
    for (let start = 0; start < text.length; start++) {
      let node: TrieNode | undefined = this.#root;
      for (let end = start; end < text.length && node !== undefined;) {
        const unit: string = String.fromCodePoint(text.codePointAt(end) ?? 0);
        node = node.children.get(unit);
        end += unit.length;
        if (node?.special) found.push({ start, end, special: node.special });
      }
    }
    return found;
  }
}

function isMarker({ text, token, isAlwaysRead }: SpecialToken, ownTokens: ReadonlySet<number>): boolean {
  return isAlwaysRead && (markerShape.test(text) || (bracketShape.test(text) && ownTokens.has(token)));
}

/** As libllama takes them: the longest first, then from left to right. */
function withoutOverlaps(occurrences: readonly Occurrence[]): Occurrence[] {
  const byLength = occurrences.toSorted((a, b) => b.end - b.start - (a.end - a.start) || a.start - b.start);
  const taken: Occurrence[] = [];
  const isTaken = new Set<number>();
  for (const occurrence of byLength) {
    let isFree = true;
    for (let at = occurrence.start; at < occurrence.end; at++) isFree &&= !isTaken.has(at);
    if (!isFree) continue;
    for (let at = occurrence.start; at < occurrence.end; at++) isTaken.add(at);
    taken.push(occurrence);
  }
  return taken.toSorted((a, b) => a.start - b.start);
}

function gapsBetween(
  own: readonly Occurrence[],
  length: number,
): { readonly start: number; readonly end: number }[] {
  const starts = [0, ...own.map(({ end }) => end)];
  const ends = [...own.map(({ start }) => start), length];
  return starts
    .map((start, index) => ({ start, end: ends[index] ?? length }))
    .filter(({ start, end }) => start < end);
}

function concatenated(parts: readonly Int32Array[]): Int32Array {
  const tokens = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    tokens.set(part, at);
    at += part.length;
  }
  return tokens;
}
