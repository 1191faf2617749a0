import { z } from 'zod';

/** A model of a running server. */
export const modelSchema = z.object({
  id: z.string(),
  aliases: z.array(z.string()),
  /** One that a newer server has may be another. */
  state: z.string(),
  architecture: z.string(),
  quantisation: z.string(),
  fileBytes: z.number(),
  contextTokens: z.int(),
  loadedBytes: z.number(),
  /** ISO 8601; null where it stays, or is not loaded. */
  expiresAt: z.string().nullable(),
  failure: z.object({ code: z.string(), message: z.string() }).nullable(),
});
export type ModelDescription = z.output<typeof modelSchema>;

/** What `GET /models` answers. */
export const modelsSchema = z.object({ models: z.array(modelSchema) });
