// Writes packages/ggml/src/library/library-hashes.ts: SHA-256 of the native libraries of every platform, of the release in
// use, as the registry has them. To be run when that release changes: node scripts/library-hashes.mjs
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const { version } = JSON.parse(readFileSync('node_modules/node-llama-cpp/package.json', 'utf8'));
const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')).packages;
const platforms = [
  'linux-x64',
  'linux-x64-vulkan',
  'linux-arm64',
  'mac-arm64-metal',
  'mac-x64',
  'win-x64',
  'win-x64-vulkan',
  'win-arm64',
];

const hashes = {};
for (const platform of platforms) {
  const name = `@node-llama-cpp/${platform}`;
  const integrity = lock[`node_modules/${name}`]?.integrity;
  if (integrity === undefined) {
    console.log(`${name}: package-lock.json knows no integrity of it, so it is left out`);
    continue;
  }
  const folder = mkdtempSync(join(tmpdir(), 'library-hashes-'));
  const [packed] = JSON.parse(
    execFileSync('npm', ['pack', `${name}@${version}`, '--json', '--pack-destination', folder], {
      stdio: ['ignore', 'pipe', 'ignore'],
      maxBuffer: 2 ** 26,
    }),
  );
  if (integrity !== packed.integrity)
    throw new Error(
      `${name} is another one in package-lock.json: ${integrity} instead of ${packed.integrity}`,
    );
  execFileSync('tar', ['-xzf', join(folder, readdirSync(folder)[0]), '-C', folder]);
  const bins = join(folder, 'package', 'bins');
  const inner = join(bins, readdirSync(bins)[0]);
  hashes[name] = Object.fromEntries(
    readdirSync(inner)
      .filter((file) => /\.(so|dylib|dll|metal|metallib)$/.test(file))
      .sort()
      .map((file) => [
        file,
        createHash('sha256')
          .update(readFileSync(join(inner, file)))
          .digest('hex'),
      ]),
  );
  rmSync(folder, { recursive: true });
}

writeFileSync(
  'packages/ggml/src/library/library-hashes.ts',
  `/**
 * SHA-256 of the native libraries that come with the npm packages of each platform, by package and file. Made by
 * scripts/library-hashes.mjs from what package-lock.json names.
 */
export const libraryHashes: Readonly<Record<string, Readonly<Record<string, string>>>> = ${JSON.stringify(hashes, null, 2)};
`,
);
execFileSync('npx', ['prettier', '--write', 'packages/ggml/src/library/library-hashes.ts']);
