import type { AnswerFormat } from '@butterfly/generation';
import { z } from 'zod';

/** What the text of an answer must be, as OpenAI says it; and a regular expression or a grammar, as others let one say. */
export const responseFormat = z.discriminatedUnion(
  'type',
  [
    z.looseObject({ type: z.literal('text') }),
    z.looseObject({ type: z.literal('json_object') }),
    z.looseObject({
      type: z.literal('json_schema'),
      json_schema: z.looseObject({
        name: z.string().nullish(),
        schema: z.record(z.string(), z.unknown()).nullish(),
        strict: z.boolean().nullish(),
      }),
    }),
    z.looseObject({ type: z.literal('regex'), pattern: z.string().min(1) }),
    z.looseObject({ type: z.literal('grammar'), grammar: z.string().min(1) }),
  ],
  { error: 'expected a type of text, json_object, json_schema, regex or grammar' },
);

export function answerFormat(format: z.output<typeof responseFormat> | null | undefined): AnswerFormat {
  switch (format?.type) {
    case undefined:
    case 'text':
      return { kind: 'text' };
    case 'json_object':
      return { kind: 'json' };
    case 'json_schema':
      // Without a schema, any JSON object will do.
      return format.json_schema.schema == null
        ? { kind: 'json' }
        : { kind: 'schema', schema: format.json_schema.schema };
    case 'regex':
      return { kind: 'regex', pattern: format.pattern };
    case 'grammar':
      return { kind: 'grammar', grammar: format.grammar };
    default:
      return format satisfies never;
  }
}
