import { type TemplateFailure, syntaxFailure } from '@butterfly/python';
import type { Token, TokenKind } from './lexer.js';

const end: Token = { kind: 'end', text: '', line: 0 };

/** Where a parser stands among the tokens. */
export class TokenStream {
  #at = 0;
  constructor(private readonly tokens: readonly Token[]) {}

  get current(): Token {
    return this.tokens[this.#at] ?? end;
  }

  get following(): Token {
    return this.tokens[this.#at + 1] ?? end;
  }

  next(): Token {
    const token = this.current;
    this.#at++;
    return token;
  }

  is(kind: TokenKind, text?: string): boolean {
    return this.current.kind === kind && (text === undefined || this.current.text === text);
  }

  isOperator(text: string): boolean {
    return this.is('operator', text);
  }

  isName(...names: readonly string[]): boolean {
    return this.current.kind === 'name' && names.includes(this.current.text);
  }

  take(kind: TokenKind, text?: string): boolean {
    const isIt = this.is(kind, text);
    if (isIt) this.#at++;
    return isIt;
  }

  expect(kind: TokenKind, text?: string): Token {
    if (!this.is(kind, text)) throw this.failure(`expected ${text ?? kind}, got ${this.describe()}`);
    return this.next();
  }

  describe(): string {
    const { kind, text } = this.current;
    return kind === 'name' || kind === 'operator' ? `'${text}'` : kind.replace('-', ' of ');
  }

  failure(message: string): TemplateFailure {
    return syntaxFailure(this.current.line, message);
  }
}
