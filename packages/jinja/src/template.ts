import type { Statement } from './syntax/ast.js';
import { Dict, Text, type Value, failure, list } from '@butterfly/python';
import { globals } from './library/globals.js';
import { namesRead } from './syntax/names.js';
import { parse } from './syntax/parser.js';
import { Renderer } from './renderer.js';
import { Scope } from './scope.js';

/**
 * A Jinja template as Python's jinja2 reads and renders it, set up as transformers does for chats: a sandbox,
 * `trim_blocks`, `lstrip_blocks`, loop controls, and `tojson`, `raise_exception` and `strftime_now`.
 */
export class JinjaTemplate {
  readonly #statements: readonly Statement[];
  readonly #now: () => Date;
  /** The names whose values it asks for. */
  readonly names: ReadonlySet<string>;

  /** @throws TemplateFailure syntax or unsupported */
  constructor(source: string, now: () => Date = () => new Date()) {
    this.#statements = withinStack(() => parse(source));
    this.names = withinStack(() => namesRead(this.#statements));
    this.#now = now;
  }

  /** @throws TemplateFailure unsupported, runtime or raised */
  render(variables: ReadonlyMap<string, Value>): Text {
    return withinStack(() => {
      const scope = new Scope(null);
      for (const [name, value] of [...globals(this.#now), ...variables]) scope.set(name, value);
      return new Renderer().text(this.#statements, new Scope(scope));
    });
  }
}

/** Nesting of a template has no bound but the stack. */
function withinStack<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof RangeError) throw failure('the template nests too deeply');
    throw error;
  }
}

/** A value of JSON; `text` says where its strings come from. */
export function valueOf(json: unknown, text: (string: string) => Text): Value {
  if (json === null || json === undefined || typeof json === 'boolean') return json ?? null;
  if (typeof json === 'string') return text(json);
  if (typeof json === 'number') return Number.isSafeInteger(json) ? BigInt(json) : json;
  if (typeof json === 'bigint') return json;
  if (Array.isArray(json)) return list(json.map((item: unknown) => valueOf(item, text)));
  if (typeof json === 'object')
    return new Dict(
      Object.entries(json)
        .filter(([, item]) => item !== undefined)
        .map(([key, item]) => [text(key), valueOf(item, text)]),
    );
  throw failure(`TypeError: a template cannot use a ${typeof json}`);
}
