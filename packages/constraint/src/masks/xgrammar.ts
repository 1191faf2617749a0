import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type * as XGrammar from '@mlc-ai/web-xgrammar';

export type XGrammarModule = typeof XGrammar;

/** Takes what the library says; without words it says nothing. */
export type Listener = (words: string) => void;

type Wrapper = (
  exports: object,
  module: { exports: object },
  require: NodeJS.Require,
  __filename: string,
  console: Pick<Console, 'log' | 'warn' | 'error'>,
) => void;

/**
 * A new instance of the library with memory of its own. The package says that it is an ES module and is a UMD one, which
 * Node loads neither way: its text is put into a function here, of a module because it imports. After it has aborted, an
 * instance must not be used any more.
 */
export async function openXGrammar(listen: Listener): Promise<XGrammarModule> {
  const path = fileURLToPath(import.meta.resolve('@mlc-ai/web-xgrammar'));
  const text = `export default (exports, module, require, __filename, console) => {\n${readFileSync(path, 'utf8')}\n}`;
  const url = `data:text/javascript;base64,${Buffer.from(text).toString('base64')}`;
  const { default: wrapper } = (await import(url)) as { default: Wrapper };
  const module = { exports: {} };
  const say = (...words: unknown[]): void => listen(words.map(String).join(' '));
  wrapper(module.exports, module, createRequire(path), path, { log: say, warn: say, error: say });
  return module.exports as XGrammarModule;
}
