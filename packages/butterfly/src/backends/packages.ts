/** A backend of ggml that comes from the registry of npm when it is asked for. */
export interface BackendPackage {
  /** As `butterfly setup` calls it, and the folder that it lies in. */
  readonly name: string;
  readonly package: string;
  /** Of the release that `expectedVersions` of the ggml package stand for. */
  readonly version: string;
  /** Of the archive. */
  readonly bytes: number;
  /** Of the archive, as hexadecimal SHA-512: what the registry calls its integrity. */
  readonly sha512: string;
  /** The one file of the archive that is kept. */
  readonly entry: { readonly path: string; readonly bytes: number };
  /** What it needs of the machine, for people. */
  readonly needs: string;
}

/**
 * What `butterfly setup` can bring to each platform. `npm view PACKAGE@VERSION dist.integrity` says the hash, in base64.
 * win-x64-cuda has no release of this version.
 */
export const backendPackages: Readonly<Record<string, readonly BackendPackage[]>> = {
  'linux-x64': [
    {
      name: 'cuda',
      package: '@node-llama-cpp/linux-x64-cuda',
      version: '3.22.1',
      bytes: 142_898_030,
      sha512:
        'f2b4028f234d2d9254162b7e6298f0942e21c242a038c224076c2ec9c2817fc354d8edf248a6e259943c6b0f64bb69d44d78d29d422b13a281f3c8ad76e4c1b8',
      entry: { path: 'package/bins/linux-x64-cuda/libggml-cuda.so', bytes: 158_993_272 },
      needs: 'a driver of NVIDIA for CUDA 13, libcudart.so.13 and libcublas.so.13',
    },
    {
      name: 'cuda12',
      package: '@node-llama-cpp/linux-x64-cuda-ext',
      version: '3.22.1',
      bytes: 176_664_119,
      sha512:
        'e1ee5a8e488cd9a476580741fcdfc00a4e30784847bce008af3c593ec217d310c55b9fba8614a1bb2d7fbecf3c48af4d19d800728f48c84dbc7984b41f579fa4',
      entry: { path: 'package/bins/linux-x64-cuda/fallback/libggml-cuda.so', bytes: 374_450_984 },
      needs: 'a driver of NVIDIA for CUDA 12, libcudart.so.12 and libcublas.so.12',
    },
  ],
};
