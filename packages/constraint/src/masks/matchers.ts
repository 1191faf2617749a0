import type { CompiledGrammar, GrammarCompiler, GrammarMatcher } from '@mlc-ai/web-xgrammar';
import { type MaskOrder, tokensPerWord } from './mask-messages.js';
import type { MaskRows } from './mask-memory.js';
import type { XGrammarModule } from './xgrammar.js';

/** A place in a grammar. */
interface Matcher {
  readonly matcher: GrammarMatcher;
  readonly compiled: CompiledGrammar;
}

/** Grammars and places in them, in the thread that computes masks. Whatever it throws ends the thread. */
export class Matchers {
  readonly #grammars = new Map<number, CompiledGrammar>();
  readonly #matchers = new Map<number, Matcher>();

  /** @param stopTokens may come where a grammar ends */
  constructor(
    private readonly library: XGrammarModule,
    private readonly compiler: GrammarCompiler,
    private readonly stopTokens: Int32Array,
    private readonly rows: MaskRows,
  ) {}

  async compile(constraintId: number, grammar: string): Promise<void> {
    const compiled = await this.compiler.compileGrammar(grammar);
    this.#grammars.get(constraintId)?.dispose();
    this.#grammars.set(constraintId, compiled);
  }

  /** Matchers of it go on: the library counts who uses a grammar. */
  drop(constraintId: number): void {
    this.#grammars.get(constraintId)?.dispose();
    this.#grammars.delete(constraintId);
  }

  forget(key: number): void {
    this.#matchers.get(key)?.matcher.dispose();
    this.#matchers.delete(key);
  }

  async carryOut({ key, fresh, accepted, draftTokens, rows }: MaskOrder): Promise<void> {
    if (fresh) await this.#begin(key, fresh.constraintId, fresh.tokens);
    const matcher = this.#matchers.get(key)?.matcher;
    if (!matcher) throw new Error(`there is no matcher ${key}`);
    for (const token of accepted) this.#accept(matcher, token);
    await this.#fill(matcher, rows[0]);
    let tried = 0;
    for (const [index, token] of draftTokens.entries()) {
      // What may not come ends the line: nobody looks at the masks behind it.
      if (matcher.isTerminated() || !matcher.acceptToken(token)) break;
      tried++;
      await this.#fill(matcher, rows[index + 1]);
    }
    if (tried > 0) matcher.rollBack(tried);
  }

  async #begin(key: number, constraintId: number, tokens: Int32Array): Promise<void> {
    const compiled = this.#grammars.get(constraintId);
    if (!compiled) throw new Error(`there is no constraint ${constraintId}`);
    this.forget(key);
    const matcher = await this.library.GrammarMatcher.createGrammarMatcher(compiled);
    this.#matchers.set(key, { matcher, compiled });
    for (const token of tokens) this.#accept(matcher, token);
  }

  /** Behind the end, anything may come: steps that went ahead are computed, and nobody wants what comes of it. */
  #accept(matcher: GrammarMatcher, token: number): void {
    if (matcher.isTerminated()) return;
    if (!matcher.acceptToken(token)) throw new Error(`token ${token} does not go on with the constraint`);
  }

  async #fill(matcher: GrammarMatcher, index: number | undefined): Promise<void> {
    if (index === undefined) return;
    const row = this.rows.row(index);
    if (!matcher.isTerminated()) {
      row.set(await matcher.getNextTokenBitmask());
      // The library allows what is behind the vocabulary.
      const behind = this.rows.tokens % tokensPerWord;
      if (behind > 0) row[row.length - 1] = (row[row.length - 1] ?? 0) & ((1 << behind) - 1);
      return;
    }
    row.fill(0);
    for (const token of this.stopTokens) row[token >> 5] = (row[token >> 5] ?? 0) | (1 << (token & 31));
  }
}
