// Builds the page that the orchestrator serves, out of packages/page/src/browser: one script, one stylesheet, an icon, and the
// HTML that names them, in packages/page/dist/assets. Names tell what is in a file, so that browsers may keep it for ever.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import { buildSync } from 'esbuild';

const folder = resolve(import.meta.dirname, '../packages/page');
const source = join(folder, 'src/browser');
const assets = join(folder, 'dist/assets');

const { outputFiles } = buildSync({
  entryPoints: [join(source, 'main.tsx'), join(source, 'style/style.css')],
  outdir: assets,
  bundle: true,
  minify: true,
  write: false,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'eof',
  define: { 'process.env.NODE_ENV': '"production"' },
  logLevel: 'warning',
});

rmSync(assets, { recursive: true, force: true });
mkdirSync(assets, { recursive: true });

/** Writes a file under a name with its hash, and gives this name. */
function written(name, contents) {
  const ending = extname(name);
  const hash = createHash('sha256').update(contents).digest('hex').slice(0, 12);
  const hashed = `${name.slice(0, -ending.length)}.${hash}${ending}`;
  writeFileSync(join(assets, hashed), contents);
  return hashed;
}

const [script, style] = ['.js', '.css'].map((ending) => {
  const file = outputFiles.find(({ path }) => path.endsWith(ending));
  return written(ending === '.js' ? 'page.js' : 'page.css', file.contents);
});
const icon = written('icon.svg', readFileSync(join(source, 'icon.svg')));
const html = readFileSync(join(source, 'index.html'), 'utf8')
  .replace('{SCRIPT}', `/assets/${script}`)
  .replace('{STYLE}', `/assets/${style}`)
  .replace('{ICON}', `/assets/${icon}`);
writeFileSync(join(assets, 'index.html'), html);
const kilobytes = Math.round(outputFiles.reduce((sum, { contents }) => sum + contents.length, 0) / 1000);
console.log(`page: ${kilobytes} kB`);
