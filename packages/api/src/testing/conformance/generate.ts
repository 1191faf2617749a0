import { fileURLToPath } from 'node:url';
import { createGenerator } from 'ts-json-schema-generator';

/** JSON schemas of `OpenAIObjects`, in which no object may have a property that its type does not name. It takes seconds. */
export function generateSchemas(): string {
  const generator = createGenerator({
    path: fileURLToPath(new URL('./objects.ts', import.meta.url)),
    tsconfig: fileURLToPath(new URL('../../../tsconfig.json', import.meta.url)),
    type: 'OpenAIObjects',
    skipTypeCheck: true,
    additionalProperties: false,
    // What the package says of each field would be most of the file.
    jsDoc: 'none',
    sortProps: true,
  });
  return `${JSON.stringify(generator.createSchema('OpenAIObjects'), null, 1)}\n`;
}
