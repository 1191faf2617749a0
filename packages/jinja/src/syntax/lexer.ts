import { type TemplateFailure, onlySpace, space, syntaxFailure, trailingSpace } from '@butterfly/python';

export type TokenKind =
  | 'data'
  | 'block-begin'
  | 'block-end'
  | 'variable-begin'
  | 'variable-end'
  | 'name'
  | 'string'
  | 'integer'
  | 'float'
  | 'operator'
  | 'end';

export interface Token {
  readonly kind: TokenKind;
  /** The name, operator or text; a string with its escapes read; digits without underscores. */
  readonly text: string;
  readonly line: number;
}

const sticky = (source: string, flags = 'uy'): RegExp => new RegExp(source, flags);
const spaceRule = sticky(`${space}+`);
const digits = '(?:\\d+_)*\\d+';
const floatRule = sticky(`(?<!\\.)${digits}(?:(?:\\.${digits})?e[+-]?${digits}|\\.${digits})`, 'iuy');
const integerRule = sticky('0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\\da-f])+|[1-9](?:_?\\d)*|0(?:_?0)*', 'iuy');
const nameRule = sticky('[\\p{L}\\p{N}\\p{M}_]+');
const stringRule = sticky('\'(?:[^\'\\\\]|\\\\[^])*\'|"(?:[^"\\\\]|\\\\[^])*"');
const operatorRule = sticky('\\/\\/|\\*\\*|==|!=|>=|<=|[+\\-/*%~\\[\\](){}><=.:|,;]');
const rawBegin = sticky(`\\{%([-+]?)${space}*raw${space}*(?:-%\\}${space}*|%\\})`);
const rawEnd = new RegExp(`\\{%([-+]?)${space}*endraw${space}*(?:\\+%\\}|-%\\}${space}*|%\\}\\n?)`, 'u');
const blockEnd = sticky(`\\+%\\}|-%\\}${space}*|%\\}\\n?`);
const commentEnd = new RegExp(`\\+#\\}|-#\\}${space}*|#\\}\\n?`, 'u');
const variableEnd = sticky(`-\\}\\}${space}*|\\}\\}`);
const closing: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/**
 * The tokens of a template, as jinja2's lexer with `trim_blocks` and `lstrip_blocks` gives them (jinja2/lexer.py,
 * `Lexer.tokeniter`). @throws TemplateFailure syntax
 */
export function tokenize(template: string): Token[] {
  return new Lexer(template.replace(/\r\n?/g, '\n').replace(/\n$/, '')).run();
}

class Lexer {
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;
  /** Whether what comes next begins a line, as far as tags before it left one. */
  #isLineStart = true;

  constructor(private readonly source: string) {}

  run(): Token[] {
    while (this.#at < this.source.length) this.#root();
    this.#push('end', '');
    return this.#tokens;
  }

  /** Text up to the next tag, and that tag. */
  #root(): void {
    const begin = this.#nextBegin();
    if (begin === -1) {
      this.#push('data', this.source.slice(this.#at));
      this.#at = this.source.length;
      return;
    }
    const data = this.source.slice(this.#at, begin);
    const raw = this.#match(rawBegin, begin);
    const sign = raw === null ? (this.source[begin + 2] ?? '') : (/^\{%([-+]?)/.exec(raw)?.[1] ?? '');
    const kind = this.source[begin + 1];
    this.#push('data', this.#trimmed(data, sign, kind !== '{'));
    this.#line += countLines(data);
    if (raw !== null) {
      this.#raw(begin, raw);
      return;
    }
    this.#at = begin + (sign === '-' || sign === '+' ? 3 : 2);
    if (kind === '#') {
      this.#comment();
      return;
    }
    const isBlock = kind === '%';
    this.#push(isBlock ? 'block-begin' : 'variable-begin', '');
    this.#inside(isBlock);
  }

  #nextBegin(): number {
    for (let at = this.source.indexOf('{', this.#at); at !== -1; at = this.source.indexOf('{', at + 1)) {
      const next = this.source[at + 1];
      if (next === '%' || next === '{' || next === '#') return at;
    }
    return -1;
  }

  #trimmed(data: string, sign: string, mayStripLine: boolean): string {
    if (sign === '-') return data.replace(trailingSpace, '');
    if (sign === '+' || !mayStripLine) return data;
    const lineStart = data.lastIndexOf('\n') + 1;
    const isBlank = onlySpace.test(data.slice(lineStart));
    return isBlank && (lineStart > 0 || this.#isLineStart) ? data.slice(0, lineStart) : data;
  }

  #raw(begin: number, opening: string): void {
    const start = begin + opening.length;
    const end = rawEnd.exec(this.source.slice(start));
    if (end === null) throw this.#failure('Missing end of raw directive');
    this.#isLineStart = opening.endsWith('\n');
    const data = this.source.slice(start, start + end.index);
    this.#push('data', this.#trimmed(data, end[1] ?? '', true));
    this.#advanceTo(start + end.index + end[0].length, begin);
  }

  #comment(): void {
    const start = this.#at;
    const end = commentEnd.exec(this.source.slice(start));
    if (end === null) throw this.#failure('Missing end of comment tag');
    this.#advanceTo(start + end.index + end[0].length, start);
  }

  #advanceTo(end: number, from: number): void {
    this.#line += countLines(this.source.slice(from, end));
    this.#isLineStart = this.source[end - 1] === '\n';
    this.#at = end;
  }

  #inside(isBlock: boolean): void {
    const open: string[] = [];
    for (;;) {
      if (this.#at >= this.source.length) throw this.#failure('unexpected end of template');
      const end = open.length > 0 ? null : this.#match(isBlock ? blockEnd : variableEnd, this.#at);
      if (end !== null) {
        this.#push(isBlock ? 'block-end' : 'variable-end', '');
        this.#advanceTo(this.#at + end.length, this.#at);
        return;
      }
      const { kind, text } = this.#tag();
      if (kind === 'operator') this.#balance(open, text);
      if (kind !== null) this.#push(kind, read(kind, text, this.#line));
      this.#line += countLines(text);
      this.#at += text.length;
    }
  }

  #balance(open: string[], text: string): void {
    const close = closing[text];
    if (close !== undefined) open.push(close);
    else if ((text === ')' || text === ']' || text === '}') && open.pop() !== text)
      throw this.#failure(`unexpected '${text}'`);
  }

  #tag(): { readonly kind: TokenKind | null; readonly text: string } {
    const rules = [
      [spaceRule, null],
      [floatRule, 'float'],
      [integerRule, 'integer'],
      [nameRule, 'name'],
      [stringRule, 'string'],
      [operatorRule, 'operator'],
    ] as const;
    for (const [rule, kind] of rules) {
      const text = this.#match(rule, this.#at);
      if (text !== null) return { kind, text };
    }
    throw this.#failure(`unexpected char '${this.source[this.#at] ?? ''}'`);
  }

  #match(rule: RegExp, at: number): string | null {
    rule.lastIndex = at;
    return rule.exec(this.source)?.[0] ?? null;
  }

  #push(kind: TokenKind, text: string): void {
    if (kind !== 'data' || text !== '') this.#tokens.push({ kind, text, line: this.#line });
  }

  #failure(message: string): TemplateFailure {
    return syntaxFailure(this.#line, message);
  }
}

const countLines = (text: string): number => text.split('\n').length - 1;

function read(kind: TokenKind, text: string, line: number): string {
  if (kind === 'integer' || kind === 'float') return text.replaceAll('_', '');
  return kind === 'string' ? unescaped(text.slice(1, -1), line) : text;
}

const simpleEscapes: Readonly<Record<string, string>> = {
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

/** Python's `unicode-escape`; an escape that it does not know stays as it is written. */
function unescaped(text: string, line: number): string {
  return text.replace(
    /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|([^]))/g,
    (whole, two?: string, four?: string, eight?: string, octal?: string, other?: string) => {
      const hex = two ?? four ?? eight;
      if (hex !== undefined) return codePoint(parseInt(hex, 16), line);
      if (octal !== undefined) return String.fromCharCode(parseInt(octal, 8));
      if (other === 'x' || other === 'u' || other === 'U' || other === 'N')
        throw syntaxFailure(line, `the escape \\${other} is malformed or not known`);
      return simpleEscapes[other ?? ''] ?? whole;
    },
  );
}

function codePoint(code: number, line: number): string {
  if (code > 0x10ffff) throw syntaxFailure(line, 'illegal Unicode character');
  return String.fromCodePoint(code);
}
