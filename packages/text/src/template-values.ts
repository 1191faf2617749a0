import { ButterflyError } from '@butterfly/common';

export type TemplateValues = Readonly<Record<string, unknown>>;

/** What a template gets from us, and functions that are not the client's to replace. */
const ownNames: ReadonlySet<string> = new Set([
  'messages',
  'tools',
  'documents',
  'add_generation_prompt',
  'bos_token',
  'eos_token',
  'raise_exception',
  'strftime_now',
  'namespace',
  'range',
  'dict',
  'joiner',
  'cycler',
  'lipsum',
  'loop',
]);

/** How much a model thinks, in the word of OpenAI; a template may have a name for it, or for whether it thinks at all. */
const effort = 'reasoning_effort';
const thinkingNames = ['enable_thinking', 'thinking'] as const;

/**
 * The values that a template gets.
 * @param names those that the template asks for
 * @throws ButterflyError REQUEST_INVALID for the names of its inputs; REQUEST_UNSUPPORTED for names that it does not ask for,
 * unless they ask for what is so anyway
 */
export function templateValues(given: TemplateValues, names: ReadonlySet<string>): TemplateValues {
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    if (ownNames.has(name))
      throw new ButterflyError(
        'REQUEST_INVALID',
        `${name}: the chat template gets that from the request itself; leave it out of its values.`,
        { param: name },
      );
    if (value === null) continue;
    if (names.has(name) && !(name === effort && value === 'none')) values[name] = value;
    else if (!isIdle(name, value))
      throw new ButterflyError(
        'REQUEST_UNSUPPORTED',
        `${name}: the chat template of this model has no such value; leave it out.`,
        { param: name },
      );
  }
  if (given[effort] === 'none') for (const name of thinkingNames) if (names.has(name)) values[name] ??= false;
  return values;
}

/** What a model that knows no thinking does anyway. */
const isIdle = (name: string, value: unknown): boolean =>
  (name === effort && value === 'none') || (thinkingNames.some((known) => known === name) && value === false);
