import { readFile } from 'node:fs/promises';
import { parseConfig } from '@butterfly/common';
import { z } from 'zod';
import { isHubReference, parseHubReference } from '../hub/reference.js';

/** The file that ships with Butterfly (models/catalogue.md says how it is refreshed). */
const shippedFile = new URL('../../models/catalogue.json', import.meta.url);

/** More than anybody wants to choose from. */
const catalogueModelsMax = 256;
const text = z.string().min(1).max(200);
const bytes = z.int().positive();

const modelSchema = z
  .strictObject({
    /** As people type it. */
    name: z.string().regex(/^[a-z\d][a-z\d.-]*$/, 'must be of small letters, digits, dots and dashes'),
    title: text,
    /** `hf:ORG/REPO:FILE` */
    model: text.refine(isWholeReference, 'must be hf:ORG/REPO:FILE'),
    /** Of all files together, rounded up to ten million. */
    bytes,
    /** That it was trained for. */
    contextTokens: z.int().positive(),
    /** Of keys and values in F16, in all layers. */
    cacheBytesPerToken: bytes,
    /** Of a mixture: the weights of its experts together, and how many of each layer's `count` a token uses. */
    experts: z.strictObject({ bytes, used: z.int().positive(), count: z.int().positive() }).optional(),
    goodFor: text,
    licence: text,
  })
  .refine(({ bytes: all, experts }) => experts === undefined || experts.bytes < all, {
    path: ['experts', 'bytes'],
    message: 'must be less than those of the file',
  });

const catalogueSchema = z.strictObject({
  /** The day on which names and sizes were looked at last. */
  updated: z.iso.date(),
  models: z
    .array(modelSchema)
    .min(1)
    .max(catalogueModelsMax)
    .refine((models) => new Set(models.map(({ name }) => name)).size === models.length, {
      message: 'names must differ',
    }),
});

/** Models that may be fetched, with what can be said of them before. */
export type Catalogue = Readonly<z.output<typeof catalogueSchema>>;
export type CatalogueModel = Catalogue['models'][number];

/** @throws ButterflyError CONFIG_INVALID that names the field at fault */
export function parseCatalogue(value: unknown): Catalogue {
  return parseConfig(catalogueSchema, value, 'catalogue');
}

/** The catalogue that ships with Butterfly. */
export async function readCatalogue(): Promise<Catalogue> {
  return parseCatalogue(JSON.parse(await readFile(shippedFile, 'utf8')));
}

function isWholeReference(name: string): boolean {
  try {
    return isHubReference(name) && parseHubReference(name).file !== null;
  } catch {
    return false;
  }
}
