import koffi, { type LibraryHandle } from 'koffi';
import { ButterflyError, type Logger } from '@butterfly/common';
import { checkLibraries, checkLibrary } from './check-libraries.js';
import { counted } from './native-objects.js';
import { findGpuBackends, findLibraries } from './platform.js';
import {
  baseSymbols,
  cpuSymbols,
  ggmlSymbols,
  llamaSymbols,
  type Bound,
  type Pointer,
  type SymbolTable,
} from './symbols.js';

/** The release whose headers `symbols.ts` follows (ggml.h, llama.h of llama.cpp v0.5.0). */
export const expectedVersions = { ggml: '0.25.1', llama: '0.5.0' } as const;

/**
 * Stack of native calls in bytes, the most that koffi gives. libllama matches text by std::regex, which recurses for each
 * character (`long-runs.ts`); with the usual 2 MiB some 10,000 letters in a row end the process.
 */
koffi.config({ sync_stack_size: 16 * 1024 * 1024 });

/** The bound libraries of this process. */
export interface Ggml {
  readonly directory: string;
  readonly ggmlVersion: string;
  readonly base: Bound<typeof baseSymbols>;
  readonly llama: Bound<typeof llamaSymbols>;
  readonly registry: Bound<typeof ggmlSymbols>;
  /** Functions of the CPU backend, which is a library of its own, chosen for this processor. */
  readonly cpu: Bound<typeof cpuSymbols>;
  readonly cpuDevice: Pointer;
}

function bind<T extends SymbolTable>(table: T, library: LibraryHandle, file: string): Bound<T> {
  const bound: Record<string, unknown> = {};
  for (const [name, { result, parameters, mangled }] of Object.entries(table)) {
    const exported = process.platform === 'win32' ? mangled?.microsoft : mangled?.itanium;
    try {
      bound[name] = counted(name, library.func(exported ?? name, result, [...parameters]));
    } catch (cause) {
      throw new ButterflyError(
        'LIBRARY_MISMATCH',
        `${file} has no symbol ${name}; Butterfly needs ggml ${expectedVersions.ggml} and llama.cpp ${expectedVersions.llama}.`,
        { cause },
      );
    }
  }
  return bound as Bound<T>;
}

function bindProcAddresses(base: Bound<typeof baseSymbols>, device: Pointer): Bound<typeof cpuSymbols> {
  const registry = base.ggml_backend_dev_backend_reg(device);
  const bound: Record<string, unknown> = {};
  for (const [name, { result, parameters }] of Object.entries(cpuSymbols)) {
    const address = base.ggml_backend_reg_get_proc_address(registry, name);
    if (address === null)
      throw new ButterflyError(
        'LIBRARY_MISMATCH',
        `The CPU backend does not offer ${name}; reinstall the ggml libraries.`,
      );
    const call = koffi.decode(address, koffi.proto(result, [...parameters])) as (
      ...args: unknown[]
    ) => unknown;
    bound[name] = counted(name, call);
  }
  return bound as Bound<typeof cpuSymbols>;
}

/** Error lines of native code while `withNativeErrors` runs; null otherwise. */
let caughtErrors: string[] | null = null;

/**
 * Runs a native call whose failure the caller reports; what the libraries log as errors meanwhile is for that report, and
 * what they warn of is of no use to anybody.
 */
export function withNativeErrors<R>(work: () => R): {
  readonly result: R;
  readonly errors: readonly string[];
} {
  const errors: string[] = [];
  caughtErrors = errors;
  try {
    return { result: work(), errors };
  } finally {
    caughtErrors = null;
  }
}

/** ggml_log_level of ggml.h; info is routed to debug because ggml tells much. */
function routeLog(base: Bound<typeof baseSymbols>, llama: Bound<typeof llamaSymbols>, log: Logger): void {
  const callback = koffi.register(
    (level: number, text: string | null) => {
      const message = text?.trimEnd() ?? '';
      if (message === '' || message === '.') return;
      if (level === 4 && caughtErrors) caughtErrors.push(message);
      else if (level === 4) log.error({}, message);
      else if (level === 3 && !caughtErrors) log.warn({}, message);
      else log.debug({}, message);
    },
    koffi.pointer(koffi.proto('void', ['int', 'const char *', 'void *'])),
  );
  base.ggml_log_set(callback, null);
  llama.llama_log_set(callback, null);
}

function checkVersion(what: string, found: string, expected: string): void {
  if (found !== expected && !found.startsWith(`${expected}-`))
    throw new ButterflyError(
      'LIBRARY_MISMATCH',
      `${what} is version ${found}, expected ${expected}; reinstall the package or correct BUTTERFLY_GGML_DIR.`,
    );
}

function open(file: string): LibraryHandle {
  try {
    const handle = koffi.load(file, { global: true });
    handles.push(handle);
    return handle;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ButterflyError('LIBRARY_MISSING', `${file} could not be loaded: ${reason}`, { cause });
  }
}

export interface GgmlOptions {
  /** A folder with another build of the same version; by default the platform's npm package. */
  readonly directory?: string | undefined;
  /** Whether whoever started this process has just compared the libraries with the registry's. */
  readonly areChecked?: boolean;
  readonly log: Logger;
}

let loaded: Ggml | undefined;
/** Koffi unloads a library with its last handle, and ggml-base ends the process when it is loaded a second time. */
const handles: LibraryHandle[] = [];

/**
 * Loads the libraries once per process, checks their versions and every symbol, and picks the best CPU variant.
 * @throws ButterflyError LIBRARY_MISSING, LIBRARY_MISMATCH
 */
export function loadGgml(options: GgmlOptions): Ggml {
  if (loaded) return loaded;
  const paths = findLibraries(options.directory);
  if (paths.package !== null && options.areChecked !== true) checkLibraries(paths.package, paths.directory);
  const base = bind(baseSymbols, open(paths.base), paths.base);
  const ggml = bind(ggmlSymbols, open(paths.ggml), paths.ggml);
  const llama = bind(llamaSymbols, open(paths.llama), paths.llama);
  const ggmlVersion = base.ggml_version();
  checkVersion(paths.base, ggmlVersion, expectedVersions.ggml);
  checkVersion(paths.llama, llama.llama_version(), expectedVersions.llama);
  routeLog(base, llama, options.log);
  ggml.ggml_backend_load_all_from_path(paths.directory);
  const cpuDevice = ggml.ggml_backend_dev_by_type(0);
  if (cpuDevice === null)
    throw new ButterflyError('LIBRARY_MISSING', `${paths.directory} has no CPU backend for this processor.`);
  llama.llama_backend_init();
  loaded = {
    directory: paths.directory,
    ggmlVersion,
    base,
    llama,
    registry: ggml,
    cpu: bindProcAddresses(base, cpuDevice),
    cpuDevice,
  };
  return loaded;
}

let hasLoadedGpus = false;

/**
 * Loads the backends for GPUs that are installed, once per process. One whose driver is missing costs a warning.
 * @param options.backends folder of those that `butterfly setup` brought, if there is one
 * @param options.log is told what could not be loaded, and what to do about it
 */
export function loadGpus(
  ggml: Ggml,
  { backends, log }: { readonly backends: string | null; readonly log: Logger },
): void {
  if (hasLoadedGpus) return;
  hasLoadedGpus = true;
  for (const { files, package: name, remedy } of findGpuBackends({ libraries: ggml.directory, backends })) {
    const errors: string[] = [];
    const isLoaded = files.some((file) => {
      if (name !== null) checkLibrary(name, file);
      const before = ggml.registry.ggml_backend_dev_count();
      const loading = withNativeErrors(() => ggml.registry.ggml_backend_load(file));
      errors.push(...loading.errors);
      // A backend whose driver is too old says so, and has no devices.
      const isOfUse = ggml.registry.ggml_backend_dev_count() > before || loading.errors.length === 0;
      return loading.result !== null && isOfUse;
    });
    if (!isLoaded)
      log.warn({ file: files.join(), errors }, `This GPU backend could not be loaded. ${remedy}`);
  }
}

/** Feature flags of the CPU variant in use, such as AVX512_VNNI. */
export function cpuFeatures(ggml: Ggml): readonly string[] {
  const first = ggml.cpu.ggml_backend_get_features(ggml.base.ggml_backend_dev_backend_reg(ggml.cpuDevice));
  const features: string[] = [];
  // A NULL-terminated array of {name, value} pairs.
  for (let pair = first; pair !== null; pair += 16n) {
    const name = koffi.decode(pair, 'const char *') as string | null;
    if (name === null) break;
    features.push(name);
  }
  return features;
}
