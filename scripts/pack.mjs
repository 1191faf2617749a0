// Makes one tarball of the command and the library, with all packages of the workspace inside: `npm run pack`.
// What comes from elsewhere stays a dependency, with its version; tests, sources and maps stay here.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const root = resolve(import.meta.dirname, '..');
const { values } = parseArgs({ options: { to: { type: 'string', default: root } } });
const staging = join(root, 'packages/butterfly/.cache/pack');
const library = 'butterfly';
const scope = '@butterfly/';

const manifestOf = (name) => JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'));
const isOurs = (name) => name === library || name.startsWith(scope);
const folderOf = (name) => name.replace(scope, '');

/** The packages that run, from the command down. */
function reached(name, found = new Set()) {
  if (found.has(name)) return found;
  found.add(name);
  for (const other of Object.keys(manifestOf(name).dependencies ?? {}).filter(isOurs))
    reached(folderOf(other), found);
  return found;
}

/** What a package exports where it is installed: neither sources nor what is for tests. */
function shippedExports(exports) {
  const shipped = Object.entries(exports ?? {})
    .filter(([path]) => path !== './testing')
    .map(([path, { types, default: main }]) => [path, { types, default: main }]);
  return shipped.length === 0 ? undefined : Object.fromEntries(shipped);
}

const isShipped = (path) =>
  !/\.test\.|\.map$|\.tsbuildinfo$|\/dist\/testing(?:\/|$)|\/dist\/demo(?:\/|$)/.test(path);

function copyCode(name, to) {
  const from = join(root, 'packages', name, 'dist');
  if (!existsSync(from)) throw new Error(`${from} is missing; run npm run build first.`);
  cpSync(from, join(to, 'dist'), { recursive: true, filter: isShipped });
}

rmSync(staging, { recursive: true, force: true });
const names = [...reached('cli')];
const dependencies = {};
const optionalDependencies = {};
const bundled = [];
for (const name of names) {
  const manifest = manifestOf(name);
  const outside = (all) => Object.entries(all ?? {}).filter(([each]) => !isOurs(each));
  Object.assign(dependencies, Object.fromEntries(outside(manifest.dependencies)));
  Object.assign(optionalDependencies, Object.fromEntries(outside(manifest.optionalDependencies)));
  if (name === library) continue;
  bundled.push(manifest.name);
  const to = join(staging, 'node_modules', manifest.name);
  mkdirSync(to, { recursive: true });
  copyCode(name, to);
  const { version, license, type } = manifest;
  const shipped = { name: manifest.name, version, license, type, exports: shippedExports(manifest.exports) };
  writeFileSync(join(to, 'package.json'), `${JSON.stringify(shipped, null, 2)}\n`);
}

copyCode(library, staging);
const inFolder = (file) => join(root, 'packages', library, file);
cpSync(inFolder('models'), join(staging, 'models'), { recursive: true });
for (const file of ['LICENSE', 'README.md']) cpSync(join(root, file), join(staging, file));
mkdirSync(join(staging, 'bin'));
writeFileSync(
  join(staging, 'bin/butterfly.js'),
  "#!/usr/bin/env node\nimport '../node_modules/@butterfly/cli/dist/main.js';\n",
  { mode: 0o755 },
);
const sorted = (all) => Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
// What the provider for the AI SDK needs, and nobody else.
const { peerDependencies, peerDependenciesMeta } = manifestOf(library);
const { version, license, type, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const manifest = {
  ...{ name: library, version, description: 'Distributed LLM inference over ggml', license, type, engines },
  bin: { butterfly: './bin/butterfly.js' },
  exports: shippedExports(manifestOf(library).exports),
  files: ['bin', 'dist', 'models'],
  dependencies: sorted({ ...dependencies, ...Object.fromEntries(bundled.map((name) => [name, version])) }),
  optionalDependencies: sorted(optionalDependencies),
  ...{ peerDependencies, peerDependenciesMeta },
  bundleDependencies: bundled.sort(),
};
writeFileSync(join(staging, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
mkdirSync(values.to, { recursive: true });
const [packed] = JSON.parse(
  execFileSync('npm', ['pack', '--json', '--pack-destination', resolve(values.to)], {
    cwd: staging,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }),
);
const tarball = join(resolve(values.to), packed.filename);
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
console.log(
  `${tarball}: ${megabytes(statSync(tarball).size)} MB, ${megabytes(packed.unpackedSize)} MB unpacked, ${packed.entryCount} files`,
);
