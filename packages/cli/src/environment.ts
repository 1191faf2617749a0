import { type ButterflyError, logLevels, parseConfig, toButterflyError } from '@butterfly/common';
import { logFormats, managements } from 'butterfly/process';
import { z } from 'zod';

const schema = z.object({
  /** Folder with another build of the ggml libraries. */
  BUTTERFLY_GGML_DIR: z.string().optional(),
  /** Join token, where the command line would show it to every user of the machine. */
  BUTTERFLY_TOKEN: z.string().max(512).optional(),
  /** API key, for the same reason. */
  BUTTERFLY_API_KEY: z.string().max(512).optional(),
  BUTTERFLY_LOG: z.enum(logLevels).optional(),
  BUTTERFLY_LOG_FORMAT: z.enum(logFormats).optional(),
  /** Set for workers that other processes start, by which kind of them: `managements`. */
  BUTTERFLY_MANAGED: z.enum(managements).optional(),
  /** Token for a hub of models, and its older name. Of no concern to anything but `pull`, and never shown. */
  HF_TOKEN: z.string().optional(),
  HUGGING_FACE_HUB_TOKEN: z.string().optional(),
  /** URL of another hub. */
  HF_ENDPOINT: z.string().optional(),
  /** Where collectors of OpenTelemetry are, and where they take traces if that is elsewhere. What else it defines its library reads. */
  OTEL_EXPORTER_OTLP_ENDPOINT: z.string().optional(),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: z.string().optional(),
  /** Where systems say that caches go. */
  XDG_CACHE_HOME: z.string().optional(),
  LOCALAPPDATA: z.string().optional(),
  /** Where they say that goes what cannot be fetched again. */
  XDG_DATA_HOME: z.string().optional(),
  /** What people and terminals say of colours: no-color.org, force-color.org. */
  NO_COLOR: z.string().optional(),
  FORCE_COLOR: z.string().optional(),
  TERM: z.string().optional(),
});

export type Environment = z.output<typeof schema>;

/** An environment, with what is wrong with it. */
export interface ReadEnvironment {
  /** Without any variable where one of them is wrong. */
  readonly environment: Environment;
  /** CONFIG_INVALID, for whoever needs the environment: help needs none. */
  readonly problem: ButterflyError | null;
}

/** Reads the environment, once. A variable that is blank counts as not set, as scripts and service files leave them. */
export function readEnvironment(
  variables: Readonly<Record<string, string | undefined>> = process.env,
): ReadEnvironment {
  const known = Object.keys(schema.shape).map((name) => [name, variables[name]] as const);
  const set = Object.fromEntries(known.filter(([, value]) => value !== undefined && value.trim() !== ''));
  try {
    return { environment: parseConfig(schema, set, 'environment'), problem: null };
  } catch (thrown) {
    return { environment: {}, problem: toButterflyError(thrown) };
  }
}
