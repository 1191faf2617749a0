import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TemplateFailure } from './errors.js';
import { JinjaTemplate, valueOf } from '@butterfly/jinja';
import { conversations, drawTemplate, familyTemplates, generatedVariables } from '@butterfly/jinja/testing';
import { Text } from './text.js';

/** Letters that no template writes: what of them is in a rendering, a client wrote. */
const disguised = (text: string): string =>
  Array.from(text, (character) =>
    /[a-zA-Z]/.test(character) ? String.fromCodePoint(0xe000 + (character.codePointAt(0) ?? 0)) : character,
  ).join('');
const disguisedUnits = /[\ue000-\ue0ff]/;

function disguise(value: unknown, key = ''): unknown {
  if (typeof value === 'string') return key === 'role' || key === 'type' ? value : disguised(value);
  if (Array.isArray(value)) return value.map((item) => disguise(item));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, disguise(item, name)]));
}

function render(template: string, variables: object): Text | null {
  const values = new Map(
    Object.entries(variables).map(
      ([name, value]) =>
        [
          name,
          name.endsWith('_token')
            ? valueOf(value, (text) => Text.own(text))
            : valueOf(disguise(value, name), (text) => Text.client(text)),
        ] as const,
    ),
  );
  try {
    return new JinjaTemplate(template).render(values);
  } catch (error) {
    if (error instanceof TemplateFailure) return null;
    throw error;
  }
}

function expectMarked(text: Text | null): number {
  if (text === null) return 0;
  let found = 0;
  for (let at = 0; at < text.value.length; at++)
    if (disguisedUnits.test(text.value.charAt(at))) {
      found++;
      if (!text.touchesClient(at, at + 1))
        throw new Error(`unmarked at ${at} of ${JSON.stringify(text.value)}`);
    }
  return found;
}

describe('the marks on what clients wrote', () => {
  it('cover every letter of theirs, whatever a template does with it', () => {
    let found = 0;
    for (let seed = 0; seed < 1500; seed++)
      found += expectMarked(render(drawTemplate(seed), generatedVariables));
    expect(found).toBeGreaterThan(1000);
  });

  it.each(Object.entries(familyTemplates))(
    'cover it in conversations of %s, and not the markers',
    (_, template) => {
      let found = 0;
      for (const conversation of Object.values(conversations)) {
        const text = render(template, {
          add_generation_prompt: true,
          bos_token: '<s>',
          eos_token: '</s>',
          ...conversation,
        });
        found += expectMarked(text);
        for (const marker of text?.value.matchAll(/<\|[a-z_]+\|>/g) ?? [])
          if (!template.includes("+ message['role'] +") && !template.includes('+ message.role +'))
            expect(text?.touchesClient(marker.index, marker.index + marker[0].length)).toBe(false);
      }
      expect(found).toBeGreaterThan(0);
    },
  );

  it('follow slices and joins', () => {
    const piece = fc.tuple(fc.string({ maxLength: 5 }), fc.boolean());
    fc.assert(
      fc.property(fc.array(piece), fc.nat(30), fc.nat(30), (pieces, a, b) => {
        const whole = Text.concat(
          pieces.map(([value, isClients]) => (isClients ? Text.client(value) : Text.own(value))),
        );
        const units = pieces.flatMap(([value, isClients]) =>
          Array.from({ length: value.length }, () => isClients),
        );
        const [start, end] = [Math.min(a, b, units.length), Math.min(Math.max(a, b), units.length)];
        const part = whole.slice(start, end);
        expect(Array.from({ length: end - start }, (_, at) => part.touchesClient(at, at + 1))).toEqual(
          units.slice(start, end),
        );
      }),
    );
  });
});
