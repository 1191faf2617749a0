import { fileURLToPath } from 'node:url';
import { createGenerator, type SchemaGenerator } from 'ts-json-schema-generator';
import { dialects } from './dialects.js';

/** Makes JSON schemas in which no object may have a property that its type does not name. Making it takes seconds. */
export class SchemaMaker {
  readonly #generator: SchemaGenerator = createGenerator({
    path: fileURLToPath(new URL('./objects.ts', import.meta.url)),
    tsconfig: fileURLToPath(new URL('../../../tsconfig.json', import.meta.url)),
    type: '*',
    skipTypeCheck: true,
    additionalProperties: false,
    // What the packages say of each field would be most of the file.
    jsDoc: 'none',
    sortProps: true,
  });

  /** The text of a schema file. */
  schemas(dialect: keyof typeof dialects): string {
    return `${JSON.stringify(this.#generator.createSchema(dialects[dialect]), null, 1)}\n`;
  }
}
