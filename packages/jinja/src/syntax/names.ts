import type { Statement } from './ast.js';

/** The names whose values a template asks for, whether they are set inside it or come from outside. */
export function namesRead(statements: readonly Statement[]): ReadonlySet<string> {
  const names = new Set<string>();
  collect(statements, names);
  return names;
}

/** Syntax is plain objects and lists; what a `set` or `for` assigns to is no reading, and constants have no names. */
function collect(part: unknown, names: Set<string>): void {
  if (Array.isArray(part)) {
    for (const item of part) collect(item, names);
    return;
  }
  if (typeof part !== 'object' || part === null) return;
  const kind: unknown = 'kind' in part ? part.kind : null;
  if (kind === 'constant') return;
  if (kind === 'name' && 'name' in part && typeof part.name === 'string') names.add(part.name);
  for (const [key, inside] of Object.entries(part)) if (key !== 'target') collect(inside, names);
}
