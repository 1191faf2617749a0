import { Ajv } from 'ajv';
import { z } from 'zod';
import { Server } from './server.js';

/** What clients ask for in forms: such that any model has said it within `formTokens`, whatever it draws. */
export const weatherSchema = {
  type: 'object' as const,
  properties: {
    city: { enum: ['Ulm', 'Bern'] },
    days: { type: 'integer', minimum: 1, maximum: 7 },
    unit: { enum: ['celsius', 'fahrenheit'] },
  },
  required: ['city', 'days', 'unit'],
  additionalProperties: false,
};

/** The same for clients that take zod. */
export const weatherShape = z.object({
  city: z.enum(['Ulm', 'Bern']),
  days: z.int().min(1).max(7),
  unit: z.enum(['celsius', 'fahrenheit']),
});

const isValid = new Ajv().compile(weatherSchema);

/** Null for what the schema wants, else the value with what is wrong. */
export const weatherFault = (value: unknown): string | null =>
  isValid(value) ? null : `${JSON.stringify(value)}: ${JSON.stringify(isValid.errors)}`;

/** Room for one value of the schema with all the blanks that may stand in it, as a call or as an answer. */
export const formTokens = 500;

export const question = 'How is the weather in Ulm?';

/** A model in three stages, each a process: what real clients are tried against. */
export const threeStages = (more: readonly string[] = []): Promise<Server> =>
  new Server(['--workers', '3', '--stages', '3', '--ctx', '1024', ...more]).ready();
