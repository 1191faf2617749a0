import { existsSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { ButterflyError } from '@butterfly/common';

/** The npm package that ships prebuilt CPU (on Apple silicon: Metal) libraries for a platform. */
const packages: Readonly<Record<string, string>> = {
  'linux-x64': '@node-llama-cpp/linux-x64',
  'linux-arm64': '@node-llama-cpp/linux-arm64',
  'darwin-arm64': '@node-llama-cpp/mac-arm64-metal',
  'darwin-x64': '@node-llama-cpp/mac-x64',
  'win32-x64': '@node-llama-cpp/win-x64',
  'win32-arm64': '@node-llama-cpp/win-arm64',
};

interface BackendFamily {
  /** How its library is called, with `lib` before it or not. */
  readonly stem: string;
  /** The npm package that brings it; null where `butterfly setup` does. */
  readonly package: string | null;
  /** Folders of what `butterfly setup` brings, of which the first that loads will do. */
  readonly folders: readonly string[];
  readonly remedy: string;
}

/** Backends that load beside the libraries of the package above. */
const gpuFamilies: Readonly<Record<string, readonly BackendFamily[]>> = {
  'linux-x64': [
    {
      stem: 'ggml-cuda',
      package: null,
      folders: ['cuda', 'cuda12'],
      remedy:
        'Install the driver of NVIDIA with libcudart and libcublas of CUDA 13 ("butterfly setup cuda") or 12 ("butterfly setup cuda12"), or remove it with "butterfly setup cuda cuda12 --remove".',
    },
    {
      stem: 'ggml-vulkan',
      package: '@node-llama-cpp/linux-x64-vulkan',
      folders: [],
      remedy:
        'Install the Vulkan loader and the driver of the card (Debian: libvulkan1), or go on with the CPU.',
    },
  ],
  'win32-x64': [
    {
      stem: 'ggml-vulkan',
      package: '@node-llama-cpp/win-x64-vulkan',
      folders: [],
      remedy: 'Install the driver of the card, or go on with the CPU.',
    },
  ],
};

export interface LibraryPaths {
  readonly directory: string;
  /** The npm package that they are of; null for a build of the user's own. */
  readonly package: string | null;
  readonly base: string;
  readonly ggml: string;
  readonly llama: string;
}

const overrideHint = 'or set BUTTERFLY_GGML_DIR to a folder with a build of the same version';

/** A backend for GPUs that is installed. */
export interface GpuBackend {
  /** Of which the first that loads will do. */
  readonly files: readonly string[];
  /** The npm package that they are of; null where `butterfly setup` brought them. */
  readonly package: string | null;
  /** What to do where none of them loads. */
  readonly remedy: string;
}

/**
 * The backends for GPUs that are installed; none where their packages are not.
 * @param directories.libraries those that are loaded; what is there already is left out
 * @param directories.backends where `butterfly setup` puts its own
 */
export function findGpuBackends(
  directories: { readonly libraries: string; readonly backends: string | null },
  platform = `${process.platform}-${process.arch}`,
): GpuBackend[] {
  return (gpuFamilies[platform] ?? []).flatMap(({ stem, package: name, folders, remedy }) => {
    if (libraryIn(directories.libraries, stem) !== null) return [];
    const { backends } = directories;
    const places = [
      ...(backends === null ? [] : folders.map((folder) => join(backends, folder))),
      ...(name === null ? [] : [binariesOf(name)]),
    ];
    const files = places.flatMap((place) => (place === null ? [] : (libraryIn(place, stem) ?? [])));
    return files.length === 0 ? [] : [{ files, package: name, remedy }];
  });
}

function libraryIn(folder: string, stem: string): string | null {
  if (!existsSync(folder)) return null;
  const file = readdirSync(folder).find((each) => new RegExp(`^(lib)?${stem}\\.(so|dylib|dll)$`).test(each));
  return file === undefined ? null : join(folder, file);
}

/** Where a package has its libraries; null when it is not installed, or an empty one in its place. */
function binariesOf(name: string): string | null {
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve(name);
  } catch {
    return null;
  }
  const bins = join(dirname(entry), '..', 'bins');
  const inner = existsSync(bins) ? readdirSync(bins)[0] : undefined;
  return inner === undefined ? null : join(bins, inner);
}

function packagedDirectory(platform: string): string {
  const name = packages[platform];
  if (name === undefined)
    throw new ButterflyError(
      'LIBRARY_MISSING',
      `No prebuilt ggml libraries exist for ${platform}; build llama.cpp ${overrideHint}.`,
    );
  const folder = binariesOf(name);
  if (folder === null)
    throw new ButterflyError(
      'LIBRARY_MISSING',
      `The package ${name} with the ggml libraries is not installed; run "npm install ${name}" ${overrideHint}.`,
    );
  return folder;
}

/**
 * Finds the three libraries, in `directory` when given, else in the platform's npm package.
 * @throws ButterflyError LIBRARY_MISSING that names the package and the override.
 */
export function findLibraries(
  directory: string | undefined,
  platform = `${process.platform}-${process.arch}`,
): LibraryPaths {
  const folder = directory ?? packagedDirectory(platform);
  const isFolder = statSync(folder, { throwIfNoEntry: false })?.isDirectory() ?? false;
  if (!isFolder)
    throw new ButterflyError(
      'LIBRARY_MISSING',
      `${folder} is not a folder; give one with the ggml libraries, or unset BUTTERFLY_GGML_DIR.`,
    );
  const names = readdirSync(folder);
  const find = (stem: string): string => {
    // Release builds carry their version in the name: libllama.v0.5.0.so.
    // Those of GPU packages the backend too: libggml.vulkan.v0.5.0.so.
    const pattern = new RegExp(`^(lib)?${stem}(\\.[a-z]+)?(\\.v[\\d.]+)?\\.(so|dylib|dll)$`);
    const name = names.find((candidate) => pattern.test(candidate));
    if (name === undefined)
      throw new ButterflyError(
        'LIBRARY_MISSING',
        `${folder} has no ${stem} library; reinstall the package ${overrideHint}.`,
      );
    return join(folder, name);
  };
  return {
    directory: folder,
    package: directory === undefined ? (packages[platform] ?? null) : null,
    base: find('ggml-base'),
    ggml: find('ggml'),
    llama: find('llama'),
  };
}
