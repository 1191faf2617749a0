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

/** npm packages with one more backend, which loads beside the libraries of the package above. */
const gpuPackages: Readonly<
  Record<string, readonly { readonly name: string; readonly stem: string; readonly remedy: string }[]>
> = {
  'linux-x64': [
    {
      name: '@node-llama-cpp/linux-x64-vulkan',
      stem: 'ggml-vulkan',
      remedy:
        'Install the Vulkan loader and the driver of the card (Debian: libvulkan1), or go on with the CPU.',
    },
  ],
  'win32-x64': [
    {
      name: '@node-llama-cpp/win-x64-vulkan',
      stem: 'ggml-vulkan',
      remedy: 'Install the driver of the card, or go on with the CPU.',
    },
  ],
};

export interface LibraryPaths {
  readonly directory: string;
  readonly base: string;
  readonly ggml: string;
  readonly llama: string;
}

const overrideHint = 'or set BUTTERFLY_GGML_DIR to a folder with a build of the same version';

/** The backends for GPUs that are installed; none where their packages are not. */
export function findGpuBackends(
  platform = `${process.platform}-${process.arch}`,
): { readonly file: string; readonly remedy: string }[] {
  return (gpuPackages[platform] ?? []).flatMap(({ name, stem, remedy }) => {
    const folder = binariesOf(name);
    if (folder === null) return [];
    const file = readdirSync(folder).find((each) =>
      new RegExp(`^(lib)?${stem}\\.(so|dylib|dll)$`).test(each),
    );
    return file === undefined ? [] : [{ file: join(folder, file), remedy }];
  });
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
  return { directory: folder, base: find('ggml-base'), ggml: find('ggml'), llama: find('llama') };
}
